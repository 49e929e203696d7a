//! What these tests share: a client that may be handed to tasks, and `leasehold server`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use reqwest::Method;
use serde_json::{Value, json};

pub use super::process::{Ended, Started, assert_no_panic, run};
use crate::support::{Vault, client, leasehold, signal};

/// A caller with its key. A clone shares the connections; `None` stands for an answer that never came.
#[derive(Clone)]
pub struct Api {
    http: reqwest::Client,
    pub address: String,
    pub key: String,
}

impl Api {
    pub fn new(address: &str, key: &str) -> Self {
        Self {
            http: client(),
            address: address.to_owned(),
            key: key.to_owned(),
        }
    }

    pub fn agent(vault: &Vault) -> Self {
        Self::new(&vault.address, &vault.agent_key)
    }

    pub fn admin(vault: &Vault) -> Self {
        Self::new(&vault.address, &vault.admin_key)
    }

    /// The same caller with other TLS roots, or another address.
    pub fn over(http: reqwest::Client, address: &str, key: &str) -> Self {
        Self {
            http,
            ..Self::new(address, key)
        }
    }

    pub async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Option<(u16, Value)> {
        self.call_with(method, path, body, &[]).await
    }

    pub async fn call_with(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Option<(u16, Value)> {
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.address))
            .bearer_auth(&self.key);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        let text = response.text().await.ok()?;
        Some((status, serde_json::from_str(&text).unwrap_or(Value::Null)))
    }

    pub async fn post(&self, path: &str, body: Value) -> Option<(u16, Value)> {
        self.call(Method::POST, path, Some(body)).await
    }

    /// What a GET gives, which must go well.
    pub async fn get(&self, path: &str) -> Value {
        let (status, body) = self.call(Method::GET, path, None).await.unwrap();
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// Every item of a list, by cursor.
    pub async fn all(&self, path: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let mut cursor = String::new();
        loop {
            let joint = if path.contains('?') { '&' } else { '?' };
            let page = self.get(&format!("{path}{joint}limit=200{cursor}")).await;
            items.extend(page["data"].as_array().unwrap().iter().cloned());
            match page["page"]["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return items,
            }
        }
    }

    /// A lease with this TTL, or the code of the refusal.
    pub async fn lease(&self, credential: &str, ttl: &str) -> Result<Value, String> {
        let body = json!({"credential_name": credential, "ttl": ttl});
        match self.post("/v1/leases", body).await {
            Some((201, body)) => Ok(body["data"].clone()),
            Some((status, body)) => Err(format!("{status} {}", text(&body, "code"))),
            None => Err("no answer".to_owned()),
        }
    }

    /// The value, or the status and code of the refusal.
    pub async fn redeem(&self, handle: &str) -> Result<String, String> {
        match self
            .post("/v1/handles/redeem", json!({"handle": handle}))
            .await
        {
            Some((200, body)) => Ok(text(&body["data"], "value")),
            Some((status, body)) => Err(format!("{status} {}", text(&body, "code"))),
            None => Err("no answer".to_owned()),
        }
    }

    /// A lease's or credential's POST action, as `"200"` or the status and code of the refusal.
    pub async fn act(&self, path: &str) -> String {
        match self.post(path, json!({})).await {
            Some((200, _)) => "200".to_owned(),
            Some((status, body)) => format!("{status} {}", text(&body, "code")),
            None => "no answer".to_owned(),
        }
    }

    pub async fn release(&self, lease: &str) -> String {
        self.act(&format!("/v1/leases/{lease}/release")).await
    }

    pub async fn credential(&self, name: &str) -> Value {
        self.get(&format!("/v1/credentials/{name}")).await["data"].clone()
    }

    pub async fn versions(&self, name: &str) -> Vec<Value> {
        self.all(&format!("/v1/credentials/{name}/versions")).await
    }

    pub async fn active(&self, name: &str) -> Vec<Value> {
        self.all(&format!("/v1/leases?credential_name={name}&state=active"))
            .await
    }
}

/// A field as text, empty where it is missing.
pub fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}

/// A field as a time, in milliseconds since the epoch.
pub fn millis(value: &Value, field: &str) -> i64 {
    value[field]
        .as_str()
        .unwrap()
        .parse::<jiff::Timestamp>()
        .unwrap()
        .as_millisecond()
}

pub fn now_millis() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// `leasehold server`, serving.
pub struct Server {
    pub started: Started,
    pub address: String,
}

impl Server {
    /// Starts it with these arguments, or says how it ended instead. It listens on a free port of loopback.
    pub fn start(args: &[&str], environment: &[(&str, &str)]) -> Result<Self, Ended> {
        let mut command = leasehold();
        command
            .args(["server", "--listen", "127.0.0.1:0"])
            .args(args);
        command.envs(environment.iter().copied());
        let (started, address) = Started::new(&mut command).until(|started| {
            let stderr = started.stderr();
            let line = stderr.lines().find(|line| line.contains("serving"))?;
            let address = line.split("address=").nth(1)?.split(' ').next()?;
            let scheme = if line.contains("tls=true") {
                "https"
            } else {
                "http"
            };
            Some(format!("{scheme}://{address}"))
        })?;
        Ok(Self { started, address })
    }

    /// SIGTERM, and how it ended.
    pub fn stop(self) -> Ended {
        signal(self.started.child.id(), "TERM");
        self.started.end()
    }
}

/// A production vault in `folder`: its data folder, its key file, and the keys that `init` showed.
pub struct Production {
    pub data_dir: PathBuf,
    pub key_file: PathBuf,
    pub config: PathBuf,
    pub admin_key: String,
    pub agent_key: String,
}

impl Production {
    pub fn init(folder: &Path) -> Self {
        let (data_dir, key_file) = (folder.join("data"), folder.join("root.key"));
        let ended = run(leasehold()
            .args([
                "init",
                "--output",
                "json",
                "--agent",
                "worker",
                "--data-dir",
            ])
            .arg(&data_dir)
            .arg("--key-file")
            .arg(&key_file));
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let made: Value = serde_json::from_str(&ended.stdout).unwrap();
        let config = folder.join("leasehold.toml");
        let text = format!(
            "[storage]\ndata_dir = {data_dir:?}\n[root]\nkey_file = {key_file:?}\n[server]\ndrain_deadline = \"5s\"\n"
        );
        fs::write(&config, text).unwrap();
        Self {
            data_dir,
            key_file,
            config,
            admin_key: text_of(&made["admin_key"]),
            agent_key: text_of(&made["agents"][0]["key"]),
        }
    }

    pub fn serve(&self) -> Result<Server, Ended> {
        Server::start(&["--config", self.config.to_str().unwrap()], &[])
    }
}

pub fn text_of(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// Every regular file below a folder.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// Copies a folder whose owner is stopped.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}
