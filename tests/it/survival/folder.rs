//! The data folder: one process at a time, its owner's alone, and refused in words where it cannot be used.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use serde_json::json;

use super::kit::{Api, Ended, Production, Server, files, run};
use crate::support::{DevOptions, TempDir, Vault, leasehold};

fn dev(data_dir: &Path) -> Ended {
    run(leasehold()
        .args(["dev", "--listen", "127.0.0.1:0", "--output", "json"])
        .arg("--data-dir")
        .arg(data_dir))
}

#[tokio::test]
async fn a_folder_in_use_names_the_process_that_has_it() {
    let vault = Vault::dev();
    let pid = format!("process {}", vault.pid());
    for _ in 0..2 {
        let second = dev(&vault.data_dir);
        second.refused(&["in use by another process", &pid]);
        assert!(second.stdout.is_empty(), "{second:?}");
    }
    let init = run(leasehold()
        .args(["init", "--key-file", "/nonexistent/key", "--data-dir"])
        .arg(&vault.data_dir));
    init.refused(&["in use by another process", &pid]);
    // The first one did not notice.
    vault.store("undisturbed", "v", json!({})).await;
    let lease = vault.lease(json!({"credential_name": "undisturbed"})).await;
    let handle = lease["handle"].as_str().unwrap();
    assert_eq!(vault.redeem(handle).await.data(200)["value"], "v");
    // A lock that a killed process left behind holds nobody up.
    let vault = vault.kill_and_reopen(&[]);
    assert_eq!(vault.redeem(handle).await.data(200)["value"], "v");
}

#[tokio::test]
async fn only_the_owner_can_read_the_folder() {
    let folder = TempDir::new();
    let vault = Vault::dev_with(DevOptions {
        data_dir: Some(folder.path().join("data")),
        ..DevOptions::default()
    });
    let value = "long-".repeat(10_000);
    vault.store("bulky", &value, json!({})).await;
    let data_dir = vault.data_dir.clone();
    let vault = vault.kill_and_reopen(&[]).restart(&[]);
    let modes = || {
        let mut found = Vec::new();
        let mut folders = vec![data_dir.clone()];
        while let Some(folder) = folders.pop() {
            found.push((folder.clone(), 0o700));
            for entry in fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.push((path, 0o600));
                }
            }
        }
        found
    };
    for (path, expected) in modes() {
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, expected, "{} has {mode:o}", path.display());
    }
    assert!(files(&data_dir).len() >= 4);
    vault.stop();
    for (path, expected) in modes() {
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, expected, "{} has {mode:o}, stopped", path.display());
    }
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_says_why() {
    let folder = TempDir::new();
    let file = folder.path().join("file");
    fs::write(&file, "not a folder").unwrap();
    dev(&file).refused(&[file.to_str().unwrap(), "cannot be used"]);
    dev(&file.join("below")).refused(&["cannot be used"]);
    dev(Path::new("/proc/nowhere")).refused(&["/proc/nowhere"]);
    dev(Path::new("/sys")).refused(&["/sys"]);
    // `store` is a file.
    let odd = folder.path().join("odd");
    fs::create_dir(&odd).unwrap();
    fs::write(odd.join("store"), "").unwrap();
    dev(&odd).refused(&["odd"]);
    assert!(!odd.join("root.key").exists(), "a key for no vault");
    // Root may write everywhere; anybody else may not write here.
    let locked = folder.path().join("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o500)).unwrap();
    if fs::write(locked.join("probe"), "").is_err() {
        dev(&locked).refused(&["locked", "cannot be used"]);
    } else {
        println!("skipped: this user may write to a read-only folder");
    }
}

#[tokio::test]
async fn a_folder_without_a_vault_is_not_served() {
    let folder = TempDir::new();
    let empty = folder.path().join("empty");
    let ended = run(leasehold()
        .args(["server", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(&empty)
        .env("LEASEHOLD_PASSPHRASE", "correct horse battery staple"));
    ended.refused(&["holds no vault", "leasehold init"]);
}

#[tokio::test]
async fn too_little_free_space_refuses_writes_and_serves_reads() {
    let folder = TempDir::new();
    let vault = Production::init(folder.path());
    let config = vault.config.to_str().unwrap();
    let server = Server::start(
        &["--config", config],
        &[("LEASEHOLD__STORAGE__RESERVE_BYTES", "9000000000000000000")],
    );
    match server {
        // Even the record of the start is a write.
        Err(ended) => ended.refused(&["free"]),
        Ok(server) => {
            let admin = Api::new(&server.address, &vault.admin_key);
            let ready = admin
                .call(reqwest::Method::GET, "/ready", None)
                .await
                .unwrap();
            assert_eq!(ready.0, 503, "{ready:?}");
        }
    }
}
