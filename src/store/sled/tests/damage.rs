//! A damaged or half-copied folder: it opens or it says why not, and no answer from it is wrong. A value may be
//! missing or be an error; telling a rollback is the business of whoever keeps a checkpoint elsewhere.

use std::{fs, path::Path};

use super::{Sled, open};
use crate::{
    domain::error::Code,
    store::{
        contract::TempDir,
        port::{Key, Scan, is_bulky},
    },
};

/// A key, how often it was written before, and a sum over all of it.
fn value(key: &[u8], round: usize) -> Vec<u8> {
    let length = match is_bulky(key) {
        true => usize::from(key[1]) * 300,
        false => usize::from(key[1]) + 20 * round,
    };
    let varied = (0..length).map(|at| (at * 31 + round) as u8);
    let body: Vec<u8> = key.iter().copied().chain(varied).collect();
    [&body[..], &crc32fast::hash(&body).to_be_bytes()].concat()
}

#[track_caller]
fn right(key: &[u8], value: &[u8]) {
    let (body, sum) = value.split_last_chunk::<4>().expect("half a value");
    assert!(body.starts_with(key), "the value of another key");
    assert_eq!(crc32fast::hash(body).to_be_bytes(), *sum, "a wrong value");
}

fn keys() -> impl Iterator<Item = Key> {
    (0..40).flat_map(|number| [[0x01, number], [0x81, number]].map(|key| key[..].into()))
}

/// A folder with a past: some values were replaced, and the engine was opened again in between. After its second
/// session sled keeps a snapshot, and recovers in another way.
fn filled(sessions: usize) -> TempDir {
    let folder = TempDir::new();
    for round in 0..sessions {
        let sled = open(folder.path()).unwrap();
        for half in [0, 1] {
            let writes = keys()
                .filter(|key| key[1] % 2 == half && (round == 0 || key[1] % 5 == half))
                .map(|key| (key.clone(), value(&key, round)))
                .collect();
            sled.write_first(writes).unwrap();
        }
    }
    folder
}

/// Opens a folder, asks for everything in every way, writes, asks again. Gives back how many values it found,
/// or none where it did not open.
fn survives(data_dir: &Path) -> Option<usize> {
    let sled = match open(data_dir) {
        Ok(sled) => sled,
        Err(error) => {
            assert_eq!(error.code(), Code::StorageUnavailable);
            let folder = data_dir.display().to_string();
            assert!(error.message().contains(&folder), "{error}");
            return None;
        }
    };
    sled.is_empty();
    let found = read_all(&sled);
    let key = Key::from_slice(&[0x81, 0xff]);
    if sled
        .write_first(vec![(key.clone(), value(&key, 9))])
        .is_ok()
        && let Ok(Some(found)) = sled.read(&key)
    {
        right(&key, &found);
    }
    read_all(&sled);
    Some(found)
}

fn read_all(sled: &Sled) -> usize {
    let mut found = 0;
    for key in keys() {
        if let Ok(Some(value)) = sled.read(&key) {
            right(&key, &value);
            found += 1;
        }
    }
    for kind in [0x01, 0x81] {
        for reverse in [false, true] {
            let mut scan = Scan::prefix(&[kind], usize::MAX);
            scan.reverse = reverse;
            let pairs = sled.read_range(&scan).unwrap_or_default();
            pairs.iter().for_each(|(key, value)| right(key, value));
        }
    }
    found
}

#[test]
fn a_flipped_bit_never_shows_as_a_value() {
    flip_bits_after(1);
}

#[test]
fn a_flipped_bit_beside_a_snapshot_never_shows_as_a_value() {
    flip_bits_after(3);
}

