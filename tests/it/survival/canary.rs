//! A vault that is killed while it stops whoever touched a canary: the next start stops it, in every workspace.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    again::{Keys, callers, dev},
    kit::{Api, copy, text},
    shim::{Shim, Sync, Word},
};
use crate::support::{TempDir, Vault, signal};

/// Where the canary is, and where else its toucher has leases; it belongs to neither.
const ELSEWHERE: [&str; 2] = ["east", "west"];
/// Credentials in each, so that its leases are revoked in several commits.
const CREDENTIALS: [&str; 3] = ["one", "two", "three"];
/// How long a commit takes, in microseconds.
const SYNC_TAKES: i64 = 250_000;
const PATIENCE: Duration = Duration::from_secs(60);

async fn there(api: &Api, workspace: &str, path: &str, body: Option<Value>) -> (u16, Value) {
    let method = if body.is_some() {
        Method::POST
    } else {
        Method::GET
    };
    let headers = [("x-workspace", workspace)];
    api.call_with(method, path, body, &headers).await.unwrap()
}

/// A vault that is stopped, with an identity of the default workspace that has leases in the others alone.
struct Baited {
    folder: TempDir,
    keys: Keys,
    mole: String,
}

impl Baited {
    fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    async fn new() -> Self {
        let folder = TempDir::new();
        let data_dir = folder.path().join("data");
        let vault = Vault::started_by(dev(&data_dir), data_dir.clone());
        let admin = Api::admin(&vault);
        let made = async |path: &str, body: Value| {
            let (status, answer) = admin.post(path, body).await.unwrap();
            assert_eq!(status, 201, "{answer}");
            answer
        };
        for workspace in ELSEWHERE {
            made("/v1/workspaces", json!({"name": workspace})).await;
        }
        let mole = json!({"name": "mole", "type": "agent", "role": "admin"});
        made("/v1/identities", mole).await;
        // A role of the organisation reaches the others, by a key that may not tell what is a canary.
        let scopes = ["lease:create", "lease:read", "handle:redeem"];
        let key = json!({
            "name": "mole", "identity": {"name": "mole"}, "scopes": scopes, "workspace": "*",
        });
        let mole = text(&made("/v1/api-keys", key).await["data"], "key");
        let caller = Api::new(&vault.address, &mole);
        for workspace in ELSEWHERE {
            for name in CREDENTIALS {
                let body = json!({"name": name, "type": "api-key", "value": "v"});
                let (status, answer) =
                    there(&admin, workspace, "/v1/credentials", Some(body)).await;
                assert_eq!(status, 201, "{answer}");
                let body = json!({"credential_name": name, "ttl": "1h"});
                let (status, answer) = there(&caller, workspace, "/v1/leases", Some(body)).await;
                assert_eq!(status, 201, "{answer}");
            }
        }
        let bait = json!({
            "name": "bait", "type": "api-key", "value": "v", "canary": true, "policy": {"canary_suspends": true},
        });
        let (status, answer) = there(&admin, ELSEWHERE[0], "/v1/credentials", Some(bait)).await;
        assert_eq!(status, 201, "{answer}");
        let keys = Keys::of(&vault);
        assert_eq!(vault.stop().0, Some(0));
        Self { folder, keys, mole }
    }

