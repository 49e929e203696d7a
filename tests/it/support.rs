//! A vault under test: started on a free port in a folder of its own, stopped by the test that started it.

pub mod memory;

use std::{
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex, mpsc},
    time::{Duration, Instant},
};

use reqwest::{Method, StatusCode, header::HeaderMap};
use serde_json::{Value, json};

/// The longest that a vault may take to start or to stop in a test.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder that is removed when the test ends; where it fails and `LEASEHOLD_KEEP` is set, the folder stays.
pub struct TempDir(tempfile::TempDir);

impl TempDir {
    pub fn new() -> Self {
        // The name is random: whoever had this process id before may have been killed before it tidied up.
        let folder = tempfile::Builder::new().prefix("leasehold-it-").tempdir();
        Self(folder.unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // What a failed test leaves behind may be looked at.
        if std::thread::panicking() && std::env::var_os("LEASEHOLD_KEEP").is_some() {
            self.0.disable_cleanup(true);
            println!("kept: {}", self.0.path().display());
        }
    }
}

/// The binary under test, with a clean environment of our own variables.
pub fn leasehold() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leasehold"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LEASEHOLD") {
            command.env_remove(name);
        }
    }
    command.env("RUST_LOG", "debug");
    command
}

/// How a development vault is started.
#[derive(Default)]
pub struct DevOptions {
    pub data_dir: Option<PathBuf>,
    pub args: Vec<String>,
}

/// A running vault.
pub struct Vault {
    child: Child,
    stdout: BufReader<ChildStdout>,
    pub address: String,
    pub admin_key: String,
    pub agent_key: String,
    pub data_dir: PathBuf,
    log: Arc<Mutex<String>>,
    http: reqwest::Client,
    _folder: Option<TempDir>,
}

impl Vault {
    /// `leasehold dev` in a folder of its own.
    pub fn dev() -> Self {
        Self::dev_with(DevOptions::default())
    }

    pub fn dev_with(options: DevOptions) -> Self {
        let (folder, data_dir) = match options.data_dir {
            Some(dir) => (None, dir),
            None => {
                let folder = TempDir::new();
                let dir = folder.path().join("data");
                (Some(folder), dir)
            }
        };
        let mut command = leasehold();
        command
            .args([
                "dev",
                "--listen",
                "127.0.0.1:0",
                "--output",
                "json",
                "--data-dir",
            ])
            .arg(&data_dir);
        command.args(&options.args);
        Self::spawn(command, data_dir, folder)
    }

