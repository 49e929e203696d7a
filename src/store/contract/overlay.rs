//! The next holder of a lock reads what the one before queued, durable or not.

use std::collections::BTreeMap;

use tokio::task::JoinHandle;

use super::{
    Harness, Rig, on_both,
    probe::{Step, Stop},
};
use crate::{
    domain::error::Result,
    store::port::{Key, MAX_SCAN, Scan, Txn, Value},
};

on_both!(
    the_next_holder_reads_what_is_queued,
    the_next_holder_reads_what_is_applied,
    a_newer_change_outlives_the_older_one,
    what_is_durable_is_forgotten,
    deletes_do_not_shorten_a_page,
    own_writes_lie_over_queued_ones,
    a_page_ends_where_the_engine_was_not_read,
);

type Model = BTreeMap<Key, Value>;
type Changes = Vec<(Key, Option<Vec<u8>>)>;

fn key(number: u16) -> Key {
    [&[1][..], &number.to_be_bytes()].concat().into()
}

async fn queue<H: Harness>(
    rig: &Rig<H>,
    model: &mut Model,
    changes: Changes,
) -> JoinHandle<Result<()>> {
    for (key, change) in &changes {
        match change {
            Some(value) => drop(model.insert(key.clone(), value.as_slice().into())),
            None => drop(model.remove(key)),
        }
    }
    let changes: Vec<(&[u8], Option<&[u8]>)> = changes
        .iter()
        .map(|(key, change)| (key.as_slice(), change.as_deref()))
        .collect();
    rig.queue(&changes).await
}

/// Pages that one limit is tried on.
const PAGES: usize = 40;

/// Reads the range page by page, in both orders, and every seventh key alone.
async fn reads_as(txn: &mut Box<dyn Txn>, model: &Model) {
    for reverse in [false, true] {
        for limit in [1, 3, 50, MAX_SCAN, usize::MAX] {
            let mut scan = Scan::prefix(b"\x01", limit);
            scan.reverse = reverse;
            let mut expected: Vec<_> = model.clone().into_iter().collect();
            if reverse {
                expected.reverse();
            }
            let mut rest = expected.as_slice();
            for _ in 0..PAGES {
                let page = txn.scan(&scan).await.unwrap();
                let expected;
                (expected, rest) = rest.split_at(limit.min(MAX_SCAN).min(rest.len()));
                assert!(page == *expected, "limit {limit}, reverse {reverse}");
                let Some((last, _)) = page.last() else { break };
                scan = scan.after(last);
            }
        }
    }
    for number in (0..1500).step_by(7) {
        let key = key(number);
        assert_eq!(txn.get(&key).await.unwrap().as_ref(), model.get(&key));
    }
}

/// 1200 keys in the engine; over them, in write sets of which the first is held: changes, removals, additions
/// before, between and behind.
async fn layered<H: Harness>(step: Step) -> (Rig<H>, Model, Stop, Vec<JoinHandle<Result<()>>>) {
    let rig = Rig::<H>::new();
    let mut model = Model::new();
    let base = (100..1300)
        .map(|number| (key(number), Some(vec![0])))
        .collect();
    queue(&rig, &mut model, base).await.await.unwrap().unwrap();

    let mut stop = rig.control.stop_before(step);
    let mut commits = Vec::new();
    let removed = (200..500).map(|number| (key(number), None)).collect();
    commits.push(queue(&rig, &mut model, removed).await);
    stop.reached().await;
    let changed = (100..1300)
        .step_by(3)
        .map(|number| (key(number), Some(vec![1; 30])))
        .collect();
    commits.push(queue(&rig, &mut model, changed).await);
    let added = (0..100).chain(1300..1400);
    let added = added.map(|number| (key(number), Some(vec![2]))).collect();
    commits.push(queue(&rig, &mut model, added).await);
    let removed_again = (0..1400)
        .step_by(5)
        .map(|number| (key(number), None))
        .collect();
    commits.push(queue(&rig, &mut model, removed_again).await);
    (rig, model, stop, commits)
}

async fn held_before<H: Harness>(step: Step) {
    let (rig, model, stop, commits) = layered::<H>(step).await;
    reads_as(&mut rig.txn().await, &model).await;
    stop.release();
    // Now by and by forgotten: a reader meets every mixture of overlay and engine.
    reads_as(&mut rig.txn().await, &model).await;
    for commit in commits {
        commit.await.unwrap().unwrap();
    }
    reads_as(&mut rig.txn().await, &model).await;
    let rig = rig.reopened().await;
    reads_as(&mut rig.txn().await, &model).await;
}

async fn the_next_holder_reads_what_is_queued<H: Harness>() {
    held_before::<H>(Step::Apply).await;
}

