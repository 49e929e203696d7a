//! Access tokens: the frozen keys and a frozen token, and every way to bend one.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    crypto::{
        assertion::{self, KeySet},
        token::{MAX_TOKEN_BYTES, TokenClaims, TokenKey, verify},
    },
    domain::{
        hostile::{cases, damaged, damaged_text},
        issuer::SignatureAlgorithm,
    },
};

fn claims() -> TokenClaims {
    serde_json::from_str(KEYS.text("token.claims")).unwrap()
}

fn ring() -> (Keyring, Vec<TokenKey>) {
    let keyring = keyring(Scripted::new(&[]));
    let keys = [1, 2].map(|number| keyring.token_key(number).unwrap());
    (keyring, keys.into())
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// The header of the frozen token with some of it replaced; null takes away.
fn header(changes: Value) -> Value {
    let mut header = json!({"typ": "at+jwt", "alg": "EdDSA", "kid": KEYS.text("token_key_2.kid")});
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(header.as_object_mut().unwrap().remove(name)),
            value => header[name] = value.clone(),
        }
    }
    header
}

/// A token with this header and these claims that signing key 2 really signed.
fn signed(header: &Value, claims: &Value) -> String {
    let keyring = keyring(Scripted::new(&[]));
    let pair = keyring.token_pair(2).unwrap();
    let message = format!("{}.{}", part(header), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(pair.sign(message.as_bytes()));
    format!("{message}.{signature}")
}

#[test]
fn keys_and_tokens_are_as_frozen() {
    let (keyring, keys) = ring();
    for (key, number) in keys.iter().zip(1..) {
        assert_eq!(key.x, KEYS.text(&format!("token_key_{number}.x")));
        assert_eq!(key.kid, KEYS.text(&format!("token_key_{number}.kid")));
    }
    let text = keyring.sign_token(2, &claims()).unwrap();
    assert_eq!(text.expose(), KEYS.text("token.text"));
    assert_eq!(verify(text.expose(), &keys, "leasehold"), Some(claims()));
    assert_eq!(verify(text.expose(), &keys[..1], "leasehold"), None);
    assert_eq!(verify(text.expose(), &keys, "https://other"), None);
    // The bench of this file is fit to sign what is taken.
    let claims_json = serde_json::to_value(claims()).unwrap();
    let own = signed(&header(json!({})), &claims_json);
    assert_eq!(verify(&own, &keys, "leasehold"), Some(claims()));
}

#[test]
fn a_token_that_is_bent_in_any_way_is_refused() {
    let (_, keys) = ring();
    let text = KEYS.text("token.text");
    let [head, body, signature] = text.split('.').collect::<Vec<_>>()[..] else {
        panic!("three parts");
    };
    let public = URL_SAFE_NO_PAD.decode(&keys[1].x).unwrap();
    let hs256 = |secret: &[u8]| {
        let header = Header {
            typ: Some("at+jwt".to_owned()),
            kid: Some(keys[1].kid.clone()),
            ..Header::new(Algorithm::HS256)
        };
        encode(&header, &claims(), &EncodingKey::from_secret(secret)).unwrap()
    };
    let claims = serde_json::to_value(claims()).unwrap();
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        claims
    };
    let unsigned = |alg: &str| {
        let head = part(&header(json!({"alg": alg})));
        [
            format!("{head}.{body}."),
            format!("{head}.{body}.{signature}"),
            format!("{head}.{body}"),
        ]
    };
    let mut bent = vec![
        hs256(&public),
        hs256(keys[1].x.as_bytes()),
        hs256(b""),
        format!(
            "{head}.{}.{signature}",
            part(&with("scopes", json!(["sys:write"])))
        ),
        format!(
            "{head}.{}.{signature}",
            part(&with("exp", json!(9_999_999_999u64)))
        ),
        format!(
            "{}.{body}.{signature}",
            part(&header(json!({"kid": keys[0].kid})))
        ),
        format!("{head}.{body}.{}", &signature[..signature.len() - 1]),
        format!("{head}.{body}.{signature}="),
        format!("{head}.{body}.{signature}."),
        format!(".{text}"),
        format!("{text}.{signature}"),
        format!("{text} "),
        String::new(),
        "..".to_owned(),
        "a.b.c".to_owned(),
        format!("{head}.{}.{signature}", "A".repeat(MAX_TOKEN_BYTES)),
    ];
    for alg in [
        "none", "None", "NONE", "nOnE", "HS256", "RS256", "ES256", "EdDSA ", "",
    ] {
        bent.extend(unsigned(alg));
    }
    // These are signed by the right key, and wrong all the same.
    for changes in [
        json!({"kid": "../../../../dev/null"}),
        json!({"kid": "/etc/passwd"}),
        json!({"kid": ""}),
        json!({"kid": null}),
        json!({"kid": "1' OR '1'='1"}),
        json!({"kid": format!("{}\u{0}", keys[1].kid)}),
        json!({"kid": keys[1].kid.to_uppercase()}),
        json!({"kid": 2}),
        json!({"typ": "JWT"}),
        json!({"typ": "AT+JWT"}),
        json!({"typ": null}),
        json!({"crit": ["exp"], "exp": 1}),
        json!({"crit": []}),
        json!({"alg": null}),
    ] {
        bent.push(signed(&header(changes), &claims));
    }
    for (name, value) in [
        ("aud", json!("somebody-else")),
        ("aud", json!(["leasehold"])),
        ("iss", json!("https://other")),
        ("exp", json!(null)),
        ("exp", json!("1760003600")),
        ("exp", json!(-1)),
        ("jti", json!(7)),
    ] {
        bent.push(signed(&header(json!({})), &with(name, value)));
    }
    for text in bent {
        assert_eq!(verify(&text, &keys, "leasehold"), None, "{text}");
    }
}

