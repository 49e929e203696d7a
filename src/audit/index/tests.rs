//! The index against a naive filter over the same records: in both orders, page by page, while records are added, the
//! follower lags, crashes and fails, and the log loses its beginning.

mod damage;
mod world;

use proptest::prelude::*;

use self::world::{Dice, World};
use super::*;
use crate::{
    audit::query::{AuditFilter, Whose, Window},
    domain::{event::EventName, time::Timestamp},
    store::{
        key::Table,
        memory::Fault,
        port::{Scan, Store},
    },
};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
}

/// Reads all pages; between them, `meanwhile` happens.
async fn pages(world: &mut World, filter: &AuditFilter, newest_first: bool, dice: &mut Dice) {
    let workspace = dice.of(&world.workspaces.clone());
    let before = world.naive(workspace, filter, newest_first);
    let (mut found, mut after, mut offset) = (Vec::new(), None, dice.below(3));
    let skipped = offset;
    loop {
        let window = Window {
            newest_first,
            after,
            offset,
            limit: 1 + dice.below(7) as usize,
        };
        offset = 0;
        let now = world.naive(workspace, filter, newest_first);
        let page = world.reader(workspace).query(filter, window).await.unwrap();
        assert_eq!(page.total, Some(now.len() as u64), "{filter:?}");
        assert!(page.records.len() <= window.limit);
        found.extend(page.records.iter().map(|found| found.sequence));
        after = page.records.last().map(|last| last.sequence).or(after);
        if !page.more {
            break;
        }
        if dice.below(3) == 0 {
            world.add(dice, 6).await;
        }
        if dice.below(2) == 0 {
            world.step().await;
        }
    }
    let skip = |all: Vec<u64>| all.into_iter().skip(skipped as usize).collect::<Vec<_>>();
    match newest_first {
        true => assert_eq!(found, skip(before), "{filter:?}"),
        // What came meanwhile is on the later pages.
        false => {
            let now = skip(world.naive(workspace, filter, newest_first));
            assert!(now.starts_with(&found), "{filter:?}: {found:?} of {now:?}");
            assert!(found.len() >= skip(before).len());
        }
    }
}

async fn scenario(seed: u64) {
    let mut dice = Dice(seed);
    let mut world = World::new().await;
    for _ in 0..12 {
        match dice.below(10) {
            0..=4 => world.add(&mut dice, 60).await,
            5 => world.crash().await,
            6 => world.trim(&mut dice).await,
            _ => {
                for _ in 0..dice.below(40) {
                    world.step().await;
                }
            }
        }
        for newest_first in [true, false] {
            let filter = world.filter(&mut dice);
            pages(&mut world, &filter, newest_first, &mut dice).await;
        }
        // A stream of all that follows a place, however it is cut.
        let workspace = dice.of(&world.workspaces.clone());
        let filter = world.filter(&mut dice);
        let expected = world.naive(workspace, &filter, false);
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let limit = 1 + dice.below(9) as usize;
            let reader = world.reader(workspace);
            let batch = reader.follow(&filter, after, limit).await.unwrap();
            found.extend(batch.records.iter().map(|found| found.sequence));
            assert!(batch.reached >= after.unwrap_or(0));
            if batch.records.is_empty() {
                break;
            }
            after = Some(batch.reached);
        }
        assert_eq!(found, expected, "{filter:?}");
    }
    world.settle().await;
    world.assert_tidy().await;
}

proptest! {
    #![proptest_config(crate::domain::hostile::cases(10))]

    #[test]
    fn whatever_happens_the_index_tells_what_a_naive_filter_would(seed in any::<u64>()) {
        runtime().block_on(scenario(seed));
    }
}

// Every step is a place to crash: before it, in its commit, and after it with nobody knowing.
#[test]
fn a_follower_that_crashes_at_any_step_goes_on_from_there() {
    runtime().block_on(async {
        let faults = [
            None,
            Some(Fault::Apply),
            Some(Fault::Torn),
            Some(Fault::Sync),
            Some(Fault::Unsaid),
        ];
        let stride = match std::env::var_os("LEASEHOLD_LONG") {
            Some(_) => 1,
            None => 5,
        };
        for (fault, crash_at) in faults
            .into_iter()
            .flat_map(|fault| (0..60).step_by(stride).map(move |at| (fault, at)))
        {
            let mut dice = Dice(7);
            let mut world = World::new().await;
            world.add(&mut dice, 220).await;
            for _ in 0..crash_at {
                world.step().await;
            }
            if let Some(fault) = fault {
                world.memory.inject(fault);
            }
            // Where it writes it fails; where it reads, nothing comes of the fault.
            let _ = world.follower.step().await;
            world.crash().await;
            for newest_first in [true, false] {
                let filter = world.filter(&mut dice);
                pages(&mut world, &filter, newest_first, &mut dice).await;
            }
            world.settle().await;
            world.assert_tidy().await;
            let levels: Vec<_> = world.index.look(|shared| {
                let levels = shared.runs.iter().map(|run| run.meta.level);
                levels.collect()
            });
            assert!(levels.iter().any(|level| *level > 0), "{levels:?}");
        }
    });
}

