//! The data folder: whose it is, who may look into it, and what is said where it cannot be used.

use std::{
    fs,
    os::unix::fs::{MetadataExt, symlink},
    path::Path,
    time::{Duration, Instant},
};

use super::{NoLog, Sled, open, options, put, serve};
use crate::{
    domain::error::{Code, Error},
    store::{
        contract::TempDir,
        port::{Health, Scan, Store},
    },
};

#[track_caller]
fn refused(opened: Result<Sled, Error>, folder: &Path, because: &str) {
    let Err(error) = opened else {
        panic!("the folder should have been refused");
    };
    assert_eq!(error.code(), Code::StorageUnavailable);
    let message = error.message();
    assert!(message.contains(&folder.display().to_string()), "{message}");
    assert!(message.contains(because), "{message}");
}

#[tokio::test]
async fn a_closed_store_opens_again_with_all_that_was_in_it() {
    let folder = TempDir::new();
    for round in 0..5_u8 {
        let store = serve(folder.path());
        let found = store.scan(&Scan::prefix(b"\x01", 100)).await.unwrap();
        assert_eq!(found.len(), usize::from(round));
        put(&store, &[1, round], &[round]).await;
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_store_that_was_only_dropped_opens_again() {
    let folder = TempDir::new();
    let store = serve(folder.path());
    put(&store, b"\x01a", b"1").await;
    drop(store);
    // The committer ends by itself, a moment later.
    let dropped = Instant::now();
    let sled = loop {
        match open(folder.path()) {
            Ok(sled) => break sled,
            Err(error) if dropped.elapsed() > Duration::from_secs(60) => panic!("{error}"),
            Err(_) => tokio::task::yield_now().await,
        }
    };
    assert!(sled.read(b"\x01a").unwrap().is_some());
    assert!(!sled.is_empty());
}

#[test]
fn a_new_folder_is_empty() {
    let folder = TempDir::new();
    let below = folder.path().join("a/b/c");
    let sled = open(&below).unwrap();
    assert!(sled.is_empty());
    sled.write_first(vec![(b"\x01"[..].into(), b"header".to_vec())])
        .unwrap();
    assert!(!sled.is_empty());
}

#[test]
fn a_folder_in_use_says_by_whom() {
    let folder = TempDir::new();
    let first = open(folder.path()).unwrap();
    let by = format!("in use by another process (process {})", std::process::id());
    refused(open(folder.path()), folder.path(), &by);
    // By whatever name it is called.
    let link = TempDir::new();
    let link = link.path().join("link");
    symlink(folder.path(), &link).unwrap();
    refused(open(&link), &link, &by);
    drop(first);
    open(folder.path()).unwrap();
}

#[test]
fn a_lock_file_that_nobody_holds_stops_nobody() {
    let folder = TempDir::new();
    fs::write(folder.path().join("LOCK"), "4194304 left by a kill").unwrap();
    let sled = open(folder.path()).unwrap();
    let holder = fs::read_to_string(folder.path().join("LOCK")).unwrap();
    assert_eq!(holder, std::process::id().to_string());
    drop(sled);
}

#[test]
fn what_a_kill_during_recovery_left_is_cleared() {
    let folder = TempDir::new();
    let sled = open(folder.path()).unwrap();
    sled.write_first(vec![(b"\x01a"[..].into(), b"1".to_vec())])
        .unwrap();
    drop(sled);
    let left = folder.path().join("store/snap.0000000000000BAD.generating");
    fs::write(&left, "half a snapshot").unwrap();
    let kept = folder.path().join("store/notes.generating");
    fs::write(&kept, "not the engine's").unwrap();
    let sled = open(folder.path()).unwrap();
    assert!(!left.exists());
    assert!(kept.exists());
    assert!(sled.read(b"\x01a").unwrap().is_some());
}

/// Every file and folder below, with its mode.
fn modes(folder: &Path, found: &mut Vec<(String, bool, u32)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let data = entry.metadata().unwrap();
        let path = entry.path().display().to_string();
        found.push((path, data.is_dir(), data.mode() & 0o777));
        if data.is_dir() {
            modes(&entry.path(), found);
        }
    }
}

#[test]
fn nobody_else_may_look_inside() {
    let above = TempDir::new();
    let folder = above.path().join("data");
    for round in 0..3_u8 {
        let sled = open(&folder).unwrap();
        sled.write_first(vec![([1, round][..].into(), vec![0; 4000])])
            .unwrap();
        let mut found = Vec::new();
        modes(above.path(), &mut found);
        assert!(found.len() >= 6, "{found:?}");
        for (path, is_dir, mode) in found {
            let private = if is_dir { 0o700 } else { 0o600 };
            assert_eq!(mode, private, "{path} has {mode:o}");
        }
    }
}

#[test]
fn a_folder_that_cannot_be_made_is_refused() {
    let above = TempDir::new();
    let file = above.path().join("file");
    fs::write(&file, "not a folder").unwrap();
    refused(open(&file), &file, "cannot be used");
    let below = file.join("sub");
    refused(open(&below), &below, "cannot be used");
    // The engine's own folder is a file.
    fs::write(above.path().join("store"), "").unwrap();
    refused(open(above.path()), above.path(), "cannot be used");
    // The lock is a folder.
    let other = TempDir::new();
    fs::create_dir(other.path().join("LOCK")).unwrap();
    refused(open(other.path()), other.path(), "cannot be used");
}

#[tokio::test]
async fn a_reserve_that_the_disk_does_not_have_refuses_writes_only() {
    let folder = TempDir::new();
    let sled = open(folder.path()).unwrap();
    sled.write_first(vec![(b"\x01a"[..].into(), b"1".to_vec())])
        .unwrap();
    drop(sled);
    let sled = Sled::open(folder.path(), &options(u64::MAX)).unwrap();
    let store = sled.serve(Box::new(NoLog)).unwrap();
    let Health::DiskLow { free_bytes } = store.health() else {
        panic!("{:?}", store.health());
    };
    assert!(free_bytes > 0);
    let refused = store.begin(&[super::LOCK]).await.map(drop).unwrap_err();
    assert_eq!(refused.code(), Code::StorageUnavailable);
    assert!(store.get(b"\x01a").await.unwrap().is_some());
    store.close().await.unwrap();
}

/// What the disk does not let one read is no damage: nobody shall put a backup over a vault whose disk is full.
#[test]
fn what_the_system_refuses_is_not_called_damage() {
    let log = |folder: &Path| folder.join("store/db");
    let settings = |folder: &Path| folder.join("store/conf");
    let segment = |folder: &Path| folder.join("journal/1");
    let mark = |folder: &Path| folder.join("MARK");
    let places: [fn(&Path) -> std::path::PathBuf; 4] = [log, settings, segment, mark];
    for place in places {
        let folder = TempDir::new();
        let sled = open(folder.path()).unwrap();
        sled.write_first(vec![(b"\x01a"[..].into(), b"1".to_vec())])
            .unwrap();
        drop(sled);
        // A folder in its place: the system says that it cannot be read so.
        let path = place(folder.path());
        let aside = folder.path().join("aside");
        fs::rename(&path, &aside).unwrap();
        fs::create_dir(&path).unwrap();
        let error = open(folder.path()).err().expect("it opened");
        assert!(error.message().contains("cannot be used"), "{error}");
        assert!(!error.message().contains("restore"), "{error}");
        fs::remove_dir(&path).unwrap();
        fs::rename(&aside, &path).unwrap();
        assert!(
            open(folder.path())
                .unwrap()
                .read(b"\x01a")
                .unwrap()
                .is_some()
        );
    }
}

/// A kill or a full disk in between leaves these.
#[test]
fn a_first_start_that_was_cut_short_is_begun_again() {
    let settings_alone = |folder: &Path| {
        fs::create_dir_all(folder.join("store/blobs")).unwrap();
        fs::write(folder.join("store/conf"), "segment_si").unwrap();
    };
    let empty_log = |folder: &Path| {
        drop(open(folder).unwrap());
        fs::remove_file(folder.join("MARK")).unwrap();
    };
    let empty_mark = |folder: &Path| {
        drop(open(folder).unwrap());
        fs::write(folder.join("MARK"), "").unwrap();
    };
    let half_mark = |folder: &Path| {
        drop(open(folder).unwrap());
        fs::remove_file(folder.join("MARK")).unwrap();
        fs::write(folder.join("MARK.new"), "half").unwrap();
    };
    let cuts: [fn(&Path); 4] = [settings_alone, empty_log, empty_mark, half_mark];
    for (at, cut) in cuts.into_iter().enumerate() {
        let folder = TempDir::new();
        cut(folder.path());
        let sled = open(folder.path()).unwrap_or_else(|error| panic!("{at}: {error}"));
        assert!(sled.is_empty());
        sled.write_first(vec![(b"\x01a"[..].into(), b"1".to_vec())])
            .unwrap();
        drop(sled);
        let sled = open(folder.path()).unwrap();
        assert!(sled.read(b"\x01a").unwrap().is_some(), "{at}");
    }
}

/// With the engine's folder and the mark left behind, the journal alone tells that there was a vault.
#[test]
fn a_journal_without_its_store_is_no_new_folder() {
    let whole = TempDir::new();
    for number in 0..4 {
        let sled = open(whole.path()).unwrap();
        sled.write_first(vec![([1, number][..].into(), b"1".to_vec())])
            .unwrap();
    }
    let missing: [&[&str]; 2] = [&["store", "MARK"], &["store/db", "MARK"]];
    for names in missing {
        let folder = whole.copied();
        for name in names {
            let path = folder.path().join(name);
            match path.is_dir() {
                true => fs::remove_dir_all(path).unwrap(),
                false => fs::remove_file(path).unwrap(),
            }
        }
        // The first look must not make it a new one for the second.
        for _ in 0..2 {
            refused(open(folder.path()), folder.path(), "incomplete");
        }
    }
    // A mark that is lost under groups is missing still, and an empty one as well.
    let folder = whole.copied();
    fs::write(folder.path().join("MARK"), "").unwrap();
    refused(open(folder.path()), folder.path(), "`MARK` is missing");
}
