//! From the records of history, in their order, to the leases that were open in a window. Pure, and bounded in memory:
//! past [`MAX_LEASES`] the youngest leases are left to the next page, whatever order they come in.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    model::{Denied, EarlierReader, Who},
    row::{End, Row, Wanted},
    source::{Bound, FromSource, MAX_LEASES, is_from},
};
use crate::{
    audit::query::Numbered,
    domain::{
        event::{Actor, AuditRecord, EventName, Object, Outcome},
        id::{CredentialId, IdentityId, LeaseId},
        policy::Delivery,
        time::Timestamp,
    },
};

/// Denied attempts that are told one by one; the others are counted.
const MAX_DENIED: usize = 200;
/// Earlier readers that are told one by one.
const MAX_EARLIER: usize = 500;

/// What the records told.
pub(super) struct Collected {
    pub(super) wanted: Wanted,
    pub(super) rows: BTreeMap<LeaseId, Row>,
    pub(super) earlier: BTreeMap<(CredentialId, u32, IdentityId), EarlierReader>,
    pub(super) earlier_readers: u64,
    pub(super) denied: Vec<Denied>,
    pub(super) denied_attempts: u64,
    pub(super) canary_alarms: u64,
    pub(super) records: u64,
    bound: Bound,
    only: Option<BTreeSet<LeaseId>>,
    deep: bool,
}

impl Collected {
    /// Nothing yet; with a source the leases that a first pass found.
    pub(super) fn new(wanted: Wanted, only: Option<FromSource>) -> Self {
        let (bound, only) = match only {
            Some(found) => (found.bound, Some(found.leases)),
            None => (
                Bound {
                    from: wanted.from,
                    cut: None,
                },
                None,
            ),
        };
        Self {
            wanted,
            rows: BTreeMap::new(),
            earlier: BTreeMap::new(),
            earlier_readers: 0,
            denied: Vec::new(),
            denied_attempts: 0,
            canary_alarms: 0,
            records: 0,
            bound,
            only,
            deep: false,
        }
    }

    /// The first lease of the next page.
    pub(super) fn next_page(&self) -> Option<LeaseId> {
        self.bound.cut
    }

    /// Takes the next record.
    pub(super) fn take(&mut self, numbered: Numbered) {
        let Numbered { sequence, record } = numbered;
        if !self.concerns(&record) {
            return;
        }
        self.records += 1;
        let in_window =
            record.time < self.wanted.until && self.wanted.since.is_none_or(|at| record.time >= at);
        if let Outcome::Refused { code } = &record.outcome {
            if in_window && !self.deep {
                let code = code.clone();
                self.deny(sequence, record, code);
            }
            return;
        }
        match record.event {
            EventName::LeaseIssued if !self.deep => self.issued(&record),
            EventName::LeaseRedeemed if record.time < self.wanted.until => {
                if let Some(row) = self.row(&record) {
                    row.revealed_at.get_or_insert(record.time);
                    if in_window {
                        row.redemptions += 1;
                        row.last_redeemed_at = Some(record.time);
                        row.note("redeemed", &record);
                    }
                }
            }
            EventName::LeaseRenewed => {
                let expires_at = changed(&record, "expires_at");
                if let Some(row) = self.row(&record) {
                    row.expires_at = expires_at.or(row.expires_at);
                }
            }
            EventName::LeaseExpired | EventName::LeaseReleased | EventName::LeaseRevoked => {
                self.ended(&record);
            }
            EventName::CredentialRotated => self.rotated(&record),
            EventName::CanaryTouched if in_window => {
                let lease = record.object.name.as_deref().and_then(LeaseId::parse);
                if let Some(row) = lease.and_then(|lease| self.rows.get_mut(&lease)) {
                    row.canary = true;
                    self.canary_alarms += 1;
                }
            }
            _ => {}
        }
    }

    /// The lease that a record is about. What happened to a delegated one is taken where it is searched for alone.
    fn row(&mut self, record: &AuditRecord) -> Option<&mut Row> {
        let deep = self.deep;
        let row = self.rows.get_mut(&record.object.lease?)?;
        (row.delegated == deep).then_some(row)
    }

