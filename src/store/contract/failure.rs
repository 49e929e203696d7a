//! After a failed write nothing more is taken, and a restart recovers what was acknowledged.
//!
//! INVARIANT (ack-durable), the other half: what was not acknowledged is there whole or not at all.

use super::{Harness, Numbering, Rig, on_both, probe::Step, queue, record, unavailable};
use crate::{
    domain::error::Detail,
    store::{
        memory::{Fault, Memory},
        port::{Health, ROOM_FOR_TIME, Scan, Store},
    },
};

on_both!(
    a_failed_apply_stops_the_store,
    a_failed_sync_stops_the_store,
    a_failed_write_takes_those_behind_it_along,
    a_log_that_panics_stops_the_store,
    a_full_disk_refuses_until_there_is_room,
    the_time_is_kept_on_a_disk_that_is_nearly_full,
);

fn failed(store: &dyn Store) -> bool {
    matches!(store.health(), Health::Failed { reason } if reason.contains("injected fault"))
}

async fn stops<H: Harness>(fault: Fault) {
    let rig = Rig::<H>::new();
    rig.write(&[(b"\x01kept", Some(b"1")), (b"\x81kept", Some(&[1; 9000]))])
        .await;
    rig.control.inject(fault);
    let mut doomed = rig.txn().await;
    doomed.put(b"\x01a"[..].into(), b"2".to_vec()).unwrap();
    doomed.put(b"\x81b"[..].into(), vec![2; 9000]).unwrap();
    doomed.delete(b"\x01kept"[..].into());
    unavailable(doomed.commit(vec![record(b"a")]).await);
    assert!(failed(&*rig.store));
    unavailable(rig.store.begin(&[super::lock(0)]).await);
    unavailable(rig.store.begin(&[]).await);
    assert_eq!(
        rig.value(b"\x81kept").await.as_deref(),
        Some(&[1; 9000][..])
    );
    assert_eq!(rig.pairs(&Scan::prefix(b"\x81k", 10)).await.len(), 1);
    assert_eq!(rig.value(b"\x01never").await, None);

    let after = rig.after_power_cut();
    assert_eq!(after.store.health(), Health::Writable);
    assert_eq!(
        after.value(b"\x81kept").await.as_deref(),
        Some(&[1; 9000][..])
    );
    let whole = [
        after.value(b"\x01kept").await.is_none(),
        after.value(b"\x01a").await.is_some(),
        after.value(b"\x81b").await.is_some(),
        after.value(&Numbering::key(1)).await.is_some(),
    ];
    assert!(
        whole == [true; 4] || whole == [false; 4],
        "a half of it: {whole:?}"
    );
    after.write(&[(b"\x01a", Some(b"3"))]).await;

    unavailable(rig.store.close().await);
    assert!(failed(&*rig.store));
}

async fn a_failed_apply_stops_the_store<H: Harness>() {
    stops::<H>(Fault::Apply).await;
}

async fn a_failed_sync_stops_the_store<H: Harness>() {
    stops::<H>(Fault::Sync).await;
}

async fn a_failed_write_takes_those_behind_it_along<H: Harness>() {
    for fault in [Fault::Apply, Fault::Sync] {
        let rig = Rig::<H>::new();
        rig.write(&[(b"\x01kept", Some(b"1"))]).await;
        let before = rig.control.journal().len();
        let mut stop = rig.control.stop_before(Step::Apply);
        let mut commits = vec![rig.queue(&[(b"\x01a", Some(b"1"))]).await];
        stop.reached().await;
        for _ in 0..20 {
            let mut txn = rig.txn().await;
            // It builds on what will never be.
            assert!(txn.get(b"\x01a").await.unwrap().is_some());
            txn.put(b"\x01b"[..].into(), b"1".to_vec()).unwrap();
            commits.push(queue(txn, vec![record(b"b")]).await);
        }
        let late = rig.txn_with(&[(b"\x01c", Some(b"1"))]).await;
        rig.control.inject(fault);
        stop.release();
        for commit in commits {
            unavailable(commit.await.unwrap());
        }
        // Begun before the failure, committed after it.
        unavailable(late.commit(vec![record(b"c")]).await);
        let applied = rig.control.journal().len() - before;
        // The group behind the failing sync may be in the engine by then; it is acknowledged to nobody.
        match fault {
            Fault::Apply | Fault::Torn => assert_eq!(applied, 0),
            Fault::Sync | Fault::Unsaid => assert!((1..=2).contains(&applied), "{applied}"),
        }

        let after = rig.after_power_cut();
        assert!(after.value(b"\x01kept").await.is_some());
        assert_eq!(after.value(b"\x01c").await, None);
        let first = after.value(b"\x01a").await.is_some();
        let second = after.value(b"\x01b").await.is_some();
        let logged = after.pairs(&Scan::prefix(b"\x85", 100)).await;
        match fault {
            Fault::Apply | Fault::Torn => assert!(!first && !second && logged.is_empty()),
            // What was applied may have reached the disk all the same: in order, and with its records.
            Fault::Sync | Fault::Unsaid => {
                assert!(first || !second);
                assert_eq!(second, !logged.is_empty());
            }
        }
    }
}