    fn spawn(mut command: Command, data_dir: PathBuf, folder: Option<TempDir>) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let stderr = child.stderr.take().unwrap();
        let into = log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = into.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        // A start that never ends must not hold up the test for good.
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let (send, first) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let _ = stdout.read_line(&mut line);
            let _ = send.send((line, stdout));
        });
        let Ok((line, stdout)) = first.recv_timeout(PATIENCE) else {
            child.kill().unwrap();
            panic!("an endless start:\n{}", log.lock().unwrap());
        };
        let started: Value = serde_json::from_str(&line).unwrap_or_else(|_| {
            panic!("the vault did not start: {line:?}\n{}", log.lock().unwrap())
        });
        let text = |name: &str| started[name].as_str().unwrap_or_default().to_owned();
        Self {
            child,
            stdout,
            address: text("address"),
            admin_key: text("admin_key"),
            agent_key: text("agent_key"),
            data_dir,
            log,
            http: client(),
            _folder: folder,
        }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// kill -9, then the same folder again, with the keys of the first start.
    pub fn kill_and_reopen(self, args: &[&str]) -> Self {
        self.reopen(args, |child| {
            child.kill().unwrap();
        })
    }

    /// SIGTERM, then the same folder again, with the keys of the first start.
    pub fn restart(self, args: &[&str]) -> Self {
        self.reopen(args, |child| signal(child.id(), "TERM"))
    }

    fn reopen(mut self, args: &[&str], stop: impl FnOnce(&mut Child)) -> Self {
        stop(&mut self.child);
        self.child.wait().unwrap();
        let folder = self._folder.take();
        let (admin_key, agent_key) = (self.admin_key.clone(), self.agent_key.clone());
        let mut again = Self::dev_with(DevOptions {
            data_dir: Some(self.data_dir.clone()),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        });
        again._folder = folder;
        again.admin_key = admin_key;
        again.agent_key = agent_key;
        again
    }

    /// SIGTERM; gives back the exit code and whatever was still printed on stdout.
    pub fn stop(mut self) -> (Option<i32>, String) {
        signal(self.child.id(), "TERM");
        let status = wait(&mut self.child);
        let mut rest = String::new();
        let _ = self.stdout.read_to_string(&mut rest);
        (status.code(), rest)
    }

    /// SIGTERM, and the end awaited; gives back the folder, which lives as long as its guard.
    pub fn stop_and_keep(mut self) -> Option<TempDir> {
        signal(self.child.id(), "TERM");
        assert!(wait(&mut self.child).success());
        self._folder.take()
    }

    /// SIGTERM; gives back the exit code and all that was logged until the end.
    pub fn stop_logged(mut self) -> (Option<i32>, String) {
        signal(self.child.id(), "TERM");
        let status = wait(&mut self.child);
        // The reader lets go of the log when it has seen the end of the pipe, a moment after the process is gone.
        let begun = Instant::now();
        while Arc::strong_count(&self.log) > 1 {
            assert!(begun.elapsed() < PATIENCE, "somebody else holds its pipe");
            std::thread::sleep(Duration::from_millis(1));
        }
        (status.code(), self.log())
    }

    /// A request with the administrator's key.
    pub async fn admin(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.request(method, path, &self.admin_key, body, &[]).await
    }

    /// A request with the agent's key.
    pub async fn agent(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.request(method, path, &self.agent_key, body, &[]).await
    }

    /// A request with any key and headers.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        key: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = self.http.request(method, format!("{}{path}", self.address));
        if !key.is_empty() {
            request = request.bearer_auth(key);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        Answer::of(request.send().await.unwrap()).await
    }

    /// A request whose body is sent as it is.
    pub async fn raw(
        &self,
        method: Method,
        path: &str,
        key: &str,
        content_type: &str,
        body: Vec<u8>,
    ) -> Answer {
        let request = self.http.request(method, format!("{}{path}", self.address));
        let request = request
            .bearer_auth(key)
            .header("content-type", content_type)
            .body(body);
        Answer::of(request.send().await.unwrap()).await
    }

    /// Stores an `api-key` credential with this policy.
    pub async fn store(&self, name: &str, value: &str, policy: Value) -> Value {
        let body = json!({"name": name, "type": "api-key", "value": value, "policy": policy});
        self.admin(Method::POST, "/v1/credentials", Some(body))
            .await
            .data(201)
    }

    /// Issues a lease to the agent.
    pub async fn lease(&self, body: Value) -> Value {
        self.agent(Method::POST, "/v1/leases", Some(body))
            .await
            .data(201)
    }

    /// Redeems a handle as the agent.
    pub async fn redeem(&self, handle: &str) -> Answer {
        self.agent(
            Method::POST,
            "/v1/handles/redeem",
            Some(json!({"handle": handle})),
        )
        .await
    }
}

impl Drop for Vault {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An HTTP client that uses no proxy.
pub fn client() -> reqwest::Client {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .timeout(PATIENCE)
        .build()
        .unwrap()
}

/// Sends a signal by name.
pub fn signal(pid: u32, name: &str) {
    assert!(
        Command::new("kill")
            .arg(format!("-{name}"))
            .arg(pid.to_string())
            .status()
            .unwrap()
            .success()
    );
}

/// Stops a process where it is and waits until each of its threads stands still: the signal alone returns sooner.
pub fn freeze(pid: u32) {
    signal(pid, "STOP");
    let begun = Instant::now();
    let stands = |stat: String| stat.rsplit(')').next().unwrap().starts_with(" T");
    let threads = || std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let stat = |thread: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(thread.unwrap().path().join("stat"))
    };
    // A thread that ends meanwhile has no state, and is gone from the next list.
    while !threads().all(|thread| stat(thread).is_ok_and(stands)) {
        assert!(begun.elapsed() < PATIENCE, "the process did not stop");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits for a process to end.
pub fn wait(child: &mut Child) -> std::process::ExitStatus {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(begun.elapsed() < PATIENCE, "the process did not end");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What the vault answered.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
    pub body: Value,
}

impl Answer {
    pub async fn of(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Self {
            status,
            headers,
            text,
            body,
        }
    }

    /// The data of a success with this status.
    #[track_caller]
    pub fn data(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert_eq!(self.body["status"], "success", "{}", self.text);
        self.body["data"].clone()
    }

    /// A failure with this status and code; gives the body back.
    #[track_caller]
    pub fn fails(self, status: u16, code: &str) -> Value {
        assert_eq!(
            (self.status.as_u16(), self.body["code"].as_str()),
            (status, Some(code)),
            "{}",
            self.text
        );
        assert_eq!(self.body["status"], "error", "{}", self.text);
        assert!(
            self.body["request_id"]
                .as_str()
                .is_some_and(|id| !id.is_empty()),
            "{}",
            self.text
        );
        self.body
    }
}

impl Vault {
    /// A vault started by a command of the test's own, which must print the line of `--output json`.
    pub fn started_by(command: Command, data_dir: PathBuf) -> Self {
        Self::spawn(command, data_dir, None)
    }
}
