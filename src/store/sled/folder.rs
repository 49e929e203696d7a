//! The data folder: one process at a time, readable by its owner alone.

use std::{
    fs::{self, DirBuilder, File, Permissions, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use crate::domain::error::{Error, Result};

pub(super) const LOCK_FILE: &str = "LOCK";

/// The right to use a data folder. The operating system takes it back when the process ends, however it ends.
pub(super) struct FolderLock(#[expect(dead_code, reason = "held for its lock")] File);

impl FolderLock {
    pub(super) fn take(data_dir: &Path) -> Result<Self> {
        let unusable = |error: io::Error| unusable(data_dir, &error);
        make(data_dir).map_err(unusable)?;
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(data_dir.join(LOCK_FILE))
            .map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                let holder = holder
                    .trim()
                    .parse::<u32>()
                    .map_or(String::new(), |pid| format!(" (process {pid})"));
                return Err(in_use(data_dir, &holder));
            }
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| write!(file, "{}", std::process::id()))
            .map_err(unusable)?;
        Ok(Self(file))
    }
}

/// Makes a folder with those above it, and makes their names durable: a power cut must not take the whole folder.
fn make(folder: &Path) -> io::Result<()> {
    let missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
    let made: Vec<_> = folder.ancestors().take_while(missing).collect();
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    for path in made {
        let above = path.parent().filter(|above| !above.as_os_str().is_empty());
        File::open(above.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

/// Makes the engine's folder and clears what a kill during recovery left in it.
pub(super) fn prepare(engine: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(engine)?;
    for entry in fs::read_dir(engine)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Takes what the engine made in its folder, and the folder itself, away from everyone but the owner.
pub(super) fn keep_private(engine: &Path) -> io::Result<()> {
    fs::set_permissions(engine, Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(engine)? {
        let entry = entry?;
        let mode = if entry.file_type()?.is_dir() {
            0o700
        } else {
            0o600
        };
        fs::set_permissions(entry.path(), Permissions::from_mode(mode))?;
    }
    Ok(())
}

pub(super) fn in_use(data_dir: &Path, holder: &str) -> Error {
    Error::storage(format!(
        "the data folder `{}` is in use by another process{holder}",
        data_dir.display()
    ))
}

pub(super) fn unusable(data_dir: &Path, error: &io::Error) -> Error {
    Error::storage(format!(
        "the data folder `{}` cannot be used: {error}",
        data_dir.display()
    ))
}
