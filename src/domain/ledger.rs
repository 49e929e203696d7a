//! The fast half of a credential: its state, how many leases are active, and on which versions.
//!
//! Every grant and every close rewrites this record in its own transaction, so that `lease-cap` and
//! `retire-on-last-close` are plain arithmetic here. Pure transitions; the engine commits what they return.

use serde::{Deserialize, Serialize};

use super::{
    error::{Code, Error, Result},
    policy::{Delivery, OnRotate},
    time::Timestamp,
};

/// The most versions of one credential that may hold a value at once.
pub const MAX_OPEN_VERSIONS: usize = 64;

/// Whether a credential may be leased and used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialState {
    Active,
    /// Nothing is granted or used until it is active again; open leases run on towards their end.
    Disabled,
    /// Ended for good: every lease revoked, every value erased.
    Revoked,
}

impl CredentialState {
    /// The state's spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
            Self::Revoked => "revoked",
        }
    }
}

/// What may happen on a version that has not been emptied yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Grants, uses.
    Current,
    /// Uses by the leases that are open; no grants.
    Rotated,
    /// Neither: its leases are revoked, some perhaps not closed yet. It retires when the last one is.
    Cut,
    /// Neither, and its value is erased already.
    Revoked,
}

/// The leases that are open on one version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenVersion {
    pub number: u32,
    pub stage: Stage,
    pub reveal: u32,
    pub broker: u32,
    /// When a lease first showed the value to its holder.
    pub revealed_at: Option<Timestamp>,
    /// When the first lease that had shown the value closed: from then on somebody knows it without a lease.
    pub outlived_at: Option<Timestamp>,
}

impl OpenVersion {
    fn new(number: u32) -> Self {
        Self {
            number,
            stage: Stage::Current,
            reveal: 0,
            broker: 0,
            revealed_at: None,
            outlived_at: None,
        }
    }

    /// Leases that are open on this version.
    pub const fn leases(&self) -> u32 {
        self.reveal.saturating_add(self.broker)
    }

    /// Those that may still be used.
    pub const fn usable_leases(&self) -> u32 {
        match self.stage {
            Stage::Current | Stage::Rotated => self.leases(),
            Stage::Cut | Stage::Revoked => 0,
        }
    }

    fn of(&mut self, delivery: Delivery) -> &mut u32 {
        match delivery {
            Delivery::Reveal => &mut self.reveal,
            Delivery::Broker => &mut self.broker,
        }
    }
}

/// A version whose last lease is gone: the caller erases its value in this very transaction.
#[derive(Debug, PartialEq, Eq)]
pub struct Emptied {
    pub number: u32,
    /// When a lease first showed the value to its holder.
    pub revealed_at: Option<Timestamp>,
    /// Whether it now retires, or had been revoked before.
    pub retires: bool,
}

/// What a rotation did to the ledger.
#[derive(Debug, PartialEq, Eq)]
pub struct Rotation {
    /// The new current version.
    pub new: u32,
    /// The version that was current.
    pub old: u32,
    /// Versions that no lease needs any more.
    pub emptied: Vec<Emptied>,
    /// Leases on the old version that are revoked and still to be closed.
    pub to_close: u32,
}

/// The counters of one credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    pub state: CredentialState,
    /// The newest version's number. Numbers are never reused.
    pub newest: u32,
    /// Open broker leases that pin an older version than this use this one: how `follow` moves them all at
    /// once, however many there are.
    pub floor: u32,
    /// Open leases: always the sum over `versions`.
    pub active: u32,
    pub last_leased_at: Option<Timestamp>,
    /// Versions that hold a value or have open leases, oldest first.
    pub versions: Vec<OpenVersion>,
}

impl Ledger {
    /// The ledger of a credential that was just stored: version 1, no lease.
    pub fn new() -> Self {
        Self {
            state: CredentialState::Active,
            newest: 1,
            floor: 0,
            active: 0,
            last_leased_at: None,
            versions: vec![OpenVersion::new(1)],
        }
    }

    /// The version that an open lease uses now: the one it pins, or the one it followed.
    pub fn pinned(&self, version: u32, delivery: Delivery) -> u32 {
        match delivery {
            Delivery::Reveal => version,
            Delivery::Broker => version.max(self.floor),
        }
    }