    /// Touches the canary in a copy of the folder, and kills the vault so many commits later, or within the first one.
    async fn killed_after(&self, commits: i64) -> PathBuf {
        let data_dir = self.folder.path().join(format!("after-{commits}"));
        copy(&self.data_dir(), &data_dir);
        let shim = Shim::over(&data_dir, Sync::Real);
        let mut command = shim.load(dev(&data_dir));
        // Nothing else is to write meanwhile.
        command.args([
            "--danger-disable-reaper",
            "--danger-disable-sealing",
            "--danger-disable-index",
        ]);
        let vault = self.keys.open_by(command, &data_dir);
        let mole = Api::new(&vault.address, &self.mole);
        shim.set(Word::SyncDelay, SYNC_TAKES);
        let before = shim.get(Word::Syncs);
        let journal = written(&data_dir);
        let touch = tokio::spawn(async move {
            let body = json!({"credential_name": "bait", "ttl": "1h"});
            let headers = [("x-workspace", ELSEWHERE[0])];
            mole.call_with(Method::POST, "/v1/leases", Some(body), &headers)
                .await
        });
        let begun = Instant::now();
        while shim.get(Word::Syncs) < before + commits || written(&data_dir) == journal {
            assert!(begun.elapsed() < PATIENCE, "nothing is written");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // It is written by then, and not synced yet.
        tokio::time::sleep(Duration::from_micros(SYNC_TAKES as u64 / 2)).await;
        signal(vault.pid(), "KILL");
        drop(vault);
        assert!(
            touch.await.unwrap().is_none(),
            "it was answered before the end"
        );
        data_dir
    }
}

/// When the journal was written last.
fn written(data_dir: &Path) -> Vec<SystemTime> {
    let segment = |name| std::fs::metadata(data_dir.join("journal").join(name));
    let found = ["0", "1"].map(|name| segment(name).unwrap().modified().unwrap());
    found.to_vec()
}

/// What history has of a touch, by its numbers.
struct Told {
    started: u64,
    touched: Vec<u64>,
    suspended: Vec<u64>,
    revoked: Vec<u64>,
}

impl Told {
    async fn of(admin: &Api) -> Self {
        let numbers = async |workspace: &str, query: &str| {
            let path = format!("/v1/audit?limit=200&{query}");
            let (status, answer) = there(admin, workspace, &path, None).await;
            assert_eq!(status, 200, "{answer}");
            let records = answer["data"].as_array().unwrap().clone();
            let number = |one: &Value| one["sequence"].as_u64().unwrap();
            records.iter().map(number).collect::<Vec<_>>()
        };
        let mut revoked = numbers(ELSEWHERE[0], "event=lease.revoked").await;
        revoked.extend(numbers(ELSEWHERE[1], "event=lease.revoked").await);
        Self {
            started: numbers("default", "scope=organisation&event=vault.started").await[0],
            touched: numbers(ELSEWHERE[0], "event=canary.touched").await,
            suspended: numbers("default", "event=identity.suspended").await,
            revoked,
        }
    }

    fn before(&self, records: &[u64]) -> usize {
        records.iter().filter(|one| **one < self.started).count()
    }
}

/// Holds a vault on this folder to what a touch owes; tells what the kill had left of it.
async fn hold(baited: &Baited, data_dir: &Path) -> Told {
    let vault = baited.keys.open(data_dir);
    let (_, admin) = callers(&vault);
    let told = Told::of(&admin).await;
    assert_eq!(told.touched.len(), 1, "the alarm was durable");
    // From the start on it proves nobody, wherever the kill was.
    let mole = Api::new(&vault.address, &baited.mole);
    let (status, answer) = there(&mole, ELSEWHERE[1], "/v1/leases", None).await;
    assert_eq!(
        (status, &answer["code"]),
        (403, &json!("IDENTITY_SUSPENDED")),
        "{answer}"
    );
    let begun = Instant::now();
    loop {
        let mut open = Vec::new();
        for workspace in ELSEWHERE {
            let (_, answer) = there(&admin, workspace, "/v1/leases?state=active", None).await;
            open.extend(answer["data"].as_array().unwrap().clone());
        }
        if open.is_empty() {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "still open: {open:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let shown = admin.get("/v1/identities/agent/mole").await;
    assert_eq!(shown["data"]["state"], "suspended", "{shown}");
    assert_eq!(
        shown["data"]["suspension"]["reason"], "it touched a canary",
        "{shown}"
    );
    let after = Told::of(&admin).await;
    assert_eq!(after.suspended.len(), 1, "it is suspended once");
    assert_eq!(
        after.revoked.len(),
        2 * CREDENTIALS.len() + 1,
        "each lease once"
    );
    assert_eq!(vault.stop().0, Some(0));
    // What was left to do is done: whoever is resumed stays so.
    let vault = baited.keys.open(data_dir);
    let (_, admin) = callers(&vault);
    assert_eq!(admin.act("/v1/identities/agent/mole/resume").await, "200");
    assert_eq!(vault.stop().0, Some(0));
    let vault = baited.keys.open(data_dir);
    let (_, admin) = callers(&vault);
    let shown = admin.get("/v1/identities/agent/mole").await;
    assert_eq!(shown["data"]["state"], "active", "{shown}");
    told
}

// INVARIANT (stop-is-complete)
#[tokio::test]
async fn whoever_touched_a_canary_is_stopped_everywhere_whenever_the_vault_is_killed() {
    let baited = Baited::new().await;
    let (mut unstopped, mut unswept) = (0, 0);
    for commits in 0..5 {
        let data_dir = baited.killed_after(commits).await;
        let told = hold(&baited, &data_dir).await;
        let (stopped, swept) = (told.before(&told.suspended), told.before(&told.revoked));
        println!("killed after {commits} commits: suspended {stopped}, revoked {swept}");
        unstopped += u64::from(stopped == 0);
        unswept += u64::from(stopped == 1 && swept <= 2 * CREDENTIALS.len());
    }
    assert!(
        unstopped > 0,
        "never killed between the touch and the suspension"
    );
    assert!(
        unswept > 1,
        "never killed between the suspension and the last revocation"
    );
}
