//! sled 0.34 as the engine on disk, opened defensively and made durable for real.
//!
//! - `flush()` writes without fsync on Linux, so each group is followed by `fdatasync` on sled's one log file.
//! - Values over one page would spill to files that are never synced: bulky ones are split into chunks.
//! - A kill during recovery leaves `snap.*.generating`, which would refuse every later start: it is removed.
//! - sled may panic on a damaged folder: opening is caught and told as an error.
//! - It drops what it cannot read: a mark beside it tells when that was more than the torn end of its log.

mod chunks;
mod folder;
mod mark;
#[cfg(test)]
mod tests;

use std::{
    fs::File,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError, RwLock, RwLockReadGuard},
    time::{Duration, Instant},
};

use self::{
    folder::FolderLock,
    mark::{GROUP_KEY, Mark},
};
use super::{
    local::{Backend, LocalStore},
    overlay::{WriteSet, bounds},
    port::{AuditLog, Key, Scan, Value, is_bulky},
};
use crate::domain::error::{Error, Result};

/// How long a reading of the free disk space holds.
const DISK_CHECK_EVERY: Duration = Duration::from_millis(250);
/// How long sled may go on holding its log file: after an engine was closed in this very process, sled's
/// threads let go of the file a moment later.
const RELEASED_WITHIN: Duration = Duration::from_secs(5);
/// The engine's own folder in the data folder.
const ENGINE_FOLDER: &str = "store";
/// sled's log file in that folder.
const LOG_FILE: &str = "db";
/// sled's settings beside it.
const SETTINGS_FILE: &str = "conf";

/// First bytes of the adapter's own keys, which no scan shows: the group's number, and chunks.
const OWN_KEYS: [u8; 2] = [0x7d, chunks::CHUNK_SPACE];

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
    db: sled::Db,
    log_file: File,
    mark: Mark,
    folder: PathBuf,
    reserve_bytes: u64,
    /// Held alone while a batch goes in: sled's own lock covers one pair of a scan and one piece of a value, and
    /// neither may be half old and half new. Never held over a sync.
    batches: RwLock<()>,
    disk: Mutex<Option<(Instant, Option<u64>)>>,
    /// Held for as long as the engine is open.
    _lock: FolderLock,
}

impl Sled {
    /// Opens the data folder, making it where it is missing. Fails where another process has it open, where it
    /// cannot be written, or where it is damaged; the message says which.
    pub fn open(data_dir: &Path, options: &SledOptions) -> Result<Self> {
        let lock = FolderLock::take(data_dir)?;
        let engine = data_dir.join(ENGINE_FOLDER);
        folder::prepare(&engine).map_err(|error| folder::unusable(data_dir, &error))?;
        let config = sled::Config::new()
            .path(&engine)
            .mode(sled::Mode::HighThroughput)
            .cache_capacity(options.cache_bytes)
            .flush_every_ms(None);
        let damaged = |what: String| {
            Error::storage(format!(
                "the data folder `{}` is damaged or incomplete: {what}; restore it from a backup",
                data_dir.display()
            ))
        };
        // sled makes its log file first: without it this is no new store, and must not become one.
        if engine.join(SETTINGS_FILE).exists() && !engine.join(LOG_FILE).exists() {
            return Err(damaged(format!("`{ENGINE_FOLDER}/{LOG_FILE}` is missing")));
        }
        let asked = Instant::now();
        let db = loop {
            match catch_unwind(AssertUnwindSafe(|| config.open())) {
                Ok(Ok(db)) => break db,
                Ok(Err(error)) if still_locked(&error) => {
                    if asked.elapsed() > RELEASED_WITHIN {
                        return Err(folder::in_use(data_dir, ""));
                    }
                    std::thread::sleep(RELEASED_WITHIN / 500);
                }
                Ok(Err(error)) => return Err(damaged(error.to_string())),
                Err(_) => return Err(damaged("the storage engine gave up reading it".to_owned())),
            }
        };
        let log_path = engine.join(LOG_FILE);
        let unusable = |error: std::io::Error| folder::unusable(data_dir, &error);
        let log_file = File::options()
            .read(true)
            .write(true)
            .open(&log_path)
            .map_err(unusable)?;
        folder::keep_private(&engine).map_err(unusable)?;
        // The names of new files are durable only once their folders are.
        for path in [&engine, data_dir] {
            File::open(path)
                .and_then(|folder| folder.sync_all())
                .map_err(unusable)?;
        }
        Ok(Self {
            mark: Mark::open(data_dir, &db)?,
            db,
            log_file,
            folder: engine,
            reserve_bytes: options.reserve_bytes,
            batches: RwLock::new(()),
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
        // A store that cannot even be read is not a new one.
        guarded(|| {
            let mut keys = self.db.iter().keys();
            Ok(!keys.any(|key| key.is_ok_and(|key| key != GROUP_KEY)))
        })
        .unwrap_or(false)
    }

    /// Writes durably before the store serves: how a new vault gets its header and its first keys.
    pub fn write_first(&self, writes: Vec<(Key, Vec<u8>)>) -> Result<()> {
        self.apply(
            &writes
                .into_iter()
                .map(|(key, value)| (key, Some(value.into())))
                .collect(),
        )?;
        self.sync()
    }

    fn between_batches(&self) -> RwLockReadGuard<'_, ()> {
        self.batches.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// A store over this engine; its committer runs on a thread of its own.
    pub fn serve(self, log: Box<dyn AuditLog>) -> Result<LocalStore<Self>> {
        let (store, committer) = LocalStore::new(self, log);
        committer.run_on_thread()?;
        Ok(store)
    }
}

/// Whether sled's own lock is held, though the data folder's is ours.
fn still_locked(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(error) if error.to_string().starts_with("could not acquire lock"))
}

fn broken(error: sled::Error) -> Error {
    Error::storage("the storage engine failed").caused_by(error)
}

/// sled panics where its log is damaged underneath it; a read must then fail and not take the task down.
fn guarded<T>(read: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
        Err(Error::storage(
            "the storage engine gave up on a damaged page",
        ))
    })
}

