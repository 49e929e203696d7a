//! Tests over every type: bounds, leaks, and texts that no one meant to be a credential.

use std::error::Error as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proptest::prelude::*;

use super::*;

const AWS_SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYTESTONLY0=";
const CANARY: &str = "CANARY7f3a9c";

fn metadata(pairs: &[(&str, &str)]) -> Metadata {
    let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    Metadata::new(pairs.iter().map(own).collect()).unwrap()
}

fn with_id() -> Metadata {
    metadata(&[("access_key_id", "AKIATESTONLY0000")])
}

fn run(
    kind: CredentialType,
    text: &str,
    metadata: &Metadata,
    description: Option<&str>,
) -> Result<Facts> {
    inspect(
        kind,
        &SecretText::new(text.to_owned()),
        metadata,
        description,
        "value",
    )
}

/// A good value of each type, and the facts that it shows.
fn good(kind: CredentialType) -> (String, &'static [&'static str]) {
    let (text, facts): (&str, &[&str]) = match kind {
        CredentialType::ApiKey => ("sk_test_0123456789", &[]),
        CredentialType::AwsAccessKey => (AWS_SECRET, &["access_key_id"]),
        CredentialType::BasicAuth => ("alice:correct horse", &["username"]),
        CredentialType::OauthToken => (
            r#"{"access_token":"gho_16C7","token_type":"Bearer"}"#,
            &["token_type"],
        ),
        CredentialType::SshKey => (
            samples::SSH_ED25519,
            &["algorithm", "comment", "encrypted", "key_fingerprint"],
        ),
        CredentialType::TlsCertificate => {
            let facts = &[
                "certificate_fingerprint",
                "dns_names",
                "has_private_key",
                "issuer",
                "not_after",
                "not_before",
                "serial",
                "subject",
            ];
            return ([samples::CERTIFICATE, samples::EC_SEC1_TLS].concat(), facts);
        }
        CredentialType::DatabaseUrl => (
            "postgres://app:hunter2hunter2@db.example:5432/main",
            &["database", "host", "port", "scheme", "username"],
        ),
        CredentialType::GenericSecret => ("anything\nat all\0", &[]),
    };
    (text.to_owned(), facts)
}

#[test]
fn a_type_is_spelled_as_it_is_serialised() {
    for kind in CredentialType::ALL {
        let json = format!("\"{}\"", kind.as_str());
        assert_eq!(serde_json::to_string(&kind).unwrap(), json);
        assert_eq!(serde_json::from_str::<CredentialType>(&json).unwrap(), kind);
        assert_eq!(CredentialType::parse(kind.as_str()), Some(kind));
    }
    for text in ["", "ApiKey", "api_key", "api-key ", "password"] {
        assert_eq!(CredentialType::parse(text), None, "{text:?}");
    }
}

#[test]
fn a_good_value_shows_the_facts_of_its_type() {
    for kind in CredentialType::ALL {
        let (text, names) = good(kind);
        let facts = run(kind, &text, &with_id(), Some("for the nightly job")).unwrap();
        assert_eq!(facts.keys().collect::<Vec<_>>(), names, "{kind:?}");
    }
}

#[test]
fn a_value_is_held_to_its_bounds() {
    for kind in CredentialType::ALL {
        for text in [
            String::new(),
            "x".repeat(crate::domain::secret::MAX_VALUE_BYTES + 1),
        ] {
            assert!(run(kind, &text, &with_id(), None).is_err(), "{kind:?}");
        }
    }
}

