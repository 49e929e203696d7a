//! API keys: what they are, how long they prove anything, and how much they may ask for.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::{IdentityState, ProofId, Reach};
use crate::domain::{
    credential::Author,
    id::{IdentityId, KeyId, WorkspaceId},
    scope::{Role, ScopeSet},
    time::{Span, Timestamp},
    token::TokenStatus,
    workspace::Stop,
};

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
    PerMinute(NonZeroU32),
    /// What the server's configuration says for keys without a limit of their own.
    Default,
}

impl RateLimit {
    /// The limits that have a name, in requests a minute.
    pub const TIERS: [(&'static str, u32); 3] = [("free", 100), ("starter", 500), ("pro", 2000)];

    /// The limit of a tier; `None` for any other name.
    pub fn tier(name: &str) -> Option<Self> {
        if name == "unlimited" {
            return Some(Self::Unlimited);
        }
        let (_, limit) = Self::TIERS.into_iter().find(|(tier, _)| *tier == name)?;
        NonZeroU32::new(limit).map(Self::PerMinute)
    }

    /// Whether it lets through no more than `other`, where a key without a limit of its own has `default`.
    pub fn is_within(self, other: Self, default: Option<NonZeroU32>) -> bool {
        let a_minute = |limit| match limit {
            Self::Unlimited => None,
            Self::PerMinute(limit) => Some(limit),
            Self::Default => default,
        };
        match (a_minute(self), a_minute(other)) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(own), Some(others)) => own <= others,
        }
    }

    /// The tier that the limit is, where it has a name.
    pub fn tier_name(self) -> Option<&'static str> {
        match self {
            Self::Unlimited => Some("unlimited"),
            Self::PerMinute(limit) => Self::TIERS
                .into_iter()
                .find_map(|(tier, of)| (of == limit.get()).then_some(tier)),
            Self::Default => None,
        }
    }
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
    pub description: Option<String>,
    /// None where the vault made it at its set-up.
    pub created_by: Option<Author>,
    pub updated_at: Timestamp,
    pub rotated_at: Option<Timestamp>,
    /// The value before a rotation with a grace.
    pub previous: Option<PreviousValue>,
    /// Tokens made with the key until then ended with a value that was rotated at once.
    pub tokens_until: Option<Timestamp>,
}

/// A rotated API key's old value, as long as it still proves the key.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct PreviousValue {
    pub digest: [u8; 32],
    /// From then on it proves nothing.
    pub until: Timestamp,
}

impl PreviousValue {
    /// The old value of a key that is rotated at `now`; none where nothing of the grace is left. It outlives
    /// neither the grace nor the expiry that it had.
    pub fn after(key: &ApiKey, grace: Span, now: Timestamp) -> Option<Self> {
        let end = now.plus(grace);
        let until = key.expires_at.map_or(end, |expiry| expiry.min(end));
        (until > now).then_some(Self {
            digest: key.digest,
            until,
        })
    }
}

impl ApiKey {
    /// What the key is at `now`. A pause is told before an expiry: it is what somebody did.
    pub fn status(&self, now: Timestamp) -> KeyStatus {
        match self.state {
            KeyState::Paused => KeyStatus::Paused,
            KeyState::Active if self.expires_at.is_some_and(|expiry| now >= expiry) => {
                KeyStatus::Expired
            }
            KeyState::Active => KeyStatus::Active,
        }
    }

    /// What authentication says of the key at `now`: a stop of its workspaces (`stops`) is told before all else, and
    /// what was done to its identity, which is none where that is gone, after what was done to the key itself.
    pub fn standing(
        &self,
        identity: Option<(Role, &IdentityState)>,
        stops: &[Stop],
        now: Timestamp,
    ) -> KeyStatus {
        let proof = ProofId::Key(self.id);
        let everywhere = self.reach.is_everywhere(identity.map(|(role, _)| role));
        let covers = |stop: &Stop| stop.covers(proof, everywhere, self.created_at);
        if stops.iter().any(covers) {
            return KeyStatus::Revoked;
        }
        match (self.status(now), identity) {
            (KeyStatus::Active, None) => KeyStatus::Revoked,
            (KeyStatus::Active, Some((_, IdentityState::Suspended(_)))) => KeyStatus::Suspended,
            (status, _) => status,
        }
    }

    /// The digests of what proves the key at `now`: its value, and within the grace the one before, with its end.
    pub fn digests(&self, now: Timestamp) -> impl Iterator<Item = ([u8; 32], Option<Timestamp>)> {
        let previous = self.previous.filter(|old| now < old.until);
        std::iter::once((self.digest, None))
            .chain(previous.map(|old| (old.digest, Some(old.until))))
    }

    /// How long the key was given when it was made or rotated last; for ever where none.
    pub fn lifetime(&self) -> Option<Span> {
        let begun = self.rotated_at.unwrap_or(self.created_at);
        self.expires_at.map(|expiry| expiry.since(begun))
    }
}

/// Whether a key may be used at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyStatus {
    Active,
    Paused,
    Expired,
    /// With its identity.
    Suspended,
    /// For good: with its workspace, or its identity.
    Revoked,
}

impl KeyStatus {
    /// Every status.
    pub const ALL: [Self; 5] = [
        Self::Active,
        Self::Paused,
        Self::Expired,
        Self::Suspended,
        Self::Revoked,
    ];

    /// What that makes of the tokens that go back to the key.
    pub const fn of_tokens(self) -> TokenStatus {
        match self {
            Self::Active => TokenStatus::Active,
            Self::Paused | Self::Expired | Self::Suspended => TokenStatus::Suspended,
            Self::Revoked => TokenStatus::Revoked,
        }
    }

    /// The status' spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Expired => "expired",
            Self::Suspended => "suspended",
            Self::Revoked => "revoked",
        }
    }

    /// Reads the spelling; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_within_what_lets_through_as_much_or_more() {
        let [free, pro] = ["free", "pro"].map(|tier| RateLimit::tier(tier).unwrap());
        let (default, unlimited) = (RateLimit::Default, RateLimit::Unlimited);
        for (configured, one, other, within) in [
            (None, free, pro, true),
            (None, pro, free, false),
            (None, free, free, true),
            (None, unlimited, pro, false),
            (None, pro, unlimited, true),
            // Without one in the configuration, the default is none.
            (None, default, free, false),
            (None, default, unlimited, true),
            (None, unlimited, default, true),
            (Some(500), default, pro, true),
            (Some(500), default, free, false),
            (Some(500), free, default, true),
            (Some(500), pro, default, false),
            (Some(500), unlimited, default, false),
            (Some(500), default, default, true),
        ] {
            let configured = configured.and_then(NonZeroU32::new);
            let found = one.is_within(other, configured);
            assert_eq!(found, within, "{one:?} in {other:?}, {configured:?}");
        }
    }
}
