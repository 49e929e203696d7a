//! Access tokens and the keys that sign them. The record is what a token's rights are read from; its text only
//! proves who holds it. Transitions are pure.

use serde::{Deserialize, Serialize};

use super::{
    error::{Code, Error, Result},
    id::{IdentityId, IssuerId, KeyId, TokenId, WorkspaceId},
    name::IdentityName,
    principal::{IdentityType, ProofId, Reach},
    scope::{Role, ScopeSet},
    time::{Span, Timestamp, Ttl},
    workspace::Stop,
};

/// The shortest, the longest and the default lifetime of a token.
pub const MIN_TTL: Ttl = Ttl::from_secs(60);
pub const MAX_TTL: Ttl = Ttl::from_secs(30 * 24 * 60 * 60);
pub const DEFAULT_TTL: Ttl = Ttl::from_secs(60 * 60);
/// How long after its `exp` a token is taken. The vault that judges it is the one that issued it, so no clocks
/// can differ.
pub const LEEWAY: Span = Span::from_millis(0);
/// Tokens that an identity has made and that may still be of use; what assertions are exchanged for is not among them.
pub const MAX_TOKENS_OF_IDENTITY: usize = 1_000;
/// Tokens in a row of which each made the next; every use looks at all of them.
pub const MAX_GENERATIONS: u8 = 4;
/// How long a retired key verifies: the longest token, and an hour for one that was being made meanwhile.
pub const VERIFIES_FOR: Span = Span::from_secs(30 * 24 * 60 * 60 + 60 * 60);
/// The most keys that verify at a time: bounds the published set.
pub const MAX_SIGNING_KEYS: usize = 50;

/// What a token was made with, and dies with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Parent {
    Key(KeyId),
    Token(TokenId),
    /// A federated assertion, by its issuer and the workspace that the issuer is registered in: the vault's own for
    /// one of the whole organisation.
    Issuer(IssuerId, WorkspaceId),
}

/// Whether a token was revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TokenState {
    Active,
    Revoked { at: Timestamp },
}

/// An access token. Its text is not here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    pub id: TokenId,
    pub name: Option<String>,
    /// The workspace that `identity` belongs to.
    pub home: WorkspaceId,
    pub identity: IdentityId,
    pub identity_name: IdentityName,
    pub identity_kind: IdentityType,
    pub parent: Parent,
    /// How many tokens stand between it and the key or the assertion.
    pub generation: u8,
    pub scopes: ScopeSet,
    pub reach: Reach,
    pub state: TokenState,
    /// The number of the key that signed it.
    pub signed_by: u32,
    pub created_at: Timestamp,
    /// A whole second, as its `exp` says it.
    pub expires_at: Timestamp,
}

/// How a token stands at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenStatus {
    Active,
    Expired,
    /// By itself, or with what made it.
    Revoked,
    /// What made it is out of use for now: its identity is suspended, its key paused or expired.
    Suspended,
}

impl TokenStatus {
    /// Every status.
    pub const ALL: [Self; 4] = [Self::Active, Self::Expired, Self::Revoked, Self::Suspended];

    /// The status's spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Suspended => "suspended",
        }
    }
}

/// Holds a token's lifetime to its bounds.
pub fn check_ttl(ttl: Ttl, field: &str) -> Result<Ttl> {
    if (MIN_TTL..=MAX_TTL).contains(&ttl) {
        return Ok(ttl);
    }
    Err(Error::invalid(
        field,
        format!("`{field}` must be {MIN_TTL} to {MAX_TTL}"),
    ))
}

/// The end of a token made now: a whole second, and never after `parent` ends.
pub fn expiry(now: Timestamp, ttl: Ttl, parent: Option<Timestamp>) -> Timestamp {
    let end = now.plus(ttl.span());
    let end = parent.map_or(end, |parent| parent.min(end));
    Timestamp::from_millis(end.as_millis() / 1000 * 1000)
}

impl Token {
    /// The workspace whose list it is in: the one where it is of use, or its identity's own.
    pub fn listed_in(&self) -> WorkspaceId {
        match self.reach {
            Reach::Workspace(workspace) => workspace,
            Reach::Organisation => self.home,
        }
    }

    /// Whether one of these stops of its workspaces ended it, where its identity has this role.
    pub fn is_stopped(&self, role: Option<Role>, stops: &[Stop]) -> bool {
        let proof = ProofId::Token(self.id);
        let everywhere = self.reach.is_everywhere(role);
        let covers = |stop: &Stop| stop.covers(proof, everywhere, self.created_at);
        stops.iter().any(covers)
    }

    /// How it stands at `now` by itself.
    pub fn status(&self, now: Timestamp) -> TokenStatus {
        match self.state {
            TokenState::Revoked { .. } => TokenStatus::Revoked,
            TokenState::Active if now >= self.expires_at.plus(LEEWAY) => TokenStatus::Expired,
            TokenState::Active => TokenStatus::Active,
        }
    }

