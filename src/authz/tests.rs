//! What roles, scopes and ownership allow, and how policies of one's own take from it.

mod layers;
mod matrix;
mod roles;

use super::*;
use crate::domain::{
    id::{KeyId, WorkspaceId},
    name::{IdentityName, WorkspaceName},
    principal::{IdentityType, ProofId, RateLimit, Roles},
    scope::{Role, ScopeSet},
    time::Timestamp,
};

/// A Monday, at half past ten.
const MONDAY: Timestamp = Timestamp::from_millis(1_781_519_400_000);

fn ask(principal: &Principal, action: Action, resource: Resource) -> Question<'_> {
    Question {
        principal,
        action,
        resource,
        now: MONDAY,
        source_ip: None,
        facts: Facts::default(),
    }
}

/// The decision where nobody wrote a policy.
fn decide(
    principal: &Principal,
    action: Action,
    resource: Resource,
) -> Result<Permit, Box<Denial>> {
    let decided = super::decide(
        &Snapshot::default(),
        ask(principal, action, resource.clone()),
    );
    let screened = screen(principal, action, resource);
    assert!(
        screened.is_ok() || decided.is_err(),
        "a screen refuses what is allowed"
    );
    decided
}

fn missing(denial: &Denial) -> Option<Scope> {
    match denial.refusal {
        Refusal::Scope { missing, .. } => missing,
        _ => None,
    }
}

/// Without a role it is an owner's, with a key of these scopes.
fn principal(identity: u8, role: Option<Role>, scopes: ScopeSet) -> Principal {
    Principal {
        workspace: WorkspaceId::from_bytes([1; 16]),
        workspace_name: WorkspaceName::parse("default", "workspace").unwrap(),
        identity: IdentityId::from_bytes([identity; 16]),
        name: IdentityName::parse("somebody", "name").unwrap(),
        kind: IdentityType::Agent,
        proof: ProofId::Key(KeyId::from_bytes([2; 16])),
        root: ProofId::Key(KeyId::from_bytes([2; 16])),
        value_until: None,
        proof_name: "key".to_owned(),
        role,
        roles: Roles::of(role.unwrap_or(Role::Owner), None),
        scopes,
        labels: Default::default(),
        organisation: false,
        rate_limit: RateLimit::Unlimited,
    }
}

fn of_role(identity: u8, role: Role) -> Principal {
    principal(identity, Some(role), role.scopes())
}

fn lease(holder: u8, requested_by: u8) -> Resource {
    Resource::Lease {
        id: LeaseId::from_bytes([9; 16]),
        credential: CredentialName::parse("c", "name").unwrap(),
        holder: IdentityId::from_bytes([holder; 16]),
        requested_by: IdentityId::from_bytes([requested_by; 16]),
    }
}

#[test]
fn a_lease_belongs_to_its_holder() {
    let agent = of_role(1, Role::Agent);
    for action in [
        Action::LeaseRead,
        Action::LeaseRenew,
        Action::LeaseRelease,
        Action::HandleRedeem,
    ] {
        assert!(
            decide(&agent, action, lease(1, 1)).is_ok(),
            "{action:?} of one's own"
        );
        assert!(
            decide(&agent, action, lease(2, 2)).is_err(),
            "{action:?} of another's"
        );
        assert!(
            decide(&agent, action, lease(2, 1)).is_err(),
            "{action:?} asked for, without delegation"
        );
    }
    let admin = of_role(3, Role::WorkspaceAdmin);
    assert!(
        decide(&admin, Action::LeaseRenew, lease(1, 3)).is_ok(),
        "delegated by the caller itself"
    );
    assert!(
        decide(&admin, Action::HandleRedeem, lease(1, 1)).is_err(),
        "even an administrator steals no handle"
    );
    assert!(decide(&admin, Action::LeaseRevoke, lease(1, 1)).is_ok());
}

