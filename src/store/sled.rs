//! sled 0.34 as the engine on disk behind a journal, opened defensively and made durable for real.
//!
//! - A group is one write to the journal and one `fdatasync`. Checkpoints carry the journal over into sled's tree:
//!   sled's price for a key, and for a sync, is then paid once for many groups.
//! - A kill during recovery leaves `snap.*.generating`, which would refuse every later start: it is removed.
//! - sled may panic on a damaged folder: opening is caught and told as an error.
//! - It drops what it cannot read: a mark beside it tells when that was more than the torn end of its log.

mod checkpoint;
mod checkpointer;
mod chunks;
mod claim;
mod folder;
mod journal;
mod mark;
mod packs;
mod pending;
mod start;
#[cfg(test)]
mod tests;
mod tree;
mod warm;

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

pub use self::claim::Claim;
use self::{checkpoint::Core, checkpointer::Checkpointer, folder::FolderLock};
use super::{
    local::{Backend, LocalStore},
    overlay::WriteSet,
    port::{AuditLog, Key, Scan, Value, Visitor},
    spool,
};
use crate::domain::error::Result;

/// How long a reading of the free disk space holds.
const DISK_CHECK_EVERY: Duration = Duration::from_millis(250);
/// sled's own folder in the data folder.
const ENGINE_FOLDER: &str = "store";

/// How to open the engine.
#[derive(Debug, Clone)]
pub struct SledOptions {
    /// Bytes of page cache.
    pub cache_bytes: u64,
    /// Free bytes on the disk below which no write is begun.
    pub reserve_bytes: u64,
}

/// The engine, open and not yet serving.
pub struct Sled {
    checkpointer: Mutex<Option<Checkpointer>>,
    core: Arc<Core>,
    data_dir: PathBuf,
    folder: PathBuf,
    reserve_bytes: u64,
    disk: Mutex<Option<(Instant, Option<u64>)>>,
    /// Held for as long as the engine is open.
    _lock: FolderLock,
}

impl Sled {
    /// Whether the data folder holds an engine, whatever its state.
    pub fn exists(data_dir: &Path) -> bool {
        data_dir.join(ENGINE_FOLDER).exists()
    }

    /// Opens the data folder, making it where it is missing. Fails where another process has it open, where it
    /// cannot be written, or where it is damaged; the message says which.
    pub fn open(data_dir: &Path, options: &SledOptions) -> Result<Self> {
        let lock = FolderLock::take(data_dir)?;
        let engine = data_dir.join(ENGINE_FOLDER);
        folder::prepare(&engine)
            .and_then(|()| spool::clear(data_dir))
            .map_err(|error| folder::unusable(data_dir, &error))?;
        let core = start::open(data_dir, &engine, options.cache_bytes)?;
        Ok(Self {
            checkpointer: Mutex::new(None),
            core: Arc::new(core),
            data_dir: data_dir.to_owned(),
            folder: engine,
            reserve_bytes: options.reserve_bytes,
            disk: Mutex::new(None),
            _lock: lock,
        })
    }

    /// A value, before the store serves.
    pub fn read(&self, key: &[u8]) -> Result<Option<Value>> {
        Backend::get(self, key)
    }

    /// Pairs, before the store serves.
    pub fn read_range(&self, scan: &Scan) -> Result<Vec<(Key, Value)>> {
        Backend::scan(self, scan, scan.limit)
    }

    /// Whether nothing was ever stored here.
    pub fn is_empty(&self) -> bool {
        self.core.tree.is_empty()
    }

    /// Writes durably before the store serves: how a new vault gets its header and its first keys.
    pub fn write_first(&self, writes: Vec<(Key, Vec<u8>)>) -> Result<()> {
        self.apply(
            &writes
                .into_iter()
                .map(|(key, value)| (key, Some(value.into())))
                .collect(),
        )?;
        self.sync()?;
        self.core.checkpoint()
    }

    /// A store over this engine; its committer runs on a thread of its own.
    pub fn serve(self, log: Box<dyn AuditLog>) -> Result<LocalStore<Self>> {
        let checkpointer = Checkpointer::start(&self.core)?;
        *self
            .checkpointer
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(checkpointer);
        let (store, committer) = LocalStore::new(self, log);
        committer.run_on_thread()?;
        Ok(store)
    }
}

impl Backend for Sled {
    fn get(&self, key: &[u8]) -> Result<Option<Value>> {
        self.core.get(key)
    }

    fn scan(&self, scan: &Scan, limit: usize) -> Result<Vec<(Key, Value)>> {
        self.core.scan(scan, limit)
    }

    fn apply(&self, writes: &WriteSet) -> Result<()> {
        self.core.append(writes)
    }

    fn sync(&self) -> Result<()> {
        self.core.sync()
    }

    fn close(&self) -> Result<()> {
        drop(
            self.checkpointer
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        self.core.close()
    }

    fn snapshot(&self, visit: &mut Visitor<'_>) -> Result<()> {
        self.core.snapshot(visit)
    }

    fn spool(&self) -> Result<File> {
        spool::unnamed(&self.data_dir).map_err(|error| folder::unusable(&self.data_dir, &error))
    }

    fn failure(&self) -> Option<String> {
        self.core.failure()
    }

    fn disk_low(&self) -> Option<u64> {
        let mut disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, low)) = *disk
            && at.elapsed() < DISK_CHECK_EVERY
        {
            return low;
        }
        let low = match rustix::fs::statvfs(&self.folder) {
            Ok(stat) => Some(stat.f_bavail.saturating_mul(stat.f_frsize))
                .filter(|free| *free < self.reserve_bytes),
            // A disk that cannot be asked is not trusted with writes.
            Err(_) => Some(0),
        };
        *disk = Some((Instant::now(), low));
        low
    }
}
