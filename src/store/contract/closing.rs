//! Closing: what is queued is still carried out, what comes later is refused.

use super::{Harness, Rig, on_both, once, probe::Step, unavailable};
use crate::store::port::{Health, Store};

on_both!(
    close_waits_for_what_is_queued,
    close_waits_for_open_transactions,
    a_closed_store_refuses,
    closing_twice_is_closing_once,
    a_given_up_close_still_closes,
);

async fn close_waits_for_what_is_queued<H: Harness>() {
    let rig = Rig::<H>::new();
    let mut stop = rig.control.stop_before(Step::Apply);
    let mut commits = Vec::new();
    for number in 0..10_u8 {
        commits.push(rig.queue(&[(&[1, number], Some(&[number]))]).await);
    }
    stop.reached().await;
    let mut close = rig.store.close();
    assert!(once(&mut close).await.is_pending());
    stop.release();
    close.await.unwrap();
    // The commits need not be asked: closed means that all of it is durable.
    for number in 0..10_u8 {
        assert!(rig.control.durable(&[1, number]).is_some());
    }
    for commit in commits {
        commit.await.unwrap().unwrap();
    }
}

async fn close_waits_for_open_transactions<H: Harness>() {
    let rig = Rig::<H>::new();
    let open = rig.txn_with(&[(b"\x01a", Some(b"1"))]).await;
    let mut close = rig.store.close();
    assert!(once(&mut close).await.is_pending());
    unavailable(rig.store.begin(&[]).await);
    open.commit(Vec::new()).await.unwrap();
    close.await.unwrap();
    assert_eq!(rig.value(b"\x01a").await.as_deref(), Some(&b"1"[..]));
}

async fn a_closed_store_refuses<H: Harness>() {
    let rig = Rig::<H>::new();
    rig.write(&[(b"\x01a", Some(b"1"))]).await;
    assert_eq!(rig.store.health(), Health::Writable);
    rig.store.close().await.unwrap();
    assert_eq!(rig.store.health(), Health::Closed);
    unavailable(rig.store.begin(&[super::lock(0)]).await);
    unavailable(rig.store.begin(&[]).await);
    assert_eq!(rig.value(b"\x01a").await.as_deref(), Some(&b"1"[..]));
}

async fn closing_twice_is_closing_once<H: Harness>() {
    let rig = Rig::<H>::new();
    let stop = rig.control.stop_before(Step::Sync);
    let commit = rig.queue(&[(b"\x01a", Some(b"1"))]).await;
    let (mut first, mut second) = (rig.store.close(), rig.store.close());
    assert!(once(&mut first).await.is_pending());
    assert!(once(&mut second).await.is_pending());
    stop.release();
    first.await.unwrap();
    second.await.unwrap();
    rig.store.close().await.unwrap();
    commit.await.unwrap().unwrap();
}

async fn a_given_up_close_still_closes<H: Harness>() {
    let rig = Rig::<H>::new();
    let stop = rig.control.stop_before(Step::Sync);
    let commit = rig.queue(&[(b"\x01a", Some(b"1"))]).await;
    let mut close = rig.store.close();
    assert!(once(&mut close).await.is_pending());
    drop(close);
    unavailable(rig.store.begin(&[super::lock(0)]).await);
    stop.release();
    commit.await.unwrap().unwrap();
    let rig = rig.reopened().await;
    assert!(rig.value(b"\x01a").await.is_some());
}
