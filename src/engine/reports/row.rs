//! What a report looks for, and a lease as far as the records tell of it.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::model::{Denied, UsedFrom, Who};
use crate::domain::{
    event::{Actor, AuditRecord},
    id::{CredentialId, IdentityId, LeaseId},
    name::{CredentialName, IdentityName},
    policy::Delivery,
    principal::{IdentityType, ProofId},
    time::Timestamp,
};

/// Places that are told apart for one lease.
const MAX_PLACES: usize = 16;

/// What a lease must be to be in the report. Every given one must match.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) credential: Option<CredentialId>,
    pub(super) credential_name: Option<CredentialName>,
    pub(super) version: Option<u32>,
    pub(super) identity: Option<IdentityId>,
    pub(super) identity_name: Option<IdentityName>,
    /// Of the identity, where nothing but its name is known.
    pub(super) kind: Option<IdentityType>,
    pub(super) session: Option<String>,
    pub(super) source: Option<IpNet>,
    pub(super) since: Option<Timestamp>,
    pub(super) until: Timestamp,
    /// Leases made before this one are on an earlier page.
    pub(super) from: Option<LeaseId>,
}

/// How a lease ended.
#[derive(Debug, Clone)]
pub(super) struct End {
    pub(super) at: Timestamp,
    pub(super) state: &'static str,
    pub(super) by: Option<String>,
    pub(super) reason: Option<String>,
}

/// A lease as far as the records tell.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) id: LeaseId,
    pub(super) credential: CredentialId,
    pub(super) credential_name: CredentialName,
    pub(super) versions: BTreeSet<u32>,
    pub(super) delivery: Delivery,
    pub(super) holder: Who,
    pub(super) requested_by: Who,
    pub(super) session: Option<String>,
    pub(super) purpose: Option<String>,
    pub(super) issued_at: Timestamp,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) end: Option<End>,
    pub(super) revealed_at: Option<Timestamp>,
    pub(super) redemptions: u64,
    pub(super) last_redeemed_at: Option<Timestamp>,
    pub(super) canary: bool,
    /// Wanted for who asked for it: the log was not searched for its holder.
    pub(super) delegated: bool,
    pub(super) places: Vec<UsedFrom>,
    pub(super) more_places: u64,
    /// What proved those who took and used it.
    pub(super) proofs: BTreeMap<String, (ProofId, Option<String>)>,
}

impl Row {
    /// Whether it had ended before the window.
    pub(super) fn is_before(&self, since: Option<Timestamp>) -> bool {
        match (&self.end, since) {
            (Some(end), Some(since)) => end.at <= since,
            _ => false,
        }
    }

    pub(super) fn note(&mut self, how: &'static str, record: &AuditRecord) {
        let origin = record.origin.as_ref();
        let (source_ip, user_agent) = (
            origin.and_then(|origin| origin.source_ip),
            origin.and_then(|origin| origin.user_agent.clone()),
        );
        let proof = match &record.actor {
            Actor::Identity {
                name, proof, kind, ..
            } => {
                if self.proofs.len() < MAX_PLACES {
                    let whose = Some(format!("{}/{name}", kind.as_str()));
                    self.proofs.insert(proof.to_string(), (*proof, whose));
                }
                Some(proof.to_string())
            }
            Actor::Vault { .. } => None,
        };
        let known = self.places.iter_mut().find(|place| {
            place.how == how
                && place.source_ip == source_ip
                && place.user_agent == user_agent
                && place.proof == proof
        });
        if let Some(place) = known {
            place.count += 1;
            place.last_at = record.time;
        } else if self.places.len() < MAX_PLACES {
            self.places.push(UsedFrom {
                how,
                source_ip,
                user_agent,
                proof,
                count: 1,
                first_at: record.time,
                last_at: record.time,
            });
        } else {
            self.more_places += 1;
        }
    }
}

impl Denied {
    /// The attempt that a record tells of, with the code that the caller was given.
    pub(super) fn of(sequence: u64, record: AuditRecord, code: String) -> Self {
        let origin = record.origin.unwrap_or_default();
        let (who, proof) = match record.actor {
            Actor::Identity {
                identity,
                name,
                kind,
                proof,
            } => (
                Some(Who {
                    id: identity,
                    r#type: Some(kind.as_str()),
                    name: Some(name),
                }),
                Some(proof.to_string()),
            ),
            Actor::Vault { .. } => (None, None),
        };
        Self {
            sequence,
            time: record.time,
            event: record.event.as_str(),
            code,
            reason: record.reason,
            who,
            credential_name: record.object.credential_name,
            lease_id: record.object.lease,
            decided_by: record.policy,
            source_ip: origin.source_ip,
            user_agent: origin.user_agent,
            proof,
        }
    }
}