#[test]
fn a_value_or_its_secret_part_is_refused_beside_it() {
    let ssh_body = pem::blocks(samples::SSH_ED25519).unwrap()[0].body;
    let mut cases: Vec<_> = CredentialType::ALL
        .map(|kind| (kind, good(kind).0, good(kind).0))
        .into();
    for (kind, part) in [
        (CredentialType::BasicAuth, "correct horse"),
        (CredentialType::DatabaseUrl, "hunter2hunter2"),
        (CredentialType::OauthToken, "gho_16C7"),
        (CredentialType::TlsCertificate, samples::EC_SEC1_TLS),
        (CredentialType::SshKey, ssh_body),
    ] {
        cases.push((kind, good(kind).0, part.to_owned()));
    }
    for (kind, text, part) in cases {
        // Free text can't hold every control character, so the end of that one value is left out.
        let part = part.trim_end_matches('\0');
        let text = if kind == CredentialType::GenericSecret {
            part
        } else {
            &text
        };
        let description = format!("use {part}!");
        let error = run(kind, text, &with_id(), Some(&description)).unwrap_err();
        assert_eq!(error.details(), [("field", "description".into())]);
        assert!(!format!("{error:?}").contains(part), "{kind:?}");
        if description.len() <= crate::domain::name::MAX_METADATA_VALUE_BYTES {
            let beside = metadata(&[
                ("access_key_id", "AKIATESTONLY0000"),
                ("note", &description),
            ]);
            let error = run(kind, text, &beside, None).unwrap_err();
            assert_eq!(error.details(), [("field", "metadata.note".into())]);
            assert!(!format!("{error:?}").contains(part), "{kind:?}");
        }
    }
    // Short ones stand in ordinary text by chance.
    run(
        CredentialType::GenericSecret,
        "nightly",
        &with_id(),
        Some("for the nightly job"),
    )
    .unwrap();
    run(
        CredentialType::BasicAuth,
        "alice:nightly",
        &with_id(),
        Some("for the nightly job"),
    )
    .unwrap();
}

/// Bad values of a type, each with the canary in it.
fn bad(kind: CredentialType) -> Vec<String> {
    let shared =
        ["{} {}\n", "{}\0{}", "\u{feff} {} ", "é{}\t"].map(|text| text.replace("{}", CANARY));
    let own: Vec<String> = match kind {
        CredentialType::ApiKey => vec![],
        CredentialType::AwsAccessKey => vec![CANARY.into(), format!("{CANARY}{:*<28}", "")],
        CredentialType::BasicAuth => {
            vec![CANARY.into(), format!("{CANARY}:"), format!(":{CANARY}")]
        }
        CredentialType::OauthToken => [
            r#"{"access_token":"{} {}"}"#,
            r#"{"access_token":{}}"#,
            r#"{"{}":"{}"}"#,
            r#"{"access_token":["{}"]}"#,
            r#"{"access_token":"{}""#,
            "Bearer {}",
        ]
        .map(|text| text.replace("{}", CANARY))
        .into(),
        CredentialType::SshKey => vec![
            CANARY.into(),
            format!("ssh-ed25519 {CANARY}"),
            format!("-----BEGIN {CANARY}-----\nAAEC\n-----END {CANARY}-----"),
            format!("-----BEGIN {CANARY} PUBLIC KEY-----\nAAEC\n-----END {CANARY} PUBLIC KEY-----"),
            format!("-----BEGIN PRIVATE KEY-----\n{CANARY}*\n-----END PRIVATE KEY-----"),
            format!(
                "-----BEGIN OPENSSH PRIVATE KEY-----\n{CANARY}\n-----END OPENSSH PRIVATE KEY-----"
            ),
            format!("-----BEGIN {CANARY}"),
        ],
        CredentialType::TlsCertificate => vec![
            CANARY.into(),
            format!("-----BEGIN {CANARY}-----\nAAEC\n-----END {CANARY}-----"),
            format!("-----BEGIN CERTIFICATE-----\n{CANARY}\n-----END CERTIFICATE-----"),
            format!("-----BEGIN CERTIFICATE-----\n{CANARY}*\n-----END CERTIFICATE-----"),
            format!(
                "{}-----BEGIN PRIVATE KEY-----\n{CANARY}*\n-----END PRIVATE KEY-----",
                samples::CERTIFICATE
            ),
            format!("{}-----BEGIN {CANARY}", samples::CERTIFICATE),
        ],
        CredentialType::DatabaseUrl => [
            "{}",
            "{}://",
            "postgres:///{}",
            "postgres://u:1/{}@h/d",
            "postgres://u:{}@h:{}/d",
            "http://[{}]/",
            "{}:{}@h",
        ]
        .map(|text| text.replace("{}", CANARY))
        .into(),
        // Only its bounds can be wrong.
        CredentialType::GenericSecret => return vec![CANARY.repeat(6_000)],
    };
    shared.into_iter().chain(own).collect()
}

