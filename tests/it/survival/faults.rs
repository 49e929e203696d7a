//! Disks that fail while the vault serves: nothing is acknowledged that is not durable, reads and the ends of leases
//! go on, the operator is told why, and a restart has everything that was acknowledged.

use std::{future::Future, path::PathBuf, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    again::{Keys, callers, dev},
    book::{Book, LeaseFacts, STARTED, value},
    dice::{Dice, amount},
    disk::Fate,
    history::compare,
    kit::{Api, assert_no_panic, millis, run, text},
    power::{hold, made},
    shim::{Shim, Sync, Word},
    traffic::{Habits, Traffic},
};
use crate::support::{TempDir, Vault};

const EIO: i64 = 5;
const ENOSPC: i64 = 28;
const EROFS: i64 = 30;

/// The longest that a disk may take to run full under the clients.
const PATIENCE: Duration = Duration::from_secs(60);
/// A credential that the clients leave alone, so that its leases are known.
const APART: &str = "apart";

/// What a checkpoint writes is lost, and the journal is not.
fn checkpoints_fail(shim: &Shim) {
    shim.set(Word::SyncMode, Sync::FailsInTree as i64);
}

fn sync_fails(shim: &Shim) {
    shim.set(Word::SyncMode, Sync::Fails as i64);
}

/// The disk is full after a little more; what is there can still be written over.
fn runs_full(shim: &Shim) {
    shim.set(Word::WriteBudget, 20_000);
    shim.set(Word::OnlyGrowth, 1);
    shim.set(Word::WriteError, ENOSPC);
}

/// As a file system goes read-only after an error of its own.
fn turns_read_only(shim: &Shim) {
    shim.set(Word::OpenError, EROFS);
    shim.set(Word::WriteError, EROFS);
    shim.set(Word::SyncMode, Sync::Fails as i64);
}

fn write_fails(shim: &Shim) {
    shim.set(Word::WriteError, EIO);
}

/// A vault over the shim, with leases of before the fault.
struct Patient {
    folder: TempDir,
    data_dir: PathBuf,
    shim: Shim,
    vault: Vault,
    keys: Keys,
    book: Book,
    /// Open for long, and over in a second.
    lasting: Value,
    ending: Value,
}

impl Patient {
    async fn new() -> Self {
        let folder = TempDir::new();
        let data_dir = folder.path().join("data");
        let (keys, mut book) = made(&data_dir).await;
        let shim = Shim::over(&data_dir, Sync::Real);
        let mut command = shim.load(dev(&data_dir));
        // Leases end at their use. A reaper that closes one just when the disk fails would leave it in doubt.
        command.arg("--danger-disable-reaper");
        let vault = keys.open_by(command, &data_dir);
        book.own_records += STARTED;
        let (agent, admin) = callers(&vault);
        let body = json!({"name": APART, "type": "api-key", "value": value(APART, 1)});
        assert_eq!(admin.post("/v1/credentials", body).await.unwrap().0, 201);
        let lasting = agent.lease(APART, "10m").await.unwrap();
        let ending = agent.lease(APART, "1s").await.unwrap();
        Self {
            folder,
            data_dir,
            shim,
            vault,
            keys,
            book,
            lasting,
            ending,
        }
    }

    /// Lets clients work, makes the disk fail under them, and takes the book once none gets an answer any more.
    async fn fall_ill(&mut self, dice: &mut Dice, fault: impl FnOnce(&Shim)) {
        let (agent, admin) = callers(&self.vault);
        let book = std::mem::take(&mut self.book);
        let traffic = Traffic::start(&agent, &admin, book, dice, Habits::default());
        traffic.worked(10, Duration::from_millis(100), dice).await;
        fault(&self.shim);
        self.book = within(traffic.ended()).await;
        assert!(self.shim.get(Word::Faults) > 0, "nothing failed");
        assert!(!self.book.acknowledged.is_empty());
        self.book.of(APART).current = 1;
        for lease in [&self.lasting, &self.ending] {
            let facts = LeaseFacts {
                credential: APART.to_owned(),
                version: 1,
                handle: text(lease, "handle"),
                expires: millis(lease, "expires_at"),
                ..LeaseFacts::default()
            };
            self.book.leases.insert(text(lease, "id"), facts);
        }
    }

