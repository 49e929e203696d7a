//! How far the store had got when a write was last acknowledged, kept beside the engine's files.
//!
//! sled takes whatever it cannot read for the torn end of its log and drops it together with all that follows:
//! damage would roll the vault back without a word. So every group carries a number into the store, and the
//! number of the last durable one is written here before its callers are told. A store that has forgotten it
//! is not served. The file is not synced: after a kill it is exact, and after a power cut it can only lag.

use std::{
    fs::File,
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::domain::error::{Error, Result};

const MARK_FILE: &str = "MARK";
/// The key of the last applied group's number. The port's own keys never begin with this byte.
pub(super) const GROUP_KEY: &[u8] = &[0x7d];

pub(super) struct Mark {
    file: File,
    applied: AtomicU64,
}

impl Mark {
    /// Compares what the store holds with what was acknowledged.
    pub(super) fn open(data_dir: &Path, db: &sled::Db) -> Result<Self> {
        let unusable = |error: io::Error| super::folder::unusable(data_dir, &error);
        let dir = data_dir.display();
        let stored =
            super::guarded(|| db.get(GROUP_KEY).map_err(super::broken)).map_err(|error| {
                Error::storage(format!(
                "the data folder `{dir}` is damaged and cannot be read; restore it from a backup"
            ))
            .caused_by(error)
            })?;
        let applied = match stored {
            None => 0,
            Some(number) => u64::from_be_bytes(
                (*number)
                    .try_into()
                    .map_err(|_| Error::storage("the store's group number is damaged"))?,
            ),
        };
        let path = data_dir.join(MARK_FILE);
        let existed = path.exists();
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(unusable)?;
        let acknowledged = if existed {
            read(&file)
        } else if db.is_empty() {
            write(&file, 0)
                .and_then(|()| file.sync_all())
                .map_err(unusable)?;
            Some(0)
        } else {
            None
        };
        let Some(acknowledged) = acknowledged else {
            if !existed {
                // Left in place it would look like a mark at the next start.
                let _ = std::fs::remove_file(&path);
            }
            return Err(Error::storage(format!(
                "the data folder `{dir}` is incomplete: `{MARK_FILE}` is missing or damaged; restore the folder from a backup"
            )));
        };
        if acknowledged > applied {
            return Err(Error::storage(format!(
                "the data folder `{dir}` is damaged: it has lost acknowledged writes (groups {} to {acknowledged}); restore it from a backup",
                applied.saturating_add(1)
            )));
        }
        Ok(Self {
            file,
            applied: AtomicU64::new(applied),
        })
    }

    /// The number of the next group, as it goes into the group itself.
    pub(super) fn next(&self) -> [u8; 8] {
        self.applied
            .load(Ordering::Acquire)
            .saturating_add(1)
            .to_be_bytes()
    }

    /// The group was applied.
    pub(super) fn applied(&self) {
        self.applied.fetch_add(1, Ordering::AcqRel);
    }

    /// How far a sync that begins now makes the store durable.
    pub(super) fn reach(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    /// Everything up to this group is durable.
    pub(super) fn acknowledge(&self, group: u64) -> Result<()> {
        write(&self.file, group)
            .map_err(|error| Error::storage("the mark cannot be written").caused_by(error))
    }
}

fn write(file: &File, group: u64) -> io::Result<()> {
    let number = group.to_be_bytes();
    let mut bytes = [0; 12];
    let crc = crc32fast::hash(&number).to_be_bytes();
    bytes
        .iter_mut()
        .zip(number.iter().chain(&crc))
        .for_each(|(to, from)| *to = *from);
    file.write_all_at(&bytes, 0)
}

fn read(file: &File) -> Option<u64> {
    let mut bytes = [0; 12];
    file.read_exact_at(&mut bytes, 0).ok()?;
    let (number, crc) = bytes.split_first_chunk::<8>()?;
    (crc32fast::hash(number).to_be_bytes().as_slice() == crc).then(|| u64::from_be_bytes(*number))
}
