//! A lease as far as the records, or the store, tell of it.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    model::{Denied, Who},
    places::{Place, Places},
    wanted::Wanted,
};
use crate::domain::{
    credential::Author,
    event::{Actor, AuditRecord, EventName},
    id::{CredentialId, IdentityId, LeaseId},
    lease::Lease,
    mask::mask,
    name::CredentialName,
    policy::{Delivery, LONGEST_LEASE},
    principal::{IdentityType, ProofId},
    time::Timestamp,
};

/// Keys and tokens that are told apart for one lease.
const MAX_PROOFS: usize = 64;

/// How a lease ended.
#[derive(Debug, Clone)]
pub(super) struct End {
    pub(super) at: Timestamp,
    pub(super) state: &'static str,
    pub(super) by: Option<String>,
    pub(super) reason: Option<String>,
}

/// Somebody who took the value by a lease.
#[derive(Debug, Clone)]
pub(super) struct Redeemer {
    pub(super) who: Who,
    /// Within the window.
    pub(super) redemptions: u64,
    pub(super) last_at: Option<Timestamp>,
}

/// What somebody has to do with a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    Holder,
    Requester,
    Redeemer,
}

impl Role {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Holder => "holder",
            Self::Requester => "requester",
            Self::Redeemer => "redeemer",
        }
    }
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
    /// None where neither history nor the store tells any more.
    pub(super) requested_by: Option<Who>,
    pub(super) session: Option<String>,
    pub(super) purpose: Option<String>,
    pub(super) issued_at: Timestamp,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) end: Option<End>,
    pub(super) revealed_at: Option<Timestamp>,
    pub(super) redemptions: u64,
    pub(super) last_redeemed_at: Option<Timestamp>,
    pub(super) redeemers: BTreeMap<IdentityId, Redeemer>,
    pub(super) canary: bool,
    /// Whether its grant was read, in history or in the store. Else how it was delivered, and which version it began
    /// with, may be unknown.
    pub(super) told: bool,
    /// Wanted for who asked for it or took the value: the log was not searched for its holder.
    pub(super) apart: bool,
    pub(super) places: Places,
    /// What proved those who took and used it, and whom.
    pub(super) proofs: BTreeMap<ProofId, (IdentityId, Option<String>)>,
    pub(super) more_proofs: u64,
    /// Redemptions that history tells of, whenever they were.
    seen: u32,
}

/// An id begins with the time of its making.
fn made_at(id: LeaseId) -> Timestamp {
    let [a, b, c, d, e, f, ..] = *id.as_bytes();
    Timestamp::from_millis(u64::from_be_bytes([0, 0, a, b, c, d, e, f]))
}

/// What a time was changed to.
pub(super) fn changed(record: &AuditRecord, field: &str) -> Option<Timestamp> {
    let change = record.changes.iter().find(|change| change.field == field)?;
    change.after.as_deref()?.parse().ok()
}

/// Whoever acted; none where the vault did.
fn acting(record: &AuditRecord) -> Option<(Who, ProofId)> {
    match &record.actor {
        Actor::Identity {
            identity,
            name,
            kind,
            proof,
        } => {
            let who = Who {
                id: *identity,
                r#type: Some(kind.as_str()),
                name: Some(name.clone()),
            };
            Some((who, *proof))
        }
        Actor::Vault { .. } => None,
    }
}

fn author(author: &Author, kind: IdentityType) -> Who {
    Who {
        id: author.identity,
        r#type: Some(kind.as_str()),
        name: Some(author.name.clone()),
    }
}

impl Row {
    /// A lease of which nothing more is known.
    fn new(id: LeaseId, of: (CredentialId, CredentialName), holder: Who) -> Self {
        Self {
            id,
            credential: of.0,
            credential_name: of.1,
            versions: BTreeSet::new(),
            delivery: Delivery::Reveal,
            holder,
            requested_by: None,
            session: None,
            purpose: None,
            issued_at: made_at(id),
            expires_at: None,
            end: None,
            revealed_at: None,
            redemptions: 0,
            last_redeemed_at: None,
            redeemers: BTreeMap::new(),
            canary: false,
            told: false,
            apart: false,
            places: Places::default(),
            proofs: BTreeMap::new(),
            more_proofs: 0,
            seen: 0,
        }
    }

