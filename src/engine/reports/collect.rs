//! From the records of history, in their order, to the leases that were open in a window. Pure, and bounded in memory:
//! past [`MAX_LEASES`] the youngest leases are left to the next page, whatever order they come in.
//!
//! A lease is in the report whatever record of it is left: retention may have removed its grant.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    earlier::Earlier,
    model::Denied,
    row::{End, Row, changed},
    source::{Bound, FromSource, MAX_LEASES, TAKEN_OR_USED, is_from},
    wanted::Wanted,
};
use crate::{
    audit::query::Numbered,
    domain::{
        event::{Actor, AuditRecord, EventName, Outcome},
        id::{CredentialId, LeaseId},
        policy::Delivery,
        time::Timestamp,
    },
};

/// Denied attempts that are told one by one; the others are counted.
const MAX_DENIED: usize = 200;

/// What the records told.
pub(super) struct Collected {
    pub(super) wanted: Wanted,
    pub(super) rows: BTreeMap<LeaseId, Row>,
    pub(super) earlier: Earlier,
    pub(super) denied: Vec<Denied>,
    pub(super) denied_attempts: u64,
    pub(super) canary_alarms: u64,
    pub(super) records: u64,
    /// Whether any record was about a credential that exists or existed.
    pub(super) known: bool,
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
            earlier: Earlier::default(),
            denied: Vec::new(),
            denied_attempts: 0,
            canary_alarms: 0,
            records: 0,
            known: false,
            bound,
            only,
            deep: false,
        }
    }

    /// The first lease of the next page.
    pub(super) fn next_page(&self) -> Option<LeaseId> {
        self.bound.cut
    }

    /// Whether a lease is on this page, as far as its id tells.
    pub(super) fn admits(&self, id: LeaseId) -> bool {
        self.bound.admits(id) && self.only.as_ref().is_none_or(|only| only.contains(&id))
    }

    /// Takes the next record.
    pub(super) fn take(&mut self, numbered: Numbered) {
        let Numbered { sequence, record } = numbered;
        let concerned = self.concerns(&record);
        if !concerned && !self.deep && !self.has(&record) {
            return;
        }
        self.known |= record.object.credential.is_some();
        self.records += u64::from(!self.deep || !concerned);
        let in_window = self.wanted.is_in_window(record.time);
        if let Outcome::Refused { code } = &record.outcome {
            if in_window && !self.deep {
                let code = code.clone();
                self.deny(sequence, record, code);
            }
            return;
        }
        match record.event {
            EventName::LeaseIssued
            | EventName::LeaseRedeemed
            | EventName::LeaseRenewed
            | EventName::LeaseExpired
            | EventName::LeaseReleased
            | EventName::LeaseRevoked => self.of_lease(&record, in_window),
            EventName::CanaryTouched if in_window => {
                let lease = record.object.name.as_deref().and_then(LeaseId::parse);
                let deep = self.deep;
                let row = lease.and_then(|lease| self.rows.get_mut(&lease));
                if let Some(row) = row.filter(|row| row.apart == deep) {
                    row.canary = true;
                    self.canary_alarms += 1;
                }
            }
            _ => {}
        }
    }

    fn of_lease(&mut self, record: &AuditRecord, in_window: bool) {
        let Some(id) = record.object.lease else {
            return;
        };
        let new = !self.rows.contains_key(&id) && !self.deep && self.is_wanted(record);
        if let Some(row) = new.then(|| Row::of(record)).flatten() {
            self.put(row, !self.wanted.holds(&record.object));
        }
        let (deep, until) = (self.deep, self.wanted.until);
        // What happened to one that is searched for alone is taken where it is.
        let Some(row) = self.rows.get_mut(&id).filter(|row| row.apart == deep) else {
            return;
        };
        match record.event {
            EventName::LeaseIssued => row.granted(record),
            EventName::LeaseRedeemed if record.time < until => row.redeemed(record, in_window),
            EventName::LeaseRedeemed => row.redeemed_later(),
            EventName::LeaseRenewed => {
                row.expires_at = changed(record, "expires_at").or(row.expires_at)
            }
            _ => self.ended(id, record),
        }
    }

    /// Whether a record's lease belongs into the report, as far as the record tells. Of whoever only ended a lease
    /// nobody is told.
    fn is_wanted(&self, record: &AuditRecord) -> bool {
        let taken = TAKEN_OR_USED.contains(&record.event);
        let somebody = self.wanted.holds(&record.object) || taken && self.wanted.acts(record);
        somebody && self.wanted.is_of_session(record.object.session.as_ref())
    }

    /// Puts a lease into the report, if it fits. `apart` where the log was not searched for all that happened to it.
    pub(super) fn put(&mut self, mut row: Row, apart: bool) {
        // A broker lease may follow to a later version, and no lease ever goes back. Which version one began with is
        // unknown where its grant is gone.
        let first = row.versions.first().copied().unwrap_or_default();
        let fits =
            self.wanted
                .version
                .is_none_or(|wanted| match row.told || row.revealed_at.is_some() {
                    true if row.delivery == Delivery::Reveal => row.versions.contains(&wanted),
                    true => first <= wanted,
                    false => true,
                });
        if !fits || row.issued_at >= self.wanted.until || !self.admits(row.id) {
            return;
        }
        row.apart = apart;
        self.rows.insert(row.id, row);
        if self.rows.len() > MAX_LEASES {
            self.bound.cut = self.rows.pop_last().map(|(id, _)| id);
        }
    }

    /// The leases that the log must be searched for one by one, and since when.
    pub(super) fn apart(&mut self) -> Vec<(LeaseId, Timestamp)> {
        self.deep = true;
        let apart = self.rows.values().filter(|row| row.apart);
        apart.map(|row| (row.id, row.issued_at)).collect()
    }

    /// Whether a record is about what is wanted.
    fn concerns(&self, record: &AuditRecord) -> bool {
        let (wanted, object) = (&self.wanted, &record.object);
        let credential =
            wanted.is_of_credential(object.credential, object.credential_name.as_ref());
        if record.event == EventName::CredentialRotated {
            return credential;
        }
        let session = wanted.is_of_session(object.session.as_ref());
        let somebody = wanted.holds(object) || wanted.acts(record);
        credential && somebody && session
    }

    /// Whether a record is about a lease that is in the report already.
    fn has(&self, record: &AuditRecord) -> bool {
        record
            .object
            .lease
            .is_some_and(|lease| self.rows.contains_key(&lease))
    }

    fn ended(&mut self, id: LeaseId, record: &AuditRecord) {
        let Some(row) = self.rows.get_mut(&id) else {
            return;
        };
        let (state, by) = match record.event {
            EventName::LeaseReleased => ("released", Some(&record.actor)),
            EventName::LeaseRevoked => ("revoked", Some(&record.actor)),
            _ => ("expired", None),
        };
        let at = match by {
            None => row.expired_at(record.time),
            Some(_) => record.time,
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
        if row.is_before(self.wanted.since) {
            self.leave(id);
        }
    }

    /// Takes a lease out that had ended before the window; who read the value by it is remembered.
    pub(super) fn leave(&mut self, id: LeaseId) {
        let Some(row) = self.rows.remove(&id) else {
            return;
        };
        if row.revealed_at.is_none() || !self.wanted.is_met(&row) {
            return;
        }
        if let Some(cut) = self.earlier.remember(&row, self.bound.from) {
            // Those behind it are on the next page, with the other readers.
            self.bound.cut = Some(self.bound.cut.map_or(cut, |known| known.min(cut)));
            drop(self.rows.split_off(&cut));
        }
    }

    /// The credentials whose rotations may have moved a lease to another version, and since when.
    pub(super) fn followers(&self) -> BTreeMap<CredentialId, Timestamp> {
        let mut found = BTreeMap::new();
        for row in self.rows.values().filter(|row| may_follow(row)) {
            let since = found.entry(row.credential).or_insert(row.issued_at);
            *since = row.issued_at.min(*since);
        }
        found
    }

    /// A rotation with `follow` moves the open broker leases to the new version.
    pub(super) fn rotated(&mut self, record: &AuditRecord) {
        let field = |name: &str| record.changes.iter().find(|change| change.field == name);
        let followed =
            field("on_open_leases").is_some_and(|change| change.after.as_deref() == Some("follow"));
        let (Some(credential), Some(version)) = (record.object.credential, record.object.version)
        else {
            return;
        };
        if !followed || record.time >= self.wanted.until {
            return;
        }
        let rows = self.rows.values_mut().filter(|row| {
            row.credential == credential && may_follow(row) && row.is_open_at(record.time)
        });
        for row in rows {
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

/// Whether a rotation may move a lease: one that shows its value stays where it is.
fn may_follow(row: &Row) -> bool {
    row.delivery == Delivery::Broker || !row.told && row.revealed_at.is_none()
}

#[cfg(test)]
mod tests;
