use std::task::Poll;

use super::*;
use crate::{
    audit::{
        check::{self, Question},
        checkpoint::Checkpoint,
        log,
        query::{AuditFilter, Window},
        removal::{RANGE, UNEXPLAINED, first_of},
        verify::Fault,
    },
    domain::{
        event::{Actor, EventName, Object},
        retention::{AuditRetention, EventClass},
    },
    engine::{Note, Removed},
    store::key,
};

const ACCESS: EventName = EventName::LeaseRedeemed;
const ADMIN: EventName = EventName::CredentialUpdated;

pub(super) fn retention(access: Option<u64>, admin: Option<u64>) -> Retention {
    let mut ages = [admin.map(|days| hours(24 * days)); 4];
    ages[EventClass::Access as usize] = access.map(|days| hours(24 * days));
    Retention {
        audit: AuditRetention {
            ages,
            ..AuditRetention::default()
        },
        ..Retention::default()
    }
}

impl World {
    /// Writes records up to this one, every hundredth a change, and seals them.
    pub(super) async fn write(&self, upto: u64) -> Checkpoint {
        loop {
            let sealed = self.engine.sealed_size().await.unwrap();
            let next = sealed + 1;
            if next > upto {
                return self.engine.newest_checkpoint().await.unwrap().unwrap();
            }
            let entries = (next..=upto.min(sealed + 512)).map(|number| {
                let event = if number % 100 == 0 { ADMIN } else { ACCESS };
                let note = Note::new(event, Object::default());
                let actor = Actor::vault("test");
                let (now, workspace) = (self.engine.now(), self.workspace);
                let record = self
                    .engine
                    .record(workspace, actor, None, None, now, note)
                    .unwrap();
                log::entry(&record).unwrap()
            });
            let entries = entries.collect();
            let txn = self.engine.store.begin(&[]).await.unwrap();
            txn.commit(entries).await.unwrap();
            while self.engine.seal_next().await.unwrap() {}
        }
    }

    async fn count(&self, event: EventName) -> u64 {
        self.total(event).await.unwrap()
    }

    async fn total(&self, event: EventName) -> Option<u64> {
        let filter = AuditFilter {
            events: vec![event],
            ..AuditFilter::default()
        };
        let window = Window {
            newest_first: true,
            after: None,
            offset: 0,
            limit: 1,
        };
        let page = self.engine.audit(&self.call(), &filter, window).await;
        page.unwrap().total
    }

    /// What holding the stored log to its seals finds, with the public key alone.
    pub(super) async fn faults(&self, kept: &[&Checkpoint]) -> Vec<Fault> {
        let question = Question {
            kept: kept.iter().map(|one| (*one).clone()).collect(),
            ..Question::default()
        };
        let key = self.engine.keyring.audit_key().public_key();
        let mut read = self.engine.read();
        check::log(&mut read, key, question).await.unwrap().faults
    }

    /// Records from this one on that a verification finds removed.
    async fn removed(&self, from: u64) -> u64 {
        let question = Question {
            from,
            ..Question::default()
        };
        let key = self.engine.keyring.audit_key().public_key();
        let mut read = self.engine.read();
        check::log(&mut read, key, question).await.unwrap().removed
    }

    pub(super) async fn retain_all(&self) -> u64 {
        let mut records = 0;
        loop {
            let removed = self.engine.retain().await.unwrap();
            while self.engine.seal_next().await.unwrap() {}
            if removed == Removed::default() {
                return records;
            }
            records += removed.records;
        }
    }

    /// Changes what is stored, behind the vault's back.
    fn tamper(&self, at: Key, value: Option<Value>) {
        self.memory
            .apply(&[(at, value)].into_iter().collect())
            .unwrap();
        self.memory.sync().unwrap();
    }

    pub(super) async fn first(&self) -> u64 {
        self.engine.oldest_record().await.unwrap().0
    }
}

