//! The doctor finds each kind of damage and names it, mends what follows from the records and nothing else, and
//! has nothing to say about a vault that was only killed.

mod found;
mod healthy;
mod keys;
mod mended;
mod policies;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use leasehold::{
    clock::SystemTime,
    crypto::{entropy::OsEntropy, keyring::Keyring, root::RootKey},
    domain::{
        credential::VersionState,
        id::{CredentialId, LeaseId, WorkspaceId},
        ledger::{OpenVersion, Stage},
        secret::SecretText,
        time::Timestamp,
    },
    engine::Opened,
    store::{
        key::{self, Table},
        port::{Key, Store, Value as Stored},
        sled::{Sled, SledOptions},
    },
    tables::Tables,
};
use reqwest::Method;
use serde_json::{Value, json};

use super::kit::{Api, Ended, Production, Server, copy, run, text};
use crate::support::{TempDir, leasehold};

fn doctor(data_dir: &Path, key_file: &Path, args: &[&str]) -> Ended {
    run(leasehold()
        .args(["doctor", "--data-dir"])
        .arg(data_dir)
        .arg("--key-file")
        .arg(key_file)
        .args(args))
}

/// A vault with something of everything, stopped.
struct Patient {
    _folder: TempDir,
    made: Production,
    credential: CredentialId,
    /// Open on version 1, which is rotated; open on version 2; closed.
    leases: [LeaseId; 3],
    copies: TempDir,
}

async fn patient() -> Patient {
    let folder = TempDir::new();
    let made = Production::init(folder.path());
    let server = made.serve().unwrap();
    let admin = Api::new(&server.address, &made.admin_key);
    let agent = Api::new(&server.address, &made.agent_key);
    for name in ["a", "b"] {
        let body = json!({"name": name, "type": "api-key", "value": "one", "policy": {"delivery": ["reveal"]}});
        assert_eq!(admin.post("/v1/credentials", body).await.unwrap().0, 201);
    }
    let rotate = async |value: &str| {
        let body = json!({"new_value": value});
        let (status, _) = admin.post("/v1/credentials/a/rotate", body).await.unwrap();
        assert_eq!(status, 200);
    };
    let lease = async || {
        let body = json!({"credential_name": "a", "ttl": "1h"});
        let retry = [("Idempotency-Key", "once")];
        let (status, body) = agent
            .call_with(Method::POST, "/v1/leases", Some(body), &retry)
            .await
            .unwrap();
        assert_eq!(status, 201);
        LeaseId::parse(&text(&body["data"], "id")).unwrap()
    };
    let old = lease().await;
    let closed = agent.lease("a", "1h").await.unwrap();
    assert_eq!(agent.release(&text(&closed, "id")).await, "200");
    rotate("two").await;
    let new = agent.lease("a", "1h").await.unwrap();
    let id = |lease: &Value| LeaseId::parse(&text(lease, "id")).unwrap();
    let credential = text(&admin.credential("a").await, "id");
    assert_eq!(server.stop().code, Some(0));
    Patient {
        _folder: folder,
        made,
        credential: CredentialId::parse(&credential).unwrap(),
        leases: [old, id(&new), id(&closed)],
        copies: TempDir::new(),
    }
}

/// The audit log as it is stored.
type Blocks = Vec<(Key, Vec<u8>)>;

/// The inside of a closed vault, to do damage with.
struct Surgery {
    store: Arc<dyn Store>,
    keyring: Arc<Keyring>,
    workspace: WorkspaceId,
}

impl Surgery {
    async fn open(data_dir: &Path, key_file: &Path) -> Self {
        let options = SledOptions {
            cache_bytes: 1 << 24,
            reserve_bytes: 0,
        };
        let Opened::Sealed(vault) = Opened::read(Sled::open(data_dir, &options).unwrap()).unwrap()
        else {
            panic!("no vault")
        };
        let root = RootKey::read_file(key_file).unwrap();
        let closed = vault
            .unlock(&root, Arc::new(OsEntropy), Arc::new(SystemTime))
            .unwrap();
        let keyring = closed.keyring.clone();
        let store = closed.serve().unwrap();
        let system = Tables::of(&keyring, WorkspaceId::SYSTEM).unwrap();
        let all = system.workspaces(&mut &*store).await.unwrap();
        Self {
            store,
            keyring,
            workspace: all[0].id,
        }
    }

    fn tables(&self) -> Tables {
        Tables::of(&self.keyring, self.workspace).unwrap()
    }

    async fn pairs(&self, table: Table) -> Vec<(Key, Stored)> {
        self.store.scan(&table.scan()).await.unwrap()
    }

    async fn value(&self, at: &[u8]) -> Vec<u8> {
        self.store.get(at).await.unwrap().unwrap().to_vec()
    }

