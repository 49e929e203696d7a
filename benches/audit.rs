//! What sealing and verifying the audit log cost a record: `cargo bench --bench audit`. The goal: a million records are
//! verified in under 5 s on one core, from a data folder, with the public key alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use divan::{Bencher, counter::ItemsCount};
use futures_util::future::join_all;
use leasehold::{
    audit::{
        check::{self, Question},
        log::Log,
        seal::Sealer,
    },
    clock::{Clock, SystemTime},
    crypto::{entropy::OsEntropy, keyring::Keyring, root::RootKey},
    domain::id::WorkspaceId,
    store::{
        port::{AuditEntry, Store},
        sled::{Sled, SledOptions},
    },
    tables,
};
use tokio::runtime::Runtime;

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// As many bytes as the record of a grant has, encoded.
const RECORD_BYTES: usize = 300;
/// Commits under way at a time.
const AT_ONCE: usize = 256;
/// Records in each of them.
const TOGETHER: usize = 16;
const WORKSPACE: WorkspaceId = WorkspaceId::from_bytes([1; 16]);

fn main() {
    divan::main();
}

/// A data folder with a log of so many records, removed in the end.
struct Site {
    folder: PathBuf,
    keyring: Arc<Keyring>,
    runtime: Runtime,
}

impl Site {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("leasehold-bench-audit-{}-{number}", std::process::id());
        let entropy = Arc::new(OsEntropy);
        let root = RootKey::generate(&*entropy).unwrap();
        let keyring = Arc::new(Keyring::new(&root, entropy).unwrap());
        for workspace in [WorkspaceId::SYSTEM, WORKSPACE] {
            tables::unlock_new(&keyring, workspace).unwrap();
        }
        let runtime = tokio::runtime::Builder::new_current_thread();
        Self {
            folder: std::env::temp_dir().join(name),
            keyring,
            runtime: { runtime }.enable_all().build().unwrap(),
        }
    }

    fn open(&self) -> Sled {
        let options = SledOptions {
            cache_bytes: 256 << 20,
            reserve_bytes: 0,
        };
        Sled::open(&self.folder, &options).unwrap()
    }

    fn clock(&self) -> Arc<Clock> {
        Arc::new(Clock::new(Arc::new(SystemTime), None))
    }

    /// Writes a log.
    fn write(&self, records: usize) -> Arc<dyn Store> {
        let log = Log::after(self.keyring.clone(), self.clock(), None).unwrap();
        let store: Arc<dyn Store> = Arc::new(self.open().serve(Box::new(log)).unwrap());
        let one = AuditEntry {
            workspace: WORKSPACE,
            record: vec![7; RECORD_BYTES],
        };
        self.runtime.block_on(async {
            for _ in 0..records.div_ceil(AT_ONCE * TOGETHER) {
                let commit = async || {
                    let txn = store.begin(&[]).await.unwrap();
                    txn.commit(vec![one.clone(); TOGETHER]).await.unwrap();
                };
                join_all((0..AT_ONCE).map(|_| commit())).await;
            }
        });
        store
    }

    fn seal(&self, store: &dyn Store) {
        let (keyring, now) = (&*self.keyring, self.clock().now());
        self.runtime.block_on(async {
            let mut sealer = Sealer::open(store, keyring).await.unwrap();
            while sealer.step(store, keyring, now).await.unwrap().is_some() {}
        });
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Checkpoints over a backlog: hashing, the tree, a signature and a commit for each batch.
#[divan::bench(args = [65_536], sample_count = 5, sample_size = 1)]
fn seal(bencher: Bencher, records: usize) {
    bencher
        .counter(ItemsCount::new(records))
        .with_inputs(|| {
            let site = Site::new();
            let store = site.write(records);
            (site, store)
        })
        .bench_local_refs(|(site, store)| site.seal(&**store));
}

/// A stopped vault's folder, with the public key alone.
#[divan::bench(args = [65_536, 1_000_000], sample_count = 3, sample_size = 1)]
fn verify(bencher: Bencher, records: usize) {
    let site = Site::new();
    let store = site.write(records);
    site.seal(&*store);
    site.runtime.block_on(store.close()).unwrap();
    drop(store);
    let sled = site.open();
    bencher.counter(ItemsCount::new(records)).bench_local(|| {
        let key = site.keyring.audit_key().public_key();
        let read = &mut &sled;
        let report = check::log(read, key, Question::default());
        let report = site.runtime.block_on(report).unwrap();
        assert!(report.faults.is_empty() && report.proven >= records as u64);
    });
}
