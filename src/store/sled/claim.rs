//! A data folder that is being restored: held like one that serves, and empty to everybody else until what
//! goes into it is whole.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use super::folder::{FolderLock, LOCK_FILE, unusable};
use crate::domain::error::{Code, Error, Result};

/// Where the new folder grows, inside the one it will be: on the same disk, and under the same lock.
const STAGING: &str = "restoring";

/// A missing or empty data folder, held alone. Dropped before it is published, it leaves nothing behind.
pub struct Claim {
    data_dir: PathBuf,
    staging: PathBuf,
    made: bool,
    published: bool,
    _lock: FolderLock,
}

fn names(folder: &Path) -> io::Result<Vec<String>> {
    fs::read_dir(folder)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect()
}

impl Claim {
    /// Takes the folder. Fails where it is in use, and where anything is in it.
    pub fn take(data_dir: &Path) -> Result<Self> {
        let failed = |error: io::Error| unusable(data_dir, &error);
        let made = !data_dir.exists();
        let refused = |names: &[String]| {
            let found = names
                .iter()
                .find(|name| !matches!(name.as_str(), LOCK_FILE | STAGING))?;
            let message = format!(
                "the data folder `{}` is not empty (`{found}`): restore into a new folder",
                data_dir.display()
            );
            Some(Error::new(Code::AlreadyExists, message))
        };
        let before = if made {
            Vec::new()
        } else {
            names(data_dir).map_err(failed)?
        };
        // A folder that was never ours gets no lock file; one that is may be in use, which is told first.
        let ours = before.iter().any(|name| name == LOCK_FILE);
        if !ours && let Some(refusal) = refused(&before) {
            return Err(refusal);
        }
        let lock = FolderLock::take(data_dir)?;
        if let Some(refusal) = refused(&names(data_dir).map_err(failed)?) {
            return Err(refusal);
        }
        let claim = Self {
            staging: data_dir.join(STAGING),
            data_dir: data_dir.to_owned(),
            made,
            published: false,
            _lock: lock,
        };
        claim.clear().map_err(failed)?;
        DirBuilder::new()
            .mode(0o700)
            .create(&claim.staging)
            .map_err(failed)?;
        Ok(claim)
    }

    /// The folder to fill.
    pub fn staging(&self) -> &Path {
        &self.staging
    }

    /// Makes the filled folder the data folder. Its engine must be closed. A kill on the way leaves a folder
    /// that is refused as incomplete.
    pub fn publish(mut self) -> Result<()> {
        let publish = || -> io::Result<()> {
            let mut names = names(&self.staging)?;
            // The mark comes last: without it no engine opens the folder.
            names.sort_unstable_by(|a, b| b.cmp(a));
            for name in names.iter().filter(|name| *name != LOCK_FILE) {
                fs::rename(self.staging.join(name), self.data_dir.join(name))?;
            }
            fs::remove_dir_all(&self.staging)?;
            File::open(&self.data_dir)?.sync_all()?;
            match self.data_dir.canonicalize()?.parent() {
                Some(parent) => File::open(parent)?.sync_all(),
                None => Ok(()),
            }
        };
        publish().map_err(|error| unusable(&self.data_dir, &error))?;
        self.published = true;
        Ok(())
    }

    fn clear(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.staging) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.published {
            return;
        }
        // What cannot be removed is no vault: the next restore clears it.
        let _ = self.clear();
        let _ = fs::remove_file(self.data_dir.join(LOCK_FILE));
        if self.made {
            let _ = fs::remove_dir(&self.data_dir);
        }
    }
}
