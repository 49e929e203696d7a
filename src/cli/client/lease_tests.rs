//! Arguments to requests, and answers to output, for `leasehold lease`.

use clap::Parser;

use super::super::test_vault::{JSON, PEOPLE, Request, TestVault};
use super::*;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: LeaseCommand,
}

fn parse(line: &str) -> LeaseCommand {
    Cli::parse_from(std::iter::once("x").chain(line.split_whitespace())).command
}

async fn sent(line: &str) -> Request {
    let vault = TestVault::answering(&[(200, r#"{"status":"success","data":{"id":"lse_1"}}"#)]);
    run(&vault.client(), parse(line), PEOPLE).await.unwrap();
    vault.requests().remove(0)
}

async fn body(line: &str) -> Value {
    serde_json::from_str(&sent(line).await.body).unwrap()
}

async fn shown(data: Value, mode: Mode) -> Report {
    let answer = json!({ "status": "success", "data": data }).to_string();
    let vault = TestVault::answering(&[(201, &answer)]);
    run(&vault.client(), parse("create a"), mode).await.unwrap()
}

#[tokio::test]
async fn create_sends_only_what_was_given() {
    assert_eq!(body("create a").await, json!({ "credential_name": "a" }));
    assert_eq!(
        body("create a --ttl 30m --delivery reveal --purpose p --session s --identity i --identity-type agent --reveal").await,
        json!({ "credential_name": "a", "ttl": "30m", "delivery": "reveal", "purpose": "p", "reveal": true,
            "identity": { "type": "agent", "name": "i", "session_id": "s" } })
    );
    assert_eq!(
        body("create a --session s").await,
        json!({ "credential_name": "a", "identity": { "session_id": "s" } })
    );
    let request = sent("create a").await;
    assert_eq!(request.line, "POST /v1/leases HTTP/1.1");
    assert!(request.header("idempotency-key").is_some());
}

#[tokio::test]
async fn every_other_command_has_its_route_and_body() {
    for (line, route, expected) in [
        ("show lse_1", "GET /v1/leases/lse_1", ""),
        ("events lse_1", "GET /v1/leases/lse_1/events", ""),
        (
            "events lse_1 --limit 3",
            "GET /v1/leases/lse_1/events?limit=3",
            "",
        ),
        ("renew lse_1", "POST /v1/leases/lse_1/renew", "{}"),
        (
            "renew lse_1 --ttl 1h",
            "POST /v1/leases/lse_1/renew",
            r#"{"ttl":"1h"}"#,
        ),
        ("release lse_1", "POST /v1/leases/lse_1/release", "{}"),
        ("revoke lse_1", "POST /v1/leases/lse_1/revoke", "{}"),
        (
            "revoke lse_1 --reason r",
            "POST /v1/leases/lse_1/revoke",
            r#"{"reason":"r"}"#,
        ),
        (
            "list --credential a --identity i --session s --state active --version 2 --since t --limit 5",
            "GET /v1/leases?credential_name=a&identity=i&session_id=s&state=active&version=2&since=t&limit=5",
            "",
        ),
    ] {
        let request = sent(line).await;
        assert_eq!(request.line, format!("{route} HTTP/1.1"));
        assert_eq!(request.body, expected);
        assert!(request.header("idempotency-key").is_none(), "{line}");
    }
}

#[tokio::test]
async fn bulk_revocation_sends_its_filter() {
    assert_eq!(
        body("revoke --all --reason r").await,
        json!({ "filter": {}, "all": true, "reason": "r" })
    );
    assert_eq!(
        body("revoke --credential a --identity i --version 2 --session s --reason r").await,
        json!({ "filter": { "credential_name": "a", "identity": "i", "version": 2, "session_id": "s" },
            "reason": "r" })
    );
    assert_eq!(
        sent("revoke --all --reason r").await.line,
        "POST /v1/leases/revoke HTTP/1.1"
    );
}

#[tokio::test]
async fn an_id_that_would_reach_the_bulk_route_sends_nothing() {
    for id in [".", ".."] {
        let vault = TestVault::answering(&[]);
        let outcome = run(&vault.client(), parse(&format!("revoke {id}")), PEOPLE).await;
        assert!(matches!(outcome, Err(Failure::Usage(_))), "{id}");
    }
}

#[tokio::test]
async fn a_new_lease_shows_its_handle_and_says_that_it_is_shown_once() {
    let data = json!({ "id": "lse_1", "handle": "lhh_1", "credential_name": "a", "ttl_capped": false,
        "broker": { "base_url": "http://v", "environment": { "A": "b" } } });
    let report = shown(data.clone(), PEOPLE).await;
    let lines: Vec<&str> = report.out.lines().collect();
    assert!(
        lines[0].starts_with("id ") && lines[1].ends_with(" lhh_1"),
        "{lines:?}"
    );
    assert!(lines[5].starts_with("broker.environment.A"), "{lines:?}");
    assert!(report.notes.contains("shown this once") && !report.notes.contains("lhh_1"));
    let report = shown(data, JSON).await;
    assert!(report.out.contains("lhh_1") && report.notes.is_empty());
}

#[tokio::test]
async fn a_revealed_value_comes_last_and_can_be_copied() {
    let report = shown(
        json!({ "value": "s3cret", "zeta": 1, "id": "lse_1" }),
        PEOPLE,
    )
    .await;
    assert_eq!(*report.out, "id     lse_1\nzeta   1\nvalue  s3cret\n");
    let report = shown(json!({ "value": "-----BEGIN\nx\n", "id": "lse_1" }), PEOPLE).await;
    assert_eq!(*report.out, "id  lse_1\nvalue\n-----BEGIN\nx\n");
}
