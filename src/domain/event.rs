//! What history remembers of each operation. One record describes one event and is written in the same
//! commit as what it describes.
//!
//! The encoding is positional: fields and variants are only ever appended, under a new format number.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::{
    id::{CredentialId, EventId, IdentityId, LeaseId, WorkspaceId},
    mask::mask,
    name::{CredentialName, IdentityName},
    principal::{IdentityType, Principal, ProofId},
    time::Timestamp,
};

macro_rules! events {
    ($($name:ident = $text:literal,)*) => {
        /// What happened.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum EventName {
            $($name,)*
        }

        impl EventName {
            /// Every event there is.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The event's spelling.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Reads the spelling; `None` for anything else.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$name),)* _ => None }
            }
        }
    };
}

events! {
    LeaseIssued = "lease.issued",
    LeaseRedeemed = "lease.redeemed",
    LeaseRenewed = "lease.renewed",
    LeaseExpired = "lease.expired",
    LeaseReleased = "lease.released",
    LeaseRevoked = "lease.revoked",
    LeaseRefused = "lease.refused",
    LeaseBulkRevoked = "lease.bulk_revoked",
    CredentialCreated = "credential.created",
    CredentialUpdated = "credential.updated",
    CredentialRotated = "credential.rotated",
    CredentialVersionRetired = "credential.version_retired",
    CredentialVersionRevoked = "credential.version_revoked",
    CredentialRevoked = "credential.revoked",
    CredentialDeleted = "credential.deleted",
    CredentialRefused = "credential.refused",
    KeyRefused = "key.refused",
    AuthzDenied = "authz.denied",
    AuditRead = "audit.read",
    WorkspaceCreated = "workspace.created",
    IdentityCreated = "identity.created",
    KeyCreated = "key.created",
    VaultInitialised = "vault.initialised",
    VaultStarted = "vault.started",
    VaultStopped = "vault.stopped",
    VaultBackedUp = "vault.backed_up",
    VaultRestored = "vault.restored",
    VaultRepaired = "vault.repaired",
    WorkspaceUpdated = "workspace.updated",
    WorkspaceRevokedAll = "workspace.revoked_all",
    IdentityUpdated = "identity.updated",
    IdentitySuspended = "identity.suspended",
    IdentityResumed = "identity.resumed",
    IdentityDeleted = "identity.deleted",
    KeyUpdated = "key.updated",
    KeyPaused = "key.paused",
    KeyResumed = "key.resumed",
    KeyRotated = "key.rotated",
    KeyDeleted = "key.deleted",
    TokenCreated = "token.created",
    TokenRevoked = "token.revoked",
    TokenRefused = "token.refused",
    SigningKeyRotated = "signing_key.rotated",
    IssuerCreated = "issuer.created",
    IssuerUpdated = "issuer.updated",
    IssuerDeleted = "issuer.deleted",
    AuthExchanged = "auth.exchanged",
    AuthRefused = "auth.refused",
    PolicyApplied = "policy.applied",
    PolicyRolledBack = "policy.rolled_back",
    DirectoryRefused = "directory.refused",
    RequestRead = "request.read",
    RequestUnrecorded = "request.unrecorded",
    AuthFailed = "auth.failed",
    VaultUnsealed = "vault.unsealed",
    VaultConfigured = "vault.configured",
    CanaryTouched = "canary.touched",
    ReportRead = "report.read",
    AuditExported = "audit.exported",
    AuditExportEnded = "audit.export_ended",
    LeaseRemoved = "lease.removed",
    AuditRemoved = "audit.removed",
    AuditHoldSet = "audit.hold_set",
    AuditHoldReleased = "audit.hold_released",
}

/// How soon somebody should look at an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Work as usual.
    Info,
    /// A refusal, or something that was stopped or undone.
    Warning,
    /// What does not happen unless something is wrong.
    High,
}

impl Severity {
    /// The severity's spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::High => "high",
        }
    }
}

