//! Starting and stopping: a drain that finishes what is open and ends at once, and what `dev` prints and leaves.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::kit::{Api, Production, Started, text};
use crate::support::{DevOptions, TempDir, Vault, leasehold, signal};

const PATIENCE: Duration = Duration::from_secs(60);

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn head(path: &str, key: &str, length: usize) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: vault\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nExpect: 100-continue\r\n\r\n"
    )
}

#[tokio::test]
async fn sigterm_lets_open_requests_finish_and_takes_no_new_work() {
    let folder = TempDir::new();
    let data_dir = folder.path().join("data");
    let vault = dev_in(&data_dir);
    vault.store("drained", "v", json!({})).await;
    let (address, agent_key) = (vault.address.clone(), vault.agent_key.clone());
    let body = json!({"credential_name": "drained", "ttl": "10m"}).to_string();
    // Ten requests whose bodies are on the way.
    let mut open: Vec<TcpStream> = (0..10).map(|_| connect(&address)).collect();
    for stream in &mut open {
        let head = head("/v1/leases", &agent_key, body.len());
        stream.write_all(head.as_bytes()).unwrap();
        let mut go_on = [0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
        stream.read_exact(&mut go_on).unwrap();
        assert!(go_on.starts_with(b"HTTP/1.1 100 "));
        stream.write_all(&body.as_bytes()[..10]).unwrap();
    }
    // And one connection that is kept alive with nothing on it.
    let mut idle = connect(&address);
    idle.write_all(b"GET /health HTTP/1.1\r\nHost: vault\r\n\r\n")
        .unwrap();
    assert!(idle.read(&mut [0; 4096]).unwrap() > 0);
    let stopping = std::thread::spawn(move || {
        let begun = Instant::now();
        (vault.stop(), begun.elapsed())
    });
    let begun = Instant::now();
    while TcpStream::connect(address.trim_start_matches("http://")).is_ok() {
        assert!(begun.elapsed() < PATIENCE, "new connections are taken");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(
        idle.read(&mut [0; 16]).unwrap(),
        0,
        "the idle one is closed"
    );
    let mut granted = Vec::new();
    for mut stream in open {
        stream.write_all(&body.as_bytes()[10..]).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
        let json = answer.split("\r\n\r\n").nth(1).unwrap();
        let body: Value = serde_json::from_str(json).unwrap();
        granted.push(text(&body["data"], "id"));
    }
    let ((code, rest), took) = stopping.join().unwrap();
    assert_eq!((code, rest.as_str()), (Some(0), ""));
    // Nothing waited for the deadline, which is 20 s.
    assert!(took < Duration::from_secs(15), "took {took:?}");
    // What was answered while draining is there.
    let again = dev_in(&data_dir);
    let api = Api::new(&again.address, &agent_key);
    let active = api.active("drained").await;
    assert_eq!(active.len(), 10);
    assert!(
        active
            .iter()
            .all(|lease| granted.contains(&text(lease, "id")))
    );
}

fn dev_in(data_dir: &Path) -> Vault {
    Vault::dev_with(DevOptions {
        data_dir: Some(data_dir.to_owned()),
        ..DevOptions::default()
    })
}

#[tokio::test]
async fn connections_that_never_spoke_do_not_hold_up_the_end() {
    let folder = TempDir::new();
    let production = Production::init(folder.path());
    let server = production.serve().unwrap();
    let silent: Vec<TcpStream> = (0..5).map(|_| connect(&server.address)).collect();
    let mut half = connect(&server.address);
    half.write_all(b"GET /health HTTP/1.1\r\nHo").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let begun = Instant::now();
    let ended = server.stop();
    let took = begun.elapsed();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    // The deadline of this configuration is 5 s: a request that never ends is cut off then, long before its own
    // time is over.
    assert!(took < Duration::from_secs(40), "took {took:?}");
    drop(silent);
    let server = production.serve().unwrap();
    // With nothing open it ends by SIGINT as well.
    signal(server.started.child.id(), "INT");
    let ended = server.started.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.is_empty(), "{ended:?}");
}

fn dev(args: &[&str]) -> (Started, Value) {
    let mut command = leasehold();
    command
        .args(["dev", "--listen", "127.0.0.1:0", "--output", "json"])
        .args(args);
    Started::new(&mut command)
        .until(|started| serde_json::from_str(started.stdout().lines().next()?).ok())
        .unwrap()
}

#[tokio::test]
async fn dev_prints_one_line_and_its_temporary_folder_goes_with_it() {
    let (first, line) = dev(&[]);
    let data_dir = PathBuf::from(text(&line, "data_dir"));
    assert!(data_dir.is_dir());
    let mut fields: Vec<&String> = line.as_object().unwrap().keys().collect();
    fields.sort();
    assert_eq!(
        fields,
        [
            "address",
            "admin_key",
            "agent",
            "agent_key",
            "data_dir",
            "workspace"
        ]
    );
    assert_eq!(line["agent"], "claude-code");
    assert_eq!(line["workspace"], "default");
    let api = Api::new(&text(&line, "address"), &text(&line, "agent_key"));
    let lease = api.lease("sample-api-key", "1m").await.unwrap();
    assert!(
        api.redeem(&text(&lease, "handle"))
            .await
            .unwrap()
            .starts_with("sample-")
    );
    // A second one beside it has a folder of its own.
    let (second, other) = dev(&[]);
    assert_ne!(other["data_dir"], line["data_dir"]);
    for started in [first, second] {
        signal(started.child.id(), "TERM");
        let ended = started.end();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_eq!(ended.stdout.lines().count(), 1, "{ended:?}");
        assert!(ended.stderr.contains("serving"), "logs go to stderr");
        for key in [text(&line, "admin_key"), text(&line, "agent_key")] {
            assert!(!ended.stderr.contains(&key));
        }
    }
    assert!(!data_dir.exists(), "the temporary folder is left");
    assert!(!PathBuf::from(text(&other, "data_dir")).exists());
}

#[tokio::test]
async fn a_reopened_folder_shows_no_key_again_and_takes_the_old_ones() {
    let folder = TempDir::new();
    let data_dir = folder.path().join("data");
    let dir = data_dir.to_str().unwrap();
    let (first, line) = dev(&["--data-dir", dir]);
    assert_eq!(text(&line, "data_dir"), dir);
    signal(first.child.id(), "TERM");
    assert_eq!(first.end().code, Some(0));
    for _ in 0..2 {
        let (again, reopened) = dev(&["--data-dir", dir]);
        assert_eq!(reopened["admin_key"], Value::Null);
        assert_eq!(reopened["agent_key"], Value::Null);
        for field in ["agent", "workspace", "data_dir"] {
            assert_eq!(reopened[field], line[field]);
        }
        let agent = Api::new(&text(&reopened, "address"), &text(&line, "agent_key"));
        agent.lease("sample-api-key", "1m").await.unwrap();
        let admin = Api::new(&text(&reopened, "address"), &text(&line, "admin_key"));
        assert_eq!(admin.all("/v1/credentials").await.len(), 1);
        signal(again.child.id(), "TERM");
        let ended = again.end();
        assert_eq!((ended.code, ended.stdout.lines().count()), (Some(0), 1));
    }
    assert!(data_dir.is_dir(), "a named folder stays");
}

#[test]
fn dev_is_for_this_machine_only() {
    let ended = super::kit::run(leasehold().args(["dev", "--listen", "0.0.0.0:0"]));
    ended.refused(&["loopback only"]);
}
