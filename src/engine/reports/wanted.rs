//! What a report looks for.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::{model::Who, row::Row};
use crate::domain::{
    event::{Actor, AuditRecord, Object},
    id::{CredentialId, IdentityId, LeaseId},
    name::{CredentialName, IdentityName},
    principal::IdentityType,
    time::Timestamp,
};

/// What a lease must be to be in the report. Every given one must match.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) credential: Option<CredentialId>,
    pub(super) credential_name: Option<CredentialName>,
    pub(super) version: Option<u32>,
    pub(super) identity: Option<IdentityId>,
    /// Whoever had that name, one after the other.
    pub(super) identity_name: Option<IdentityName>,
    pub(super) kind: Option<IdentityType>,
    /// Identities of that name that are known to be of another type.
    pub(super) namesakes: BTreeSet<IdentityId>,
    /// As history has it.
    pub(super) session: Option<String>,
    pub(super) source: Option<IpNet>,
    pub(super) since: Option<Timestamp>,
    pub(super) until: Timestamp,
    /// Leases made before this one are on an earlier page.
    pub(super) from: Option<LeaseId>,
}

impl Wanted {
    pub(super) fn is_in_window(&self, time: Timestamp) -> bool {
        time < self.until && self.since.is_none_or(|since| time >= since)
    }

    /// Whether it is asked for an identity at all.
    pub(super) fn names_somebody(&self) -> bool {
        self.identity.is_some() || self.identity_name.is_some()
    }

    /// Whether somebody may be the wanted identity. Of whoever is deleted the type may be unknown, and then it may be.
    fn may_be(&self, id: IdentityId, name: Option<&IdentityName>, kind: Option<&str>) -> bool {
        let named = self
            .identity_name
            .as_ref()
            .is_none_or(|wanted| name == Some(wanted) && !self.namesakes.contains(&id));
        let typed = match (self.kind, kind) {
            (Some(wanted), Some(kind)) => wanted.as_str() == kind,
            _ => true,
        };
        named && typed && self.identity.is_none_or(|wanted| wanted == id)
    }

    pub(super) fn is_wanted(&self, who: &Who) -> bool {
        self.may_be(who.id, who.name.as_ref(), who.r#type)
    }

    /// Whether the wanted identity, where there is one, holds the lease.
    pub(super) fn holds(&self, object: &Object) -> bool {
        !self.names_somebody()
            || object
                .holder
                .is_some_and(|id| self.may_be(id, object.holder_name.as_ref(), None))
    }

    /// Whether the wanted identity, where there is one, did it.
    pub(super) fn acts(&self, record: &AuditRecord) -> bool {
        if !self.names_somebody() {
            return true;
        }
        match &record.actor {
            Actor::Identity {
                identity,
                name,
                kind,
                ..
            } => self.may_be(*identity, Some(name), Some(kind.as_str())),
            Actor::Vault { .. } => false,
        }
    }

    /// Whether somebody who had to do with a lease is wanted.
    pub(super) fn is_of_somebody(&self, row: &Row) -> bool {
        !self.names_somebody() || row.people().any(|(who, _)| self.is_wanted(who))
    }

    /// Whether all that is known of a lease is what is wanted of it.
    pub(super) fn is_met(&self, row: &Row) -> bool {
        let version = self
            .version
            .is_none_or(|number| row.versions.contains(&number));
        version && self.is_of_somebody(row)
    }

    /// Whether it is about the wanted credential.
    pub(super) fn is_of_credential(
        &self,
        id: Option<CredentialId>,
        name: Option<&CredentialName>,
    ) -> bool {
        self.credential.is_none_or(|wanted| id == Some(wanted))
            && self
                .credential_name
                .as_ref()
                .is_none_or(|wanted| name == Some(wanted))
    }

    pub(super) fn is_of_session(&self, session: Option<&String>) -> bool {
        self.session.is_none() || self.session.as_ref() == session
    }
}
