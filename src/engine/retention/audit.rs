//! Records leave the log by whole sealed ranges, oldest first: of each range those of the classes that are past their age,
//! or of the class that takes too much. Their leaves stay until nothing of the range and of all before it is left; then
//! the range goes, but for the hash over it and what its checkpoints need.
//!
//! A removal is three steps: its signed statement and its record are made durable; the records go, in bounded batches;
//! that it is done is noted. What a crash or a legal hold leaves over the next run goes on with.

use std::time::Duration;

use super::{super::credential::change, Engine};
use crate::{
    audit::{
        removal::{self, Front, Marks, RANGE, Removal, first_of},
        survey::{self, Blocks, Progress, Step, Survey, UnderWay},
    },
    domain::{
        error::{Error, Result},
        event::{EventName, Object},
        id::WorkspaceId,
        retention::{CLASSES, EventClass},
        time::Timestamp,
    },
    engine::{Note, Unit},
    store::{
        key,
        port::{Key, Scan},
    },
    tables::Tables,
};

/// Blocks read, or written, at a time: bounds a transaction in a commit group that grants share.
const BLOCKS_AT_ONCE: usize = 64;
/// Ranges looked at in one run, and removals made: 26,000 records a second, at a run every ten seconds.
const RANGES_PER_RUN: usize = 64;
/// Steps of one run, those included for which there is nothing to remove.
const STEPS_PER_RUN: usize = 10_000;
/// Sealed records behind a range before it may be removed: the sealer looks at the newest ones again at each start.
const LEFT_BEHIND: u64 = RANGE;
/// The longest rest between two batches.
const LONGEST_REST: Duration = Duration::from_millis(20);

impl Engine {
    /// Removes records that are past their retention; gives back how many.
    pub(super) async fn remove_records(&self) -> Result<u64> {
        let mut progress = survey::progress(&mut self.read(), &self.keyring).await?;
        let before: u64 = progress.removed.iter().sum();
        if !self.retention.audit.removes() && progress.under_way.is_none() {
            return Ok(0);
        }
        // Whoever verifies the log must not find it half removed.
        let Ok(_turn) = self.sealing.verifying.try_acquire() else {
            return Ok(0);
        };
        if !self.finish_removal(&mut progress).await? {
            return Ok(0);
        }
        self.survey_ranges(&mut progress).await?;
        let (mut steps, mut removals) = (0, 0);
        let mut noted = progress;
        while steps < STEPS_PER_RUN && removals < RANGES_PER_RUN {
            let (read, audit, now) = (&mut self.read(), &self.retention.audit, self.now());
            let Some(step) = progress.next(read, &self.keyring, audit, now).await? else {
                break;
            };
            steps += 1;
            let mut taken = progress;
            if !taken.take(&step) && step.records() == 0 {
                // Nothing is there of these classes, so nothing is removed.
                progress = taken;
                continue;
            }
            removals += 1;
            if !self.remove(&mut progress, &step).await? {
                return Ok(progress.removed.iter().sum::<u64>() - before);
            }
            noted = progress;
        }
        if noted != progress {
            let locks = [key::retention_lock()];
            let mut unit = self
                .begin_own("retention", WorkspaceId::SYSTEM, &locks)
                .await?;
            unit.note_progress(&progress)?;
            unit.commit_housekeeping().await?;
        }
        let removed = progress.removed.iter().sum::<u64>() - before;
        self.show(&progress).await?;
        Ok(removed)
    }

    async fn show(&self, progress: &Progress) -> Result<()> {
        for (class, kept) in EventClass::ALL.iter().zip(progress.bytes) {
            metrics::gauge!("leasehold_audit_surveyed_bytes", "class" => class.as_str())
                .set(kept as f64);
        }
        let (first, oldest) = self.oldest_record().await?;
        metrics::gauge!("leasehold_audit_first_sequence").set(first as f64);
        if let Some(oldest) = oldest {
            metrics::gauge!("leasehold_audit_oldest_record_timestamp_seconds")
                .set((oldest.as_millis() / 1000) as f64);
        }
        Ok(())
    }

    /// The number that the log begins with, and the time of the oldest record in its first blocks that is there.
    pub(super) async fn oldest_record(&self) -> Result<(u64, Option<Timestamp>)> {
        let key = self.keyring.audit_key().public_key();
        let front = removal::front(&mut self.read(), key).await?;
        let first = front.map_or(1, |front| front.first);
        let scan = Scan {
            limit: BLOCKS_AT_ONCE,
            ..key::audits(first)
        };
        for (at, block) in self.read().scan(&scan).await? {
            if let Some(time) = survey::oldest(&self.keyring, &at, &block)? {
                return Ok((first, Some(time)));
            }
        }
        Ok((first, None))
    }