    /// What a vault owes that can write no more.
    async fn assert_fails_closed(&self, said: &str) {
        let (agent, admin) = callers(&self.vault);
        // Nothing is acknowledged, and no value leaves, since neither could be recorded.
        let unavailable = "503 STORAGE_UNAVAILABLE";
        let lasting = text(&self.lasting, "id");
        let grant = agent.lease(APART, "10m").await;
        assert_eq!(grant.unwrap_err(), unavailable);
        let redeemed = agent.redeem(&text(&self.lasting, "handle")).await;
        assert_eq!(redeemed.unwrap_err(), unavailable);
        assert_eq!(agent.release(&lasting).await, unavailable);
        let renewal = agent.act(&format!("/v1/leases/{lasting}/renew")).await;
        assert_eq!(renewal, unavailable);
        let audit = admin.call(Method::GET, "/v1/audit", None).await.unwrap();
        assert_eq!(
            (audit.0, &audit.1["code"]),
            (503, &json!("STORAGE_UNAVAILABLE"))
        );
        // Leases end all the same.
        let left = millis(&self.ending, "expires_at") - super::kit::now_millis();
        tokio::time::sleep(Duration::from_millis(left.max(0) as u64 + 1_000)).await;
        let path = |lease: &Value| format!("/v1/leases/{}", text(lease, "id"));
        let ended = admin.get(&path(&self.ending)).await;
        assert_eq!(ended["data"]["state"], "expired", "{ended}");
        let redeemed = agent.redeem(&text(&self.ending, "handle")).await;
        assert!(redeemed.is_err(), "an expired lease was redeemed");
        // Reads go on.
        assert_eq!(admin.get("/health").await["data"]["state"], "alive");
        assert_eq!(
            admin.get(&path(&self.lasting)).await["data"]["state"],
            "active"
        );
        // sled may refuse a read for which it would rearrange a page, once a write of its own has failed.
        let path = format!("/v1/credentials/{APART}");
        let (status, credential) = admin.call(Method::GET, &path, None).await.unwrap();
        match status {
            503 => assert_eq!(credential["code"], "STORAGE_UNAVAILABLE", "{credential}"),
            _ => assert_eq!(credential["data"]["active_leases"], 1, "{credential}"),
        }
        self.assert_lists(&admin).await;
        // The operator sees why.
        let (status, ready) = admin.call(Method::GET, "/ready", None).await.unwrap();
        assert_eq!(status, 503, "{ready}");
        assert!(
            ready["details"]["reason"]
                .as_str()
                .is_some_and(|why| why.contains(said)),
            "{ready}"
        );
        let log = self.vault.log();
        let told = log.lines().find(|line| line.contains("a write failed"));
        assert!(
            told.is_some_and(|line| line.contains(said) && line.contains("ERROR")),
            "{log}"
        );
        assert_no_panic(&log);
    }

    /// A list that would have to show what may not be durable is refused; any other is whole.
    async fn assert_lists(&self, admin: &Api) {
        for path in ["/v1/leases?limit=200", "/v1/credentials"] {
            let (status, body) = admin.call(Method::GET, path, None).await.unwrap();
            if status == 503 {
                assert_eq!(body["code"], "STORAGE_UNAVAILABLE", "{body}");
                continue;
            }
            assert_eq!(status, 200, "{body}");
            let ids: Vec<String> = body["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| text(item, "id"))
                .collect();
            if path.starts_with("/v1/leases") {
                for (id, lease) in &self.book.leases {
                    assert!(ids.contains(id), "{lease:?} is missing from {path}");
                }
                for id in &ids {
                    assert!(
                        self.book.leases.contains_key(id),
                        "{id} was never acknowledged"
                    );
                }
            }
        }
    }

    /// A restart without the fault has all that was acknowledged; so has a power cut at the worst of times.
    async fn assert_recovers(mut self, dice: &mut Dice) {
        for fate in Fate::AFTER_CUT {
            let left = self.folder.path().join(format!("left-{fate:?}"));
            self.shim.cut(self.shim.moment(), fate, dice, &left);
            drop(hold(&self.keys, &left, &mut self.book.clone()).await);
        }
        // It ends when it is told to, and says that not all was well.
        let (code, log) = self.vault.stop_logged();
        assert_eq!(code, Some(1), "{log}");
        assert!(!log.contains("panicked at"), "{log}");
        let vault = hold(&self.keys, &self.data_dir, &mut self.book).await;
        assert_eq!(vault.stop().0, Some(0));
    }
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work)
        .await
        .expect("the disk never failed")
}

