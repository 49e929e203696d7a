//! All of a write set or none of it, for whoever reads and whenever it is given up.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
};

use super::{Harness, Rig, lock, on_both, once, probe::Step, record};
use crate::store::port::{Scan, Store, Txn};

on_both!(
    a_committed_write_set_is_there_whole,
    a_transaction_reads_its_own_writes,
    a_dropped_transaction_changes_nothing,
    a_commit_that_is_never_awaited_changes_nothing,
    a_commit_that_is_given_up_later_is_still_carried_out,
    an_empty_commit_needs_no_write,
    a_scan_sees_a_write_set_whole,
    a_scan_sees_a_long_value_whole,
    a_read_sees_a_long_value_whole,
);

async fn a_committed_write_set_is_there_whole<H: Harness>() {
    let rig = Rig::<H>::new();
    rig.write(&[
        (b"\x01a", Some(b"old")),
        (b"\x01b", Some(b"old")),
        (b"\x81c", Some(b"old")),
    ])
    .await;
    rig.write(&[
        (b"\x01a", Some(b"new")),
        (b"\x01b", None),
        (b"\x81c", Some(b"new")),
        (b"\x01d", Some(b"")),
    ])
    .await;
    let all_there = async |rig: &Rig<H>| {
        assert_eq!(rig.value(b"\x01a").await.as_deref(), Some(&b"new"[..]));
        assert_eq!(rig.value(b"\x01b").await, None);
        assert_eq!(rig.value(b"\x81c").await.as_deref(), Some(&b"new"[..]));
        assert_eq!(rig.value(b"\x01d").await.as_deref(), Some(&b""[..]));
    };
    all_there(&rig).await;
    all_there(&rig.reopened().await).await;
}

async fn a_transaction_reads_its_own_writes<H: Harness>() {
    let rig = Rig::<H>::new();
    rig.write(&[(b"\x01a", Some(b"1")), (b"\x01b", Some(b"1"))])
        .await;
    let mut txn = rig.txn().await;
    txn.put(b"\x01a"[..].into(), b"2".to_vec()).unwrap();
    txn.delete(b"\x01b"[..].into());
    txn.put(b"\x01c"[..].into(), b"3".to_vec()).unwrap();
    txn.put(b"\x01c"[..].into(), b"4".to_vec()).unwrap();
    assert_eq!(txn.get(b"\x01a").await.unwrap().as_deref(), Some(&b"2"[..]));
    assert_eq!(txn.get(b"\x01b").await.unwrap(), None);
    let pairs = txn.scan(&Scan::prefix(b"\x01", 10)).await.unwrap();
    let expected = [
        (b"\x01a"[..].into(), b"2"[..].into()),
        (b"\x01c"[..].into(), b"4"[..].into()),
    ];
    assert_eq!(pairs, expected);
    // Others know nothing of it.
    assert_eq!(rig.value(b"\x01a").await.as_deref(), Some(&b"1"[..]));
    assert_eq!(rig.value(b"\x01c").await, None);
}

async fn a_dropped_transaction_changes_nothing<H: Harness>() {
    let rig = Rig::<H>::new();
    rig.write(&[(b"\x01a", Some(b"1"))]).await;
    let mut txn = rig.store.begin(&[lock(1), lock(2)]).await.unwrap();
    txn.put(b"\x01a"[..].into(), b"2".to_vec()).unwrap();
    txn.put(b"\x01b"[..].into(), b"2".to_vec()).unwrap();
    drop(txn);
    // Its locks are free again, and nothing lies over the state.
    let mut next = rig.store.begin(&[lock(2), lock(1)]).await.unwrap();
    assert_eq!(
        next.get(b"\x01a").await.unwrap().as_deref(),
        Some(&b"1"[..])
    );
    assert_eq!(next.get(b"\x01b").await.unwrap(), None);
    drop(next);
    let rig = rig.reopened().await;
    assert_eq!(rig.pairs(&Scan::prefix(b"", 10)).await.len(), 1);
}

async fn a_commit_that_is_never_awaited_changes_nothing<H: Harness>() {
    let rig = Rig::<H>::new();
    let txn = rig.txn_with(&[(b"\x01a", Some(b"1"))]).await;
    drop(txn.commit(Vec::new()));
    let mut next = rig.txn().await;
    assert_eq!(next.get(b"\x01a").await.unwrap(), None);
    drop(next);
    assert!(rig.control.journal().is_empty());
}

