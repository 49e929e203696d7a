//! How long a refusal takes tells nothing: an unknown key costs what a wrong secret costs, and what is in another
//! workspace costs what is nowhere.
//!
//! The two sides of a pair are measured by turns, thousands of times each, and their medians compared. Only a plain
//! difference counts, one that each of several fresh measures has: a signature, a decryption or a write on one side
//! is found, and a busy machine is not.

use std::time::{Duration, Instant};

use leasehold::crypto::bearer::Bearer;

use super::*;

/// Samples of each side.
const SAMPLES: usize = 2_000;
/// How often a difference must be there in a row.
const MEASURES: usize = 3;
/// A difference between medians that counts: both this long, and more than a quarter of the shorter.
const PLAIN: Duration = Duration::from_micros(3);

async fn median_of_each(
    one: &mut impl AsyncFnMut(),
    other: &mut impl AsyncFnMut(),
) -> (Duration, Duration) {
    let mut taken = (Vec::with_capacity(SAMPLES), Vec::with_capacity(SAMPLES));
    for at in 0..SAMPLES {
        // Neither is always the one that comes first.
        for turn in [at % 2, 1 - at % 2] {
            let begun = Instant::now();
            match turn {
                0 => one().await,
                _ => other().await,
            }
            let took = begun.elapsed();
            match turn {
                0 => taken.0.push(took),
                _ => taken.1.push(took),
            }
        }
    }
    taken.0.sort();
    taken.1.sort();
    (taken.0[SAMPLES / 2], taken.1[SAMPLES / 2])
}

/// The medians of both sides, where they can be told apart.
async fn told_apart(
    mut one: impl AsyncFnMut(),
    mut other: impl AsyncFnMut(),
) -> Option<(Duration, Duration)> {
    for _ in 0..50 {
        one().await;
        other().await;
    }
    let mut last = None;
    for _ in 0..MEASURES {
        let (one, other) = median_of_each(&mut one, &mut other).await;
        let (apart, least) = (one.abs_diff(other), one.min(other));
        if apart <= PLAIN || apart * 4 <= least {
            return None;
        }
        last = Some((one, other));
    }
    last
}

/// A key bound to `default`, and what `other` has.
struct Scene {
    house: House,
    key: String,
    foreign: Issued,
}

impl Scene {
    async fn set() -> Self {
        let house = House::build().await;
        let bound = Reach::Workspace(house.default);
        let key = house.person("keeper", Role::WorkspaceAdmin, bound).await;
        let there = house.identity(house.other, "theirs", Role::Owner).await;
        let bound = Reach::Workspace(house.other);
        let theirs = house.key(house.other, there, Role::Owner, bound).await;
        house.store_credential(&theirs).await;
        let foreign = house.lease(&theirs).await.unwrap();
        Self {
            house,
            key,
            foreign,
        }
    }
}

#[tokio::test]
async fn an_unknown_key_takes_as_long_as_a_wrong_secret() {
    let scene = Scene::set().await;
    let house = &scene.house;
    let ProofId::Key(known) = house.prove(&scene.key, None).await.unwrap().proof else {
        panic!("a key proved it")
    };
    let forged = |id: KeyId| {
        let minted = house.keyring.mint(Bearer::ApiKey, id.as_bytes()).unwrap();
        format!("Bearer {}", minted.text.expose())
    };
    let wrong = forged(known);
    let unknown = forged(KeyId::new(house.engine.now(), &[7; 10]));
    let authenticator = house.engine.authenticator().unwrap();
    let refused = async |key: &str| {
        let now = house.engine.now();
        let refusal = authenticator.authenticate(Some(key), None, now).await;
        assert!(refusal.is_err_and(|refusal| refusal.proven.is_none()));
    };
    let apart = told_apart(
        async || refused(&wrong).await,
        async || refused(&unknown).await,
    );
    assert_eq!(apart.await, None);
}

#[tokio::test]
async fn another_workspaces_name_takes_as_long_as_nobodys() {
    let scene = Scene::set().await;
    let house = &scene.house;
    let authenticator = house.engine.authenticator().unwrap();
    let refused = async |name: &str| {
        let now = house.engine.now();
        let refusal = authenticator.authenticate(Some(&scene.key), Some(name), now);
        let refusal = refusal.await.err().unwrap();
        assert_eq!(refusal.error.code(), Code::NotFound);
    };
    let apart = told_apart(
        async || refused("other").await,
        async || refused("nooth").await,
    );
    assert_eq!(apart.await, None);
}

#[tokio::test]
async fn another_workspaces_lease_and_handle_take_as_long_as_nobodys() {
    let scene = Scene::set().await;
    let house = &scene.house;
    let call = house.call(&scene.key).await;
    let foreign = scene.foreign.view.lease.id;
    let missing = LeaseId::new(house.engine.now(), &[7; 10]);
    let seen = async |id: LeaseId| {
        let refused = code(house.engine.lease(&call, id).await);
        assert_eq!(refused, Some(Code::NotFound));
    };
    let apart = told_apart(async || seen(foreign).await, async || seen(missing).await);
    assert_eq!(apart.await, None, "by id");
    let nobodys = house.keyring.mint(Bearer::Handle, missing.as_bytes());
    let nobodys = nobodys.unwrap().text;
    let redeemed = async |handle: &SecretText| {
        let refused = code(house.engine.redeem(&call, handle).await);
        assert_eq!(refused, Some(Code::NotFound));
    };
    let theirs = &scene.foreign.handle;
    let apart = told_apart(
        async || redeemed(theirs).await,
        async || redeemed(&nobodys).await,
    );
    assert_eq!(apart.await, None, "by handle");
}

#[tokio::test]
async fn another_workspaces_identity_takes_as_long_as_nobodys() {
    let scene = Scene::set().await;
    let house = &scene.house;
    let call = house.call(&scene.key).await;
    let (foreign, missing) = (name("theirs"), name("nobody"));
    let seen = async |name: &IdentityName| {
        let found = house.engine.identity(&call, IdentityType::Agent, name);
        assert_eq!(code(found.await), Some(Code::NotFound));
    };
    let apart = told_apart(async || seen(&foreign).await, async || seen(&missing).await);
    assert_eq!(apart.await, None);
}

/// The measure itself: what it must find is found.
#[tokio::test]
async fn fifty_microseconds_on_one_side_are_told_apart() {
    let scene = Scene::set().await;
    let house = &scene.house;
    let call = house.call(&scene.key).await;
    let missing = LeaseId::new(house.engine.now(), &[7; 10]);
    let seen = async || drop(house.engine.lease(&call, missing).await);
    let begun = Instant::now();
    for _ in 0..100 {
        seen().await;
    }
    // On a slow machine the look-up itself takes so long that 50 us are within what is allowed.
    let more = Duration::from_micros(50).max(begun.elapsed() / 100);
    let slower = async || {
        seen().await;
        let begun = Instant::now();
        while begun.elapsed() < more {
            std::hint::spin_loop();
        }
    };
    assert_eq!(told_apart(seen, seen).await, None);
    let (fast, slow) = told_apart(seen, slower).await.unwrap();
    assert!(slow > fast);
}