// INVARIANT (audit-tamper)
#[tokio::test]
async fn each_class_goes_at_its_age_and_the_rest_is_still_proven() {
    let world = World::new(retention(Some(1), Some(10))).await;
    let early = world.write(3_000).await;
    world.write(3 * RANGE).await;
    assert_eq!(world.retain_all().await, 0, "nothing is old");
    world.pass(2 * DAY);
    let removed = world.retain_all().await;
    // The newest sealed range is left alone.
    assert!((8_000..2 * RANGE).contains(&removed), "{removed}");
    let changes = world.count(ADMIN).await;
    assert_eq!(changes, 3 * RANGE / 100, "each change is there");
    let accesses = world.count(ACCESS).await;
    assert!((4_000..=RANGE).contains(&accesses), "{accesses}");
    assert_eq!(
        world.count(EventName::AuditRemoved).await,
        0,
        "of another workspace"
    );
    assert_eq!(world.first().await, 1);
    assert_eq!(world.faults(&[&early]).await, []);
    assert_eq!(world.removed(1).await, removed);
    assert!((1..removed).contains(&world.removed(RANGE + 1).await));
    assert_eq!(world.findings().await, [""; 0]);
    assert_eq!(world.retain_all().await, 0, "once is enough");

    let late = world.write(3 * RANGE + 200).await;
    world.pass(10 * DAY);
    assert!(world.retain_all().await > 0);
    assert_eq!(world.first().await, 2 * RANGE + 1);
    assert_eq!(world.faults(&[&early, &late]).await, []);
    assert!(world.removed(1).await >= 2 * RANGE);
    assert!(world.removed(2 * RANGE + 1).await <= RANGE);
    assert_eq!(world.findings().await, [""; 0]);
    // A vault that begins late starts and goes on.
    let mut world = world;
    world.restart().await;
    let last = world.write(3 * RANGE + 900).await;
    assert_eq!(world.faults(&[&early, &late, &last]).await, []);
    // Consistency is proven from within what is gone.
    let key = *world.engine.keyring.audit_key().public_key();
    let (from, to) = (early.statement().size, last.statement().size);
    let mut read = world.engine.read();
    let proof = crate::audit::proof::consistency(&mut read, &key, from, to).await;
    let proof = proof.unwrap();
    assert!(crate::audit::merkle::consistent(
        (from, &early.statement().root),
        (to, &last.statement().root),
        &proof.path
    ));
}

// INVARIANT (audit-tamper)
#[tokio::test]
async fn a_checkpoint_that_nobody_waits_for_is_made_all_the_same() {
    let world = World::new(Retention::default()).await;
    let mut made = world.engine.checkpoints_made();
    for _ in 0..5 {
        world.hold("case").await;
        let mut batch = Box::pin(world.engine.seal_next());
        let begun = std::future::poll_fn(|context| Poll::Ready(batch.as_mut().poll(context))).await;
        assert!(begun.is_pending());
        drop(batch);
        let told = tokio::time::timeout(std::time::Duration::from_secs(60), made.changed()).await;
        told.unwrap().unwrap();
        world.release_hold("case").await;
        world.engine.seal_next().await.unwrap();
        made.borrow_and_update();
    }
    assert_eq!(world.faults(&[]).await, []);
}

// INVARIANT (audit-tamper)
#[tokio::test]
async fn what_is_missing_and_was_not_removed_is_found() {
    let world = World::new(retention(Some(1), None)).await;
    let kept = world.write(3 * RANGE).await;
    world.pass(2 * DAY);
    world.retain_all().await;
    assert_eq!(world.faults(&[&kept]).await, []);
    // A change becomes what is left of a removed record: its leaf is right, and no statement has it.
    let removal = world.engine.read().get(&key::removed(0)).await.unwrap();
    world.tamper(key::removed(0), None);
    let faults = world.faults(&[]).await;
    assert!(
        faults.len() > 50 && faults.iter().all(|fault| fault.what == UNEXPLAINED),
        "{:?}",
        faults.first()
    );
    assert!(!world.findings().await.is_empty());
    world.tamper(key::removed(0), removal);
    assert_eq!(world.findings().await, [""; 0]);

    let world = World::new(retention(Some(1), Some(1))).await;
    let kept = world.write(3 * RANGE).await;
    world.pass(2 * DAY);
    world.retain_all().await;
    assert_eq!(world.first().await, first_of(2));
    assert_eq!(world.faults(&[&kept]).await, []);
    let front = world.engine.read().get(&key::audit_front()).await.unwrap();
    world.tamper(key::audit_front(), None);
    let faults = world.faults(&[]).await;
    assert_eq!(
        (faults[0].sequence, faults[0].what.as_str()),
        (1, "records 1 to 8192 are missing")
    );
    assert!(!world.findings().await.is_empty());
    world.tamper(key::audit_front(), front);
    assert_eq!(world.findings().await, [""; 0]);
    // One block more than retention removed.
    let next = world.engine.read().scan(&key::audits(0)).await.unwrap();
    let (at, _) = next.into_iter().next().unwrap();
    world.tamper(at, None);
    let faults = world.faults(&[]).await;
    assert_eq!(faults[0].sequence, first_of(2));
    assert!(!world.findings().await.is_empty());
}

// INVARIANT (legal-hold)
#[tokio::test]
async fn what_is_not_sealed_or_held_is_not_removed() {
    let world = World::new(retention(Some(1), Some(1))).await;
    world.write(2 * RANGE - 100).await;
    world.pass(3 * DAY);
    assert_eq!(
        world.retain_all().await,
        0,
        "one range behind it must be sealed"
    );
    world.write(2 * RANGE + 10).await;
    world.hold("case").await;
    world.pass(3 * DAY);
    assert_eq!(world.retain_all().await, 0);
    assert_eq!(world.first().await, 1);
    world.release_hold("case").await;
    assert!(world.retain_all().await > 4_000);
    assert_eq!(world.first().await, first_of(1));
    assert_eq!(world.faults(&[]).await, []);
}

