//! A power cut in a checkpoint, which keeps some of what was written since the last sync and loses the rest.

use std::{cell::RefCell, collections::BTreeMap, fs, sync::atomic::Ordering};

use super::open;
use crate::store::{
    contract::TempDir,
    local::Backend,
    overlay::WriteSet,
    port::{Key, Value},
};

const KEYS: u64 = 6000;
const PAGE: usize = 4096;

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) % end
    }
}

fn numbered(number: u64) -> Key {
    [&[1][..], &number.to_be_bytes()].concat().into()
}

fn some(random: &mut Random) -> WriteSet {
    let change = |_| {
        let key = numbered(random.below(KEYS));
        let length = 100 + random.below(700) as usize;
        let value = vec![random.below(256) as u8; length];
        (key, (random.below(8) > 0).then(|| Value::from(value)))
    };
    (0..2000).map(change).collect()
}

/// `after`, of which the disk has only some pages: of the rest what it had `before`.
fn mixed(before: &[u8], after: &[u8], mut has: impl FnMut(usize) -> bool) -> Vec<u8> {
    let mut mixed = after.to_vec();
    for (number, page) in mixed.chunks_mut(PAGE).enumerate() {
        if !has(number * PAGE + page.len()) {
            let from = before.get(number * PAGE..).unwrap_or_default();
            page.fill(0);
            let length = from.len().min(page.len());
            page[..length].copy_from_slice(&from[..length]);
        }
    }
    mixed
}

#[test]
fn a_power_cut_in_a_checkpoint_loses_nothing() {
    let folder = TempDir::new();
    let log = folder.path().join("store/db");
    let mut random = Random(0x1234_5678_9abc_def1);
    let mut model = BTreeMap::<Key, Value>::new();
    for _session in 0..3 {
        let sled = open(folder.path()).unwrap();
        for round in 0..5 {
            let set = some(&mut random);
            sled.apply(&set).unwrap();
            sled.sync().unwrap();
            for (key, change) in &set {
                match change {
                    Some(value) => drop(model.insert(key.clone(), value.clone())),
                    None => drop(model.remove(key)),
                }
            }
            if round == 4 {
                let syncs = || sled.core.tree.syncs.load(Ordering::Relaxed);
                let before = RefCell::new((syncs(), fs::read(&log).unwrap()));
                let look = || {
                    if before.borrow().0 != syncs() {
                        before.replace((syncs(), fs::read(&log).unwrap()));
                    }
                };
                let group = sled.core.tree.group().unwrap() + 1;
                sled.core.tree.apply(&set, group, look).unwrap();
                sled.core.tree.db().flush().unwrap();
                let (_, before) = before.into_inner();
                let after = fs::read(&log).unwrap();
                // The file's new length is lost, and what was written within the old one is not.
                let mut short = mixed(&before, &after, |end| end <= before.len());
                short.truncate(before.len());
                check(&folder, &short, &model);
                for _ in 0..3 {
                    check(
                        &folder,
                        &mixed(&before, &after, |_| random.below(2) > 0),
                        &model,
                    );
                }
            }
            sled.core.checkpoint().unwrap();
        }
    }
}

fn check(folder: &TempDir, log: &[u8], model: &BTreeMap<Key, Value>) {
    let copy = folder.copied();
    fs::write(copy.path().join("store/db"), log).unwrap();
    let sled = open(copy.path()).unwrap();
    for number in 0..KEYS {
        let key = numbered(number);
        assert_eq!(sled.read(&key).unwrap(), model.get(&key).cloned());
    }
}
