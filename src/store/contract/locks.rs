//! Exclusive sections: who holds a lock key holds it alone, and nobody waits in a circle.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use tokio::task::JoinSet;

use super::{Harness, Rig, lock, on_both, once, probe::Step};
use crate::store::port::{LockKey, Store, Txn};

on_both!(
    no_increment_is_lost,
    the_next_holder_waits_for_a_drop,
    the_next_holder_waits_for_the_queue_and_not_for_the_disk,
    a_wait_that_is_given_up_frees_nothing_and_holds_nothing,
    a_lock_named_twice_is_taken_once,
    overlapping_sections_never_wait_in_a_circle,
);

const TASKS: u64 = 64;
const INCREMENTS: u64 = 50;

async fn increment(txn: &mut Box<dyn Txn>, key: &[u8]) -> u64 {
    let before = txn
        .get(key)
        .await
        .unwrap()
        .map_or(0, |value| u64::from_be_bytes((*value).try_into().unwrap()));
    txn.put(key[..].into(), (before + 1).to_be_bytes().to_vec())
        .unwrap();
    before + 1
}

// INVARIANT (lease-cap): the read-check-write under one lock that every cap rests on.
async fn no_increment_is_lost<H: Harness>() {
    let rig = Rig::<H>::new();
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let store = rig.store.clone();
        tasks.spawn(async move {
            for _ in 0..INCREMENTS {
                let mut txn = store.begin(&[lock(7)]).await.unwrap();
                increment(&mut txn, b"\x01counter").await;
                txn.commit(Vec::new()).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    let rig = rig.reopened().await;
    let counted = rig.value(b"\x01counter").await.unwrap();
    assert_eq!(*counted, (TASKS * INCREMENTS).to_be_bytes());
}

async fn the_next_holder_waits_for_a_drop<H: Harness>() {
    let rig = Rig::<H>::new();
    let locks = [lock(1)];
    let first = rig.begin(lock(1)).await;
    let mut second = rig.store.begin(&locks);
    let mut third = rig.store.begin(&locks);
    assert!(once(&mut second).await.is_pending());
    assert!(once(&mut third).await.is_pending());
    drop(first);
    // In the order in which they asked.
    assert!(once(&mut third).await.is_pending());
    let second = second.await.unwrap();
    assert!(once(&mut third).await.is_pending());
    drop(second);
    third.await.unwrap();
}

async fn the_next_holder_waits_for_the_queue_and_not_for_the_disk<H: Harness>() {
    let rig = Rig::<H>::new();
    let mut stop = rig.control.stop_before(Step::Apply);
    let first = rig.txn_with(&[(b"\x01a", Some(b"1"))]).await;
    let locks = [lock(0)];
    let mut second = rig.store.begin(&locks);
    assert!(once(&mut second).await.is_pending());
    let mut commit = first.commit(Vec::new());
    assert!(once(&mut second).await.is_pending());
    assert!(once(&mut commit).await.is_pending());
    // Nothing is durable and nothing will be, and still the lock is free.
    stop.reached().await;
    let mut second = second.await.unwrap();
    assert_eq!(
        second.get(b"\x01a").await.unwrap().as_deref(),
        Some(&b"1"[..])
    );
    drop(second);
    stop.release();
    commit.await.unwrap();
}

async fn a_wait_that_is_given_up_frees_nothing_and_holds_nothing<H: Harness>() {
    let rig = Rig::<H>::new();
    let locks = [lock(1), lock(2), lock(3)];
    let first = rig.begin(lock(2)).await;
    let mut given_up = rig.store.begin(&locks);
    assert!(once(&mut given_up).await.is_pending());
    drop(given_up);
    let mut second = rig.store.begin(&locks);
    assert!(matches!(once(&mut second).await, Poll::Pending));
    drop(first);
    second.await.unwrap();
}

async fn a_lock_named_twice_is_taken_once<H: Harness>() {
    let rig = Rig::<H>::new();
    let locks = [lock(1), lock(2), lock(1)];
    drop(rig.store.begin(&locks).await.unwrap());
    drop(rig.store.begin(&[]).await.unwrap());
    rig.store.begin(&locks).await.unwrap();
}

async fn overlapping_sections_never_wait_in_a_circle<H: Harness>() {
    const KEYS: usize = 8;
    let rig = Rig::<H>::new();
    let inside: Arc<[AtomicBool; KEYS]> = Arc::default();
    let mut tasks = JoinSet::new();
    for task in 0..32_usize {
        let (store, inside) = (rig.store.clone(), inside.clone());
        tasks.spawn(async move {
            for round in 0..60_usize {
                // Steps that share no factor with the number of keys visit them in orders that cross.
                let step = [1, 3, 5, 7][(task + round) % 4];
                let count = 1 + (task * 7 + round) % 5;
                let held: Vec<usize> = (0..count)
                    .map(|nth| (task + round + nth * step) % KEYS)
                    .collect();
                let locks: Vec<LockKey> = held.iter().map(|key| lock(*key as u8)).collect();
                let mut txn = store.begin(&locks).await.unwrap();
                for key in &held {
                    assert!(!inside[*key].swap(true, Ordering::SeqCst), "not alone");
                }
                tokio::task::yield_now().await;
                let counter = [1, held[0] as u8];
                increment(&mut txn, &counter).await;
                for key in &held {
                    inside[*key].store(false, Ordering::SeqCst);
                }
                if round % 4 == 0 {
                    txn.commit(Vec::new()).await.unwrap();
                }
            }
        });
    }
    let all = tokio::time::timeout(Duration::from_secs(60), tasks.join_all());
    all.await.expect("a circle of waiting transactions");
}
