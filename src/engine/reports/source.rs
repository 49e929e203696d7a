//! Which leases a report names, where there are too many, and where it is about a source.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;

use super::row::Wanted;
use crate::domain::{
    event::{AuditRecord, EventName, Origin},
    id::LeaseId,
    time::Timestamp,
};

/// Leases of one report: a page of about a megabyte.
pub(super) const MAX_LEASES: usize = 1_000;

/// A bounded choice of leases, by their ids: of too many the youngest are left to the next page.
#[derive(Debug, Default)]
pub(super) struct Bound {
    pub(super) from: Option<LeaseId>,
    /// The first lease that is on the next page.
    pub(super) cut: Option<LeaseId>,
}

impl Bound {
    pub(super) fn admits(&self, id: LeaseId) -> bool {
        self.from.is_none_or(|from| id >= from) && self.cut.is_none_or(|cut| id < cut)
    }
}

/// The leases that were ever taken or used from a source.
pub(super) struct FromSource {
    net: IpNet,
    pub(super) bound: Bound,
    since: Option<Timestamp>,
    until: Timestamp,
    pub(super) leases: BTreeSet<LeaseId>,
}

impl FromSource {
    pub(super) fn new(net: IpNet, wanted: &Wanted) -> Self {
        Self {
            net,
            bound: Bound {
                from: wanted.from,
                cut: None,
            },
            since: wanted.since,
            until: wanted.until,
            leases: BTreeSet::new(),
        }
    }

    pub(super) fn take(&mut self, record: &AuditRecord) {
        let Some(lease) = record.object.lease else {
            return;
        };
        match record.event {
            EventName::LeaseIssued | EventName::LeaseRedeemed if record.time < self.until => {
                if !is_from(record.origin.as_ref(), self.net) || !self.bound.admits(lease) {
                    return;
                }
                self.leases.insert(lease);
                if self.leases.len() > MAX_LEASES {
                    self.bound.cut = self.leases.pop_last();
                }
            }
            EventName::LeaseExpired | EventName::LeaseReleased | EventName::LeaseRevoked
                if self.since.is_some_and(|since| record.time <= since) =>
            {
                self.leases.remove(&lease);
            }
            _ => {}
        }
    }
}

pub(super) fn is_from(origin: Option<&Origin>, net: IpNet) -> bool {
    origin
        .and_then(|origin| origin.source_ip)
        .is_some_and(|ip: IpAddr| net.contains(&ip.to_canonical()))
}
