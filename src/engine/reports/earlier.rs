//! Who had read a value before the window, by leases that had ended by then: they know it still. Bounded: of too many the
//! readers of the youngest leases are left to the next page, so that each is named on one.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    model::{EarlierReader, Who},
    row::{Role, Row},
};
use crate::domain::{
    id::{CredentialId, IdentityId, LeaseId},
    name::CredentialName,
    time::Timestamp,
};

/// Earlier readers that a report names.
pub(super) const MAX_EARLIER: usize = 500;

type Key = (CredentialId, u32, IdentityId);

/// A reader, of one version.
struct Reader {
    who: Who,
    credential_name: CredentialName,
    roles: BTreeSet<Role>,
    leases: u64,
    last_lease_ended_at: Timestamp,
    /// The lease that is on the first page which names it.
    first: LeaseId,
}

/// Those who are known, by what they read.
#[derive(Default)]
pub(super) struct Earlier(BTreeMap<Key, Reader>);

impl Earlier {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The versions that somebody had read.
    pub(super) fn versions(&self) -> impl Iterator<Item = (CredentialId, &CredentialName, u32)> {
        let readers = self.0.iter();
        readers.map(|((id, version, _), reader)| (*id, &reader.credential_name, *version))
    }

    pub(super) fn has_read(&self, id: CredentialId, version: u32) -> bool {
        self.versions()
            .any(|(of, _, number)| (of, number) == (id, version))
    }

    pub(super) fn people(&mut self) -> impl Iterator<Item = &mut Who> {
        self.0.values_mut().map(|reader| &mut reader.who)
    }

    /// Remembers who had to do with a lease that ended and had shown its value. Where there are too many, gives back the
    /// lease from which on they are left to the next page, which is behind `from`, the first of this one.
    pub(super) fn remember(&mut self, row: &Row, from: Option<LeaseId>) -> Option<LeaseId> {
        let (Some(end), Some(version)) = (&row.end, row.versions.last()) else {
            return None;
        };
        let mut counted = BTreeSet::new();
        for (who, role) in row.people() {
            let reader = self
                .0
                .entry((row.credential, *version, who.id))
                .or_insert_with(|| Reader {
                    who: who.clone(),
                    credential_name: row.credential_name.clone(),
                    roles: BTreeSet::new(),
                    leases: 0,
                    last_lease_ended_at: end.at,
                    first: row.id,
                });
            reader.roles.insert(role);
            reader.who.r#type = reader.who.r#type.or(who.r#type);
            reader.leases += u64::from(counted.insert(who.id));
            reader.last_lease_ended_at = reader.last_lease_ended_at.max(end.at);
            reader.first = reader.first.min(row.id);
        }
        if self.0.len() <= MAX_EARLIER {
            return None;
        }
        // A page goes on: the first lease of all is on this one.
        let least = self.0.values().map(|reader| reader.first).min();
        let cut = self.0.values().map(|reader| reader.first).max();
        let cut = cut.filter(|cut| Some(*cut) > least && Some(*cut) > from)?;
        self.0.retain(|_, reader| reader.first < cut);
        Some(cut)
    }

    pub(super) fn into_readers(self) -> Vec<EarlierReader> {
        let reader = |((id, version, _), reader): (Key, Reader)| EarlierReader {
            who: reader.who,
            roles: reader.roles.into_iter().map(Role::as_str).collect(),
            credential_id: id,
            credential_name: reader.credential_name,
            version,
            leases: reader.leases,
            last_lease_ended_at: reader.last_lease_ended_at,
        };
        self.0.into_iter().map(reader).collect()
    }
}
