//! Policies that are got around: by the spelling of what they name, by one that takes a built-in's name, by a glob that
//! matches more than it says.

use std::io::{BufRead, BufReader};

use serde_json::{Value, json};

use super::super::{POST, create, raw, text};
use crate::support::{DevOptions, TempDir, Vault, leasehold, wait};

fn folder(file: &str, policy: &str) -> TempDir {
    let folder = TempDir::new();
    std::fs::write(folder.path().join(file), policy).unwrap();
    folder
}

fn ruled(folder: &TempDir) -> Vault {
    Vault::dev_with(DevOptions {
        args: vec!["--policies".to_owned(), folder.path().display().to_string()],
        ..DevOptions::default()
    })
}

/// What a start with these policies is refused with; panics where it is not.
fn refused(folder: &TempDir) -> String {
    let mut command = leasehold();
    command.args(["dev", "--listen", "127.0.0.1:0", "--output", "json"]);
    command.arg("--data-dir").arg(folder.path().join("data"));
    command.arg("--policies").arg(folder.path());
    command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    if !line.is_empty() {
        child.kill().unwrap();
        child.wait().unwrap();
        panic!("it started: {line}");
    }
    let said = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
    assert!(!wait(&mut child).success());
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn no_policy_shadows_a_built_in() {
    for id in [
        "role:admin",
        "role:agent",
        "scope:missing",
        "holder:only",
        "credential:allowed_identities",
        "file:x",
        "Role:admin",
        "role\u{ff1a}admin",
    ] {
        let policy = format!("@id({id:?})\npermit (principal, action, resource);\n");
        let said = refused(&folder("own.cedar", &policy));
        assert!(
            said.contains("own.cedar:1:1") && said.contains(id),
            "{id}: {said}"
        );
    }
    // A file that is named like the built-in roles must be them.
    let said = refused(&folder(
        "roles.cedar",
        "permit (principal, action, resource);",
    ));
    assert!(said.contains("roles.cedar"), "{said}");
    // Nor does one that permits everything give anything, whatever it is called.
    let open = folder(
        "admin.cedar",
        "@id(\"admin\") permit (principal, action, resource);",
    );
    let vault = ruled(&open);
    for path in ["/v1/credentials", "/v1/audit", "/v1/api-keys"] {
        let answer = vault.agent(super::GET, path, None).await;
        answer.fails(403, "INSUFFICIENT_PERMISSIONS");
    }
}

const FORBIDDEN: &str = r#"@id("not-prod-a")
forbid (
  principal,
  action in [
    Action::"credential:read", Action::"credential:update", Action::"credential:rotate",
    Action::"credential:revoke_version", Action::"credential:delete", Action::"lease:*", Action::"handle:redeem"
  ],
  resource in Credential::"prod-a"
);"#;

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_a_name_leads_past_the_policy_about_it() {
    let folder = folder("own.cedar", FORBIDDEN);
    let vault = ruled(&folder);
    vault.store("prod-a", "the-value", json!({})).await;
    vault.store("prod-b", "w", json!({})).await;
    let auth = format!("Bearer {}", vault.admin_key);
    let headers = [
        ("authorization", auth.as_str()),
        ("content-type", "application/json"),
    ];
    // The same name in other letters, which is the same credential.
    for same in [
        "prod-a",
        "prod%2da",
        "%70rod-a",
        "%70%72%6f%64%2d%61",
        "prod%2Da",
        "prod-a?",
    ] {
        let rest = same.strip_suffix('?').unwrap_or(same);
        for (line, body) in [
            (format!("GET /v1/credentials/{same}"), ""),
            (format!("GET /v1/credentials/{rest}/versions"), ""),
            (
                format!("PATCH /v1/credentials/{rest}"),
                r#"{"description":"d"}"#,
            ),
            (
                format!("POST /v1/credentials/{rest}/rotate"),
                r#"{"new_value":"x"}"#,
            ),
            (
                format!("POST /v1/credentials/{rest}/versions/1/revoke"),
                "{}",
            ),
            (format!("DELETE /v1/credentials/{rest}?force=true"), ""),
        ] {
            let answer = raw::send(&vault, &line, &headers, body.as_bytes());
            assert_eq!(
                (answer.status, &answer.body["code"]),
                (403, &json!("POLICY_DENIED")),
                "{line}"
            );
            assert_eq!(answer.body["details"]["policy"], "file:not-prod-a");
        }
    }
    // What may look like the name and is not it, or is no name at all.
    for other in [
        "/v1/credentials/./prod-a",
        "/v1/credentials/%2e/prod-a",
        "/v1/credentials/prod-b/../prod-a",
        "/v1/credentials/prod-b/%2e%2e/prod-a",
        "/v1/credentials/prod-b%2f..%2fprod-a",
        "/v1/credentials/..%2fcredentials%2fprod-a",
        "/v1/credentials//prod-a",
        "/v1//credentials/prod-a",
        "/v1/credentials/prod-a/",
        "/v1/credentials/prod-a/.",
        "/v1/credentials/prod-a%2f",
        "/v1/credentials/prod-a%00",
        "/v1/credentials/prod-a%20",
        "/v1/credentials/%20prod-a",
        "/v1/credentials/prod%252da",
        "/v1/credentials/prod-a;v=1",
        "/v1/credentials/PROD-A",
        "/v1/credentials/prod%E2%80%90a",
        "/v1/credentials/prod-%D0%B0",
        "/v1/credentials/prod-a%E2%80%8B",
        "/v1/Credentials/prod-a",
    ] {
        for method in ["GET", "DELETE"] {
            let answer = raw::send(&vault, &format!("{method} {other}"), &headers, b"");
            answer.refuses(&[400, 403, 404], other);
            assert!(!answer.text.contains("fingerprint"), "{other}");
        }
    }
    // In a body, an escape is the character that it stands for.
    for (name, code) in [
        (r"prod-a", "POLICY_DENIED"),
        (r"prod\u002da", "POLICY_DENIED"),
        (r"\u0070rod-a", "POLICY_DENIED"),
        (r"prod-a\u0000", "INVALID_PARAMETER"),
        (r".\/prod-a", "INVALID_PARAMETER"),
        (r"PROD-A", "INVALID_PARAMETER"),
    ] {
        let body = format!(r#"{{"credential_name":"{name}","reveal":true}}"#);
        for key in [&vault.admin_key, &vault.agent_key] {
            let answer = vault.raw(
                POST,
                "/v1/leases",
                key,
                "application/json",
                body.clone().into(),
            );
            let answer = answer.await;
            assert_eq!(answer.body["code"], code, "{name}: {}", answer.text);
            assert!(!answer.text.contains("the-value"));
        }
    }
    // The rule is about that one name.
    vault.lease(json!({"credential_name": "prod-b"})).await;
    let open = vault
        .admin(super::GET, "/v1/leases?state=active", None)
        .await;
    assert_eq!(open.body["page"]["total"], 1);
    assert!(!open.text.contains("prod-a"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_glob_of_identities_matches_what_it_says_and_no_more() {
    let vault = Vault::dev();
    for (kind, name) in [
        ("agent", "ci"),
        ("agent", "ci-1"),
        ("agent", "ci-"),
        ("agent", "xci-1"),
        ("agent", "ci.1"),
        ("agent", "cix1"),
        ("agent", "a-ci-1"),
        ("service", "ci-1"),
        ("human", "ci-1"),
    ] {
        let body = json!({"name": name, "type": kind, "role": "agent"});
        vault
            .admin(POST, "/v1/identities", Some(body))
            .await
            .data(201);
    }
    // A name has one spelling: there is no other case of it to be matched or missed.
    for name in ["CI-1", "Ci-1", "c\u{130}-1", "ci\u{2010}1"] {
        let body = json!({"name": name, "type": "agent", "role": "agent"});
        let refused = vault.admin(POST, "/v1/identities", Some(body)).await;
        refused.fails(400, "INVALID_PARAMETER");
    }
    let all = [
        "agent/ci",
        "agent/ci-1",
        "agent/ci-",
        "agent/xci-1",
        "agent/ci.1",
        "agent/cix1",
        "agent/a-ci-1",
        "service/ci-1",
        "human/ci-1",
    ];
    for (at, (patterns, admitted)) in [
        (
            json!(["ci-*"]),
            vec!["agent/ci-1", "agent/ci-", "service/ci-1", "human/ci-1"],
        ),
        (json!(["agent/ci-*"]), vec!["agent/ci-1", "agent/ci-"]),
        (json!(["ci"]), vec!["agent/ci"]),
        (json!(["ci.1"]), vec!["agent/ci.1"]),
        (
            json!(["*ci-1"]),
            vec![
                "agent/ci-1",
                "agent/xci-1",
                "agent/a-ci-1",
                "service/ci-1",
                "human/ci-1",
            ],
        ),
        (json!(["service/*"]), vec!["service/ci-1"]),
        (json!(["human/ci", "agent/x*"]), vec!["agent/xci-1"]),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("c-{at}");
        let body = json!({"name": name, "type": "api-key", "value": "v", "policy": {"allowed_identities": patterns}});
        create(&vault, body).await.data(201);
        for holder in all {
            let (kind, who) = holder.split_once('/').unwrap();
            let body = json!({"credential_name": name, "identity": {"type": kind, "name": who}});
            let answer = vault.admin(POST, "/v1/leases", Some(body)).await;
            if admitted.contains(&holder) {
                assert_eq!(text(&answer.data(201)["identity"], "name"), who);
            } else {
                let failure: Value = answer.fails(403, "POLICY_DENIED");
                assert_eq!(
                    failure["details"]["policy"], "credential:allowed_identities",
                    "{patterns} {holder}"
                );
            }
        }
    }
    for bad in [
        "CI-*",
        "ci-?",
        "ci-[0-9]",
        "agent/",
        "agents/ci-*",
        "^ci-.*$",
        "ci-* ",
        "agent/ci/*",
    ] {
        let body = json!({"name": "bad", "type": "api-key", "value": "v", "policy": {"allowed_identities": [bad]}});
        create(&vault, body).await.fails(400, "INVALID_PARAMETER");
    }
}
