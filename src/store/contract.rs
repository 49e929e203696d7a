//! What every store must keep, whatever the engine: one suite, run over each adapter.
//!
//! A case is a function over a [`Harness`]; [`on_both`] makes it a test of its own for each. The engine under
//! test sits in a [`probe::Probe`], which stops, breaks and journals its writes, so that "not yet durable" is a
//! place where a test stands and not a moment that it hopes to meet.
//!
//! Not here: what only one engine promises (`sled/tests`).

mod adapters;
mod atomicity;
mod closing;
mod durable_reads;
mod failure;
mod locks;
mod model;
mod order;
mod overlay;
mod probe;
mod scan;
mod sizes;
mod snapshot;

pub(super) use self::adapters::TempDir;

use std::{
    future::{Future, poll_fn},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    time::Duration,
};

use tokio::task::JoinHandle;

use self::probe::{Control, Ended, Probe};
use super::{
    local::{Backend, LocalStore},
    port::{AuditEntry, AuditLog, Boxed, Key, LockKey, Scan, Store, Txn, Value},
};
use crate::domain::{
    error::{Code, Result},
    id::WorkspaceId,
};

/// A bound on every case: a store that waits forever is a failure and not a hung build.
const PATIENCE: Duration = Duration::from_secs(60);

/// An engine's state, which outlives the engine.
trait Harness: Sized + Send + Sync + 'static {
    type Engine: Backend;

    /// Empty state.
    fn new() -> Self;
    /// The engine over this state. One at a time.
    fn open(&self) -> Self::Engine;
    /// A copy of what would be left if the power went now.
    fn after_power_cut(&self) -> Self;
}

/// A store that serves over a harness, and the hand on its engine.
struct Rig<H: Harness> {
    store: Arc<LocalStore<Probe<H::Engine>>>,
    /// Behind the store and before the harness: fields go in this order.
    ended: Ended,
    control: Control,
    log: Numbering,
    harness: H,
}

impl<H: Harness> Rig<H> {
    fn new() -> Self {
        Self::over(H::new(), Numbering::default())
    }

    fn over(harness: H, log: Numbering) -> Self {
        let control = Control::default();
        let (engine, ended) = Probe::new(harness.open(), control.clone());
        let (store, committer) = LocalStore::new(engine, Box::new(log.clone()));
        committer.run_on_thread().unwrap();
        Self {
            store: Arc::new(store),
            ended,
            control,
            log,
            harness,
        }
    }

    /// A store over the same state, as after a restart.
    async fn reopened(self) -> Self {
        self.store.close().await.unwrap();
        let Self {
            store,
            ended,
            harness,
            log,
            ..
        } = self;
        // The engine goes with its last owner: a clone that a case kept would keep the folder in use.
        drop(Arc::into_inner(store).expect("nobody else holds the store"));
        drop(ended);
        Self::over(harness, log)
    }

    /// A second store, over what a power cut would leave now.
    fn after_power_cut(&self) -> Self {
        Self::over(self.harness.after_power_cut(), Numbering::default())
    }

    async fn begin(&self, lock_key: LockKey) -> Box<dyn Txn> {
        self.store.begin(&[lock_key]).await.unwrap()
    }

    /// A transaction under the one lock of cases that need no more.
    async fn txn(&self) -> Box<dyn Txn> {
        self.begin(lock(0)).await
    }

    /// Commits these changes and waits for them.
    async fn write(&self, changes: &[(&[u8], Option<&[u8]>)]) {
        let txn = self.txn_with(changes).await;
        txn.commit(Vec::new()).await.unwrap();
    }

    /// Queues these changes and does not wait.
    async fn queue(&self, changes: &[(&[u8], Option<&[u8]>)]) -> JoinHandle<Result<()>> {
        let txn = self.txn_with(changes).await;
        queue(txn, Vec::new()).await
    }

    async fn txn_with(&self, changes: &[(&[u8], Option<&[u8]>)]) -> Box<dyn Txn> {
        let mut txn = self.txn().await;
        for (key, change) in changes {
            match change {
                Some(value) => txn.put(key[..].into(), value.to_vec()).unwrap(),
                None => txn.delete(key[..].into()),
            }
        }
        txn
    }

    /// The durable value.
    async fn value(&self, key: &[u8]) -> Option<Value> {
        self.store.get(key).await.unwrap()
    }

    /// The durable pairs.
    async fn pairs(&self, scan: &Scan) -> Vec<(Key, Value)> {
        self.store.scan(scan).await.unwrap()
    }
}

/// A log that counts: each record under its number, from 1.
#[derive(Clone, Default)]
struct Numbering {
    placed: Arc<AtomicU64>,
    panics: Arc<Mutex<bool>>,
}

impl Numbering {
    /// Where record `number` goes.
    fn key(number: u64) -> Key {
        [&[0x85][..], &number.to_be_bytes()].concat().into()
    }

    /// The number in such a key.
    fn number(key: &[u8]) -> Option<u64> {
        let number = key.strip_prefix(&[0x85])?.try_into().ok()?;
        Some(u64::from_be_bytes(number))
    }

    fn panic_next(&self) {
        *self.panics.lock().unwrap() = true;
    }
}

impl AuditLog for Numbering {
    fn place(&mut self, records: &[AuditEntry]) -> Result<Vec<(Key, Value)>> {
        let panics = std::mem::take(&mut *self.panics.lock().unwrap());
        assert!(!panics, "a log that gives up, as this case asked");
        let place = |entry: &AuditEntry| {
            let number = self.placed.fetch_add(1, Ordering::Relaxed) + 1;
            (Self::key(number), Value::from(entry.record.as_slice()))
        };
        Ok(records.iter().map(place).collect())
    }
}

fn lock(id: u8) -> LockKey {
    LockKey {
        space: 1,
        id: [id; 16],
    }
}

fn record(bytes: &[u8]) -> AuditEntry {
    AuditEntry {
        workspace: WorkspaceId::from_bytes([1; 16]),
        record: bytes.to_vec(),
    }
}

/// Queues a write set: the next holder of its locks sees it. The outcome is in the handle.
async fn queue(txn: Box<dyn Txn>, audit: Vec<AuditEntry>) -> JoinHandle<Result<()>> {
    // Unconstrained, for else the runtime may put off even a step that need not wait.
    let mut commit: Boxed<'static, _> = Box::pin(tokio::task::unconstrained(txn.commit(audit)));
    match once(&mut commit).await {
        Poll::Ready(outcome) => tokio::spawn(std::future::ready(outcome)),
        Poll::Pending => tokio::spawn(commit),
    }
}

/// Takes one step of a future: whether it must wait for something.
async fn once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(std::pin::Pin::new(&mut *future).poll(cx))).await
}

async fn in_time<T>(case: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, case)
        .await
        .expect("the store keeps this case waiting forever")
}

#[track_caller]
fn unavailable<T>(outcome: Result<T>) {
    match outcome {
        Ok(_) => panic!("the store should have refused"),
        Err(error) => assert_eq!(error.code(), Code::StorageUnavailable, "{error:?}"),
    }
}

/// Makes each case a test of its own for each adapter.
macro_rules! on_both {
    ($($case:ident),+ $(,)?) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $case() {
                let case = super::$case::<$crate::store::contract::adapters::InMemory>();
                $crate::store::contract::in_time(case).await;
            })+
        }
        mod sled {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $case() {
                let case = super::$case::<$crate::store::contract::adapters::OnDisk>();
                $crate::store::contract::in_time(case).await;
            })+
        }
    };
}
use on_both;