async fn the_next_holder_reads_what_is_applied<H: Harness>() {
    held_before::<H>(Step::Sync).await;
}

async fn a_newer_change_outlives_the_older_one<H: Harness>() {
    let rig = Rig::<H>::new();
    let mut stop = rig.control.stop_before(Step::Sync);
    let first = rig
        .queue(&[(b"\x01a", Some(b"1")), (b"\x01b", Some(b"1"))])
        .await;
    stop.reached().await;
    let mut next = rig.control.stop_before(Step::Apply);
    let second = rig.queue(&[(b"\x01a", Some(b"2")), (b"\x01b", None)]).await;
    stop.release();
    next.reached().await;
    // The first is durable and forgotten; the second is nowhere but in the overlay.
    first.await.unwrap().unwrap();
    let mut txn = rig.txn().await;
    assert_eq!(txn.get(b"\x01a").await.unwrap().as_deref(), Some(&b"2"[..]));
    assert_eq!(txn.get(b"\x01b").await.unwrap(), None);
    let pairs = txn.scan(&Scan::prefix(b"\x01", 10)).await.unwrap();
    assert_eq!(pairs, [(b"\x01a"[..].into(), b"2"[..].into())]);
    drop(txn);
    next.release();
    second.await.unwrap().unwrap();
}

async fn what_is_durable_is_forgotten<H: Harness>() {
    let rig = Rig::<H>::new();
    rig.write(&[(b"\x01a", Some(b"1")), (b"\x01b", None)]).await;
    let reads = rig.control.reads();
    let mut txn = rig.txn().await;
    assert!(txn.get(b"\x01a").await.unwrap().is_some());
    assert!(txn.get(b"\x01b").await.unwrap().is_none());
    // The engine was asked: else the overlay would grow for ever.
    assert_eq!(rig.control.reads(), reads + 2);
    // What is queued is answered without it.
    txn.put(b"\x01a"[..].into(), b"2".to_vec()).unwrap();
    let stop = rig.control.stop_before(Step::Apply);
    let commit = super::queue(txn, Vec::new()).await;
    let mut txn = rig.txn().await;
    assert!(txn.get(b"\x01a").await.unwrap().is_some());
    assert_eq!(rig.control.reads(), reads + 2);
    drop(txn);
    stop.release();
    commit.await.unwrap().unwrap();
}

async fn deletes_do_not_shorten_a_page<H: Harness>() {
    let rig = Rig::<H>::new();
    let mut model = Model::new();
    let base = (0..40).map(|number| (key(number), Some(vec![0]))).collect();
    queue(&rig, &mut model, base).await.await.unwrap().unwrap();
    let stop = rig.control.stop_before(Step::Apply);
    let removed = (0..30).map(|number| (key(number), None)).collect();
    let commit = queue(&rig, &mut model, removed).await;

    let mut txn = rig.txn().await;
    let page = txn.scan(&Scan::prefix(b"\x01", 10)).await.unwrap();
    let keys: Vec<Key> = page.into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, (30..40).map(key).collect::<Vec<_>>());
    drop(txn);
    stop.release();
    commit.await.unwrap().unwrap();
}

async fn own_writes_lie_over_queued_ones<H: Harness>() {
    let (rig, mut model, stop, commits) = layered::<H>(Step::Apply).await;
    let mut txn = rig.txn().await;
    for number in (0..1400).step_by(4) {
        txn.put(key(number), b"own".to_vec()).unwrap();
        model.insert(key(number), b"own"[..].into());
    }
    for number in (0..1400).step_by(6) {
        txn.delete(key(number));
        model.remove(&key(number));
    }
    reads_as(&mut txn, &model).await;
    stop.release();
    reads_as(&mut txn, &model).await;
    txn.commit(Vec::new()).await.unwrap();
    for commit in commits {
        commit.await.unwrap().unwrap();
    }
    let rig = rig.reopened().await;
    reads_as(&mut rig.txn().await, &model).await;
}

async fn a_page_ends_where_the_engine_was_not_read<H: Harness>() {
    let rig = Rig::<H>::new();
    let mut model = Model::new();
    let base = (100..200)
        .map(|number| (key(number), Some(vec![0])))
        .collect();
    queue(&rig, &mut model, base).await.await.unwrap().unwrap();
    // Additions far off at either end must not be drawn in front of pairs that a small page leaves unread.
    let far = [key(0), key(1), key(300), key(301)];
    let far = far.into_iter().map(|key| (key, Some(vec![1]))).collect();
    let stop = rig.control.stop_before(Step::Apply);
    let commit = queue(&rig, &mut model, far).await;
    reads_as(&mut rig.txn().await, &model).await;
    stop.release();
    commit.await.unwrap().unwrap();
}
