//! Groups on their way from the journal to the tree.

use std::{
    sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use super::{
    journal::{self, Journal},
    mark::Mark,
    pending::Pending,
    tree::{BATCH, Tree},
    warm::Warm,
};
use crate::{
    domain::error::{Error, Result},
    store::{
        committer::Chain,
        overlay::WriteSet,
        port::{Key, MAX_SCAN, Scan, Value, Visitor},
    },
};

/// How long a group stays in the journal alone. The longer, the more of what is written over meanwhile never
/// reaches the tree; the shorter, the less is read again after a kill.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);
/// Bytes of journal that bring a checkpoint forward.
const CHECKPOINT_BYTES: u64 = 8 << 20;
/// Bytes of journal in one turn that tell of a busy vault, whose segments are lengthened beforehand.
const LENGTHEN_FROM: u64 = 512 << 10;
/// The longest that one is lengthened to beforehand.
const LENGTHEN_TO: u64 = 64 << 20;
/// By what part of itself a turn's need fades in the next: within two minutes to a quarter, at a turn a second.
const FADES_BY: u64 = 64;
/// Over how long a checkpoint spreads its batches, so that commits hardly notice it.
const SPREAD: Duration = Duration::from_millis(700);
/// The longest pause between two batches.
const MAX_PAUSE: Duration = Duration::from_millis(5);

/// Bytes of journal at which commits wait: they bound memory, disk and the time of a start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// While a checkpoint is under way, unless it carries over more than this itself: then as much again.
    pub(super) checkpoint: u64,
    /// While a snapshot is read, in which no checkpoint can be made. What waits for one is in memory, so that the two
    /// segments and what they stand for are bounded by twice this. The disk's reserve ends writing before the disk is
    /// full, whatever is in the journal.
    pub(super) snapshot: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            checkpoint: 64 << 20,
            snapshot: 256 << 20,
        }
    }
}

/// The journal, the tree, and what is in the one and not yet in the other.
pub(super) struct Core {
    pub(super) tree: Tree,
    pub(super) pending: Pending,
    warm: Warm,
    pub(super) mark: Mark,
    writing: Mutex<Writing>,
    /// Told when there is something for a checkpoint, when one is over, and at the end.
    changed: Condvar,
    /// Held over a checkpoint, and by whoever needs the tree to stand still.
    gate: Mutex<()>,
    limits: Limits,
    /// Why a checkpoint failed.
    failure: OnceLock<String>,
}

