//! The journal in front of the tree: nothing acknowledged is lost between the two, nothing old comes back, and
//! readers never see which of them a value is in.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::{Sled, open};
use crate::{
    domain::error::{Code, Error},
    store::{
        contract::TempDir,
        local::Backend,
        overlay::WriteSet,
        port::{BARE, Health, Key, Scan, Store, Value},
        sled::checkpoint::Limits,
    },
};

fn changes(pairs: &[(&[u8], Option<&[u8]>)]) -> WriteSet {
    let owned = pairs.iter().map(|(key, value)| {
        let value = value.map(Value::from);
        (Key::from_slice(key), value)
    });
    owned.collect()
}

fn append(sled: &Sled, key: &[u8], value: &[u8]) {
    sled.apply(&changes(&[(key, Some(value))])).unwrap();
}

fn segment(folder: &Path, name: &str) -> PathBuf {
    folder.join("journal").join(name)
}

fn flip(path: &Path, at: u64) {
    let file = fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

#[test]
fn what_is_only_in_the_journal_is_there_after_a_kill() {
    let folder = TempDir::new();
    let sled = open(folder.path()).unwrap();
    append(&sled, b"\x01a", b"old");
    append(&sled, b"\x01b", b"gone");
    append(&sled, b"\x81bulky", &[7; 10_000]);
    append(&sled, b"\x01a", b"new");
    sled.apply(&changes(&[(b"\x01b", None)])).unwrap();
    sled.sync().unwrap();
    assert!(sled.core.tree.is_empty(), "no checkpoint was made");
    drop(sled);
    // A second kill right after the first start loses nothing either.
    for _ in 0..2 {
        let sled = open(folder.path()).unwrap();
        assert_eq!(sled.read(b"\x01a").unwrap().unwrap()[..], b"new"[..]);
        assert_eq!(sled.read(b"\x01b").unwrap(), None);
        assert_eq!(sled.read(b"\x81bulky").unwrap().unwrap().len(), 10_000);
    }
}

#[test]
fn segments_take_turns_and_old_groups_never_come_back() {
    let folder = TempDir::new();
    for round in 0..12_u8 {
        let sled = open(folder.path()).unwrap();
        for earlier in 0..round {
            let found = sled.read(&[1, earlier]).unwrap();
            assert_eq!(found.is_some(), earlier % 3 != 1, "{earlier} in {round}");
            assert_eq!(sled.read(b"\x02last").unwrap().unwrap()[..], [round - 1]);
        }
        // Long frames in one turn and short ones in the next, so that the ends of old ones stay behind them.
        let padding = vec![round; usize::from(12 - round) * 50];
        append(&sled, b"\x03padding", &padding);
        append(&sled, &[1, round], b"here");
        if round % 2 == 0 {
            sled.sync().unwrap();
            sled.core.checkpoint().unwrap();
        }
        if round % 3 == 1 {
            sled.apply(&changes(&[(&[1, round], None)])).unwrap();
        }
        append(&sled, b"\x02last", &[round]);
        if round % 4 == 3 {
            sled.sync().unwrap();
            sled.core.checkpoint().unwrap();
            append(&sled, b"\x03padding", b"");
        }
        sled.sync().unwrap();
    }
}

/// Three groups, each of the same length; gives back the length of a frame.
fn three_groups(folder: &Path, synced: bool) -> u64 {
    let sled = open(folder).unwrap();
    for number in 1..=3 {
        append(&sled, &[1, number], &[number; 20]);
        if synced {
            sled.sync().unwrap();
        }
    }
    24 + 2 + 4 + 2 + 20
}

#[test]
fn a_torn_end_that_nobody_was_told_of_is_dropped() {
    let frame = 52;
    for cut in [3 * frame - 1, 2 * frame + 24, 2 * frame + 3, 2 * frame] {
        let folder = TempDir::new();
        assert_eq!(three_groups(folder.path(), false), frame);
        let file = fs::File::options()
            .write(true)
            .open(segment(folder.path(), "0"))
            .unwrap();
        assert_eq!(file.metadata().unwrap().len(), 3 * frame);
        file.set_len(cut).unwrap();
        let sled = open(folder.path()).unwrap();
        assert!(sled.read(&[1, 2]).unwrap().is_some());
        assert_eq!(sled.read(&[1, 3]).unwrap(), None);
    }
}

#[test]
fn a_damaged_journal_that_was_acknowledged_is_refused() {
    let frame = three_groups(TempDir::new().path(), true);
    for at in 0..3 * frame {
        let folder = TempDir::new();
        three_groups(folder.path(), true);
        flip(&segment(folder.path(), "0"), at);
        let error = open(folder.path()).err().expect("it opened");
        assert_eq!(error.code(), Code::StorageUnavailable);
        assert!(
            error.message().contains("lost acknowledged writes"),
            "{error}"
        );
    }
    for missing in ["0", "1"] {
        let folder = TempDir::new();
        three_groups(folder.path(), true);
        fs::remove_file(segment(folder.path(), missing)).unwrap();
        // The other one was never written to.
        assert_eq!(open(folder.path()).is_ok(), missing == "1");
    }
}

#[test]
fn what_an_earlier_session_left_behind_a_torn_group_stays_dead() {
    let folder = TempDir::new();
    let frame = three_groups(folder.path(), false);
    // The second group is torn; the third is whole behind it, and was never acknowledged.
    flip(&segment(folder.path(), "0"), frame + 30);
    let sled = open(folder.path()).unwrap();
    assert_eq!(sled.read(&[1, 2]).unwrap(), None);
    // The next groups are numbered 2 and up, and end where the old third one begins.
    append(&sled, &[1, 9], &[9; 20 + 52]);
    drop(sled);
    let sled = open(folder.path()).unwrap();
    assert!(sled.read(&[1, 9]).unwrap().is_some());
    assert_eq!(sled.read(&[1, 3]).unwrap(), None);
}

#[test]
fn an_old_turn_behind_a_dropped_frame_hides_no_acknowledged_group() {
    let folder = TempDir::new();
    let sled = open(folder.path()).unwrap();
    let [mut stale, mut late] = [Vec::new(), Vec::new()];
    for (turn, groups) in [(0, 1..=3), (1, 4..=6), (2, 7..=8)] {
        for number in groups {
            append(&sled, &[1, number], &[number; 20]);
        }
        if turn < 2 {
            sled.sync().unwrap();
        }
        match turn {
            0 => {
                sled.core.checkpoint().unwrap();
                stale = fs::read(segment(folder.path(), "0")).unwrap();
            }
            // As if killed in the checkpoint: frozen, and never in the tree.
            1 => {
                sled.core.pending.freeze();
                sled.core.switch_segments();
            }
            _ => late = fs::read(segment(folder.path(), "0")).unwrap(),
        }
    }
    let frame = 52;
    assert_eq!((stale.len(), late.len()), (3 * frame, 3 * frame));
    // The last two writes were not synced yet: the disk kept the second one and not the first.
    let kept = [&stale[..frame], &late[frame..]].concat();
    let copy = folder.copied();
    fs::write(segment(copy.path(), "0"), kept).unwrap();
    let sled = open(copy.path()).unwrap();
    for number in 1..=8 {
        let found = sled.read(&[1, number]).unwrap();
        assert_eq!(found.is_some(), number <= 6, "{number}");
    }
}

#[test]
fn a_lost_segment_under_later_groups_is_refused() {
    let folder = TempDir::new();
    three_groups(folder.path(), true);
    let sled = open(folder.path()).unwrap();
    append(&sled, b"\x01x", b"first segment");
    sled.sync().unwrap();
    // As if killed in the checkpoint: frozen, and never in the tree.
    sled.core.pending.freeze();
    sled.core.switch_segments();
    append(&sled, b"\x01y", b"second segment");
    sled.sync().unwrap();
    drop(sled);
    let copy = folder.copied();
    assert!(open(copy.path()).unwrap().read(b"\x01y").unwrap().is_some());
    let copy = folder.copied();
    fs::write(segment(copy.path(), "0"), b"").unwrap();
    let error = open(copy.path()).err().expect("it opened");
    assert!(
        error.message().contains("lost acknowledged writes"),
        "{error}"
    );
}

#[test]
fn a_checkpoint_that_fails_ends_writing_and_not_reading() {
    let folder = TempDir::new();
    let sled = open(folder.path()).unwrap();
    append(&sled, b"\x81key", &[1; 10_000]);
    sled.core.checkpoint().unwrap();
    // Its pieces are found by its header, so it cannot be written over.
    sled.core.tree.db().insert(b"\x81key", &[9, 9][..]).unwrap();
    append(&sled, b"\x81key", &[2; 10_000]);
    append(&sled, b"\x01other", b"2");
    sled.sync().unwrap();
    sled.core.checkpoint().unwrap_err();
    assert!(sled.apply(&changes(&[(b"\x01a", None)])).is_err());
    assert_eq!(sled.read(b"\x81key").unwrap().unwrap()[..], [2; 10_000]);
    assert_eq!(sled.read(b"\x01other").unwrap().unwrap()[..], b"2"[..]);
}

#[test]
fn a_sync_after_one_that_failed_in_a_checkpoint_acknowledges_nothing() {
    let folder = TempDir::new();
    let sled = open(folder.path()).unwrap();
    append(&sled, b"\x01a", b"1");
    // The system tells of a write that failed to one sync alone. This file cannot be synced.
    let segment = sled
        .core
        .replace_active(Arc::new(fs::File::open("/dev/null").unwrap()));
    sled.core.checkpoint().unwrap_err();
    sled.core.replace_active(segment);
    sled.sync().unwrap_err();
    assert!(sled.core.failure().unwrap().contains("failed to sync"));
}

#[tokio::test]
async fn a_checkpoint_that_fails_by_itself_shows_before_the_next_write() {
    let folder = TempDir::new();
    let sled = open(folder.path()).unwrap();
    sled.core.tree.db().insert(b"\x81key", &[9, 9][..]).unwrap();
    let store = sled.serve(Box::new(super::NoLog)).unwrap();
    super::put(&store, b"\x81key", &[2; 10_000]).await;
    let failed = async {
        while !matches!(store.health(), Health::Failed { .. }) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), failed)
        .await
        .expect("it never showed");
    assert!(store.begin(&[super::LOCK]).await.is_err());
    let found = store.get(b"\x81key").await.unwrap().unwrap();
    assert_eq!(found[..], [2; 10_000]);
    store.close().await.unwrap_err();
}

