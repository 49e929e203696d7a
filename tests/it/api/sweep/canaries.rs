//! INVARIANT (no-side-door): secrets in every place of every request, the wrong places too, through success and failure,
//! and then a search of everything that can be read out: history, logs, metrics, and the data folder.

use serde_json::{Value, json};

use super::{recorded::whole_history, *};
use crate::{
    support::{TempDir, leasehold},
    survival::{kit::files, secrets::Canaries},
};

/// What shows history of one session, by what follows `/v1/`; `$lease` is a lease of it.
const OF_SESSION: &[&str] = &[
    "leases/$lease/events?limit=200",
    "audit/export?session_id=s-told",
    "audit/export?session_id=s-told&format=csv",
    "audit/export?session_id=s-told&format=ocsf",
    "reports/exposure?session_id=s-told",
    "reports/exposure?session_id=s-told&format=signed",
    "reports/exposure?session_id=s-told&format=markdown",
];

/// What shows all that was sent to a workspace.
const OF_WORKSPACE: &[&str] = &[
    "audit/export",
    "audit/export?format=csv",
    "audit/export?format=ocsf",
    "audit/export?format=csv&proofs=true",
    "audit/export?format=ocsf&proofs=true",
    "audit/stream?follow=false&since=2020-01-01T00:00:00Z",
    "reports/exposure?source=127.0.0.0/8",
    "reports/exposure?source=127.0.0.0/8&format=signed",
    "reports/exposure?source=127.0.0.0/8&format=markdown",
    "reports/stale?unused_for=1s",
    "reports/rotation-due",
];

/// Fields whose texts are for people, and that history tells as they are: names, and what something is for.
const TOLD: &[&str] = &[
    "name",
    "description",
    "reason",
    "purpose",
    "comment",
    "iss",
    "jwks_url",
    "audiences",
    "sub",
    "credential_name",
    "workspace",
    "resource",
];

/// Secrets as they may be misplaced.
struct Secrets {
    /// No form of the vault's own: a provider's key.
    foreign: String,
    /// Bearer strings of the vault's own form.
    bearers: Vec<String>,
}

impl Secrets {
    fn all(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.foreign).chain(&self.bearers)
    }
}

