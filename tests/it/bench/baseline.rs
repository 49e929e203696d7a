//! The baseline answers what the vault answers.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    process::Stdio,
};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Vault, client, leasehold, wait};

const NAME: &str = "bench-000000";

/// Every field by its path; those of a list's items once.
fn fields(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            found.insert(path.to_owned());
            for (name, value) in object {
                fields(value, &format!("{path}.{name}"), found);
            }
        }
        Value::Array(items) => {
            for item in items {
                fields(item, &format!("{path}[]"), found);
            }
        }
        leaf => {
            let kind = match leaf {
                Value::Null => "null",
                Value::Bool(_) => "bool",
                Value::Number(_) => "number",
                _ => "text",
            };
            found.insert(format!("{path}: {kind}"));
        }
    }
}

fn shape(value: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    fields(value, "", &mut found);
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn both_answer_the_same_to_the_same_requests() {
    let vault = Vault::dev();
    vault
        .store(
            NAME,
            &"x".repeat(321),
            json!({"max_lease_ttl": "7d", "delivery": ["reveal"]}),
        )
        .await;
    let mut child = leasehold()
        .args([
            "bench-baseline",
            "--value-bytes",
            "321",
            "--credential",
            NAME,
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    let bare = format!("http://{}", line.trim());
    let http = client();
    let ask = async |address: &str, method: Method, path: &str, body: Option<&Value>| {
        let mut request = http
            .request(method, format!("{address}{path}"))
            .bearer_auth(&vault.agent_key);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.unwrap();
        let (status, text) = (response.status(), response.text().await.unwrap());
        (status, text)
    };
    let issue = json!({"credential_name": NAME, "ttl": "2h", "purpose": "measure"});
    let mut revealing = issue.clone();
    revealing["reveal"] = true.into();
    for _ in 0..60 {
        vault.lease(issue.clone()).await;
    }
    let lease = vault.lease(issue.clone()).await;
    let path = |rest: &str| format!("/v1/leases/{}{rest}", lease["id"].as_str().unwrap());
    for (method, path, body) in [
        (Method::POST, "/v1/leases".to_owned(), Some(issue)),
        (Method::POST, "/v1/leases".to_owned(), Some(revealing)),
        (Method::GET, path(""), None),
        (Method::POST, path("/renew"), Some(json!({"ttl": "2h"}))),
        (
            Method::POST,
            "/v1/handles/redeem".to_owned(),
            Some(json!({"handle": lease["handle"]})),
        ),
        (
            Method::GET,
            "/v1/leases?credential_name=bench-000000&sort=created_at".to_owned(),
            None,
        ),
        (Method::POST, path("/release"), Some(json!({}))),
    ] {
        let (status, text) = ask(&vault.address, method.clone(), &path, body.as_ref()).await;
        let (bare_status, bare_text) = ask(&bare, method.clone(), &path, body.as_ref()).await;
        assert_eq!(status, bare_status, "{path}: {text} {bare_text}");
        let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let (seen, mut expected) = (shape(&read(&bare_text)), shape(&read(&text)));
        if path.ends_with("/release") {
            // This lease was redeemed before; one that the bench releases never was.
            expected.remove(".data.last_used_at: text");
            expected.insert(".data.last_used_at: null".to_owned());
        }
        assert_eq!(seen, expected, "{path}");
        // A time without milliseconds is shorter by four.
        let difference = text.len().abs_diff(bare_text.len());
        assert!(difference * 20 <= text.len(), "{path}: {text} {bare_text}");
        if let Some(body) = body {
            let mut unknown = body.clone();
            unknown["unknown"] = 1.into();
            let (status, _) = ask(&bare, method, &path, Some(&unknown)).await;
            assert!(status.is_client_error(), "{path}: {status}");
        }
    }
    // It ends with whoever started it.
    drop(child.stdin.take());
    assert!(wait(&mut child).success());
}
