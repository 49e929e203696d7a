//! INVARIANT (stop-is-complete), where a stop is cut short, and which keys one spares.

use leasehold::{
    domain::{
        credential::Author,
        principal::{IdentityState, Suspension, Unfinished},
        time::Ttl,
        workspace::{Everywhere, Stop},
    },
    engine::{BulkFilter, RotateApiKey},
    store::port::Txn,
};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_spares_the_callers_key_and_no_other_not_even_its_own() {
    let house = House::build().await;
    let owner = house.identity(house.default, "owner", Role::Owner).await;
    let make = || house.key(house.default, owner, Role::Owner, Reach::Organisation);
    let (used, second) = (make().await, make().await);
    let elsewhere = house.identity(house.other, "admin", Role::Admin).await;
    let elsewhere = house
        .key(house.other, elsewhere, Role::Admin, Reach::Organisation)
        .await;
    // Of an identity elsewhere, and made for this workspace.
    let guest = house.identity(house.other, "guest", Role::Agent).await;
    let guest = house
        .key(
            house.other,
            guest,
            Role::Agent,
            Reach::Workspace(house.default),
        )
        .await;
    house.store_credential(&used).await;
    house.lease(&used).await.unwrap();
    let call = house.call(&used).await;
    let name = workspace_name("default");
    let stopped = house.engine.revoke_all(call, &name, None).await.unwrap();
    assert_eq!((stopped.counts.keys, stopped.counts.leases), (2, 1));
    assert!(house.prove(&used, None).await.is_ok());
    assert!(house.prove(&elsewhere, None).await.is_ok());
    for key in [&second, &guest] {
        let refused = code(house.prove(key, None).await);
        assert_eq!(refused, Some(Code::Unauthorized));
    }
    // What is made from then on is not stopped; the next stop ends that, and the one that was spared.
    let third = make().await;
    assert!(house.prove(&third, None).await.is_ok());
    let call = house.call(&third).await;
    let stopped = house.engine.revoke_all(call, &name, None).await.unwrap();
    assert_eq!(stopped.counts.keys, 1);
    assert_eq!(
        code(house.prove(&used, None).await),
        Some(Code::Unauthorized)
    );
    assert!(house.prove(&third, None).await.is_ok());
}

/// Without the barrier the stop is done long before the grant, and the lease stays open.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_who_was_in_before_it_and_ends_what_they_did() {
    let house = Arc::new(House::build().await);
    let owner = house
        .person("owner", Role::Owner, Reach::Organisation)
        .await;
    let in_default = Reach::Workspace(house.default);
    let agent = house.person("agent", Role::Agent, in_default).await;
    house.store_credential(&owner).await;
    for everything in [false, true] {
        let inside = house.call(&agent).await;
        let stop = {
            let (house, call) = (house.clone(), house.call(&owner).await);
            tokio::spawn(async move {
                match everything {
                    true => {
                        let all = workspace_name("default");
                        house.engine.revoke_all(call, &all, None).await
                    }
                    false => {
                        let (kind, name) = (IdentityType::Agent, name("agent"));
                        let stopped = house.engine.suspend_identity(call, kind, &name, None);
                        stopped.await.map(|(_, stopped)| stopped)
                    }
                }
            })
        };
        while house.prove(&agent, None).await.is_ok() {
            tokio::task::yield_now().await;
        }
        // Nobody new comes in, and time passes: each of these is durable before the next.
        for _ in 0..30 {
            house.lease(&owner).await.unwrap();
        }
        let mine = house.lease_in(&inside).await.unwrap().view.lease.id;
        assert!(!stop.is_finished());
        drop(inside);
        let stopped = stop.await.unwrap().unwrap();
        let call = house.call(&owner).await;
        let lease = house.engine.lease(&call, mine).await.unwrap();
        assert_eq!(lease.status, LeaseStatus::Revoked);
        assert!(stopped.counts.leases >= 1);
        let resumed = house
            .engine
            .resume_identity(&call, IdentityType::Agent, &name("agent"))
            .await;
        assert_eq!(code(resumed).is_some(), everything);
    }
}

/// The second one would spare its own key, which the first one has told its caller is stopped.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_stops_of_a_workspace_that_race_one_is_refused() {
    let house = Arc::new(House::build().await);
    let everywhere = Reach::Organisation;
    let first = house.person("first", Role::Owner, everywhere).await;
    let second = house.person("second", Role::Owner, everywhere).await;
    let agent = house
        .person("agent", Role::Agent, Reach::Workspace(house.default))
        .await;
    let inside = house.call(&agent).await;
    let stop = |call: Call| {
        let house = house.clone();
        tokio::spawn(async move {
            let name = workspace_name("default");
            house.engine.revoke_all(call, &name, None).await
        })
    };
    // It is let in before the first one has begun.
    let late = house.call(&second).await;
    let begun = stop(house.call(&first).await);
    while house.prove(&agent, None).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let racing = stop(late);
    drop(inside);
    assert!(begun.await.unwrap().is_ok());
    assert_eq!(code(racing.await.unwrap()), Some(Code::InvalidState));
    assert!(house.prove(&first, None).await.is_ok());
    let refused = code(house.prove(&second, None).await);
    assert_eq!(refused, Some(Code::Unauthorized));
    // Once it is done, the next one begins.
    let again = stop(house.call(&first).await).await.unwrap();
    assert!(again.is_ok());
}