/// The body with one text after the other replaced, each time with the field's name.
fn replaced(body: &Value, secret: &str) -> Vec<(String, Value)> {
    fn walk(at: &Value, path: &str, field: &str, found: &mut Vec<(String, String)>) {
        match at {
            Value::Object(fields) => {
                for (name, value) in fields {
                    walk(value, &format!("{path}/{name}"), name, found);
                }
            }
            Value::Array(items) => {
                for (number, value) in items.iter().enumerate() {
                    walk(value, &format!("{path}/{number}"), field, found);
                }
            }
            _ => found.push((path.to_owned(), field.to_owned())),
        }
    }
    let mut places = Vec::new();
    walk(body, "", "", &mut places);
    let with = places.into_iter().map(|(path, field)| {
        let mut body = body.clone();
        *body.pointer_mut(&path).unwrap() = json!(secret);
        (field, body)
    });
    with.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_that_is_sent_anywhere_can_be_read_out_again() {
    let folder = TempDir::new();
    let data_dir = folder.path().join("data");
    let mut command = leasehold();
    command.env("RUST_LOG", "trace");
    command.args([
        "dev",
        "--listen",
        "127.0.0.1:0",
        "--output",
        "json",
        "--log-format",
        "json",
    ]);
    command.arg("--data-dir").arg(&data_dir);
    let vault = Vault::started_by(command, data_dir.clone());
    let admin = Client::admin_of(&vault, "w").await;
    let keeper = admin.admits("keeper", "owner").await;
    let token = admin.does(POST, "/v1/tokens", json!({}), 201).await;
    vault.store("real", "CaNaRy-real-value", json!({})).await;
    let lease = crate::api::take(&vault, "real").await;

    let mut canaries = Canaries::default();
    canaries.plant("administrator's key", vault.admin_key.clone());
    canaries.plant("agent's key", vault.agent_key.clone());
    canaries.plant("value", "CaNaRy-real-value");
    let secrets = Secrets {
        foreign: canaries.plant("provider's key", "sk-CaNaRy-4f1dE09b"),
        bearers: vec![
            canaries.plant("another key", admin.key_for("keeper", "owner").await.key),
            canaries.plant("handle", text(&lease, "handle")),
            canaries.plant("token", text(&token, "token")),
        ],
    };

    let mut sent = 0;
    for (number, route) in routes(&vault).await.into_iter().enumerate() {
        let template = Template::of(&route);
        // A stop of everything would end the test's own keys, and what comes after it.
        let keeper = match route.path.ends_with("revoke-all") {
            true => admin.key_for("keeper", "owner").await,
            false => Client {
                vault: &vault,
                key: keeper.key.clone(),
                workspace: Some("w"),
            },
        };
        let mut scene = Scene::set(&admin, &template, "keeper", number).await;
        scene.0.insert("assertion", secrets.bearers[2].clone());
        let (path, body) = template.fill(&scene);
        let mut requests: Vec<(String, Option<Value>)> = Vec::new();
        for secret in secrets.all() {
            let foreign = *secret == secrets.foreign;
            requests.push((format!("{path}?token={secret}"), body.clone()));
            requests.push((format!("{path}?{secret}=1"), body.clone()));
            if path.contains("agent") || template.path.contains('$') {
                let mut parts: Vec<_> = path.split('/').collect();
                let last = parts
                    .iter()
                    .rposition(|part| part.contains(['-', '_']))
                    .unwrap_or(3);
                parts[last] = secret;
                requests.push((parts.join("/"), body.clone()));
            }
            let Some(body) = &body else { continue };
            requests.push((path.clone(), Some(json!([secret]))));
            let mut more = body.clone();
            more[secret] = json!(secret);
            requests.push((path.clone(), Some(more)));
            for (field, body) in replaced(body, secret) {
                if !(foreign && TOLD.contains(&field.as_str())) {
                    requests.push((path.clone(), Some(body)));
                }
            }
        }
        // The fitting one last: it may end what the others name.
        requests.push((path, body));
        for (at, (path, body)) in requests.into_iter().enumerate() {
            let secret = &secrets.bearers[at % secrets.bearers.len()];
            let cookie = format!("session={}", secrets.foreign);
            let agent = format!("agent/1 ({secret})");
            let headers = [
                ("x-workspace", "w"),
                ("cookie", cookie.as_str()),
                ("x-api-key", secret.as_str()),
                ("x-request-id", secret.as_str()),
                ("x-forwarded-for", secrets.foreign.as_str()),
                ("referer", secret.as_str()),
                ("user-agent", agent.as_str()),
                ("idempotency-key", secrets.foreign.as_str()),
            ];
            // Most creating requests would only be answered again.
            let headers = &headers[..headers.len() - usize::from(at % 2 == 0)];
            let answer = vault
                .request(route.method.clone(), &path, &keeper.key, body, headers)
                .await;
            assert_ne!(answer.status, 500, "{} {}", route.path, answer.text);
            sent += 1;
        }
        for key in [
            &secrets.foreign,
            &format!("{}x", secrets.bearers[0]),
            &secrets.bearers[1],
        ] {
            let path = format!("/v1/leases?{key}");
            vault
                .request(GET, &path, key, None, &[("x-workspace", "w")])
                .await;
        }
    }
    assert!(sent > 800, "{sent} requests");

    let purpose = json!({"credential_name": "real", "purpose": "a purpose to be told", "identity": {"session_id": "s-told"}});
    let told = crate::api::ask(&vault, purpose).await.data(201);
    let metrics = vault.admin(GET, "/metrics", None).await.text;
    canaries.assert_absent(metrics.as_bytes(), "the metrics");
    // The strangers of the last seconds are written down at the stop.
    let log = vault.log();
    let vault = vault.restart(&[]);
    let all = Client {
        vault: &vault,
        key: vault.admin_key.clone(),
        workspace: None,
    };
    let w = Client {
        vault: &vault,
        key: vault.admin_key.clone(),
        workspace: Some("w"),
    };
    let mut records = whole_history(&all, "").await;
    assert!(
        records
            .iter()
            .any(|record| record["purpose"] == "a purpose to be told")
    );
    assert!(
        records
            .iter()
            .any(|record| record["session_id"] == "s-told")
    );
    assert!(
        records
            .iter()
            .any(|record| record["lease_id"] == told["id"])
    );
    let of_w = whole_history(&w, "").await;
    assert!(of_w.len() > 500, "{} records", of_w.len());
    assert!(of_w.iter().any(|record| {
        record["credential_name"]
            .as_str()
            .is_some_and(|name| name.starts_with("fresh-"))
    }));
    records.extend(of_w);
    let system = whole_history(&all, "&scope=organisation").await;
    assert!(system.iter().any(|record| record["event"] == "auth.failed"));
    records.extend(system);
    let all_records = json!(records).to_string();
    if !canaries.is_absent(all_records.as_bytes()) {
        for record in &records {
            canaries.assert_absent(record.to_string().as_bytes(), &format!("{record}"));
        }
    }
    for path in OF_WORKSPACE {
        let path = format!("/v1/{path}");
        let answer = w.asks(GET, &path, None).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        assert!(answer.text.len() > 50, "{path}: {}", answer.text);
        canaries.assert_absent(answer.text.as_bytes(), &path);
    }
    for path in OF_SESSION {
        let path = format!("/v1/{}", path.replace("$lease", text(&told, "id")));
        let answer = all.asks(GET, &path, None).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        assert!(answer.text.contains("s-told"), "{path}: {}", answer.text);
        canaries.assert_absent(answer.text.as_bytes(), &path);
    }
    assert!(
        log.lines().count() > 1000,
        "the log is too quiet to be searched"
    );
    canaries.assert_absent(log.as_bytes(), "the log");
    canaries.assert_absent(vault.log().as_bytes(), "the log of the restart");
    assert_eq!(vault.stop().0, Some(0));
    for file in files(&data_dir) {
        let bytes = std::fs::read(&file).unwrap();
        canaries.assert_absent(&bytes, &file.display().to_string());
    }
}
