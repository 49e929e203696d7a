//! Clustered keys in packs: as if each were a key of sled's, and far fewer of those.

use std::{collections::BTreeMap, sync::Arc};

use super::open;
use crate::store::{
    contract::TempDir,
    local::Backend,
    overlay::WriteSet,
    port::{BARE, Key, Scan, Value, is_bare},
    sled::{Sled, packs},
};

const LEASE: u8 = BARE - 1;

type Model = BTreeMap<Key, Value>;

fn key(kind: u8, number: u64) -> Key {
    [&[kind; 33][..], &number.to_be_bytes(), &[7; 14]]
        .concat()
        .into()
}

fn value(key: &[u8], seed: u64) -> Value {
    match is_bare(key) {
        true => Value::default(),
        false => vec![seed as u8; 180 + seed as usize % 100].into(),
    }
}

fn packs(sled: &Sled, kind: u8) -> usize {
    sled.core.tree.db().scan_prefix([kind]).count()
}

fn check(sled: &Sled, model: &Model, kind: u8, (low, high): (u64, u64)) {
    for limit in [1, 7, 70, 1_000, usize::MAX] {
        for reverse in [false, true] {
            let scan = Scan {
                start: key(kind, low),
                end: key(kind, high),
                limit,
                reverse,
            };
            let inside = model
                .range(scan.start.clone()..scan.end.clone())
                .map(|(key, value)| (key.clone(), value.clone()));
            let expected: Vec<_> = match reverse {
                true => inside.rev().take(limit).collect(),
                false => inside.take(limit).collect(),
            };
            assert_eq!(sled.read_range(&scan).unwrap(), expected);
        }
    }
    for number in [low, high] {
        let key = key(kind, number);
        assert_eq!(sled.read(&key).unwrap().as_ref(), model.get(&key));
    }
}

fn visited(sled: &Sled) -> Vec<(Key, Vec<u8>)> {
    let mut visited = Vec::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        visited.push((key.into(), value.to_vec()));
        Ok(())
    };
    sled.snapshot(&mut visit).unwrap();
    visited
}

fn all(model: &Model) -> impl Iterator<Item = (Key, Vec<u8>)> {
    model
        .iter()
        .map(|(key, value)| (key.clone(), value.to_vec()))
}

/// Numbers below a bound, always the same ones.
fn numbers() -> impl FnMut(u64) -> u64 {
    let mut random = 0x1234_5678_9abc_def1_u64;
    move |below| {
        random = random
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (random >> 33) % below
    }
}

fn as_if_each_were_a_key_of_its_own(kind: u8, in_a_pack: usize) {
    let folder = TempDir::new();
    let mut sled = open(folder.path()).unwrap();
    let mut model = Model::new();
    let mut next = numbers();
    // One of them is of the other kind that is packed.
    let neighbours: Model = [kind - 1, kind + 1]
        .into_iter()
        .map(|kind| Key::from_slice(&[kind, 1]))
        .map(|key| {
            (
                key.clone(),
                if is_bare(&key) {
                    Value::default()
                } else {
                    Arc::from(&b"beside"[..])
                },
            )
        })
        .collect();
    let some = |(key, value): (&Key, &Value)| (key.clone(), Some(value.clone()));
    sled.apply(&neighbours.iter().map(some).collect()).unwrap();
    for round in 0..30 {
        let mut set = WriteSet::new();
        // In a row, as leases are issued, and here and there, as they end.
        let start = next(3_000);
        let row = (start..start + next(300)).map(|number| (number, true));
        let scattered = 0..next(200);
        let scattered = scattered.map(|_| (next(3_000), round % 2 == 0));
        for (number, there) in row.collect::<Vec<_>>().into_iter().chain(scattered) {
            let key = key(kind, number);
            let value = value(&key, number + round);
            set.insert(key.clone(), there.then(|| value.clone()));
            match there {
                true => model.insert(key, value),
                false => model.remove(&key),
            };
        }
        sled.apply(&set).unwrap();
        check(&sled, &model, kind, (next(1_500), 1_500 + next(1_500)));
        sled.core.checkpoint().unwrap();
        check(&sled, &model, kind, (next(1_500), 1_500 + next(1_500)));
        check(&sled, &model, kind, (0, u64::MAX));
        if round % 10 == 9 {
            drop(sled);
            sled = open(folder.path()).unwrap();
        }
    }
    let count = packs(&sled, kind);
    assert!(count < model.len() / in_a_pack, "{count} packs");
    let mut everything = neighbours;
    everything.extend(model.clone());
    assert_eq!(visited(&sled), all(&everything).collect::<Vec<_>>());
    sled.apply(&model.keys().map(|key| (key.clone(), None)).collect())
        .unwrap();
    sled.core.checkpoint().unwrap();
    check(&sled, &Model::new(), kind, (0, u64::MAX));
    assert_eq!(sled.core.tree.db().scan_prefix([kind; 2]).count(), 0);
}