    /// The open version with this number.
    pub fn version(&self, number: u32) -> Option<&OpenVersion> {
        self.versions
            .iter()
            .find(|version| version.number == number)
    }

    /// The versions whose leases are stopped, and not all closed yet.
    pub fn stopped(&self) -> Vec<u32> {
        let stopped = |open: &&OpenVersion| {
            matches!(open.stage, Stage::Cut | Stage::Revoked) && open.leases() > 0
        };
        let stopped = self.versions.iter().filter(stopped);
        stopped.map(|open| open.number).collect()
    }

    /// The version that grants are made on.
    pub fn current(&self) -> Option<&OpenVersion> {
        self.versions
            .iter()
            .find(|version| version.stage == Stage::Current)
    }

    fn check_state(&self) -> Result<()> {
        match self.state {
            CredentialState::Active => Ok(()),
            CredentialState::Disabled => Err(Error::state("the credential is disabled")),
            CredentialState::Revoked => Err(Error::new(
                Code::CredentialRevoked,
                "the credential is revoked",
            )),
        }
    }

    /// Opens one lease on the current version and says which that is. INVARIANT (lease-cap): refused at `max`.
    pub fn grant(&mut self, delivery: Delivery, max: u32, now: Timestamp) -> Result<u32> {
        self.check_state()?;
        if self.active >= max {
            return Err(Error::new(
                Code::LeaseLimitReached,
                "the credential's active leases have reached its `max_leases`",
            )
            .with("limit", u64::from(max)));
        }
        let Some(current) = self
            .versions
            .iter_mut()
            .find(|version| version.stage == Stage::Current)
        else {
            return Err(Error::state(
                "the current version is revoked; rotate the credential to store a new value",
            ));
        };
        let count = current.of(delivery);
        *count = count
            .checked_add(1)
            .ok_or_else(|| Error::internal("lease counter overflow"))?;
        self.active = self
            .active
            .checked_add(1)
            .ok_or_else(|| Error::internal("lease counter overflow"))?;
        self.last_leased_at = Some(now);
        Ok(current.number)
    }

    /// Whether a lease on `version` may be used now.
    pub fn check_use(&self, version: u32) -> Result<()> {
        self.check_state()?;
        match self.version(version).map(|version| version.stage) {
            Some(Stage::Current | Stage::Rotated) => Ok(()),
            Some(Stage::Cut | Stage::Revoked) | None => Err(Error::new(
                Code::LeaseRevoked,
                "the lease's version of the credential was revoked",
            )),
        }
    }

    /// Remembers that the value of `version` was shown to a holder; tells whether that is news. INVARIANT
    /// (reveal-taint): a version that was ever shown says so for good; only the first time is a write.
    pub fn mark_revealed(&mut self, version: u32, now: Timestamp) -> bool {
        match self.versions.iter_mut().find(|open| open.number == version) {
            Some(open) if open.revealed_at.is_none() => {
                open.revealed_at = Some(now);
                true
            }
            _ => false,
        }
    }

    /// Remembers that a lease that had shown the value of `version` closes.
    pub fn mark_outlived(&mut self, version: u32, now: Timestamp) {
        if let Some(open) = self.versions.iter_mut().find(|open| open.number == version) {
            open.outlived_at.get_or_insert(now);
        }
    }

    /// Closes one lease on `version`. INVARIANT (retire-on-last-close): the last close of a version that is not
    /// current says so, exactly once.
    pub fn close(&mut self, version: u32, delivery: Delivery) -> Result<Option<Emptied>> {
        let underflow = || Error::internal("lease counter underflow");
        let open = self
            .versions
            .iter_mut()
            .find(|open| open.number == version)
            .ok_or_else(underflow)?;
        let count = open.of(delivery);
        *count = count.checked_sub(1).ok_or_else(underflow)?;
        self.active = self.active.checked_sub(1).ok_or_else(underflow)?;
        Ok(self.sweep().pop())
    }