    /// Looks at the ranges that were sealed since.
    async fn survey_ranges(&self, progress: &mut Progress) -> Result<()> {
        let sealed = self.sealed_size().await?;
        for _ in 0..RANGES_PER_RUN {
            let range = progress.surveyed;
            if (range + 1)
                .saturating_mul(RANGE)
                .saturating_add(LEFT_BEHIND)
                > sealed
            {
                return Ok(());
            }
            let mut survey = Survey {
                newest: Timestamp::from_millis(0),
                records: [0; CLASSES],
                bytes: [0; CLASSES],
            };
            let mut blocks = Blocks::of(&mut self.read(), range, BLOCKS_AT_ONCE).await?;
            loop {
                let some = blocks.next(&mut self.read()).await?;
                if some.is_empty() {
                    break;
                }
                survey::look(&self.keyring, range, &some, &mut survey)?;
                tokio::task::yield_now().await;
            }
            let mut after = *progress;
            after.surveyed += 1;
            for (all, bytes) in after.bytes.iter_mut().zip(survey.bytes) {
                *all += bytes;
            }
            let locks = [key::retention_lock()];
            let mut unit = self
                .begin_own("retention", WorkspaceId::SYSTEM, &locks)
                .await?;
            let tables = unit.tables.clone();
            tables.put_retention(&mut *unit.txn, key::survey(range), &survey)?;
            unit.note_progress(&after)?;
            unit.commit_housekeeping().await?;
            *progress = after;
        }
        Ok(())
    }

    /// Says that a step is taken, and takes it. False where a legal hold is in force.
    async fn remove(&self, progress: &mut Progress, step: &Step) -> Result<bool> {
        let mut after = *progress;
        let whole = after.take(step);
        let signer = self.keyring.audit_key();
        let public_key = signer.public_key();
        let newest = survey::newest_checkpoint(&mut self.read(), &self.keyring).await?;
        // INVARIANT (audit-tamper): only what a checkpoint is over is removed.
        let newest = newest
            .filter(|newest| newest.statement().size >= (step.range + 1).saturating_mul(RANGE))
            .ok_or_else(|| Error::internal("a range that is not sealed was to be removed"))?;
        let mut marks = Marks::default();
        if !whole {
            let known = removal::removal(&mut self.read(), public_key, step.range).await?;
            marks = known.map(|known| known.records).unwrap_or_default();
            let mut blocks = Blocks::of(&mut self.read(), step.range, BLOCKS_AT_ONCE).await?;
            loop {
                let some = blocks.next(&mut self.read()).await?;
                if some.is_empty() {
                    break;
                }
                survey::mark(&self.keyring, step, &some, &mut marks)?;
                tokio::task::yield_now().await;
            }
        }
        let locks = [key::retention_lock()];
        let mut unit = self
            .begin_own("retention", WorkspaceId::SYSTEM, &locks)
            .await?;
        if unit.is_held().await? {
            return Ok(false);
        }
        let (under, time) = (survey::under(&newest), unit.now);
        if whole {
            let first = first_of(step.range + 1);
            let front = Front { first, under, time };
            unit.txn.put(key::audit_front(), front.sign(signer)?)?;
            after.under_way = Some(UnderWay::Whole(step.range));
        } else {
            let removal = Removal {
                range: step.range,
                records: marks,
                under,
                time,
            };
            unit.txn
                .put(key::removed(step.range), removal.sign(signer)?)?;
            let tables = unit.tables.clone();
            tables.put_retention(&mut *unit.txn, key::survey(step.range), &step.left())?;
            after.under_way = Some(UnderWay::Some(step.range));
        }
        unit.note_progress(&after)?;
        unit.record(note(step, whole, &newest))?;
        unit.commit().await?;
        for (class, (now, then)) in EventClass::ALL
            .iter()
            .zip(after.removed.iter().zip(progress.removed))
        {
            metrics::counter!("leasehold_retention_records_removed_total", "class" => class.as_str())
                .increment(now - then);
        }
        *progress = after;
        self.finish_removal(progress).await
    }

    /// Removes what is said to be removed. False where a legal hold stops it.
    async fn finish_removal(&self, progress: &mut Progress) -> Result<bool> {
        let done = match progress.under_way {
            None => return Ok(true),
            Some(UnderWay::Some(range)) => self.remove_marked(range).await?,
            Some(UnderWay::Whole(range)) => self.remove_front(range).await?,
        };
        if !done {
            return Ok(false);
        }
        progress.under_way = None;
        let after = *progress;
        self.in_batch(async |unit| unit.note_progress(&after)).await
    }

