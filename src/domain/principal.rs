//! Who acts: identities, the API keys that prove them, and the principal that authentication makes of both.

mod api_key;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use self::api_key::{ApiKey, KeyState, KeyStatus, PreviousValue, RateLimit};
use super::{
    credential::Author,
    error::{Code, Error, Result},
    id::{IdentityId, KeyId, TokenId, WorkspaceId},
    name::{IdentityName, Metadata, WorkspaceName},
    scope::{Role, Scope, ScopeSet},
    time::Timestamp,
};

/// What kind of actor an identity is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdentityType {
    Agent,
    Human,
    Service,
}

impl IdentityType {
    /// Every type.
    pub const ALL: [Self; 3] = [Self::Agent, Self::Human, Self::Service];

    /// The type's spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Human => "human",
            Self::Service => "service",
        }
    }

    /// Reads the spelling; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// Whether an identity may act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum IdentityState {
    Active,
    Suspended(Suspension),
}

impl IdentityState {
    /// The state's spelling.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended(_) => "suspended",
        }
    }
}

/// Who stopped an identity, when and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspension {
    pub since: Timestamp,
    /// None where the vault itself did it.
    pub by: Option<Author>,
    pub reason: Option<String>,
    /// What is still to be done, after a crash by the next start. The identity stays suspended until then.
    pub unfinished: Option<Unfinished>,
}

/// What a suspension has not done yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unfinished {
    /// Revoke its open leases.
    Sweep,
    /// The same, and remove it.
    Removal,
}

/// A named agent, human or service of a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub id: IdentityId,
    pub name: IdentityName,
    pub kind: IdentityType,
    pub role: Role,
    pub state: IdentityState,
    pub description: Option<String>,
    pub labels: Metadata,
    pub created_at: Timestamp,
    /// None where the vault itself made it.
    pub created_by: Option<Author>,
    pub updated_at: Timestamp,
}

impl Identity {
    /// Whether it may act.
    pub const fn is_active(&self) -> bool {
        matches!(self.state, IdentityState::Active)
    }
}

/// Where a key may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reach {
    /// In one workspace.
    Workspace(WorkspaceId),
    /// In any workspace of the organisation; `X-Workspace` chooses.
    Organisation,
}

impl Reach {
    /// Whether it is every workspace, for an identity of this role: only roles of the organisation reach so far.
    pub fn is_everywhere(self, role: Option<Role>) -> bool {
        self == Self::Organisation && role.is_none_or(Role::is_organisational)
    }
}

/// What proved a caller, by its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ProofId {
    Key(KeyId),
    Token(TokenId),
}

impl ProofId {
    /// The id's bytes, which no other proof has.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        match self {
            Self::Key(id) => id.as_bytes(),
            Self::Token(id) => id.as_bytes(),
        }
    }
}

impl std::fmt::Display for ProofId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Key(id) => id.fmt(f),
            Self::Token(id) => id.fmt(f),
        }
    }
}

/// The roles that policies know a caller by: its identity's, and its key's where that is another. They are its roles
/// however little of them its proof holds: nobody gets from under a rule by narrowing what it uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    pub identity: Role,
    key: Option<Role>,
}

impl Roles {
    /// The roles of a key of an identity. One that the identity has outgrown downwards counts no more.
    pub fn of(identity: Role, key: Option<Role>) -> Self {
        let counts = |key: &Role| *key != identity && identity.covers(*key);
        Self {
            identity,
            key: key.filter(counts),
        }
    }

    /// Each of them, once.
    pub fn iter(self) -> impl Iterator<Item = Role> {
        std::iter::once(self.identity).chain(self.key)
    }
}

/// Whom requests are counted against, whatever they come with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Account {
    /// A key, with the tokens that go back to it.
    Key(KeyId),
    /// Whoever assertions are exchanged for: each of them gives another token.
    Identity(IdentityId),
}

/// A proven caller in a chosen workspace. Authentication makes it; nothing else does.
#[derive(Debug, Clone)]
pub struct Principal {
    pub workspace: WorkspaceId,
    pub workspace_name: WorkspaceName,
    pub identity: IdentityId,
    pub name: IdentityName,
    pub kind: IdentityType,
    pub proof: ProofId,
    /// What the proof descends from, itself unless a key or token made it: it must live for the proof to live.
    pub root: ProofId,
    /// When the very value that proved it ends, where that is a rotated key's old one.
    pub value_until: Option<Timestamp>,
    /// The name of the key or token that proved it.
    pub proof_name: String,
    /// The role whose scopes these are, where there is one.
    pub role: Option<Role>,
    pub roles: Roles,
    /// What both the proof and the identity's role allow.
    pub scopes: ScopeSet,
    /// The identity's labels.
    pub labels: Arc<Metadata>,
    /// Whether the proof reaches every workspace.
    pub organisation: bool,
    pub rate_limit: RateLimit,
}

impl Principal {
    /// Whom its requests are counted against.
    pub const fn account(&self) -> Account {
        match self.root {
            ProofId::Key(id) => Account::Key(id),
            ProofId::Token(_) => Account::Identity(self.identity),
        }
    }

    /// INVARIANT (no-escalation): nobody hands out a scope that it does not hold itself.
    pub fn check_hands_out(&self, scopes: ScopeSet) -> Result<()> {
        match scopes.difference(self.scopes).iter().next() {
            None => Ok(()),
            Some(missing) => Err(Error::new(
                Code::InsufficientPermissions,
                "nobody hands out more than it holds itself",
            )
            .with("missing_scope", Scope::as_str(missing))),
        }
    }

    /// Whether it acts as an owner, with all that an owner holds.
    pub fn is_owner(&self) -> bool {
        self.role == Some(Role::Owner)
    }

    /// The same for a role; those of the organisation are given by callers that reach all of it, and an owner's by
    /// owners alone.
    pub fn check_gives(&self, role: Role) -> Result<()> {
        if role.is_organisational() && !self.organisation {
            return Err(Error::new(
                Code::InsufficientPermissions,
                "a role of the organisation is for callers that reach every workspace to give and to take",
            )
            .with("role", role.as_str()));
        }
        if role == Role::Owner && !self.is_owner() {
            return Err(Error::new(
                Code::InsufficientPermissions,
                "the role of an owner is for owners to give and to take",
            )
            .with("role", role.as_str()));
        }
        self.check_hands_out(role.scopes())
    }
}
