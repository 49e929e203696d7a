//! What happened to the vault itself, wherever history is read: shown, streamed, exported and proven.

use std::fs;

use serde_json::{Value, json};

use super::{GET, POST, text};
use crate::support::{TempDir, Vault, leasehold};

const WHERE: [&str; 5] = [
    "/v1/audit?scope=organisation",
    "/v1/audit/1?scope=organisation",
    "/v1/audit/stream?scope=organisation&follow=false",
    "/v1/audit/export?scope=organisation",
    "/v1/audit/proof?scope=organisation&sequence=1",
];

// INVARIANT (isolation)
#[tokio::test(flavor = "multi_thread")]
async fn the_vaults_own_records_are_for_whoever_reaches_every_workspace() {
    let vault = Vault::dev();
    let body = json!({"name": "eye", "type": "human", "role": "workspace_admin"});
    let made = vault.admin(POST, "/v1/identities", Some(body)).await;
    made.data(201);
    let body = json!({"name": "k", "role": "workspace_admin", "identity": {"name": "eye", "type": "human"}});
    let key = vault.admin(POST, "/v1/api-keys", Some(body)).await;
    let key = key.data(201);
    for path in WHERE {
        let refused = vault.request(GET, path, text(&key, "key"), None, &[]).await;
        refused.fails(403, "INSUFFICIENT_PERMISSIONS");
        let wrong = path.replace("organisation", "everything");
        let refused = vault.admin(GET, &wrong, None).await;
        refused.fails(400, "INVALID_PARAMETER");
    }
    let denied = vault.admin(GET, "/v1/audit?actor=eye&event=authz.denied", None);
    assert_eq!(
        denied.await.data(200).as_array().unwrap().len(),
        WHERE.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_vaults_own_records_are_shown_streamed_exported_and_proven() {
    let vault = Vault::dev();
    vault.store("ours", "v", json!({})).await;
    let own = "/v1/audit?scope=organisation&event=vault.started";
    let own = vault.admin(GET, own, None).await.data(200)[0].clone();
    let sequence = own["sequence"].as_u64().unwrap();
    let number = sequence.to_string();
    let path = format!("/v1/audit/{sequence}");
    let missing = vault.admin(GET, &path, None).await;
    missing.fails(404, "NOT_FOUND");
    let shown = format!("{path}?scope=organisation");
    assert_eq!(vault.admin(GET, &shown, None).await.data(200), own);
    let missing = format!("/v1/audit/proof?sequence={sequence}");
    let missing = vault.admin(GET, &missing, None).await;
    missing.fails(404, "NOT_FOUND");

    let cli = |arguments: &[&str]| {
        let mut command = leasehold();
        command
            .env("LEASEHOLD_ADDR", &vault.address)
            .env("LEASEHOLD_KEY", &vault.admin_key)
            .env_remove("RUST_LOG")
            .args(arguments);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let folder = TempDir::new();
    let out = folder.path().join("own.ndjson");
    let file = out.to_str().unwrap();
    let scope = ["--scope", "organisation"];
    let with = |arguments: &[&str]| cli(&[arguments, &scope].concat());
    with(&["audit", "export", "--out", file]);
    let whole = fs::read_to_string(&out).unwrap();
    let found = whole
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .find(|line| line["sequence"] == sequence);
    assert_eq!(found.unwrap()["record"], own);
    assert!(!whole.contains("\"ours\""));
    let keys = "/.well-known/leasehold-keys.json";
    let keys = vault.request(GET, keys, "", None, &[]).await.data(200);
    let key = text(&keys["keys"][0], "public_key").to_owned();
    let verify = ["audit", "verify", "--export", file, "--public-key", &key];
    assert!(cli(&verify).contains("records of the vault itself"));
    // It was sealed for the export.
    let proof = with(&["audit", "proof", &number, "--public-key", &key]);
    assert!(proof.contains("the checkpoint of"), "{proof}");
    let shown = with(&["audit", "show", &number, "--json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["data"], own);
    let before = (sequence - 1).to_string();
    let tail = ["audit", "tail", "--no-follow", "--after", &before, "--json"];
    let line = with(&tail);
    let first: Value = serde_json::from_str(line.lines().next().unwrap()).unwrap();
    assert_eq!(first, own);
    let listed = with(&["audit", "query", "--event", "vault.started", "--json"]);
    assert!(listed.contains(text(&own, "id")));
    // Each reading is in the workspace's own history.
    let read = vault.admin(GET, "/v1/audit?event=audit.read&limit=200", None);
    let read = read.await.data(200);
    let named = |what: &str| {
        let what = format!("{what} of the vault");
        let all = read.as_array().unwrap().iter();
        all.clone()
            .any(|one| one["object"] == what || one["reason"] == what)
    };
    for what in [
        &format!("record {sequence}"),
        "proof",
        "a live stream begins",
    ] {
        assert!(named(what), "{what}: {read}");
    }
}
