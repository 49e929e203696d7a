//! What a vault must be, told by its history: records go in, in the order of the log, and each promise of the
//! design is checked where it could break. What comes out is the state that the store must then be in.

use std::collections::{BTreeMap, HashMap};

use leasehold::{
    audit::query::Numbered,
    domain::{
        event::{AuditRecord, EventName, Outcome},
        id::{CredentialId, LeaseId, WorkspaceId},
        ledger::CredentialState,
        policy::{Delivery, OnRotate},
        principal::ProofId,
        time::{Span, Timestamp},
    },
};

/// A promise that did not hold.
#[derive(Debug, Clone)]
pub struct Broken {
    pub promise: &'static str,
    pub how: String,
}

pub type Kept<T = ()> = Result<T, Broken>;

pub fn hold(promise: &'static str, holds: bool, how: impl FnOnce() -> String) -> Kept {
    if holds {
        Ok(())
    } else {
        Err(Broken {
            promise,
            how: how(),
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    pub max_leases: u32,
    pub default_ttl: Span,
    pub max_ttl: Span,
    pub max_uses: Option<u32>,
    pub on_rotate: OnRotate,
}

/// What a request asked for, where its record does not say.
#[derive(Debug)]
pub enum What {
    Create {
        policy: Policy,
        value: String,
    },
    Update {
        policy: Option<Policy>,
        state: Option<CredentialState>,
    },
    Rotate {
        value: String,
    },
    Issue {
        ttl: Option<Span>,
        reveal: bool,
        key: Option<String>,
    },
    Renew {
        ttl: Option<Span>,
    },
    Other,
}

/// A request by its id, from before it was made.
#[derive(Debug)]
pub struct Asked {
    pub workspace: WorkspaceId,
    pub by: ProofId,
    pub what: What,
    /// The vault's time before it was asked.
    pub at: Timestamp,
}

pub type Requests = HashMap<String, Asked>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Current,
    Rotated,
    Cut,
    Retired,
    Revoked,
}

#[derive(Debug)]
pub struct Credential {
    pub workspace: WorkspaceId,
    pub policy: Policy,
    pub state: CredentialState,
    pub versions: BTreeMap<u32, Stage>,
    /// When each version was first shown.
    pub shown: BTreeMap<u32, Timestamp>,
    pub latest: Timestamp,
}

impl Credential {
    pub fn newest(&self) -> u32 {
        *self.versions.keys().next_back().unwrap()
    }
}

#[derive(Debug)]
pub struct Lease {
    pub workspace: WorkspaceId,
    pub credential: CredentialId,
    pub version: u32,
    pub delivery: Delivery,
    pub issued_at: Timestamp,
    pub expires_at: Timestamp,
    pub max_expires_at: Timestamp,
    pub max_uses: Option<u32>,
    pub uses: u32,
    pub renewals: u32,
    pub closed: Option<EventName>,
}

/// What history says of a request.
#[derive(Debug)]
pub struct Entry {
    pub event: EventName,
    pub refused: bool,
    pub credential: Option<CredentialId>,
    pub version: Option<u32>,
    pub lease: Option<LeaseId>,
}

#[derive(Default)]
pub struct Model {
    pub records: u64,
    pub latest: Option<Timestamp>,
    pub credentials: BTreeMap<CredentialId, Credential>,
    pub leases: BTreeMap<LeaseId, Lease>,
    pub values: HashMap<(CredentialId, u32), String>,
    pub by_request: HashMap<String, Vec<Entry>>,
    pub by_key: HashMap<(ProofId, String), LeaseId>,
}

impl Model {
    pub fn open(&self, credential: CredentialId) -> impl Iterator<Item = &Lease> {
        let of = move |lease: &&Lease| lease.credential == credential && lease.closed.is_none();
        self.leases.values().filter(of)
    }

    pub fn open_on(&self, credential: CredentialId, version: u32) -> usize {
        self.open(credential)
            .filter(|lease| lease.version == version)
            .count()
    }

    /// Takes in the next record of the log.
    pub fn apply(&mut self, found: &Numbered, requests: &Requests) -> Kept {
        let record = &found.record;
        let numbered = found.sequence == self.records + 1;
        hold("ack-audited", numbered, || {
            format!("record {} follows {}", found.sequence, self.records)
        })?;
        self.records = found.sequence;
        self.latest = self.latest.max(Some(record.time));
        let request = record
            .origin
            .as_ref()
            .map(|origin| origin.request_id.clone());
        let asked = request.as_ref().and_then(|id| requests.get(id));
        let refused = matches!(record.outcome, Outcome::Refused { .. });
        if refused {
            self.refused(record)?;
        } else {
            self.happened(record, asked)?;
        }
        if let Some(asked) = asked {
            hold("isolation", asked.workspace == record.workspace, || {
                format!("{record:?} is another workspace's")
            })?;
            hold("clock", record.time >= asked.at, || {
                format!("{record:?} is from before {}", asked.at)
            })?;
        }
        if let Some(request) = request {
            let entry = Entry {
                event: record.event,
                refused,
                credential: record.object.credential,
                version: record.object.version,
                lease: record.object.lease,
            };
            self.by_request.entry(request).or_default().push(entry);
        }
        Ok(())
    }

    /// A refusal must be right.
    fn refused(&self, record: &AuditRecord) -> Kept {
        let Outcome::Refused { code } = &record.outcome else {
            return Ok(());
        };
        let lease = record.object.lease.and_then(|id| self.leases.get(&id));
        let Some(lease) = lease.filter(|_| record.event == EventName::LeaseRefused) else {
            return Ok(());
        };
        let right = match code.as_str() {
            "LEASE_EXPIRED" => record.time >= lease.expires_at,
            "LEASE_RELEASED" => lease.closed == Some(EventName::LeaseReleased),
            "LEASE_REVOKED" => {
                let credential = self.credentials.get(&lease.credential);
                let stage = credential.and_then(|of| of.versions.get(&lease.version));
                lease.closed == Some(EventName::LeaseRevoked)
                    || matches!(stage, Some(Stage::Cut | Stage::Revoked))
            }
            "BUDGET_EXHAUSTED" => lease.max_uses.is_some_and(|max| lease.uses >= max),
            _ => true,
        };
        hold("right-refusal", right, || {
            format!("{code} for {lease:?} at {}", record.time)
        })
    }

    /// What must hold once every cascade is at its end.
    pub fn swept(&self) -> Kept {
        for (id, credential) in &self.credentials {
            for (version, stage) in &credential.versions {
                let stopped = matches!(stage, Stage::Cut | Stage::Revoked);
                let open = self.open_on(*id, *version);
                hold("cascade-ends", !stopped || open == 0, || {
                    format!("version {version} of {id} is {stage:?} with {open} leases")
                })?;
            }
        }
        Ok(())
    }

    /// What must hold wherever a transaction ends.
    pub fn settled(&self) -> Kept {
        for (id, credential) in &self.credentials {
            for (version, stage) in &credential.versions {
                let open = self.open_on(*id, *version);
                let right = match stage {
                    Stage::Current => true,
                    Stage::Rotated | Stage::Cut => open > 0,
                    Stage::Retired => open == 0,
                    // Its leases are stopped, and closed in some transactions more.
                    Stage::Revoked => true,
                };
                hold("retire-on-last-close", right, || {
                    format!("version {version} of {id} is {stage:?} with {open} leases")
                })?;
            }
        }
        Ok(())
    }
}
