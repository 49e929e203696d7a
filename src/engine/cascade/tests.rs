//! Cascades of several transactions, and what does not open in their way, over the real engine in memory.

mod unreadable;

use std::{collections::BTreeMap, sync::atomic::Ordering};

use super::*;
use crate::{
    domain::{
        error::Code, id::LeaseId, name::CredentialName, policy::OnRotate, retention::Retention,
        secret::SecretText,
    },
    engine::{RotateCredential, Rotated, retention::tests::World},
    store::{local::Backend, port::Store},
};

/// Open leases that a cascade looks at in one transaction.
const TOGETHER: usize = 2;
const LEASES: usize = 5;

async fn world() -> World {
    let mut world = World::new(Retention::default()).await;
    world.engine = world.engine.sweeping_at_once(TOGETHER);
    world
}

impl World {
    async fn leased(&self, name: &str) -> (CredentialName, CredentialId) {
        let name = self.store(name).await;
        self.take(&name, LEASES).await;
        let id = self.id_of(&name).await.unwrap();
        (name, id)
    }

    async fn take(&self, name: &CredentialName, leases: usize) -> Vec<LeaseId> {
        let mut taken = Vec::new();
        for _ in 0..leases {
            taken.push(self.lease(name, 600).await);
        }
        taken
    }

    async fn id_of(&self, name: &CredentialName) -> Option<CredentialId> {
        let tables = self.engine.tables(self.workspace).unwrap();
        let id = tables.credential_id(&mut self.engine.read(), name).await;
        id.unwrap()
    }

    async fn rotate(&self, name: &CredentialName, value: &str, mode: OnRotate) -> Result<Rotated> {
        let command = RotateCredential {
            new_value: SecretText::new(value.to_owned()),
            metadata: BTreeMap::new(),
            on_open_leases: Some(mode),
            expected_version: None,
        };
        let mut call = self.call();
        let mark = self
            .engine
            .idempotency(self.workspace, value, value.as_bytes());
        call.idempotency = Some(mark.unwrap());
        self.engine.rotate_credential(&call, name, command).await
    }

    /// Does what begins a cascade, and loses the request after the first transaction.
    async fn cut_short<T: std::fmt::Debug>(&self, work: impl Future<Output = Result<T>>) {
        self.left.store(1, Ordering::SeqCst);
        let lost = work.await.unwrap_err();
        assert_eq!(lost.code(), Code::StorageUnavailable);
        self.left.store(usize::MAX, Ordering::SeqCst);
    }

    /// Entries in the index of open leases.
    async fn open(&self, id: CredentialId) -> usize {
        let open = key::open_leases(self.workspace, id);
        range_all(&mut self.engine.read(), open)
            .await
            .unwrap()
            .len()
    }

    async fn is_sweeping(&self, id: CredentialId) -> bool {
        let at = key::sweep(self.workspace, id);
        Store::get(self.engine.read(), &at).await.unwrap().is_some()
    }

    async fn ledger(&self, id: CredentialId) -> Ledger {
        let tables = self.engine.tables(self.workspace).unwrap();
        tables.ledger(&mut self.engine.read(), id).await.unwrap()
    }

    /// The numbers of the versions that hold a value or have open leases.
    async fn in_use(&self, id: CredentialId) -> Vec<u32> {
        let ledger = self.ledger(id).await;
        ledger.versions.iter().map(|open| open.number).collect()
    }

    /// Flips a bit of what is stored under a key.
    fn flip(&self, at: &Key) {
        let mut stored = self.memory.get(at).unwrap().unwrap().to_vec();
        *stored.last_mut().unwrap() ^= 1;
        let write = BTreeMap::from([(at.clone(), Some(stored.into()))]);
        self.memory.apply(&write).unwrap();
    }
}

#[tokio::test]
async fn what_a_lost_request_began_is_carried_on_and_one_failure_stops_no_other() {
    let world = world().await;
    let (first, one) = world.leased("a").await;
    let (second, two) = world.leased("b").await;
    for name in [&first, &second] {
        world
            .cut_short(world.rotate(name, "w", OnRotate::Cut))
            .await;
    }
    for id in [one, two] {
        assert_eq!(world.open(id).await, LEASES - TOGETHER);
    }
    let damaged = key::sweep(world.workspace, one);
    world.flip(&damaged);
    let rest = (LEASES - TOGETHER) as u32;
    assert_eq!(world.engine.finish_cascades().await.unwrap(), rest);
    assert_eq!((world.open(one).await, world.open(two).await), (3, 0));
    assert!(world.is_sweeping(one).await && !world.is_sweeping(two).await);
    world.flip(&damaged);
    assert_eq!(world.engine.finish_sweeps().await.unwrap(), rest);
    for id in [one, two] {
        assert_eq!((world.open(id).await, world.in_use(id).await), (0, vec![2]));
    }
    assert_eq!(world.findings().await, [""; 0]);
}