    /// The leases that the log must be searched for one by one, and since when.
    pub(super) fn delegated(&mut self) -> Vec<(LeaseId, Timestamp)> {
        self.deep = true;
        let delegated = self.rows.values().filter(|row| row.delegated);
        delegated.map(|row| (row.id, row.issued_at)).collect()
    }

    /// Whether the wanted identity, if there is one, is the lease's holder.
    fn holds(&self, object: &Object) -> bool {
        let wanted = &self.wanted;
        wanted.identity.is_none_or(|id| object.holder == Some(id))
            && wanted
                .identity_name
                .as_ref()
                .is_none_or(|name| object.holder_name.as_ref() == Some(name))
    }

    /// Whether a record is about what is wanted. A rotation is about its credential alone.
    fn concerns(&self, record: &AuditRecord) -> bool {
        let (wanted, object) = (&self.wanted, &record.object);
        let credential = wanted
            .credential
            .is_none_or(|id| object.credential == Some(id))
            && wanted
                .credential_name
                .as_ref()
                .is_none_or(|name| object.credential_name.as_ref() == Some(name));
        if record.event == EventName::CredentialRotated {
            return credential;
        }
        let (actor, actor_name) = match &record.actor {
            Actor::Identity {
                identity,
                name,
                kind,
                ..
            } => {
                let namesake = wanted.identity_name.as_ref() == Some(name)
                    && wanted.kind.is_some_and(|wanted| wanted != *kind);
                if namesake {
                    return false;
                }
                (Some(*identity), Some(name))
            }
            Actor::Vault { .. } => (None, None),
        };
        credential
            && wanted
                .identity
                .is_none_or(|id| object.holder == Some(id) || actor == Some(id) || self.has(record))
            && wanted.identity_name.as_ref().is_none_or(|name| {
                object.holder_name.as_ref() == Some(name)
                    || actor_name == Some(name)
                    || self.has(record)
            })
            && wanted
                .session
                .as_ref()
                .is_none_or(|session| object.session.as_ref() == Some(session) || self.has(record))
    }

    /// Whether a record is about a lease that is in the report already.
    fn has(&self, record: &AuditRecord) -> bool {
        record
            .object
            .lease
            .is_some_and(|lease| self.rows.contains_key(&lease))
    }

    fn issued(&mut self, record: &AuditRecord) {
        let object = &record.object;
        let (Some(id), Some(credential), Some(name), Some(holder)) = (
            object.lease,
            object.credential,
            object.credential_name.clone(),
            object.holder,
        ) else {
            return;
        };
        let delivery = record
            .changes
            .iter()
            .find(|change| change.field == "delivery")
            .and_then(|change| change.after.as_deref());
        let delivery = match delivery {
            Some("broker") => Delivery::Broker,
            _ => Delivery::Reveal,
        };
        let version = object.version.unwrap_or_default();
        // A broker lease may follow to a later version, and no lease ever goes back.
        let fits = self.wanted.version.is_none_or(|wanted| match delivery {
            Delivery::Reveal => version == wanted,
            Delivery::Broker => version <= wanted,
        });
        let chosen = self.only.as_ref().is_none_or(|only| only.contains(&id));
        if !fits || !chosen || record.time >= self.wanted.until || !self.bound.admits(id) {
            return;
        }
        let requested_by = match &record.actor {
            Actor::Identity {
                identity,
                name,
                kind,
                ..
            } => Who {
                id: *identity,
                r#type: Some(kind.as_str()),
                name: Some(name.clone()),
            },
            Actor::Vault { .. } => return,
        };
        let own = requested_by.id == holder;
        let holder = Who {
            id: holder,
            r#type: requested_by.r#type.filter(|_| own),
            name: object.holder_name.clone(),
        };
        let mut row = Row {
            id,
            credential,
            credential_name: name,
            versions: BTreeSet::from([version]),
            delivery,
            holder,
            requested_by,
            session: object.session.clone(),
            purpose: record.purpose.clone(),
            issued_at: record.time,
            expires_at: changed(record, "expires_at"),
            end: None,
            revealed_at: None,
            redemptions: 0,
            last_redeemed_at: None,
            canary: false,
            delegated: !self.holds(object),
            places: Vec::new(),
            more_places: 0,
            proofs: BTreeMap::new(),
        };
        row.note("issued", record);
        self.rows.insert(id, row);
        if self.rows.len() > MAX_LEASES {
            self.bound.cut = self.rows.pop_last().map(|(id, _)| id);
        }
    }