    /// The lease that a record is about: its grant, or whatever of it is left.
    pub(super) fn of(record: &AuditRecord) -> Option<Self> {
        let object = &record.object;
        let id = object.lease?;
        let holder = Who {
            id: object.holder?,
            r#type: None,
            name: object.holder_name.clone(),
        };
        let of = (object.credential?, object.credential_name.clone()?);
        let mut row = Self::new(id, of, holder);
        row.versions.extend(object.version);
        row.session = object.session.clone();
        row.purpose = record.purpose.clone();
        if let Some((who, _)) = acting(record)
            && who.id == row.holder.id
        {
            row.holder.r#type = who.r#type;
        }
        if record.event == EventName::LeaseIssued {
            let delivery = record
                .changes
                .iter()
                .find(|change| change.field == "delivery")
                .and_then(|change| change.after.as_deref());
            if delivery == Some(Delivery::Broker.as_str()) {
                row.delivery = Delivery::Broker;
            }
            row.requested_by = Some(acting(record)?.0);
            row.issued_at = record.time;
            row.expires_at = changed(record, "expires_at");
            row.told = true;
        }
        Some(row)
    }

    /// A lease that history no longer tells of.
    pub(super) fn stored(lease: &Lease, wanted: &Wanted, version: u32) -> Self {
        let holder = Who {
            id: lease.holder.identity,
            r#type: Some(lease.holder.kind.as_str()),
            name: Some(lease.holder.name.clone()),
        };
        let of = (lease.credential, lease.credential_name.clone());
        let mut row = Self::new(lease.id, of, holder);
        row.session = shown_session(lease);
        row.issued_at = lease.issued_at;
        row.learn(lease, wanted, version);
        row
    }

    /// Takes from the store what no record told. It uses, or used last, that version.
    pub(super) fn learn(&mut self, lease: &Lease, wanted: &Wanted, version: u32) {
        self.holder.r#type = Some(lease.holder.kind.as_str());
        self.expires_at = Some(lease.expires_at);
        self.versions.insert(version);
        if !self.told {
            self.told = true;
            self.delivery = lease.delivery;
            self.versions.insert(lease.version);
            self.purpose = lease.purpose.clone();
            if let Some(purpose) = &mut self.purpose {
                mask(purpose);
            }
            let requester = &lease.requested_by;
            let who = author(&requester.by, requester.kind);
            self.prove(requester.proof, &who);
            let place = Place {
                how: "issued",
                source_ip: None,
                proof: Some(requester.proof.to_string()),
            };
            self.places.note(place, None, lease.issued_at, true);
            self.requested_by = Some(who);
        }
        if lease.delivery != Delivery::Reveal || lease.uses <= self.seen {
            return;
        }
        // Some of its redemptions are gone from history. The last is known, and no first before it.
        let Some(last) = lease.last_used_at else {
            return;
        };
        self.revealed_at.get_or_insert(last);
        if wanted.is_in_window(last) {
            let all = wanted.since.is_none_or(|since| self.issued_at >= since);
            let known = if all { u64::from(lease.uses) } else { 1 };
            self.redemptions = self.redemptions.max(known);
            self.last_redeemed_at = self.last_redeemed_at.max(Some(last));
        }
    }

    /// Whether it had ended before the window.
    pub(super) fn is_before(&self, since: Option<Timestamp>) -> bool {
        match (&self.end, since) {
            (Some(end), Some(since)) => end.at <= since,
            _ => false,
        }
    }

    /// Whether it was open at that time.
    pub(super) fn is_open_at(&self, time: Timestamp) -> bool {
        self.issued_at <= time && self.end.as_ref().is_none_or(|end| end.at > time)
    }

