//! Requests as bytes on a connection, for what a client library would tidy up or refuse to send.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use serde_json::Value;

use crate::support::Vault;

/// A status and the body behind it.
pub struct RawAnswer {
    pub status: u16,
    pub head: String,
    pub body: Value,
    pub text: String,
}

/// Sends a request line, headers and a body as they are.
pub fn send(vault: &Vault, line: &str, headers: &[(&str, &str)], body: &[u8]) -> RawAnswer {
    let mut request =
        format!("{line} HTTP/1.1\r\nHost: vault\r\nConnection: close\r\n").into_bytes();
    for (name, value) in headers {
        request.extend(format!("{name}: ").bytes());
        // Latin-1, so that a header may hold any byte.
        request.extend(value.chars().map(|c| u8::try_from(c).unwrap()));
        request.extend(b"\r\n");
    }
    if !body.is_empty() {
        request.extend(format!("Content-Length: {}\r\n", body.len()).bytes());
    }
    request.extend(b"\r\n");
    request.extend(body);
    exchange(vault, &request)
}

/// Sends bytes and reads until the vault closes.
pub fn exchange(vault: &Vault, request: &[u8]) -> RawAnswer {
    let address = vault.address.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, text) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    RawAnswer {
        status: status.unwrap_or_else(|| panic!("no answer: {answer:?}")),
        head: head.to_ascii_lowercase(),
        body: serde_json::from_str(text).unwrap_or_default(),
        text: text.to_owned(),
    }
}

impl RawAnswer {
    /// A refusal of the caller's own doing, in the vault's envelope.
    #[track_caller]
    pub fn refuses(&self, statuses: &[u16], what: &str) {
        assert!(
            statuses.contains(&self.status),
            "{what}: {} {}",
            self.status,
            self.text
        );
        assert_eq!(
            self.body["status"], "error",
            "{what}: {} {}",
            self.status, self.text
        );
        assert!(self.body["code"].is_string() && self.body["request_id"].is_string());
    }
}