    /// Makes a new version current. `drain` leaves the leases of the old one alone, `follow` moves every broker
    /// lease to the new one, `cut` stops those of the old one.
    pub fn rotate(&mut self, mode: OnRotate) -> Result<Rotation> {
        if self.state == CredentialState::Revoked {
            self.check_state()?;
        }
        if self.versions.len() >= MAX_OPEN_VERSIONS {
            return Err(Error::state(format!(
                "{MAX_OPEN_VERSIONS} versions are still in use; release the leases on old ones, or revoke those versions"
            ))
            .with("limit", MAX_OPEN_VERSIONS as u64));
        }
        let revealing = self.current().map_or(0, |current| current.reveal);
        if mode == OnRotate::Follow && revealing > 0 {
            return Err(Error::state(
                "`follow` moves broker leases only, and reveal leases are open on the current version; use `drain` or `cut`",
            )
            .with("open_reveal_leases", u64::from(revealing)));
        }
        // A stopped lease must not follow: it would come back to life on the new value.
        let stopped = self
            .versions
            .iter()
            .any(|open| matches!(open.stage, Stage::Cut | Stage::Revoked) && open.broker > 0);
        if mode == OnRotate::Follow && stopped {
            return Err(Error::state(
                "leases of an earlier version are still being revoked; try again in a moment",
            ));
        }
        let old = self.newest;
        let new = old
            .checked_add(1)
            .ok_or_else(|| Error::internal("version numbers are used up"))?;
        let mut next = OpenVersion::new(new);
        for open in &mut self.versions {
            if open.stage == Stage::Current {
                open.stage = if mode == OnRotate::Cut {
                    Stage::Cut
                } else {
                    Stage::Rotated
                };
            }
            if mode == OnRotate::Follow && open.stage == Stage::Rotated {
                next.broker = next.broker.saturating_add(std::mem::take(&mut open.broker));
            }
        }
        if mode == OnRotate::Follow {
            self.floor = new;
        }
        self.newest = new;
        self.versions.push(next);
        let emptied = self.sweep();
        let to_close = self
            .version(old)
            .filter(|open| open.stage == Stage::Cut)
            .map_or(0, OpenVersion::leases);
        Ok(Rotation {
            new,
            old,
            emptied,
            to_close,
        })
    }

    /// Stops a version in an emergency; gives back how many leases that stops, which are still to be closed.
    pub fn revoke_version(&mut self, number: u32) -> Result<u32> {
        let Some(open) = self
            .versions
            .iter_mut()
            .find(|open| open.number == number && open.stage != Stage::Revoked)
        else {
            return Err(Error::state("the version holds no value any more"));
        };
        let leases = open.usable_leases();
        open.stage = Stage::Revoked;
        self.sweep();
        Ok(leases)
    }

    /// Ends the credential: every version is revoked. Gives back the numbers of those that held a value.
    pub fn revoke(&mut self) -> Vec<OpenVersion> {
        self.state = CredentialState::Revoked;
        let held = self
            .versions
            .iter()
            .filter(|open| open.stage != Stage::Revoked)
            .cloned()
            .collect();
        for open in &mut self.versions {
            open.stage = Stage::Revoked;
        }
        self.sweep();
        held
    }

    /// Sets the counters to what the lease records say: `open` tells how many reveal and broker leases are open
    /// on a version. Gives back the versions that turn out to be in use no more.
    pub fn recount(&mut self, open: impl Fn(u32) -> (u32, u32)) -> Vec<Emptied> {
        for version in &mut self.versions {
            (version.reveal, version.broker) = open(version.number);
        }
        self.active = self
            .versions
            .iter()
            .map(OpenVersion::leases)
            .fold(0, u32::saturating_add);
        self.sweep()
    }

    /// Takes out the versions that are neither current nor in use.
    fn sweep(&mut self) -> Vec<Emptied> {
        let mut emptied = Vec::new();
        self.versions.retain(|open| {
            let done = open.stage != Stage::Current && open.leases() == 0;
            if done {
                emptied.push(Emptied {
                    number: open.number,
                    revealed_at: open.revealed_at,
                    retires: open.stage != Stage::Revoked,
                });
            }
            !done
        });
        emptied
    }
}

impl Default for Ledger {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
