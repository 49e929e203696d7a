//! For tests: a listener on loopback that gives prepared answers and keeps what it was asked, and files
//! that go when the test does.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Mutex},
};

use zeroize::Zeroizing;

use super::{ClientOptions, http::Vault, output::Mode};

pub(super) const PEOPLE: Mode = Mode {
    json: false,
    terminal: true,
};
pub(super) const PIPE: Mode = Mode {
    json: false,
    terminal: false,
};
pub(super) const JSON: Mode = Mode {
    json: true,
    terminal: false,
};

/// An answer with this status breaks the connection instead.
pub(super) const HANG_UP: u16 = 0;

/// A request as it was received.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) line: String,
    headers: Vec<String>,
    pub(super) body: String,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    fn read(stream: &TcpStream) -> Option<Self> {
        let mut reader = BufReader::new(stream);
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let mut request = Self {
            line: lines.remove(0),
            headers: lines,
            body: String::new(),
        };
        let length = request
            .header("content-length")
            .map_or(0, |text| text.parse().unwrap());
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        request.body = String::from_utf8(body).unwrap();
        Some(request)
    }
}

/// A vault that answers what it was told to, in order.
pub(super) struct TestVault {
    address: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl TestVault {
    pub(super) fn answering(answers: &[(u16, &str)]) -> Self {
        let answers = answers
            .iter()
            .map(|(status, body)| (*status, "", (*body).to_owned()))
            .collect();
        Self::start(answers)
    }

    pub(super) fn answering_with(status: u16, headers: &'static str, body: &str) -> Self {
        Self::start(vec![(status, headers, body.to_owned())])
    }

    pub(super) fn answering_each(answers: &[(u16, &'static str, &str)]) -> Self {
        let answers = answers
            .iter()
            .map(|(status, headers, body)| (*status, *headers, (*body).to_owned()))
            .collect();
        Self::start(answers)
    }

    fn start(answers: Vec<(u16, &'static str, String)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&requests);
        std::thread::spawn(move || {
            for (status, headers, body) in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let Some(request) = Request::read(&stream) else {
                    continue;
                };
                log.lock().unwrap().push(request);
                if status == HANG_UP {
                    continue;
                }
                let length = body.len();
                let _ = write!(
                    stream,
                    "HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
                );
            }
        });
        Self { address, requests }
    }

    pub(super) fn client(&self) -> Vault {
        connect(&self.address, Some("lhk_test"))
    }

    pub(super) fn client_without_key(&self) -> Vault {
        connect(&self.address, None)
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

pub(super) fn connect(address: &str, key: Option<&str>) -> Vault {
    // Another test may have been first.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let options = ClientOptions {
        addr_named: false,
        addr: address.into(),
        workspace: Some("w".into()),
        json: false,
    };
    Vault::connect(&options, key.map(|key| Zeroizing::new(key.to_owned()))).unwrap()
}

/// A file in the system's temporary folder.
pub(super) struct TempFile(tempfile::NamedTempFile);

impl TempFile {
    pub(super) fn new(content: &[u8]) -> Self {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        Self(file)
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }
}