#[tokio::test]
async fn a_retry_of_a_cut_is_answered_at_the_end_of_its_cascade() {
    let world = world().await;
    let (name, id) = world.leased("a").await;
    world
        .cut_short(world.rotate(&name, "w", OnRotate::Cut))
        .await;
    for _ in 0..2 {
        let again = world.rotate(&name, "w", OnRotate::Cut).await.unwrap();
        assert_eq!(again.revoked_leases, LEASES as u32);
        assert!(again.previous_retired);
        assert_eq!(again.view.active_leases, 0);
        assert_eq!((world.open(id).await, world.in_use(id).await), (0, vec![2]));
    }
}

/// A pass over leases of version 1 that has only its end before it.
fn last_of(world: &World, id: CredentialId) -> Pass {
    let mut at = key::open_leases(world.workspace, id);
    at.start = at.end.clone();
    Pass {
        at,
        stopped: vec![1],
    }
}

#[tokio::test]
async fn a_cascade_at_its_end_leaves_nothing_of_another_one_behind() {
    let world = world().await;
    let (name, id) = world.leased("a").await;
    world
        .cut_short(world.rotate(&name, "w", OnRotate::Cut))
        .await;
    world.take(&name, LEASES).await;
    world
        .cut_short(world.rotate(&name, "x", OnRotate::Cut))
        .await;
    let (left, first) = (2 * LEASES - 2 * TOGETHER, last_of(&world, id));
    assert_eq!(world.open(id).await, left);
    let closed = world.engine.finish_sweep(world.workspace, id, Some(first));
    assert_eq!(closed.await.unwrap(), left as u32);
    assert_eq!((world.open(id).await, world.in_use(id).await), (0, vec![3]));
    assert!(!world.is_sweeping(id).await);
    assert_eq!(world.findings().await, [""; 0]);
}

#[tokio::test]
async fn a_cascade_at_its_end_does_not_erase_what_another_one_still_closes() {
    let world = world().await;
    let (name, id) = world.leased("a").await;
    world
        .cut_short(world.rotate(&name, "w", OnRotate::Cut))
        .await;
    world.take(&name, LEASES).await;
    let call = world.call();
    world
        .cut_short(world.engine.delete_credential(&call, &name, true))
        .await;
    let first = last_of(&world, id);
    let swept = world.engine.finish_sweep(world.workspace, id, Some(first));
    swept.await.unwrap();
    assert_eq!((world.open(id).await, world.id_of(&name).await), (0, None));
    assert!(!world.is_sweeping(id).await);
    assert_eq!(world.findings().await, [""; 0]);
}

#[tokio::test]
async fn a_deletion_counts_what_it_stopped_and_ends_in_batches() {
    let world = world().await;
    let (name, id) = world.leased("a").await;
    let call = world.call();
    let deleted = world.engine.delete_credential(&call, &name, true);
    assert_eq!(deleted.await.unwrap(), LEASES as u32);
    assert_eq!((world.open(id).await, world.id_of(&name).await), (0, None));
    assert_eq!(world.findings().await, [""; 0]);
}

/// Nothing is closed twice, and no transaction has them all.
#[tokio::test]
async fn a_deletion_closes_what_has_expired_batch_by_batch() {
    const DUE: usize = 2 * crate::engine::REAPER_BATCH + 1;
    let world = world().await;
    let name = world.store("a").await;
    world.take(&name, DUE).await;
    world.pass(600_000);
    let open = world.lease(&name, 600).await;
    let delete = async || {
        let before = world.left.load(Ordering::SeqCst);
        let call = world.call();
        let deleted = world.engine.delete_credential(&call, &name, false);
        let outcome = deleted.await.map_err(|error| error.code());
        (outcome, before - world.left.load(Ordering::SeqCst))
    };
    let (refused, begun) = delete().await;
    assert_eq!(refused, Err(Code::InvalidState));
    assert!(begun >= 5, "{begun} transactions");
    let id = world.id_of(&name).await.unwrap();
    assert_eq!(world.open(id).await, 1, "what was due is closed for good");
    world
        .engine
        .release_lease(&world.call(), open)
        .await
        .unwrap();
    assert_eq!(delete().await.0, Ok(0));
    assert_eq!(world.findings().await, [""; 0]);
}
