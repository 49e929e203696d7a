//! How far the store had got when a write was last acknowledged, and whether it was closed in order since; kept
//! beside the engine's files.
//!
//! sled takes whatever it cannot read for the torn end of its log and drops it together with all that follows:
//! damage would roll the vault back without a word. So every group carries a number into the store, and the
//! number of the last durable one is written here before its callers are told. A store that has forgotten it
//! is not served. The file is not synced: after a kill it is exact, and after a power cut it can only lag.
//!
//! ```text
//! mark = group(8, BE) ‖ crc32 over the group, and over `closed` behind it where the store was closed in order (4, BE)
//! ```

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use crate::domain::error::{Error, Result};

const MARK_FILE: &str = "MARK";
/// A mark that is being made.
const NEW_FILE: &str = "MARK.new";
/// What a sum goes over besides the group.
const IN_USE: &[u8] = b"";
const CLOSED: &[u8] = b"closed";

/// What a folder's mark says before its engine is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// There is none, or one that was made and never written.
    Missing,
    Damaged,
    Known {
        acknowledged: u64,
        /// The last session synced all that it wrote, and was told so.
        closed: bool,
    },
}

impl Before {
    pub(super) fn read(data_dir: &Path) -> io::Result<Self> {
        let bytes = match fs::read(data_dir.join(MARK_FILE)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::Missing),
            Err(error) => return Err(error),
        };
        if bytes.is_empty() {
            return Ok(Self::Missing);
        }
        let known = |state| {
            let (number, crc) = bytes.split_first_chunk::<8>()?;
            (sum(number, state).as_slice() == crc).then(|| u64::from_be_bytes(*number))
        };
        Ok(match (known(IN_USE), known(CLOSED)) {
            (Some(acknowledged), _) => Self::Known {
                acknowledged,
                closed: false,
            },
            (None, Some(acknowledged)) => Self::Known {
                acknowledged,
                closed: true,
            },
            (None, None) => Self::Damaged,
        })
    }

    /// Whether what the system holds in memory of the engine's files is surely on the disk too.
    pub(super) fn is_closed(self) -> bool {
        matches!(self, Self::Known { closed: true, .. })
    }

    /// Takes the word back that all is well, durably, before anything is written.
    pub(super) fn take_into_use(self, data_dir: &Path) -> io::Result<()> {
        let Self::Known {
            acknowledged,
            closed: true,
        } = self
        else {
            return Ok(());
        };
        let file = File::options().write(true).open(data_dir.join(MARK_FILE))?;
        write(&file, acknowledged, IN_USE)?;
        file.sync_data()
    }
}

pub(super) struct Mark(File);

impl Mark {
    /// Compares the last group that the store holds, or 0 where it holds nothing, with what was acknowledged.
    pub(super) fn open(data_dir: &Path, before: Before, held: u64) -> Result<Self> {
        let unusable = |error: io::Error| super::folder::unusable(data_dir, &error);
        let dir = data_dir.display();
        let acknowledged = match before {
            Before::Known { acknowledged, .. } => acknowledged,
            Before::Missing if held == 0 => {
                make(data_dir).map_err(unusable)?;
                0
            }
            Before::Missing | Before::Damaged => {
                return Err(Error::storage(format!(
                    "the data folder `{dir}` is incomplete: `{MARK_FILE}` is missing or damaged; restore the folder from a backup"
                )));
            }
        };
        if acknowledged > held {
            return Err(Error::storage(format!(
                "the data folder `{dir}` is damaged: it has lost acknowledged writes (groups {} to {acknowledged}); restore it from a backup",
                held.saturating_add(1)
            )));
        }
        let file = File::options()
            .read(true)
            .write(true)
            .open(data_dir.join(MARK_FILE))
            .map_err(unusable)?;
        Ok(Self(file))
    }

    /// Everything up to this group is durable.
    pub(super) fn acknowledge(&self, group: u64) -> Result<()> {
        self.write(group, IN_USE)
    }

    /// Everything up to this group is in the tree and durable there, and nothing more is written.
    pub(super) fn close(&self, group: u64) -> Result<()> {
        self.write(group, CLOSED)
    }

    fn write(&self, group: u64, state: &[u8]) -> Result<()> {
        write(&self.0, group, state)
            .map_err(|error| Error::storage("the mark cannot be written").caused_by(error))
    }
}

/// The first mark, whole or not there at all: half a one would be damage for ever.
fn make(data_dir: &Path) -> io::Result<()> {
    let new = data_dir.join(NEW_FILE);
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    write(&file, 0, IN_USE)?;
    file.sync_all()?;
    fs::rename(&new, data_dir.join(MARK_FILE))?;
    File::open(data_dir)?.sync_all()
}

fn sum(number: &[u8; 8], state: &[u8]) -> [u8; 4] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(number);
    hasher.update(state);
    hasher.finalize().to_be_bytes()
}

fn write(file: &File, group: u64, state: &[u8]) -> io::Result<()> {
    let number = group.to_be_bytes();
    let mut bytes = [0; 12];
    bytes
        .iter_mut()
        .zip(number.iter().chain(&sum(&number, state)))
        .for_each(|(to, from)| *to = *from);
    file.write_all_at(&bytes, 0)
}