    fn ended(&mut self, record: &AuditRecord) {
        let since = self.wanted.since;
        let Some(row) = self.row(record) else { return };
        let (state, by) = match record.event {
            EventName::LeaseReleased => ("released", Some(&record.actor)),
            EventName::LeaseRevoked => ("revoked", Some(&record.actor)),
            _ => ("expired", None),
        };
        // The reaper comes after the expiry, and no use passes it.
        let at = match (state, row.expires_at) {
            ("expired", Some(expiry)) => expiry.min(record.time),
            _ => record.time,
        };
        row.end = Some(End {
            at,
            state,
            by: by.map(|actor| match actor {
                Actor::Identity { name, kind, .. } => format!("{}/{name}", kind.as_str()),
                Actor::Vault { part } => format!("vault/{part}"),
            }),
            reason: record.reason.clone(),
        });
        row.versions.extend(record.object.version);
        let id = row.id;
        if row.is_before(since) {
            self.leave(id);
        }
    }

    /// Takes a lease out that had ended before the window; who read the value by it is remembered.
    pub(super) fn leave(&mut self, id: LeaseId) {
        let Some(row) = self.rows.remove(&id) else {
            return;
        };
        let (Some(end), Some(version)) = (&row.end, row.versions.last()) else {
            return;
        };
        if row.revealed_at.is_none() {
            return;
        }
        let key = (row.credential, *version, row.holder.id);
        if let Some(known) = self.earlier.get_mut(&key) {
            known.leases += 1;
            known.last_lease_ended_at = known.last_lease_ended_at.max(end.at);
            return;
        }
        self.earlier_readers += 1;
        if self.earlier.len() < MAX_EARLIER {
            self.earlier.insert(
                key,
                EarlierReader {
                    who: row.holder,
                    credential_id: row.credential,
                    credential_name: row.credential_name,
                    version: *version,
                    leases: 1,
                    last_lease_ended_at: end.at,
                },
            );
        }
    }

    /// A rotation with `follow` moves the open broker leases to the new version.
    fn rotated(&mut self, record: &AuditRecord) {
        let followed = record.changes.iter().any(|change| {
            change.field == "on_open_leases" && change.after.as_deref() == Some("follow")
        });
        let (Some(credential), Some(version)) = (record.object.credential, record.object.version)
        else {
            return;
        };
        if !followed || record.time >= self.wanted.until {
            return;
        }
        let open = self.rows.values_mut().filter(|row| {
            row.credential == credential && row.delivery == Delivery::Broker && row.end.is_none()
        });
        for row in open {
            row.versions.insert(version);
        }
    }

    fn deny(&mut self, sequence: u64, record: AuditRecord, code: String) {
        let elsewhere = self
            .wanted
            .source
            .is_some_and(|net| !is_from(record.origin.as_ref(), net));
        let other = self.wanted.version.is_some_and(|wanted| {
            record
                .object
                .version
                .is_some_and(|version| version != wanted)
        });
        if elsewhere || other {
            return;
        }
        self.denied_attempts += 1;
        if self.denied.len() >= MAX_DENIED {
            return;
        }
        self.denied.push(Denied::of(sequence, record, code));
    }
}

/// What a time was changed to.
fn changed(record: &AuditRecord, field: &str) -> Option<Timestamp> {
    let change = record.changes.iter().find(|change| change.field == field)?;
    change.after.as_deref()?.parse().ok()
}

#[cfg(test)]
mod tests;
