//! Values that were read from the tree lately: sled walks its pages for each read, and counts it.
//!
//! INVARIANT: what is kept of a key is what the tree holds. The tree changes in checkpoints alone, and nobody reads the
//! keys of one from the tree before it is over: [`Warm::cool`] is called between.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use crate::store::port::{Key, Value};

/// Places, one value each; a later one takes the place over.
const PLACES: usize = 4096;
/// The longest value that is kept, in bytes: at most 8 MiB in all, and 2 MiB where leases are read.
const MAX_BYTES: usize = 2048;

const ORDER: Ordering = Ordering::SeqCst;

type Place = Mutex<Option<(Key, Value)>>;

pub(super) struct Warm {
    places: Box<[Place]>,
    hashes: RandomState,
    /// Counts the checkpoints: what was read before one began is not kept after it.
    checkpoints: AtomicU64,
    kept: AtomicUsize,
}

/// When a read began.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Begun(u64);

impl Default for Warm {
    fn default() -> Self {
        Self {
            places: (0..PLACES).map(|_| Place::default()).collect(),
            hashes: RandomState::new(),
            checkpoints: AtomicU64::new(0),
            kept: AtomicUsize::new(0),
        }
    }
}

impl Warm {
    fn place(&self, key: &[u8]) -> Option<MutexGuard<'_, Option<(Key, Value)>>> {
        let at = self.hashes.hash_one(key) as usize % PLACES;
        let place = self.places.get(at)?;
        Some(place.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// To be called before it is looked up whether a change to the key waits for a checkpoint.
    pub(super) fn begin(&self) -> Begun {
        Begun(self.checkpoints.load(ORDER))
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<Value> {
        let place = self.place(key)?;
        let (known, value) = place.as_ref()?;
        (known.as_slice() == key).then(|| value.clone())
    }

    /// Keeps what the tree gave, unless a checkpoint has begun since: it may have been old by then.
    pub(super) fn keep(&self, begun: Begun, key: &[u8], value: &Value) {
        if value.len() > MAX_BYTES {
            return;
        }
        let Some(mut place) = self.place(key) else {
            return;
        };
        // Counted before the checkpoints are looked at, as a checkpoint counts itself before it looks at this: one of
        // them sees the other. And under the lock, so that a checkpoint which begins after this finds the value.
        self.kept.fetch_add(1, ORDER);
        if self.begin() != begun || place.replace((key.into(), value.clone())).is_some() {
            self.kept.fetch_sub(1, ORDER);
        }
    }

    /// Forgets the keys that a checkpoint is about to change: they wait for it, and so hide the tree until it is over.
    pub(super) fn cool<'a>(&self, keys: impl Iterator<Item = &'a Key>) {
        self.checkpoints.fetch_add(1, ORDER);
        for key in keys {
            if self.kept.load(ORDER) == 0 {
                // Whoever keeps something from here on began after this did, or is turned away.
                return;
            }
            if let Some(mut place) = self.place(key)
                && place.as_ref().is_some_and(|(known, _)| known == key)
            {
                *place = None;
                self.kept.fetch_sub(1, ORDER);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &[u8]) -> Value {
        Value::from(text)
    }

    #[test]
    fn what_a_checkpoint_changes_is_forgotten_and_nothing_old_comes_back() {
        let warm = Warm::default();
        let (one, other) = (Key::from_elem(1, 20), Key::from_elem(2, 20));
        let begun = warm.begin();
        assert_eq!(warm.get(&one), None);
        warm.keep(begun, &one, &value(b"old"));
        warm.keep(begun, &other, &value(b"same"));
        assert_eq!(warm.get(&one), Some(value(b"old")));
        warm.cool([&one].into_iter());
        assert_eq!(warm.get(&one), None);
        assert_eq!(warm.get(&other), Some(value(b"same")));
        // A read that began before the checkpoint ends after it.
        warm.keep(begun, &one, &value(b"old"));
        assert_eq!(warm.get(&one), None);
        warm.keep(warm.begin(), &one, &value(b"new"));
        assert_eq!(warm.get(&one), Some(value(b"new")));
    }

    #[test]
    fn memory_is_bounded() {
        let warm = Warm::default();
        for n in 0..3 * PLACES as u64 {
            let key = n.to_be_bytes().to_vec();
            warm.keep(warm.begin(), &key, &value(b"x"));
            assert_eq!(warm.get(&key), Some(value(b"x")));
        }
        assert!(warm.kept.load(ORDER) <= PLACES);
        let long = vec![0; 8];
        warm.keep(warm.begin(), &long, &value(&[0; MAX_BYTES + 1]));
        assert_ne!(warm.get(&long), Some(value(&[0; MAX_BYTES + 1])));
    }
}
