//! The agents of `examples/`, each run against a vault and an upstream, the walk through access control, and the tour of
//! the README: what a reader copies works.

mod access;
mod exposure;

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex},
};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::support::Vault;

const CREDENTIAL: &str = "example-key";
const VALUE: &str = "sk_example_0123456789";

/// A service that takes one bearer token, and remembers which ones it was shown.
struct Upstream {
    url: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Upstream {
    /// Answers `status` to the right token and 401 to any other.
    async fn answering(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1/things", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let into = seen.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = Vec::new();
                let mut piece = [0; 1024];
                while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                    match stream.read(&mut piece).await {
                        Ok(read @ 1..) => head.extend_from_slice(&piece[..read]),
                        _ => break,
                    }
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                let token = head
                    .lines()
                    .filter_map(|line| line.split_once(": "))
                    .find(|(name, _)| name.eq_ignore_ascii_case("authorization"))
                    .map(|(_, value)| value.to_owned())
                    .unwrap_or_default();
                let status = if token == format!("Bearer {VALUE}") {
                    status
                } else {
                    401
                };
                into.lock().unwrap().push(token);
                let answer = format!(
                    "HTTP/1.1 {status} Whatever\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                );
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        Self { url, seen }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples")
        .join(name)
}

fn shell_agent() -> Command {
    require("bash", "curl");
    Command::new(file("agent.sh"))
}

fn python_agent() -> Command {
    require("python3", "python3");
    let mut command = Command::new("python3");
    command.arg(file("agent.py"));
    command
}

/// The example that `cargo test` builds beside the tests; built now where only this test was asked for.
fn rust_agent() -> Command {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().and_then(Path::parent).unwrap();
    let binary = folder.join("examples").join("agent");
    if !binary.exists() {
        let profile = match folder.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => "dev",
            Some(other) => other,
        };
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--example", "agent", "--profile"])
            .arg(profile)
            .arg("--target-dir")
            .arg(folder.parent().unwrap())
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status();
        assert!(
            built.is_ok_and(|status| status.success()) && binary.exists(),
            "the example is not built; run `cargo build --example agent`"
        );
    }
    Command::new(binary)
}

fn require(program: &str, also: &str) {
    for program in [program, also] {
        let there = Command::new(program)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(
            there.is_ok(),
            "`{program}` is needed to run this example; `tests/run` installs it"
        );
    }
}

/// Runs an agent with nothing of our own in its environment but what it documents.
async fn run(mut command: Command, settings: &[(&str, &str)]) -> Output {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LEASEHOLD") {
            command.env_remove(name);
        }
    }
    command.envs([("no_proxy", "127.0.0.1"), ("NO_PROXY", "127.0.0.1")]);
    command.envs(settings.iter().copied()).stdin(Stdio::null());
    tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .unwrap()
}

struct Scene {
    vault: Vault,
    upstream: Upstream,
}

impl Scene {
    async fn with_upstream(status: u16) -> Self {
        let vault = Vault::dev();
        vault
            .store(CREDENTIAL, VALUE, json!({"delivery": ["reveal"]}))
            .await;
        let upstream = Upstream::answering(status).await;
        Self { vault, upstream }
    }

    async fn run(&self, agent: Command) -> Output {
        let settings = [
            ("LEASEHOLD_ADDR", self.vault.address.as_str()),
            ("LEASEHOLD_KEY", self.vault.agent_key.as_str()),
            ("CREDENTIAL", CREDENTIAL),
            ("UPSTREAM", self.upstream.url.as_str()),
        ];
        let output = run(agent, &settings).await;
        for stream in [&output.stdout, &output.stderr] {
            let text = String::from_utf8_lossy(stream);
            assert!(!text.contains(VALUE), "the value was printed");
            assert!(!text.contains("lhh_"), "the handle was printed: {text}");
            assert!(!text.contains("lhk_"), "the key was printed: {text}");
        }
        output
    }

    /// The only lease that there was.
    async fn lease(&self) -> Value {
        let listed = self.vault.admin(Method::GET, "/v1/leases", None).await;
        let leases = listed.data(200);
        assert_eq!(leases.as_array().unwrap().len(), 1, "{leases}");
        leases[0].clone()
    }

    /// What happened to it, oldest first.
    async fn events(&self, lease: &Value) -> Vec<String> {
        let path = format!("/v1/leases/{}/events", lease["id"].as_str().unwrap());
        let events = self.vault.admin(Method::GET, &path, None).await.data(200);
        events
            .as_array()
            .unwrap()
            .iter()
            .map(|event| event["event"].as_str().unwrap().to_owned())
            .collect()
    }
}

async fn assert_does_its_work(agent: Command) {
    let scene = Scene::with_upstream(200).await;
    let output = scene.run(agent).await;
    assert!(output.status.success(), "{output:?}");
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(stdout, "upstream said 200, lease released\n");
    assert!(output.stderr.is_empty());
    assert_eq!(scene.upstream.seen(), [format!("Bearer {VALUE}")]);
    let lease = scene.lease().await;
    assert_eq!(lease["state"], "released", "{lease}");
    assert_eq!(
        scene.events(&lease).await,
        [
            "lease.issued",
            "lease.redeemed",
            "lease.renewed",
            "lease.released"
        ]
    );
}

