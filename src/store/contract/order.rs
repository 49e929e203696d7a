//! Write sets become durable in the order of the queue, whole, each with its audit records.
//!
//! INVARIANT (ack-audited): what is durable has its record, in the same atomic write.

use tokio::task::JoinSet;

use super::{
    Harness, Numbering, Rig, on_both, once,
    probe::{Event, Step},
    queue, record,
};
use crate::store::{
    overlay::WriteSet,
    port::{Key, Scan, Store, Txn},
};

on_both!(
    write_sets_become_durable_in_the_order_of_the_queue,
    records_are_numbered_in_the_order_of_the_commits,
    a_commit_resolves_after_its_sync,
    of_two_changes_in_one_group_the_later_wins,
    groups_and_the_queue_are_bounded,
);

const COUNTER: &[u8] = b"\x01counter";

fn numbered(number: u64) -> Key {
    [&[2][..], &number.to_be_bytes()].concat().into()
}

/// Takes the next number under the one lock, writes it down as a key and as an audit record.
async fn step(txn: &mut Box<dyn Txn>) -> u64 {
    let before = txn
        .get(COUNTER)
        .await
        .unwrap()
        .map_or(0, |value| u64::from_be_bytes((*value).try_into().unwrap()));
    let number = before + 1;
    let value = number.to_be_bytes().to_vec();
    txn.put(COUNTER.into(), value.clone()).unwrap();
    txn.put(numbered(number), value).unwrap();
    number
}

/// Counts to `tasks * each` from many tasks at once.
async fn count<H: Harness>(rig: &Rig<H>, tasks: u64, each: u64) {
    let mut running = JoinSet::new();
    for _ in 0..tasks {
        let store = rig.store.clone();
        let control = rig.control.clone();
        running.spawn(async move {
            for _ in 0..each {
                let mut txn = store.begin(&[super::lock(0)]).await.unwrap();
                let number = step(&mut txn).await;
                let audit = record(&number.to_be_bytes());
                txn.commit(vec![audit]).await.unwrap();
                // INVARIANT (ack-durable)
                assert!(control.durable(&numbered(number)).is_some());
                assert!(control.durable(&Numbering::key(number)).is_some());
            }
        });
    }
    running.join_all().await;
}

fn applied(journal: &[Event]) -> impl Iterator<Item = &WriteSet> {
    journal.iter().filter_map(|event| match event {
        Event::Applied(writes) => Some(writes),
        Event::Synced => None,
    })
}

async fn write_sets_become_durable_in_the_order_of_the_queue<H: Harness>() {
    let rig = Rig::<H>::new();
    count(&rig, 16, 25).await;
    let journal = rig.control.journal();
    let mut next = 1;
    for group in applied(&journal) {
        let numbers: Vec<u64> = group
            .keys()
            .filter(|key| key[0] == 2)
            .map(|key| u64::from_be_bytes(key[1..].try_into().unwrap()))
            .collect();
        // Each group takes up where the one before ended: what is durable is always a beginning of the queue.
        let expected: Vec<u64> = (next..next + numbers.len() as u64).collect();
        assert_eq!(numbers, expected);
        next += numbers.len() as u64;
        let counter = group.get(COUNTER).unwrap().as_deref();
        assert_eq!(counter, Some(&(next - 1).to_be_bytes()[..]));
    }
    assert_eq!(next, 16 * 25 + 1);
    // One sync behind every group, with at most one more applied by then.
    let mut ahead = 0;
    for event in &journal {
        match event {
            Event::Applied(_) => ahead += 1,
            Event::Synced => ahead -= 1,
        }
        assert!((0..=2).contains(&ahead), "{ahead}");
    }
    assert_eq!(ahead, 0);
    let rig = rig.reopened().await;
    assert_eq!(rig.pairs(&Scan::prefix(b"\x02", 1000)).await.len(), 400);
}

