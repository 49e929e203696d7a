//! The doctor finds each kind of damage and names it, mends what follows from the records and nothing else, and
//! has nothing to say about a vault that was only killed.

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
            Some(value) => txn.put(at.to_vec(), value.to_vec()).unwrap(),
            None => txn.delete(at.to_vec()),
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

#[tokio::test(flavor = "multi_thread")]
async fn counters_and_indexes_are_rebuilt_from_the_records() {
    let patient = patient().await;
    let id = patient.credential;
    let [old, new, closed] = patient.leases;
    let credential = id.to_string();
    let version = |number: u32| format!("{id} version {number}");

    let counters = patient
        .damaged("counters", async |vault| {
            vault
                .ledger(id, |ledger| {
                    ledger.active = 7;
                    ledger.versions[0].reveal = 3;
                    ledger.versions[1].reveal = 0;
                })
                .await;
        })
        .await;
    let expected = [
        (
            "counter",
            version(1),
            "counts 3 reveal and 0 broker leases, and 1 and 0",
            true,
        ),
        ("counter", version(2), "counts 0 reveal", true),
        (
            "counter",
            credential.clone(),
            "counts 7 open leases, and 2 are open",
            true,
        ),
    ];
    patient.diagnosis(&counters, &expected);
    let (server, admin, agent) = patient.serve(&counters);
    assert_eq!(admin.credential("a").await["active_leases"], 2);
    let repaired = admin.all("/v1/audit?event=vault.repaired").await;
    assert_eq!(repaired.len(), 3);
    assert!(
        repaired
            .iter()
            .all(|record| record["actor"]["name"] == "doctor"),
        "{repaired:?}"
    );
    assert_eq!(agent.release(&old.to_string()).await, "200");
    assert_eq!(admin.versions("a").await[1]["state"], "retired");
    server.stop();
    assert_eq!(doctor(&counters, &patient.made.key_file, &[]).code, Some(0));

    let index = patient
        .damaged("index", async |vault| {
            let open = vault.pairs(Table::OpenLease).await;
            assert_eq!(open.len(), 2);
            for (at, _) in &open {
                let entry = key::parse_open_lease(at).unwrap();
                if entry.lease == old {
                    vault.write(at, None).await;
                } else {
                    // Of a lease that is closed, of one that never was, and of another expiry.
                    let later = Timestamp::from_millis(entry.expiry.as_millis() + 1);
                    for (lease, expiry) in [
                        (closed, entry.expiry),
                        (LeaseId::from_bytes([9; 16]), entry.expiry),
                        (new, later),
                    ] {
                        let stale = key::open_lease(entry.workspace, id, expiry, lease);
                        vault.write(&stale, Some(b"")).await;
                    }
                }
            }
        })
        .await;
    let nobody = LeaseId::from_bytes([9; 16]).to_string();
    let expected = [
        ("index", old.to_string(), "does not have it", true),
        ("index", closed.to_string(), "is closed", true),
        ("index", nobody, "has no record", true),
        (
            "index",
            new.to_string(),
            "another credential or expiry",
            true,
        ),
    ];
    patient.diagnosis(&index, &expected);
    let (server, admin, _) = patient.serve(&index);
    assert_eq!(admin.active("a").await.len(), 2);
    // A cascade finds every lease again.
    let (status, _) = admin
        .call(Method::DELETE, "/v1/credentials/a?force=true", None)
        .await
        .unwrap();
    assert_eq!(status, 200);
    server.stop();
    assert_eq!(doctor(&index, &patient.made.key_file, &[]).code, Some(0));

    let names = patient
        .damaged("names", async |vault| {
            for (at, target) in vault.pairs(Table::CredentialName).await {
                if *target == *id.as_bytes() {
                    vault.write(&at, None).await;
                    let mut other = at.clone();
                    *other.last_mut().unwrap() ^= 1;
                    vault.write(&other, Some(&target)).await;
                }
            }
        })
        .await;
    let (kind, what) = ("index", "the name leads to nothing that bears it");
    let found = doctor(&names, &patient.made.key_file, &["--json"]).stdout;
    let stray: Value = serde_json::from_str(found.lines().next().unwrap()).unwrap();
    let expected = [
        (kind, text(&stray, "object"), what, true),
        (kind, credential.clone(), "no name leads to it", true),
    ];
    assert!(expected[0].1.starts_with("CredentialName 08"));
    patient.diagnosis(&names, &expected);
    let (server, admin, _) = patient.serve(&names);
    assert_eq!(text(&admin.credential("a").await, "id"), credential);
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_to_retire_is_retired() {
    let patient = patient().await;
    let id = patient.credential;
    let version = |number: u32| format!("{id} version {number}");
    let due = "is not current, has no open lease, and is not retired";
    let stale = OpenVersion {
        number: 1,
        stage: Stage::Rotated,
        reveal: 0,
        broker: 0,
        revealed: true,
    };
    // The last lease on version 1 closed, and only its record says so.
    let close = async |vault: &Surgery| {
        let mut txn = vault.store.begin(&[]).await.unwrap();
        let tables = vault.tables();
        let mut lease = tables
            .lease(&mut txn, patient.leases[0])
            .await
            .unwrap()
            .unwrap();
        tables.delete_open(&mut *txn, &lease);
        let ending = leasehold::domain::lease::Ending::Expired;
        lease.close(1, ending, Timestamp::from_millis(1)).unwrap();
        tables.put_lease(&mut *txn, &lease).unwrap();
        txn.commit(Vec::new()).await.unwrap();
    };
    let in_ledger = patient
        .damaged("in-ledger", async |vault| {
            close(vault).await;
            vault
                .ledger(id, |ledger| {
                    ledger.active = 1;
                    ledger.versions[0] = stale.clone();
                })
                .await;
        })
        .await;
    patient.diagnosis(&in_ledger, &[("state", version(1), due, true)]);
    let (server, admin, _) = patient.serve(&in_ledger);
    let versions = admin.versions("a").await;
    assert_eq!(
        (&versions[1]["state"], &versions[1]["revealed"]),
        (&json!("retired"), &json!(true))
    );
    assert_eq!(versions[0]["state"], "current");
    assert_eq!(
        admin
            .all("/v1/audit?event=credential.version_retired")
            .await
            .len(),
        1
    );
    server.stop();

    // The ledger has let go of it, and its record has not.
    let in_record = patient
        .damaged("in-record", async |vault| {
            close(vault).await;
            vault
                .ledger(id, |ledger| {
                    ledger.active = 1;
                    drop(ledger.versions.remove(0));
                })
                .await;
        })
        .await;
    let what = "is rotated, has no open lease, and is not retired";
    patient.diagnosis(&in_record, &[("state", version(1), what, true)]);

    // Retired, with its value still there; and in use, with its value gone.
    let at = Timestamp::from_millis(1_700_000_000_000);
    let kept = patient
        .damaged("kept", async |vault| {
            close(vault).await;
            vault
                .ledger(id, |ledger| {
                    ledger.active = 1;
                    drop(ledger.versions.remove(0));
                })
                .await;
            let rotated_at = at;
            vault
                .version(id, 1, VersionState::Retired { rotated_at, at })
                .await;
            let canary = SecretText::new("canary-kept".to_owned());
            let sealed = vault.tables().seal_value(id, 1, &canary).unwrap();
            let place = key::value(vault.workspace, id, 1);
            vault.write(&place, Some(&sealed)).await;
            vault.write(&key::value(vault.workspace, id, 2), None).await;
        })
        .await;
    let expected = [
        (
            "state",
            version(1),
            "is retired, and its value is not erased",
            true,
        ),
        (
            "state",
            version(2),
            "is current, and its value is missing",
            false,
        ),
    ];
    patient.diagnosis(&kept, &expected);
    let said = doctor(&kept, &patient.made.key_file, &[]);
    assert!(!said.stdout.contains("canary") && !said.stderr.contains("canary"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_records_cannot_tell_is_found_and_left_alone() {
    let patient = patient().await;
    let id = patient.credential;
    let credential = id.to_string();
    let [old, new, _] = patient.leases;
    let version = |number: u32| format!("{id} version {number}");
    let (unreadable, authentic) = ("unreadable", "is not authentic");

    let damaged = patient
        .damaged("records", async |vault| {
            vault.damage(&key::lease(vault.workspace, old), 60).await;
            vault
                .damage(&key::credential(vault.workspace, id), 30)
                .await;
            vault.damage(&key::value(vault.workspace, id, 2), 90).await;
            // The format of a sealed record is its first byte; of a lease it stands behind the credential's id.
            vault.damage(&key::version(vault.workspace, id, 1), 0).await;
            let (at, _) = vault.pairs(Table::FirstAnswer).await.remove(0);
            vault.damage(&at, 50).await;
        })
        .await;
    let found = doctor(&damaged, &patient.made.key_file, &["--json"]).stdout;
    let answer = found
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .find(|line| text(line, "object").starts_with("FirstAnswer"));
    let expected = [
        (
            unreadable,
            old.to_string(),
            "a Lease record is not authentic",
            false,
        ),
        (
            unreadable,
            credential.clone(),
            "a Credential record is not authentic",
            false,
        ),
        (
            unreadable,
            version(2),
            "a Value record is not authentic",
            false,
        ),
        (
            unreadable,
            version(1),
            "unknown format 65 of a Version record",
            false,
        ),
        (
            unreadable,
            text(&answer.unwrap(), "object"),
            authentic,
            false,
        ),
        // The lease that cannot be read cannot be counted, and nothing is rebuilt that might be wrong.
        (
            "counter",
            version(1),
            "counts 1 reveal and 0 broker leases, and 0 and 0",
            false,
        ),
        (
            "counter",
            credential.clone(),
            "counts 2 open leases, and 1 are open",
            false,
        ),
        (
            "state",
            version(1),
            "has no open lease, and is not retired",
            false,
        ),
    ];
    patient.diagnosis(&damaged, &expected);

    let moved = patient
        .damaged("moved", async |vault| {
            let ledgers = vault.pairs(Table::Ledger).await;
            let [(_, one), (at, _)] = &ledgers[..] else {
                panic!("two ledgers")
            };
            vault.write(at, Some(one)).await;
        })
        .await;
    let surgery = Surgery::open(&moved, &patient.made.key_file).await;
    let (at, _) = surgery.pairs(Table::Ledger).await.remove(1);
    let (_, other) = key::parse_credential(&at).unwrap();
    surgery.store.close().await.unwrap();
    drop(surgery);
    let what = "a Ledger record is not authentic";
    patient.diagnosis(&moved, &[(unreadable, other.to_string(), what, false)]);

    let orphans = patient
        .damaged("orphans", async |vault| {
            vault
                .write(&key::credential(vault.workspace, id), None)
                .await;
            let agent = vault.pairs(Table::Identity).await.pop().unwrap();
            vault.write(&agent.0, None).await;
            vault.write(&[0x42, 1, 2], Some(b"stray")).await;
        })
        .await;
    let found: Vec<Value> = doctor(&orphans, &patient.made.key_file, &["--json"])
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let about = |kind: &str, words: &str| -> Vec<String> {
        let fits = |one: &&Value| one["kind"] == kind && text(one, "what").contains(words);
        found
            .iter()
            .filter(fits)
            .map(|one| text(one, "object"))
            .collect()
    };
    assert_eq!(
        about("orphan", "a ledger without a credential"),
        [credential.as_str()]
    );
    assert_eq!(
        about("orphan", "a version without a credential"),
        [version(1), version(2)]
    );
    let mut without = about("orphan", "is open, and its credential");
    without.sort();
    let mut open = [old.to_string(), new.to_string()];
    open.sort();
    assert_eq!(without, open);
    assert_eq!(about("orphan", "is for the identity idn_").len(), 1);
    assert_eq!(about("orphan", "keys begin with 42"), ["the store"]);
    assert_eq!(about("index", "leads to nothing that bears it").len(), 2);

    let version_gone = patient
        .damaged("version-gone", async |vault| {
            vault
                .write(&key::version(vault.workspace, id, 1), None)
                .await;
        })
        .await;
    let expected = [
        ("orphan", version(1), "a value without a version", false),
        ("state", version(1), "has no record", false),
    ];
    patient.diagnosis(&version_gone, &expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_held_to_its_numbers_seals_and_order() {
    let patient = patient().await;
    let log = async |name: &str, damage: &dyn Fn(&mut Vec<(Key, Vec<u8>)>)| {
        patient
            .damaged(name, async |vault| {
                let blocks = vault.pairs(Table::Audit).await;
                let mut after: Vec<_> = blocks
                    .iter()
                    .map(|(at, b)| (at.clone(), b.to_vec()))
                    .collect();
                assert!(after.len() > 8);
                damage(&mut after);
                for (at, _) in &blocks {
                    vault.write(at, None).await;
                }
                for (at, block) in &after {
                    vault.write(at, Some(block)).await;
                }
            })
            .await
    };
    let record = |sequence: u64| format!("audit record {sequence}");
    let first = |blocks: &[(Key, Vec<u8>)], at: usize| key::parse_audit(&blocks[at].0).unwrap();
    let places = std::sync::Mutex::new((0, 0));
    let gap = log("gap", &|blocks| {
        *places.lock().unwrap() = (first(blocks, 3), first(blocks, 4));
        drop(blocks.remove(3));
    })
    .await;
    let (from, to) = *places.lock().unwrap();
    let what = format!("records {from} to {} are missing", to - 1);
    patient.diagnosis(&gap, &[("audit", record(from), &what, false)]);

    let beginning = log("beginning", &|blocks| {
        *places.lock().unwrap() = (1, first(blocks, 1));
        drop(blocks.remove(0));
    })
    .await;
    let (_, to) = *places.lock().unwrap();
    let what = format!("records 1 to {} are missing", to - 1);
    patient.diagnosis(&beginning, &[("audit", record(1), &what, false)]);

    // A digest, a seal, the numbers of a block, and two records that changed places.
    let digest = log("digest", &|blocks| blocks[5].1[1 + 16] ^= 1).await;
    let at = {
        let surgery = Surgery::open(&digest, &patient.made.key_file).await;
        let blocks = surgery.pairs(Table::Audit).await;
        surgery.store.close().await.unwrap();
        key::parse_audit(&blocks[5].0).unwrap()
    };
    let what = "the record does not fit its digest";
    patient.diagnosis(&digest, &[("audit", record(at), what, false)]);
    let sealed = log("sealed", &|blocks| *blocks[5].1.last_mut().unwrap() ^= 1).await;
    let found = doctor(&sealed, &patient.made.key_file, &[]);
    assert_eq!(found.code, Some(1), "{found:?}");
    assert!(found.stdout.contains("audit: audit record"), "{found:?}");
    assert!(
        found.stdout.contains("a Audit record is not authentic"),
        "{found:?}"
    );
    let torn = log("torn", &|blocks| blocks[5].1.truncate(20)).await;
    let found = doctor(&torn, &patient.made.key_file, &[]);
    assert!(
        found.stdout.contains("an audit block is damaged"),
        "{found:?}"
    );
    let swapped = log("swapped", &|blocks| {
        let (one, other) = (blocks[5].1.clone(), blocks[6].1.clone());
        (blocks[5].1, blocks[6].1) = (other, one);
    })
    .await;
    let found = doctor(&swapped, &patient.made.key_file, &["--json"]);
    assert_eq!(found.code, Some(1));
    assert!(found.stdout.lines().count() >= 3, "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_that_was_killed_at_work_is_healthy() {
    let folder = TempDir::new();
    let made = Production::init(folder.path());
    let check = |args: &[&str]| doctor(&made.data_dir, &made.key_file, args);
    for round in 0..3 {
        let mut server = made.serve().unwrap();
        let admin = Api::new(&server.address, &made.admin_key);
        let agent = Api::new(&server.address, &made.agent_key);
        let name = format!("c{round}");
        let body = json!({"name": name, "type": "api-key", "value": "v0", "policy": {"delivery": ["reveal", "broker"], "max_leases": 10_000}});
        assert_eq!(admin.post("/v1/credentials", body).await.unwrap().0, 201);
        let in_use = tokio::task::block_in_place(|| check(&[]));
        assert_eq!(in_use.code, Some(2), "{in_use:?}");
        assert!(
            in_use.stderr.contains("in use by another process"),
            "{in_use:?}"
        );
        assert!(in_use.stdout.is_empty());

        let workers: Vec<_> = (0..6)
            .map(|worker| {
                let (agent, name) = (agent.clone(), name.clone());
                tokio::spawn(async move {
                    for turn in 0.. {
                        let ttl = if turn % 4 == 0 { "1s" } else { "10m" };
                        let delivery = if worker % 2 == 0 { "reveal" } else { "broker" };
                        let body =
                            json!({"credential_name": name, "ttl": ttl, "delivery": delivery});
                        let Some((201, body)) = agent.post("/v1/leases", body).await else {
                            return turn;
                        };
                        if turn % 3 == 0 {
                            agent.release(&text(&body["data"], "id")).await;
                        }
                    }
                    0
                })
            })
            .collect();
        for turn in 0..12 {
            let mode = ["drain", "drain", "cut"][turn % 3];
            let body = json!({"new_value": format!("v{}", turn + 1), "on_open_leases": mode});
            let path = format!("/v1/credentials/{name}/rotate");
            assert_eq!(admin.post(&path, body).await.unwrap().0, 200);
            tokio::time::sleep(std::time::Duration::from_millis(60)).await;
        }
        server.started.child.kill().unwrap();
        server.started.child.wait().unwrap();
        let mut leased = 0;
        for worker in workers {
            leased += worker.await.unwrap();
        }
        assert!(leased > 20, "there was no load: {leased}");
        drop(server);
        let healthy = check(&[]);
        assert_eq!(healthy.code, Some(0), "{healthy:?}");
        assert!(healthy.stdout.starts_with("healthy: "), "{healthy:?}");
        assert_eq!(healthy.stdout.lines().count(), 1);
        // Nothing to mend, so nothing is written.
        let again = check(&["--repair"]);
        assert_eq!((again.code, &again.stdout), (Some(0), &healthy.stdout));
    }
}

#[test]
fn what_cannot_be_checked_is_said_and_is_no_finding() {
    let folder = TempDir::new();
    let made = Production::init(folder.path());
    let stranger = TempDir::new();
    let other = Production::init(stranger.path());
    #[track_caller]
    fn unchecked(ended: Ended, words: &str) {
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.stderr.contains(words), "{ended:?}");
        assert!(ended.stdout.is_empty(), "{ended:?}");
    }
    unchecked(
        doctor(&made.data_dir, &other.key_file, &[]),
        "root key is not the one",
    );
    unchecked(
        doctor(&made.data_dir, Path::new("/nonexistent"), &[]),
        "root key file",
    );
    let nowhere = folder.path().join("nowhere");
    unchecked(doctor(&nowhere, &made.key_file, &[]), "holds no vault");
    assert!(!nowhere.exists(), "looking made a folder");
    unchecked(doctor(folder.path(), &made.key_file, &[]), "holds no vault");
    assert!(!folder.path().join("LOCK").exists());
    let lost = folder.path().join("lost");
    copy(&made.data_dir, &lost);
    std::fs::remove_file(lost.join("MARK")).unwrap();
    unchecked(
        doctor(&lost, &made.key_file, &["--repair"]),
        "`MARK` is missing or damaged",
    );
    assert_eq!(
        doctor(&made.data_dir, &made.key_file, &["--json"]).code,
        Some(0)
    );
}
