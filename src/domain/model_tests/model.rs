//! What the lease and version state machines should do, said a second time and as plainly as possible: every
//! lease names its version, every version is kept for ever, and whatever is counted is counted anew.

use crate::domain::{
    error::Code,
    ledger::CredentialState,
    policy::{Delivery, OnRotate, Terms},
};

/// Where a version is; `Gone` means that its last lease is closed and nothing is kept of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    Current,
    Rotated,
    Cut,
    Revoked,
    Gone,
}

/// How a lease ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Expired,
    Released,
    Revoked,
}

#[derive(Debug)]
pub(super) struct Lease {
    /// The version whose value the lease uses.
    pub(super) uses: u32,
    pub(super) delivery: Delivery,
    pub(super) end: Option<End>,
    pub(super) issued: u64,
    pub(super) expires: u64,
    pub(super) last: u64,
    renewable: bool,
    uses_left: Option<u32>,
}

/// A version that is gone now: its number, whether it was ever revealed, whether it retires.
pub(super) type Gone = (u32, bool, bool);

#[derive(Debug, PartialEq)]
pub(super) struct Rotated {
    pub(super) new: u32,
    pub(super) gone: Vec<Gone>,
    pub(super) to_close: usize,
}

#[derive(Debug)]
pub(super) struct Model {
    pub(super) state: CredentialState,
    pub(super) now: u64,
    pub(super) terms: Terms,
    pub(super) leases: Vec<Lease>,
    /// Version 1 first: its life, and whether it was ever revealed.
    pub(super) versions: Vec<(Life, bool)>,
}

fn index(version: u32) -> usize {
    version as usize - 1
}

impl Model {
    pub(super) fn new(terms: Terms, now: u64) -> Self {
        Self {
            state: CredentialState::Active,
            now,
            terms,
            leases: Vec::new(),
            versions: vec![(Life::Current, false)],
        }
    }

    pub(super) fn newest(&self) -> u32 {
        self.versions.len() as u32
    }

    /// Open leases, of every version or of one.
    pub(super) fn open(&self, version: Option<u32>) -> impl Iterator<Item = &Lease> {
        self.leases.iter().filter(move |lease| {
            lease.end.is_none() && version.is_none_or(|version| lease.uses == version)
        })
    }

    fn max_ttl(&self) -> u64 {
        self.terms.max_lease_ttl.span().as_millis()
    }

    fn ttl(&self, requested: Option<u64>) -> u64 {
        let default = self.terms.default_lease_ttl.span().as_millis();
        requested.unwrap_or(default).min(self.max_ttl())
    }

    fn check_state(&self) -> Result<(), Code> {
        match self.state {
            CredentialState::Active => Ok(()),
            CredentialState::Disabled => Err(Code::InvalidState),
            CredentialState::Revoked => Err(Code::CredentialRevoked),
        }
    }

    pub(super) fn grant(
        &mut self,
        delivery: Delivery,
        ttl: Option<u64>,
        reveal: bool,
    ) -> Result<u32, Code> {
        self.check_state()?;
        if self.open(None).count() >= self.terms.max_leases as usize {
            return Err(Code::LeaseLimitReached);
        }
        let newest = self.newest();
        if self.versions[index(newest)].0 != Life::Current {
            return Err(Code::InvalidState);
        }
        self.leases.push(Lease {
            uses: newest,
            delivery,
            end: None,
            issued: self.now,
            expires: self.now + self.ttl(ttl),
            last: self.now + self.max_ttl(),
            renewable: self.terms.renewable,
            uses_left: self.terms.max_uses.map(|max| max - u32::from(reveal)),
        });
        Ok(newest)
    }

    /// What `status` says of a lease now.
    pub(super) fn end(&self, lease: usize) -> Option<End> {
        let lease = &self.leases[lease];
        let expired = (self.now >= lease.expires).then_some(End::Expired);
        lease.end.or(expired)
    }

    pub(super) fn check_open(&self, lease: usize) -> Result<(), Code> {
        match self.end(lease) {
            None => Ok(()),
            Some(End::Expired) => Err(Code::LeaseExpired),
            Some(End::Released) => Err(Code::LeaseReleased),
            Some(End::Revoked) => Err(Code::LeaseRevoked),
        }
    }