fn flip_bits_after(sessions: usize) {
    const SAMPLES: usize = 100;
    let folder = filled(sessions);
    assert_eq!(survives(folder.copied().path()), Some(80));
    let log = fs::read(folder.path().join("store/db")).unwrap();
    // Where something was written: runs of one byte are what sled fills its segments up with.
    let written: Vec<usize> = (0..log.len() - 8)
        .filter(|at| log[*at..*at + 8].iter().any(|byte| *byte != log[*at]))
        .collect();
    let mut noticed = 0;
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for sample in 0..SAMPLES {
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1);
        let at = written[sample * written.len() / SAMPLES];
        let mut damaged = log.clone();
        damaged[at] ^= 1 << (random >> 61);
        let copy = folder.copied();
        fs::write(copy.path().join("store/db"), damaged).unwrap();
        noticed += usize::from(survives(copy.path()) != Some(80));
    }
    // After one session the journal still holds all of it, and makes good what the tree has lost.
    assert_eq!(
        noticed > SAMPLES / 10,
        sessions > 1,
        "{noticed} samples hit something that matters"
    );
}

#[test]
fn a_flipped_bit_in_the_settings_never_shows_as_a_value() {
    let folder = filled(3);
    let settings = fs::read(folder.path().join("store/conf")).unwrap();
    for at in 0..settings.len() {
        let mut damaged = settings.clone();
        damaged[at] ^= 1 << (at % 8);
        let copy = folder.copied();
        fs::write(copy.path().join("store/conf"), damaged).unwrap();
        survives(copy.path());
    }
}

#[test]
fn a_cut_off_log_never_shows_as_a_value() {
    let folder = filled(3);
    let length = fs::metadata(folder.path().join("store/db")).unwrap().len();
    let uneven = [1, 19, 20, 21, 4096, length / 3, length / 2 + 1, length - 1];
    let segments = (0..8).map(|eighth| eighth * length / 8);
    for cut in segments.chain(uneven) {
        let copy = folder.copied();
        let log = fs::File::options()
            .write(true)
            .open(copy.path().join("store/db"));
        log.unwrap().set_len(cut).unwrap();
        survives(copy.path());
    }
}

#[test]
fn a_half_copied_folder_never_becomes_a_new_store() {
    half_copied(&filled(1));
    half_copied(&filled(3));
}

fn half_copied(folder: &TempDir) {
    let without = |names: &[&str]| {
        let copy = folder.copied();
        for name in names {
            fs::remove_file(copy.path().join("store").join(name)).unwrap();
        }
        survives(copy.path())
    };
    assert_eq!(without(&["db"]), None);
    // Settings are the engine's defaults: the log alone is enough.
    assert_eq!(without(&["conf"]), Some(80));

    let copy = folder.copied();
    fs::remove_dir_all(copy.path().join("store/blobs")).unwrap();
    assert_eq!(survives(copy.path()), Some(80));
}

#[test]
fn damage_under_an_open_engine_never_shows_as_a_value() {
    for wipe in [0x00, 0xff, 0x5a] {
        let folder = filled(3);
        // Nothing of it in the cache yet.
        let sled = open(folder.path()).unwrap();
        let path = folder.path().join("store/db");
        let length = fs::metadata(&path).unwrap().len() as usize;
        fs::write(&path, vec![wipe; length]).unwrap();
        assert!(read_all(&sled) < 80, "all of it was in the cache");
    }
}

#[test]
fn a_broken_snapshot_never_shows_as_a_value() {
    let folder = filled(3);
    let names = fs::read_dir(folder.path().join("store")).unwrap();
    let snapshots: Vec<_> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("snap."))
        .collect();
    assert!(
        !snapshots.is_empty(),
        "sled keeps one after it was reopened"
    );
    for name in snapshots {
        let whole = fs::read(folder.path().join("store").join(&name)).unwrap();
        for part in [0, 1, whole.len() / 2, whole.len() - 1] {
            let copy = folder.copied();
            fs::write(copy.path().join("store").join(&name), &whole[..part]).unwrap();
            survives(copy.path());
        }
        for at in (0..whole.len()).step_by(whole.len() / 20 + 1) {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            let copy = folder.copied();
            fs::write(copy.path().join("store").join(&name), damaged).unwrap();
            survives(copy.path());
        }
    }
}