async fn assert_releases_when_the_work_fails(agent: Command) {
    let scene = Scene::with_upstream(503).await;
    let output = scene.run(agent).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("upstream said 503"), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    let lease = scene.lease().await;
    assert_eq!(lease["state"], "released", "{lease}");
    assert_eq!(
        scene.events(&lease).await,
        ["lease.issued", "lease.redeemed", "lease.released"]
    );
}

async fn assert_says_what_is_wrong(agent: fn() -> Command) {
    let vault = Vault::dev();
    let settings = [
        ("LEASEHOLD_ADDR", vault.address.as_str()),
        ("LEASEHOLD_KEY", vault.agent_key.as_str()),
        ("CREDENTIAL", "no-such-credential"),
        ("UPSTREAM", "http://127.0.0.1:9/"),
    ];
    let told = |output: Output| {
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        stderr
    };
    let stderr = told(run(agent(), &settings).await);
    assert!(
        stderr.contains("the vault refused /v1/leases: 404"),
        "{stderr}"
    );
    let stderr = told(run(agent(), &settings[..2]).await);
    assert!(stderr.contains("CREDENTIAL is not set"), "{stderr}");
}

#[tokio::test]
async fn the_shell_agent_does_its_work() {
    assert_does_its_work(shell_agent()).await;
}

#[tokio::test]
async fn the_shell_agent_releases_when_its_work_fails() {
    assert_releases_when_the_work_fails(shell_agent()).await;
}

#[tokio::test]
async fn the_shell_agent_says_what_is_wrong() {
    assert_says_what_is_wrong(shell_agent).await;
}

#[tokio::test]
async fn the_python_agent_does_its_work() {
    assert_does_its_work(python_agent()).await;
}

#[tokio::test]
async fn the_python_agent_releases_when_its_work_fails() {
    assert_releases_when_the_work_fails(python_agent()).await;
}

#[tokio::test]
async fn the_python_agent_says_what_is_wrong() {
    assert_says_what_is_wrong(python_agent).await;
}

#[tokio::test]
async fn the_rust_agent_does_its_work() {
    assert_does_its_work(rust_agent()).await;
}

#[tokio::test]
async fn the_rust_agent_releases_when_its_work_fails() {
    assert_releases_when_the_work_fails(rust_agent()).await;
}

#[tokio::test]
async fn the_rust_agent_says_what_is_wrong() {
    assert_says_what_is_wrong(rust_agent).await;
}

/// The commands of a part of the README, in order.
fn commands(part: &str) -> String {
    let readme = include_str!("../../README.md");
    let (_, rest) = readme.split_once(&format!("<!-- {part} -->\n")).unwrap();
    let (text, _) = rest.split_once(&format!("<!-- /{part} -->")).unwrap();
    let blocks = text.split("```sh\n").skip(1);
    blocks
        .map(|block| block.split_once("```").unwrap().0)
        .collect()
}

fn tour() -> String {
    commands("tour")
}

#[tokio::test]
async fn the_tour_gives_what_the_readme_says() {
    require("bash", "curl");
    let vault = Vault::dev();
    let mut command = Command::new("bash");
    command.args(["-e", "-c", &tour()]);
    let settings = [
        ("VAULT", vault.address.as_str()),
        ("ADMIN", vault.admin_key.as_str()),
        ("AGENT", vault.agent_key.as_str()),
    ];
    let output = run(command, &settings).await;
    assert!(output.status.success(), "{output:?}");
    let stdout = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<Value> = stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["data"].clone())
        .collect();
    let [
        created,
        first,
        rotated,
        second,
        first_again,
        released,
        versions,
    ] = &answers[..]
    else {
        panic!("{stdout}");
    };
    assert_eq!(created["current_version"], 1);
    assert!(created.get("value").is_none() && !created["effective_policy"].is_null());
    let shows = |answer: &Value, version: u64, value: &str| {
        assert_eq!(answer["version"], version);
        assert_eq!(answer["value"], value);
    };
    shows(first, 1, "sk_test_one");
    assert_eq!(rotated["current_version"], 2);
    assert_eq!(rotated["previous_retired"], false);
    shows(second, 2, "sk_test_two");
    shows(first_again, 1, "sk_test_one");
    assert_eq!(released["state"], "released");
    let [new, old] = &versions.as_array().unwrap()[..] else {
        panic!("{versions}");
    };
    assert_eq!(
        (&new["state"], &new["active_leases"]),
        (&json!("current"), &json!(1))
    );
    assert_eq!(old["state"], "retired");
    assert!(old["retired_at"].is_string());
}

#[test]
fn the_tour_is_the_one_that_dev_prints() {
    let printed = include_str!("../../src/app/dev.rs");
    for line in tour().lines() {
        assert!(
            printed.contains(line),
            "`leasehold dev` does not print {line}"
        );
    }
}