#[test]
fn bare_keys_are_as_if_each_were_a_key_of_its_own() {
    as_if_each_were_a_key_of_its_own(BARE, 20);
}

#[test]
fn leases_are_as_if_each_were_a_key_of_its_own() {
    as_if_each_were_a_key_of_its_own(LEASE, 4);
}

/// Writes some of what a step would write, as a kill in the middle of a checkpoint leaves it.
fn cut_short(sled: &Sled, set: &WriteSet, written: usize) {
    let changes: Vec<_> = set.iter().collect();
    let step = packs::step(sled.core.tree.db(), &changes).unwrap();
    for (at, pack) in step.packs.into_iter().take(written) {
        sled.core.tree.db().insert(at, pack).unwrap();
    }
}

#[test]
fn a_pack_that_was_divided_half_way_shows_every_key_once() {
    for kind in [BARE, LEASE] {
        let folder = TempDir::new();
        let sled = open(folder.path()).unwrap();
        let some = |numbers: &mut dyn Iterator<Item = u64>| -> Model {
            numbers
                .map(|number| (key(kind, number), value(&key(kind, number), number)))
                .collect()
        };
        let insert = |model: &Model| -> WriteSet {
            let pair = |(key, value): (&Key, &Value)| (key.clone(), Some(value.clone()));
            model.iter().map(pair).collect()
        };
        let remove =
            |model: &Model| -> WriteSet { model.keys().map(|key| (key.clone(), None)).collect() };
        let old = some(&mut (0..6).map(|number| number * 10).chain(2_000..2_006));
        // In the middle of what is there, and enough for several packs: the last one takes the end of the old one over.
        let new = some(&mut (0..150).map(|number| 1_001 + number).chain(31..35));
        let both: Model = old.clone().into_iter().chain(new.clone()).collect();
        for written in 1..4 {
            sled.apply(&insert(&old)).unwrap();
            sled.core.checkpoint().unwrap();
            cut_short(&sled, &insert(&new), written);
            // What had been there is there once, whatever of the rest is.
            let found = visited(&sled);
            let mut keys: Vec<_> = found.iter().map(|(key, _)| key).collect();
            assert!(old.keys().all(|key| keys.contains(&key)), "{written}");
            let shown = keys.len();
            keys.dedup();
            assert_eq!(keys.len(), shown, "{written}");
            // It is made again, or what came of it goes away: nothing is left over, and nothing comes back.
            if written % 2 == 1 {
                sled.apply(&insert(&new)).unwrap();
                sled.core.checkpoint().unwrap();
                check(&sled, &both, kind, (0, u64::MAX));
                assert_eq!(visited(&sled), all(&both).collect::<Vec<_>>());
            }
            // The packs behind the first one go, which is not touched.
            let mut packs = sled.core.tree.db().scan_prefix([kind]).keys();
            let second = Key::from_slice(&packs.nth(1).unwrap().unwrap());
            sled.apply(&remove(&both.clone().split_off(&second)))
                .unwrap();
            sled.core.checkpoint().unwrap();
            let left: Vec<_> = visited(&sled).into_iter().map(|(key, _)| key).collect();
            assert!(left.iter().all(|key| *key < second), "{written}");
            let kept = old.keys().filter(|key| **key < second);
            assert!(kept.into_iter().all(|key| left.contains(key)), "{written}");
            sled.apply(&remove(&both)).unwrap();
            sled.core.checkpoint().unwrap();
            assert!(visited(&sled).is_empty(), "{written}");
        }
    }
}
