//! The port for engines in this process: locks, overlay, and one committer that makes groups of write sets
//! durable together.
//!
//! INVARIANT (ack-durable): a commit resolves only after its group was applied and synced. After a failed
//! write nothing more is taken: what the engine holds in memory may then differ from what is on disk.
//! Whatever the engine holds and the disk may not is in the overlay, the records of the log included; a read
//! outside a transaction looks there after it has read, and waits until what it hands out is durable.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use super::{
    committer::{Committer, Failed, Queued, Waiter},
    locks::{Held, LockTable},
    overlay::{Overlay, WriteSet, merge},
    port::{
        AuditEntry, AuditLog, Boxed, Health, Key, LockKey, MAX_BULKY_BYTES, MAX_INLINE_BYTES,
        MAX_SCAN, Scan, Store, Txn, Value, Visit, Visitor, is_bare, is_bulky,
    },
};
use crate::domain::error::{Error, Result};

/// Write sets that wait for the committer: bounds memory when the disk is slow.
const MAX_QUEUED: usize = 8192;

/// A storage engine. `apply` is atomic; `sync` makes all that was applied durable. Both are called from one
/// place at a time.
pub trait Backend: Send + Sync + 'static {
    /// The value under a key.
    fn get(&self, key: &[u8]) -> Result<Option<Value>>;
    /// Up to `limit` pairs in the order of the scan; stops at the first error.
    fn scan(&self, scan: &Scan, limit: usize) -> Result<Vec<(Key, Value)>>;
    /// Applies the changes, all or none.
    fn apply(&self, writes: &WriteSet) -> Result<()>;
    /// Makes what was applied durable.
    fn sync(&self) -> Result<()>;
    /// Ends what the engine does in the background, after the last write.
    fn close(&self) -> Result<()> {
        Ok(())
    }
    /// Visits every pair, in the order of the keys, as of one moment between two calls of `apply`. Blocks; the
    /// first error of a visit ends it.
    fn snapshot(&self, visit: &mut Visitor<'_>) -> Result<()>;
    /// An empty file without a name on the engine's own disk.
    fn spool(&self) -> Result<std::fs::File>;
    /// Free bytes where that is less than the reserve, else none.
    fn disk_low(&self) -> Option<u64>;
    /// Why the engine takes no more, where that happened in the background. Never waits.
    fn failure(&self) -> Option<String> {
        None
    }
}

/// What a store and its committer share.
pub(super) struct Shared<B> {
    pub(super) backend: B,
    pub(super) locks: LockTable,
    pub(super) overlay: Overlay,
    pub(super) slots: Arc<Semaphore>,
    pub(super) durable: watch::Sender<u64>,
    pub(super) health: watch::Sender<Health>,
}

/// A store over an engine in this process.
pub struct LocalStore<B> {
    shared: Arc<Shared<B>>,
    queue: Mutex<Option<mpsc::UnboundedSender<Queued>>>,
    finished: watch::Receiver<bool>,
}

impl<B: Backend> LocalStore<B> {
    /// A store and its committer, which must run for commits to resolve.
    pub fn new(backend: B, log: Box<dyn AuditLog>) -> (Self, Committer<B>) {
        let shared = Arc::new(Shared {
            backend,
            locks: LockTable::new(),
            overlay: Overlay::default(),
            slots: Arc::new(Semaphore::new(MAX_QUEUED)),
            durable: watch::Sender::new(0),
            health: watch::Sender::new(Health::Writable),
        });
        let (sender, queue) = mpsc::unbounded_channel();
        let (finished, on_finished) = watch::channel(false);
        let store = Self {
            shared: shared.clone(),
            queue: Mutex::new(Some(sender)),
            finished: on_finished,
        };
        (store, Committer::new(shared, queue, log, finished))
    }

    fn sender(&self) -> Result<mpsc::UnboundedSender<Queued>> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue
            .clone()
            .ok_or_else(|| Error::storage("the store is closed"))
    }
}