async fn a_log_that_panics_stops_the_store<H: Harness>() {
    let rig = Rig::<H>::new();
    rig.write(&[(b"\x01kept", Some(b"1"))]).await;
    rig.log.panic_next();
    let txn = rig.txn_with(&[(b"\x01a", Some(b"1"))]).await;
    unavailable(txn.commit(vec![record(b"a")]).await);
    assert!(matches!(rig.store.health(), Health::Failed { .. }));
    unavailable(rig.store.begin(&[super::lock(0)]).await);
    assert!(rig.value(b"\x01kept").await.is_some());
    unavailable(rig.store.close().await);
    assert_eq!(rig.after_power_cut().value(b"\x01a").await, None);
}

async fn a_full_disk_refuses_until_there_is_room<H: Harness>() {
    let rig = Rig::<H>::new();
    rig.write(&[(b"\x01a", Some(b"1"))]).await;
    let open = rig.txn_with(&[(b"\x01a", Some(b"2"))]).await;
    rig.control.set_disk_low(Some(4711));
    assert_eq!(rig.store.health(), Health::DiskLow { free_bytes: 4711 });
    unavailable(open.commit(Vec::new()).await);
    match rig.store.begin(&[super::lock(0)]).await {
        Ok(_) => panic!("a write was begun on a full disk"),
        Err(error) => assert_eq!(error.details(), [("free_bytes", Detail::Number(4711))]),
    }
    unavailable(rig.store.begin(&[]).await);
    assert_eq!(rig.value(b"\x01a").await.as_deref(), Some(&b"1"[..]));

    rig.control.set_disk_low(None);
    assert_eq!(rig.store.health(), Health::Writable);
    rig.write(&[(b"\x01a", Some(b"3"))]).await;
    assert_eq!(rig.value(b"\x01a").await.as_deref(), Some(&b"3"[..]));
    rig.control.set_disk_low(Some(0));
    rig.store.close().await.unwrap();
    assert_eq!(rig.store.health(), Health::Closed);
}

// INVARIANT (clock)
async fn the_time_is_kept_on_a_disk_that_is_nearly_full<H: Harness>() {
    let rig = Rig::<H>::new();
    rig.write(&[(b"\x01a", Some(b"1"))]).await;
    let groups = || rig.control.journal().len();
    let before = groups();
    rig.control.set_disk_low(Some(ROOM_FOR_TIME));
    rig.store.keep_time().await.unwrap();
    let kept = groups();
    assert!(kept > before, "a group of its own");
    rig.control.set_disk_low(Some(ROOM_FOR_TIME - 1));
    unavailable(rig.store.keep_time().await);
    rig.control.set_disk_low(None);
    rig.store.close().await.unwrap();
    unavailable(rig.store.keep_time().await);
    assert_eq!(groups(), kept);
}

/// The faults that simulation injects into the engine in memory itself.
#[tokio::test]
async fn memory_fails_and_forgets_as_it_is_told() {
    for fault in [Fault::Apply, Fault::Sync] {
        let memory = Memory::default();
        let store = memory.clone().serve(Box::new(super::Numbering::default()));
        let write = async |value: &[u8]| {
            let mut txn = store.begin(&[super::lock(0)]).await?;
            txn.put(b"\x01a"[..].into(), value.to_vec())?;
            txn.commit(vec![record(value)]).await
        };
        write(b"1").await.unwrap();
        memory.set_disk_low(true);
        unavailable(write(b"2").await);
        memory.set_disk_low(false);
        write(b"3").await.unwrap();
        memory.inject(fault);
        unavailable(write(b"4").await);
        unavailable(write(b"5").await);
        assert!(failed(&store));
        let left = memory.after_power_cut().dump();
        assert_eq!(left.len(), 3, "two records and a value");
        assert_eq!(*left[0].1, *b"3");
    }
}