#[test]
fn a_damaged_index_is_not_believed_and_is_made_anew() {
    runtime().block_on(async {
        let mut dice = Dice(3);
        let mut world = World::new().await;
        world.add(&mut dice, 200).await;
        world.settle().await;
        let filter = AuditFilter {
            events: vec![EventName::LeaseIssued],
            ..AuditFilter::default()
        };
        for layer in [
            super::format::POSTINGS,
            super::format::FENCES,
            super::format::ROOT,
        ] {
            let run = world.index.look(|shared| shared.runs[0].meta.number);
            // A page of another place, and none at all.
            for other in [true, false] {
                let at = key::audit_index_page(run, layer, 0);
                let state = world.store.get(&key::audit_index_state()).await.unwrap();
                let mut txn = world.store.begin(&[]).await.unwrap();
                match other {
                    true => txn.put(at, state.unwrap().to_vec()).unwrap(),
                    false => txn.delete(at),
                }
                txn.commit(Vec::new()).await.unwrap();
                // The root is kept in memory once it was read.
                world.crash().await;
                world.step().await;
                world.step().await;
                pages(&mut world, &filter, true, &mut dice).await;
                pages(&mut world, &filter, false, &mut dice).await;
                world.settle().await;
                world.assert_tidy().await;
                pages(&mut world, &filter, true, &mut dice).await;
            }
        }
        // A state that cannot be read is none.
        let mut txn = world.store.begin(&[]).await.unwrap();
        txn.put(key::audit_index_state(), vec![9; 64]).unwrap();
        txn.commit(Vec::new()).await.unwrap();
        world.crash().await;
        world.settle().await;
        world.assert_tidy().await;
        pages(&mut world, &filter, true, &mut dice).await;
    });
}

#[test]
fn a_settled_index_answers_without_the_log() {
    runtime().block_on(async {
        let mut dice = Dice(11);
        let mut world = World::new().await;
        world.add(&mut dice, 300).await;
        world.settle().await;
        let workspace = world.workspaces[0];
        let filter = AuditFilter {
            events: vec![EventName::LeaseIssued, EventName::LeaseRevoked],
            ..AuditFilter::default()
        };
        let expected = world.naive(workspace, &filter, true).len() as u64;
        assert!(expected > 20);
        let window = Window {
            newest_first: true,
            after: None,
            offset: 0,
            limit: 1,
        };
        // Nothing but the page itself is opened: the rest of the log may be unreadable.
        let newest = world.naive(workspace, &filter, true)[..2].to_vec();
        let blocks = world.store.scan(&Table::Audit.scan()).await.unwrap();
        let mut txn = world.store.begin(&[]).await.unwrap();
        let firsts: Vec<_> = blocks
            .iter()
            .map(|(at, _)| key::parse_audit(at).unwrap())
            .collect();
        for (at, (place, block)) in blocks.iter().enumerate() {
            let (first, end) = (firsts[at], firsts.get(at + 1).copied().unwrap_or(u64::MAX));
            if end != u64::MAX && !newest.iter().any(|one| (first..end).contains(one)) {
                let mut damaged = block.to_vec();
                *damaged.last_mut().unwrap() ^= 1;
                txn.put(place.clone(), damaged).unwrap();
            }
        }
        txn.commit(Vec::new()).await.unwrap();
        let page = world
            .reader(workspace)
            .query(&filter, window)
            .await
            .unwrap();
        assert_eq!((page.total, page.more), (Some(expected), true));
        assert_eq!(page.records[0].sequence, newest[0]);
    });
}

#[test]
fn terms_tell_workspaces_fields_and_values_apart() {
    let world = runtime().block_on(World::new());
    let key = world.keyring.terms();
    let [one, other] = [world.workspaces[0], world.workspaces[1]];
    let terms = |workspace, filter: &AuditFilter| Plan::of(key, workspace, filter).groups;
    let named = |name: &str| AuditFilter {
        actor: Some(name.to_owned()),
        ..AuditFilter::default()
    };
    let held = AuditFilter {
        identity: Some(Whose::Name("a".to_owned())),
        ..AuditFilter::default()
    };
    assert_eq!(terms(one, &named("a")), terms(one, &named("a")));
    for different in [
        terms(other, &named("a")),
        terms(one, &named("b")),
        terms(one, &held),
    ] {
        assert_ne!(different, terms(one, &named("a")));
    }
    let by = |source: &str| {
        Plan::of(
            key,
            one,
            &AuditFilter {
                source: source.parse().ok(),
                ..AuditFilter::default()
            },
        )
    };
    for (range, exact, groups) in [
        ("192.0.2.1/32", true, 1),
        ("192.0.2.0/24", true, 1),
        ("192.0.0.0/20", false, 1),
        ("128.0.0.0/1", false, 1),
        ("2001:db8::/32", true, 1),
        ("2001:db8::/40", false, 1),
    ] {
        let plan = by(range);
        assert_eq!((plan.exact, plan.groups.len()), (exact, groups), "{range}");
    }
}

#[test]
fn an_empty_log_and_an_empty_workspace_have_no_records() {
    runtime().block_on(async {
        let mut world = World::new().await;
        let window = Window {
            newest_first: true,
            after: None,
            offset: 0,
            limit: 5,
        };
        let reader = world.reader(world.workspaces[0]);
        let page = reader.query(&AuditFilter::default(), window).await.unwrap();
        assert_eq!(
            (page.total, page.more, page.records.len()),
            (Some(0), false, 0)
        );
        assert_eq!(reader.newest().await.unwrap(), 0);
        world.add(&mut Dice(1), 50).await;
        world.settle().await;
        let nobody = world.workspaces[2];
        let page = world
            .reader(nobody)
            .query(&AuditFilter::default(), window)
            .await
            .unwrap();
        assert_eq!(page.total, Some(0));
        let until = AuditFilter {
            until: Some(Timestamp::from_millis(0)),
            ..AuditFilter::default()
        };
        let page = world
            .reader(world.workspaces[0])
            .query(&until, window)
            .await
            .unwrap();
        assert_eq!(page.total, Some(0));
        let all = Scan::prefix(&[], 1);
        assert!(!world.store.scan(&all).await.unwrap().is_empty());
    });
}