    async fn write(&self, at: &[u8], value: Option<&[u8]>) {
        let mut txn = self.store.begin(&[]).await.unwrap();
        match value {
            Some(value) => txn.put(at.into(), value.to_vec()).unwrap(),
            None => txn.delete(at.into()),
        }
        txn.commit(Vec::new()).await.unwrap();
    }

    /// Changes a byte of what is stored.
    async fn damage(&self, at: &[u8], byte: usize) {
        let mut value = self.value(at).await;
        value[byte] ^= 0x40;
        self.write(at, Some(&value)).await;
    }

    /// Changes the ledger, well sealed.
    async fn ledger(
        &self,
        id: CredentialId,
        change: impl FnOnce(&mut leasehold::domain::ledger::Ledger),
    ) {
        let mut txn = self.store.begin(&[]).await.unwrap();
        let mut ledger = self.tables().ledger(&mut txn, id).await.unwrap();
        change(&mut ledger);
        self.tables().put_ledger(&mut *txn, id, &ledger).unwrap();
        txn.commit(Vec::new()).await.unwrap();
    }

    async fn version(&self, id: CredentialId, number: u32, state: VersionState) {
        let mut txn = self.store.begin(&[]).await.unwrap();
        let version = self.tables().version(&mut txn, id, number).await.unwrap();
        let mut version = version.unwrap();
        version.state = state;
        self.tables().put_version(&mut *txn, id, &version).unwrap();
        txn.commit(Vec::new()).await.unwrap();
    }
}

/// A finding that is expected: its kind, what it is about, words of it, whether it can be mended.
type Expected<'a> = (&'a str, String, &'a str, bool);

impl Patient {
    /// A copy of the vault, damaged.
    async fn damaged(&self, name: &str, damage: impl AsyncFnOnce(&Surgery)) -> PathBuf {
        let data_dir = self.copies.path().join(name);
        copy(&self.made.data_dir, &data_dir);
        let surgery = Surgery::open(&data_dir, &self.made.key_file).await;
        damage(&surgery).await;
        surgery.store.close().await.unwrap();
        data_dir
    }

    /// The doctor finds just this, twice; with `--repair` it mends what it said that it could, and says so.
    #[track_caller]
    fn diagnosis(&self, data_dir: &Path, expected: &[Expected<'_>]) {
        let lines = |ended: &Ended| -> Vec<Value> {
            ended
                .stdout
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect()
        };
        let check = |args: &[&str]| doctor(data_dir, &self.made.key_file, args);
        let compare = |found: &[Value], expected: &[&Expected<'_>]| {
            assert_eq!(found.len(), expected.len(), "{found:#?}");
            for (kind, object, what, mendable) in expected {
                let fits = |one: &&Value| {
                    one["kind"] == *kind
                        && one["object"] == *object
                        && text(one, "what").contains(what)
                        && one["mendable"] == *mendable
                };
                assert_eq!(found.iter().filter(fits).count(), 1, "{what}: {found:#?}");
            }
        };
        let all: Vec<_> = expected.iter().collect();
        for _ in 0..2 {
            let ended = check(&["--json"]);
            assert_eq!(ended.code, Some(1), "{ended:?}");
            let mut found = lines(&ended);
            let summary = found.pop().unwrap();
            compare(&found, &all);
            assert_eq!(
                (&summary["left"], &summary["mended"]),
                (&json!(all.len()), &json!(0))
            );
        }
        let mendable: Vec<_> = expected.iter().filter(|one| one.3).collect();
        let left = all.len() - mendable.len();
        let ended = check(&["--json", "--repair"]);
        assert_eq!(ended.code, Some(i32::from(left > 0)), "{ended:?}");
        let mut told = lines(&ended);
        let summary = told.pop().unwrap();
        assert_eq!(
            (&summary["left"], &summary["mended"]),
            (&json!(left), &json!(mendable.len()))
        );
        let mended: Vec<_> = told.drain(all.len()..).collect();
        compare(&told, &all);
        compare(&mended, &mendable);
        assert!(mended.iter().all(|one| one["mended"] == true));
        let ended = check(&[]);
        assert_eq!(ended.code, Some(i32::from(left > 0)), "{ended:?}");
    }

    fn serve(&self, data_dir: &Path) -> (Server, Api, Api) {
        let args = ["--data-dir", data_dir.to_str().unwrap()];
        let key_file = self.made.key_file.to_str().unwrap();
        let server = Server::start(&args, &[("LEASEHOLD__ROOT__KEY_FILE", key_file)]).unwrap();
        let admin = Api::new(&server.address, &self.made.admin_key);
        let agent = Api::new(&server.address, &self.made.agent_key);
        (server, admin, agent)
    }
}