// INVARIANT (stop-is-complete)
#[tokio::test(flavor = "multi_thread")]
async fn a_bulk_revocation_waits_for_grants_that_were_let_in_before_it() {
    let house = Arc::new(House::build().await);
    let owner = house
        .person("owner", Role::Owner, Reach::Organisation)
        .await;
    let in_default = Reach::Workspace(house.default);
    let agent = house.person("agent", Role::Agent, in_default).await;
    house.store_credential(&owner).await;
    house.lease(&agent).await.unwrap();
    let inside = house.call(&agent).await;
    let turned = inside.entered.turn();
    let revoking = {
        let (house, call) = (house.clone(), house.call(&owner).await);
        tokio::spawn(async move {
            let filter = BulkFilter {
                identity: Some(IdentityName::parse("agent", "identity").unwrap()),
                ..BulkFilter::default()
            };
            house.engine.revoke_leases(&call, &filter, None).await
        })
    };
    turned.over().await;
    // It has begun, and would be done by now if it waited for nobody.
    for _ in 0..30 {
        house.lease(&owner).await.unwrap();
    }
    let mine = house.lease_in(&inside).await.unwrap().view.lease.id;
    assert!(!revoking.is_finished());
    drop(inside);
    let stopped = revoking.await.unwrap().unwrap();
    assert_eq!(stopped.counts.leases, 2);
    let call = house.call(&owner).await;
    let lease = house.engine.lease(&call, mine).await.unwrap();
    assert_eq!(lease.status, LeaseStatus::Revoked);
    // It stops leases, not callers.
    house.lease(&agent).await.unwrap();
}

// INVARIANT (offspring)
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_at_once_ends_what_the_old_value_has_made_or_is_making() {
    let house = Arc::new(House::build().await);
    let owner = house
        .person("owner", Role::Owner, Reach::Organisation)
        .await;
    let old = house
        .person("other", Role::Owner, Reach::Organisation)
        .await;
    let ProofId::Key(id) = house.call(&old).await.principal.proof else {
        panic!("a key proved it")
    };
    let rotate = |grace| {
        let (house, owner) = (house.clone(), owner.clone());
        async move {
            let command = RotateApiKey {
                expires_in: None,
                grace,
            };
            let call = house.call(&owner).await;
            let made = house.engine.rotate_api_key(&call, id, command).await;
            format!("Bearer {}", made.unwrap().value.expose())
        }
    };
    // Within a grace the old value lives on, and so does what it makes.
    let before = house.token(house.call(&old).await).await;
    let new = rotate(Some(Ttl::from_secs(3600))).await;
    let within = house.token(house.call(&old).await).await;
    for token in [&before, &within] {
        house.prove(token, None).await.unwrap();
    }
    let maker = house.call(&within).await;
    let child = house.token(maker).await;

    let inside = house.call(&new).await;
    let turned = inside.entered.turn();
    let rotating = tokio::spawn(rotate(None));
    turned.over().await;
    let meanwhile = house.token(inside).await;
    let newest = rotating.await.unwrap();
    for ended in [&old, &new, &before, &within, &child, &meanwhile] {
        let refused = code(house.prove(ended, None).await);
        assert_eq!(refused, Some(Code::Unauthorized));
    }
    let last = house.token(house.call(&newest).await).await;
    house.prove(&last, None).await.unwrap();
    // A later grace brings nothing back.
    rotate(Some(Ttl::from_secs(3600))).await;
    let refused = code(house.prove(&before, None).await);
    assert_eq!(refused, Some(Code::Unauthorized));
    house.prove(&last, None).await.unwrap();
}

impl House {
    /// Changes records as a run that was cut short would have left them.
    async fn leave(&self, change: impl AsyncFnOnce(&Self, &mut Box<dyn Txn>)) {
        let mut txn = self.store.begin(&[]).await.unwrap();
        change(self, &mut txn).await;
        txn.commit(Vec::new()).await.unwrap();
    }