    /// Whether it may be used at `now`, what it was made with aside.
    pub fn check(&self, now: Timestamp) -> Result<()> {
        match self.status(now) {
            TokenStatus::Active => Ok(()),
            TokenStatus::Expired => Err(expired(self.expires_at)),
            TokenStatus::Revoked | TokenStatus::Suspended => Err(Error::new(
                Code::Unauthorized,
                "the access token was revoked",
            )),
        }
    }

    /// Ends it for good; tells whether it was usable until then.
    pub fn revoke(&mut self, now: Timestamp) -> bool {
        let usable = self.status(now) == TokenStatus::Active;
        if usable {
            self.state = TokenState::Revoked { at: now };
        }
        usable
    }
}

/// The refusal of a proven token whose time is over.
pub fn expired(at: Timestamp) -> Error {
    Error::new(Code::TokenExpired, "the access token has expired")
        .with("expired_at", at.to_string())
}

/// A key that signs tokens, by its number; the key itself follows from the root key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningKey {
    pub number: u32,
    pub created_at: Timestamp,
    pub retired_at: Option<Timestamp>,
}

impl SigningKey {
    /// Whether a token that it signed may still be usable at `now`.
    pub fn verifies(&self, now: Timestamp) -> bool {
        self.retired_at
            .is_none_or(|retired| now < retired.plus(VERIFIES_FOR))
    }
}

/// The vault's signing keys, oldest first; the last one signs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningKeys(Vec<SigningKey>);

impl SigningKeys {
    /// The first key of a vault.
    pub fn first(now: Timestamp) -> Self {
        Self(vec![SigningKey {
            number: 1,
            created_at: now,
            retired_at: None,
        }])
    }

    /// The key that signs.
    pub fn current(&self) -> Result<&SigningKey> {
        self.0
            .last()
            .ok_or_else(|| Error::internal("there is no signing key"))
    }

    /// The keys that verify at `now`, oldest first.
    pub fn verifying(&self, now: Timestamp) -> impl Iterator<Item = &SigningKey> {
        self.0.iter().filter(move |key| key.verifies(now))
    }

    /// Makes a new key current; forgets those that verify nothing any more.
    pub fn rotate(&mut self, now: Timestamp) -> Result<()> {
        let number = self.current()?.number;
        self.0.retain(|key| key.verifies(now));
        if self.0.len() >= MAX_SIGNING_KEYS {
            return Err(Error::state(format!(
                "{MAX_SIGNING_KEYS} signing keys still verify; wait until one of them ends"
            )));
        }
        if let Some(current) = self.0.last_mut() {
            current.retired_at = Some(now);
        }
        self.0.push(SigningKey {
            number: number
                .checked_add(1)
                .ok_or_else(|| Error::state("there are no more numbers for signing keys"))?,
            created_at: now,
            retired_at: None,
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_760_000_000_000 + seconds * 1000)
    }

    #[test]
    fn a_token_ends_at_a_whole_second_and_never_after_what_made_it() {
        let now = Timestamp::from_millis(1_760_000_000_999);
        assert_eq!(expiry(now, MIN_TTL, None), at(60));
        assert_eq!(expiry(now, MIN_TTL, Some(at(30))), at(30));
        assert_eq!(expiry(now, MIN_TTL, Some(at(90))), at(60));
        for bad in ["59s", "30d 1s"] {
            assert!(check_ttl(Ttl::parse(bad, "").unwrap(), "expires_in").is_err());
        }
        for good in ["1m", "15m", "30d"] {
            assert!(check_ttl(Ttl::parse(good, "").unwrap(), "expires_in").is_ok());
        }
    }

    #[test]
    fn a_retired_key_verifies_until_its_longest_token_ended() {
        let mut keys = SigningKeys::first(at(0));
        keys.rotate(at(10)).unwrap();
        assert_eq!(keys.current().unwrap().number, 2);
        let longest = at(10).plus(MAX_TTL.span());
        let numbers = |keys: &SigningKeys, now| -> Vec<u32> {
            keys.verifying(now).map(|key| key.number).collect()
        };
        assert_eq!(numbers(&keys, longest), [1, 2]);
        let after = at(10).plus(VERIFIES_FOR);
        assert_eq!(numbers(&keys, after), [2]);
        keys.rotate(after).unwrap();
        assert_eq!(numbers(&keys, at(0)), [2, 3], "number 1 is forgotten");
    }

    #[test]
    fn rotation_is_bounded() {
        let mut keys = SigningKeys::first(at(0));
        for _ in 1..MAX_SIGNING_KEYS {
            keys.rotate(at(1)).unwrap();
        }
        let refused = keys.rotate(at(1)).unwrap_err();
        assert_eq!(refused.code(), Code::InvalidState);
        keys.rotate(at(1).plus(VERIFIES_FOR)).unwrap();
        let next = u32::try_from(MAX_SIGNING_KEYS).unwrap() + 1;
        assert_eq!(keys.current().unwrap().number, next);
    }
}
