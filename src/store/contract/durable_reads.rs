//! A read outside a transaction hands out nothing that a power cut could still take back.
//!
//! INVARIANT (ack-durable): an answer built on such a read is as good as an acknowledgement.

use super::{Harness, Numbering, Rig, on_both, once, probe::Step, record, unavailable};
use crate::store::{
    memory::Fault,
    port::{Scan, Store},
};

on_both!(
    what_is_queued_is_not_read,
    what_is_applied_is_not_read,
    a_later_write_to_the_same_key_is_not_read_with_the_first,
    a_record_of_the_log_is_not_read_before_it_is_durable,
    reads_of_other_keys_do_not_wait,
    what_a_failed_write_left_in_the_engine_is_not_read,
);

/// A read that begins while the write of `\x01a` stands before that step.
async fn held_before<H: Harness>(step: Step) {
    let rig = Rig::<H>::new();
    rig.write(&[(b"\x01a", Some(b"1"))]).await;
    let mut stop = rig.control.stop_before(step);
    let second = rig
        .queue(&[(b"\x01a", Some(b"2")), (b"\x01b", Some(b"2"))])
        .await;
    stop.reached().await;

    let scan = Scan::prefix(b"\x01", 10);
    let mut get = rig.store.get(b"\x01a");
    let mut list = rig.store.scan(&scan);
    // Either the old state at once, or an answer once the new one is durable.
    let got = once(&mut get).await;
    let listed = once(&mut list).await;
    stop.release();
    second.await.unwrap().unwrap();
    if let std::task::Poll::Ready(value) = got {
        assert_eq!(value.unwrap().as_deref(), Some(&b"1"[..]));
    }
    if let std::task::Poll::Ready(pairs) = listed {
        assert_eq!(pairs.unwrap().len(), 1);
    }
    // What is acknowledged is what the next one reads.
    assert_eq!(rig.value(b"\x01a").await.as_deref(), Some(&b"2"[..]));
    assert_eq!(rig.pairs(&scan).await.len(), 2);
}

async fn what_is_queued_is_not_read<H: Harness>() {
    held_before::<H>(Step::Apply).await;
}

async fn what_is_applied_is_not_read<H: Harness>() {
    held_before::<H>(Step::Sync).await;
}

async fn a_later_write_to_the_same_key_is_not_read_with_the_first<H: Harness>() {
    let rig = Rig::<H>::new();
    let mut stop = rig.control.stop_before(Step::Sync);
    let first = rig.queue(&[(b"\x01a", Some(b"1"))]).await;
    stop.reached().await;
    let scan = Scan::prefix(b"\x01", 10);
    // Both begin while only the first is on its way …
    let mut get = rig.store.get(b"\x01a");
    let mut list = rig.store.scan(&scan);
    let got = once(&mut get).await;
    let listed = once(&mut list).await;
    // … and go on while the second is in the engine and not durable.
    let second = rig.queue(&[(b"\x01a", Some(b"2"))]).await;
    let mut next = rig.control.stop_before(Step::Sync);
    stop.release();
    first.await.unwrap().unwrap();
    next.reached().await;
    // A sync may take along what was applied meanwhile, and then it is durable.
    let synced_second = rig.control.durable(b"\x01a").as_deref() == Some(&b"2"[..]);
    let durable_only = |value: Option<&[u8]>| {
        assert!(synced_second || value != Some(&b"2"[..]), "not durable");
    };
    let got = if got.is_ready() {
        got
    } else {
        once(&mut get).await
    };
    if let std::task::Poll::Ready(value) = got {
        durable_only(value.unwrap().as_deref());
    }
    let listed = if listed.is_ready() {
        listed
    } else {
        once(&mut list).await
    };
    if let std::task::Poll::Ready(pairs) = listed {
        durable_only(pairs.unwrap().first().map(|(_, value)| &**value));
    }
    next.release();
    second.await.unwrap().unwrap();
}

async fn a_record_of_the_log_is_not_read_before_it_is_durable<H: Harness>() {
    let rig = Rig::<H>::new();
    let mut stop = rig.control.stop_before(Step::Sync);
    let txn = rig.txn_with(&[(b"\x01a", Some(b"1"))]).await;
    let commit = super::queue(txn, vec![record(b"a")]).await;
    stop.reached().await;
    let scan = Scan::prefix(b"\x85", 10);
    let key = Numbering::key(1);
    let mut get = rig.store.get(&key);
    let mut list = rig.store.scan(&scan);
    assert!(once(&mut get).await.is_pending());
    assert!(once(&mut list).await.is_pending());
    stop.release();
    commit.await.unwrap().unwrap();
    assert!(get.await.unwrap().is_some());
    assert_eq!(list.await.unwrap().len(), 1);
}

async fn reads_of_other_keys_do_not_wait<H: Harness>() {
    let rig = Rig::<H>::new();
    rig.write(&[(b"\x02other", Some(b"1"))]).await;
    let mut stop = rig.control.stop_before(Step::Sync);
    let held = rig.queue(&[(b"\x01a", Some(b"1"))]).await;
    stop.reached().await;
    assert!(rig.value(b"\x02other").await.is_some());
    assert_eq!(rig.value(b"\x02missing").await, None);
    assert_eq!(rig.pairs(&Scan::prefix(b"\x02", 10)).await.len(), 1);
    stop.release();
    held.await.unwrap().unwrap();
}

async fn what_a_failed_write_left_in_the_engine_is_not_read<H: Harness>() {
    let rig = Rig::<H>::new();
    rig.write(&[(b"\x01a", Some(b"1")), (b"\x02other", Some(b"1"))])
        .await;
    rig.control.inject(Fault::Sync);
    let txn = rig.txn_with(&[(b"\x01a", Some(b"2"))]).await;
    unavailable(txn.commit(vec![record(b"a")]).await);
    // Which of both values the disk has is not known before a restart.
    unavailable(rig.store.get(b"\x01a").await);
    unavailable(rig.store.scan(&Scan::prefix(b"\x01", 10)).await);
    unavailable(rig.store.get(&Numbering::key(1)).await);
    assert!(rig.value(b"\x02other").await.is_some());
    assert_eq!(rig.pairs(&Scan::prefix(b"\x02", 10)).await.len(), 1);
}