#[test]
fn scans_are_as_if_there_were_only_one_table() {
    scans_are_as_if_there_were_one_table_of(1);
}

#[test]
fn scans_of_bare_keys_are_as_if_there_were_only_one_table() {
    scans_are_as_if_there_were_one_table_of(BARE);
}

fn scans_are_as_if_there_were_one_table_of(kind: u8) {
    let folder = TempDir::new();
    let sled = open(folder.path()).unwrap();
    let mut model = std::collections::BTreeMap::<Key, Value>::new();
    let mut frozen = None;
    let mut random = 0x1234_5678_9abc_def1_u64;
    let mut next = |below: u64| {
        random = random
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (random >> 33) % below
    };
    for step in 0_u64..400 {
        let mut set = WriteSet::new();
        for _ in 0..=next(4) {
            let key = Key::from_slice(&[kind, next(60) as u8]);
            let value = (next(3) > 0).then(|| match kind {
                BARE => Value::default(),
                _ => Value::from(&step.to_be_bytes()[..]),
            });
            set.insert(key, value);
        }
        sled.apply(&set).unwrap();
        for (key, change) in set {
            match change {
                Some(value) => drop(model.insert(key, value)),
                None => drop(model.remove(&key)),
            }
        }
        match step % 7 {
            0 => sled.core.checkpoint().unwrap(),
            // In the middle of a checkpoint: in front of the tree, and then in both.
            2 => frozen = Some(sled.core.freeze()),
            4 => sled
                .core
                .tree
                .apply(frozen.as_ref().unwrap(), 0, || ())
                .unwrap(),
            5 => {
                frozen = None;
                sled.core.pending.release();
            }
            _ => {}
        }
        let (low, high) = (next(60) as u8, next(62) as u8);
        for limit in [1, 2, 7, 100] {
            for reverse in [false, true] {
                let scan = Scan {
                    start: Key::from_slice(&[kind, low]),
                    end: Key::from_slice(&[kind, high]),
                    limit,
                    reverse,
                };
                let inside = model
                    .iter()
                    .filter(|(key, _)| **key >= scan.start && **key < scan.end)
                    .map(|(key, value)| (key.clone(), value.clone()));
                let expected: Vec<_> = if reverse {
                    inside.rev().take(limit).collect()
                } else {
                    inside.take(limit).collect()
                };
                assert_eq!(sled.read_range(&scan).unwrap(), expected, "step {step}");
            }
        }
        for key in 0..60 {
            let key = Key::from_slice(&[kind, key]);
            assert_eq!(sled.read(&key).unwrap(), model.get(&key).cloned());
        }
    }
}

