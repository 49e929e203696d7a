//! The one decision point. Acting on anything needs a [`Permit`], which only [`decide`] makes, and which
//! carries the resource it was decided on. What is not allowed is denied.

use crate::domain::{
    id::{IdentityId, LeaseId},
    name::CredentialName,
    principal::Principal,
    scope::Scope,
};

/// What somebody wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    CredentialRead,
    CredentialCreate,
    CredentialUpdate,
    CredentialRotate,
    CredentialRevokeVersion,
    CredentialDelete,
    LeaseCreate,
    LeaseDelegate,
    LeaseList,
    LeaseRead,
    LeaseRenew,
    LeaseRelease,
    LeaseRevoke,
    HandleRedeem,
    AuditRead,
    SystemBackup,
}

impl Action {
    /// The scope that allows the action.
    pub const fn scope(self) -> Scope {
        match self {
            Self::CredentialRead => Scope::CredentialRead,
            Self::CredentialCreate => Scope::CredentialCreate,
            Self::CredentialUpdate => Scope::CredentialUpdate,
            Self::CredentialRotate | Self::CredentialRevokeVersion => Scope::CredentialRotate,
            Self::CredentialDelete => Scope::CredentialDelete,
            Self::LeaseCreate | Self::LeaseRelease => Scope::LeaseCreate,
            Self::LeaseDelegate => Scope::LeaseDelegate,
            Self::LeaseList | Self::LeaseRead => Scope::LeaseRead,
            Self::LeaseRenew => Scope::LeaseRenew,
            Self::LeaseRevoke => Scope::LeaseRevoke,
            Self::HandleRedeem => Scope::HandleRedeem,
            Self::AuditRead => Scope::AuditRead,
            Self::SystemBackup => Scope::SystemBackup,
        }
    }
}

/// What it would be done to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// The vault with every workspace in it.
    Vault,
    /// The workspace as a whole.
    Workspace,
    /// A credential by its name, whether or not it exists.
    Credential(CredentialName),
    /// A lease, with the identities that a decision looks at.
    Lease {
        id: LeaseId,
        credential: CredentialName,
        holder: IdentityId,
        requested_by: IdentityId,
    },
}

impl Resource {
    /// The resource as a decision's explanation spells it.
    pub fn describe(&self) -> String {
        match self {
            Self::Vault => "vault".to_owned(),
            Self::Workspace => "workspace".to_owned(),
            Self::Credential(name) => format!("credential/{name}"),
            Self::Lease { id, .. } => format!("lease/{id}"),
        }
    }
}

/// A decision in favour. It cannot be made elsewhere, copied to another resource, or serialised.
#[derive(Debug)]
pub struct Permit {
    action: Action,
    resource: Resource,
    decided_by: String,
}

impl Permit {
    /// What is allowed.
    pub fn action(&self) -> Action {
        self.action
    }

    /// On what.
    pub fn resource(&self) -> &Resource {
        &self.resource
    }

    /// The role, or the key's own scopes, that decided.
    pub fn decided_by(&self) -> &str {
        &self.decided_by
    }
}

/// A decision against.
#[derive(Debug)]
pub struct Denial {
    pub action: Action,
    pub resource: Resource,
    pub decided_by: String,
    pub missing: Scope,
    pub why: &'static str,
}

/// Decides whether `principal` may do `action` to `resource`.
///
/// A lease belongs to its holder: only the holder renews and redeems, or whoever asked for it in the holder's
/// name and may still delegate. The holder reads and releases its own leases with the scope that let it take
/// them.
pub fn decide(principal: &Principal, action: Action, resource: Resource) -> Result<Permit, Denial> {
    let decided_by = match principal.role {
        Some(role) => format!("role:{}", role.as_str()),
        None => "key:scopes".to_owned(),
    };
    let has = |scope| principal.scopes.contains(scope);
    let owns = match &resource {
        Resource::Lease {
            holder,
            requested_by,
            ..
        } => {
            *holder == principal.identity
                || (*requested_by == principal.identity && has(Scope::LeaseDelegate))
        }
        Resource::Vault | Resource::Workspace | Resource::Credential(_) => true,
    };
    let scope = action.scope();
    let (allowed, missing, why) = match action {
        Action::LeaseRead => (
            has(scope) || (owns && has(Scope::LeaseCreate)),
            scope,
            "the lease belongs to another identity",
        ),
        Action::LeaseRenew | Action::LeaseRelease | Action::HandleRedeem if has(scope) => (
            owns,
            Scope::LeaseDelegate,
            "the lease belongs to another identity",
        ),
        // A backup holds every workspace: it is for keys that reach every one.
        Action::SystemBackup if has(scope) => (
            principal.organisation,
            scope,
            "the key reaches one workspace only",
        ),
        _ => (has(scope), scope, "the key lacks the scope"),
    };
    if allowed {
        Ok(Permit {
            action,
            resource,
            decided_by,
        })
    } else {
        Err(Denial {
            action,
            resource,
            decided_by,
            missing,
            why,
        })
    }
}

#[cfg(test)]
mod tests;
