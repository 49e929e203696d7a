//! Arguments to requests, and answers to output, for `leasehold credential`.

use clap::Parser;

use super::super::test_vault::{JSON, PEOPLE, Request, TempFile, TestVault};
use super::*;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: CredentialCommand,
}

fn parse(line: &[&str]) -> CredentialCommand {
    Cli::parse_from(std::iter::once("x").chain(line.iter().copied())).command
}

/// What is sent for a command line.
async fn sent(line: &[&str]) -> Request {
    let vault = TestVault::answering(&[(200, r#"{"status":"success","data":{"name":"a"}}"#)]);
    run(&vault.client(), parse(line), PEOPLE).await.unwrap();
    vault.requests().remove(0)
}

fn json_of(request: &Request) -> Value {
    serde_json::from_str(&request.body).unwrap()
}

async fn usage(line: &[&str]) -> String {
    let vault = TestVault::answering(&[]);
    match run(&vault.client(), parse(line), PEOPLE).await {
        Err(Failure::Usage(message)) => message,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn create_sends_the_value_and_only_what_was_given() {
    let file = TempFile::new(b"sk-\"1\"\n");
    let path = file.path().to_str().unwrap();
    let request = sent(&["create", "a", "--type", "api-key", "--value-file", path]).await;
    assert_eq!(request.line, "POST /v1/credentials HTTP/1.1");
    assert_eq!(
        json_of(&request),
        json!({ "name": "a", "type": "api-key", "value": "sk-\"1\"" })
    );
    assert!(request.header("idempotency-key").is_some());

    let line = "--description d --metadata team=ml --metadata x=a=b --max-leases 5 --keep-newline";
    let mut line: Vec<&str> = line.split(' ').collect();
    line.splice(
        0..0,
        ["create", "a", "--type", "api-key", "--value-file", path],
    );
    assert_eq!(
        json_of(&sent(&line).await),
        json!({ "name": "a", "type": "api-key", "value": "sk-\"1\"\n", "description": "d",
            "metadata": { "team": "ml", "x": "a=b" }, "policy": { "max_leases": 5 } })
    );
}

#[tokio::test]
async fn rotate_sends_the_new_value() {
    let file = TempFile::new(b"new\r\n");
    let path = file.path().to_str().unwrap();
    let line = [
        "rotate",
        "a",
        "--value-file",
        path,
        "--metadata",
        "access_key_id=AKIA",
        "--on-open-leases",
        "cut",
        "--expected-version",
        "3",
    ];
    let request = sent(&line).await;
    assert_eq!(request.line, "POST /v1/credentials/a/rotate HTTP/1.1");
    assert!(request.header("idempotency-key").is_some());
    assert_eq!(
        json_of(&request),
        json!({ "new_value": "new", "metadata": { "access_key_id": "AKIA" },
            "on_open_leases": "cut", "expected_version": 3 })
    );
    let request = sent(&["rotate", "a", "--value-file", path]).await;
    assert_eq!(json_of(&request), json!({ "new_value": "new" }));
}

#[tokio::test]
async fn update_is_a_merge_patch() {
    let line = "update a --description d --metadata k=v --remove-metadata old --state disabled \
        --max-leases 3 --unset-policy egress --unset-policy max_uses";
    let request = sent(&line.split_whitespace().collect::<Vec<_>>()).await;
    assert_eq!(request.line, "PATCH /v1/credentials/a HTTP/1.1");
    assert!(request.header("idempotency-key").is_none());
    assert_eq!(
        json_of(&request),
        json!({ "description": "d", "metadata": { "k": "v", "old": null }, "state": "disabled",
            "policy": { "max_leases": 3, "egress": null, "max_uses": null } })
    );
    let request = sent(&["update", "a", "--description", ""]).await;
    assert_eq!(json_of(&request), json!({ "description": null }));
}

#[tokio::test]
async fn an_update_that_says_nothing_or_two_things_is_misuse() {
    assert!(
        usage(&["update", "a"])
            .await
            .starts_with("nothing to change")
    );
    let line = ["update", "a", "--metadata", "k=v", "--remove-metadata", "k"];
    assert!(usage(&line).await.contains("`k`"));
    let line = [
        "update",
        "a",
        "--max-uses",
        "1",
        "--unset-policy",
        "max_uses",
    ];
    assert!(usage(&line).await.contains("`max_uses`"));
}

#[tokio::test]
async fn lists_carry_their_filters() {
    let line = "list --type api-key --state active --name a --metadata team=ml --metadata x=y --limit 2 --sort -name";
    let vault = TestVault::answering(&[(
        200,
        r#"{"data":[{"name":"a","type":"api-key","state":"active","current_version":3}],
            "page":{"limit":2,"next_cursor":"n1","total":4}}"#,
    )]);
    let report = run(
        &vault.client(),
        parse(&line.split(' ').collect::<Vec<_>>()),
        PEOPLE,
    )
    .await
    .unwrap();
    assert_eq!(
        vault.requests()[0].line,
        "GET /v1/credentials?name=a&type=api-key&state=active&limit=2&sort=-name\
         &metadata.team=ml&metadata.x=y HTTP/1.1"
    );
    assert!(report.out.contains("api-key") && report.notes.contains("--cursor n1"));
}

#[tokio::test]
async fn every_other_command_has_its_route() {
    for (line, expected) in [
        ("show a", "GET /v1/credentials/a"),
        ("versions a", "GET /v1/credentials/a/versions"),
        (
            "revoke-version a 2",
            "POST /v1/credentials/a/versions/2/revoke",
        ),
        ("delete a", "DELETE /v1/credentials/a"),
        ("delete a --force", "DELETE /v1/credentials/a?force=true"),
    ] {
        let request = sent(&line.split(' ').collect::<Vec<_>>()).await;
        assert_eq!(request.line, format!("{expected} HTTP/1.1"));
    }
    assert!(usage(&["show", ".."]).await.contains("not a name"));
}

#[tokio::test]
async fn a_deletion_without_content_says_what_happened() {
    let vault = TestVault::answering(&[(204, ""), (204, "")]);
    let report = run(&vault.client(), parse(&["delete", "a"]), PEOPLE)
        .await
        .unwrap();
    assert_eq!(
        (report.out.as_str(), report.notes.as_str()),
        ("", "deleted a\n")
    );
    let report = run(&vault.client(), parse(&["delete", "a"]), JSON)
        .await
        .unwrap();
    assert_eq!((report.out.as_str(), report.notes.as_str()), ("", ""));
}

#[tokio::test]
async fn nobody_types_a_value_for_a_line_that_is_refused_anyway() {
    // The file does not exist: reading it would be another failure.
    let line = [
        "create",
        "a",
        "--type",
        "t",
        "--metadata",
        "k=1",
        "--metadata",
        "k=2",
        "--value-file",
        "/nowhere",
    ];
    assert!(usage(&line).await.contains("`k`"));
}