async fn survives(said: &str, fault: impl Fn(&Shim)) {
    let mut dice = Dice::seeded();
    for _ in 0..amount(1, 25) {
        let mut patient = Patient::new().await;
        patient.fall_ill(&mut dice, &fault).await;
        patient.assert_fails_closed(said).await;
        patient.assert_recovers(&mut dice).await;
    }
}

// INVARIANT (ack-durable)
#[tokio::test]
async fn a_failed_sync_acknowledges_nothing() {
    survives("Input/output error", sync_fails).await;
}

/// Linux tells of a sync that failed once, and takes what is in memory for what is on the disk from then on. A restart
/// that believed it would write over the journal, which has the only copy.
// INVARIANT (ack-durable)
#[tokio::test]
async fn a_restart_after_a_failed_checkpoint_believes_the_disk_alone() {
    let mut dice = Dice::seeded();
    for _ in 0..amount(1, 25) {
        let mut patient = Patient::new().await;
        patient.fall_ill(&mut dice, checkpoints_fail).await;
        let Patient {
            folder,
            data_dir,
            shim,
            vault,
            keys,
            mut book,
            ..
        } = patient;
        let (code, log) = vault.stop_logged();
        assert_eq!(code, Some(1), "{log}");
        shim.set(Word::SyncMode, Sync::Real as i64);
        let command = shim.show_the_disk(&mut dice, dev(&data_dir));
        let vault = keys.open_by(command, &data_dir);
        assert!(shim.get(Word::Dropped) >= 3, "the memory was believed");
        book.own_records += STARTED;
        let (agent, admin) = callers(&vault);
        compare(&agent, &admin, &mut book).await;
        // The journal is written over.
        let traffic = Traffic::start(&agent, &admin, book, &mut dice, Habits::default());
        traffic
            .worked(10, Duration::from_millis(100), &mut dice)
            .await;
        let (mut then, at) = traffic.look(|book| (book.clone(), shim.moment()));
        crate::support::signal(vault.pid(), "KILL");
        drop(traffic.ended().await);
        let left = folder.path().join("left");
        shim.cut(at, Fate::Dropped, &mut dice, &left);
        drop(hold(&keys, &left, &mut then).await);
    }
}

// INVARIANT (ack-durable)
#[tokio::test]
async fn a_failed_write_acknowledges_nothing() {
    survives("Input/output error", write_fails).await;
}

// INVARIANT (ack-durable)
#[tokio::test]
async fn a_full_disk_acknowledges_nothing() {
    survives("No space left on device", runs_full).await;
}

// INVARIANT (ack-durable)
#[tokio::test]
async fn a_disk_that_turns_read_only_acknowledges_nothing() {
    survives("Read-only file system", turns_read_only).await;
}

/// A sync that takes as long as it likes: what waits for it is not acknowledged, and what is read waits for its record.
#[tokio::test]
async fn a_slow_disk_acknowledges_nothing_early() {
    let patient = Patient::new().await;
    let (agent, admin) = callers(&patient.vault);
    let kept = agent.lease("kept-a", "10m").await.unwrap();
    // Until the test says otherwise.
    patient.shim.set(Word::SyncDelay, i64::MAX);
    let asking = agent.clone();
    let grant = tokio::spawn(async move { asking.lease(APART, "10m").await });
    // Time for it to be written, and not to be synced.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let syncs = patient.shim.get(Word::Syncs);
    let path = format!("/v1/leases/{}", text(&kept, "id"));
    let (asking, asked) = (admin.clone(), path.clone());
    let read = tokio::spawn(async move { asking.get(&asked).await });
    assert_eq!(admin.get("/health").await["data"]["state"], "alive");
    assert_eq!(admin.get("/ready").await["data"]["state"], "ready");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!grant.is_finished(), "acknowledged before the sync");
    assert!(!read.is_finished(), "answered before its record is durable");
    patient.shim.set(Word::SyncDelay, 0);
    grant.await.unwrap().unwrap();
    assert_eq!(read.await.unwrap()["data"]["state"], "active");
    let synced = patient.shim.get(Word::Syncs);
    assert!(synced > syncs, "acknowledged without a sync");
}

