//! Real file systems of the test's own, where it may mount any: power cuts on a loop device.
//!
//! The vault writes to ext4 on a loop device over an image file, and the image is copied while the vault is stopped.
//! The copy is what a disk would hold that takes every write at once and keeps it: lost is what the file system had
//! not written to the device by then, pages and its own journal alike. Mounting the copy replays that journal. What
//! this can't show is a device that loses writes which it took and was not told to flush; the shim does that.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use super::{
    again::{callers, dev},
    book::STARTED,
    dice::{Dice, amount},
    kit::run,
    power::{hold, made},
    shim::{Shim, Sync},
    traffic::{Habits, Traffic},
};
use crate::support::{TempDir, freeze, signal};

/// More than a development vault's reserve. Most of it is a hole.
const IMAGE_BYTES: u64 = 512 * 1024 * 1024;

/// A mounted file system, unmounted at the end.
pub struct Mounted(PathBuf);

impl Mounted {
    /// Mounts with these arguments, or says why it cannot be.
    fn mount(args: &[&str], from: &Path, at: &Path) -> Result<Self, String> {
        fs::create_dir_all(at).unwrap();
        said(Command::new("mount").args(args).args([from, at]))?;
        Ok(Self(at.to_owned()))
    }

    /// An image of ext4. Its journal commits by itself so seldom that nothing is on the disk by luck, and a rename
    /// is not taken for a wish to sync.
    fn image(image: &Path, at: &Path) -> Result<Self, String> {
        Self::mount(
            &["-t", "ext4", "-o", "loop,commit=300,noauto_da_alloc"],
            image,
            at,
        )
    }

    /// A small file system in memory.
    pub fn in_memory(bytes: u64, at: &Path) -> Result<Self, String> {
        let size = format!("size={bytes}");
        Self::mount(&["-t", "tmpfs", "-o", &size], Path::new("tmpfs"), at)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // A vault that was killed a moment ago may hold it still: detached now, gone with the last file.
        let _ = said(Command::new("umount").arg("--lazy").arg(&self.0));
    }
}

fn said(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    if which(&name).is_none() {
        return Err(format!("there is no `{name}` here"));
    }
    let ended = run(command);
    match ended.code {
        Some(0) => Ok(()),
        _ => Err(format!("{name}: {}", ended.stderr.trim())),
    }
}

fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = path.split(':').chain(["/usr/sbin", "/sbin"]);
    folders
        .map(|folder| Path::new(folder).join(program))
        .find(|file| file.is_file())
}

fn new_image(at: &Path) -> Result<(), String> {
    fs::File::create(at).unwrap().set_len(IMAGE_BYTES).unwrap();
    said(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(at))
}

// INVARIANT (ack-durable)
#[tokio::test]
async fn nothing_acknowledged_is_lost_by_power_cuts_of_a_mounted_disk() {
    let mut dice = Dice::seeded();
    let folder = TempDir::new();
    let (image, copied) = (folder.path().join("disk"), folder.path().join("copy"));
    let at = folder.path().join("at");
    let disk = match new_image(&image).and_then(|()| Mounted::image(&image, &at)) {
        Ok(disk) => disk,
        Err(why) => {
            println!("skipped: no file system can be mounted here: {why}");
            return;
        }
    };
    let data_dir = disk.path().join("data");
    let (keys, mut book) = made(&data_dir).await;
    for round in 0..amount(2, 100) {
        let vault = keys.open(&data_dir);
        book.own_records += STARTED;
        let (agent, admin) = callers(&vault);
        let traffic = Traffic::start(&agent, &admin, book, &mut dice, Habits::default());
        let longest = Duration::from_millis(300);
        traffic.worked(10, longest, &mut dice).await;
        freeze(vault.pid());
        let mut then = traffic.look(Clone::clone);
        // Knows about holes.
        said(Command::new("cp").arg(&image).arg(&copied)).unwrap();
        // What the clients go on with is the disk that saw no cut.
        signal(vault.pid(), "CONT");
        signal(vault.pid(), "KILL");
        book = traffic.ended().await;
        drop(vault);

        let acknowledged = then.acknowledged.len();
        let left = Mounted::image(&copied, &folder.path().join("left")).unwrap();
        drop(hold(&keys, &left.path().join("data"), &mut then).await);
        drop(hold(&keys, &data_dir, &mut book).await);
        println!("cut {round}: {acknowledged} operations were acknowledged");
        assert!(acknowledged > 0);
    }
}

/// The same disk without syncs: what was acknowledged is in the vault's process and in memory, and not on it.
#[tokio::test]
async fn a_mounted_disk_without_fdatasync_is_found_out() {
    let mut dice = Dice::seeded();
    let folder = TempDir::new();
    let (image, copied) = (folder.path().join("disk"), folder.path().join("copy"));
    let at = folder.path().join("at");
    let disk = match new_image(&image).and_then(|()| Mounted::image(&image, &at)) {
        Ok(disk) => disk,
        Err(why) => {
            println!("skipped: no file system can be mounted here: {why}");
            return;
        }
    };
    let data_dir = disk.path().join("data");
    let (keys, book) = made(&data_dir).await;
    let shim = Shim::over(&data_dir, Sync::TakenOut);
    let vault = keys.open_by(shim.load(dev(&data_dir)), &data_dir);
    let (agent, admin) = callers(&vault);
    let traffic = Traffic::start(&agent, &admin, book, &mut dice, Habits::default());
    traffic
        .worked(20, Duration::from_millis(100), &mut dice)
        .await;
    freeze(vault.pid());
    let mut then = traffic.look(Clone::clone);
    said(Command::new("cp").arg(&image).arg(&copied)).unwrap();
    signal(vault.pid(), "KILL");
    drop(traffic.ended().await);
    drop(vault);
    let left = Mounted::image(&copied, &folder.path().join("left")).unwrap();
    let data = left.path().join("data");
    let held = tokio::spawn(async move { drop(hold(&keys, &data, &mut then).await) }).await;
    assert!(held.is_err(), "nothing was found missing");
}
