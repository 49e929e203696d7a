use super::*;
use crate::{
    audit::query::{AuditFilter, Window},
    domain::event::EventName,
    engine::Removed,
};

fn window() -> Window {
    Window {
        newest_first: false,
        after: None,
        offset: 0,
        limit: 100,
    }
}

impl World {
    async fn events_of(&self, lease: LeaseId) -> Vec<EventName> {
        let filter = AuditFilter {
            lease: Some(lease),
            ..AuditFilter::default()
        };
        let page = self.engine.audit(&self.call(), &filter, window()).await;
        let records = page.unwrap().records.into_iter();
        records.map(|one| one.record.event).collect()
    }

    /// Closes what has expired, as the reaper does.
    async fn reap(&self, name: &CredentialName) {
        let tables = self.engine.tables(self.workspace).unwrap();
        let id = tables.credential_id(&mut self.engine.read(), name).await;
        let place = (self.workspace, id.unwrap().unwrap());
        self.engine.expire(place).await.unwrap();
    }
}

#[tokio::test]
async fn closed_leases_leave_after_their_retention_and_history_stays() {
    let world = World::new(Retention::default()).await;
    let name = world.store("a").await;
    let released = world.lease(&name, 600).await;
    let expired = world.lease(&name, 600).await;
    let open = world.lease(&name, 40 * 3600).await;
    world.release(released).await;
    world.pass(HOUR);
    world.reap(&name).await;
    world.pass(23 * HOUR);
    assert_eq!(world.engine.retain().await.unwrap().leases, 0, "too early");
    assert!(world.is_there(released).await);
    world.pass(3 * HOUR);
    let removed = world.engine.retain().await.unwrap();
    assert_eq!(
        removed,
        Removed {
            leases: 2,
            records: 0
        }
    );
    assert!(!world.is_there(released).await && !world.is_there(expired).await);
    assert!(
        world.is_there(open).await,
        "an open lease stays, however old"
    );
    assert_eq!(
        world.events_of(released).await,
        [EventName::LeaseIssued, EventName::LeaseReleased]
    );
    assert_eq!(
        world.events_of(expired).await,
        [EventName::LeaseIssued, EventName::LeaseExpired]
    );
    assert_eq!(world.findings().await, [""; 0]);
    assert_eq!(world.engine.retain().await.unwrap(), Removed::default());

    // It is looked at again once it is due, and not before.
    world.pass(14 * HOUR);
    world.reap(&name).await;
    assert_eq!(world.engine.retain().await.unwrap().leases, 0);
    world.pass(26 * HOUR);
    assert_eq!(world.engine.retain().await.unwrap().leases, 1);
    assert!(!world.is_there(open).await);
    assert_eq!(world.findings().await, [""; 0]);
    let filter = AuditFilter {
        events: vec![EventName::LeaseRemoved],
        ..AuditFilter::default()
    };
    let page = world.engine.audit(&world.call(), &filter, window()).await;
    assert_eq!(page.unwrap().total, Some(2), "each batch is in history");
}

#[tokio::test]
async fn a_long_lease_that_ends_early_leaves_in_time() {
    let world = World::new(Retention::default()).await;
    let name = world.store("a").await;
    let lease = world.lease(&name, 7 * 86_400).await;
    world.pass(26 * HOUR);
    assert_eq!(world.engine.retain().await.unwrap().leases, 0);
    world.release(lease).await;
    world.pass(23 * HOUR);
    assert_eq!(world.engine.retain().await.unwrap().leases, 0, "too early");
    world.pass(2 * HOUR);
    assert_eq!(world.engine.retain().await.unwrap().leases, 1);
    assert!(!world.is_there(lease).await);
    assert_eq!(world.findings().await, [""; 0]);
}

#[tokio::test]
async fn a_released_handle_is_unknown_once_its_lease_is_gone() {
    let world = World::new(Retention::default()).await;
    let name = world.store("a").await;
    let command = IssueLease {
        credential_name: name,
        ttl: Some(Ttl::from_secs(600)),
        delivery: None,
        holder: WantedHolder::default(),
        purpose: None,
        reveal: false,
    };
    let issued = world.engine.issue_lease(&world.call(), command).await;
    let issued = issued.unwrap();
    world.release(issued.view.lease.id).await;
    let refusal = async || {
        let redeemed = world.engine.redeem(&world.call(), &issued.handle).await;
        redeemed.err().unwrap().code()
    };
    assert_eq!(refusal().await, Code::LeaseReleased);
    world.pass(26 * HOUR);
    world.engine.retain().await.unwrap();
    assert_eq!(refusal().await, Code::NotFound);
}

// INVARIANT (legal-hold)
#[tokio::test]
async fn a_legal_hold_keeps_every_lease_until_the_last_one_is_released() {
    let world = World::new(Retention::default()).await;
    let name = world.store("a").await;
    let lease = world.lease(&name, 600).await;
    world.release(lease).await;
    world.hold("one").await;
    world.hold("two").await;
    world.hold("two").await;
    world.pass(30 * HOUR);
    assert_eq!(world.engine.retain().await.unwrap(), Removed::default());
    world.release_hold("one").await;
    let holds = world
        .engine
        .holds(&world.call(), &crate::engine::PageRequest::default())
        .await;
    assert_eq!(holds.unwrap().total, 1);
    assert_eq!(world.engine.retain().await.unwrap(), Removed::default());
    assert!(world.is_there(lease).await);
    assert_eq!(world.findings().await, [""; 0]);
    world.release_hold("two").await;
    assert_eq!(world.engine.retain().await.unwrap().leases, 1);
    let none = HoldName::parse("two", "name").unwrap();
    let again = world.engine.release_hold(&world.call(), &none).await;
    assert_eq!(again.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_removal_that_is_cut_short_goes_on() {
    let mut world = World::new(Retention {
        closed_leases: hours(1),
        ..Retention::default()
    })
    .await;
    let name = world.store("a").await;
    let mut leases = Vec::new();
    for number in 0..600 {
        let lease = world
            .lease(&name, if number % 3 == 0 { 5 * 3600 } else { 60 })
            .await;
        if number % 3 != 0 {
            world.release(lease).await;
        }
        leases.push(lease);
    }
    world.pass(2 * HOUR);
    world.left.store(2, Ordering::SeqCst);
    assert_eq!(
        world.engine.retain().await.unwrap().leases,
        0,
        "it failed midway"
    );
    world.restart().await;
    let rest = world.engine.retain().await.unwrap().leases;
    assert!(rest > 0 && rest < 400, "{rest} were left");
    for (number, lease) in leases.iter().enumerate() {
        assert_eq!(world.is_there(*lease).await, number % 3 == 0);
    }
    assert_eq!(world.findings().await, [""; 0]);
}
