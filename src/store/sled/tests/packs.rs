//! Bare keys in packs: as if each were a key of sled's, and far fewer of those.

use std::{collections::BTreeSet, sync::Arc};

use super::open;
use crate::store::{
    contract::TempDir,
    local::Backend,
    port::{BARE, Key, Scan, Value},
    sled::Sled,
};

fn bare(number: u64) -> Key {
    [&[BARE; 33][..], &number.to_be_bytes(), &[7; 14]].concat()
}

fn packs(sled: &Sled) -> usize {
    sled.core.tree.db().scan_prefix([BARE]).count()
}

fn check(sled: &Sled, model: &BTreeSet<Key>, (low, high): (u64, u64)) {
    for limit in [1, 70, 1_000, usize::MAX] {
        for reverse in [false, true] {
            let scan = Scan {
                start: bare(low),
                end: bare(high),
                limit,
                reverse,
            };
            let inside = model.range(scan.start.clone()..scan.end.clone()).cloned();
            let expected: Vec<_> = match reverse {
                true => inside.rev().take(limit).collect(),
                false => inside.take(limit).collect(),
            };
            let found = sled.read_range(&scan).unwrap().into_iter();
            assert_eq!(found.map(|(key, _)| key).collect::<Vec<_>>(), expected);
        }
    }
    for number in [low, high] {
        let there = model.contains(&bare(number)).then(Value::default);
        assert_eq!(sled.read(&bare(number)).unwrap(), there);
    }
}

#[test]
fn bare_keys_are_as_if_each_were_a_key_of_its_own() {
    let folder = TempDir::new();
    let mut sled = open(folder.path()).unwrap();
    let mut model = BTreeSet::new();
    let mut random = 0x1234_5678_9abc_def1_u64;
    let mut next = |below: u64| {
        random = random
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (random >> 33) % below
    };
    let neighbours = [(vec![BARE - 1, 1], true), (vec![BARE + 1, 1], true)];
    let some = |(key, _): &(Key, bool)| (key.clone(), Some(Arc::from(&b"beside"[..])));
    sled.apply(&neighbours.iter().map(some).collect()).unwrap();
    for round in 0..30 {
        let mut set = crate::store::overlay::WriteSet::new();
        // In a row, as leases are issued, and here and there, as they end.
        let start = next(3_000);
        let row = (start..start + next(300)).map(|number| (number, true));
        let scattered = 0..next(200);
        let scattered = scattered.map(|_| (next(3_000), round % 2 == 0));
        for (number, there) in row.collect::<Vec<_>>().into_iter().chain(scattered) {
            set.insert(bare(number), there.then(Value::default));
            match there {
                true => model.insert(bare(number)),
                false => model.remove(&bare(number)),
            };
        }
        sled.apply(&set).unwrap();
        check(&sled, &model, (next(1_500), 1_500 + next(1_500)));
        sled.core.checkpoint().unwrap();
        check(&sled, &model, (next(1_500), 1_500 + next(1_500)));
        check(&sled, &model, (0, u64::MAX));
        if round % 10 == 9 {
            drop(sled);
            sled = open(folder.path()).unwrap();
        }
    }
    assert!(packs(&sled) < model.len() / 20, "{} packs", packs(&sled));
    let mut visited = Vec::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        visited.push((key.to_vec(), value.to_vec()));
        Ok(())
    };
    sled.snapshot(&mut visit).unwrap();
    let all = model.iter().map(|key| (key.clone(), Vec::new()));
    let [before, after] = neighbours.map(|(key, _)| (key, b"beside".to_vec()));
    let expected: Vec<_> = [before].into_iter().chain(all).chain([after]).collect();
    assert_eq!(visited, expected);
    sled.apply(&model.iter().map(|key| (key.clone(), None)).collect())
        .unwrap();
    sled.core.checkpoint().unwrap();
    check(&sled, &BTreeSet::new(), (0, u64::MAX));
    assert_eq!(packs(&sled), 0);
}
