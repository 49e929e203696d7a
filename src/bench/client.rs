//! A lean HTTP/1.1 client: one connection, prebuilt requests, answers with a content length. The generator shares
//! the machine with what it measures, so an exchange is one write and, as a rule, one read.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// The longest answer that is read: a full page of leases is 150 KB.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;
/// What a connection reads into at first.
const FIRST_BUFFER: usize = 16 * 1024;
/// How long a connection may take to open, and one single answer to come.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Whom requests go to and who sends them.
#[derive(Clone)]
pub(super) struct Peer {
    /// Host and port.
    pub(super) address: String,
    /// The workspace to name, for a key that reaches several.
    pub(super) workspace: Option<String>,
}

impl Peer {
    /// A request without a body.
    pub(super) fn get(&self, path: &str, key: &str) -> Vec<u8> {
        self.request("GET", path, key, "")
    }

    /// A request with a JSON body.
    pub(super) fn post(&self, path: &str, key: &str, body: &str) -> Vec<u8> {
        self.request("POST", path, key, body)
    }

    /// A request that deletes.
    pub(super) fn delete(&self, path: &str, key: &str) -> Vec<u8> {
        self.request("DELETE", path, key, "")
    }

    fn request(&self, method: &str, path: &str, key: &str, body: &str) -> Vec<u8> {
        let mut text = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n", self.address);
        if !key.is_empty() {
            text.push_str(&format!("authorization: Bearer {key}\r\n"));
        }
        if let Some(workspace) = &self.workspace {
            text.push_str(&format!("x-workspace: {workspace}\r\n"));
        }
        if !body.is_empty() {
            text.push_str(&format!(
                "content-type: application/json\r\ncontent-length: {}\r\n",
                body.len()
            ));
        }
        text.push_str("\r\n");
        text.push_str(body);
        text.into_bytes()
    }
}

/// Why an exchange came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    #[error("cannot connect to `{0}`")]
    Connect(String, #[source] io::Error),
    #[error("the connection broke")]
    Broken(#[source] io::Error),
    #[error("the server closed the connection")]
    Closed,
    #[error("no answer within {} seconds", PATIENCE.as_secs())]
    Late,
    #[error("the answer is not what this client reads: {0}")]
    Unreadable(&'static str),
}

/// What came back.
pub(super) struct Answer<'a> {
    pub(super) status: u16,
    pub(super) body: &'a [u8],
}

/// An open connection, used for one request at a time.
pub(super) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(super) async fn open(peer: &Peer) -> Result<Self, ClientError> {
        let address = &peer.address;
        let failed = |error| ClientError::Connect(address.clone(), error);
        let opened = tokio::time::timeout(PATIENCE, TcpStream::connect(address)).await;
        let stream = opened
            .map_err(|_| ClientError::Late)?
            .and_then(|stream| stream.set_nodelay(true).map(|()| stream))
            .map_err(failed)?;
        Ok(Self {
            stream,
            buffer: vec![0; FIRST_BUFFER],
        })
    }

    /// As [`Connection::exchange`], but not for ever: for the odd request beside a measurement.
    pub(super) async fn ask(&mut self, request: &[u8]) -> Result<Answer<'_>, ClientError> {
        tokio::time::timeout(PATIENCE, self.exchange(request))
            .await
            .unwrap_or(Err(ClientError::Late))
    }

    /// Sends the request and reads its answer to the end, however long that takes.
    pub(super) async fn exchange(&mut self, request: &[u8]) -> Result<Answer<'_>, ClientError> {
        self.stream
            .write_all(request)
            .await
            .map_err(ClientError::Broken)?;
        let mut filled = 0;
        let mut head = None;
        loop {
            if filled == self.buffer.len() {
                if filled >= MAX_ANSWER_BYTES {
                    return Err(ClientError::Unreadable("it is too long"));
                }
                self.buffer.resize(filled * 2, 0);
            }
            let room = self.buffer.get_mut(filled..).unwrap_or_default();
            match self.stream.read(room).await.map_err(ClientError::Broken)? {
                0 => return Err(ClientError::Closed),
                read => filled += read,
            }
            if head.is_none() {
                head = Head::read(self.buffer.get(..filled).unwrap_or_default())?;
            }
            if let Some(Head { status, start, end }) = head
                && filled >= end
            {
                let body = self.buffer.get(start..end).unwrap_or_default();
                return Ok(Answer { status, body });
            }
        }
    }
}

/// The status, and where the body begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    status: u16,
    start: usize,
    end: usize,
}

impl Head {
    /// None where the head is not complete yet.
    fn read(text: &[u8]) -> Result<Option<Self>, ClientError> {
        let Some(length) = text.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Ok(None);
        };
        let head = text.get(..length).unwrap_or_default();
        let head = std::str::from_utf8(head)
            .map_err(|_| ClientError::Unreadable("its head is not text"))?;
        let mut lines = head.split("\r\n");
        let status = lines
            .next()
            .and_then(|line| line.strip_prefix("HTTP/1.1 "))
            .and_then(|rest| rest.get(..3)?.parse().ok())
            .ok_or(ClientError::Unreadable("it is not HTTP/1.1"))?;
        let body: usize = lines
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .and_then(|(_, value)| value.trim().parse().ok())
            .ok_or(ClientError::Unreadable("it has no content length"))?;
        let start = length + 4;
        let end = start.saturating_add(body);
        Ok(Some(Self { status, start, end }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_whole_or_not_at_all() {
        let text = b"HTTP/1.1 201 Created\r\nContent-Length: 5\r\nx: y\r\n\r\nhello";
        let head = Head::read(text).unwrap().unwrap();
        assert_eq!(
            (head.status, &text[head.start..head.end]),
            (201, &b"hello"[..])
        );
        assert_eq!(Head::read(&text[..40]).unwrap(), None);
        for text in [
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
            "SSH-2.0-x\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        ] {
            assert!(Head::read(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_request_says_how_long_it_is() {
        let peer = Peer {
            address: "h:1".to_owned(),
            workspace: Some("w".to_owned()),
        };
        assert_eq!(
            String::from_utf8(peer.post("/p", "k", "{}")).unwrap(),
            "POST /p HTTP/1.1\r\nhost: h:1\r\nauthorization: Bearer k\r\nx-workspace: w\r\n\
             content-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
        );
    }
}
