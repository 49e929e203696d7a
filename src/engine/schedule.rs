//! When each credential's next lease expires: what the reaper sleeps on. Only a hint in memory, rebuilt at the
//! start from the index of open leases; correctness never depends on it.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::domain::{
    id::{CredentialId, WorkspaceId},
    time::Timestamp,
};

/// A credential of a workspace.
pub type Place = (WorkspaceId, CredentialId);

#[derive(Default)]
pub(super) struct Schedule {
    inner: Mutex<Inner>,
    sooner: Notify,
}

#[derive(Default)]
struct Inner {
    next: HashMap<Place, Timestamp>,
    order: BTreeSet<(Timestamp, Place)>,
}

impl Schedule {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at `place` no later than `at`.
    pub(super) fn add(&self, place: Place, at: Timestamp) {
        let mut inner = self.lock();
        match inner.next.get(&place).copied() {
            Some(known) if known <= at => return,
            Some(known) => drop(inner.order.remove(&(known, place))),
            None => {}
        }
        inner.next.insert(place, at);
        inner.order.insert((at, place));
        let first = inner.order.first() == Some(&(at, place));
        drop(inner);
        if first {
            self.sooner.notify_one();
        }
    }

    /// Takes out up to `limit` places that are due at `now`.
    pub(super) fn take_due(&self, now: Timestamp, limit: usize) -> Vec<Place> {
        let mut inner = self.lock();
        let mut due = Vec::new();
        while due.len() < limit
            && let Some((at, place)) = inner.order.first().copied()
            && at <= now
        {
            inner.order.remove(&(at, place));
            inner.next.remove(&place);
            due.push(place);
        }
        due
    }

    /// The time of the first entry.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.lock().order.first().map(|(at, _)| *at)
    }

    /// Credentials with leases to expire.
    pub(super) fn len(&self) -> usize {
        self.lock().next.len()
    }

    /// Waits until an entry comes in front of all others.
    pub(super) async fn sooner(&self) {
        self.sooner.notified().await;
    }
}