async fn records_are_numbered_in_the_order_of_the_commits<H: Harness>() {
    let rig = Rig::<H>::new();
    count(&rig, 16, 25).await;
    for group in applied(&rig.control.journal()) {
        for (key, change) in group.iter().filter(|(key, _)| key[0] == 2) {
            let number = u64::from_be_bytes(key[1..].try_into().unwrap());
            // The record of this very write set, under the number that its place in the queue gives it.
            let logged = group
                .get(&Numbering::key(number))
                .expect("in the same group");
            assert_eq!(logged, change);
        }
    }
    let rig = rig.reopened().await;
    count(&rig, 4, 5).await;
    let log = rig.pairs(&Scan::prefix(b"\x85", 1000)).await;
    let numbers: Vec<u64> = log
        .iter()
        .map(|(key, value)| {
            let number = Numbering::number(key).unwrap();
            assert_eq!(**value, number.to_be_bytes());
            number
        })
        .collect();
    assert_eq!(numbers, (1..=420).collect::<Vec<_>>());
}

async fn a_commit_resolves_after_its_sync<H: Harness>() {
    let rig = Rig::<H>::new();
    for at in [Step::Apply, Step::Sync] {
        let mut stop = rig.control.stop_before(at);
        let txn = rig.txn_with(&[(b"\x01a", Some(b"1"))]).await;
        let mut commit = txn.commit(Vec::new());
        assert!(once(&mut commit).await.is_pending());
        stop.reached().await;
        assert!(once(&mut commit).await.is_pending());
        stop.release();
        commit.await.unwrap();
        assert!(rig.control.durable(b"\x01a").is_some());
        rig.write(&[(b"\x01a", None)]).await;
    }
}

async fn of_two_changes_in_one_group_the_later_wins<H: Harness>() {
    let rig = Rig::<H>::new();
    let mut stop = rig.control.stop_before(Step::Apply);
    let mut commits = vec![rig.queue(&[(b"\x01first", Some(b""))]).await];
    stop.reached().await;
    // All of these wait behind the first and become one group.
    for changes in [
        [(&b"\x01a"[..], Some(&b"1"[..])), (b"\x01b", Some(b"1"))],
        [(b"\x01a", None), (b"\x01b", None)],
        [(b"\x01b", Some(b"3")), (b"\x81c", Some(&[3; 9000]))],
        [(b"\x81c", Some(b"4")), (b"\x01d", Some(b"4"))],
    ] {
        commits.push(rig.queue(&changes).await);
    }
    stop.release();
    for commit in commits {
        commit.await.unwrap().unwrap();
    }
    assert_eq!(applied(&rig.control.journal()).count(), 2);
    for rig in [rig.after_power_cut(), rig] {
        assert_eq!(rig.value(b"\x01a").await, None);
        assert_eq!(rig.value(b"\x01b").await.as_deref(), Some(&b"3"[..]));
        assert_eq!(rig.value(b"\x81c").await.as_deref(), Some(&b"4"[..]));
        assert_eq!(rig.value(b"\x01d").await.as_deref(), Some(&b"4"[..]));
    }
}

async fn groups_and_the_queue_are_bounded<H: Harness>() {
    const MAX_GROUP: usize = 1024;
    const MAX_QUEUED: u64 = 8192;
    let rig = Rig::<H>::new();
    let mut stop = rig.control.stop_before(Step::Apply);
    let commit_next = async || {
        let mut txn = rig.txn().await;
        let number = step(&mut txn).await;
        // Given up as soon as it is queued, as by a client that will not wait: its place stays taken.
        drop(queue(txn, vec![record(&number.to_be_bytes())]).await);
    };
    for _ in 0..MAX_QUEUED {
        commit_next().await;
    }
    stop.reached().await;
    let mut txn = rig.txn().await;
    step(&mut txn).await;
    let mut one_too_many = txn.commit(Vec::new());
    assert!(once(&mut one_too_many).await.is_pending());
    // Not queued, so its lock is not given back.
    let locks = [super::lock(0)];
    let mut next = rig.store.begin(&locks);
    assert!(once(&mut next).await.is_pending());
    stop.release();
    one_too_many.await.unwrap();
    drop(next);

    let journal = rig.control.journal();
    assert!(applied(&journal).all(|group| group.len() <= 2 * MAX_GROUP + 1));
    assert!(applied(&journal).any(|group| group.len() == 2 * MAX_GROUP + 1));
    let counter = rig.value(COUNTER).await.unwrap();
    assert_eq!(*counter, (MAX_QUEUED + 1).to_be_bytes());
}