    pub(super) fn check_use(&self, version: u32) -> Result<(), Code> {
        self.check_state()?;
        match self.versions[index(version)].0 {
            Life::Current | Life::Rotated => Ok(()),
            Life::Cut | Life::Revoked | Life::Gone => Err(Code::LeaseRevoked),
        }
    }

    pub(super) fn redeem(&mut self, lease: usize) -> Result<(), Code> {
        self.check_open(lease)?;
        let lease = &mut self.leases[lease];
        match (lease.delivery, &mut lease.uses_left) {
            (Delivery::Broker, _) => return Err(Code::InsufficientPermissions),
            (Delivery::Reveal, Some(0)) => return Err(Code::BudgetExhausted),
            (Delivery::Reveal, Some(left)) => *left -= 1,
            (Delivery::Reveal, None) => {}
        }
        self.versions[index(lease.uses)].1 = true;
        Ok(())
    }

    pub(super) fn renew(&mut self, lease: usize, ttl: Option<u64>) -> Result<(), Code> {
        self.check_open(lease)?;
        let (wanted, max) = (self.now + self.ttl(ttl), self.max_ttl());
        let (now, lease) = (self.now, &mut self.leases[lease]);
        let expires = wanted.min(lease.last).min(lease.issued + max);
        if !lease.renewable || expires <= now {
            return Err(Code::InvalidState);
        }
        lease.expires = expires;
        Ok(())
    }

    /// Versions that no lease uses and that are not current go.
    fn clear(&mut self) -> Vec<Gone> {
        let mut gone = Vec::new();
        for number in 1..=self.newest() {
            let (life, revealed) = self.versions[index(number)];
            let kept = matches!(life, Life::Current | Life::Gone);
            if !kept && self.open(Some(number)).next().is_none() {
                self.versions[index(number)].0 = Life::Gone;
                gone.push((number, revealed, life != Life::Revoked));
            }
        }
        gone
    }

    pub(super) fn close(&mut self, lease: usize, end: End) -> Vec<Gone> {
        self.leases[lease].end = Some(end);
        self.clear()
    }

    pub(super) fn rotate(&mut self, mode: OnRotate) -> Result<Rotated, Code> {
        if self.state == CredentialState::Revoked {
            return Err(Code::CredentialRevoked);
        }
        let old = self.newest();
        let follow = mode == OnRotate::Follow;
        let stays = |lease: &Lease| match self.versions[index(lease.uses)].0 {
            Life::Current => lease.delivery == Delivery::Reveal,
            Life::Rotated => false,
            Life::Cut | Life::Revoked | Life::Gone => lease.delivery == Delivery::Broker,
        };
        if follow && self.open(None).any(stays) {
            return Err(Code::InvalidState);
        }
        self.versions.push((Life::Current, false));
        let new = self.newest();
        let cut = self.versions[index(old)].0 == Life::Current && mode == OnRotate::Cut;
        if cut {
            self.versions[index(old)].0 = Life::Cut;
        } else if self.versions[index(old)].0 == Life::Current {
            self.versions[index(old)].0 = Life::Rotated;
        }
        for lease in &mut self.leases {
            let life = self.versions[index(lease.uses)].0;
            let moves = lease.delivery == Delivery::Broker && life == Life::Rotated;
            if follow && moves && lease.end.is_none() {
                lease.uses = new;
            }
        }
        let gone = self.clear();
        let to_close = if cut { self.open(Some(old)).count() } else { 0 };
        Ok(Rotated {
            new,
            gone,
            to_close,
        })
    }

    /// Gives back how many leases that stops: those of a version that is cut were stopped before.
    pub(super) fn revoke_version(&mut self, number: u32) -> Result<usize, Code> {
        let stopped = match self.versions.get_mut(index(number)) {
            Some((life @ (Life::Current | Life::Rotated | Life::Cut), _)) => {
                let stopped = matches!(life, Life::Cut);
                *life = Life::Revoked;
                stopped
            }
            _ => return Err(Code::InvalidState),
        };
        self.clear();
        Ok(if stopped {
            0
        } else {
            self.open(Some(number)).count()
        })
    }

    /// Gives back the versions that held a value.
    pub(super) fn revoke(&mut self) -> Vec<u32> {
        self.state = CredentialState::Revoked;
        let held = (1..=self.newest())
            .filter(|number| self.revoke_version(*number).is_ok())
            .collect();
        self.clear();
        held
    }
}
