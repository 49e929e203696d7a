//! sled's tree: where the groups of the journal end up.
//!
//! - `flush()` writes without fsync on Linux, so a sync is a flush and then `fdatasync` on sled's one log file.
//! - Values over one page would spill to files that are never synced: bulky ones are split into chunks.
//! - sled may panic on a damaged folder: every call is caught and told as an error.

use std::{
    fs::File,
    ops::Bound,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{PoisonError, RwLock, RwLockReadGuard},
};

use super::{chunks, packs};
use crate::{
    domain::error::{Error, Result},
    store::{
        overlay::{Change, WriteSet, bounds},
        port::{CLUSTERED, Key, Scan, Value, Visitor, is_bulky, is_clustered},
    },
};

/// The key of the last group that is in the tree. The port's own keys never begin with this byte.
const GROUP_KEY: &[u8] = &[0x7d];
/// First bytes of the adapter's own keys, which no scan shows: the group's number, and chunks.
const OWN_KEYS: [u8; 2] = [0x7d, chunks::CHUNK_SPACE];
/// Bytes of sled's log after which a checkpoint syncs it. sled writes a segment of 512 KiB over once what was in it
/// is written further on: with more than a segment between two syncs, a power cut may keep the one and lose the
/// other, and sled cannot open the rest.
const UNSYNCED_BYTES: usize = 384 << 10;
/// sled splits a leaf at its 17th key: 9 stay in the left half. Keys in a row, which new leases, their index and
/// history are, would so leave every leaf but the last half empty.
const LEAF_KEYS: usize = 16;
const LEFT_KEYS: usize = 9;
/// Changes between two pauses.
pub(super) const BATCH: usize = 64;

pub(super) struct Tree {
    db: sled::Db,
    log_file: File,
    /// Held alone while several pieces go in: sled's own lock covers one, and nothing may be read half old and half
    /// new. Never held over a sync.
    pieces: RwLock<()>,
    #[cfg(test)]
    pub(super) syncs: std::sync::atomic::AtomicUsize,
}

impl Tree {
    pub(super) fn new(db: sled::Db, log_file: File) -> Self {
        Self {
            db,
            log_file,
            pieces: RwLock::new(()),
            #[cfg(test)]
            syncs: Default::default(),
        }
    }

    #[cfg(test)]
    pub(super) fn db(&self) -> &sled::Db {
        &self.db
    }

    /// The number of the last group that is in the tree.
    pub(super) fn group(&self) -> Result<u64> {
        let stored = guarded(|| self.db.get(GROUP_KEY).map_err(broken))?;
        stored.map_or(Ok(0), |number| {
            let number = (*number)
                .try_into()
                .map_err(|_| Error::storage("the store's group number is damaged"))?;
            Ok(u64::from_be_bytes(number))
        })
    }

    /// Whether it holds nothing but its own keys.
    pub(super) fn is_empty(&self) -> bool {
        // A store that cannot even be read is not a new one.
        guarded(|| {
            let mut keys = self.db.iter().keys();
            Ok(!keys.any(|key| key.is_ok_and(|key| key != GROUP_KEY)))
        })
        .unwrap_or(false)
    }

    fn between_pieces(&self) -> RwLockReadGuard<'_, ()> {
        self.pieces.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Value>> {
        guarded(|| {
            if is_clustered(key) {
                // A pack that grew too long goes in piece by piece.
                let _between = self.between_pieces();
                return packs::get(&self.db, key);
            }
            let Some(stored) = self.db.get(key).map_err(broken)? else {
                return Ok(None);
            };
            if !is_bulky(key) {
                return Ok(Some(Value::from(&*stored)));
            }
            if let Some(whole) = chunks::whole(&stored)? {
                return Ok(Some(whole));
            }
            // Its pieces must be of one value, so the head is read again where no change can come between.
            let _between = self.between_pieces();
            let Some(stored) = self.db.get(key).map_err(broken)? else {
                return Ok(None);
            };
            chunks::join(&self.db, key, &stored).map(Some)
        })
    }

    pub(super) fn scan(&self, scan: &Scan, limit: usize) -> Result<Vec<(Key, Value)>> {
        let _between = self.between_pieces();
        guarded(|| {
            let (start, end) = bounds(scan);
            // The first keys may be in a pack that begins before them.
            let first = match is_clustered(&scan.start) {
                true => packs::begin(&self.db, &scan.start)?,
                false => None,
            };
            let start = first.as_deref().map_or(start, Bound::Included);
            let mut range = self.db.range::<&[u8], _>((start, end)).peekable();
            let mut pairs = Vec::new();
            // The key behind the one at hand.
            let mut next: Option<sled::IVec> = None;
            while pairs.len() < limit {
                let Some(found) = (match scan.reverse {
                    true => range.next_back(),
                    false => range.next(),
                }) else {
                    break;
                };
                // An iterator over a damaged page never ends: the first error stops it.
                let (key, stored) = found.map_err(broken)?;
                if !scan.reverse {
                    next = following(&mut range)?;
                }
                if is_clustered(&key) {
                    let mut some = packs::read(&key, &stored, next.as_deref())?;
                    some.retain(|(key, _)| *key >= scan.start && *key < scan.end);
                    if scan.reverse {
                        some.reverse();
                    }
                    let owned = some.into_iter();
                    pairs.extend(owned.map(|(key, value)| (key, Value::from(value))));
                } else if !is_own(&key) {
                    let value = self.whole(&key, &stored)?;
                    pairs.push((Key::from_slice(&key), value));
                }
                if scan.reverse {
                    next = Some(key);
                }
            }
            pairs.truncate(limit);
            Ok(pairs)
        })
    }