impl EventName {
    /// How soon somebody should look at it. Derived here, and nowhere stored.
    pub const fn severity(self) -> Severity {
        match self {
            Self::CanaryTouched => Severity::High,
            Self::LeaseRefused
            | Self::CredentialRefused
            | Self::KeyRefused
            | Self::TokenRefused
            | Self::AuthRefused
            | Self::DirectoryRefused
            | Self::AuthzDenied
            | Self::CredentialVersionRevoked
            | Self::CredentialRevoked
            | Self::LeaseBulkRevoked
            | Self::WorkspaceRevokedAll
            | Self::IdentitySuspended
            | Self::VaultRestored
            | Self::VaultRepaired => Severity::Warning,
            _ => Severity::Info,
        }
    }
}

/// Who did it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Actor {
    /// An authenticated caller.
    Identity {
        identity: IdentityId,
        name: IdentityName,
        kind: IdentityType,
        proof: ProofId,
    },
    /// The vault itself: `reaper`, `startup`, …
    Vault { part: String },
}

impl Actor {
    /// The caller as an actor.
    pub fn of(principal: &Principal) -> Self {
        Self::Identity {
            identity: principal.identity,
            name: principal.name.clone(),
            kind: principal.kind,
            proof: principal.proof,
        }
    }

    /// The vault's own part as an actor.
    pub fn vault(part: &str) -> Self {
        Self::Vault {
            part: part.to_owned(),
        }
    }
}

/// Where a request came from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    pub request_id: String,
    pub source_ip: Option<std::net::IpAddr>,
    pub user_agent: Option<String>,
}

/// What it was done to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    pub credential: Option<CredentialId>,
    pub credential_name: Option<CredentialName>,
    pub version: Option<u32>,
    pub lease: Option<LeaseId>,
    /// The holder of the lease, and on whose behalf it was asked for.
    pub holder: Option<IdentityId>,
    pub holder_name: Option<IdentityName>,
    pub session: Option<String>,
    /// Anything else, by its name: an identity, a key, a workspace.
    pub name: Option<String>,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    Success,
    /// Refused, with the error code that the caller was given.
    Refused {
        code: String,
    },
}

/// One changed field. Values of credentials are never here, only their fingerprints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub field: SmolStr,
    pub before: Option<SmolStr>,
    pub after: Option<SmolStr>,
}

/// One event of history. Its sequence number is given at the commit and stands beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    pub id: EventId,
    pub time: Timestamp,
    pub workspace: WorkspaceId,
    pub event: EventName,
    pub actor: Actor,
    pub object: Object,
    pub outcome: Outcome,
    /// What decided: a role, a key's scopes, later a policy.
    pub policy: Option<String>,
    pub origin: Option<Origin>,
    pub purpose: Option<String>,
    pub reason: Option<String>,
    pub changes: Vec<Change>,
    /// The requests that the record stands for, where it stands for several: all of one caller from one source, with
    /// one outcome.
    pub requests: Vec<AnsweredRequest>,
}

/// A request among those of one record. What it was sent with is not here: neither its query nor its body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnsweredRequest {
    pub time: Timestamp,
    pub id: String,
    pub method: Cow<'static, str>,
    /// The template of its path.
    pub route: String,
    /// The ids or names that stood in its path.
    pub about: Option<String>,
    /// The HTTP status of the answer.
    pub status: u16,
}

impl AuditRecord {
    /// The ids of the requests that it is about.
    pub fn request_ids(&self) -> impl Iterator<Item = &str> {
        let own = self.origin.iter().map(|origin| origin.request_id.as_str());
        let batched = self.requests.iter().map(|request| request.id.as_str());
        own.chain(batched).filter(|id| !id.is_empty())
    }

    /// The record without what a caller put into a text by mistake: API keys, handles and tokens. INVARIANT
    /// (no-side-door)
    #[must_use]
    pub fn masked(mut self) -> Self {
        let agent = self
            .origin
            .as_mut()
            .and_then(|origin| origin.user_agent.as_mut());
        let object = [self.object.session.as_mut(), self.object.name.as_mut()];
        let own = [agent, self.purpose.as_mut(), self.reason.as_mut()];
        let changed = self
            .changes
            .iter_mut()
            .flat_map(|change| [change.before.as_mut(), change.after.as_mut()]);
        let texts = object.into_iter().chain(own).flatten();
        texts.for_each(mask);
        changed.flatten().for_each(mask);
        self
    }
}
