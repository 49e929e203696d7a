//! A vault that is not running, to be damaged in copies, and what is known of it: every answer of a damaged copy is
//! right, or is an error that tells of damage.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use reqwest::Method;
use serde_json::{Value, json};

use super::kit::{Api, Production, Server, assert_no_panic, copy, text};
use crate::support::{TempDir, signal};

const CREDENTIALS: usize = 6;

/// A production vault that is not running, and all that a client knows of it.
pub struct Specimen {
    _folder: TempDir,
    pub folder: PathBuf,
    pub vault: Production,
    /// The handles of open leases and their values, and those of ended ones.
    open: Vec<(String, String)>,
    ended: Vec<String>,
    /// What lists show: leases, credentials, versions; and history without the vault's own records.
    lists: BTreeMap<String, Vec<Value>>,
}

fn value(number: usize) -> String {
    // The fifth is in chunks.
    format!("value-{number}-").repeat(if number == 5 { 3000 } else { 3 })
}

/// What a list shows of an item, without what every use of it changes.
fn lasting(item: &Value) -> Value {
    let fields = [
        "id",
        "name",
        "number",
        "state",
        "version",
        "current_version",
        "active_leases",
        "fingerprint",
        "credential_name",
        "expires_at",
        "purpose",
        "sequence",
        "event",
        "lease_id",
        "request_id",
    ];
    let known = fields.iter().filter(|field| !item[**field].is_null());
    known
        .map(|field| ((*field).to_owned(), item[*field].clone()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

const HISTORY: &str = "/v1/audit?sort=time";

fn list_paths() -> Vec<String> {
    let versions = (0..CREDENTIALS).map(|number| format!("/v1/credentials/c-{number}/versions"));
    let others = ["/v1/leases", "/v1/credentials", HISTORY];
    others
        .map(str::to_owned)
        .into_iter()
        .chain(versions)
        .collect()
}

/// Made by working with it; stopped in good order, or killed.
pub async fn specimen(killed: bool) -> Specimen {
    let temporary = TempDir::new();
    let folder = temporary.path().to_owned();
    let vault = Production::init(&folder);
    let server = vault.serve().unwrap();
    let admin = Api::new(&server.address, &vault.admin_key);
    let agent = Api::new(&server.address, &vault.agent_key);
    let (mut open, mut ended) = (Vec::new(), Vec::new());
    for number in 0..CREDENTIALS {
        let name = format!("c-{number}");
        let body = json!({"name": name, "type": "api-key", "value": value(number)});
        assert_eq!(admin.post("/v1/credentials", body).await.unwrap().0, 201);
        let lease = agent.lease(&name, "1h").await.unwrap();
        open.push((text(&lease, "handle"), value(number)));
        let over = agent.lease(&name, "1h").await.unwrap();
        assert_eq!(agent.release(&text(&over, "id")).await, "200");
        ended.push(text(&over, "handle"));
        if number % 2 == 1 {
            let new = format!("new-{}", value(number));
            let path = format!("/v1/credentials/{name}/rotate");
            let rotated = admin.post(&path, json!({"new_value": new})).await.unwrap();
            assert_eq!(rotated.0, 200, "{rotated:?}");
            let lease = agent.lease(&name, "1h").await.unwrap();
            open.push((text(&lease, "handle"), new));
        }
    }
    for (handle, _) in &open {
        for _ in 0..5 {
            agent.redeem(handle).await.unwrap();
        }
    }
    let mut lists = BTreeMap::new();
    for path in list_paths() {
        let items = admin.all(&path).await;
        lists.insert(path, items.iter().map(lasting).collect());
    }
    if killed {
        signal(server.started.child.id(), "KILL");
        server.started.end();
    } else {
        assert_eq!(server.stop().code, Some(0));
    }
    Specimen {
        _folder: temporary,
        folder,
        vault,
        open,
        ended,
        lists,
    }
}

/// What became of a damaged copy.
#[derive(Debug, Default)]
pub struct Outcome {
    pub refused: usize,
    pub served: usize,
    pub right: usize,
    pub failed: usize,
}

/// Errors that say that the vault could not read something; anything else would be a wrong answer.
fn tells_of_damage(status: u16, body: &Value) -> bool {
    matches!(
        (status, body["code"].as_str()),
        (500, Some("INTERNAL")) | (503, Some("STORAGE_UNAVAILABLE"))
    )
}

impl Specimen {
    /// Damages a copy of the data folder and sees what the vault makes of it.
    pub async fn with(&self, what: &str, damage: impl FnOnce(&Path), outcome: &mut Outcome) {
        let copied = self.folder.join("copy");
        let _ = fs::remove_dir_all(&copied);
        copy(&self.vault.data_dir, &copied);
        damage(&copied);
        let folder = copied.to_str().unwrap();
        let args = [
            "--config",
            self.vault.config.to_str().unwrap(),
            "--data-dir",
            folder,
        ];
        let server = match Server::start(&args, &[]) {
            Ok(server) => server,
            Err(ended) => {
                outcome.refused += 1;
                assert_eq!(ended.code, Some(1), "{what}: {ended:?}");
                let told = ended
                    .stderr
                    .lines()
                    .find(|line| line.starts_with("error: "));
                let told = told.unwrap_or_else(|| panic!("{what}: {ended:?}"));
                assert!(!ended.stderr.contains("value-"), "{what}: {ended:?}");
                assert_no_panic(&ended.stderr);
                println!("{what}: {}", told.replace(folder, "…"));
                return;
            }
        };
        outcome.served += 1;
        let agent = Api::new(&server.address, &self.vault.agent_key);
        let admin = Api::new(&server.address, &self.vault.admin_key);
        let wrong = self.wrong(&agent, &admin, outcome).await;
        let ended = server.stop();
        assert!(wrong.is_empty(), "{what}: {wrong:#?}\n{}", ended.stderr);
        assert_no_panic(&ended.stderr);
        assert!(!ended.stderr.contains("value-"), "{what}: {ended:?}");
    }

    /// Answers that are neither right nor an error that tells of damage.
    async fn wrong(&self, agent: &Api, admin: &Api, outcome: &mut Outcome) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut judge =
            |what: &str, answer: Option<(u16, Value)>, right: &dyn Fn(u16, &Value) -> bool| {
                match answer {
                    Some((status, body)) if right(status, &body) => outcome.right += 1,
                    Some((status, body)) if tells_of_damage(status, &body) => outcome.failed += 1,
                    answer => wrong.push(format!("{what}: {answer:?}")),
                }
            };
        let redeem = async |handle: &str| {
            let body = json!({"handle": handle});
            agent.post("/v1/handles/redeem", body).await
        };
        for (handle, value) in &self.open {
            let right = |status, body: &Value| status == 200 && body["data"]["value"] == **value;
            judge("an open lease", redeem(handle).await, &right);
        }
        for handle in &self.ended {
            let right = |status, _: &Value| status == 410;
            judge("an ended lease", redeem(handle).await, &right);
        }
        for (path, items) in &self.lists {
            let joint = if path.contains('?') { '&' } else { '?' };
            let page = format!("{path}{joint}limit=200");
            let answer = admin.call(Method::GET, &page, None).await;
            let right = |status, body: &Value| {
                let shown = body["data"]
                    .as_array()
                    .map(|shown| shown.iter().map(lasting));
                let shown: Vec<Value> = shown.into_iter().flatten().collect();
                // What is damaged is named.
                let damaged = body["page"]["unreadable"].as_array();
                let named =
                    |item: &Value| damaged.is_some_and(|named| named.contains(&item["sequence"]));
                let left: Vec<_> = items.iter().filter(|item| !named(item)).collect();
                let same = shown.iter().zip(&left).all(|(shown, left)| shown == *left);
                // History has grown since.
                let whole = shown.len() == left.len() || path == HISTORY;
                status == 200 && whole && shown.len() >= left.len() && same
            };
            judge(path, answer, &right);
        }
        wrong
    }
}
