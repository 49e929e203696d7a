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
};

use crate::domain::error::{Error, Result};

const MARK_FILE: &str = "MARK";
pub(super) struct Mark(File);

impl Mark {
    /// Compares the last group that the store holds, or 0 where it holds nothing, with what was acknowledged.
    pub(super) fn open(data_dir: &Path, held: u64) -> Result<Self> {
        let unusable = |error: io::Error| super::folder::unusable(data_dir, &error);
        let dir = data_dir.display();
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
        } else if held == 0 {
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
        if acknowledged > held {
            return Err(Error::storage(format!(
                "the data folder `{dir}` is damaged: it has lost acknowledged writes (groups {} to {acknowledged}); restore it from a backup",
                held.saturating_add(1)
            )));
        }
        Ok(Self(file))
    }

    /// Everything up to this group is durable.
    pub(super) fn acknowledge(&self, group: u64) -> Result<()> {
        write(&self.0, group)
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
