//! A client's own book of what it asked for and what was acknowledged.

use std::collections::{BTreeMap, BTreeSet};

/// What is known of a lease. Where more was asked for than acknowledged, both are right.
#[derive(Debug, Clone, Default)]
pub struct LeaseFacts {
    pub credential: String,
    pub version: u64,
    /// Empty where the grant was never answered.
    pub handle: String,
    pub expires: i64,
    pub renewals: u64,
    pub renewals_asked: u64,
    pub redeems: u64,
    pub redeems_asked: u64,
    pub release_asked: bool,
    /// How it ended, once that is known for sure.
    pub ended: Option<&'static str>,
    /// Whether a comparison has tried the handle of the ended lease.
    pub tried: bool,
}

/// What is known of a credential. Its values are those of [`value`].
#[derive(Debug, Clone, Default)]
pub struct CredentialFacts {
    pub current: u64,
    /// A rotation without an answer, and whether it cuts.
    pub rotation_asked: Option<bool>,
    /// Versions whose leases were, or may have been, cut.
    pub cut: BTreeSet<u64>,
    /// Grants without an answer.
    pub grants_asked: usize,
}

/// An acknowledged operation, which must be in history under its request id.
#[derive(Debug, Clone)]
pub struct Acknowledged {
    pub request_id: String,
    pub event: &'static str,
    /// The lease's id, or the credential's name.
    pub subject: String,
}

#[derive(Debug, Clone, Default)]
pub struct Book {
    pub credentials: BTreeMap<String, CredentialFacts>,
    pub leases: BTreeMap<String, LeaseFacts>,
    /// Acknowledged since the last comparison.
    pub acknowledged: Vec<Acknowledged>,
    /// Records of the vault itself, which no workspace shows: at least these, and how many more at most.
    pub own_records: u64,
    pub own_records_in_doubt: u64,
    /// When the last of the leases that nobody renews is over, in milliseconds since the epoch.
    pub settled_at: i64,
    pub history: History,
}

/// What comparisons have read of the history so far.
#[derive(Debug, Clone, Default)]
pub struct History {
    pub records: u64,
    pub last: u64,
    pub counts: BTreeMap<(String, String), u64>,
    pub retired: BTreeSet<(String, u64)>,
    /// Milliseconds since the epoch: records up to `last` are not later than this.
    pub read_at: i64,
}

impl History {
    pub fn count(&self, event: &str, subject: &str) -> u64 {
        let key = (event.to_owned(), subject.to_owned());
        self.counts.get(&key).copied().unwrap_or(0)
    }
}

/// The vault's own records of a start: unsealed, and started.
pub const STARTED: u64 = 2;

impl Book {
    /// The book of a vault that `leasehold dev` has just made: started, initialised, workspace created.
    pub fn of_new_vault() -> Self {
        Self {
            own_records: STARTED + 2,
            ..Self::default()
        }
    }

    pub fn of(&mut self, credential: &str) -> &mut CredentialFacts {
        self.credentials.entry(credential.to_owned()).or_default()
    }

    pub fn lease(&mut self, id: &str) -> &mut LeaseFacts {
        self.leases.get_mut(id).unwrap()
    }

    /// The open leases that one of `of` workers goes on with.
    pub fn share(&self, worker: usize, of: usize) -> Vec<String> {
        let open = self.leases.iter().filter(|(_, lease)| {
            lease.ended.is_none() && !lease.release_asked && !lease.handle.is_empty()
        });
        open.skip(worker)
            .step_by(of)
            .map(|(id, _)| id.clone())
            .collect()
    }

    pub fn acknowledge(&mut self, request_id: &str, event: &'static str, subject: &str) {
        self.acknowledged.push(Acknowledged {
            request_id: request_id.to_owned(),
            event,
            subject: subject.to_owned(),
        });
    }

    /// Leases and rotations so far.
    pub fn totals(&self) -> (u64, u64) {
        let rotations = self.credentials.values().map(|facts| facts.current - 1);
        (self.leases.len() as u64, rotations.sum())
    }
}

/// The value of a credential's version. That of the third spills out of a page, so it is stored in pieces.
pub fn value(credential: &str, number: u64) -> String {
    format!("{credential}-value-{number}-").repeat(if credential.ends_with('c') { 400 } else { 1 })
}
