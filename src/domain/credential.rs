//! A credential and its versions: what is known about a secret, never the secret.

use serde::{Deserialize, Serialize};

use super::{
    id::{CredentialId, IdentityId},
    kind::{CredentialType, Facts},
    name::{CredentialName, IdentityName, Metadata},
    policy::LeasePolicy,
    time::Timestamp,
};

/// A keyed digest of a value: two people can compare values without seeing them. 16 bytes of HMAC-SHA256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint(pub [u8; 16]);

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Who did something, as history remembers it: the name stays readable when the identity is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Author {
    pub identity: IdentityId,
    pub name: IdentityName,
}

/// The slow half of a credential, rewritten only when its keeper changes it. Its state and its counters are
/// in the [`Ledger`](super::ledger::Ledger).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    pub id: CredentialId,
    pub name: CredentialName,
    pub kind: CredentialType,
    pub description: Option<String>,
    /// The metadata of the current version.
    pub metadata: Metadata,
    /// The facts read from the current value.
    pub facts: Facts,
    pub fingerprint: Fingerprint,
    pub policy: LeasePolicy,
    pub created_at: Timestamp,
    pub created_by: Author,
    pub updated_at: Timestamp,
    pub last_rotated_at: Option<Timestamp>,
    /// Whether a lease of it raises the alarm. Shown to nobody who may not change it: it must look real.
    pub canary: bool,
}

impl Credential {
    /// When `metadata.rotate_every` asks for the next rotation.
    pub fn next_rotation_at(&self) -> Option<Timestamp> {
        let every = self.metadata.rotate_every().ok().flatten()?;
        Some(
            self.last_rotated_at
                .unwrap_or(self.created_at)
                .plus(every.span()),
        )
    }
}

/// Where a version is in its life. It only ever moves down this list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum VersionState {
    /// New leases get it.
    Current,
    /// Replaced; leases that were open on it may still be.
    Rotated { at: Timestamp },
    /// Replaced, and its value erased when its last lease closed.
    Retired {
        rotated_at: Timestamp,
        at: Timestamp,
    },
    /// Stopped in an emergency and its value erased.
    Revoked {
        rotated_at: Option<Timestamp>,
        at: Timestamp,
    },
}

impl VersionState {
    /// How the states are spelled.
    pub const SPELLINGS: [&str; 4] = ["current", "rotated", "retired", "revoked"];

    /// The state's spelling.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Rotated { .. } => "rotated",
            Self::Retired { .. } => "retired",
            Self::Revoked { .. } => "revoked",
        }
    }

    /// When it was replaced.
    pub const fn rotated_at(&self) -> Option<Timestamp> {
        match self {
            Self::Current => None,
            Self::Rotated { at } => Some(*at),
            Self::Retired { rotated_at, .. } => Some(*rotated_at),
            Self::Revoked { rotated_at, .. } => *rotated_at,
        }
    }

    /// When its value was erased.
    pub const fn erased_at(&self) -> Option<Timestamp> {
        match self {
            Self::Current | Self::Rotated { .. } => None,
            Self::Retired { at, .. } | Self::Revoked { at, .. } => Some(*at),
        }
    }
}

/// One value of a credential, without the value: this stays when the value is erased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    pub number: u32,
    pub state: VersionState,
    pub created_at: Timestamp,
    pub created_by: Author,
    /// What the version was made with; a lease answers with its version's.
    pub metadata: Metadata,
    pub facts: Facts,
    pub fingerprint: Fingerprint,
    /// When a lease first showed the value to its holder, as of the version's end; while it is open the ledger
    /// knows.
    pub revealed_at: Option<Timestamp>,
}
