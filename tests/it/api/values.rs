//! What can be stored: the types of credentials and the bounds of values, names and metadata.

use serde_json::{Value, json};

use super::{GET, POST, create, samples, shown, take, text};
use crate::support::Vault;

const AWS_SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYTESTONLY0=";
const DATABASE: &str = "postgres://app:hunter2hunter2@db.example:5432/main";

async fn rotate(vault: &Vault, name: &str, value: &str) -> crate::support::Answer {
    let path = format!("/v1/credentials/{name}/rotate");
    vault
        .admin(POST, &path, Some(json!({"new_value": value})))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_is_stored_with_its_facts_and_never_shown_with_its_value() {
    let vault = Vault::dev();
    let tls = [samples::CERTIFICATE, samples::EC_SEC1_TLS].concat();
    let id = json!({"access_key_id": "AKIATESTONLY0000"});
    for (kind, value, metadata, fact, expected) in [
        ("api-key", "sk-proj-abc123", json!({}), "", ""),
        (
            "aws-access-key",
            AWS_SECRET,
            id,
            "access_key_id",
            "AKIATESTONLY0000",
        ),
        (
            "basic-auth",
            "alice:correct horse",
            json!({}),
            "username",
            "alice",
        ),
        (
            "oauth-token",
            r#"{"access_token":"gho_16C7e42F","token_type":"bearer"}"#,
            json!({}),
            "token_type",
            "bearer",
        ),
        (
            "ssh-key",
            samples::SSH_ED25519,
            json!({}),
            "algorithm",
            "ssh-ed25519",
        ),
        (
            "tls-certificate",
            &tls,
            json!({}),
            "has_private_key",
            "true",
        ),
        ("database-url", DATABASE, json!({}), "host", "db.example"),
        (
            "generic-secret",
            "two lines\nof anything\u{0}",
            json!({}),
            "",
            "",
        ),
    ] {
        let name = format!("a-{kind}");
        let body = json!({"name": name, "type": kind, "value": value, "metadata": metadata});
        let answer = create(&vault, body).await;
        let stored = answer.data(201);
        for (field, expected) in [
            ("name", json!(name)),
            ("type", json!(kind)),
            ("state", json!("active")),
            ("current_version", json!(1)),
            ("active_leases", json!(0)),
            ("metadata", metadata),
            ("description", json!(null)),
            ("last_leased_at", json!(null)),
            ("last_rotated_at", json!(null)),
            ("next_rotation_at", json!(null)),
        ] {
            assert_eq!(stored[field], expected, "{kind} {field}");
        }
        assert!(
            stored["id"].is_string()
                && stored["created_by"].is_string()
                && stored["created_at"].is_string()
        );
        assert!(!fact.is_empty() || stored["facts"] == json!({}), "{kind}");
        if !fact.is_empty() {
            assert_eq!(
                stored["facts"][fact], expected,
                "{kind}: {}",
                stored["facts"]
            );
        }
        let path = format!("/v1/credentials/{name}");
        for path in [&path, &format!("{path}/versions"), "/v1/credentials"] {
            let answer = vault.admin(GET, path, None).await;
            assert_eq!(answer.status, 200);
            for secret in [
                value,
                "hunter2hunter2",
                "correct horse",
                "gho_16C7e42F",
                "b3BlbnNzaC1rZXk",
                "MHcCAQEE",
            ] {
                assert!(!answer.text.contains(secret), "{path}");
            }
        }
        let lease = take(&vault, &name).await;
        assert_eq!(
            vault.redeem(text(&lease, "handle")).await.data(200)["value"],
            value,
            "{kind}"
        );
    }
    let listed = vault.admin(GET, "/v1/credentials?type=ssh-key", None).await;
    assert_eq!(listed.body["page"]["total"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_credentials_are_refused_by_field_and_not_stored() {
    let vault = Vault::dev();
    let before = vault.admin(GET, "/v1/credentials", None).await.body["page"]["total"].clone();
    for (kind, value) in [
        ("api-key", "has a CANARY space"),
        ("api-key", ""),
        ("aws-access-key", "CANARY-too-short"),
        ("basic-auth", "CANARY-without-colon"),
        ("basic-auth", ":CANARY"),
        ("oauth-token", r#"{"access_token":"CANARY""#),
        ("ssh-key", "CANARY"),
        ("ssh-key", samples::SSH_ED25519_PUBLIC),
        ("tls-certificate", "CANARY"),
        ("tls-certificate", samples::EC_SEC1_TLS),
        ("database-url", "CANARY"),
        ("database-url", "postgres://u:CANARY@h:port/d"),
        ("generic-secret", ""),
    ] {
        let metadata = json!({"access_key_id": "AKIATESTONLY0000"});
        let answer = create(
            &vault,
            json!({"name": "bad", "type": kind, "value": value, "metadata": metadata}),
        )
        .await;
        assert!(!answer.text.contains("CANARY"), "{kind}: {}", answer.text);
        let failure = answer.fails(400, "INVALID_PARAMETER");
        assert_eq!(failure["details"]["field"], "value", "{kind} {value:.30}");
    }
    let many: serde_json::Map<_, _> = (0..65).map(|n| (format!("k{n}"), json!("v"))).collect();
    let good = |field: &str, value: Value| {
        let mut body = json!({"name": "bad", "type": "api-key", "value": "v"});
        body[field] = value;
        body
    };
    for (field, value) in [
        ("name", json!("")),
        ("name", json!("-a")),
        ("name", json!("A")),
        ("name", json!("a b")),
        ("name", json!("a/b")),
        ("name", json!("ä")),
        ("name", json!("a\u{0}")),
        ("name", json!("a".repeat(129))),
        ("name", json!(7)),
        ("name", json!(null)),
        ("type", json!("API-KEY")),
        ("type", json!("password")),
        ("type", json!(null)),
        ("value", json!(null)),
        ("value", json!(5)),
        ("value", json!(["v"])),
        ("description", json!(5)),
        ("description", json!("\u{1b}[31m")),
        ("metadata", json!([])),
        ("metadata", json!(many)),
        ("metadata", json!({"k": 1})),
        ("metadata", json!({"k": "v".repeat(1025)})),
        ("metadata", json!({"rotate_every": "soon"})),
        ("policy", json!([])),
        ("policy", json!({"max_leases": 0})),
        ("policy", json!({"max_leases": -1})),
        ("policy", json!({"max_leases": 1_000_001})),
        ("policy", json!({"max_uses": 0})),
        ("policy", json!({"delivery": []})),
        ("policy", json!({"delivery": ["reveal", "reveal"]})),
        ("policy", json!({"delivery": ["post"]})),
        ("policy", json!({"on_rotate": "wait"})),
        ("policy", json!({"default_lease_ttl": "0s"})),
        ("policy", json!({"max_lease_ttl": "forever"})),
        (
            "policy",
            json!({"default_lease_ttl": "2h", "max_lease_ttl": "1h"}),
        ),
        ("policy", json!({"max_lease": 1})),
        ("policy", json!({"egress": {"hosts": []}})),
        ("policy", json!({"egress": {"hosts": ["http://x"]}})),
        (
            "policy",
            json!({"egress": {"hosts": ["h.example"], "methods": ["get"]}}),
        ),
        (
            "policy",
            json!({"egress": {"hosts": ["h.example"], "paths": ["v1"]}}),
        ),
        ("policy", json!({"extends": "../production"})),
        ("current_version", json!(3)),
    ] {
        let failure = create(&vault, good(field, value.clone()))
            .await
            .fails(400, "INVALID_PARAMETER");
        assert!(
            text(&failure["details"], "field").starts_with(field),
            "{field} {value:.60} {failure}"
        );
    }
    for (body, field) in [
        (json!({"type": "api-key", "value": "v"}), "name"),
        (json!({"name": "bad", "value": "v"}), "type"),
        (json!({"name": "bad", "type": "api-key"}), "value"),
        (
            json!({"name": "bad", "type": "aws-access-key", "value": AWS_SECRET}),
            "metadata.access_key_id",
        ),
    ] {
        assert_eq!(
            create(&vault, body).await.fails(400, "MISSING_PARAMETER")["details"]["field"],
            field
        );
    }
    assert_eq!(
        vault.admin(GET, "/v1/credentials", None).await.body["page"]["total"],
        before
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn values_and_names_are_taken_up_to_their_bounds() {
    let vault = Vault::dev();
    for (name, value) in [
        ("one-byte", "x".to_owned()),
        ("longest", "x".repeat(65_536)),
        ("wide", "é".repeat(32_768)),
    ] {
        create(
            &vault,
            json!({"name": name, "type": "generic-secret", "value": value}),
        )
        .await
        .data(201);
        let lease = take(&vault, name).await;
        assert_eq!(
            vault.redeem(text(&lease, "handle")).await.data(200)["value"],
            value
        );
    }
    for value in ["x".repeat(65_537), "é".repeat(32_769)] {
        let body = json!({"name": "over", "type": "generic-secret", "value": value});
        assert_eq!(
            create(&vault, body).await.fails(400, "INVALID_PARAMETER")["details"]["field"],
            "value"
        );
        let answer = rotate(&vault, "longest", &value).await;
        assert_eq!(
            answer.fails(400, "INVALID_PARAMETER")["details"]["field"],
            "new_value"
        );
    }
    assert_eq!(shown(&vault, "longest").await["current_version"], 1);
    let metadata: serde_json::Map<_, _> = (0..64)
        .map(|n| (format!("k{n}"), json!("v".repeat(1024))))
        .collect();
    for name in ["0", "a.b_c-d", &"a".repeat(128)] {
        create(
            &vault,
            json!({"name": name, "type": "api-key", "value": "v", "metadata": metadata}),
        )
        .await
        .data(201);
        assert_eq!(shown(&vault, name).await["name"], name);
    }
    create(
        &vault,
        json!({"name": "0", "type": "api-key", "value": "w"}),
    )
    .await
    .fails(409, "ALREADY_EXISTS");
    vault
        .admin(GET, "/v1/credentials/none", None)
        .await
        .fails(404, "NOT_FOUND");
}
