//! A disk under the test's hand: a library that is loaded into the vault, records what it does to its folder, and
//! fails where the test says so. It needs no root and no device; see shim.c.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    dice::Dice,
    disk::{Disk, Fate},
    kit::run,
};
use crate::support::TempDir;

/// What the shim can be told, and tells. The order is that of `struct control` in shim.c.
#[derive(Debug, Clone, Copy)]
pub enum Word {
    SyncMode,
    /// Microseconds that every sync takes longer.
    SyncDelay,
    /// The error of writes, by its number; 0 for none.
    WriteError,
    /// Bytes that are written still before the error.
    WriteBudget,
    /// 1 where the error is for writes that make a file longer, as on a full disk.
    OnlyGrowth,
    /// The error of whatever makes, renames, removes, or opens to write.
    OpenError,
    /// Syncs so far.
    Syncs,
    /// Errors so far.
    Faults,
    /// Files of which the system's memory was dropped, so far.
    Dropped,
}

const WORDS: u64 = 9;

/// What becomes of `fsync` and `fdatasync`.
#[derive(Debug, Clone, Copy)]
pub enum Sync {
    Real,
    /// Recorded, and not done: the recording is the disk.
    Recorded,
    /// Neither: they say that all is well and do nothing.
    TakenOut,
    /// EIO.
    Fails,
    /// EIO for the tree's log, and real for the journal.
    FailsInTree,
}

/// The recorder of a data folder.
pub struct Shim {
    kept: TempDir,
    library: PathBuf,
    root: PathBuf,
    before: Disk,
    control: File,
}

impl Shim {
    /// Takes what is in the folder now for durable.
    pub fn over(root: &Path, sync: Sync) -> Self {
        let kept = TempDir::new();
        let library = kept.path().join("shim.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/survival/shim.c");
        let mut compiler = Command::new("cc");
        compiler
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([&library, &source])
            .arg("-lpthread");
        let compiled = run(&mut compiler);
        assert_eq!(compiled.code, Some(0), "{compiled:?}");
        fs::create_dir_all(root).unwrap();
        let root = fs::canonicalize(root).unwrap();
        File::create_new(kept.path().join("recording")).unwrap();
        let control = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(kept.path().join("control"))
            .unwrap();
        control.set_len(8 * WORDS).unwrap();
        let shim = Self {
            kept,
            library,
            before: Disk::of(&root),
            root,
            control,
        };
        shim.set(Word::SyncMode, sync as i64);
        shim
    }

    /// Loads it into a vault that is not started yet.
    pub fn load(&self, mut command: Command) -> Command {
        command
            .env("LD_PRELOAD", &self.library)
            .env("SHIM_ROOT", &self.root)
            .env("SHIM_LOG", self.recording())
            .env("SHIM_CONTROL", self.kept.path().join("control"));
        command
    }

    pub fn set(&self, word: Word, value: i64) {
        let at = 8 * word as u64;
        self.control.write_all_at(&value.to_ne_bytes(), at).unwrap();
    }

    pub fn get(&self, word: Word) -> i64 {
        let mut bytes = [0; 8];
        self.control
            .read_exact_at(&mut bytes, 8 * word as u64)
            .unwrap();
        i64::from_ne_bytes(bytes)
    }

    fn recording(&self) -> PathBuf {
        self.kept.path().join("recording")
    }

    /// As after a failed sync: from now on a vault finds the folder in the system's memory, and what a failed sync
    /// lost is on no disk. It comes to light in each file whose memory the vault has dropped.
    pub fn show_the_disk(&self, dice: &mut Dice, command: Command) -> Command {
        let disk = self.kept.path().join("disk");
        self.cut(self.moment(), Fate::Settled, dice, &disk);
        let mut command = self.load(command);
        command.env("SHIM_DISK", disk);
        command
    }

    /// How long the recording is: a moment to cut the power at.
    pub fn moment(&self) -> u64 {
        fs::metadata(self.recording()).unwrap().len()
    }

    /// The disk at that moment.
    pub fn disk_at(&self, moment: u64) -> Disk {
        let mut disk = self.before.clone();
        let recording = fs::read(self.recording()).unwrap();
        disk.replay(&self.root, &recording[..moment as usize]);
        disk
    }

    /// Cuts the power at that moment and writes what is left on the disk to a folder.
    pub fn cut(&self, moment: u64, fate: Fate, dice: &mut Dice, to: &Path) {
        self.disk_at(moment).after_cut(fate, dice).write(to);
    }
}
