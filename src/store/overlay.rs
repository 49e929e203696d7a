//! Writes that are queued or applied and not yet durable, laid over what the engine holds.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use super::port::{Key, Scan, Value};

/// A change to one key: a new value, or none.
pub(super) type Change = Option<Value>;
/// The changes of a transaction or a group, by key.
pub type WriteSet = BTreeMap<Key, Change>;

#[derive(Default)]
pub(super) struct Overlay {
    queued: RwLock<Queued>,
}

#[derive(Default)]
pub(super) struct Queued {
    /// The number of the write set that was queued last.
    last: u64,
    changes: BTreeMap<Key, (u64, Change)>,
}

impl Overlay {
    fn read(&self) -> RwLockReadGuard<'_, Queued> {
        self.queued.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The overlay, to queue a write set in: numbering, laying over and sending happen under this one lock.
    pub(super) fn lock(&self) -> RwLockWriteGuard<'_, Queued> {
        self.queued.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The queued change to a key, and the number of the write set it came with.
    pub(super) fn get(&self, key: &[u8]) -> Option<(u64, Change)> {
        self.read().changes.get(key).cloned()
    }

    /// The queued changes in a range.
    pub(super) fn range(&self, scan: &Scan) -> WriteSet {
        if scan.start >= scan.end {
            return WriteSet::new();
        }
        self.read()
            .changes
            .range::<[u8], _>(bounds(scan))
            .map(|(key, (_, change))| (key.clone(), change.clone()))
            .collect()
    }

    /// The number of the newest write set that changes something in a range. `start < end` must hold.
    pub(super) fn newest(&self, scan: &Scan) -> Option<u64> {
        self.read()
            .changes
            .range::<[u8], _>(bounds(scan))
            .map(|(_, (number, _))| *number)
            .max()
    }

    /// The number of the newest write set that is not known to be durable.
    pub(super) fn last(&self) -> Option<u64> {
        let queued = self.read();
        (!queued.changes.is_empty()).then_some(queued.last)
    }

    /// Forgets the changes of write sets up to `durable`, which the engine now holds.
    pub(super) fn forget<'a>(&self, keys: impl Iterator<Item = &'a Key>, durable: u64) {
        let mut queued = self.lock();
        for key in keys {
            if queued
                .changes
                .get(key)
                .is_some_and(|(number, _)| *number <= durable)
            {
                queued.changes.remove(key);
            }
        }
    }
}

impl Queued {
    /// Lays a write set over the engine's state and gives it its number.
    pub(super) fn push(&mut self, writes: &WriteSet) -> u64 {
        self.last += 1;
        for (key, change) in writes {
            self.changes
                .insert(key.clone(), (self.last, change.clone()));
        }
        self.last
    }

    /// Lays what the log writes with a group over the engine's state; a newer change to the same key stays.
    pub(super) fn lay(&mut self, number: u64, writes: &[(Key, Value)]) {
        for (key, value) in writes {
            let newer = self.changes.get(key).is_some_and(|(at, _)| *at > number);
            if !newer {
                self.changes
                    .insert(key.clone(), (number, Some(value.clone())));
            }
        }
    }
}

/// The range of a scan over borrowed keys. `start < end` must hold.
pub(super) fn bounds(scan: &Scan) -> (Bound<&[u8]>, Bound<&[u8]>) {
    (
        Bound::Included(scan.start.as_slice()),
        Bound::Excluded(scan.end.as_slice()),
    )
}

/// Lays changes over pairs that were read with `limit + changes.len()` in mind: `complete` tells that the
/// engine had no more. Gives back at most `limit`.
pub(super) fn merge(
    pairs: Vec<(Key, Value)>,
    changes: WriteSet,
    scan: &Scan,
    limit: usize,
    complete: bool,
) -> Vec<(Key, Value)> {
    if changes.is_empty() {
        let mut pairs = pairs;
        pairs.truncate(limit);
        return pairs;
    }
    let reach = if complete {
        None
    } else {
        pairs.last().map(|(key, _)| key.clone())
    };
    let mut merged: BTreeMap<Key, Value> = pairs.into_iter().collect();
    for (key, change) in changes {
        // Past the last pair that was read the engine may hold pairs that come first.
        let past = reach.as_ref().is_some_and(|reach| {
            if scan.reverse {
                key < *reach
            } else {
                key > *reach
            }
        });
        match change {
            Some(value) if !past => drop(merged.insert(key, value)),
            _ => drop(merged.remove(&key)),
        }
    }
    if scan.reverse {
        merged.into_iter().rev().take(limit).collect()
    } else {
        merged.into_iter().take(limit).collect()
    }
}
