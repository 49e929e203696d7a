//! Leases whose records do not open: a flipped bit, or a record that was moved. One is passed over wherever many are
//! worked on, so that it holds up no other, and told of once in the log and in a metric.
//!
//! It is never used, since every use opens it. It is never closed either, since nothing says on which version it is: it
//! keeps its place under `max_leases`, and no version retires early. The doctor names it, and deleting its credential by
//! force ends it.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use super::Unit;
use crate::{
    domain::{
        error::{Code, Error, Result},
        id::LeaseId,
        lease::Lease,
    },
    store::{key, port::Key},
};

/// Leases that are told of, at most: bounds memory. Where there are more, the log has said enough.
const MAX_TOLD: usize = 4096;

/// The leases that were told of since the start.
#[derive(Default)]
pub(super) struct Unreadable(Mutex<HashSet<LeaseId>>);

impl Unreadable {
    /// Tells of a lease that does not open, the first time.
    pub(super) fn tell(&self, lease: LeaseId, why: &Error) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() < MAX_TOLD && told.insert(lease) {
            metrics::counter!("leasehold_unreadable_leases_total").increment(1);
            let source = std::error::Error::source(why).map(ToString::to_string);
            tracing::error!(%lease, source, "a lease's record does not open; `leasehold doctor` tells more");
        }
    }
}

/// What an entry of the index of open leases leads to.
pub(super) enum Indexed {
    Open(Box<Lease>),
    /// To nothing that is open under it, and so to nothing that could be used.
    Stray,
    Unreadable(LeaseId),
}

impl Indexed {
    /// The lease, where there is one to work on.
    pub(super) fn open(self) -> Option<Lease> {
        match self {
            Self::Open(lease) => Some(*lease),
            Self::Stray | Self::Unreadable(_) => None,
        }
    }
}

impl Unit<'_> {
    /// Reads the lease of an entry in the index of open leases. What the store itself cannot read now is an error.
    pub(super) async fn indexed(&mut self, entry: &Key) -> Result<Indexed> {
        let open = key::parse_open_lease(entry)
            .ok_or_else(|| Error::internal("malformed open-lease key"))?;
        let why = match self.tables.lease(&mut self.txn, open.lease).await {
            Ok(Some(lease))
                if lease.counted()
                    && lease.credential == open.credential
                    && lease.expires_at == open.expiry =>
            {
                return Ok(Indexed::Open(Box::new(lease)));
            }
            Ok(_) => {
                let stray = "an entry of the open leases leads to none";
                self.engine
                    .unreadable
                    .tell(open.lease, &Error::internal(stray));
                return Ok(Indexed::Stray);
            }
            Err(error) if error.code() == Code::StorageUnavailable => return Err(error),
            Err(error) => error,
        };
        self.engine.unreadable.tell(open.lease, &why);
        Ok(Indexed::Unreadable(open.lease))
    }
}