impl<B: Backend> Shared<B> {
    fn health(&self) -> Health {
        let health = self.health.borrow().clone();
        if health != Health::Writable {
            return health;
        }
        if let Some(reason) = self.backend.failure() {
            return Health::Failed { reason };
        }
        match self.backend.disk_low() {
            Some(free_bytes) => Health::DiskLow { free_bytes },
            None => health,
        }
    }

    /// Waits until the write set of that number is durable. Where the store failed first, nobody knows whether
    /// it will be after a restart.
    async fn wait_durable(&self, number: u64) -> Result<()> {
        let mut durable = self.durable.subscribe();
        let mut health = self.health.subscribe();
        tokio::select! {
            biased;
            _ = durable.wait_for(|durable| *durable >= number) => Ok(()),
            _ = health.wait_for(|health| matches!(health, Health::Failed { .. })) => Err(Error::storage(
                "what was written here last could not be made durable; restart the vault",
            )),
        }
    }
}

/// Told once a write set is durable, or will not be.
type OnDone = oneshot::Receiver<Result<(), Failed>>;

impl<B: Backend> Shared<B> {
    /// Queues a write set for the committer, where `check` lets it.
    async fn queue(
        &self,
        queue: &mpsc::UnboundedSender<Queued>,
        writes: WriteSet,
        audit: Vec<AuditEntry>,
        check: impl FnOnce(&Health) -> Result<()>,
    ) -> Result<OnDone> {
        let closed = || Error::storage("the store is closed");
        let slot = self.slots.clone().acquire_owned().await;
        let slot = slot.map_err(|_| closed())?;
        check(&self.health())?;
        let (done, on_done) = oneshot::channel();
        // Numbering, laying over and sending under one lock: the queue's order is the numbers' order.
        let mut overlay = self.overlay.lock();
        let number = overlay.push(&writes);
        queue
            .send(Queued {
                number,
                writes,
                audit,
                waiter: Waiter::new(done, slot),
            })
            .map_err(|_| closed())?;
        Ok(on_done)
    }
}

async fn settled<B: Backend>(shared: &Shared<B>, queued: OnDone) -> Result<()> {
    match queued.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(Failed)) | Err(_) => {
            shared.health().check()?;
            Err(Error::storage("the write could not be made durable"))
        }
    }
}

impl<B: Backend> Store for LocalStore<B> {
    fn begin<'a>(&'a self, locks: &'a [LockKey]) -> Boxed<'a, Result<Box<dyn Txn>>> {
        Box::pin(async move {
            self.shared.health().check()?;
            let queue = self.sender()?;
            let held = self.shared.locks.acquire(locks).await;
            let shared = self.shared.clone();
            Ok(Box::new(LocalTxn {
                shared,
                queue,
                held,
                writes: WriteSet::new(),
            }) as Box<dyn Txn>)
        })
    }

    fn get<'a>(&'a self, key: &'a [u8]) -> Boxed<'a, Result<Option<Value>>> {
        Box::pin(async move {
            let value = self.shared.backend.get(key)?;
            if let Some((number, _)) = self.shared.overlay.get(key) {
                self.shared.wait_durable(number).await?;
            }
            Ok(value)
        })
    }

    fn scan<'a>(&'a self, scan: &'a Scan) -> Boxed<'a, Result<Vec<(Key, Value)>>> {
        Box::pin(async move {
            if scan.start >= scan.end {
                return Ok(Vec::new());
            }
            let pairs = self.shared.backend.scan(scan, scan.limit.min(MAX_SCAN))?;
            if let Some(number) = self.shared.overlay.newest(scan) {
                self.shared.wait_durable(number).await?;
            }
            Ok(pairs)
        })
    }

