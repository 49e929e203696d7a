//! A log that is damaged, or shorter than its index: what is whole of it is found all the same.

use std::collections::BTreeSet;

use super::{world::Dice, *};
use crate::audit::{
    block::{self, Builder},
    export::{Extract, Range},
    query::{AuditPage, Reader},
};

/// Damages the first record of some blocks; gives back their numbers.
async fn damage(world: &World) -> BTreeSet<u64> {
    let blocks = world.store.scan(&Table::Audit.scan()).await.unwrap();
    let mut txn = world.store.begin(&[]).await.unwrap();
    let mut damaged = BTreeSet::new();
    for (at, stored) in blocks.iter().skip(2).step_by(3) {
        let first = key::parse_audit(at).unwrap();
        let mut block = Builder::new(stored.len());
        for (sequence, entry) in (first..).zip(block::entries(stored).unwrap()) {
            let mut sealed = entry.sealed.to_vec();
            if sequence == first {
                *sealed.last_mut().unwrap() ^= 1;
            }
            block
                .push(entry.workspace, &entry.content, &sealed)
                .unwrap();
        }
        txn.put(at.clone(), block.finish()).unwrap();
        damaged.insert(first);
    }
    txn.commit(Vec::new()).await.unwrap();
    damaged
}

async fn all(reader: Reader<'_>, filter: &AuditFilter, newest_first: bool) -> AuditPage {
    let window = Window {
        newest_first,
        after: None,
        offset: 0,
        limit: 1000,
    };
    reader.query(filter, window).await.unwrap()
}

#[test]
fn damaged_records_take_nothing_else_with_them_and_are_named() {
    runtime().block_on(async {
        for indexed in [true, false] {
            let mut dice = Dice(5);
            let mut world = World::new().await;
            world.add(&mut dice, 400).await;
            if indexed {
                world.settle().await;
            }
            let damaged = damage(&world).await;
            assert!(damaged.len() > 3);
            // Whether it met them or comes to them now, the follower goes on.
            world.settle().await;
            let mut met = BTreeSet::new();
            for turn in 0..60 {
                let workspace = world.workspaces[turn % 2];
                let filter = match turn {
                    0..4 => AuditFilter::default(),
                    _ => world.filter(&mut dice),
                };
                let newest_first = turn % 4 < 2;
                let mut expected = world.naive(workspace, &filter, newest_first);
                expected.retain(|one| !damaged.contains(one));
                let reader = world.reader(workspace);
                for reader in [
                    reader,
                    Reader {
                        index: None,
                        ..reader
                    },
                ] {
                    let page = all(reader, &filter, newest_first).await;
                    let found: Vec<_> = page.records.iter().map(|one| one.sequence).collect();
                    assert_eq!(found, expected, "{filter:?}");
                    assert!(page.unreadable.iter().all(|one| damaged.contains(one)));
                    if turn < 4 {
                        let own = |one: &&u64| {
                            let all = world.naive(workspace, &AuditFilter::default(), false);
                            all.contains(*one)
                        };
                        let own: Vec<_> = damaged.iter().filter(own).copied().collect();
                        assert_eq!(page.unreadable, own, "{indexed} {turn}");
                        met.extend(own);
                    }
                }
            }
            assert!(!met.is_empty());
            let distrusted = world.index.distrusted.load(Ordering::Relaxed);
            assert!(!distrusted, "the index has nothing to do with it");
            for workspace in &world.workspaces[..2] {
                let range = Range {
                    end: 400,
                    ..Range::default()
                };
                let (store, keyring) = (world.store.clone(), world.keyring.clone());
                let extract = Extract::new(store, keyring, *workspace, range);
                let mut extract = extract.indexed_by(world.index.clone());
                let refused = loop {
                    match extract.next_records().await {
                        Ok(some) => assert!(!some.is_empty(), "an export says that it is whole"),
                        Err(refused) => break refused,
                    }
                };
                let told = std::error::Error::source(&refused).unwrap().to_string();
                assert!(told.contains("would not be whole"), "{told}");
            }
            let one = *damaged.first().unwrap();
            let found = |workspace| {
                let reader = world.reader(workspace);
                async move { reader.record(one).await }
            };
            let [first, second] = [world.workspaces[0], world.workspaces[1]];
            let told = [found(first).await.is_err(), found(second).await.is_err()];
            assert!(
                told[0] ^ told[1],
                "its own workspace is told that it is damaged"
            );
        }
    });
}

