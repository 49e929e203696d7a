//! Against a listener on loopback: what is sent, what is repeated, what is said when nobody answers.

use std::time::{Duration, Instant};

use serde_json::json;

use super::super::test_vault::{HANG_UP, TestVault, connect};
use super::*;

const OK: &str = r#"{"status":"success","data":{"name":"a"}}"#;
const SEALED: &str =
    r#"{"status":"error","code":"SEALED","message":"the vault is sealed","request_id":"req_1"}"#;

fn options(addr: &str) -> ClientOptions {
    ClientOptions {
        addr_named: false,
        addr: addr.into(),
        workspace: None,
        json: false,
    }
}

fn refusal(addr: &str, key: &str) -> String {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match Vault::connect(&options(addr), Some(Zeroizing::new(key.into()))) {
        Err(Failure::Usage(message)) => message,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("{addr} was accepted"),
    }
}

fn warning(addr: &str, key: Option<&str>) -> Option<String> {
    connect(addr, key).warning()
}

#[tokio::test]
async fn a_call_carries_key_workspace_and_body() {
    let vault = TestVault::answering(&[(200, OK)]);
    let call = Call::create(&["v1", "credentials"], &json!({ "name": "a" })).unwrap();
    let answer = vault.client().call(call).await.unwrap();
    assert_eq!(answer.data()["name"], "a");
    let request = vault.requests().remove(0);
    assert_eq!(request.line, "POST /v1/credentials HTTP/1.1");
    assert_eq!(request.header("authorization"), Some("Bearer lhk_test"));
    assert_eq!(request.header("x-workspace"), Some("w"));
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(request.header("idempotency-key").map(str::len), Some(32));
    assert_eq!(request.body, r#"{"name":"a"}"#);
}

#[tokio::test]
async fn a_creation_is_repeated_with_the_same_key_and_body() {
    let vault = TestVault::answering(&[(503, SEALED), (HANG_UP, ""), (502, "<html>"), (201, OK)]);
    let call = Call::create(&["v1", "leases"], &json!({ "credential_name": "a" })).unwrap();
    assert_eq!(vault.client().call(call).await.unwrap().status(), 201);
    let requests = vault.requests();
    assert_eq!(requests.len(), 4);
    for request in &requests {
        assert_eq!(
            request.header("idempotency-key"),
            requests[0].header("idempotency-key")
        );
        assert_eq!(request.body, requests[0].body);
    }
}

#[tokio::test]
async fn repetition_ends_and_the_last_answer_counts() {
    let vault = TestVault::answering(&[(503, SEALED); 5]);
    let outcome = vault.client().call(Call::get(&["v1", "leases"])).await;
    let Err(Failure::Refused(answer)) = outcome else {
        panic!()
    };
    assert_eq!(
        (answer.status().as_u16(), answer.field("code")),
        (503, Some("SEALED"))
    );
    assert_eq!(vault.requests().len(), 1 + MAX_RETRIES as usize);
}

#[tokio::test]
async fn what_could_take_effect_twice_is_sent_once() {
    for answer in [(503, SEALED), (HANG_UP, "")] {
        for call in [
            Call::post(&["v1", "leases", "lse_1", "renew"], &json!({})).unwrap(),
            Call::patch(&["v1", "credentials", "a"], &json!({})).unwrap(),
            Call::delete(&["v1", "credentials", "a"]),
            Call::get(&["ready"]).once(),
        ] {
            let vault = TestVault::answering(&[answer, (200, OK)]);
            assert!(vault.client().call(call).await.is_err());
            assert_eq!(vault.requests().len(), 1);
        }
    }
}

#[tokio::test]
async fn a_refusal_is_not_repeated_and_keeps_its_request_id() {
    let body = r#"{"status":"error","code":"RATE_LIMITED","message":"too many requests"}"#;
    let headers = "x-request-id: req_9\r\nretry-after: 7\r\n";
    let vault = TestVault::answering_with(429, headers, body);
    let failure = vault
        .client()
        .call(Call::get(&["v1", "leases"]))
        .await
        .unwrap_err();
    assert_eq!(
        failure.text(),
        "error: too many requests (RATE_LIMITED, request req_9)\n  retry after: 7 s\n"
    );
    assert_eq!(*failure.json(), body);
}

#[tokio::test]
async fn an_answer_that_no_vault_gives_is_told_from_a_refusal() {
    for (status, body) in [
        (200, "<html>"),
        (404, "<html>"),
        (500, "[1]"),
        (200, "\"text\""),
        (302, ""),
    ] {
        let vault = TestVault::answering_with(status, "location: http://127.0.0.1:1/\r\n", body);
        let failure = vault
            .client()
            .call(Call::delete(&["v1", "x"]))
            .await
            .unwrap_err();
        assert!(
            matches!(failure, Failure::Foreign(_)),
            "{status} {body}: {failure:?}"
        );
        assert!(!failure.text().contains("html"));
    }
    let vault = TestVault::answering(&[(204, "")]);
    assert!(
        vault
            .client()
            .call(Call::delete(&["v1", "x"]))
            .await
            .unwrap()
            .data()
            .is_null()
    );
}

#[tokio::test]
async fn a_closed_port_is_named_with_what_to_do() {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut vault = connect(&format!("http://{free}"), Some("lhk_s3cret"));
    vault.backoff = Duration::from_millis(1);
    let start = Instant::now();
    let failure = vault.call(Call::get(&["v1", "leases"])).await.unwrap_err();
    assert!(start.elapsed() < CONNECT_TIMEOUT);
    let text = failure.text();
    assert!(
        text.starts_with(&format!(
            "error: cannot connect to the vault at `http://{free}`: "
        )),
        "{text}"
    );
    assert!(
        text.contains("LEASEHOLD_ADDR") && text.contains("refused"),
        "{text}"
    );
    assert_eq!(failure.exit_code(), 1);
    assert!(!text.contains("s3cret") && !failure.json().contains("s3cret"));
}

#[test]
fn addresses_that_are_none_are_refused_without_being_repeated() {
    for addr in [
        "127.0.0.1:8200",
        "localhost:8200",
        "ftp://v",
        "http://",
        "http://user:s3cret@v",
        "https://s3cret@v",
        "http://v/?key=s3cret",
        "http://v/#s3cret",
    ] {
        let message = refusal(addr, "lhk_1");
        assert!(!message.contains("s3cret"), "{message}");
    }
}

#[test]
fn an_empty_address_is_the_default_and_a_path_is_kept() {
    assert_eq!(connect("", None).address(), DEFAULT_ADDR);
    assert_eq!(
        connect("https://v/leasehold/", None).address(),
        "https://v/leasehold"
    );
}

#[test]
fn a_key_that_cannot_be_one_is_refused_without_being_shown() {
    for key in ["s3cret\nx: y", "s3cret\u{0}", "s3crét"] {
        let message = refusal("http://v", key);
        assert!(
            message.contains(KEY_VARIABLE) && !message.contains("s3cr"),
            "{message}"
        );
    }
    let key = |key: &str| connect("http://127.0.0.1", Some(key));
    assert!(key(" lhk_1\n").has_key() && key(" lhk_1\n").require_key().is_ok());
    assert!(!key(" \n").has_key() && key("").require_key().is_err());
    let headers = format!("{:?}", key("lhk_s3cret").headers);
    assert!(!headers.contains("s3cret"), "{headers}");
}

#[test]
fn a_key_that_would_cross_the_network_in_the_clear_is_warned_about() {
    for addr in [
        "http://127.0.0.1:1",
        "http://localhost",
        "http://[::1]:1",
        "https://v.example",
    ] {
        assert!(warning(addr, Some("lhk_1")).is_none(), "{addr}");
    }
    for addr in [
        "http://v.example",
        "http://10.0.0.1",
        "http://localhost.example",
    ] {
        assert!(
            warning(addr, Some("lhk_1")).unwrap().contains(addr),
            "{addr}"
        );
        assert!(warning(addr, None).is_none());
    }
}