    fn snapshot(&self, mut visit: Visit) -> Boxed<'_, Result<()>> {
        Box::pin(async move {
            let shared = self.shared.clone();
            let visited = move || shared.backend.snapshot(&mut *visit);
            tokio::task::spawn_blocking(visited)
                .await
                .map_err(|_| Error::internal("a snapshot panicked"))??;
            // Nothing that is still queued is older than what was visited.
            match self.shared.overlay.last() {
                Some(number) => self.shared.wait_durable(number).await,
                None => Ok(()),
            }
        })
    }

    fn spool(&self) -> Result<std::fs::File> {
        self.shared.backend.spool()
    }

    fn keep_time(&self) -> Boxed<'_, Result<()>> {
        Box::pin(async move {
            self.shared.health().check_time()?;
            let queue = self.sender()?;
            // The log writes the clock's mark with every group, one without records included.
            let queued = self
                .shared
                .queue(&queue, WriteSet::new(), Vec::new(), Health::check_time);
            settled(&self.shared, queued.await?).await
        })
    }

    fn health(&self) -> Health {
        self.shared.health()
    }

    fn close(&self) -> Boxed<'_, Result<()>> {
        Box::pin(async move {
            // The committer ends when the last sender is gone: those of open transactions count.
            drop(
                self.queue
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take(),
            );
            let mut finished = self.finished.clone();
            let ended = finished.wait_for(|finished| *finished).await.map(drop);
            ended.map_err(|_| Error::storage("the committer stopped before it was told to"))?;
            self.shared.health.send_modify(|health| {
                if *health == Health::Writable {
                    *health = Health::Closed;
                }
            });
            match self.shared.health() {
                Health::Failed { .. } => {
                    Err(Error::storage("the store failed before it was closed"))
                }
                _ => Ok(()),
            }
        })
    }
}

struct LocalTxn<B> {
    shared: Arc<Shared<B>>,
    queue: mpsc::UnboundedSender<Queued>,
    held: Held,
    writes: WriteSet,
}

impl<B: Backend> Txn for LocalTxn<B> {
    fn get<'a>(&'a mut self, key: &'a [u8]) -> Boxed<'a, Result<Option<Value>>> {
        let found = match self.writes.get(key) {
            Some(change) => Ok(change.clone()),
            // The overlay first: what it has forgotten by then, the engine holds.
            None => match self.shared.overlay.get(key) {
                Some((_, change)) => Ok(change),
                None => self.shared.backend.get(key),
            },
        };
        Box::pin(std::future::ready(found))
    }

    fn scan<'a>(&'a mut self, scan: &'a Scan) -> Boxed<'a, Result<Vec<(Key, Value)>>> {
        let read = || {
            if scan.start >= scan.end {
                return Ok(Vec::new());
            }
            let limit = scan.limit.min(MAX_SCAN);
            let mut changes = self.shared.overlay.range(scan);
            let own = self.writes.range::<[u8], _>(super::overlay::bounds(scan));
            changes.extend(own.map(|(key, change)| (key.clone(), change.clone())));
            let wanted = limit + changes.len();
            let pairs = self.shared.backend.scan(scan, wanted)?;
            let complete = pairs.len() < wanted;
            Ok(merge(pairs, changes, scan, limit, complete))
        };
        Box::pin(std::future::ready(read()))
    }

    fn put(&mut self, key: Key, value: Vec<u8>) -> Result<()> {
        let limit = if is_bulky(&key) {
            MAX_BULKY_BYTES
        } else if is_bare(&key) {
            0
        } else {
            MAX_INLINE_BYTES
        };
        if value.len() > limit {
            return Err(Error::internal("a record is longer than its key allows"));
        }
        self.writes.insert(key, Some(value.into()));
        Ok(())
    }

    fn delete(&mut self, key: Key) {
        self.writes.insert(key, None);
    }

    fn commit(self: Box<Self>, audit: Vec<AuditEntry>) -> Boxed<'static, Result<()>> {
        let Self {
            shared,
            queue,
            held,
            writes,
        } = *self;
        Box::pin(async move {
            if writes.is_empty() && audit.is_empty() {
                return Ok(());
            }
            let queued = shared.queue(&queue, writes, audit, Health::check).await?;
            drop(held);
            settled(&shared, queued).await
        })
    }
}
