//! Clients that misbehave: slow ones, many slow ones, heads that are too large, nonsense.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::json;

use super::kit::{Api, Production, Server, text};
use crate::support::{TempDir, Vault};

fn connect(vault: &Vault) -> TcpStream {
    let stream = TcpStream::connect(vault.address.trim_start_matches("http://")).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    stream
}

/// The status line of what is answered to these bytes; empty where the connection is closed without one.
fn say(vault: &Vault, bytes: &[u8]) -> String {
    let mut stream = connect(vault);
    // The vault may answer and close before it has read all.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    answer.lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn slow_clients_do_not_stop_others() {
    let vault = Vault::dev();
    vault.store("in-demand", "v", json!({})).await;
    let mut slow: Vec<TcpStream> = (0..200).map(|_| connect(&vault)).collect();
    for (at, stream) in slow.iter_mut().enumerate() {
        // Half a head, or a whole one and half a body.
        let part = match at % 3 {
            0 => "POST /v1/leases HTTP/1.1\r\nHost: va".to_owned(),
            1 => String::new(),
            _ => format!(
                "POST /v1/leases HTTP/1.1\r\nHost: vault\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{{",
                vault.agent_key
            ),
        };
        stream.write_all(part.as_bytes()).unwrap();
    }
    let agent = Api::agent(&vault);
    let begun = Instant::now();
    for _ in 0..10 {
        let lease = agent.lease("in-demand", "1m").await.unwrap();
        assert_eq!(agent.redeem(&text(&lease, "handle")).await.unwrap(), "v");
        for stream in slow.iter_mut().skip(2).step_by(3) {
            // A machine that stands still for long has the vault give these up.
            let _ = stream.write_all(b" ");
        }
    }
    // They are given up after 27 s, nine tenths of the time that a request may take.
    assert!(
        begun.elapsed() < Duration::from_secs(25),
        "{:?}",
        begun.elapsed()
    );
}

/// A body that never ends, byte by byte, until the vault answers; gives back the answer.
fn trickle(address: &str, head: &str, key: &str, piece: &str) -> String {
    let mut stream = TcpStream::connect(address.trim_start_matches("http://")).unwrap();
    let head = format!(
        "POST {head}\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let pause = Duration::from_millis(20);
    stream.set_read_timeout(Some(pause)).unwrap();
    let begun = Instant::now();
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    while begun.elapsed() < Duration::from_secs(60) {
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(read) => answer.extend(&part[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                let _ = stream.write_all(piece.as_bytes());
            }
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_body_that_never_ends_is_given_up() {
    let folder = TempDir::new();
    let vault = Production::init(folder.path());
    let config = vault.config.to_str().unwrap();
    let server = Server::start(
        &["--config", config],
        &[("LEASEHOLD__SERVER__REQUEST_TIMEOUT", "1s")],
    )
    .unwrap();
    std::thread::scope(|scope| {
        for path in ["/v1/leases", "/v1/sys/backup"] {
            for (length, piece) in [
                ("Content-Length: 100000", " "),
                ("Transfer-Encoding: chunked", "1\r\n \r\n"),
                ("Content-Length: 5", ""),
            ] {
                let head = format!("{path} HTTP/1.1\r\nHost: vault\r\n{length}");
                let (address, key) = (&server.address, &vault.admin_key);
                scope.spawn(move || {
                    let given_up = || trickle(address, &head, key, piece);
                    // The whole request has a deadline just behind the body's, which a slow disk may reach.
                    let in_time = |answer: &String| !answer.contains("was not done within");
                    let mut answers = std::iter::repeat_with(given_up).take(20);
                    let answer = answers.find(in_time).unwrap();
                    assert!(
                        answer.starts_with("HTTP/1.1 400 ") && answer.contains("INVALID_REQUEST"),
                        "{head}: {answer}"
                    );
                });
            }
        }
    });
    let ended = server.stop();
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[tokio::test]
async fn heads_that_are_too_large_are_refused_and_crash_nothing() {
    let vault = Vault::dev();
    for (length, allowed) in [
        (20_000, &["200", "413", "431"][..]),
        // A connection that is closed before all was read may lose the answer on its way.
        (40_000, &["413", "431", ""]),
        (1_000_000, &["413", "431", ""]),
    ] {
        let request = format!(
            "GET /health HTTP/1.1\r\nHost: vault\r\nConnection: close\r\nX-Long: {}\r\n\r\n",
            "x".repeat(length)
        );
        let status = say(&vault, request.as_bytes());
        let code = status.split(' ').nth(1).unwrap_or_default();
        assert!(allowed.contains(&code), "{length}: {status}");
    }
    for (many, allowed) in [(40, &["200"][..]), (60_000, &["431", "413", ""])] {
        let headers: String = (0..many).map(|at| format!("X-{at}: y\r\n")).collect();
        let request =
            format!("GET /health HTTP/1.1\r\nHost: vault\r\nConnection: close\r\n{headers}\r\n");
        let status = say(&vault, request.as_bytes());
        let code = status.split(' ').nth(1).unwrap_or_default();
        assert!(allowed.contains(&code), "{many}: {status}");
    }
    let long = "a".repeat(30_000);
    let answer = vault
        .request(
            Method::GET,
            "/v1/auth/whoami",
            &vault.agent_key,
            None,
            &[
                ("x-request-id", &long[..1000]),
                ("user-agent", &long[..15_000]),
            ],
        )
        .await;
    assert_eq!(answer.status.as_u16(), 200);
    assert_ne!(
        answer.headers["x-request-id"].to_str().unwrap(),
        &long[..1000]
    );
    let key = format!("lhk_{long}");
    let refused = vault
        .request(Method::GET, "/v1/auth/whoami", &key[..20_000], None, &[])
        .await;
    refused.fails(401, "UNAUTHORIZED");
    assert_eq!(vault.admin(Method::GET, "/ready", None).await.status, 200);
    assert!(!vault.log().contains("panicked"), "{}", vault.log());
}

#[tokio::test]
async fn nonsense_on_the_wire_is_no_trouble() {
    let vault = Vault::dev();
    let key = &vault.admin_key;
    let mut nonsense: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"\r\n\r\n\r\n".to_vec(),
        vec![0; 5000],
        (0..=255).collect(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS greeting".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff".to_vec(),
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        b"GET /health HTTP/1.1\r\n\r\n".to_vec(),
        b"G\xffT /health HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
    ];
    for headers in [
        "Content-Length: -1",
        "Content-Length: 99999999999999999999999",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff",
        "Transfer-Encoding: chunked\r\n\r\nzz",
        "Expect: 200-ok\r\nContent-Length: 3",
    ] {
        nonsense.push(
            format!("POST /v1/leases HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n{headers}\r\n\r\n{{}}")
                .into_bytes(),
        );
    }
    for bytes in &nonsense {
        let status = say(&vault, bytes);
        let code = status.split(' ').nth(1).unwrap_or_default();
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
        assert!(
            !code.starts_with('5') || code == "505",
            "{shown:?}: {status}"
        );
        assert!(
            !code.starts_with('2') || shown.contains("/health"),
            "{shown:?}: {status}"
        );
    }
    assert_eq!(vault.admin(Method::GET, "/ready", None).await.status, 200);
    assert!(Api::admin(&vault).all("/v1/leases").await.is_empty());
    assert!(!vault.log().contains("panicked"), "{}", vault.log());
}