#[test]
fn an_error_never_repeats_the_value() {
    for kind in CredentialType::ALL {
        let mut errors = Vec::new();
        for text in bad(kind) {
            errors.push(run(kind, &text, &with_id(), None).expect_err(&text));
        }
        let (text, _) = good(kind);
        let missing = metadata(&[("team", "x")]);
        errors.extend(run(kind, &text.replacen("sk_", CANARY, 1), &missing, None).err());
        for error in errors {
            let message = error.message();
            assert!(
                !format!("{error:?} {error} {:?}", error.details()).contains(CANARY),
                "{message}"
            );
            assert!(error.source().is_none());
            assert!(
                message.starts_with('`') && !message.ends_with('.'),
                "{message}"
            );
            assert!(
                message.contains("`value`") || message.contains("`metadata.access_key_id`"),
                "{message}"
            );
        }
    }
}

#[test]
fn an_error_names_the_field_it_was_given() {
    for kind in CredentialType::ALL {
        let value = SecretText::new(bad(kind).remove(0));
        let error = inspect(kind, &value, &with_id(), None, "new_value").unwrap_err();
        assert_eq!(
            error.details().first(),
            Some(&("field", "new_value".into())),
            "{kind:?}"
        );
        assert!(error.message().starts_with("`new_value` "), "{error}");
    }
}

fn check_facts(text: &str) {
    for kind in CredentialType::ALL {
        let Ok(facts) = run(kind, text, &with_id(), Some("a description")) else {
            continue;
        };
        for (name, fact) in facts {
            assert!(!fact.contains(text), "{kind:?}: `{name}` holds the value");
            assert!(
                (1..=reading::MAX_FACT_CHARS).contains(&fact.chars().count()),
                "{kind:?}: {name}"
            );
            assert!(!fact.chars().any(char::is_control), "{kind:?}: {name}");
        }
    }
}

/// Text that gets past the first checks of a type more often than any text does.
fn nearly_good() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{1,6}://([^@]{0,8}(:[^@]{0,8})?@)?[a-z.%]{0,8}(:[0-9]{0,5})?(/[^\u{0}]{0,8})?",
        "\\{\"access_token\":\"[a-zA-Z.=]{0,20}\",\"token_type\":\"\\PC{0,8}\"\\}",
        "[^:]{1,4}:\\PC{1,9}",
        "[A-Za-z0-9/+=]{40}",
        ("[{\\[\"a-z:0-9,]{0,20}", "[{}\\[\"a-z:0-9,]{0,20}").prop_map(|(header, claims)| {
            let encode = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
            format!(
                "{}.{}.",
                encode(&format!("{{\"alg\":\"{header}\"}}")),
                encode(&claims)
            )
        }),
    ]
}

/// A sample block with some bytes of its content changed.
fn damaged_block() -> impl Strategy<Value = String> {
    let samples = [
        samples::SSH_ED25519,
        samples::SSH_ED25519_ENCRYPTED,
        samples::SSH_ECDSA,
        samples::SSH_RSA,
        samples::CERTIFICATE,
        samples::CERTIFICATE_FOREVER,
    ];
    let damage = proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4);
    (
        prop::sample::select(samples.to_vec()),
        damage,
        any::<prop::sample::Index>(),
        any::<bool>(),
    )
        .prop_map(|(sample, damage, end, cut)| {
            let block = &pem::blocks(sample).unwrap()[0];
            let mut content = block.decode().unwrap().to_vec();
            for (place, byte) in damage {
                let place = place.index(content.len());
                content[place] = byte;
            }
            if cut {
                content.truncate(end.index(content.len()));
            }
            let (label, body) = (block.label, STANDARD.encode(content));
            format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_text_is_read_without_panic_or_leak(text in "(?s).{1,200}") {
        check_facts(&text);
    }

    #[test]
    fn nearly_good_text_is_read_without_panic_or_leak(text in nearly_good()) {
        check_facts(&text);
    }

    #[test]
    fn damaged_blocks_are_read_without_panic_or_leak(text in damaged_block()) {
        check_facts(&text);
    }
}
