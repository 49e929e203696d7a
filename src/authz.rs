//! The one decision point. Acting on anything needs a [`Permit`], which only [`decide`] makes, and which
//! carries the resource it was decided on. What is not allowed is denied, by Cedar: the built-in policies say what
//! roles and scopes allow, those of the organisation and of the workspace take away, and one that errors denies.

mod allowed;
mod built_in;
mod entities;
mod glance;
mod needs;
mod part;
mod policies;
mod question;
mod set;
mod slice;

pub use self::{
    allowed::Allowed,
    built_in::{ROLES, ROLES_FILE, SCHEMA, check_concerns, concerns},
    policies::{Policies, Snapshot, Verdict},
    question::{CredentialFacts, Facts, LeaseFacts, Question, TermsFacts, ValueFacts},
    set::{Fault, Layer, PolicySet, Source},
};
use crate::domain::{
    error::{Code, Error},
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
    CredentialList = "credential:list" by CredentialRead;
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
    LeaseRevokeMany = "lease:revoke_many" by LeaseRevoke;
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
    AuditExport = "audit:export" by AuditExport;
    AuditHold = "audit:hold" by SystemWrite;
    AuditHoldRead = "audit:hold_read" by SystemRead;
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
    /// The type that it has in the schema.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Vault => "Vault",
            Self::Workspace => "Workspace",
            Self::Credential(_) => "Credential",
            Self::Lease { .. } => "Lease",
            Self::Identity { .. } => "Identity",
            Self::Key { .. } => "Key",
            Self::Token { .. } => "Token",
        }
    }

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

    /// The policy that decided: a role's, that of a key's own scopes, …
    pub fn decided_by(&self) -> &str {
        &self.decided_by
    }
}

/// Why a decision went against the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The caller lacks a scope, or is not the one it concerns, whatever its scopes.
    Scope {
        missing: Option<Scope>,
        why: &'static str,
    },
    /// A policy forbids it, with what its `@message` tells the caller.
    Forbidden { message: Option<String> },
    /// A policy failed to evaluate, and what it would have said is not known.
    Failed,
    /// A policy with `@validation` refuses the value that would be stored.
    Invalid { message: String },
}

/// A decision against.
#[derive(Debug)]
pub struct Denial {
    pub action: Action,
    pub resource: Resource,
    /// The policies that decided, in the order of their ids; none where nothing permits the action.
    pub policies: Vec<String>,
    pub refusal: Refusal,
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

    /// The policies that decided, as one text; none where nothing permits the action.
    pub fn decided_by(&self) -> Option<String> {
        (!self.policies.is_empty()).then(|| self.policies.join(", "))
    }

    /// The reason, as history keeps it.
    pub fn reason(&self) -> String {
        match &self.refusal {
            Refusal::Scope {
                missing: Some(missing),
                why,
            } => format!("missing scope {}: {why}", missing.as_str()),
            Refusal::Scope { missing: None, why } => (*why).to_owned(),
            Refusal::Forbidden { message: None } => "a policy forbids it".to_owned(),
            Refusal::Forbidden {
                message: Some(message),
            } => format!("a policy forbids it: {message}"),
            Refusal::Failed => "a policy failed to evaluate".to_owned(),
            Refusal::Invalid { message } => format!("a policy refuses the value: {message}"),
        }
    }

    /// The error to tell the caller.
    pub fn error(&self) -> Error {
        let error = match &self.refusal {
            Refusal::Scope { missing, why } => {
                let error = Error::new(Code::InsufficientPermissions, *why);
                match missing {
                    Some(missing) => error.with("missing_scope", missing.as_str()),
                    None => error,
                }
            }
            Refusal::Forbidden { message } => Error::new(
                Code::PolicyDenied,
                message.as_deref().unwrap_or("a policy forbids it"),
            ),
            Refusal::Failed => Error::new(
                Code::PolicyDenied,
                "a policy failed to evaluate, and so denies; whoever keeps the policies must mend it",
            ),
            Refusal::Invalid { message } => Error::new(Code::ValidationFailed, message.as_str()),
        };
        match (self.decided_by(), &self.refusal) {
            (Some(policies), Refusal::Scope { .. }) => error.with("decided_by", policies),
            (Some(policies), _) => error.with("policy", policies),
            (None, _) => error,
        }
    }
}

/// Decides whether the principal may do the action to the resource, on the facts of the question.
pub fn decide(rules: &Snapshot, question: Question<'_>) -> Result<Permit, Box<Denial>> {
    let verdict = rules.explain(&question);
    let Question {
        action, resource, ..
    } = question;
    match verdict {
        Verdict::Allowed { by } => Ok(Permit {
            action,
            resource,
            decided_by: by,
        }),
        Verdict::Refused { policies, refusal } => Err(Box::new(Denial {
            action,
            resource,
            policies,
            refusal,
        })),
    }
}

/// Denies what the built-in policies deny whatever the facts are: for a look before the facts are read, so that whoever
/// may not act learns nothing of what exists. It permits nothing: that takes [`decide`].
pub fn screen(
    principal: &Principal,
    action: Action,
    resource: Resource,
) -> Result<(), Box<Denial>> {
    match built_in::outcome(principal, action, &resource) {
        built_in::Outcome::Refused { policies, refusal }
            if !policies.is_empty() || refusal == Refusal::Failed =>
        {
            Err(Box::new(Denial {
                action,
                resource,
                policies: policies.iter().map(ToString::to_string).collect(),
                refusal,
            }))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
