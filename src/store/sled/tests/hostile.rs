//! A journal's segments that were damaged, or are random bytes: what is replayed is what was written, from the first
//! group on and without a gap.

use std::fs;

use proptest::{collection::vec, prelude::*};

use crate::{
    domain::hostile::{cases, damaged},
    store::{contract::TempDir, overlay::WriteSet, port::Value, sled::journal::Journal},
};

/// The changes of one group; removals and empty values among them.
fn group(number: u64) -> WriteSet {
    let key = |at: u64| [&b"\x01"[..], &(number % 3).to_be_bytes(), &at.to_be_bytes()].concat();
    (0..number % 4)
        .map(|at| {
            let value = vec![number as u8; (number * at) as usize * 7];
            (key(at).into(), (at != 2).then(|| Value::from(value)))
        })
        .collect()
}

/// Both segments with twelve groups: the first six in one, and the rest in the other.
fn written() -> [Vec<u8>; 2] {
    let folder = TempDir::new();
    let mut journal = Journal::open(folder.path()).unwrap();
    journal.begin(0);
    for number in 1..=12 {
        assert_eq!(journal.append(&group(number)).unwrap(), number);
        if number == 6 {
            journal.switch();
        }
    }
    ["0", "1"].map(|name| fs::read(folder.path().join("journal").join(name)).unwrap())
}

/// What these segments replay after `applied`: the last group's number, and each group's changes.
fn replayed(segments: [&[u8]; 2], applied: u64) -> (u64, Vec<(u64, WriteSet)>) {
    let folder = TempDir::new();
    let journal = Journal::open(folder.path()).unwrap();
    for (name, bytes) in ["0", "1"].into_iter().zip(segments) {
        fs::write(folder.path().join("journal").join(name), bytes).unwrap();
    }
    let mut groups = Vec::new();
    let last = journal.replay(applied, |number, changes| {
        groups.push((number, changes));
        Ok(())
    });
    let last = last.unwrap();
    let rows = journal.rows().unwrap();
    assert_eq!(rows.reach(applied), last);
    let earlier = rows.before_all_up_to(applied);
    assert!(earlier <= applied);
    assert_eq!(
        rows.reach(earlier),
        last,
        "from {earlier} and from {applied}"
    );
    (last, groups)
}

/// Holds a replay to what was written.
fn is_true(applied: u64, last: u64, groups: Vec<(u64, WriteSet)>) {
    assert_eq!(last, applied + groups.len() as u64);
    for ((number, changes), expected) in groups.into_iter().zip(applied + 1..) {
        assert_eq!(number, expected);
        assert!(
            changes == group(number),
            "group {number} was not written so"
        );
    }
}

#[test]
fn undamaged_segments_replay_every_group() {
    let [first, second] = written();
    for applied in [0, 5, 12] {
        let (last, groups) = replayed([&first, &second], applied);
        assert_eq!(last, 12);
        is_true(applied, last, groups);
    }
}

#[test]
fn damaged_segments_replay_what_was_written_or_nothing() {
    let segments = written();
    let [first, second] = segments.clone();
    let strategy = (damaged(vec![first]), damaged(vec![second]), 0..13u64);
    proptest!(cases(200), |((first, second, applied) in strategy)| {
        let (last, groups) = replayed([&first, &second], applied);
        is_true(applied, last, groups);
    });
}

#[test]
fn random_segments_replay_nothing() {
    let bytes = || vec(any::<u8>(), 0..2000);
    proptest!(cases(100), |(first in bytes(), second in bytes(), applied: u64)| {
        let (last, groups) = replayed([&first, &second], applied);
        prop_assert_eq!(last, applied);
        prop_assert!(groups.is_empty());
    });
}
