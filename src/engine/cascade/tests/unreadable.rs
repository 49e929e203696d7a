//! A lease whose record does not open holds up no other, is never closed, and is told of.

use super::*;
use crate::{
    domain::{error::Detail, lease::LeaseStatus},
    engine::{BulkFilter, LeaseFilter, Page, PageRequest, VersionFilter, views::LeaseView},
};

impl World {
    /// Three leases on a credential, the first of which does not open.
    async fn damaged(&self, name: &str) -> (CredentialName, CredentialId, Vec<LeaseId>) {
        let name = self.store(name).await;
        let id = self.id_of(&name).await.unwrap();
        let leases = self.take(&name, 3).await;
        self.flip(&key::lease(self.workspace, leases[0]));
        (name, id, leases)
    }

    async fn listed(&self) -> Page<LeaseView> {
        let (filter, page) = (LeaseFilter::default(), PageRequest::default());
        let listed = self.engine.leases(&self.call(), &filter, &page).await;
        listed.unwrap()
    }

    async fn status(&self, lease: LeaseId) -> LeaseStatus {
        let shown = self.engine.lease(&self.call(), lease).await;
        shown.unwrap().status
    }
}

#[tokio::test]
async fn the_reaper_closes_all_others_and_looks_again_later() {
    let world = world().await;
    let (name, id, leases) = world.damaged("a").await;
    world.rotate(&name, "w", OnRotate::Drain).await.unwrap();
    world.pass(600_000);
    let later = world.lease(&name, 3600).await;
    let next = world.engine.expire((world.workspace, id)).await.unwrap();
    assert!(
        next.is_some_and(|next| next > world.engine.now()),
        "{next:?}"
    );
    for lease in &leases[1..] {
        assert_eq!(world.status(*lease).await, LeaseStatus::Expired);
    }
    // It keeps its place and its version.
    assert_eq!(world.open(id).await, 2);
    assert_eq!(
        (world.ledger(id).await.active, world.in_use(id).await),
        (2, vec![1, 2])
    );
    assert!(world.engine.lease(&world.call(), leases[0]).await.is_err());
    let listed = world.listed().await;
    assert_eq!(
        (listed.items.len(), listed.total, listed.unreadable),
        (3, 3, 1)
    );
    let page = PageRequest::default();
    let every = VersionFilter::default();
    let versions = world
        .engine
        .versions(&world.call(), &name, &every, &page)
        .await;
    assert_eq!(versions.unwrap().items.len(), 2);
    // A whole batch of them in front holds up nobody.
    let more = world.take(&name, crate::engine::REAPER_BATCH + 1).await;
    for lease in &more[1..] {
        world.flip(&key::lease(world.workspace, *lease));
    }
    let last = world.lease(&name, 601).await;
    world.pass(700_000);
    world.engine.expire((world.workspace, id)).await.unwrap();
    assert_eq!(world.status(last).await, LeaseStatus::Expired);
    assert_eq!(world.status(later).await, LeaseStatus::Active);
}

/// Nor do those that stand behind nearly a batch of others, and in front of more.
#[tokio::test]
async fn the_reaper_goes_on_behind_those_that_do_not_open() {
    const BATCH: u64 = crate::engine::REAPER_BATCH as u64;
    let world = world().await;
    let name = world.store("a").await;
    let id = world.id_of(&name).await.unwrap();
    for at in 0..BATCH + 40 {
        // Twenty stand between the first ones and the last ones.
        let (lease, bad) = (
            world.lease(&name, 100 + at).await,
            (BATCH - 1..BATCH + 19).contains(&at),
        );
        if bad {
            world.flip(&key::lease(world.workspace, lease));
        }
    }
    world.pass(600_000);
    for _ in 0..3 {
        let next = world.engine.expire((world.workspace, id)).await.unwrap();
        if next.is_none_or(|next| next > world.engine.now()) {
            break;
        }
    }
    // None but those that do not open.
    assert_eq!(world.open(id).await, 20);
}

#[tokio::test]
async fn a_bulk_revocation_revokes_all_others_and_fails_with_its_name() {
    let world = world().await;
    let (.., leases) = world.damaged("a").await;
    let (_, other) = world.leased("b").await;
    let all = BulkFilter {
        all: true,
        ..BulkFilter::default()
    };
    let failed = world.engine.revoke_leases(&world.call(), &all, None).await;
    let failed = failed.unwrap_err();
    let named = Detail::List(vec![leases[0].to_string()]);
    assert_eq!(failed.code(), Code::Internal);
    assert!(
        failed.details().contains(&("unreadable_leases", named)),
        "{failed:?}"
    );
    for lease in &leases[1..] {
        assert_eq!(world.status(*lease).await, LeaseStatus::Revoked);
    }
    assert_eq!(world.open(other).await, 0);
}

#[tokio::test]
async fn a_cut_ends_and_its_version_does_not_retire() {
    let world = world().await;
    let (name, id, leases) = world.damaged("a").await;
    let rotated = world.rotate(&name, "w", OnRotate::Cut).await.unwrap();
    assert!(!rotated.previous_retired);
    assert!(!world.is_sweeping(id).await);
    for lease in &leases[1..] {
        assert_eq!(world.status(*lease).await, LeaseStatus::Revoked);
    }
    assert_eq!(
        (world.open(id).await, world.in_use(id).await),
        (1, vec![1, 2])
    );
    // Once it opens again, it is closed as any other.
    world.flip(&key::lease(world.workspace, leases[0]));
    world.pass(600_000);
    world.engine.expire((world.workspace, id)).await.unwrap();
    assert_eq!((world.open(id).await, world.in_use(id).await), (0, vec![2]));
    assert_eq!(world.findings().await, [""; 0]);
}

#[tokio::test]
async fn a_credential_is_deleted_by_force_all_the_same() {
    let world = world().await;
    let (name, id, leases) = world.damaged("a").await;
    let call = world.call();
    let deleted = world.engine.delete_credential(&call, &name, true);
    assert_eq!(deleted.await.unwrap(), 3);
    assert_eq!((world.open(id).await, world.id_of(&name).await), (0, None));
    let findings = world.findings().await;
    let [only] = &findings[..] else {
        panic!("{findings:?}");
    };
    assert!(only.contains(&leases[0].to_string()), "{only}");
}
