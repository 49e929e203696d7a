//! Changes that are in the journal and not yet in sled's tree: what every read looks at first.
//!
//! `fresh` takes new groups. A checkpoint freezes it: it then hides the tree, which is being written, until the
//! tree holds all of it.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use crate::store::{
    overlay::{Change, WriteSet, bounds},
    port::{Key, Scan},
};

#[derive(Default)]
pub(super) struct Pending(RwLock<Tables>);

#[derive(Default)]
struct Tables {
    fresh: WriteSet,
    frozen: Arc<WriteSet>,
    freezes: u64,
}

/// Changes in a range, in the order of the scan.
pub(super) struct Page {
    pub(super) changes: Vec<(Key, Change)>,
    /// There are no more in the range.
    pub(super) complete: bool,
    /// Tells whether what was read from the tree after this page belongs with it.
    pub(super) freezes: u64,
}

impl Pending {
    fn read(&self) -> RwLockReadGuard<'_, Tables> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Tables> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<Change> {
        let tables = self.read();
        tables
            .fresh
            .get(key)
            .or_else(|| tables.frozen.get(key))
            .cloned()
    }

    /// The first `limit` changes in the order of the scan. `start < end` must hold.
    pub(super) fn page(&self, scan: &Scan, limit: usize) -> Page {
        let tables = self.read();
        let fresh = tables.fresh.range::<[u8], _>(bounds(scan));
        let frozen = tables.frozen.range::<[u8], _>(bounds(scan));
        let first = |range: std::collections::btree_map::Range<'_, Key, Change>| {
            let cloned = range.map(|(key, change)| (key.clone(), change.clone()));
            let some: Vec<_> = if scan.reverse {
                cloned.rev().take(limit.saturating_add(1)).collect()
            } else {
                cloned.take(limit.saturating_add(1)).collect()
            };
            some
        };
        let mut merged: BTreeMap<Key, Change> = first(frozen).into_iter().collect();
        merged.extend(first(fresh));
        let complete = merged.len() <= limit;
        let changes = if scan.reverse {
            merged.into_iter().rev().take(limit).collect()
        } else {
            merged.into_iter().take(limit).collect()
        };
        Page {
            changes,
            complete,
            freezes: tables.freezes,
        }
    }

    pub(super) fn freezes(&self) -> u64 {
        self.read().freezes
    }

    pub(super) fn lay(&self, changes: &WriteSet) {
        let mut tables = self.write();
        for (key, change) in changes {
            tables.fresh.insert(key.clone(), change.clone());
        }
    }

    /// Freezes what is fresh. What was frozen before must have been released.
    pub(super) fn freeze(&self) -> Arc<WriteSet> {
        let mut tables = self.write();
        tables.frozen = Arc::new(std::mem::take(&mut tables.fresh));
        tables.freezes += 1;
        tables.frozen.clone()
    }

    /// The tree holds what was frozen.
    pub(super) fn release(&self) {
        let frozen = std::mem::take(&mut self.write().frozen);
        // Freed outside the lock: it may be large.
        drop(frozen);
    }

    pub(super) fn is_empty(&self) -> bool {
        let tables = self.read();
        tables.fresh.is_empty() && tables.frozen.is_empty()
    }
}