#[tokio::test]
async fn a_log_that_takes_too_much_loses_the_class_that_takes_the_most() {
    let world = World::new(Retention {
        audit: AuditRetention {
            max_bytes: Some(1_500_000),
            ..AuditRetention::default()
        },
        ..Retention::default()
    })
    .await;
    world.write(5 * RANGE).await;
    world.retain_all().await;
    let removed = world.count(EventName::AuditRemoved).await;
    assert_eq!(removed, 0, "of another workspace");
    assert_eq!(
        world.count(ADMIN).await,
        5 * RANGE / 100,
        "no change is gone"
    );
    assert!(world.count(ACCESS).await < 5 * RANGE * 9 / 10);
    assert_eq!(world.faults(&[]).await, []);
    assert_eq!(world.findings().await, [""; 0]);
}

// INVARIANT (legal-hold)
#[tokio::test]
async fn a_class_that_takes_more_than_it_may_loses_its_oldest_ranges() {
    let mut bounds = [None; 4];
    bounds[EventClass::Admin as usize] = Some(10_000);
    let world = World::new(Retention {
        audit: AuditRetention {
            class_max_bytes: bounds,
            ..AuditRetention::default()
        },
        ..Retention::default()
    })
    .await;
    let kept = world.write(5 * RANGE).await;
    let (changes, accesses) = (world.count(ADMIN).await, world.count(ACCESS).await);
    world.hold("case").await;
    assert_eq!(world.retain_all().await, 0);
    world.release_hold("case").await;
    let removed = world.retain_all().await;
    let left = world.count(ADMIN).await;
    assert!((40..changes).contains(&left), "{left} of {changes}");
    // Those that the vault began with are changes as well.
    let others = removed - (changes - left);
    assert!(others < 10, "{removed} {changes} {left}");
    assert_eq!(
        world.count(ACCESS).await,
        accesses,
        "no other class is touched"
    );
    assert_eq!(world.faults(&[&kept]).await, []);
    assert_eq!(world.findings().await, [""; 0]);
}

// INVARIANT (audit-tamper)
#[tokio::test]
async fn a_removal_that_is_cut_short_anywhere_goes_on_and_is_proven_meanwhile() {
    let mut world = World::new(retention(Some(1), Some(5))).await;
    let kept = world.write(2 * RANGE + 500).await;
    let (mut cuts, mut done) = (0, 0);
    for age in [2, 6] {
        world.pass(age * DAY);
        for begins in 0.. {
            world.left.store(begins, Ordering::SeqCst);
            let outcome = world.engine.retain().await;
            let failed = outcome.is_err();
            world.restart().await;
            assert_eq!(world.faults(&[&kept]).await, [], "{age} {begins}");
            assert_eq!(world.findings().await, [""; 0], "{age} {begins}");
            if !failed {
                done += 1;
                break;
            }
            cuts += 1;
        }
    }
    assert!(cuts >= 4 && done == 2, "{cuts} {done}");
    assert_eq!(world.first().await, first_of(1));
}

#[tokio::test]
async fn a_time_range_of_a_log_that_was_removed_in_part_has_all_that_is_left() {
    let world = World::new(retention(Some(1), None)).await;
    world.write(RANGE / 2).await;
    world.pass(2 * HOUR);
    world.write(3 * RANGE).await;
    let between = Timestamp::from_millis(world.engine.now().as_millis() - HOUR);
    world.pass(2 * DAY);
    assert!(world.retain_all().await > 7_000);
    // Nothing is indexed: the log itself is read.
    let changes = async |since, until| {
        let filter = AuditFilter {
            events: vec![ADMIN],
            since,
            until,
            ..AuditFilter::default()
        };
        let window = Window {
            newest_first: false,
            after: None,
            offset: 0,
            limit: 1,
        };
        let page = world.engine.audit(&world.call(), &filter, window).await;
        page.unwrap().total.unwrap()
    };
    let all = changes(None, None).await;
    assert_eq!(all, 3 * RANGE / 100);
    assert_eq!(changes(None, Some(between)).await, RANGE / 2 / 100);
    assert_eq!(changes(Some(between), None).await, all - RANGE / 2 / 100);
}

#[tokio::test]
async fn no_total_counts_what_is_gone() {
    let world = World::new(retention(Some(1), Some(10))).await;
    world.write(3 * RANGE).await;
    let mut follower = world.engine.follower();
    while follower.step().await.unwrap() {}
    let all = world.total(ACCESS).await.unwrap();
    assert!(all > 12_000, "{all}");
    world.pass(2 * DAY);
    assert!(world.retain_all().await > 8_000);
    assert_eq!(world.count(ADMIN).await, 3 * RANGE / 100);
    // The index names more than a query opens: rather no total than a wrong one.
    assert_eq!(world.total(ACCESS).await, None);
}