    /// When it ended at the latest: the reaper comes after the expiry, and no use passes it.
    pub(super) fn expired_at(&self, noticed: Timestamp) -> Timestamp {
        let expiry = self
            .expires_at
            .unwrap_or(self.issued_at.plus(LONGEST_LEASE.span()));
        expiry.min(noticed)
    }

    /// Everybody who had to do with it, with what. Whoever asked for itself is its holder and no more.
    pub(super) fn people(&self) -> impl Iterator<Item = (&Who, Role)> {
        let other = |who: &&Who| who.id != self.holder.id;
        let requester = self.requested_by.iter().filter(other);
        let requester = requester.map(|who| (who, Role::Requester));
        let redeemers = self.redeemers.values();
        std::iter::once((&self.holder, Role::Holder))
            .chain(requester)
            .chain(redeemers.map(|redeemer| (&redeemer.who, Role::Redeemer)))
    }

    /// Redemptions within the window by one of them. Those of which nobody is known are its holder's.
    pub(super) fn redemptions_by(&self, id: IdentityId) -> u64 {
        let by = |redeemer: &Redeemer| redeemer.redemptions;
        if id != self.holder.id {
            return self.redeemers.get(&id).map_or(0, by);
        }
        let others = self.redeemers.iter().filter(|(who, _)| **who != id);
        let others: u64 = others.map(|(_, redeemer)| by(redeemer)).sum();
        self.redemptions.saturating_sub(others)
    }

    /// The grant, as its record tells it.
    pub(super) fn granted(&mut self, record: &AuditRecord) {
        self.note("issued", record, true);
    }

    /// A redemption before the window's end, within the window or not.
    pub(super) fn redeemed(&mut self, record: &AuditRecord, in_window: bool) {
        self.seen = self.seen.saturating_add(1);
        self.revealed_at.get_or_insert(record.time);
        if let Some((who, _)) = acting(record) {
            let redeemer = self.redeemers.entry(who.id).or_insert(Redeemer {
                who,
                redemptions: 0,
                last_at: None,
            });
            if in_window {
                redeemer.redemptions += 1;
                redeemer.last_at = Some(record.time);
            }
        }
        if in_window {
            self.redemptions += 1;
            self.last_redeemed_at = Some(record.time);
        }
        self.note("redeemed", record, in_window);
    }

    /// A redemption after the window.
    pub(super) fn redeemed_later(&mut self) {
        self.seen = self.seen.saturating_add(1);
    }

    fn note(&mut self, how: &'static str, record: &AuditRecord, in_window: bool) {
        let origin = record.origin.as_ref();
        let (source_ip, user_agent) = (
            origin.and_then(|origin| origin.source_ip),
            origin.and_then(|origin| origin.user_agent.clone()),
        );
        let acting = acting(record);
        if let Some((who, proof)) = &acting {
            self.prove(*proof, who);
        }
        let proof = acting.map(|(_, proof)| proof.to_string());
        let place = Place {
            how,
            source_ip,
            proof,
        };
        self.places.note(place, user_agent, record.time, in_window);
    }

    /// Remembers what proved somebody who took or used it.
    fn prove(&mut self, proof: ProofId, who: &Who) {
        if self.proofs.len() < MAX_PROOFS || self.proofs.contains_key(&proof) {
            self.proofs.insert(proof, (who.id, Some(who.spelled())));
        } else {
            self.more_proofs += 1;
        }
    }
}

/// The session of a stored lease, as history has it.
pub(super) fn shown_session(lease: &Lease) -> Option<String> {
    let mut session = lease.holder.session.clone();
    if let Some(session) = &mut session {
        mask(session);
    }
    session
}

impl Denied {
    /// The attempt that a record tells of, with the code that the caller was given.
    pub(super) fn of(sequence: u64, record: AuditRecord, code: String) -> Self {
        let acting = acting(&record);
        let (who, proof) = match acting {
            Some((who, proof)) => (Some(who), Some(proof.to_string())),
            None => (None, None),
        };
        let origin = record.origin.unwrap_or_default();
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
