//! Hostile input, for the tests of every layer: how much of it there is, and valid input that was damaged. Here also
//! what this layer reads.

use proptest::{collection::vec, prelude::*, sample::Index};

use super::{
    egress::Egress,
    error::{Code, Error},
    event::EventName,
    id::{CredentialId, EventId, IdentityId, KeyId, LeaseId, WorkspaceId},
    kind::CredentialType,
    name::{CredentialName, IdentityName, Metadata, PolicyName, WorkspaceName},
    scope::Scope,
    time::{Timestamp, Ttl},
};

/// So many cases, and a hundred times as many where `LEASEHOLD_LONG=1`. What fails is told with its input, so no
/// file of seeds is kept.
pub(crate) fn cases(short: u32) -> ProptestConfig {
    let long = std::env::var("LEASEHOLD_LONG").is_ok_and(|set| set == "1");
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(if long { short * 100 } else { short })
    }
}

/// Up to four changes to bytes: one set, some inserted, some removed, some repeated, the end cut off.
pub(crate) fn damaged(samples: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let change = (
        0..5u8,
        any::<Index>(),
        any::<Index>(),
        vec(any::<u8>(), 1..9),
    );
    (prop::sample::select(samples), vec(change, 0..5)).prop_map(|(mut bytes, changes)| {
        for (how, from, to, new) in changes {
            let (from, to) = (from.index(bytes.len() + 1), to.index(bytes.len() + 1));
            let (from, to) = (from.min(to), from.max(to).min(from.min(to) + 64));
            match how {
                0 if from < bytes.len() => bytes[from] = new[0],
                1 => drop(bytes.splice(from..from, new)),
                2 => drop(bytes.drain(from..to)),
                3 => {
                    let again = bytes[from..to].to_vec();
                    drop(bytes.splice(from..from, again));
                }
                _ => bytes.truncate(to),
            }
        }
        bytes
    })
}

/// Damaged text: what of damaged bytes is still UTF-8, and a replacement character for what is not.
pub(crate) fn damaged_text(samples: &[&str]) -> impl Strategy<Value = String> + use<> {
    let samples = samples
        .iter()
        .map(|text| text.as_bytes().to_vec())
        .collect();
    damaged(samples).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// Any text, or nearly one of these.
pub(crate) fn any_or_nearly(samples: &[&str]) -> impl Strategy<Value = String> + use<> {
    prop_oneof![
        "(?s).{0,200}",
        "[a-zA-Z0-9 ._:+-]{0,40}",
        damaged_text(samples)
    ]
}

/// The refusal is the caller's fault in a parameter, and does not repeat what was sent.
fn refuses(error: &Error, sent: &str) {
    assert_eq!(error.code(), Code::InvalidParameter);
    // Shorter text is found in any message by chance.
    if sent.trim().chars().count() > 12 {
        let told = format!("{} {:?}", error.message(), error.details());
        assert!(!told.contains(sent.trim()), "{told}");
    }
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn names_are_refused_or_kept(text in any_or_nearly(&["openai-api-key-prod", "a", "0.b_c-d"])) {
        macro_rules! name {
            ($($kind:ident)*) => {$(
                match $kind::parse(&text, "at") {
                    Ok(name) => {
                        prop_assert_eq!(name.as_str(), &text);
                        prop_assert_eq!(name.to_string(), &text[..]);
                        prop_assert!(text.len() <= 128 && text.is_ascii());
                    }
                    Err(error) => refuses(&error, &text),
                }
            )*};
        }
        name!(CredentialName IdentityName WorkspaceName PolicyName);
    }

    #[test]
    fn durations_are_refused_or_round_trip(text in any_or_nearly(&[
        "30m", "1h 30m", "90d", "1y", "18446744073709551615ms", "584942417years", "1ns", "0s",
    ])) {
        match Ttl::parse(&text, "at") {
            Ok(ttl) => {
                prop_assert!(ttl.span().as_millis() > 0);
                prop_assert_eq!(Ttl::parse(&ttl.to_string(), "at").unwrap(), ttl);
            }
            Err(error) => refuses(&error, &text),
        }
    }

    #[test]
    fn timestamps_are_refused_or_round_trip(text in any_or_nearly(&[
        "2026-06-13T10:30:00Z", "1970-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z",
        "2026-06-13 10:30:00+02:00", "2016-12-31T23:59:60Z", "-000001-01-01T00:00:00Z",
    ])) {
        if let Ok(at) = text.parse::<Timestamp>() {
            prop_assert_eq!(at.to_string().parse::<Timestamp>().unwrap(), at);
        }
    }

    #[test]
    fn every_instant_can_be_written_and_read(millis: u64) {
        let at = Timestamp::from_millis(millis);
        prop_assert_eq!(at.to_string().parse::<Timestamp>().unwrap(), at);
    }

    #[test]
    fn ids_and_words_have_one_spelling(text in any_or_nearly(&[
        "lse_0199a1b2c3d47e8f9a0b1c2d3e4f5a6b", "crd_00000000000000000000000000000000",
        "key_ffffffffffffffffffffffffffffffff", "credential:read", "lease.issued", "api-key",
    ])) {
        macro_rules! id {
            ($($kind:ident)*) => {$(
                if let Some(id) = $kind::parse(&text) {
                    prop_assert_eq!(id.to_string(), &text[..]);
                }
            )*};
        }
        id!(WorkspaceId IdentityId KeyId CredentialId LeaseId EventId);
        prop_assert!(Scope::parse(&text).is_none_or(|scope| scope.as_str() == text));
        prop_assert!(EventName::parse(&text).is_none_or(|name| name.as_str() == text));
        prop_assert!(CredentialType::parse(&text).is_none_or(|kind| kind.as_str() == text));
    }

    #[test]
    fn metadata_is_refused_or_kept(
        pairs in prop::collection::btree_map(
            any_or_nearly(&["service", "rotate_every"]), any_or_nearly(&["90d", "production"]), 0..8,
        ),
        rotate in proptest::option::of(any_or_nearly(&["90d"])),
    ) {
        let mut pairs = pairs;
        pairs.extend(rotate.map(|every| ("rotate_every".to_owned(), every)));
        match Metadata::new(pairs.clone()) {
            Ok(metadata) => {
                let kept = metadata.iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
                prop_assert_eq!(kept.collect::<std::collections::BTreeMap<_, _>>(), pairs);
            }
            Err(error) => {
                for value in pairs.values().filter(|value| !pairs.contains_key(*value)) {
                    refuses(&error, value);
                }
            }
        }
    }

    #[test]
    fn egress_rules_are_refused_or_mean_what_they_say(
        host in any_or_nearly(&["api.openai.com", "*.example.org:8443", "[::1]:80"]),
        method in any_or_nearly(&["GET", "DELETE"]),
        path in any_or_nearly(&["/v1/*", "/a/b"]),
    ) {
        let egress = Egress { hosts: vec![host.clone()], methods: vec![method], paths: vec![path.clone()] };
        match egress.check() {
            Ok(()) => {
                prop_assert!(host.is_ascii() && !host.contains(['/', '@', '\\', '%']));
                prop_assert!(path.starts_with('/') && !path.contains("..") || !path.split('/').any(|part| part == ".."));
            }
            Err(error) => refuses(&error, &host),
        }
    }
}