#[test]
fn another_root_key_makes_other_keys() {
    let other = Keyring::new(&root_key("other_root"), Scripted::new(&[])).unwrap();
    let (_, keys) = ring();
    assert_ne!(other.token_key(1).unwrap().kid, keys[0].kid);
    assert_ne!(keys[0].kid, keys[1].kid);
    let text = other.sign_token(2, &claims()).unwrap();
    assert_eq!(verify(text.expose(), &keys, "leasehold"), None);
    assert!(crate::crypto::sign::pair(&zeroize::Zeroizing::new([7; 32])).is_ok());
}

#[test]
fn a_digest_knows_its_token_only() {
    let (keyring, _) = ring();
    let digest = |text: &str| keyring.token_digest(text);
    assert!(digest("a.b.c").proves(&digest("a.b.c")));
    assert!(!digest("a.b.c").proves(&digest("a.b.d")));
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn a_damaged_token_is_refused(text in damaged_text(&[KEYS.text("token.text")])) {
        let (_, keys) = ring();
        let taken = verify(&text, &keys, "leasehold").is_some();
        prop_assert_eq!(taken, text == KEYS.text("token.text"));
    }

    #[test]
    fn a_damaged_assertion_is_refused(text in damaged_text(&[KEYS.text("token.text")])) {
        let (_, keys) = ring();
        let set = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": keys[1].x, "kid": keys[1].kid}]});
        let set = KeySet::of_jwks(set.to_string().as_bytes()).unwrap();
        let read = assertion::read(&text);
        let proven = set.prove(&text, SignatureAlgorithm::EdDSA).is_some();
        prop_assert_eq!(proven, text == KEYS.text("token.text"));
        prop_assert!(read.is_some() || !proven);
    }

    #[test]
    fn random_keys_are_none_or_prove_nothing(bytes in damaged(vec![
        br#"{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"},{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}"#.to_vec(),
        br#"{"keys":[{"kty":"oct","k":"AAAA","alg":"HS256"},{"kty":"OKP","crv":"Ed25519","x":"AA"}]}"#.to_vec(),
    ]), pem in vec("[A-Za-z0-9+/=\\n-]{0,80}", 0..3)) {
        let text = KEYS.text("token.text");
        for set in [KeySet::of_jwks(&bytes), KeySet::of_pem(&pem)].into_iter().flatten() {
            for algorithm in SignatureAlgorithm::ALL {
                prop_assert!(set.prove(text, algorithm).is_none());
            }
        }
    }
}
