//! Who acts: identities, the API keys that prove them, and the principal that authentication makes of both.

use serde::{Deserialize, Serialize};

use super::{
    id::{IdentityId, KeyId, TokenId, WorkspaceId},
    name::{IdentityName, WorkspaceName},
    scope::{Role, ScopeSet},
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
    /// The type's spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Human => "human",
            Self::Service => "service",
        }
    }
}

/// Whether an identity may act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdentityState {
    Active,
    Suspended,
}

/// A named agent, human or service of a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub id: IdentityId,
    pub name: IdentityName,
    pub kind: IdentityType,
    pub role: Role,
    pub state: IdentityState,
    pub created_at: Timestamp,
}

/// Where a key may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reach {
    /// In one workspace.
    Workspace(WorkspaceId),
    /// In any workspace of the organisation; `X-Workspace` chooses.
    Organisation,
}

/// Whether a key may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    Active,
    Paused,
}

/// How many requests a key may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RateLimit {
    Unlimited,
    /// That many a minute.
    PerMinute(std::num::NonZeroU32),
    /// What the server's configuration says for keys without a limit of their own.
    Default,
}

/// An inbound API key. The key itself is not here: only its digest under the pepper.
#[derive(Serialize, Deserialize)]
pub struct ApiKey {
    pub id: KeyId,
    pub digest: [u8; 32],
    pub name: String,
    /// The workspace that `identity` belongs to.
    pub home: WorkspaceId,
    pub identity: IdentityId,
    pub scopes: ScopeSet,
    pub role: Option<Role>,
    pub reach: Reach,
    pub state: KeyState,
    pub rate_limit: RateLimit,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
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

/// A proven caller in a chosen workspace. Authentication makes it; nothing else does.
#[derive(Debug, Clone)]
pub struct Principal {
    pub workspace: WorkspaceId,
    pub workspace_name: WorkspaceName,
    pub identity: IdentityId,
    pub name: IdentityName,
    pub kind: IdentityType,
    pub proof: ProofId,
    /// What the proof descends from, itself unless a key or token made it: requests are counted for it, and it must
    /// live for the proof to live.
    pub root: ProofId,
    /// The name of the key or token that proved it.
    pub proof_name: String,
    pub role: Option<Role>,
    pub scopes: ScopeSet,
    /// Whether the proof reaches every workspace.
    pub organisation: bool,
    pub rate_limit: RateLimit,
}

/// A tenant of the vault: the unit of isolation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workspace {
    pub id: WorkspaceId,
    pub name: WorkspaceName,
    pub created_at: Timestamp,
}
