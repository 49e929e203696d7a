//! A file that appears under its name only when it is whole.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};

/// A file that is not whole yet, beside the one it will be. Dropped before that, it is removed.
pub(super) struct Partial {
    pub(super) path: PathBuf,
    pub(super) out: BufWriter<File>,
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

impl Partial {
    /// The file that is to become `target`, readable by its owner alone.
    pub(super) fn create(target: &Path) -> io::Result<Self> {
        let name = target
            .file_name()
            .ok_or_else(|| io::Error::other("it is no name of a file"))?;
        let name = format!(".{}.{}.partial", name.to_string_lossy(), std::process::id());
        let path = folder(target).join(name);
        let file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        Ok(Self {
            path,
            out: BufWriter::new(file),
        })
    }

    /// Puts what was written on the disk.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.out.flush()?;
        self.out.get_ref().sync_all()
    }

    /// Gives the file its name; one that exists is replaced with `force` only.
    pub(super) fn publish(&self, target: &Path, force: bool) -> io::Result<()> {
        if force {
            fs::rename(&self.path, target)?;
        } else {
            // Somebody else may have made the file meanwhile.
            match renameat_with(CWD, &self.path, CWD, target, RenameFlags::NOREPLACE) {
                // Not every file system can do that.
                Err(Errno::INVAL | Errno::NOSYS) if target.symlink_metadata().is_err() => {
                    fs::rename(&self.path, target)?;
                }
                outcome => outcome?,
            }
        }
        File::open(folder(target))?.sync_all()
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Published, there is nothing under this name any more.
        let _ = fs::remove_file(&self.path);
    }
}
