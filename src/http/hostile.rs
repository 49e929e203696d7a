//! Bodies and cursors that nobody should send: refused as the caller's fault, and what was sent is not told back.

use proptest::{collection::vec, prelude::*};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{body::parse, wire::*};
use crate::{
    domain::{
        error::{Code, Error, Result},
        hostile::{any_or_nearly, cases, damaged},
    },
    engine::PageRequest,
};

const CANARY: &str = "canary-7f3a";

/// One body for each request, with every field.
const BODIES: [&str; 16] = [
    r#"{"name":"a","expires_in":"15m","scopes":["lease:create","handle:*"],"workspace":"*"}"#,
    r#"{"name":"ci","kind":"oidc","organisation":true,"iss":"https://ci","jwks":{"keys":[]},"audiences":["v"],"algorithms":["RS256"],"conditions":{"sub":"a*","ref":["b","c"]},"identity":{"name":"ci-{id}","type":"service","role":"agent","scopes":["lease:*"],"auto_create":true},"token_ttl":"15m","require_jti":true,"leeway":"30s"}"#,
    r#"{"iss":"https://ci","public_keys":["-----BEGIN PUBLIC KEY-----"],"audiences":["v"],"algorithms":["ES256"],"conditions":{"sub":["a"]},"identity":{"name":"ci"},"token_ttl":"1h","require_jti":false,"leeway":"0s"}"#,
    r#"{"name":"mesh","kind":"certificate","conditions":{"san_uri":"spiffe://a/*","subject_cn":["b","c"]},"identity":{"name":"{san_uri_path_last}"}}"#,
    r#"{"issuer":"ci","token":"a.b.c","workspace":"default"}"#,
    r#"{"name":"a","type":"api-key","value":"v","description":"d","metadata":{"k":"v"},"policy":{"extends":"production","default_lease_ttl":"30m","max_lease_ttl":"4h","max_leases":5,"delivery":["reveal"],"renewable":true,"require_purpose":false,"max_uses":null,"on_rotate":"drain","egress":{"hosts":["a.com"],"methods":["GET"],"paths":["/v1/*"]}}}"#,
    r#"{"description":null,"metadata":{"k":null},"policy":{"max_leases":1},"state":"disabled"}"#,
    r#"{"new_value":"v","metadata":{"k":"v"},"on_open_leases":"cut","expected_version":3}"#,
    r#"{"credential_name":"a","ttl":"30m","delivery":"reveal","identity":{"type":"agent","name":"b","session_id":"s"},"purpose":"p","reveal":true}"#,
    r#"{"handle":"lhh_0"}"#,
    r#"{"filter":{"credential_name":"a","identity":"b","version":1,"session_id":"s"},"all":true,"reason":"r"}"#,
    r#"{"name":"a","description":"d","identity":{"type":"agent","name":"b"},"scopes":["lease:*"],"workspace":"default","organisation":false,"expires_in":"90d","rate_limit":"pro"}"#,
    r#"{"description":null,"role":"agent","rate_limit":600}"#,
    r#"{"grace":"24h","expires_in":null}"#,
    r#"{"action":"lease:create","resource":"credential/a"}"#,
    r#"{"ttl":"30m","reason":"r"}"#,
];

fn outcome<T: DeserializeOwned>(body: &[u8], command: impl FnOnce(T) -> Result<()>) -> Result<()> {
    parse::<T>(body).and_then(command)
}

/// What is said against a body by whoever does not take it.
fn refusals(body: &[u8]) -> Vec<Error> {
    let outcomes = outcomes(body);
    outcomes.into_iter().filter_map(Result::err).collect()
}

/// Reads a body as each of the requests.
fn outcomes(body: &[u8]) -> Vec<Result<()>> {
    vec![
        outcome(body, |read: CreateCredentialBody| read.command().map(drop)),
        outcome(body, |read: UpdateCredentialBody| read.command().map(drop)),
        outcome(body, |read: RotateBody| {
            drop(read.command());
            Ok(())
        }),
        outcome(body, |_: ReasonBody| Ok(())),
        outcome(body, |_: EmptyBody| Ok(())),
        outcome(body, |read: CreateLeaseBody| read.command().map(drop)),
        outcome(body, |read: RenewBody| read.ttl().map(drop)),
        outcome(body, |_: RedeemBody| Ok(())),
        outcome(body, |read: BulkRevokeBody| read.command().map(drop)),
        outcome(body, |read: CreateKeyBody| read.command().map(drop)),
        outcome(body, |read: UpdateKeyBody| read.command().map(drop)),
        outcome(body, |read: RotateKeyBody| read.command().map(drop)),
        outcome(body, |read: TestKeyBody| read.wanted().map(drop)),
        outcome(body, |read: CreateTokenBody| read.command().map(drop)),
        outcome(body, |read: CreateIssuerBody| read.command().map(drop)),
        outcome(body, |read: UpdateIssuerBody| read.command().map(drop)),
        outcome(body, |read: ExchangeBody| read.command().map(drop)),
    ]
}

