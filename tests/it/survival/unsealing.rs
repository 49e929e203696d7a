//! The root key: the right one opens, every other way in is refused in words, and nothing is changed by trying.

use std::{fs, os::unix::fs::PermissionsExt};

use reqwest::Method;
use serde_json::json;

use super::kit::{Api, Ended, Production, Server, run};
use crate::support::{TempDir, leasehold};

fn refusal(vault: &Production) -> Ended {
    vault.serve().err().expect("it serves")
}

/// The number of the newest record: that of the question for it.
async fn newest(admin: &Api) -> u64 {
    let page = admin.get("/v1/audit?limit=1").await;
    page["data"][0]["sequence"].as_u64().unwrap()
}

/// It serves what was stored, and nothing was recorded since `before` but a stop, the two records of this start
/// and these questions.
async fn assert_unchanged(vault: &Production, before: u64) -> u64 {
    let server = vault.serve().unwrap();
    let admin = Api::new(&server.address, &vault.admin_key);
    assert_eq!(newest(&admin).await, before + 4);
    assert_eq!(admin.credential("kept").await["current_version"], 1);
    let agent = Api::new(&server.address, &vault.agent_key);
    let lease = agent.lease("kept", "1m").await.unwrap();
    let value = agent.redeem(lease["handle"].as_str().unwrap()).await;
    assert_eq!(value.unwrap(), "the-value");
    let newest = newest(&admin).await;
    assert_eq!(server.stop().code, Some(0));
    newest
}

#[tokio::test]
async fn a_wrong_or_exposed_root_key_is_refused_and_changes_nothing() {
    let folder = TempDir::new();
    let vault = Production::init(folder.path());
    let server = vault.serve().unwrap();
    let body = json!({"name": "kept", "type": "api-key", "value": "the-value"});
    let admin = Api::new(&server.address, &vault.admin_key);
    assert_eq!(admin.post("/v1/credentials", body).await.unwrap().0, 201);
    let before = newest(&admin).await;
    let ended = server.stop();
    assert_eq!(ended.code, Some(0), "{ended:?}");

    let mode = fs::metadata(&vault.key_file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let right = fs::read_to_string(&vault.key_file).unwrap();
    let rewrite = |text: &str, mode: u32| {
        fs::write(&vault.key_file, text).unwrap();
        fs::set_permissions(&vault.key_file, fs::Permissions::from_mode(mode)).unwrap();
    };
    let wrong = format!("leasehold-root-v1:{}\n", "5a".repeat(32));
    rewrite(&wrong, 0o600);
    refusal(&vault).refused(&["root key is not the one"]);
    for mode in [0o644, 0o640, 0o604, 0o660] {
        rewrite(&right, mode);
        refusal(&vault).refused(&["root.key", "chmod 600"]);
    }
    for text in [
        "",
        "leasehold-root-v1:",
        "leasehold-root-v1:zz",
        "leasehold-root-v2:00",
        &right[..right.len() - 4],
        &format!("{}00", right.trim()),
        &right.replace(':', " "),
    ] {
        rewrite(text, 0o600);
        let ended = refusal(&vault);
        ended.refused(&["root.key", "not a root key"]);
        assert!(
            !ended
                .stderr
                .contains(right.trim().rsplit(':').next().unwrap())
        );
    }
    fs::remove_file(&vault.key_file).unwrap();
    refusal(&vault).refused(&["root.key"]);
    assert!(!vault.key_file.exists(), "a key must not be made up");
    rewrite(&right, 0o600);
    let before = assert_unchanged(&vault, before).await;

    // A second `init` leaves everything as it was, the key file included.
    let again = run(leasehold()
        .args(["init", "--data-dir"])
        .arg(&vault.data_dir)
        .arg("--key-file")
        .arg(&vault.key_file));
    again.refused(&["holds a vault already"]);
    assert!(again.stdout.is_empty(), "{again:?}");
    assert_eq!(fs::read_to_string(&vault.key_file).unwrap(), right);
    assert_unchanged(&vault, before).await;
}

#[tokio::test]
async fn a_passphrase_unseals_and_a_wrong_one_does_not() {
    let folder = TempDir::new();
    let data_dir = folder.path().join("data");
    let dir = data_dir.to_str().unwrap();
    let init = |passphrase: &str| {
        run(leasehold()
            .args(["init", "--output", "json", "--data-dir", dir])
            .env("LEASEHOLD_PASSPHRASE", passphrase))
    };
    init("too short").refused(&["at least 12 characters"]);
    let made = init("correct horse battery staple");
    assert_eq!(made.code, Some(0), "{made:?}");
    let made: serde_json::Value = serde_json::from_str(&made.stdout).unwrap();
    let admin_key = made["admin_key"].as_str().unwrap();

    let serve = |passphrase: &str| {
        Server::start(
            &["--data-dir", dir],
            &[("LEASEHOLD_PASSPHRASE", passphrase)],
        )
    };
    let wrong = serve("correct horse battery stapler").err().unwrap();
    wrong.refused(&["root key is not the one"]);
    assert!(!wrong.stderr.contains("stapler"), "{wrong:?}");
    // No passphrase and no terminal to ask on.
    Server::start(&["--data-dir", dir], &[])
        .err()
        .unwrap()
        .refused(&["LEASEHOLD_PASSPHRASE"]);

    let server = serve("correct horse battery staple").unwrap();
    let admin = Api::new(&server.address, admin_key);
    let whoami = admin
        .call(Method::GET, "/v1/auth/whoami", None)
        .await
        .unwrap();
    assert_eq!(whoami.0, 200);
    assert_eq!(server.stop().code, Some(0));

    let file = folder.path().join("passphrase");
    fs::write(&file, "correct horse battery staple\n").unwrap();
    let server = Server::start(
        &["--data-dir", dir],
        &[("LEASEHOLD__ROOT__PASSPHRASE_FILE", file.to_str().unwrap())],
    )
    .unwrap();
    assert_eq!(server.stop().code, Some(0));
    let key_file = folder.path().join("root.key");
    fs::write(
        &key_file,
        format!("leasehold-root-v1:{}\n", "5a".repeat(32)),
    )
    .unwrap();
    fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600)).unwrap();
    Server::start(
        &["--data-dir", dir],
        &[("LEASEHOLD__ROOT__KEY_FILE", key_file.to_str().unwrap())],
    )
    .err()
    .unwrap()
    .refused(&["unsealed by a passphrase"]);
}