    async fn leave_suspended(&self, text: &str, unfinished: Unfinished) {
        self.leave(async |house, txn| {
            let tables = house.tables(house.default);
            let name = name(text);
            let id = tables.identity_id(txn, IdentityType::Agent, &name);
            let id = id.await.unwrap().unwrap();
            let mut identity = tables.identity(txn, id).await.unwrap().unwrap();
            identity.state = IdentityState::Suspended(Suspension {
                since: house.engine.now(),
                by: Some(Author {
                    identity: id,
                    name: identity.name.clone(),
                }),
                reason: None,
                unfinished: Some(unfinished),
            });
            tables.put_identity(&mut **txn, &identity).unwrap();
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_goes_on_with_what_a_crash_left() {
    let house = House::build().await;
    let owner = house
        .person("owner", Role::Owner, Reach::Organisation)
        .await;
    let in_default = Reach::Workspace(house.default);
    house.store_credential(&owner).await;
    let suspended = house.person("suspended", Role::Agent, in_default).await;
    let deleted = house.person("deleted", Role::Agent, in_default).await;
    let bystander = house.person("bystander", Role::Agent, in_default).await;
    for key in [&suspended, &deleted, &bystander] {
        house.lease(key).await.unwrap();
    }
    house.leave_suspended("suspended", Unfinished::Sweep).await;
    house.leave_suspended("deleted", Unfinished::Removal).await;
    assert_eq!(house.open(&owner).await, 3);
    // Neither comes back before that is done.
    let kind = IdentityType::Agent;
    for text in ["suspended", "deleted"] {
        let call = house.call(&owner).await;
        let resumed = house.engine.resume_identity(&call, kind, &name(text)).await;
        assert_eq!(code(resumed), Some(Code::InvalidState), "{text}");
    }
    assert_eq!(
        code(house.suspend(&owner, "deleted").await),
        Some(Code::InvalidState)
    );
    assert_eq!(house.engine.finish_sweeps().await.unwrap(), 2);
    assert_eq!(house.open(&owner).await, 1);
    let call = house.call(&owner).await;
    let back = name("suspended");
    let resumed = house.engine.resume_identity(&call, kind, &back).await;
    resumed.unwrap();
    let gone = house.engine.identity(&call, kind, &name("deleted")).await;
    assert_eq!(code(gone), Some(Code::NotFound));
    assert_eq!(house.engine.finish_sweeps().await.unwrap(), 0);

    house
        .leave(async |house, txn| {
            let system = house.tables(WorkspaceId::SYSTEM);
            let found = system.workspace(txn, house.default).await.unwrap();
            let mut workspace = found.unwrap();
            let call = house.call(&owner).await;
            workspace.stop = Some(Stop {
                until: house.engine.now(),
                spared: [call.principal.proof, call.principal.root],
                unfinished: true,
                everywhere: Everywhere::Covered,
            });
            system.put_workspace(&mut **txn, &workspace).unwrap();
        })
        .await;
    assert_eq!(house.engine.finish_sweeps().await.unwrap(), 1);
    assert_eq!(house.open(&owner).await, 0);
    assert_eq!(house.engine.finish_sweeps().await.unwrap(), 0);
    assert_eq!(
        code(house.prove(&bystander, None).await),
        Some(Code::Unauthorized)
    );
}

/// Who was in when the first step was made may make things until the second one, which a crash prevented.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_stops_what_was_made_between_the_steps_of_a_stop() {
    let house = House::build().await;
    let owner = house
        .person("owner", Role::Owner, Reach::Organisation)
        .await;
    let in_default = Reach::Workspace(house.default);
    house.store_credential(&owner).await;
    let until = house.engine.now();
    let spared = house.call(&owner).await.principal.proof;
    house
        .leave(async |house, txn| {
            let system = house.tables(WorkspaceId::SYSTEM);
            let found = system.workspace(txn, house.default).await.unwrap();
            let mut workspace = found.unwrap();
            workspace.stop = Some(Stop {
                until,
                spared: [spared, spared],
                unfinished: true,
                everywhere: Everywhere::Covered,
            });
            system.put_workspace(&mut **txn, &workspace).unwrap();
        })
        .await;
    while house.engine.now() <= until {
        tokio::task::yield_now().await;
    }
    let late = house.person("late", Role::Agent, in_default).await;
    house.lease(&late).await.unwrap();
    house.engine.reach_stops().await.unwrap();
    let refused = code(house.prove(&late, None).await);
    assert_eq!(refused, Some(Code::Unauthorized));
    let later = house.person("later", Role::Agent, in_default).await;
    house.lease(&later).await.unwrap();
    assert_eq!(house.engine.finish_sweeps().await.unwrap(), 1);
    assert_eq!(house.open(&owner).await, 1);
    // One that is done is left as it is.
    house.engine.reach_stops().await.unwrap();
    house.prove(&later, None).await.unwrap();
}