async fn a_commit_that_is_given_up_later_is_still_carried_out<H: Harness>() {
    let rig = Rig::<H>::new();
    let txn = rig.txn_with(&[(b"\x01a", Some(b"1"))]).await;
    let mut commit = txn.commit(vec![record(b"a")]);
    // A client that hangs up does not undo what others may already build on.
    let stop = rig.control.stop_before(Step::Apply);
    assert!(matches!(once(&mut commit).await, Poll::Pending));
    drop(commit);
    stop.release();
    rig.write(&[(b"\x01b", Some(b"1"))]).await;
    assert_eq!(rig.value(b"\x01a").await.as_deref(), Some(&b"1"[..]));
    let logged = rig.pairs(&Scan::prefix(b"\x85", 10)).await;
    assert_eq!(logged.len(), 1);
}

async fn an_empty_commit_needs_no_write<H: Harness>() {
    let rig = Rig::<H>::new();
    rig.txn().await.commit(Vec::new()).await.unwrap();
    assert!(rig.control.journal().is_empty());
    let only_audit = rig.txn().await;
    only_audit.commit(vec![record(b"seen")]).await.unwrap();
    assert_eq!(rig.pairs(&Scan::prefix(b"\x85", 10)).await.len(), 1);
}

/// Commits `writes` times while a task of its own reads as often as it can.
async fn read_while_writing<H: Harness, F>(
    rig: &Rig<H>,
    writes: u32,
    set: impl Fn(&mut Box<dyn Txn>, u32),
    read: impl Fn(Arc<dyn Store>) -> F + Send + 'static,
) where
    F: Future<Output = ()> + Send,
{
    let ended = Arc::new(AtomicBool::new(false));
    let (store, over) = (rig.store.clone(), ended.clone());
    let reader = tokio::spawn(async move {
        while !over.load(Ordering::Relaxed) {
            read(store.clone()).await;
        }
    });
    for round in 0..writes {
        let mut txn = rig.txn().await;
        set(&mut txn, round);
        txn.commit(Vec::new()).await.unwrap();
    }
    ended.store(true, Ordering::Relaxed);
    reader.await.unwrap();
}

async fn a_scan_sees_a_write_set_whole<H: Harness>() {
    const KEYS: u8 = 100;
    let rig = Rig::<H>::new();
    let set = |txn: &mut Box<dyn Txn>, round: u32| {
        for key in 0..KEYS {
            txn.put([1, key][..].into(), round.to_be_bytes().to_vec())
                .unwrap();
        }
    };
    for reverse in [false, true] {
        let read = move |store: Arc<dyn Store>| async move {
            let mut scan = Scan::prefix(b"\x01", 1000);
            scan.reverse = reverse;
            let pairs = store.scan(&scan).await.unwrap();
            assert!(pairs.is_empty() || pairs.len() == usize::from(KEYS));
            let same = pairs.windows(2).all(|pair| pair[0].1 == pair[1].1);
            assert!(same, "half of a write set");
        };
        read_while_writing(&rig, 100, set, read).await;
    }
}

fn set_long(txn: &mut Box<dyn Txn>, round: u32) {
    let value = vec![round as u8; 100_000];
    txn.put(b"\x81long"[..].into(), value).unwrap();
}

fn whole(value: &[u8]) {
    assert!(value.iter().all(|byte| *byte == value[0]), "torn");
}

async fn a_scan_sees_a_long_value_whole<H: Harness>() {
    let rig = Rig::<H>::new();
    let read = |store: Arc<dyn Store>| async move {
        let pairs = store.scan(&Scan::prefix(b"\x81", 1)).await.unwrap();
        pairs.iter().for_each(|(_, value)| whole(value));
    };
    read_while_writing(&rig, 100, set_long, read).await;
}

async fn a_read_sees_a_long_value_whole<H: Harness>() {
    let rig = Rig::<H>::new();
    let read = |store: Arc<dyn Store>| async move {
        let value = store.get(b"\x81long").await.unwrap();
        whole(&value.unwrap_or_default());
    };
    read_while_writing(&rig, 100, set_long, read).await;
}
