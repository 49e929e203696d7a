//! INVARIANT (no-escalation): a stop of a workspace by whoever reaches that one only stops nobody who reaches all.

use leasehold::engine::{Stopped, TokenWorkspace};

use super::*;

impl House {
    async fn revoke_all(&self, key: &str) -> Stopped {
        let call = self.call(key).await;
        let name = workspace_name("default");
        self.engine.revoke_all(call, &name, None).await.unwrap()
    }

    async fn token_in(&self, key: &str, workspace: TokenWorkspace) -> String {
        let command = CreateToken {
            name: None,
            expires_in: None,
            scopes: None,
            workspace: Some(workspace),
        };
        let call = self.call(key).await;
        let made = self.engine.create_token(call, command).await.unwrap();
        format!("Bearer {}", made.text.expose())
    }

    async fn is_in(&self, key: &str) -> bool {
        self.prove(key, None).await.is_ok()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_administers_a_workspace_does_not_lock_the_organisation_out() {
    let house = House::build().await;
    let (all, one) = (Reach::Organisation, Reach::Workspace(house.default));
    let owner = house.person("owner", Role::Owner, all).await;
    let token = house.token(house.call(&owner).await).await;
    let demoted = house.person("demoted", Role::Admin, all).await;
    let lesser = UpdateIdentity {
        role: Some(Role::Operator),
        ..UpdateIdentity::default()
    };
    house.update(&owner, "demoted", lesser).await.unwrap();
    let local = house.person("local", Role::WorkspaceAdmin, one).await;
    let agent = house.person("agent", Role::Agent, one).await;
    house.store_credential(&owner).await;
    house.lease(&agent).await.unwrap();
    let stopped = house.revoke_all(&local).await;
    // The token reaches the one workspace, as whoever has no more of its role there does.
    let counts = stopped.counts;
    assert_eq!((counts.keys, counts.tokens, counts.leases), (2, 1, 1));
    assert!(house.is_in(&owner).await && house.is_in(&local).await);
    for gone in [&agent, &demoted, &token] {
        assert!(!house.is_in(gone).await);
    }

    // What a stop by an owner ended stays so, and what that spared is let in.
    let second = house.person("second", Role::Owner, all).await;
    assert_eq!(house.revoke_all(&owner).await.counts.keys, 2);
    assert!(!house.is_in(&second).await && !house.is_in(&local).await);
    let next = house.person("next", Role::WorkspaceAdmin, one).await;
    for _ in 0..2 {
        assert_eq!(house.revoke_all(&next).await.counts.keys, 0);
        assert!(house.is_in(&owner).await && house.is_in(&next).await);
        assert!(!house.is_in(&second).await && !house.is_in(&local).await);
    }
}

/// INVARIANT (stop-is-complete): what a stop ended stays so, whatever becomes of its identity's role.
#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_rises_brings_back_nothing_that_was_stopped() {
    let house = House::build().await;
    let (all, one) = (Reach::Organisation, Reach::Workspace(house.default));
    let owner = house.person("owner", Role::Owner, all).await;
    let local = house.person("local", Role::WorkspaceAdmin, one).await;
    let stopped = house.person("stopped", Role::Admin, all).await;
    let token = house.token_in(&stopped, TokenWorkspace::Every).await;
    let spared = house.person("spared", Role::Admin, all).await;
    let role = async |name: &str, role: Role| {
        let patch = UpdateIdentity {
            role: Some(role),
            ..UpdateIdentity::default()
        };
        house.update(&owner, name, patch).await.unwrap();
    };
    role("stopped", Role::Operator).await;
    house.revoke_all(&local).await;
    assert!(!house.is_in(&stopped).await && !house.is_in(&token).await);
    assert!(house.is_in(&spared).await);
    role("stopped", Role::Admin).await;
    assert!(!house.is_in(&stopped).await && !house.is_in(&token).await);

    // One that was spared is the workspace's once its role is, and was made before the stop.
    role("spared", Role::Viewer).await;
    assert!(!house.is_in(&spared).await);
    role("spared", Role::Admin).await;
    assert!(!house.is_in(&spared).await);
    // What no stop ended has its reach again.
    let later = house.person("later", Role::Admin, all).await;
    role("later", Role::Viewer).await;
    role("later", Role::Admin).await;
    assert!(house.prove(&later, Some("other")).await.is_ok());
}

/// INVARIANT (offspring): a token reaches nothing that what made it reaches no more.
#[tokio::test(flavor = "multi_thread")]
async fn a_lower_role_takes_its_tokens_out_of_other_workspaces() {
    let house = House::build().await;
    let all = Reach::Organisation;
    let owner = house.person("owner", Role::Owner, all).await;
    let lesser = house.person("lesser", Role::Admin, all).await;
    let made = async |workspace| house.token_in(&lesser, workspace).await;
    let everywhere = made(TokenWorkspace::Every).await;
    let there = made(TokenWorkspace::Named(workspace_name("other"))).await;
    let acts_in = async |token: &str, workspace: Option<&str>| {
        let proven = house.prove(token, workspace).await;
        proven.map(|principal| (principal.workspace, principal.organisation))
    };
    let other = Some("other");
    assert_eq!(
        acts_in(&everywhere, other).await.unwrap(),
        (house.other, true)
    );
    assert_eq!(acts_in(&there, None).await.unwrap(), (house.other, false));

    let lower = UpdateIdentity {
        role: Some(Role::Operator),
        ..UpdateIdentity::default()
    };
    house.update(&owner, "lesser", lower).await.unwrap();
    let home = (house.default, false);
    assert_eq!(acts_in(&everywhere, None).await.unwrap(), home);
    assert_eq!(acts_in(&everywhere, Some("default")).await.unwrap(), home);
    let refused = code(acts_in(&everywhere, other).await);
    assert_eq!(refused, Some(Code::NotFound));
    for workspace in [None, other] {
        let refused = code(acts_in(&there, workspace).await);
        assert_eq!(refused, Some(Code::Unauthorized));
    }
}