fn is_the_callers_fault(error: &Error) {
    let known = [
        Code::InvalidRequest,
        Code::InvalidParameter,
        Code::MissingParameter,
    ];
    assert!(known.contains(&error.code()), "{error:?}");
    assert!(error.message().len() < 2_000, "{error:?}");
}

/// Any JSON whose texts hold the canary and whose names do not.
fn secret_json() -> impl Strategy<Value = Value> {
    let text = || any_or_nearly(&["30m", "a-name", ", expected a", " at line 1", "`x`"]);
    let leaf = prop_oneof![
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        4 => (text(), text()).prop_map(|(a, b)| Value::from(format!("{a}{CANARY}{b}"))),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::from),
            vec(("[a-z]{1,5}|hosts|max_leases|name|type", inner), 0..3)
                .prop_map(|pairs| Value::from(pairs.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// A body of which some fields, at any depth, have another value.
fn misled() -> impl Strategy<Value = Value> {
    fn mislead(value: &mut Value, with: &mut Vec<Value>, dice: &mut u64) {
        *dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        if dice.is_multiple_of(3)
            && let Some(new) = with.pop()
        {
            *value = new;
            return;
        }
        match value {
            Value::Object(map) => map
                .values_mut()
                .for_each(|inner| mislead(inner, with, dice)),
            Value::Array(all) => all.iter_mut().for_each(|inner| mislead(inner, with, dice)),
            _ => {}
        }
    }
    (
        prop::sample::select(BODIES.to_vec()),
        vec(secret_json(), 1..5),
        any::<u64>(),
    )
        .prop_map(|(body, mut with, mut dice)| {
            let mut body: Value = serde_json::from_str(body).unwrap();
            if let Value::Object(map) = &mut body {
                map.values_mut()
                    .for_each(|value| mislead(value, &mut with, &mut dice));
            }
            body
        })
}

#[test]
fn the_samples_are_taken() {
    // The last is of two requests at once.
    for body in BODIES.iter().take(15) {
        let outcomes = outcomes(body.as_bytes());
        let taken = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert!((1..=2).contains(&taken), "{taken} take {body}");
    }
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn damaged_bodies_are_refused_or_taken(
        body in damaged(BODIES.map(|body| body.as_bytes().to_vec()).to_vec())
    ) {
        refusals(&body).iter().for_each(is_the_callers_fault);
    }

    #[test]
    fn random_bodies_are_refused(body in vec(any::<u8>(), 0..200)) {
        let refusals = refusals(&body);
        refusals.iter().for_each(is_the_callers_fault);
        prop_assert!(!refusals.is_empty());
    }

    #[test]
    fn no_refusal_repeats_a_value(body in misled()) {
        for error in refusals(body.to_string().as_bytes()) {
            is_the_callers_fault(&error);
            let told = format!("{} {:?}", error.message(), error.details());
            prop_assert!(!told.contains(CANARY), "{}", told);
        }
    }

    #[test]
    fn cursors_are_refused_or_lead_to_a_position(
        cursor in any_or_nearly(&["BG5hbWUxMjM0", "BS1uYW1lMTIz", "BG5hbWU", "AA"]),
        descending: bool,
    ) {
        let request = PageRequest {
            cursor: Some(cursor.clone()),
            sort: Some(if descending { "-name" } else { "name" }.to_owned()),
            ..PageRequest::default()
        };
        match request.window(&[("name", ())], "name") {
            Ok(window) => {
                let position = window.after.unwrap();
                prop_assert!(!position.is_empty());
                prop_assert_eq!(request.cursor_after("name", &position), cursor);
            }
            Err(error) => is_the_callers_fault(&error),
        }
    }
}