/// A store with some groups in the tree and their segments, as a kill leaves it: nothing is left to carry over.
fn carried_over(folder: &Path) -> Sled {
    let sled = open(folder).unwrap();
    for number in 1..=3 {
        append(&sled, &[1, number], &[number; 20]);
    }
    sled.sync().unwrap();
    sled.core.checkpoint().unwrap();
    append(&sled, &[1, 4], &[4; 20]);
    append(&sled, &[1, 1], b"newer");
    sled.sync().unwrap();
    sled.core.checkpoint().unwrap();
    sled
}

/// INVARIANT (ack-durable): the group's number in the tree is no proof that the groups are.
#[test]
fn what_the_segments_hold_is_carried_over_again_whatever_the_tree_says() {
    let folder = TempDir::new();
    let sled = carried_over(folder.path());
    for number in 2..=4 {
        sled.core.tree.db().remove([1, number]).unwrap();
    }
    drop(sled);
    for round in 0..3 {
        let sled = open(folder.path()).unwrap();
        assert_eq!(sled.read(&[1, 1]).unwrap().unwrap()[..], b"newer"[..]);
        for number in 2..=4 {
            let found = sled.read(&[1, number]).unwrap();
            assert_eq!(found.as_deref(), Some(&[number; 20][..]), "round {round}");
        }
    }
}

