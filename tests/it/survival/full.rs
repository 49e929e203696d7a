//! A disk that is really full: a small file system in memory, where one may be mounted.

use std::{fs, process::Command};

use reqwest::Method;
use serde_json::json;

use super::{
    kit::{Api, Ended, Production, Server, assert_no_panic, copy, text},
    mounted::Mounted,
};
use crate::support::TempDir;

const DISK_BYTES: u64 = 24 * 1024 * 1024;
const RESERVE: &str = "LEASEHOLD__STORAGE__RESERVE_BYTES";

fn value(number: usize) -> String {
    format!("value-{number}-").repeat(5000)
}

/// A vault whose data folder is moved to a small disk, or says that there can be none here.
struct Small {
    _folder: TempDir,
    disk: Mounted,
    vault: Production,
}

impl Small {
    fn new() -> Option<Self> {
        let folder = TempDir::new();
        let vault = Production::init(folder.path());
        match Mounted::in_memory(DISK_BYTES, &folder.path().join("disk")) {
            Ok(disk) => {
                copy(&vault.data_dir, &disk.path().join("data"));
                Some(Self {
                    _folder: folder,
                    disk,
                    vault,
                })
            }
            Err(why) => {
                println!("skipped: no file system can be mounted here: {why}");
                None
            }
        }
    }

    fn serve(&self, reserve: &str) -> Result<Server, Ended> {
        let data_dir = self.disk.path().join("data");
        let args = [
            "--config",
            self.vault.config.to_str().unwrap(),
            "--data-dir",
            data_dir.to_str().unwrap(),
        ];
        Server::start(&args, &[(RESERVE, reserve)])
    }
}

/// Without a reserve the store itself runs into the end of the disk.
#[tokio::test]
async fn a_disk_without_a_byte_left_loses_nothing() {
    let Some(small) = Small::new() else {
        return;
    };
    let (disk, vault) = (&small.disk, &small.vault);
    let server = small.serve("0").unwrap();
    let admin = Api::new(&server.address, &vault.admin_key);
    let agent = Api::new(&server.address, &vault.agent_key);
    let mut handles = Vec::new();
    loop {
        let number = handles.len();
        let body =
            json!({"name": format!("c-{number}"), "type": "api-key", "value": value(number)});
        let (status, body) = admin.post("/v1/credentials", body).await.unwrap();
        if status == 503 {
            assert_eq!(body["code"], "STORAGE_UNAVAILABLE", "{body}");
            break;
        }
        assert_eq!(status, 201, "{body}");
        match agent.lease(&format!("c-{number}"), "1h").await {
            Ok(lease) => handles.push(text(&lease, "handle")),
            Err(refused) => {
                assert_eq!(refused, "503 STORAGE_UNAVAILABLE");
                break;
            }
        }
        assert!(number < 1000, "24 MiB that never fill");
    }
    assert!(!handles.is_empty());
    let (status, ready) = admin.call(Method::GET, "/ready", None).await.unwrap();
    assert_eq!(status, 503, "{ready}");
    assert_eq!(admin.get("/health").await["data"]["state"], "alive");
    let ended = server.stop();
    assert!(
        ended.stderr.contains("No space left on device"),
        "{}",
        ended.stderr
    );
    assert_no_panic(&ended.stderr);

    // Still full: it serves what it can or says why not, and breaks nothing.
    match small.serve("0") {
        Ok(server) => assert_no_panic(&server.stop().stderr),
        Err(ended) => {
            ended.refused(&["No space left on device"]);
            assert!(!ended.stderr.contains("restore it"), "{ended:?}");
        }
    }
    let bigger = format!("remount,size={}", 2 * DISK_BYTES);
    let grown = Command::new("mount")
        .args(["-o", &bigger])
        .arg(disk.path())
        .status();
    assert!(grown.unwrap().success());
    let server = small.serve("0").unwrap();
    let agent = Api::new(&server.address, &vault.agent_key);
    for (number, handle) in handles.iter().enumerate() {
        assert_eq!(agent.redeem(handle).await.unwrap(), value(number));
    }
    assert_eq!(server.stop().code, Some(0));
}

/// Below the reserve writes are refused before the disk is full, and go on when there is room again.
#[tokio::test]
async fn below_the_reserve_writes_wait_for_room() {
    let Some(small) = Small::new() else {
        return;
    };
    let (disk, vault) = (&small.disk, &small.vault);
    let server = small.serve("8388608").unwrap();
    let admin = Api::new(&server.address, &vault.admin_key);
    let agent = Api::new(&server.address, &vault.agent_key);
    let body = json!({"name": "c", "type": "api-key", "value": "v"});
    assert_eq!(admin.post("/v1/credentials", body).await.unwrap().0, 201);
    let lease = agent.lease("c", "1h").await.unwrap();
    let handle = text(&lease, "handle");

    let ballast = disk.path().join("ballast");
    fs::write(&ballast, vec![1; 17 * 1024 * 1024]).unwrap();
    // A reading of the free space holds for a moment.
    let refused = loop {
        match agent.redeem(&handle).await {
            Ok(value) => assert_eq!(value, "v"),
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused, "503 STORAGE_UNAVAILABLE");
    assert_eq!(agent.lease("c", "1h").await.unwrap_err(), refused);
    let (status, ready) = admin.call(Method::GET, "/ready", None).await.unwrap();
    assert_eq!(status, 503);
    assert!(
        ready["message"].as_str().unwrap().contains("nearly full"),
        "{ready}"
    );
    assert_eq!(admin.get("/health").await["data"]["state"], "alive");
    assert_eq!(admin.credential("c").await["active_leases"], 1);
    assert_eq!(admin.active("c").await.len(), 1);

    fs::remove_file(&ballast).unwrap();
    while let Err(refused) = agent.redeem(&handle).await {
        assert_eq!(refused, "503 STORAGE_UNAVAILABLE");
    }
    agent.lease("c", "1h").await.unwrap();
    assert_eq!(admin.get("/ready").await["data"]["state"], "ready");
    let ended = server.stop();
    assert_eq!(ended.code, Some(0));
    assert_no_panic(&ended.stderr);
}
