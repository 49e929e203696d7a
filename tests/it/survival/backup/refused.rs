//! What cannot be restored, fetched or written is refused, and leaves nothing behind.

use std::{fs, path::Path};

use serde_json::{Value, json};

use super::{
    BackedUp, backed_up, backup,
    kit::{Api, Production, files, run},
    restore, serve,
};
use crate::support::{TempDir, leasehold};

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_restored_is_refused_and_leaves_nothing() {
    let BackedUp {
        folder,
        made,
        server,
        file,
    } = backed_up().await;
    let good = fs::read(&file).unwrap();
    let target = folder.path().join("new");
    let bad = folder.path().join("bad.backup");
    let attempt = |bytes: &[u8]| {
        fs::write(&bad, bytes).unwrap();
        let ended = restore(&bad, &target, &made.key_file);
        assert!(!target.exists(), "a failed restore left something");
        assert!(ended.stdout.is_empty());
        let verified = run(leasehold().args(["backup", "--verify"]).arg(&bad));
        assert_eq!(verified.code, Some(1), "{verified:?}");
        ended
    };
    let changed = |at: usize, to: u8| {
        let mut bytes = good.clone();
        assert_ne!(bytes[at], to);
        bytes[at] = to;
        bytes
    };
    attempt(&good[..good.len() / 2]).refused(&["bad.backup", "ends too early"]);
    attempt(&good[..good.len() - 1]).refused(&["ends too early"]);
    attempt(&[&good[..], b"\n"].concat()).refused(&["something follows its end"]);
    let middle = good.len() / 2;
    attempt(&changed(middle, !good[middle])).refused(&["checksum is wrong"]);
    attempt(&changed(16, 9)).refused(&["format 9", "reads format 1 only"]);
    attempt(b"{\"status\":\"success\"}").refused(&["not a backup of a Leasehold vault"]);
    attempt(b"").refused(&["not a backup of a Leasehold vault"]);

    // Another vault's key, no key, no file.
    let other = TempDir::new();
    let stranger = Production::init(other.path());
    restore(&file, &target, &stranger.key_file).refused(&["root key is not the one"]);
    restore(&file, &target, Path::new("/nonexistent/key")).refused(&["root key file"]);
    restore(Path::new("/nonexistent/file"), &target, &made.key_file).refused(&["No such file"]);
    let without = run(leasehold()
        .args(["restore", "--input"])
        .arg(&file)
        .arg("--data-dir")
        .arg(&target));
    without.refused(&["unsealed by a key file", "--key-file"]);
    assert!(!target.exists());

    // A running vault's folder, a stopped vault's, and one that holds something else.
    let pid = format!("process {}", server.started.child.id());
    restore(&file, &made.data_dir, &made.key_file).refused(&["in use by another process", &pid]);
    let stranger_holds = files(&stranger.data_dir).len();
    restore(&file, &stranger.data_dir, &made.key_file).refused(&["is not empty", "new folder"]);
    assert_eq!(files(&stranger.data_dir).len(), stranger_holds);
    stranger.serve().unwrap().stop();
    fs::create_dir(&target).unwrap();
    fs::write(target.join("notes.txt"), "mine").unwrap();
    restore(&file, &target, &made.key_file).refused(&["is not empty", "notes.txt"]);
    assert_eq!(fs::read_dir(&target).unwrap().count(), 1);

    // An empty folder will do, and so will one in which a restore was killed.
    fs::remove_file(target.join("notes.txt")).unwrap();
    fs::create_dir(target.join("restoring")).unwrap();
    fs::write(target.join("restoring/MARK"), "half").unwrap();
    let ended = restore(&file, &target, &made.key_file);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!target.join("restoring").exists());
    let restored = serve(&target, &made.key_file);
    let admin = Api::new(&restored.address, &made.admin_key);
    assert_eq!(admin.all("/v1/credentials").await.len(), 4);
    assert_eq!(restored.stop().code, Some(0));
    // The original never noticed.
    let admin = Api::new(&server.address, &made.admin_key);
    assert_eq!(admin.all("/v1/credentials").await.len(), 4);
    assert_eq!(server.stop().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_replaces_nothing_unasked_and_leaves_no_half_file() {
    let BackedUp {
        folder,
        made,
        server,
        file,
    } = backed_up().await;
    let name = file.to_str().unwrap();
    let before = fs::read(&file).unwrap();
    let again = backup(&server, &made.admin_key, &["--output", name]);
    again.refused(&["exists", "--force"]);
    assert!(fs::read(&file).unwrap() == before);
    let forced = backup(&server, &made.admin_key, &["--force", "--output", name]);
    assert_eq!(forced.code, Some(0), "{forced:?}");
    let after = fs::read(&file).unwrap();
    // Of the same vault, and never the same bytes.
    assert!(after != before && after.len() >= before.len());
    let whole = backup(&server, "", &["--json", "--verify", name]);
    assert_eq!(whole.code, Some(0), "{whole:?}");
    let whole: Value = serde_json::from_str(&whole.stdout).unwrap();
    assert_eq!(whole["data"]["bytes"], after.len());

    let elsewhere = folder.path().join("agent.backup");
    let refused = backup(
        &server,
        &made.agent_key,
        &["--output", elsewhere.to_str().unwrap()],
    );
    refused.refused(&["INSUFFICIENT_PERMISSIONS", "sys:backup"]);
    let nowhere = backup(
        &server,
        &made.admin_key,
        &["--output", "/nonexistent/folder/file"],
    );
    nowhere.refused(&["cannot write", "/nonexistent/folder/file"]);
    for usage in [
        &["--output", name, "--verify", name][..],
        &[],
        &["--force", "--verify", name],
    ] {
        assert_eq!(
            backup(&server, &made.admin_key, usage).code,
            Some(2),
            "{usage:?}"
        );
    }
    assert_eq!(server.stop().code, Some(0));
    let gone = run(leasehold()
        .args(["backup", "--output", elsewhere.to_str().unwrap()])
        .env("LEASEHOLD_ADDR", "http://127.0.0.1:9")
        .env("LEASEHOLD_KEY", &made.admin_key));
    gone.refused(&["cannot connect"]);
    let mut left: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["data", "leasehold.toml", "root.key", "vault.backup"]);
    // No spool is left behind either.
    let data: Vec<_> = files(&made.data_dir);
    assert!(
        data.iter()
            .all(|path| !path.to_string_lossy().contains("spool")),
        "{data:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_backup_at_a_time_and_each_is_whole() {
    let BackedUp {
        folder,
        made,
        server,
        ..
    } = backed_up().await;
    let fetch = async |body: Option<Value>| {
        let mut request = crate::support::client()
            .post(format!("{}/v1/sys/backup", server.address))
            .bearer_auth(&made.admin_key);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        (status, headers, response.bytes().await.unwrap())
    };
    let mut taken = 0;
    let all = futures_util::future::join_all((0..6).map(|_| fetch(None))).await;
    for (status, headers, bytes) in all {
        if status == 409 {
            let body: Value = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(body["code"], "INVALID_STATE");
            continue;
        }
        assert_eq!(status, 200);
        assert_eq!(headers["content-type"], "application/octet-stream");
        assert_eq!(headers["cache-control"], "no-store");
        taken += 1;
        let file = folder.path().join(format!("{taken}.backup"));
        fs::write(&file, &bytes).unwrap();
        let verified = run(leasehold().args(["backup", "--verify"]).arg(&file));
        assert_eq!(verified.code, Some(0), "{verified:?}");
    }
    assert!(taken > 0);
    // The turn is given back, whatever became of the others.
    assert_eq!(fetch(Some(json!({}))).await.0, 200);
    assert_eq!(fetch(Some(json!({"output": "x"}))).await.0, 400);
    let admin = Api::new(&server.address, &made.admin_key);
    let noted = admin.all("/v1/audit?event=vault.backed_up").await;
    // The first one was taken by `backed_up`.
    assert_eq!(noted.len(), taken + 2);
    assert_eq!(server.stop().code, Some(0));
}