    /// One transaction of a removal. False where a legal hold stops it.
    async fn in_batch(&self, work: impl AsyncFnOnce(&mut Unit<'_>) -> Result<()>) -> Result<bool> {
        let begun = self.now();
        let locks = [key::retention_lock()];
        let mut unit = self
            .begin_own("retention", WorkspaceId::SYSTEM, &locks)
            .await?;
        if unit.is_held().await? {
            return Ok(false);
        }
        work(&mut unit).await?;
        unit.commit_housekeeping().await?;
        // The processors and the disk belong to grants.
        let took: Duration = self.now().since(begun).into();
        tokio::time::sleep((took / 2).min(LONGEST_REST)).await;
        tokio::task::yield_now().await;
        Ok(true)
    }

    async fn remove_marked(&self, range: u64) -> Result<bool> {
        let public_key = self.keyring.audit_key().public_key();
        let removal = removal::removal(&mut self.read(), public_key, range).await?;
        let marks = removal.map(|removal| removal.records).unwrap_or_default();
        let mut blocks = Blocks::of(&mut self.read(), range, BLOCKS_AT_ONCE).await?;
        loop {
            let some = blocks.next(&mut self.read()).await?;
            if some.is_empty() {
                return Ok(true);
            }
            let mut writes = Vec::new();
            for (at, block) in some {
                if let Some(left) = survey::without(range, &at, &block, &marks)? {
                    writes.push((at, left));
                }
            }
            if writes.is_empty() {
                continue;
            }
            let write = async |unit: &mut Unit<'_>| {
                let mut writes = writes.into_iter();
                writes.try_for_each(|(at, left)| unit.txn.put(at, left))
            };
            if !self.in_batch(write).await? {
                return Ok(false);
            }
        }
    }

    /// Removes what is left of a range and of all before it.
    async fn remove_front(&self, range: u64) -> Result<bool> {
        let front = first_of(range + 1);
        let scan = Scan {
            end: key::audit(front),
            limit: BLOCKS_AT_ONCE,
            ..key::audits(0)
        };
        loop {
            let blocks = self.read().scan(&scan).await?;
            if blocks.is_empty() {
                break;
            }
            let work = async |unit: &mut Unit<'_>| {
                for (at, block) in blocks {
                    // The last one may reach beyond the range.
                    if let Some((left_at, left)) = survey::behind(front, &at, &block)? {
                        unit.txn.put(left_at, left)?;
                    }
                    unit.txn.delete(at);
                }
                Ok(())
            };
            if !self.in_batch(work).await? {
                return Ok(false);
            }
        }
        let spare = survey::spare_tiles(range, &self.checkpoint_sizes(range).await?);
        let work = async |unit: &mut Unit<'_>| {
            let known = [key::removed(range), key::survey(range)];
            let all = spare.into_iter().chain(known);
            all.for_each(|at: Key| unit.txn.delete(at));
            Ok(())
        };
        self.in_batch(work).await
    }

    /// The sizes of the checkpoints that end in a range.
    async fn checkpoint_sizes(&self, range: u64) -> Result<Vec<u64>> {
        let mut scan = Scan {
            end: key::checkpoint((range + 1) * RANGE),
            ..key::checkpoints(range * RANGE + 1)
        };
        let mut sizes = Vec::new();
        loop {
            let page = self.read().scan(&scan).await?;
            let Some((last, _)) = page.last() else {
                return Ok(sizes);
            };
            scan = scan.after(last);
            let found = page.iter().filter_map(|(at, _)| key::parse_checkpoint(at));
            sizes.extend(found);
        }
    }
}

impl Unit<'_> {
    fn note_progress(&mut self, progress: &Progress) -> Result<()> {
        let tables: Tables = self.tables.clone();
        tables.put_retention(&mut *self.txn, key::audit_retention(), progress)
    }
}

/// What history tells of a removal.
fn note(step: &Step, whole: bool, under: &crate::audit::checkpoint::Checkpoint) -> Note {
    let fact = |field: &str, what: String| change(field, Some(what), None);
    let (first, last) = (first_of(step.range), first_of(step.range + 1) - 1);
    let root: String = under
        .statement()
        .root
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let what = if whole {
        "nothing but the hash over them is left"
    } else {
        "their leaves are left"
    };
    Note {
        reason: Some(format!("past their retention; {what}")),
        changes: vec![
            fact("range", format!("{first} to {last}")),
            fact("classes", step.classes().join(", ")),
            fact("records", step.records().to_string()),
            change(
                "checkpoint",
                None,
                Some(format!("{} {root}", under.statement().size)),
            ),
        ],
        ..Note::new(EventName::AuditRemoved, Object::default())
    }
}
