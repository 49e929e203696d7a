//! Throughput of `POST /v1/leases`, durable and audited, beside a bare axum handler that parses the same
//! request and answers the same JSON. One machine, one run, ratios only: `cargo bench --bench issue`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Json, Router, http::StatusCode, routing::post};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const CONNECTIONS: usize = 64;
const WARM_UP: Duration = Duration::from_secs(2);
const MEASURE: Duration = Duration::from_secs(8);
/// Each scenario and its baseline alternate, so that a machine that slows down slows both.
const ROUNDS: usize = 3;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    credential_name: String,
    ttl: String,
    purpose: String,
}

#[derive(Serialize)]
struct Identity {
    r#type: &'static str,
    name: &'static str,
}

#[derive(Serialize)]
struct Lease {
    id: &'static str,
    credential_name: String,
    version: u32,
    metadata: Value,
    identity: Identity,
    requested_by: Identity,
    purpose: String,
    delivery: &'static str,
    ttl: String,
    ttl_capped: bool,
    issued_at: &'static str,
    expires_at: &'static str,
    max_expires_at: &'static str,
    renewable: bool,
    renewals: u32,
    uses: u32,
    max_uses: Option<u32>,
    last_used_at: Option<String>,
    state: &'static str,
    closed_at: Option<String>,
    closed_by: Option<String>,
    close_reason: Option<String>,
    handle: &'static str,
}

#[derive(Serialize)]
struct Envelope {
    status: &'static str,
    data: Lease,
}

/// The baseline: parse, answer.
async fn bare(Json(request): Json<Request>) -> (StatusCode, Json<Envelope>) {
    let who = || Identity {
        r#type: "agent",
        name: "claude-code",
    };
    let data = Lease {
        id: "lse_01a1fde8001f72eaa4816969ab1313e2",
        credential_name: request.credential_name,
        version: 1,
        metadata: json!({}),
        identity: who(),
        requested_by: who(),
        purpose: request.purpose,
        delivery: "reveal",
        ttl: request.ttl,
        ttl_capped: false,
        issued_at: "2026-11-21T11:40:02.463Z",
        expires_at: "2026-11-21T12:10:02.463Z",
        max_expires_at: "2026-11-22T11:40:02.463Z",
        renewable: true,
        renewals: 0,
        uses: 0,
        max_uses: None,
        last_used_at: None,
        state: "active",
        closed_at: None,
        closed_by: None,
        close_reason: None,
        handle: "lhh_08grAq9mdRqE7erAtfKQYkAMPU86LvKSBCG7lMAS8DVCEJ6RMwdOCD3Ae2SD91tu3j25Dk91",
    };
    (
        StatusCode::CREATED,
        Json(Envelope {
            status: "success",
            data,
        }),
    )
}