struct Writing {
    journal: Journal,
    /// When the oldest group came that no checkpoint has begun to carry over.
    oldest: Option<Instant>,
    /// A checkpoint or a snapshot is.
    under_way: bool,
    /// Bytes of journal at which commits wait for it.
    limit: u64,
    /// Bytes of journal that a turn took of late, which fades within minutes.
    needed: u64,
    failed: bool,
    ended: bool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Core {
    pub(super) fn new(tree: Tree, journal: Journal, mark: Mark) -> Self {
        let limits = Limits::default();
        Self {
            tree,
            pending: Pending::default(),
            warm: Warm::default(),
            mark,
            writing: Mutex::new(Writing {
                journal,
                oldest: None,
                under_way: false,
                limit: limits.checkpoint,
                needed: 0,
                failed: false,
                ended: false,
            }),
            changed: Condvar::new(),
            gate: Mutex::new(()),
            limits,
            failure: OnceLock::new(),
        }
    }

    /// Why nothing more is taken, where a checkpoint failed. Never waits.
    pub(super) fn failure(&self) -> Option<String> {
        self.failure.get().cloned()
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Value>> {
        let begun = self.warm.begin();
        // Pending first: what it has released by then, the tree holds.
        if let Some(change) = self.pending.get(key) {
            return Ok(change);
        }
        if let Some(value) = self.warm.get(key) {
            return Ok(Some(value));
        }
        let found = self.tree.get(key)?;
        if let Some(value) = &found {
            self.warm.keep(begun, key, value);
        }
        Ok(found)
    }

    /// Up to `limit` pairs, each page of them as of one moment.
    pub(super) fn scan(&self, scan: &Scan, limit: usize) -> Result<Vec<(Key, Value)>> {
        let mut found = Vec::new();
        let mut rest = scan.clone();
        let mut size = limit;
        while rest.start < rest.end && found.len() < limit {
            let page = self.pending.page(&rest, size);
            let pairs = self.tree.scan(&rest, size)?;
            // A checkpoint that began in between may have put newer changes into the tree than the page has.
            if page.freezes != self.pending.freezes() {
                continue;
            }
            let past_pairs = (pairs.len() >= size).then(|| pairs.last()).flatten();
            let past_page = (!page.complete).then(|| page.changes.last()).flatten();
            let ends = [
                past_pairs.map(|(key, _)| key.clone()),
                past_page.map(|(key, _)| key.clone()),
            ];
            let ends = ends.into_iter().flatten();
            let end = if scan.reverse { ends.max() } else { ends.min() };
            let before_end = |key: &Key| match &end {
                None => true,
                Some(end) if scan.reverse => key >= end,
                Some(end) => key <= end,
            };
            let mut merged: std::collections::BTreeMap<Key, Value> = pairs
                .into_iter()
                .filter(|(key, _)| before_end(key))
                .collect();
            for (key, change) in page.changes {
                if !before_end(&key) {
                    continue;
                }
                match change {
                    Some(value) => drop(merged.insert(key, value)),
                    None => drop(merged.remove(&key)),
                }
            }
            if scan.reverse {
                found.extend(merged.into_iter().rev().take(limit - found.len()));
            } else {
                found.extend(merged.into_iter().take(limit - found.len()));
            }
            // Many removals that wait would otherwise cost a round each.
            size = size.saturating_mul(2).min(MAX_SCAN.max(limit));
            match end {
                Some(end) => rest = rest.after(&end),
                None => break,
            }
        }
        Ok(found)
    }

    /// Puts a group in the journal. Durable after the next [`Self::sync`].
    pub(super) fn append(&self, changes: &WriteSet) -> Result<()> {
        if changes.is_empty() {
            // It would give the checkpointer work that no checkpoint does.
            return Ok(());
        }
        let mut writing = locked(&self.writing);
        while writing.journal.length() > writing.limit && writing.under_way && !writing.failed {
            writing = self
                .changed
                .wait(writing)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if writing.failed {
            return Err(Error::storage("a checkpoint failed before"));
        }
        writing.journal.append(changes).map_err(journal::broken)?;
        self.pending.lay(changes);
        if writing.oldest.is_none() {
            writing.oldest = Some(Instant::now());
            self.changed.notify_all();
        } else if writing.journal.length() > CHECKPOINT_BYTES && !writing.under_way {
            self.changed.notify_all();
        }
        Ok(())
    }

    /// Makes the groups in the journal durable.
    pub(super) fn sync(&self) -> Result<()> {
        // A group that is appended meanwhile may be on disk by then, but is not claimed to be.
        let (file, last) = {
            let writing = locked(&self.writing);
            let file = writing.journal.active().clone();
            (file, writing.journal.last())
        };
        file.sync_data()
            .map_err(|error| Error::storage("the disk failed to sync").caused_by(error))?;
        // The system tells of a write that failed once: a checkpoint's sync may have been the one it told.
        if locked(&self.writing).failed {
            return Err(Error::storage("a checkpoint failed before"));
        }
        self.mark.acknowledge(last)
    }

    /// Carries over everything that is in the journal.
    pub(super) fn checkpoint(&self) -> Result<()> {
        let _alone = locked(&self.gate);
        self.carry_over()
    }

    /// Carries over everything, and marks that nothing of it is in memory alone. Nothing is written afterwards.
    pub(super) fn close(&self) -> Result<()> {
        self.checkpoint()?;
        let last = locked(&self.writing).journal.last();
        self.mark.close(last)
    }

    /// Visits every pair as of one group: the tree stands still meanwhile, and new groups are in the journal.
    pub(super) fn snapshot(&self, visit: &mut Visitor<'_>) -> Result<()> {
        let _alone = locked(&self.gate);
        self.carry_over()?;
        {
            let mut writing = locked(&self.writing);
            writing.under_way = true;
            writing.limit = self.limits.snapshot;
        }
        let visited = self.tree.visit(visit);
        locked(&self.writing).under_way = false;
        self.changed.notify_all();
        visited
    }

    fn carry_over(&self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let (idle, length, needed) = {
            let mut writing = locked(&self.writing);
            if writing.failed {
                // The segment that is not in use may be the only place where its groups are.
                return Err(Error::storage("the store failed before"));
            }
            let length = writing.journal.length();
            writing.needed = length.max(writing.needed - writing.needed / FADES_BY);
            (writing.journal.idle().clone(), length, writing.needed)
        };
        let longer = match length > LENGTHEN_FROM {
            true => journal::lengthen(&idle, (length * 2).min(LENGTHEN_TO)),
            false => Ok(()),
        };
        // A busy vault too: a backup may have made a segment far longer than ever again. What was lengthened just now
        // is short enough.
        let fitted = longer.and_then(|()| journal::shorten(&idle, needed));
        if let Err(error) = fitted {
            // It only makes syncs faster; a disk without room refuses the next write by itself.
            tracing::debug!(%error, "the journal's length cannot be changed");
        }
        let begin = || {
            let mut writing = locked(&self.writing);
            let file = writing.journal.active().clone();
            if let Err(error) = file.sync_data() {
                // Before the lock is given back: no sync that ends after this one may take its own for proof.
                writing.failed = true;
                return Err(Error::storage("the disk failed to sync").caused_by(error));
            }
            let last = writing.journal.last();
            // The rest of a snapshot must not hold commits up after it.
            writing.limit = self.limits.checkpoint.max(writing.journal.length());
            writing.journal.switch();
            writing.oldest = None;
            writing.under_way = true;
            Ok((self.pending.freeze(), last))
        };
        let begun = Instant::now();
        let outcome = begin().and_then(|(frozen, last)| {
            // From here on they hide the tree, which is about to change.
            self.warm.cool(frozen.keys());
            let batches = u32::try_from(frozen.len() / BATCH + 1).unwrap_or(u32::MAX);
            let pause = (SPREAD / batches).min(MAX_PAUSE);
            self.tree.apply(&frozen, last, || {
                if !self.in_a_hurry() {
                    std::thread::sleep(pause);
                }
            })?;
            self.tree.sync()?;
            metrics::histogram!("leasehold_checkpoint_keys").record(frozen.len() as f64);
            Ok(())
        });
        metrics::histogram!("leasehold_checkpoint_seconds").record(begun.elapsed().as_secs_f64());
        match &outcome {
            Ok(()) => self.pending.release(),
            // A later one only says that there was an earlier one.
            Err(error) => drop(self.failure.set(Chain(error).to_string())),
        }
        let mut writing = locked(&self.writing);
        writing.under_way = false;
        // What is frozen stays in front of the tree, and its segment is not written over.
        writing.failed |= outcome.is_err();
        self.changed.notify_all();
        outcome
    }

    /// Whether the journal grows faster than it is carried over, or everybody waits for the end.
    fn in_a_hurry(&self) -> bool {
        let writing = locked(&self.writing);
        writing.ended || writing.journal.length() > CHECKPOINT_BYTES * 2
    }

    /// Makes checkpoints until [`Self::end`].
    pub(super) fn run(&self) {
        while self.wait_for_work() {
            if let Err(error) = self.checkpoint() {
                let reason = Chain(&error).to_string();
                tracing::error!(
                    reason,
                    "a checkpoint failed; the store takes no more until a restart"
                );
                return;
            }
        }
    }

    /// Waits until a checkpoint is due; false at the end.
    fn wait_for_work(&self) -> bool {
        let mut writing = locked(&self.writing);
        loop {
            if writing.ended || writing.failed {
                return false;
            }
            let left = match writing.oldest {
                None => None,
                Some(_) if writing.journal.length() > CHECKPOINT_BYTES => return true,
                Some(oldest) => match CHECKPOINT_EVERY.checked_sub(oldest.elapsed()) {
                    None | Some(Duration::ZERO) => return true,
                    left => left,
                },
            };
            writing = match left {
                None => self
                    .changed
                    .wait(writing)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    self.changed
                        .wait_timeout(writing, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
            };
        }
    }

    /// Other limits than the default ones.
    #[cfg(test)]
    pub(super) fn limit(&mut self, limits: Limits) {
        self.limits = limits;
        locked(&self.writing).limit = limits.checkpoint;
    }

    /// Puts another file in the place of the segment that takes new groups.
    #[cfg(test)]
    pub(super) fn replace_active(
        &self,
        file: std::sync::Arc<std::fs::File>,
    ) -> std::sync::Arc<std::fs::File> {
        locked(&self.writing).journal.replace_active(file)
    }

    /// As at the beginning of a checkpoint, which the caller makes.
    #[cfg(test)]
    pub(super) fn freeze(&self) -> std::sync::Arc<WriteSet> {
        let frozen = self.pending.freeze();
        self.warm.cool(frozen.keys());
        frozen
    }

    /// As at the beginning of a checkpoint that goes no further.
    #[cfg(test)]
    pub(super) fn switch_segments(&self) {
        locked(&self.writing).journal.switch();
    }

    /// Lets [`Self::run`] return.
    pub(super) fn end(&self) {
        locked(&self.writing).ended = true;
        self.changed.notify_all();
    }
}
