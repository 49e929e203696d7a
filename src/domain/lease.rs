//! A lease: the right of one identity to use one version until `expires_at`. Pure transitions; expiry is
//! checked at every use, whatever the reaper did.

use serde::{Deserialize, Serialize};

use super::{
    credential::Author,
    error::{Code, Error, Result},
    id::{CredentialId, IdentityId, LeaseId},
    name::{CredentialName, IdentityName},
    policy::{Delivery, Terms},
    principal::{IdentityType, ProofId},
    time::{Timestamp, Ttl},
};

/// The longest reason for a revocation, in bytes.
pub const MAX_REASON_BYTES: usize = 1024;

/// The identity that a lease was given to, and the session it named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub identity: IdentityId,
    pub kind: IdentityType,
    pub name: IdentityName,
    pub session: Option<String>,
}

/// The caller that asked for a lease; another than the holder only with `lease:delegate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requester {
    pub by: Author,
    pub kind: IdentityType,
    pub proof: ProofId,
}

/// How a lease ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    Expired,
    Released {
        by: Author,
    },
    /// `by` is none where the vault itself did it.
    Revoked {
        by: Option<Author>,
        reason: Option<String>,
    },
}

/// Whether a lease is open. A closed lease never reopens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LeaseState {
    Active,
    Closed { at: Timestamp, ending: Ending },
}

/// What a lease is at an instant, as a filter and an answer spell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaseStatus {
    Active,
    Expired,
    Released,
    Revoked,
}

impl LeaseStatus {
    /// The status's spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Released => "released",
            Self::Revoked => "revoked",
        }
    }
}

/// A lease as stored. The handle is not here, only its digest under the pepper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub id: LeaseId,
    pub handle: [u8; 32],
    pub credential: CredentialId,
    pub credential_name: CredentialName,
    /// The version pinned at the grant; an open broker lease may have followed a rotation since.
    pub version: u32,
    pub delivery: Delivery,
    pub holder: Holder,
    pub requested_by: Requester,
    pub purpose: Option<String>,
    /// The TTL last granted, and whether the maximum cut it.
    pub ttl: Ttl,
    pub ttl_capped: bool,
    pub issued_at: Timestamp,
    pub expires_at: Timestamp,
    /// INVARIANT (ttl): no renewal passes this.
    pub max_expires_at: Timestamp,
    pub renewable: bool,
    pub renewals: u32,
    pub max_uses: Option<u32>,
    pub uses: u32,
    pub last_used_at: Option<Timestamp>,
    pub state: LeaseState,
}

/// What is asked of a new lease; who, what and how are decided already.
pub struct Grant {
    pub id: LeaseId,
    pub handle: [u8; 32],
    pub credential: CredentialId,
    pub credential_name: CredentialName,
    pub version: u32,
    pub delivery: Delivery,
    pub holder: Holder,
    pub requested_by: Requester,
    pub purpose: Option<String>,
    pub requested_ttl: Option<Ttl>,
    /// Whether the value is shown in the answer, which counts as a use.
    pub reveal: bool,
}

impl Lease {
    /// A new lease under `terms`.
    pub fn issue(grant: Grant, terms: &Terms, now: Timestamp) -> Self {
        let (ttl, ttl_capped) = terms.grant_ttl(grant.requested_ttl);
        Self {
            id: grant.id,
            handle: grant.handle,
            credential: grant.credential,
            credential_name: grant.credential_name,
            version: grant.version,
            delivery: grant.delivery,
            holder: grant.holder,
            requested_by: grant.requested_by,
            purpose: grant.purpose,
            ttl,
            ttl_capped,
            issued_at: now,
            expires_at: now.plus(ttl.span()),
            max_expires_at: now.plus(terms.max_lease_ttl.span()),
            renewable: terms.renewable,
            renewals: 0,
            max_uses: terms.max_uses,
            uses: u32::from(grant.reveal),
            last_used_at: grant.reveal.then_some(now),
            state: LeaseState::Active,
        }
    }

