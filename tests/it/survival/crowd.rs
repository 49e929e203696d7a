//! Connections by the thousand, and clients that vanish: memory stays bounded, and others are served.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use reqwest::Method;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{
    dice::amount,
    kit::{Api, Production, Server},
};
use crate::support::TempDir;

/// What a connection may cost the vault, in bytes.
const BYTES_EACH: u64 = 40 * 1024;
/// Files that the test and the vault need beside the connections.
const SPARE_FILES: u64 = 500;

struct Vault {
    server: Server,
    agent: Api,
    _folder: TempDir,
}

impl Vault {
    fn start(max_connections: usize) -> Self {
        let folder = TempDir::new();
        let vault = Production::init(folder.path());
        let config = vault.config.to_str().unwrap();
        let most = max_connections.to_string();
        let server = Server::start(
            &["--config", config],
            &[("LEASEHOLD__SERVER__MAX_CONNECTIONS", &most)],
        )
        .unwrap();
        let agent = Api::new(&server.address, &vault.agent_key);
        Self {
            server,
            agent,
            _folder: folder,
        }
    }

    fn connect(&self) -> TcpStream {
        let address = self.server.address.trim_start_matches("http://");
        let stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        stream
    }

    /// Resident memory of the vault, in bytes.
    fn resident(&self) -> u64 {
        let status = format!("/proc/{}/status", self.server.started.child.id());
        let status = std::fs::read_to_string(status).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1));
        kib.unwrap().parse::<u64>().unwrap() * 1024
    }

    async fn serves(&self) {
        let answer = self.agent.call(Method::GET, "/v1/auth/whoami", None).await;
        assert_eq!(answer.unwrap().0, 200);
    }
}

const HEALTH: &[u8] = b"GET /health HTTP/1.1\r\nHost: vault\r\n\r\n";

/// Lets this process have as many connections as it may, up to `wanted`.
fn allowed(wanted: u64) -> u64 {
    let files = getrlimit(Resource::Nofile);
    let current = files.maximum;
    setrlimit(Resource::Nofile, Rlimit { current, ..files }).unwrap();
    let most = current.unwrap_or(u64::MAX).saturating_sub(SPARE_FILES);
    if most < wanted {
        println!("the limit of open files allows {most} connections of {wanted}");
    }
    wanted.min(most)
}

#[tokio::test]
async fn idle_connections_cost_little_and_others_are_served() {
    let many = allowed(amount(1_000, 10_000));
    let vault = Vault::start(many as usize + 100);
    vault.serves().await;
    let before = vault.resident();
    let mut idle = Vec::new();
    for at in 0..many {
        let mut stream = vault.connect();
        // Silent, in the middle of a head, or kept alive after an answer.
        match at % 3 {
            0 => {}
            1 => stream.write_all(&HEALTH[..HEALTH.len() - 4]).unwrap(),
            _ => {
                stream.write_all(HEALTH).unwrap();
                assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
            }
        }
        idle.push(stream);
        if at % 100 == 0 {
            vault.serves().await;
        }
    }
    vault.serves().await;
    let each = vault.resident().saturating_sub(before) / many;
    println!("{many} idle connections: {each} bytes each");
    assert!(each < BYTES_EACH, "{each} bytes for each of {many}");
    // Those that were kept alive still are.
    let kept = idle.iter_mut().skip(2).step_by(3).next_back().unwrap();
    kept.write_all(HEALTH).unwrap();
    assert!(kept.read(&mut [0; 4096]).unwrap() > 0);
    drop(idle);
    vault.serves().await;
    assert_eq!(vault.server.stop().code, Some(0));
}

#[tokio::test]
async fn clients_that_vanish_give_their_places_back() {
    let vault = Vault::start(10);
    let key = vault.agent.key.clone();
    let head = format!(
        "POST /v1/leases HTTP/1.1\r\nHost: vault\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{{"
    );
    // Far more than there are places: one that were kept would soon be missed.
    for at in 0..300 {
        let mut stream = vault.connect();
        match at % 5 {
            0 => {}
            1 => stream.write_all(&HEALTH[..10]).unwrap(),
            2 => stream.write_all(head.as_bytes()).unwrap(),
            3 => {
                // An answer that nobody reads makes the close a reset.
                stream.write_all(HEALTH).unwrap();
                assert!(stream.peek(&mut [0]).unwrap() > 0);
            }
            _ => {
                stream.write_all(head.as_bytes()).unwrap();
                stream.shutdown(std::net::Shutdown::Write).unwrap();
            }
        }
        drop(stream);
        if at % 50 == 49 {
            vault.serves().await;
        }
    }
    vault.serves().await;
    let ended = vault.server.stop();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_full_house_lets_nobody_in_until_somebody_leaves() {
    let vault = Vault::start(20);
    let mut kept = Vec::new();
    for _ in 0..20 {
        let mut stream = vault.connect();
        stream.write_all(HEALTH).unwrap();
        assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
        kept.push(stream);
    }
    let mut next = vault.connect();
    next.write_all(HEALTH).unwrap();
    next.set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let waits = next.read(&mut [0; 1]).unwrap_err().kind();
    assert_eq!(waits, std::io::ErrorKind::WouldBlock);
    // Who was let in is served meanwhile.
    kept[0].write_all(HEALTH).unwrap();
    assert!(kept[0].read(&mut [0; 4096]).unwrap() > 0);
    kept.pop();
    next.set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    assert!(next.read(&mut [0; 4096]).unwrap() > 0);
    drop((kept, next));
    vault.serves().await;
    assert_eq!(vault.server.stop().code, Some(0));
}
