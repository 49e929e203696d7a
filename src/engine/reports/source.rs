//! Which leases a report names, where there are too many, and where it is about a source.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;

use super::wanted::Wanted;
use crate::domain::{
    event::{AuditRecord, EventName, Origin},
    id::LeaseId,
    time::Timestamp,
};

/// Leases of one report: a page of about a megabyte.
pub(super) const MAX_LEASES: usize = 1_000;
/// Leases that one page of a report about a source looks at, those included that ended before the window: two megabytes.
const MAX_FOUND: usize = 100_000;

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

/// The leases that were ever taken or used from a source: those as well that ended before the window, since whoever read
/// a value there knows it still.
pub(super) struct FromSource {
    net: IpNet,
    pub(super) bound: Bound,
    until: Timestamp,
    pub(super) leases: BTreeSet<LeaseId>,
}

/// What tells that a lease was taken or used.
pub(super) const TAKEN_OR_USED: [EventName; 2] = [EventName::LeaseIssued, EventName::LeaseRedeemed];

impl FromSource {
    pub(super) fn new(net: IpNet, wanted: &Wanted) -> Self {
        Self {
            net,
            bound: Bound {
                from: wanted.from,
                cut: None,
            },
            until: wanted.until,
            leases: BTreeSet::new(),
        }
    }

    pub(super) fn take(&mut self, record: &AuditRecord) {
        let Some(lease) = record.object.lease else {
            return;
        };
        if !TAKEN_OR_USED.contains(&record.event)
            || record.time >= self.until
            || !is_from(record.origin.as_ref(), self.net)
            || !self.bound.admits(lease)
        {
            return;
        }
        self.leases.insert(lease);
        if self.leases.len() > MAX_FOUND {
            self.bound.cut = self.leases.pop_last();
        }
    }
}

pub(super) fn is_from(origin: Option<&Origin>, net: IpNet) -> bool {
    is_at(origin.and_then(|origin| origin.source_ip), net)
}

pub(super) fn is_at(address: Option<IpAddr>, net: IpNet) -> bool {
    address.is_some_and(|ip| net.contains(&ip.to_canonical()))
}