#[test]
fn a_block_that_cannot_be_taken_apart_takes_no_other_with_it() {
    runtime().block_on(async {
        for indexed in [true, false] {
            let mut dice = Dice(9);
            let mut world = World::new().await;
            world.add(&mut dice, 300).await;
            if indexed {
                world.settle().await;
            }
            let blocks = world.store.scan(&Table::Audit.scan()).await.unwrap();
            let (at, stored) = &blocks[blocks.len() / 2];
            let first = key::parse_audit(at).unwrap();
            let gone = first..first + block::entries(stored).unwrap().len() as u64;
            let mut txn = world.store.begin(&[]).await.unwrap();
            txn.put(at.clone(), stored[..stored.len() - 1].to_vec())
                .unwrap();
            txn.commit(Vec::new()).await.unwrap();
            world.settle().await;
            world.add(&mut dice, 120).await;
            for turn in 0..40 {
                if turn == 20 {
                    world.settle().await;
                }
                let workspace = world.workspaces[turn % 2];
                let filter = world.filter(&mut dice);
                let mut expected = world.naive(workspace, &filter, turn % 4 < 2);
                expected.retain(|one| !gone.contains(one));
                let reader = world.reader(workspace);
                for reader in [
                    reader,
                    Reader {
                        index: None,
                        ..reader
                    },
                ] {
                    let page = all(reader, &filter, turn % 4 < 2).await;
                    let found: Vec<_> = page.records.iter().map(|one| one.sequence).collect();
                    assert_eq!(found, expected, "{filter:?}");
                }
            }
            let reader = Reader {
                index: None,
                ..world.reader(world.workspaces[0])
            };
            let page = all(reader, &AuditFilter::default(), true).await;
            assert_eq!(page.unreadable, [first]);
            assert_eq!(reader.damaged_through(first).await.unwrap(), gone.end - 1);
            assert_eq!(reader.damaged_through(first - 1).await.unwrap(), first - 1);
            // What goes on behind it reads nothing of before.
            let every = AuditFilter::default();
            let behind = reader.follow(&every, Some(gone.end), 5).await.unwrap();
            assert_eq!(behind.unreadable, [0; 0]);
            if !indexed {
                // Nobody knows whose it was: everybody is told by the index too.
                for workspace in &world.workspaces[..2] {
                    let page = all(world.reader(*workspace), &AuditFilter::default(), true).await;
                    assert_eq!(page.unreadable, [first]);
                }
            }
        }
    });
}

/// Removes blocks of the log; gives back the numbers that they had.
async fn lose(world: &World, places: &[usize]) -> Vec<std::ops::Range<u64>> {
    let blocks = world.store.scan(&Table::Audit.scan()).await.unwrap();
    let mut txn = world.store.begin(&[]).await.unwrap();
    let mut lost = Vec::new();
    for place in places {
        let (at, stored) = &blocks[*place];
        let first = key::parse_audit(at).unwrap();
        lost.push(first..first + block::entries(stored).unwrap().len() as u64);
        txn.delete(at.clone());
    }
    txn.commit(Vec::new()).await.unwrap();
    lost
}

// INVARIANT (audit-tamper)
#[test]
fn records_that_are_missing_are_named_wherever_they_are_looked_for() {
    runtime().block_on(async {
        for indexed in [true, false] {
            let mut dice = Dice(21);
            let mut world = World::new().await;
            world.add(&mut dice, 300).await;
            if indexed {
                world.settle().await;
            }
            let lost = lose(&world, &[0, 12, 13]).await;
            let gone = |one: &u64| lost.iter().any(|lost| lost.contains(one));
            // Two that stood side by side are one hole.
            let holes = [lost[0].clone(), lost[1].start..lost[2].end];
            let begins = holes.clone().map(|hole| hole.start);
            let own = world.workspaces[0];
            for step in 0..4 {
                match step {
                    1 => world.settle().await,
                    2 => world.add(&mut dice, 60).await,
                    3 => {
                        world.index.distrust();
                        world.settle().await;
                    }
                    _ => {}
                }
                for newest_first in [false, true] {
                    let every = AuditFilter::default();
                    let page = all(world.reader(own), &every, newest_first).await;
                    let mut expected = world.naive(own, &every, newest_first);
                    let named: Vec<u64> = expected.iter().copied().filter(gone).collect();
                    expected.retain(|one| !gone(one));
                    let found: Vec<_> = page.records.iter().map(|one| one.sequence).collect();
                    assert_eq!(found, expected, "{indexed} {step}");
                    // What the index had seen is known to be ours; of what it had not, the hole is told. In front of the
                    // log it always is.
                    let known = indexed && step < 3;
                    let mut told: Vec<u64> = if known { named } else { begins.to_vec() };
                    told.retain(|one| !lost[0].contains(one));
                    told.push(1);
                    told.sort_unstable();
                    assert_eq!(page.unreadable, told, "{indexed} {step} {newest_first}");
                    // Within a time too, and behind a place in the hole.
                    let within = AuditFilter {
                        since: page.records.iter().map(|one| one.record.time).min(),
                        until: Some(Timestamp::from_millis(u64::MAX / 2)),
                        ..every.clone()
                    };
                    let page = all(world.reader(own), &within, newest_first).await;
                    assert!(
                        told.iter().all(|one| page.unreadable.contains(one)),
                        "{step}"
                    );
                    if !known {
                        let inside = holes[1].start + 1;
                        let page = world.reader(own).follow(&every, Some(inside), 1000).await;
                        assert_eq!(page.unwrap().unreadable, [inside + 1], "{step}");
                    }
                    let end = holes[1].end;
                    let page = world.reader(own).follow(&every, Some(end), 1000).await;
                    assert_eq!(page.unwrap().unreadable, [0; 0]);
                }
            }
            let reader = world.reader(own);
            for hole in holes {
                let through = reader.damaged_through(hole.start).await.unwrap();
                assert_eq!(through, hole.end - 1);
            }
        }
    });
}

#[test]
fn an_index_that_is_ahead_of_the_log_is_made_anew() {
    runtime().block_on(async {
        let mut dice = Dice(13);
        let mut world = World::new().await;
        world.add(&mut dice, 300).await;
        world.settle().await;
        world.rewind(180).await;
        world.crash().await;
        // The follower comes first, as at a start; then other records get the numbers of those that are gone.
        world.step().await;
        world.add(&mut dice, 150).await;
        for settled in [false, true] {
            if settled {
                world.settle().await;
                world.assert_tidy().await;
            }
            for _ in 0..20 {
                let filter = world.filter(&mut dice);
                pages(&mut world, &filter, true, &mut dice).await;
                pages(&mut world, &filter, false, &mut dice).await;
            }
        }
    });
}
