//! Checkpoints and proofs over HTTP and by the command line, and what an independent implementation says of them.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{GET, POST, text};
use crate::support::{TempDir, Vault, leasehold};

/// The longest that a record may wait for its checkpoint here.
const SEALED_WITHIN: Duration = Duration::from_secs(60);

async fn get(vault: &Vault, path: &str) -> Value {
    vault.admin(GET, path, None).await.data(200)
}

/// The newest checkpoint once it is over so many records.
async fn sealed(vault: &Vault, size: u64) -> Value {
    let begun = Instant::now();
    loop {
        let latest = get(vault, "/v1/audit/checkpoints/latest").await;
        if latest["size"].as_u64().unwrap() >= size {
            return latest;
        }
        assert!(begun.elapsed() < SEALED_WITHIN, "never sealed: {latest}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The number of the newest record of the administrator's workspace.
async fn newest(vault: &Vault) -> u64 {
    let answer = vault.admin(GET, "/v1/audit?limit=1", None).await;
    answer.body["data"][0]["sequence"].as_u64().unwrap()
}

async fn public_key(vault: &Vault) -> String {
    let keys = vault
        .request(GET, "/.well-known/leasehold-keys.json", "", None, &[])
        .await;
    text(&keys.body["data"]["keys"][0], "public_key").to_owned()
}

fn python(arguments: &[&str]) -> Output {
    Command::new("python3")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/verify.py"))
        .args(arguments)
        .output()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn proofs_hold_by_an_independent_implementation() {
    let vault = Vault::dev();
    let key = public_key(&vault).await;
    let folder = TempDir::new();
    let file = |name: &str, value: &Value| {
        let path = folder.path().join(name);
        fs::write(&path, value.to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let mut kept = Vec::new();
    for round in 0..4 {
        for number in 0..=round * 3 {
            vault
                .store(&format!("c-{round}-{number}"), "v", json!({}))
                .await;
        }
        kept.push(sealed(&vault, newest(&vault).await).await);
    }
    let latest = sealed(&vault, kept[3]["size"].as_u64().unwrap()).await;
    let size = latest["size"].as_u64().unwrap();
    for (at, checkpoint) in kept.iter().enumerate() {
        let checkpoint_file = file(&format!("kept-{at}.json"), checkpoint);
        let shown = python(&[&key, "checkpoint", &checkpoint_file]);
        assert!(shown.status.success(), "{shown:?}");
        let from = checkpoint["size"].as_u64().unwrap();
        let proof = get(
            &vault,
            &format!("/v1/audit/consistency?from={from}&to={size}"),
        )
        .await;
        let proof_file = file("consistency.json", &proof);
        let shown = python(&[&key, "consistency", &checkpoint_file, &proof_file]);
        assert!(shown.status.success(), "{shown:?}");
        if !proof["path"].as_array().unwrap().is_empty() {
            let mut worse = proof.clone();
            worse["path"].as_array_mut().unwrap().pop();
            let worse = file("worse.json", &worse);
            assert!(
                !python(&[&key, "consistency", &checkpoint_file, &worse])
                    .status
                    .success()
            );
        }
    }
    let history = vault
        .admin(GET, "/v1/audit?limit=200&sort=time", None)
        .await;
    let numbers: Vec<u64> = history.body["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|record| record["sequence"].as_u64().unwrap())
        .filter(|number| *number <= size)
        .collect();
    for number in [
        numbers[0],
        numbers[numbers.len() / 2],
        numbers[numbers.len() - 1],
    ] {
        let proof = get(
            &vault,
            &format!("/v1/audit/proof?sequence={number}&size={size}"),
        )
        .await;
        let shown = python(&[&key, "inclusion", &file("proof.json", &proof)]);
        assert!(shown.status.success(), "{shown:?}");
        for (field, worse) in [
            ("sequence", json!(number + 1)),
            ("record", json!("AAAA")),
            ("size", json!(size + 1)),
        ] {
            let mut other = proof.clone();
            other[field] = worse;
            let shown = python(&[&key, "inclusion", &file("other.json", &other)]);
            assert!(!shown.status.success(), "{field}: {shown:?}");
        }
        let mut other = proof.clone();
        other["leaf"]["sealed"] = json!("00".repeat(32));
        assert!(
            !python(&[&key, "inclusion", &file("other.json", &other)])
                .status
                .success()
        );
    }
    let mut forged = latest.clone();
    forged["note"] =
        json!(text(&latest, "note").replace(&format!("\n{size}\n"), &format!("\n{}\n", size + 1)));
    assert!(
        !python(&[&key, "checkpoint", &file("forged.json", &forged)])
            .status
            .success()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_are_listed_and_the_log_holds() {
    let vault = Vault::dev();
    for number in 0..3 {
        vault.store(&format!("c-{number}"), "v", json!({})).await;
        sealed(&vault, newest(&vault).await).await;
    }
    let page = vault
        .admin(GET, "/v1/audit/checkpoints?limit=2", None)
        .await;
    let total = page.body["page"]["total"].as_u64().unwrap();
    assert!(total >= 3, "{}", page.text);
    let mut all = page.body["data"].as_array().unwrap().clone();
    let mut cursor = text(&page.body["page"], "next_cursor").to_owned();
    loop {
        let path = format!("/v1/audit/checkpoints?limit=2&cursor={cursor}");
        let page = vault.admin(GET, &path, None).await;
        all.extend(page.body["data"].as_array().unwrap().iter().cloned());
        match page.body["page"]["next_cursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => break,
        }
    }
    assert_eq!(all.len() as u64, total);
    let sizes: Vec<_> = all
        .iter()
        .map(|one| one["size"].as_u64().unwrap())
        .collect();
    assert!(sizes.is_sorted_by(|newer, older| newer > older));
    assert_eq!(all.last().unwrap()["previous"], Value::Null);
    let oldest_first = vault
        .admin(GET, "/v1/audit/checkpoints?sort=size&limit=1", None)
        .await;
    assert_eq!(oldest_first.body["data"][0], *all.last().unwrap());

    let verified = get(&vault, "/v1/audit/verify").await;
    assert_eq!(
        (&verified["intact"], &verified["first"]),
        (&json!(true), &json!(1)),
        "{verified}"
    );
    assert_eq!(verified["records"], verified["last"]);
    assert!(verified["proven"].as_u64().unwrap() >= sizes[0]);
    let part = get(
        &vault,
        &format!("/v1/audit/verify?from={}&to={}", sizes[0], sizes[0]),
    )
    .await;
    assert_eq!(
        (&part["intact"], &part["last"]),
        (&json!(true), &json!(sizes[0])),
        "{part}"
    );
    assert!(
        part["first"].as_u64().unwrap() > 1,
        "it begins at the checkpoint before: {part}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_proven_is_refused_and_another_workspace_looks_missing() {
    let vault = Vault::dev();
    vault.store("mine", "v", json!({})).await;
    let mine = newest(&vault).await;
    let body = json!({"name": "other"});
    vault
        .admin(POST, "/v1/workspaces", Some(body))
        .await
        .data(201);
    let body = json!({"name": "theirs", "type": "api-key", "value": "v"});
    let other = [("X-Workspace", "other")];
    let made = vault
        .request(
            POST,
            "/v1/credentials",
            &vault.admin_key,
            Some(body),
            &other,
        )
        .await;
    made.data(201);
    let theirs = vault
        .request(GET, "/v1/audit?limit=1", &vault.admin_key, None, &other)
        .await;
    let theirs = theirs.body["data"][0]["sequence"].as_u64().unwrap();
    let size = sealed(&vault, theirs).await["size"].as_u64().unwrap();
    let proof = |sequence: u64| format!("/v1/audit/proof?sequence={sequence}");
    get(&vault, &proof(mine)).await;
    let told = |answer: crate::support::Answer| {
        let mut body = answer.fails(404, "NOT_FOUND");
        body["request_id"] = Value::Null;
        body
    };
    let foreign = told(vault.admin(GET, &proof(theirs), None).await);
    let missing = told(vault.admin(GET, &proof(1 << 40), None).await);
    assert_eq!(foreign, missing);
    assert_eq!(foreign, told(vault.admin(GET, &proof(0), None).await));
    let there = vault
        .request(GET, &proof(theirs), &vault.admin_key, None, &other)
        .await;
    there.data(200);
    let refused = [
        ("/v1/audit/proof".to_owned(), "MISSING_PARAMETER"),
        ("/v1/audit/proof?sequence=x".to_owned(), "INVALID_PARAMETER"),
        (
            format!("/v1/audit/proof?sequence=1&size={}", size + 1000),
            "INVALID_PARAMETER",
        ),
        (
            "/v1/audit/proof?sequence=1&size=0".to_owned(),
            "INVALID_PARAMETER",
        ),
        (
            "/v1/audit/consistency?from=0".to_owned(),
            "INVALID_PARAMETER",
        ),
        (
            "/v1/audit/consistency?from=3&to=2".to_owned(),
            "INVALID_PARAMETER",
        ),
        ("/v1/audit/verify?from=0".to_owned(), "INVALID_PARAMETER"),
        (
            "/v1/audit/verify?from=3&to=2".to_owned(),
            "INVALID_PARAMETER",
        ),
        (
            "/v1/audit/checkpoints?offset=1".to_owned(),
            "INVALID_PARAMETER",
        ),
        (
            "/v1/audit/checkpoints?cursor=AA".to_owned(),
            "INVALID_PARAMETER",
        ),
        (
            "/v1/audit/checkpoints/latest?x=1".to_owned(),
            "INVALID_PARAMETER",
        ),
    ];
    for (path, code) in refused {
        vault.admin(GET, &path, None).await.fails(400, code);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_holds_the_vault_to_what_was_kept() {
    let vault = Vault::dev();
    let folder = TempDir::new();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let run = |arguments: &[&str]| {
        leasehold()
            .args(["audit"])
            .args(arguments)
            .env("LEASEHOLD_ADDR", &vault.address)
            .env("LEASEHOLD_KEY", &vault.admin_key)
            .output()
            .unwrap()
    };
    let said = |output: &Output| String::from_utf8(output.stdout.clone()).unwrap();
    fs::write(at("key"), public_key(&vault).await).unwrap();
    vault.store("one", "v", json!({})).await;
    let number = newest(&vault).await;
    sealed(&vault, number).await;
    let saved = run(&[
        "checkpoint",
        "save",
        &at("kept.json"),
        "--public-key",
        &at("key"),
    ]);
    assert!(saved.status.success(), "{saved:?}");
    vault.store("two", "v", json!({})).await;
    sealed(&vault, newest(&vault).await).await;
    let proof = run(&["proof", &number.to_string(), "--public-key", &at("key")]);
    assert!(
        proof.status.success() && said(&proof).contains("checkpoint of"),
        "{proof:?}"
    );
    let verified = run(&[
        "verify",
        "--against",
        &at("kept.json"),
        "--public-key",
        &at("key"),
    ]);
    assert!(
        verified.status.success() && said(&verified).starts_with("intact: "),
        "{verified:?}"
    );
    let goes_on = run(&[
        "consistency",
        "--against",
        &at("kept.json"),
        "--public-key",
        &at("key"),
    ]);
    assert!(
        goes_on.status.success() && said(&goes_on).contains("checkpoint of"),
        "{goes_on:?}"
    );
    let asked = run(&["--json", "verify"]);
    assert!(asked.status.success(), "{asked:?}");
    let asked: Value = serde_json::from_str(&said(&asked)).unwrap();
    assert_eq!(asked["data"]["intact"], true);
    assert!(run(&["checkpoint", "list"]).status.success());
    assert!(run(&["checkpoint", "latest"]).status.success());

    // Another vault's checkpoint, key and log.
    let wrong = run(&["verify", "--public-key", &"00".repeat(32)]);
    assert_eq!(wrong.status.code(), Some(1), "{wrong:?}");
    let other = Vault::dev();
    fs::write(at("other"), public_key(&other).await).unwrap();
    let foreign = run(&[
        "verify",
        "--against",
        &at("kept.json"),
        "--public-key",
        &at("other"),
    ]);
    assert_eq!(foreign.status.code(), Some(1), "{foreign:?}");
    fs::write(at("nothing"), "{}").unwrap();
    let nothing = run(&[
        "verify",
        "--against",
        &at("nothing"),
        "--public-key",
        &at("key"),
    ]);
    assert_eq!(nothing.status.code(), Some(1), "{nothing:?}");
    assert_eq!(run(&["verify", "--data-dir", "d"]).status.code(), Some(2));
}