fn request(path: &str, key: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    format!(
        "POST {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Sends the same requests over and over on one connection; counts the answers with status 201.
async fn hammer(
    address: String,
    requests: Arc<Vec<Vec<u8>>>,
    from: usize,
    done: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut buffer = vec![0; 16 * 1024];
    let mut at = from;
    while !stop.load(Ordering::Relaxed) {
        stream
            .write_all(&requests[at % requests.len()])
            .await
            .unwrap();
        at += 1;
        let mut filled = 0;
        loop {
            let read = stream.read(&mut buffer[filled..]).await.unwrap();
            assert!(read > 0, "the server closed the connection");
            filled += read;
            let text = &buffer[..filled];
            let Some(head) = text.windows(4).position(|window| window == b"\r\n\r\n") else {
                continue;
            };
            let head_text = std::str::from_utf8(&text[..head]).unwrap();
            let length: usize = head_text
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .unwrap()
                .parse()
                .unwrap();
            if filled >= head + 4 + length {
                assert!(
                    text.starts_with(b"HTTP/1.1 201"),
                    "{}",
                    String::from_utf8_lossy(text)
                );
                break;
            }
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
}

/// Seconds of CPU that a process has used: fields 14 and 15 of its stat file, in ticks of 10 ms.
fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields = stat.rsplit_once(')').unwrap().1;
    let ticks: f64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|n| n.parse::<f64>().unwrap())
        .sum();
    ticks / 100.0
}

/// Answers a second, and microseconds of `pid`'s CPU for each.
async fn measure(address: &str, requests: Vec<Vec<u8>>, pid: u32) -> (f64, f64) {
    let requests = Arc::new(requests);
    let done = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = (0..CONNECTIONS)
        .map(|from| {
            tokio::spawn(hammer(
                address.to_owned(),
                requests.clone(),
                from,
                done.clone(),
                stop.clone(),
            ))
        })
        .collect();
    tokio::time::sleep(WARM_UP).await;
    let (before, begun, cpu) = (
        done.load(Ordering::Relaxed),
        Instant::now(),
        cpu_seconds(pid),
    );
    tokio::time::sleep(MEASURE).await;
    let answers = (done.load(Ordering::Relaxed) - before) as f64;
    let rate = answers / begun.elapsed().as_secs_f64();
    let micros = (cpu_seconds(pid) - cpu) * 1e6 / answers;
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    (rate, micros)
}

struct Vault {
    child: Child,
    address: String,
    admin: String,
    agent: String,
    dir: std::path::PathBuf,
}

impl Vault {
    fn start() -> Self {
        let dir = std::env::temp_dir().join(format!("leasehold-bench-{}", std::process::id()));
        let mut child = Command::new(env!("CARGO_BIN_EXE_leasehold"))
            .args([
                "dev",
                "--listen",
                "127.0.0.1:0",
                "--output",
                "json",
                "--data-dir",
            ])
            .arg(&dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        let started: Value = serde_json::from_str(&line).unwrap();
        let text = |name: &str| started[name].as_str().unwrap().to_owned();
        let address = text("address").replace("http://", "");
        Self {
            child,
            address,
            admin: text("admin_key"),
            agent: text("agent_key"),
            dir,
        }
    }

    async fn store(&self, name: &str) {
        let body = json!({"name": name, "type": "api-key", "value": "x".repeat(300),
            "policy": {"max_leases": 1_000_000, "default_lease_ttl": "30m", "max_lease_ttl": "4h"}});
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        stream
            .write_all(&request("/v1/credentials", &self.admin, &body))
            .await
            .unwrap();
        let mut buffer = [0; 12];
        stream.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"HTTP/1.1 201");
    }
}

impl Drop for Vault {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn main() {
    // The baseline has a process' worth of threads, as the vault has.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let baseline = listener.local_addr().unwrap().to_string();
        let router = Router::new().route("/v1/leases", post(bare));
        let server = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
            let listener = listener.into_std().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                axum::serve(listener, router).await.unwrap();
            });
        });
        let vault = Vault::start();
        for n in 0..64 {
            vault.store(&format!("credential-{n}")).await;
        }
        let body = |n: usize| json!({"credential_name": format!("credential-{n}"), "ttl": "30m", "purpose": "measure"});
        let all: Vec<_> = (0..64).map(|n| request("/v1/leases", &vault.agent, &body(n))).collect();
        let hot = vec![request("/v1/leases", &vault.agent, &body(0))];
        let (mut bare, mut issue, mut on_one) = (Vec::new(), Vec::new(), Vec::new());
        let (own, its) = (std::process::id(), vault.child.id());
        for _ in 0..ROUNDS {
            bare.push(measure(&baseline, all.clone(), own).await);
            issue.push(measure(&vault.address, all.clone(), its).await);
            on_one.push(measure(&vault.address, hot.clone(), its).await);
        }
        let median = |mut rounds: Vec<(f64, f64)>| {
            rounds.sort_by(|a, b| a.0.total_cmp(&b.0));
            rounds[rounds.len() / 2]
        };
        let bare = median(bare);
        println!("{CONNECTIONS} connections, median of {ROUNDS} rounds of {MEASURE:?}");
        println!("                          rate    ratio   CPU an answer (the bare one's with its clients)");
        for (name, (rate, micros)) in [
            ("bare axum handler", bare),
            ("issue, 64 credentials", median(issue)),
            ("issue, one credential", median(on_one)),
        ] {
            let ratio = rate / bare.0;
            println!("{name:22} {rate:>7.0}/s    {ratio:.2}   {micros:>6.1} us");
        }
        drop(vault);
        drop(server);
        std::process::exit(0);
    });
}