    /// What the lease is at `now`, whether or not the reaper has closed it.
    pub fn status(&self, now: Timestamp) -> LeaseStatus {
        match &self.state {
            LeaseState::Active if now >= self.expires_at => LeaseStatus::Expired,
            LeaseState::Active => LeaseStatus::Active,
            LeaseState::Closed {
                ending: Ending::Expired,
                ..
            } => LeaseStatus::Expired,
            LeaseState::Closed {
                ending: Ending::Released { .. },
                ..
            } => LeaseStatus::Released,
            LeaseState::Closed {
                ending: Ending::Revoked { .. },
                ..
            } => LeaseStatus::Revoked,
        }
    }

    /// When the lease ended, where time alone says so at `now` and the record not yet.
    pub fn ran_out(&self, now: Timestamp) -> Option<Timestamp> {
        (self.counted() && now >= self.expires_at).then_some(self.expires_at)
    }

    /// INVARIANT (ttl): every use passes here, and none does at or after `expires_at`.
    pub fn check_open(&self, now: Timestamp) -> Result<()> {
        match self.status(now) {
            LeaseStatus::Active => Ok(()),
            LeaseStatus::Expired => Err(Error::new(Code::LeaseExpired, "the lease has expired")
                .with("expired_at", self.expires_at.to_string())),
            LeaseStatus::Released => Err(Error::new(Code::LeaseReleased, "the lease was released")),
            LeaseStatus::Revoked => Err(Error::new(Code::LeaseRevoked, "the lease was revoked")),
        }
    }

    /// One redemption of the handle.
    pub fn redeem(&mut self, now: Timestamp) -> Result<()> {
        self.check_open(now)?;
        if self.delivery == Delivery::Broker {
            return Err(Error::new(
                Code::InsufficientPermissions,
                "a broker lease is used through the broker and never shows its value",
            ));
        }
        if let Some(max) = self.max_uses
            && self.uses >= max
        {
            return Err(Error::new(
                Code::BudgetExhausted,
                "the lease has been used as often as it may be",
            )
            .with("max_uses", u64::from(max)));
        }
        self.uses = self.uses.saturating_add(1);
        self.last_used_at = Some(now);
        Ok(())
    }

    /// Moves `expires_at` to `now` plus the TTL, but never past the lifetime that the grant or the present
    /// terms allow, whichever ends first.
    pub fn renew(&mut self, requested: Option<Ttl>, terms: &Terms, now: Timestamp) -> Result<()> {
        self.check_open(now)?;
        if !self.renewable {
            return Err(Error::state("the lease is not renewable"));
        }
        let (ttl, capped) = terms.grant_ttl(requested);
        let last = self
            .max_expires_at
            .min(self.issued_at.plus(terms.max_lease_ttl.span()));
        let wanted = now.plus(ttl.span());
        let expires_at = wanted.min(last);
        let Some(granted) = Ttl::from_span(expires_at.since(now)) else {
            return Err(Error::state("the lease has reached its maximum lifetime")
                .with("max_expires_at", last.to_string()));
        };
        self.ttl = granted;
        self.ttl_capped = capped || expires_at < wanted;
        self.expires_at = expires_at;
        self.renewals = self.renewals.saturating_add(1);
        Ok(())
    }

    /// Ends an open lease that used `version` last. `check_open` comes first where a caller asked for it.
    pub fn close(&mut self, version: u32, ending: Ending, now: Timestamp) -> Result<()> {
        match self.state {
            LeaseState::Active => {
                self.version = version;
                self.state = LeaseState::Closed { at: now, ending };
                Ok(())
            }
            LeaseState::Closed { .. } => Err(Error::internal("a closed lease was closed again")),
        }
    }

    /// Whether the record is open, expired or not: what the counters count.
    pub const fn counted(&self) -> bool {
        matches!(self.state, LeaseState::Active)
    }
}

#[cfg(test)]
pub(super) mod tests;
