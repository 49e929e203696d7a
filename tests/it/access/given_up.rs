//! Changes of access whose requests are given up while they wait for the disk: what is durable then holds, and a retry
//! that finds it done answers no sooner.

use std::{
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use leasehold::{
    authn::Authenticator,
    domain::{
        id::TokenId,
        scope::Scope,
        time::{Span, Ttl},
        workspace::SettingsPatch,
    },
    engine::{CreateToken, UpdateWorkspace},
    store::key,
};

use super::*;

fn poll<T>(work: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    work.poll(&mut Context::from_waker(Waker::noop()))
}

/// Begins work, and gives it up once its change is queued: nothing else runs in between on a runtime of one thread.
fn give_up<T>(work: impl Future<Output = T>) {
    assert!(
        poll(pin!(work)).is_pending(),
        "nothing was durable by itself"
    );
}

/// Waits for what comes of itself.
async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "it was durable and did not hold"
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

impl House {
    async fn proven(&self, authenticator: &Authenticator, proof: &str) -> Option<Principal> {
        let now = self.engine.now();
        let proven = authenticator.authenticate(Some(proof), None, now).await;
        proven.ok()
    }

    /// A token of an agent of `default`, as it is presented.
    async fn token_of(&self, key: &str) -> (TokenId, String) {
        let command = CreateToken {
            name: None,
            expires_in: None,
            scopes: None,
            workspace: None,
        };
        let call = self.call(key).await;
        let made = self.engine.create_token(call, command).await.unwrap();
        let text = format!("Bearer {}", made.text.expose());
        (made.view.token.id, text)
    }

    async fn two(&self) -> (String, String) {
        let owner = self.person("owner", Role::Owner, Reach::Organisation).await;
        let in_default = Reach::Workspace(self.default);
        let agent = self.person("agent", Role::WorkspaceAdmin, in_default).await;
        (owner, agent)
    }
}

#[tokio::test]
async fn a_revoked_token_is_no_good_though_nobody_waited_for_that() {
    let house = House::build().await;
    let (owner, agent) = house.two().await;
    let (id, token) = house.token_of(&agent).await;
    let authenticator = house.engine.authenticator().unwrap();
    assert!(house.proven(&authenticator, &token).await.is_some());
    let call = house.call(&owner).await;
    give_up(house.engine.revoke_token(&call, id));
    until(async || house.proven(&authenticator, &token).await.is_none()).await;
}

#[tokio::test]
async fn a_lower_role_counts_though_nobody_waited_for_that() {
    let house = House::build().await;
    let (owner, agent) = house.two().await;
    let authenticator = house.engine.authenticator().unwrap();
    let may_rotate = async || {
        let principal = house.proven(&authenticator, &agent).await.unwrap();
        principal.scopes.contains(Scope::CredentialRotate)
    };
    assert!(may_rotate().await);
    let call = house.call(&owner).await;
    let (kind, name) = (IdentityType::Agent, name("agent"));
    let lower = UpdateIdentity {
        role: Some(Role::Viewer),
        ..UpdateIdentity::default()
    };
    give_up(house.engine.update_identity(&call, kind, &name, lower));
    until(async || !may_rotate().await).await;
}

#[tokio::test]
async fn a_shorter_longest_lease_holds_though_nobody_waited_for_that() {
    let house = House::build().await;
    let (owner, _) = house.two().await;
    house.store_credential(&owner).await;
    let lasts = async || {
        let lease = house.lease(&owner).await.unwrap().view.lease;
        lease.expires_at.since(lease.issued_at)
    };
    let short = Ttl::from_secs(90);
    assert!(lasts().await > short.span());
    let settings = SettingsPatch {
        default_lease_ttl: Some(Some(short)),
        max_lease_ttl: Some(Some(short)),
        ..SettingsPatch::default()
    };
    let patch = UpdateWorkspace {
        settings,
        ..UpdateWorkspace::default()
    };
    let (call, name) = (house.call(&owner).await, workspace_name("default"));
    give_up(house.engine.update_workspace(call, &name, patch));
    until(async || lasts().await <= Span::from_secs(90)).await;
}

#[tokio::test]
async fn a_new_signing_key_is_known_though_nobody_waited_for_that() {
    let house = House::build().await;
    let (owner, _) = house.two().await;
    let authenticator = house.engine.authenticator().unwrap();
    let known = async || {
        let now = house.engine.now();
        authenticator.public_keys(now).await.unwrap().len()
    };
    assert_eq!(known().await, 1);
    let call = house.call(&owner).await;
    give_up(house.engine.rotate_signing_key(&call));
    until(async || known().await == 2).await;
}

// INVARIANT (ack-durable)
#[tokio::test]
async fn what_finds_a_token_revoked_answers_once_that_is_durable() {
    let house = House::build().await;
    let (owner, agent) = house.two().await;
    let (id, _) = house.token_of(&agent).await;
    let calls = [house.call(&owner).await, house.call(&owner).await];
    let [mut first, mut second] = calls
        .each_ref()
        .map(|call| Box::pin(house.engine.revoke_token(call, id)));
    // Both have found it good, and wait for their turn.
    let turn = house.store.begin(&[key::token_lock(id)]).await.unwrap();
    assert!(poll(first.as_mut()).is_pending() && poll(second.as_mut()).is_pending());
    drop(turn);
    assert!(poll(first.as_mut()).is_pending(), "it is queued");
    assert!(
        poll(second.as_mut()).is_pending(),
        "the second one finds it revoked, and the disk does not"
    );
    let (first, second) = tokio::join!(first, second);
    assert!(first.is_ok() && second.is_ok());
}