#[test]
fn nothing_is_allowed_without_its_scope() {
    let nobody = principal(1, None, ScopeSet::EMPTY);
    for action in [
        Action::CredentialRead,
        Action::CredentialCreate,
        Action::CredentialUpdate,
        Action::CredentialRotate,
        Action::CredentialRevokeVersion,
        Action::CredentialDelete,
        Action::LeaseCreate,
        Action::LeaseDelegate,
        Action::LeaseList,
        Action::LeaseRead,
        Action::LeaseRenew,
        Action::LeaseRelease,
        Action::LeaseRevoke,
        Action::HandleRedeem,
        Action::AuditRead,
    ] {
        let denial = decide(&nobody, action, lease(1, 1)).unwrap_err();
        assert_eq!(missing(&denial), Some(action.scope()), "{action:?}");
        let permit = decide(
            &principal(1, None, ScopeSet::of(&[action.scope()])),
            action,
            lease(1, 1),
        );
        assert_eq!(permit.unwrap().action(), action);
    }
}

#[test]
fn a_backup_needs_the_scope_and_a_key_that_reaches_every_workspace() {
    let of = |organisation, scopes| Principal {
        organisation,
        ..principal(1, Some(Role::Owner), scopes)
    };
    let backup = |principal: &Principal| decide(principal, Action::SystemBackup, Resource::Vault);
    let scope = ScopeSet::of(&[Scope::SystemBackup]);
    assert!(backup(&of(true, scope)).is_ok());
    let less = ScopeSet::of(Scope::ALL).without(Scope::SystemBackup);
    for (refused, lacks) in [
        (of(false, scope), None),
        (of(true, ScopeSet::EMPTY), Some(Scope::SystemBackup)),
        (of(true, less), Some(Scope::SystemBackup)),
    ] {
        let denial = backup(&refused).unwrap_err();
        assert_eq!(missing(&denial), lacks);
    }
}

#[test]
fn a_role_allows_what_its_scopes_say_and_no_more() {
    for role in Role::ALL {
        for action in Action::ALL.iter().copied() {
            let caller = Principal {
                organisation: true,
                ..of_role(1, role)
            };
            let held = role.scopes().contains(action.scope());
            let decided = decide(&caller, action, Resource::Workspace);
            let lease = matches!(
                action,
                Action::LeaseRenew | Action::LeaseRelease | Action::HandleRedeem
            );
            if !lease {
                assert_eq!(decided.is_ok(), held, "{role:?} {action:?}");
            }
            // A narrowed proof of the role is held to its own scopes, and a wide one to the role.
            let narrow = principal(1, Some(role), ScopeSet::EMPTY);
            assert!(decide(&narrow, action, Resource::Workspace).is_err());
            let wide = principal(1, Some(role), ScopeSet::of(Scope::ALL));
            let wide = Principal {
                organisation: true,
                ..wide
            };
            if !held {
                assert!(
                    decide(&wide, action, Resource::Vault).is_err(),
                    "{role:?} {action:?}"
                );
            }
        }
    }
}

#[test]
fn a_denial_names_the_policy_and_a_permit_the_role() {
    let agent = of_role(1, Role::Agent);
    let credential = || Resource::Credential(CredentialName::parse("c", "name").unwrap());
    let permit = decide(&agent, Action::LeaseCreate, credential()).unwrap();
    assert_eq!(permit.decided_by(), "role:agent");
    let scoped = principal(1, None, ScopeSet::of(&[Scope::LeaseCreate]));
    let permit = decide(&scoped, Action::LeaseCreate, credential()).unwrap();
    assert_eq!(permit.decided_by(), "role:owner");
    let denial = decide(&agent, Action::CredentialRead, credential()).unwrap_err();
    assert_eq!(denial.decided_by().unwrap(), "scope:missing");
    let denial = decide(&agent, Action::HandleRedeem, lease(2, 2)).unwrap_err();
    assert_eq!(denial.decided_by().unwrap(), "holder:only");
    assert_eq!(missing(&denial), Some(Scope::LeaseDelegate));
    // Whoever has that scope is not told that it lacks it.
    let admin = of_role(1, Role::WorkspaceAdmin);
    let denial = decide(&admin, Action::HandleRedeem, lease(2, 2)).unwrap_err();
    assert_eq!(missing(&denial), None);
    assert_eq!(denial.reason(), "the lease belongs to another identity");
}
