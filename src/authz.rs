//! The one decision point. Acting on anything needs a [`Permit`], which only [`decide`] makes, and which
//! carries the resource it was decided on. What is not allowed is denied.

use crate::domain::{
    id::{IdentityId, KeyId, LeaseId, TokenId},
    name::{CredentialName, IdentityName},
    principal::{IdentityType, Principal},
    scope::Scope,
};

macro_rules! actions {
    ($($name:ident = $text:literal by $scope:ident;)*) => {
        /// What somebody wants to do.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Action {
            $($name,)*
        }

        impl Action {
            /// Every action there is.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The action's spelling, in policies and in history.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Reads the spelling; `None` for anything else.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$name),)* _ => None }
            }

            /// The scope that allows the action.
            pub const fn scope(self) -> Scope {
                match self { $(Self::$name => Scope::$scope,)* }
            }
        }
    };
}

actions! {
    CredentialRead = "credential:read" by CredentialRead;
    CredentialCreate = "credential:create" by CredentialCreate;
    CredentialUpdate = "credential:update" by CredentialUpdate;
    CredentialRotate = "credential:rotate" by CredentialRotate;
    CredentialRevokeVersion = "credential:revoke_version" by CredentialRotate;
    CredentialDelete = "credential:delete" by CredentialDelete;
    LeaseCreate = "lease:create" by LeaseCreate;
    LeaseDelegate = "lease:delegate" by LeaseDelegate;
    LeaseList = "lease:list" by LeaseRead;
    LeaseRead = "lease:read" by LeaseRead;
    LeaseRenew = "lease:renew" by LeaseRenew;
    LeaseRelease = "lease:release" by LeaseCreate;
    LeaseRevoke = "lease:revoke" by LeaseRevoke;
    HandleRedeem = "handle:redeem" by HandleRedeem;
    AuditRead = "audit:read" by AuditRead;
    SystemBackup = "sys:backup" by SystemBackup;
    IdentityRead = "identity:read" by IdentityRead;
    IdentityCreate = "identity:create" by IdentityCreate;
    IdentityUpdate = "identity:update" by IdentityUpdate;
    IdentitySuspend = "identity:suspend" by IdentitySuspend;
    IdentityResume = "identity:resume" by IdentitySuspend;
    IdentityDelete = "identity:delete" by IdentityDelete;
    IssuerRead = "issuer:read" by IdentityRead;
    IssuerWrite = "issuer:write" by IdentityFederate;
    KeyRead = "key:read" by KeyRead;
    KeyCreate = "key:create" by KeyCreate;
    KeyUpdate = "key:update" by KeyUpdate;
    KeyPause = "key:pause" by KeyUpdate;
    KeyResume = "key:resume" by KeyUpdate;
    KeyRotate = "key:rotate" by KeyRotate;
    KeyDelete = "key:delete" by KeyDelete;
    TokenRead = "token:read" by TokenRead;
    TokenCreate = "token:create" by TokenCreate;
    TokenRevoke = "token:revoke" by TokenRevoke;
    SigningKeyRotate = "signing_key:rotate" by SystemWrite;
    PolicyRead = "policy:read" by PolicyRead;
    PolicyWrite = "policy:write" by PolicyWrite;
    WorkspaceRead = "workspace:read" by WorkspaceRead;
    WorkspaceCreate = "workspace:create" by WorkspaceCreate;
    WorkspaceUpdate = "workspace:update" by WorkspaceUpdate;
    WorkspaceRevokeAll = "workspace:revoke_all" by WorkspaceRevokeAll;
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
    /// An identity, whether or not it exists.
    Identity {
        kind: IdentityType,
        name: IdentityName,
    },
    /// An API key and whom it proves.
    Key { id: KeyId, identity: IdentityId },
    /// An access token and whom it proves.
    Token { id: TokenId, identity: IdentityId },
}

impl Resource {
    /// The resource as a decision's explanation spells it.
    pub fn describe(&self) -> String {
        match self {
            Self::Vault => "vault".to_owned(),
            Self::Workspace => "workspace".to_owned(),
            Self::Credential(name) => format!("credential/{name}"),
            Self::Lease { id, .. } => format!("lease/{id}"),
            Self::Identity { kind, name } => format!("identity/{}/{name}", kind.as_str()),
            Self::Key { id, .. } => format!("api-key/{id}"),
            Self::Token { id, .. } => format!("token/{id}"),
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

impl Denial {
    /// The resource, where no field of a record names it.
    pub fn described(&self) -> Option<String> {
        match &self.resource {
            Resource::Vault
            | Resource::Workspace
            | Resource::Credential(_)
            | Resource::Lease { .. } => None,
            other => Some(other.describe()),
        }
    }
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
        Resource::Key { identity, .. } | Resource::Token { identity, .. } => {
            *identity == principal.identity
        }
        Resource::Vault
        | Resource::Workspace
        | Resource::Credential(_)
        | Resource::Identity { .. } => true,
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
        // What concerns every workspace is for proofs that reach every one.
        Action::SystemBackup | Action::WorkspaceCreate | Action::SigningKeyRotate if has(scope) => {
            (
                principal.organisation,
                scope,
                "the caller reaches one workspace only",
            )
        }
        // Whoever holds a key or token may see it and end it.
        Action::KeyRead | Action::TokenRead | Action::TokenRevoke => (
            has(scope) || owns && !matches!(resource, Resource::Workspace),
            scope,
            "the key lacks the scope",
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
