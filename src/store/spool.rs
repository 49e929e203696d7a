//! Room on disk for what is too long for memory: files that no name leads to, so that nobody else opens them
//! and a kill leaves none behind.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

/// How the name begins that such a file has for a moment.
const PREFIX: &str = "spool.";

/// A new file in `folder`, its name already taken away.
pub(super) fn unnamed(folder: &Path) -> io::Result<File> {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let made = MADE.fetch_add(1, Ordering::Relaxed);
    let path = folder.join(format!("{PREFIX}{}.{made}", std::process::id()));
    // Whoever had this process id before may have been killed between the two steps.
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}

/// Removes what a kill between the two steps left in `folder`, which the caller holds alone.
pub(super) fn clear(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, Write};

    use super::*;
    use crate::store::contract::TempDir;

    #[test]
    fn a_spool_has_no_name_and_what_a_kill_left_is_cleared() {
        let folder = TempDir::new();
        let mut spool = unnamed(folder.path()).unwrap();
        let mut other = unnamed(folder.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        spool.write_all(b"kept").unwrap();
        other.write_all(b"apart").unwrap();
        spool.rewind().unwrap();
        let mut text = String::new();
        spool.read_to_string(&mut text).unwrap();
        assert_eq!(text, "kept");

        fs::write(folder.path().join("spool.1.0"), "left").unwrap();
        fs::write(folder.path().join("MARK"), "stays").unwrap();
        clear(folder.path()).unwrap();
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 1);
    }
}
