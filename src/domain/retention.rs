//! How long what has ended is kept, and what keeps it longer: classes of events with an age of their own, a bound on the
//! log, and legal holds.

use serde::{Deserialize, Serialize};

use super::{
    credential::Author,
    event::{AuditRecord, EventName, Outcome},
    lease::{Lease, LeaseState},
    name::HoldName,
    time::{Span, Timestamp},
};

/// How long a closed lease stays in the hot store where the configuration does not say.
pub const CLOSED_LEASES: Span = Span::from_secs(24 * 60 * 60);
/// Legal holds that may be in force at once: each is read whenever something is to be removed.
pub const MAX_HOLDS: usize = 64;
/// The longest reason of a legal hold, in bytes.
pub const MAX_HOLD_REASON_BYTES: usize = 1024;
/// The share of the retention by which a lease may leave late, and the longest such delay. Nearly every lease has closed
/// when it is looked at so late for the first time, and needs no second look.
const LATE_SHARE: u64 = 4;
const LONGEST_DELAY: Span = Span::from_secs(60 * 60);
/// A lease that should have expired and has not been closed is looked at again so much later.
const AGAIN: Span = Span::from_secs(60);

/// What is removed, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// How long a closed lease stays in the hot store. History keeps it.
    pub closed_leases: Span,
    pub audit: AuditRetention,
}

/// When records of the log are removed. Nothing is where nothing is set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AuditRetention {
    /// The age of each class, in the order of [`EventClass::ALL`]; none is for ever.
    pub ages: [Option<Span>; CLASSES],
    /// What the records of each class may take, in bytes, in the same order; none is without a bound.
    pub class_max_bytes: [Option<u64>; CLASSES],
    /// What all records of the log may take, in bytes; none is without a bound.
    pub max_bytes: Option<u64>,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            closed_leases: CLOSED_LEASES,
            audit: AuditRetention::default(),
        }
    }
}

impl AuditRetention {
    /// Whether anything is ever removed.
    pub fn removes(&self) -> bool {
        let mut bounds = self.class_max_bytes.iter().chain([&self.max_bytes]);
        self.ages.iter().any(Option::is_some) || bounds.any(Option::is_some)
    }

    /// Whether records of a class of which the newest is from `newest` are past their age.
    pub fn past(&self, class: EventClass, newest: Timestamp, now: Timestamp) -> bool {
        let age = self.ages.get(class as usize).copied().flatten();
        age.is_some_and(|age| now >= newest.plus(age))
    }

    /// Whether a class takes too much of a log of which each class takes so many bytes: more than it may, or the most
    /// of a log that takes too much.
    pub fn is_over(&self, class: EventClass, bytes: &[u64; CLASSES]) -> bool {
        let of = |class: EventClass| bytes.get(class as usize).copied().unwrap_or(0);
        let bound = self.class_max_bytes.get(class as usize).copied().flatten();
        if bound.is_some_and(|max| of(class) > max) {
            return true;
        }
        let all: u64 = bytes.iter().sum();
        let most = EventClass::ALL.into_iter().max_by_key(|class| of(*class));
        self.max_bytes.is_some_and(|max| all > max) && most == Some(class)
    }
}

impl Retention {
    /// The newest lease whose first look is due: it was issued so long ago that it is nearly always past its retention.
    pub fn first_look(&self, now: Timestamp) -> Timestamp {
        let late = self.closed_leases.as_millis() / LATE_SHARE;
        let late = Span::from_millis(late.min(LONGEST_DELAY.as_millis()));
        now.minus(self.closed_leases).minus(late)
    }

    /// When to look at a lease again; none where it may go now. One that is open may be closed at any moment: it is
    /// looked at so soon that it leaves in time, or [`LONGEST_DELAY`] late where it is kept shorter than that.
    pub fn look_again(&self, lease: &Lease, now: Timestamp) -> Option<Timestamp> {
        match &lease.state {
            LeaseState::Closed { at, .. } => {
                let due = at.plus(self.closed_leases);
                (now < due).then_some(due)
            }
            LeaseState::Active => {
                let due = lease.expires_at.plus(self.closed_leases);
                let soon = now.plus(self.closed_leases.max(LONGEST_DELAY));
                Some(due.min(soon).max(now.plus(AGAIN)))
            }
        }
    }
}

/// How many classes of events there are.
pub const CLASSES: usize = 4;

/// Events that are kept equally long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EventClass {
    /// Leases, redemptions, tokens, and reads of what is kept; and whatever anybody can cause as much of as the vault
    /// answers requests, so that no flood of it takes the place of what changed or was denied.
    Access = 0,
    /// Changes of credentials, identities, keys, policies, holds, and what retention removed; and whatever is none of
    /// the others.
    Admin = 1,
    /// The vault itself: its starts, stops, backups, repairs.
    Vault = 2,
    /// Whatever was denied to a caller, or refused once it was authorised.
    Denial = 3,
}

impl EventClass {
    /// Every class, in the order of its number.
    pub const ALL: [Self; CLASSES] = [Self::Access, Self::Admin, Self::Vault, Self::Denial];

    /// The class's spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Admin => "admin",
            Self::Vault => "vault",
            Self::Denial => "denial",
        }
    }

    /// The class of a record, by the family of its event; what has been refused is a denial, whatever it is. The
    /// exception is what costs its sender nothing but a request: reads, requests that were wrong, and failed
    /// authentications of nobody, which would flood out the denials of known callers.
    pub fn of(record: &AuditRecord) -> Self {
        Self::of_event(record.event, &record.outcome)
    }

    fn of_event(event: EventName, outcome: &Outcome) -> Self {
        match event {
            EventName::RequestRead | EventName::RequestUnrecorded | EventName::AuthFailed => {
                Self::Access
            }
            _ if matches!(outcome, Outcome::Refused { .. }) => Self::Denial,
            EventName::AuditRemoved | EventName::AuditHoldSet | EventName::AuditHoldReleased => {
                Self::Admin
            }
            event => Self::of_family(event.as_str()),
        }
    }

    fn of_family(event: &str) -> Self {
        match event.split_once('.').unwrap_or((event, "")) {
            (_, "refused" | "denied") => Self::Denial,
            ("lease" | "audit" | "auth" | "token" | "report", _) => Self::Access,
            ("vault", _) => Self::Vault,
            // A family that is new is kept as long as the changes are, until somebody decides.
            _ => Self::Admin,
        }
    }
}

/// A legal hold: while one is in force, nothing is removed of history, nor any closed lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    pub name: HoldName,
    pub reason: String,
    pub set_at: Timestamp,
    pub set_by: Author,
}

#[cfg(test)]
mod tests;
