//! Exclusive sections. Lock keys are hashed onto a fixed number of stripes and taken in the order of the
//! stripes, so no set of transactions can wait in a circle. Two keys may share a stripe, which only makes
//! one wait for the other; the time a section is held is that of its arithmetic, never that of a disk.
//!
//! The hash has no secret: lock ids are random or keyed hashes, so nobody can aim at a stripe, and the same keys
//! meet on the same stripes in every run, so that a simulated schedule can be run again.

use std::{
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    sync::Arc,
};

use smallvec::SmallVec;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::port::LockKey;

/// Enough that unrelated keys seldom meet: 4096 stripes at some 40 bytes each.
const STRIPES: usize = 4096;

pub(super) struct LockTable {
    stripes: Vec<Arc<Mutex<()>>>,
    hasher: BuildHasherDefault<DefaultHasher>,
}

/// As many as nearly every transaction takes, in place.
type Few<T> = SmallVec<[T; 4]>;

/// Locks that are held; dropping gives them back.
pub(super) struct Held(#[expect(dead_code, reason = "held for its drop")] Few<OwnedMutexGuard<()>>);

impl LockTable {
    pub(super) fn new() -> Self {
        Self {
            stripes: (0..STRIPES).map(|_| Arc::default()).collect(),
            hasher: BuildHasherDefault::default(),
        }
    }

    pub(super) async fn acquire(&self, locks: &[LockKey]) -> Held {
        let mut stripes: Few<usize> = locks
            .iter()
            .map(|lock| self.hasher.hash_one(lock) as usize % STRIPES)
            .collect();
        stripes.sort_unstable();
        stripes.dedup();
        let mut held = Few::new();
        for stripe in stripes.into_iter().filter_map(|at| self.stripes.get(at)) {
            held.push(match stripe.clone().try_lock_owned() {
                Ok(guard) => guard,
                Err(_) => stripe.clone().lock_owned().await,
            });
        }
        Held(held)
    }
}
