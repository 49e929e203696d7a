use super::*;
use crate::domain::{
    id::{KeyId, WorkspaceId},
    name::{IdentityName, WorkspaceName},
    principal::{IdentityType, ProofId, RateLimit},
    scope::{Role, ScopeSet},
};

fn principal(identity: u8, role: Option<Role>, scopes: ScopeSet) -> Principal {
    Principal {
        workspace: WorkspaceId::from_bytes([1; 16]),
        workspace_name: WorkspaceName::parse("default", "workspace").unwrap(),
        identity: IdentityId::from_bytes([identity; 16]),
        name: IdentityName::parse("somebody", "name").unwrap(),
        kind: IdentityType::Agent,
        proof: ProofId::Key(KeyId::from_bytes([2; 16])),
        root: ProofId::Key(KeyId::from_bytes([2; 16])),
        proof_name: "key".to_owned(),
        role,
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
        assert_eq!(denial.missing, action.scope(), "{action:?}");
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
    for refused in [
        of(false, scope),
        of(true, ScopeSet::EMPTY),
        of(true, ScopeSet::of(Scope::ALL).without(Scope::SystemBackup)),
    ] {
        let denial = backup(&refused).unwrap_err();
        assert_eq!(denial.missing, Scope::SystemBackup);
    }
}