#[tokio::test]
async fn a_store_that_was_closed_in_order_is_taken_as_it_is() {
    let folder = TempDir::new();
    drop(carried_over(folder.path()));
    let store = super::serve(folder.path());
    super::put(&store, &[1, 5], b"5").await;
    store.close().await.unwrap();
    drop(store);
    let sled = open(folder.path()).unwrap();
    let syncs = sled
        .core
        .tree
        .syncs
        .load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(syncs, 0, "something was carried over");
    assert!(sled.read(&[1, 5]).unwrap().is_some());
    drop(sled);
    // Opened since, and not closed: what the tree has lost comes back.
    let sled = open(folder.path()).unwrap();
    sled.core.tree.db().remove([1, 5]).unwrap();
    drop(sled);
    let sled = open(folder.path()).unwrap();
    assert!(sled.read(&[1, 5]).unwrap().is_some());
}

/// A segment of long ago beside one that goes on after the tree: its groups over the tree's would undo newer ones.
#[test]
fn groups_that_do_not_lead_up_to_the_tree_stay_dead() {
    let folder = TempDir::new();
    let sled = carried_over(folder.path());
    drop(sled);
    // Each start takes the first segment anew, so the second one keeps the groups 4 and 5.
    for (key, value) in [(&[1, 1], b"second"), (&[1, 9], b"third!")] {
        let sled = open(folder.path()).unwrap();
        append(&sled, key, value);
        sled.sync().unwrap();
        drop(sled);
    }
    for _ in 0..2 {
        let sled = open(folder.path()).unwrap();
        assert_eq!(sled.read(&[1, 1]).unwrap().unwrap()[..], b"second"[..]);
        assert_eq!(sled.read(&[1, 9]).unwrap().unwrap()[..], b"third!"[..]);
    }
}