impl Backend for Sled {
    fn get(&self, key: &[u8]) -> Result<Option<Value>> {
        guarded(|| {
            let Some(stored) = self.db.get(key).map_err(broken)? else {
                return Ok(None);
            };
            if !is_bulky(key) {
                return Ok(Some(Value::from(&*stored)));
            }
            if let Some(whole) = chunks::whole(&stored)? {
                return Ok(Some(whole));
            }
            // Its pieces must be of one batch, so the first one is read again where no batch can come between.
            let _between = self.between_batches();
            let Some(stored) = self.db.get(key).map_err(broken)? else {
                return Ok(None);
            };
            chunks::join(&self.db, key, &stored).map(Some)
        })
    }

    fn scan(&self, scan: &Scan, limit: usize) -> Result<Vec<(Key, Value)>> {
        if scan.start >= scan.end {
            return Ok(Vec::new());
        }
        let _between = self.between_batches();
        guarded(|| {
            let mut range = self.db.range::<&[u8], _>(bounds(scan));
            let mut pairs = Vec::new();
            while pairs.len() < limit {
                let Some(next) = (if scan.reverse {
                    range.next_back()
                } else {
                    range.next()
                }) else {
                    break;
                };
                // An iterator over a damaged page never ends: the first error stops it.
                let (key, stored) = next.map_err(broken)?;
                if key.first().is_some_and(|kind| OWN_KEYS.contains(kind)) {
                    continue;
                }
                let value = if is_bulky(&key) {
                    chunks::join(&self.db, &key, &stored)?
                } else {
                    Value::from(&*stored)
                };
                pairs.push((key.to_vec(), value));
            }
            Ok(pairs)
        })
    }

    fn apply(&self, writes: &WriteSet) -> Result<()> {
        guarded(|| {
            let mut batch = sled::Batch::default();
            for (key, change) in writes {
                match change {
                    _ if is_bulky(key) => {
                        chunks::split(&self.db, &mut batch, key, change.as_deref())?
                    }
                    Some(value) => batch.insert(key.as_slice(), &**value),
                    None => batch.remove(key.as_slice()),
                }
            }
            batch.insert(GROUP_KEY, &self.mark.next());
            let _alone = self.batches.write().unwrap_or_else(PoisonError::into_inner);
            self.db.apply_batch(batch).map_err(broken)?;
            self.mark.applied();
            Ok(())
        })
    }

    fn sync(&self) -> Result<()> {
        // A group that is applied meanwhile may be on disk by then, but is not claimed to be.
        let reach = self.mark.reach();
        guarded(|| self.db.flush().map(drop).map_err(broken))?;
        self.log_file
            .sync_data()
            .map_err(|error| Error::storage("the disk failed to sync").caused_by(error))?;
        self.mark.acknowledge(reach)
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