/// With every sync slow, and power cuts at any moment.
#[tokio::test]
async fn a_slow_disk_loses_nothing() {
    let mut dice = Dice::seeded();
    let folder = TempDir::new();
    let data_dir = folder.path().join("data");
    let (keys, mut book) = made(&data_dir).await;
    let shim = Shim::over(&data_dir, Sync::Recorded);
    shim.set(Word::SyncDelay, 100_000);
    let vault = keys.open_by(shim.load(dev(&data_dir)), &data_dir);
    book.own_records += STARTED;
    let (agent, admin) = callers(&vault);
    let traffic = Traffic::start(&agent, &admin, book, &mut dice, Habits::default());
    for cut in 0..amount(2, 40) {
        let longest = Duration::from_millis(200);
        traffic.worked(5, longest, &mut dice).await;
        shim.set(Word::SyncDelay, 50_000 + dice.roll(150_000) as i64);
        let (mut then, at) = traffic.look(|book| (book.clone(), shim.moment()));
        let left = folder.path().join(format!("left-{cut}"));
        shim.cut(at, Fate::AFTER_CUT[dice.roll(3) as usize], &mut dice, &left);
        drop(hold(&keys, &left, &mut then).await);
    }
    crate::support::signal(vault.pid(), "KILL");
    let mut book = traffic.ended().await;
    drop(vault);
    drop(hold(&keys, &data_dir, &mut book).await);
}

type Fault = fn(&Shim);

/// A vault that cannot write its first record does not serve, and says why; with the fault gone it does.
#[tokio::test]
async fn a_start_on_a_failing_disk_is_refused_in_words() {
    let folder = TempDir::new();
    let data_dir = folder.path().join("data");
    let (keys, mut book) = made(&data_dir).await;
    let full: Fault = |shim| shim.set(Word::WriteError, ENOSPC);
    let faults: [(&str, Fault); 4] = [
        ("Input/output error", sync_fails),
        ("Input/output error", write_fails),
        ("No space left on device", full),
        ("Read-only file system", turns_read_only),
    ];
    for (said, fault) in faults {
        let shim = Shim::over(&data_dir, Sync::Real);
        fault(&shim);
        run(&mut shim.load(dev(&data_dir))).refused(&[said]);
        book.own_records_in_doubt += STARTED;
    }
    drop(hold(&keys, &data_dir, &mut book).await);
}

/// Wherever in a start the disk is full, it is the disk and not the vault that is spoken of.
#[tokio::test]
async fn a_start_on_a_full_disk_is_not_told_of_damage() {
    let folder = TempDir::new();
    let data_dir = folder.path().join("data");
    let (keys, mut book) = made(&data_dir).await;
    for room in [0, 7, 16, 18, 30, 100, 300] {
        // Killed, so that there is something to recover.
        let vault = keys.open(&data_dir);
        book.own_records += STARTED;
        crate::support::signal(vault.pid(), "KILL");
        drop(vault);
        let shim = Shim::over(&data_dir, Sync::Real);
        shim.set(Word::WriteBudget, room);
        shim.set(Word::WriteError, ENOSPC);
        let ended = run(&mut shim.load(dev(&data_dir)));
        ended.refused(&["No space left on device"]);
        assert!(!ended.stderr.contains("restore it"), "{room}: {ended:?}");
        assert!(!ended.stderr.contains("damaged"), "{room}: {ended:?}");
        book.own_records_in_doubt += STARTED;
    }
    drop(hold(&keys, &data_dir, &mut book).await);
}

/// Nor is a vault made on such a disk; the folder is of use once the disk is.
#[tokio::test]
async fn a_vault_is_not_made_on_a_failing_disk() {
    let folder = TempDir::new();
    let full: Fault = |shim| shim.set(Word::WriteError, ENOSPC);
    let faults: [(&str, Fault); 3] = [
        ("Input/output error", write_fails),
        ("No space left on device", full),
        ("Read-only file system", turns_read_only),
    ];
    for (said, fault) in faults {
        let new = folder.path().join("new");
        let shim = Shim::over(&new, Sync::Real);
        fault(&shim);
        run(&mut shim.load(dev(&new))).refused(&[said]);
    }
    let new = folder.path().join("new");
    let vault = Vault::started_by(dev(&new), new.clone());
    assert!(!vault.admin_key.is_empty());
    assert_eq!(vault.stop().0, Some(0));
}

#[test]
fn a_vault_is_not_made_where_syncs_fail() {
    let folder = TempDir::new();
    let shim = Shim::over(folder.path(), Sync::Fails);
    run(&mut shim.load(dev(folder.path()))).refused(&["Input/output error"]);
}