/// Commits go on beside a long snapshot, for as much as is allowed then, and wait only beyond that.
#[test]
fn a_snapshot_holds_up_no_commit_before_its_own_limit() {
    const GROUP: usize = 32 << 10;
    const GROUPS: usize = 64;
    let limits = Limits {
        checkpoint: GROUP as u64,
        snapshot: 16 * GROUP as u64,
    };
    let folder = TempDir::new();
    let mut sled = open(folder.path()).unwrap();
    Arc::get_mut(&mut sled.core).unwrap().limit(limits);
    append(&sled, &[1, 0], b"old");
    let written = AtomicUsize::new(0);
    let write = || {
        for number in 1..=GROUPS {
            append(&sled, &[1, number as u8], &[number as u8; GROUP]);
            written.fetch_add(1, Ordering::SeqCst);
        }
    };
    std::thread::scope(|scope| {
        let mut visited = 0;
        let mut visit = |_: &[u8], _: &[u8]| {
            visited += 1;
            scope.spawn(write);
            let begun = Instant::now();
            // Far over what a checkpoint allows.
            while written.load(Ordering::SeqCst) < 15 {
                if begun.elapsed() > Duration::from_secs(60) {
                    return Err(Error::storage("commits wait for the snapshot"));
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            assert!(written.load(Ordering::SeqCst) <= 17, "there is no limit");
            Ok(())
        };
        let outcome = sled.snapshot(&mut visit);
        // Whoever waits goes on.
        sled.core.checkpoint().unwrap();
        outcome.unwrap();
        assert_eq!(visited, 1, "it saw what came after it");
    });
    sled.sync().unwrap();
    sled.core.checkpoint().unwrap();
    for number in 1..=GROUPS {
        assert!(sled.read(&[1, number as u8]).unwrap().is_some());
    }
}

/// A group that takes eight MiB of journal.
const LARGE: usize = 8 << 20;

fn large(tag: u8) -> WriteSet {
    let key = |number: usize| Key::from_slice(&[2, tag, (number >> 8) as u8, number as u8]);
    (0..LARGE / 4000 + 1)
        .map(|number| (key(number), Some(Value::from(&[tag; 4000][..]))))
        .collect()
}

#[test]
fn a_segment_that_was_needed_once_is_shortened_again() {
    let folder = TempDir::new();
    let sled = open(folder.path()).unwrap();
    let lengths =
        || ["0", "1"].map(|name| fs::metadata(segment(folder.path(), name)).unwrap().len());
    for number in 0..2 {
        sled.apply(&large(number)).unwrap();
        sled.sync().unwrap();
        sled.core.checkpoint().unwrap();
    }
    assert!(lengths().iter().all(|length| *length > LARGE as u64));
    let copy = folder.copied();
    for round in 0..200_u8 {
        append(&sled, &[1, round], &[round; 20]);
        sled.sync().unwrap();
        // Not at once: the next burst would have to make it longer again.
        if round == 2 {
            assert!(lengths().iter().all(|length| *length > LARGE as u64));
        }
        sled.core.checkpoint().unwrap();
    }
    assert!(
        lengths().iter().all(|length| *length <= LARGE as u64),
        "{:?}",
        lengths()
    );
    drop(sled);
    for folder in [&folder, &copy] {
        let sled = open(folder.path()).unwrap();
        assert!(sled.read(&[2, 1, 8, 0]).unwrap().is_some());
    }
}

/// A group that tells of a busy vault.
fn busy(tag: u8) -> WriteSet {
    large(tag).into_iter().take(150).collect()
}

#[test]
fn a_segment_that_a_killed_session_left_long_is_shortened_in_a_busy_vault_too() {
    let folder = TempDir::new();
    let sled = open(folder.path()).unwrap();
    for number in 0..2 {
        sled.apply(&large(number)).unwrap();
        sled.sync().unwrap();
        sled.core.checkpoint().unwrap();
    }
    drop(sled);
    let sled = open(folder.path()).unwrap();
    let lengths =
        || ["0", "1"].map(|name| fs::metadata(segment(folder.path(), name)).unwrap().len());
    assert!(lengths().iter().all(|length| *length > LARGE as u64));
    let mut settled = Vec::new();
    for round in 0..6 {
        sled.apply(&busy(round)).unwrap();
        sled.sync().unwrap();
        sled.core.checkpoint().unwrap();
        settled.push(lengths());
    }
    let [first, second] = settled[5];
    assert!(first.max(second) <= LARGE as u64 / 2, "{settled:?}");
    assert_eq!(settled[2..4], settled[4..], "now longer and now shorter");
}

#[test]
fn a_segment_whose_checkpoint_failed_keeps_its_groups() {
    let folder = TempDir::new();
    let sled = open(folder.path()).unwrap();
    sled.apply(&large(0)).unwrap();
    append(&sled, b"\x81key", &[1; 10_000]);
    sled.sync().unwrap();
    sled.core.tree.db().insert(b"\x81key", &[9, 9][..]).unwrap();
    for _ in 0..3 {
        sled.core.checkpoint().unwrap_err();
    }
    let length = fs::metadata(segment(folder.path(), "0")).unwrap().len();
    assert!(length > LARGE as u64, "{length}");
}
