//! A snapshot is one prefix of the commits, whoever writes meanwhile.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use super::{Harness, Rig, lock, on_both, probe::Step, record, unavailable};
use crate::{
    domain::error::Error,
    store::{
        memory::Fault,
        port::{Key, Store},
    },
};

on_both!(
    a_snapshot_gives_every_pair_in_order,
    a_snapshot_is_one_prefix_of_the_commits,
    a_snapshot_waits_until_what_it_saw_is_durable,
    a_snapshot_of_what_was_lost_fails,
    a_visit_that_fails_ends_the_snapshot,
    a_spool_can_be_written_and_read,
);

type Pairs = Vec<(Key, Vec<u8>)>;

async fn snapshot(store: &dyn Store) -> crate::domain::error::Result<Pairs> {
    let pairs = Arc::new(Mutex::new(Vec::new()));
    let into = pairs.clone();
    store
        .snapshot(Box::new(move |key, value| {
            into.lock().unwrap().push((key.into(), value.to_vec()));
            Ok(())
        }))
        .await?;
    Ok(std::mem::take(&mut *pairs.lock().unwrap()))
}

async fn a_snapshot_gives_every_pair_in_order<H: Harness>() {
    let rig = Rig::<H>::new();
    assert_eq!(snapshot(&*rig.store).await.unwrap(), Pairs::new());
    let long = vec![7; 50_000];
    rig.write(&[
        (b"\x81long", Some(&long)),
        (b"\x81gone", Some(&long)),
        (b"\x01b", Some(b"")),
        (b"\x01a", Some(b"1")),
    ])
    .await;
    rig.write(&[(b"\x81gone", None)]).await;
    let txn = rig.txn().await;
    txn.commit(vec![record(b"logged")]).await.unwrap();
    let expected: Pairs = vec![
        (b"\x01a"[..].into(), b"1".to_vec()),
        (b"\x01b"[..].into(), Vec::new()),
        (b"\x81long"[..].into(), long),
        (super::Numbering::key(1), b"logged".to_vec()),
    ];
    assert_eq!(snapshot(&*rig.store).await.unwrap(), expected);
}

/// Writers commit pairs of keys that must agree, each with its own number; the number acknowledged last is
/// known when a snapshot begins.
async fn a_snapshot_is_one_prefix_of_the_commits<H: Harness>() {
    const WRITERS: u8 = 4;
    const SPREAD: [u8; 4] = [0x01, 0x0a, 0x81, 0x85];
    let rig = Rig::<H>::new();
    let over = Arc::new(AtomicBool::new(false));
    let acknowledged: Arc<Vec<AtomicU32>> =
        Arc::new((0..WRITERS).map(|_| AtomicU32::new(0)).collect());
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (store, over) = (rig.store.clone(), over.clone());
            let acknowledged = acknowledged.clone();
            tokio::spawn(async move {
                let mut number = 0_u32;
                while !over.load(Ordering::Relaxed) {
                    number += 1;
                    let mut txn = store.begin(&[lock(writer)]).await.unwrap();
                    for table in SPREAD {
                        let value =
                            number
                                .to_be_bytes()
                                .repeat(if table > 0x80 { 3000 } else { 1 });
                        txn.put([table, 0xff, writer][..].into(), value).unwrap();
                    }
                    txn.commit(Vec::new()).await.unwrap();
                    acknowledged[usize::from(writer)].store(number, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let number = |value: &[u8]| {
        let (first, rest) = value.split_first_chunk::<4>().unwrap();
        assert!(rest.chunks(4).all(|part| part == first), "a torn value");
        u32::from_be_bytes(*first)
    };
    let mut rounds = 0;
    // Some begin before anything was written, and some after everybody has.
    while rounds < 30
        || acknowledged
            .iter()
            .any(|last| last.load(Ordering::SeqCst) == 0)
    {
        rounds += 1;
        let before: Vec<_> = acknowledged
            .iter()
            .map(|number| number.load(Ordering::SeqCst))
            .collect();
        let pairs = snapshot(&*rig.store).await.unwrap();
        assert!(pairs.is_sorted_by(|a, b| a.0 < b.0));
        for writer in 0..WRITERS {
            let seen: Vec<_> = pairs
                .iter()
                .filter(|(key, _)| key.ends_with(&[0xff, writer]))
                .map(|(_, value)| number(value))
                .collect();
            let before = before[usize::from(writer)];
            assert!(seen.len() == SPREAD.len() || (seen.is_empty() && before == 0));
            assert!(
                seen.windows(2).all(|two| two[0] == two[1]),
                "half a write set"
            );
            assert!(
                seen.iter().all(|seen| *seen >= before),
                "an acknowledged write is missing"
            );
        }
        tokio::task::yield_now().await;
    }
    over.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    let before: Vec<_> = acknowledged
        .iter()
        .map(|number| number.load(Ordering::SeqCst))
        .collect();
    assert!(
        before.iter().all(|number| *number > 0),
        "nobody wrote: {before:?}"
    );
}

async fn a_snapshot_waits_until_what_it_saw_is_durable<H: Harness>() {
    let rig = Rig::<H>::new();
    let mut stop = rig.control.stop_before(Step::Sync);
    let queued = rig.queue(&[(b"\x01a", Some(b"1"))]).await;
    stop.reached().await;
    let store = rig.store.clone();
    let (visited, on_visited) = tokio::sync::oneshot::channel();
    let mut visited = Some(visited);
    let mut taken = tokio::spawn(async move {
        store
            .snapshot(Box::new(move |_, _| {
                let _ = visited.take().map(|visited| visited.send(()));
                Ok(())
            }))
            .await
    });
    on_visited.await.unwrap();
    // It has seen what is not durable yet, and may not be told of by then.
    let early = tokio::time::timeout(Duration::from_millis(100), &mut taken);
    assert!(early.await.is_err());
    stop.release();
    taken.await.unwrap().unwrap();
    queued.await.unwrap().unwrap();
}

async fn a_snapshot_of_what_was_lost_fails<H: Harness>() {
    let rig = Rig::<H>::new();
    rig.control.inject(Fault::Sync);
    let queued = rig.queue(&[(b"\x01a", Some(b"1"))]).await;
    unavailable(queued.await.unwrap());
    unavailable(snapshot(&*rig.store).await);
}

async fn a_visit_that_fails_ends_the_snapshot<H: Harness>() {
    let rig = Rig::<H>::new();
    rig.write(&[(b"\x01a", Some(b"1")), (b"\x01b", Some(b"1"))])
        .await;
    let visits = Arc::new(AtomicU32::new(0));
    let count = visits.clone();
    let outcome = rig.store.snapshot(Box::new(move |_, _| {
        count.fetch_add(1, Ordering::Relaxed);
        Err(Error::storage("enough"))
    }));
    assert_eq!(outcome.await.unwrap_err().message(), "enough");
    assert_eq!(visits.load(Ordering::Relaxed), 1);
    // The next one, and the writes behind it, are held up by nothing.
    rig.write(&[(b"\x01c", Some(b"1"))]).await;
    assert_eq!(snapshot(&*rig.store).await.unwrap().len(), 3);
}

async fn a_spool_can_be_written_and_read<H: Harness>() {
    use std::io::{Read, Seek, Write};
    let rig = Rig::<H>::new();
    let mut spool = rig.store.spool().unwrap();
    spool.write_all(b"for a while").unwrap();
    spool.rewind().unwrap();
    let mut text = String::new();
    spool.read_to_string(&mut text).unwrap();
    assert_eq!(text, "for a while");
}