    /// The value that `stored` is, or begins.
    fn whole(&self, key: &[u8], stored: &[u8]) -> Result<Value> {
        match is_bulky(key) {
            true => chunks::join(&self.db, key, stored),
            false => Ok(Value::from(stored)),
        }
    }

    /// Visits every pair. Nothing may be written meanwhile.
    pub(super) fn visit(&self, visit: &mut Visitor<'_>) -> Result<()> {
        guarded(|| {
            let mut range = self.db.iter().peekable();
            while let Some(found) = range.next() {
                let (key, stored) = found.map_err(broken)?;
                if is_clustered(&key) {
                    let next = following(&mut range)?;
                    for (key, value) in packs::read(&key, &stored, next.as_deref())? {
                        visit(&key, value)?;
                    }
                } else if !is_own(&key) {
                    visit(&key, &self.whole(&key, &stored)?)?;
                }
            }
            Ok(())
        })
    }

    /// Writes changes, and last that everything up to `group` is in the tree. Cut short, it is done again from
    /// the journal: the result is the same however much of it was written. `pause` is called between batches.
    /// Before it is called again, [`Self::sync`] must be.
    pub(super) fn apply(&self, changes: &WriteSet, group: u64, pause: impl Fn()) -> Result<()> {
        let mut unsynced = 0;
        let mut room = |bytes| {
            unsynced += bytes;
            if unsynced > UNSYNCED_BYTES {
                self.sync()?;
                unsynced = bytes;
            }
            Ok::<(), Error>(())
        };
        let clustered = changes.range::<[u8], _>((
            Bound::Included(&[CLUSTERED.start][..]),
            Bound::Excluded(&[CLUSTERED.end][..]),
        ));
        let clustered: Vec<_> = clustered.collect();
        let mut rest = clustered.as_slice();
        let mut made = 0;
        while !rest.is_empty() {
            let step = guarded(|| packs::step(&self.db, rest))?;
            let written = step.packs.iter();
            room(
                written
                    .map(|(key, value)| log_bytes(key, value.len()))
                    .sum::<usize>()
                    + log_bytes(&[], 0),
            )?;
            rest = rest.get(step.changes..).unwrap_or_default();
            made += step.changes;
            guarded(|| self.set_packs(step))?;
            while made >= BATCH {
                pause();
                made -= BATCH;
            }
        }
        for (at, (key, change)) in in_filling_order(changes).enumerate() {
            room(log_bytes(
                key,
                change.as_ref().map_or(0, |value| value.len()),
            ))?;
            guarded(|| self.set(key, change))?;
            if at % BATCH == BATCH - 1 {
                pause();
            }
        }
        guarded(|| {
            let stored = self.db.insert(GROUP_KEY, &group.to_be_bytes());
            stored.map(drop).map_err(broken)
        })
    }

    fn set(&self, key: &Key, change: &Change) -> Result<()> {
        if is_bulky(key) {
            let _alone = self.pieces.write().unwrap_or_else(PoisonError::into_inner);
            return chunks::put(&self.db, key, change.as_deref());
        }
        match change {
            Some(value) => self.db.insert(key, &**value),
            None => self.db.remove(key),
        }
        .map(drop)
        .map_err(broken)
    }

    fn set_packs(&self, step: packs::Step) -> Result<()> {
        let _alone = self.pieces.write().unwrap_or_else(PoisonError::into_inner);
        for (key, pack) in step.packs {
            self.db.insert(key, pack).map_err(broken)?;
        }
        if let Some(key) = step.gone {
            self.db.remove(key).map_err(broken)?;
        }
        Ok(())
    }

    pub(super) fn sync(&self) -> Result<()> {
        #[cfg(test)]
        self.syncs
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        guarded(|| self.db.flush().map(drop).map_err(broken))?;
        self.log_file
            .sync_data()
            .map_err(|error| Error::storage("the disk failed to sync").caused_by(error))
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        // sled syncs once more when it is dropped, and panics where that fails: it is then kept to the end of the
        // process, which has nothing left to lose.
        if self.sync().is_err() {
            std::mem::forget(self.db.clone());
        }
    }
}

/// Of every leaf's worth of keys, those in packs aside, first those that make sled split its leaves where they shall end, and then those that
/// fill them: a little over half of the splits, and three quarters of what sled writes.
fn in_filling_order(changes: &WriteSet) -> impl Iterator<Item = (&Key, &Change)> {
    let part = |first: bool| {
        let single = changes.iter().filter(|(key, _)| !is_clustered(key));
        let numbered = single.enumerate();
        let wanted = move |(at, _): &(usize, _)| (at % LEAF_KEYS < LEFT_KEYS) == first;
        numbered.filter(wanted).map(|(_, change)| change)
    };
    part(true).chain(part(false))
}

fn is_own(key: &[u8]) -> bool {
    key.first().is_some_and(|kind| OWN_KEYS.contains(kind))
}

/// The key that comes next, which stays where it is.
fn following(range: &mut std::iter::Peekable<sled::Iter>) -> Result<Option<sled::IVec>> {
    if let Some(Err(error)) = range.next_if(Result::is_err) {
        return Err(broken(error));
    }
    Ok(range
        .peek()
        .and_then(|next| next.as_ref().ok())
        .map(|(key, _)| key.clone()))
}

/// What a change costs in sled's log, rather too much: measured, it is up to some three and a half times the change,
/// since pages are written anew and split.
fn log_bytes(key: &[u8], value: usize) -> usize {
    256 + 4 * (key.len() + value)
}

pub(super) fn broken(error: sled::Error) -> Error {
    Error::storage("the storage engine failed").caused_by(error)
}

/// sled panics where its log is damaged underneath it; a call must then fail and not take the task down.
fn guarded<T>(call: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| {
        Err(Error::storage(
            "the storage engine gave up on a damaged page",
        ))
    })
}
