//! Bulky values in pieces: nothing is left behind, nothing spills over, and a lost piece is an error.

use std::fs;

use super::{Sled, open};
use crate::{
    domain::error::Code,
    store::{
        contract::TempDir,
        port::{Key, MAX_BULKY_BYTES, MAX_INLINE_BYTES, Scan},
        sled::chunks::CHUNK_SPACE,
    },
};

const KEY: &[u8] = b"\x81key";

fn pieces(sled: &Sled) -> Vec<Vec<u8>> {
    let keys = sled.core.tree.db().scan_prefix([CHUNK_SPACE]).keys();
    keys.map(|key| key.unwrap().to_vec()).collect()
}

fn set(sled: &Sled, key: &[u8], value: Option<Vec<u8>>) {
    let change = [(key.into(), value.map(Into::into))];
    super::super::Backend::apply(sled, &change.into()).unwrap();
    sled.core.checkpoint().unwrap();
}

#[test]
fn no_piece_outlives_its_value() {
    let folder = TempDir::new();
    let sled = open(folder.path()).unwrap();
    let lengths = [
        0,
        4095,
        4096,
        4097,
        MAX_BULKY_BYTES,
        3 * 4096,
        3 * 4096 + 1,
        4095,
        9000,
        1,
        8192,
    ];
    for length in lengths {
        let expected = if length < MAX_INLINE_BYTES {
            0
        } else {
            length.div_ceil(MAX_INLINE_BYTES)
        };
        set(&sled, KEY, Some(vec![7; length]));
        assert_eq!(pieces(&sled).len(), expected, "length {length}");
        assert_eq!(sled.read(KEY).unwrap().unwrap().len(), length);
        if length % 2 == 1 {
            set(&sled, KEY, None);
            assert!(pieces(&sled).is_empty(), "length {length}");
            assert!(sled.is_empty());
        }
    }
    set(&sled, KEY, None);
    assert!(sled.is_empty());
}

// As after a kill in the middle of a checkpoint: the journal makes the change once more.
#[test]
fn a_change_that_was_cut_short_is_made_again_and_leaves_nothing() {
    let folder = TempDir::new();
    let sled = open(folder.path()).unwrap();
    for lost in 0..4 {
        set(&sled, KEY, Some(vec![1; 4 * 4096]));
        let all = pieces(&sled);
        sled.core.tree.db().remove(&all[lost]).unwrap();
        set(&sled, KEY, Some(vec![2; 5000]));
        assert_eq!(pieces(&sled), all[..2]);
        assert_eq!(*sled.read(KEY).unwrap().unwrap(), [2; 5000]);
        // Growing leaves pieces that the old head does not count.
        sled.core.tree.db().insert(&all[2], vec![3; 4096]).unwrap();
        set(&sled, KEY, Some(vec![3; 3 * 4096]));
        assert_eq!(*sled.read(KEY).unwrap().unwrap(), [3; 3 * 4096]);
        set(&sled, KEY, None);
        assert!(sled.is_empty());
    }
}

#[test]
fn pieces_of_neighbours_do_not_meet() {
    let folder = TempDir::new();
    let sled = open(folder.path()).unwrap();
    // A key, and others that begin like the keys of its pieces.
    let keys: [&[u8]; 5] = [
        b"\x81",
        b"\x81\x00",
        b"\x81\x00\x00",
        b"\x81\x00\x01",
        b"\x81\x00\x01\x00\x00",
    ];
    for (seed, key) in (0_u8..).zip(keys) {
        set(&sled, key, Some(vec![seed; 10_000]));
    }
    set(&sled, keys[1], None);
    set(&sled, keys[3], Some(vec![9; 5000]));
    for (seed, key) in (0_u8..).zip(keys) {
        let expected = match seed {
            1 => None,
            3 => Some(vec![9; 5000].into()),
            _ => Some(vec![seed; 10_000].into()),
        };
        assert_eq!(sled.read(key).unwrap(), expected);
    }
    let listed = sled.read_range(&Scan::prefix(b"\x81", 10)).unwrap();
    assert_eq!(listed.len(), 4);
}

/// What sled puts into files of its own it never syncs: nothing may be long enough for that.
#[test]
fn nothing_spills_into_files_that_are_never_synced() {
    let folder = TempDir::new();
    let sled = open(folder.path()).unwrap();
    for round in 0..3_u8 {
        for number in 0..100_u8 {
            set(&sled, &[0x01, number], Some(vec![round; MAX_INLINE_BYTES]));
        }
        for number in 0..4_u8 {
            let value = vec![round; MAX_BULKY_BYTES];
            set(&sled, &[0x82, number], Some(value));
        }
        let long_keys =
            (0..100_u8).map(|number| Key::from([vec![0x0c; 100], vec![number]].concat()));
        sled.write_first(long_keys.map(|key| (key, vec![round; 4000])).collect())
            .unwrap();
    }
    let spilled = fs::read_dir(folder.path().join("store/blobs")).unwrap();
    assert_eq!(spilled.count(), 0);
}

#[test]
fn a_lost_piece_is_an_error_and_not_a_shorter_value() {
    let folder = TempDir::new();
    let sled = open(folder.path()).unwrap();
    let value = Some(vec![1; 10_000]);
    set(&sled, KEY, value.clone());
    set(&sled, b"\x81other", value.clone());
    let piece = pieces(&sled)[1].clone();
    type Harm = fn(&Sled, &[u8]);
    let harms: [Harm; 6] = [
        |sled, piece| drop(sled.core.tree.db().remove(piece).unwrap()),
        |sled, piece| drop(sled.core.tree.db().insert(piece, &[1; 4095][..]).unwrap()),
        |sled, piece| drop(sled.core.tree.db().insert(piece, &[1; 4097][..]).unwrap()),
        |sled, _| drop(sled.core.tree.db().insert(KEY, &[][..]).unwrap()),
        |sled, _| drop(sled.core.tree.db().insert(KEY, &[2, 0, 0][..]).unwrap()),
        |sled, _| {
            drop(
                sled.core
                    .tree
                    .db()
                    .insert(KEY, &[1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff][..])
                    .unwrap(),
            )
        },
    ];
    for harm in harms {
        set(&sled, KEY, value.clone());
        assert!(sled.read(KEY).unwrap().is_some());
        harm(&sled, &piece);
        let refused = sled.read(KEY).unwrap_err();
        assert_eq!(refused.code(), Code::StorageUnavailable);
        assert!(sled.read_range(&Scan::prefix(b"\x81", 10)).is_err());
        assert!(sled.read(b"\x81other").unwrap().is_some());
        // Repaired by hand, for the next: a damaged header also refuses to be written over.
        sled.core.tree.db().remove(KEY).unwrap();
    }
}
