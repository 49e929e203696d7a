//! What the ranges of the sealed log hold, by class of event: read once, so that retention can decide without opening a
//! record, and then remove what is past its age.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    block::{self, Builder, Entry},
    checkpoint::Checkpoint,
    merkle::Hash,
    proof,
    removal::{Marks, RANGE, first_of, range_of},
};
use crate::{
    crypto::keyring::Keyring,
    domain::{
        error::{Error, Result},
        event::AuditRecord,
        id::WorkspaceId,
        retention::{AuditRetention, CLASSES, EventClass},
        time::Timestamp,
    },
    store::{
        codec, key,
        port::{Key, MAX_INLINE_BYTES, Scan, Value},
    },
    tables::{Read, Tables},
};

/// What is there of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survey {
    /// The time of the newest record that was ever in it.
    pub newest: Timestamp,
    /// Records that are there, by class.
    pub records: [u32; CLASSES],
    /// What they take, in bytes.
    pub bytes: [u64; CLASSES],
}

/// How far retention has come with the log. All numbers of ranges count from 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The first range that was not looked at.
    pub surveyed: u64,
    /// For each class, the first range that has records of it, or may have.
    pub upto: [u64; CLASSES],
    /// What the records that were looked at and are there take, by class, in bytes.
    pub bytes: [u64; CLASSES],
    /// Records that were removed, by class.
    pub removed: [u64; CLASSES],
    /// What was said to be removed and may still be there in part.
    pub under_way: Option<UnderWay>,
}

/// A removal whose statement is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum UnderWay {
    /// Some records of the range.
    Some(u64),
    /// The range as a whole.
    Whole(u64),
}

/// What to remove next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    pub range: u64,
    pub classes: [bool; CLASSES],
    pub survey: Survey,
}

impl Progress {
    /// The first range of which anything is left.
    pub fn front(&self) -> u64 {
        self.upto.into_iter().min().unwrap_or(0)
    }

    /// What to remove next, if anything: from the oldest range that has records of a class which are past its age, or of
    /// a class that takes too much.
    pub async fn next(
        &self,
        read: &mut impl Read,
        keyring: &Arc<Keyring>,
        retention: &AuditRetention,
        now: Timestamp,
    ) -> Result<Option<Step>> {
        let mut next: Option<Step> = None;
        for class in EventClass::ALL {
            let range = self.upto.get(class as usize).copied().unwrap_or(u64::MAX);
            if range >= self.surveyed || next.as_ref().is_some_and(|next| next.range < range) {
                continue;
            }
            let survey = of(read, keyring, range).await?;
            let survey = survey.ok_or_else(|| Error::internal("a range has no survey"))?;
            let none = survey.records.get(class as usize).is_none_or(|n| *n == 0);
            if !none
                && !retention.past(class, survey.newest, now)
                && !retention.is_over(class, &self.bytes)
            {
                continue;
            }
            let step = match next {
                Some(step) if step.range == range => step,
                _ => Step {
                    range,
                    classes: [false; CLASSES],
                    survey,
                },
            };
            let mut step = step;
            if let Some(chosen) = step.classes.get_mut(class as usize) {
                *chosen = true;
            }
            next = Some(step);
        }
        Ok(next)
    }

    /// Notes that a step is taken; gives back whether nothing of its range is left then.
    pub fn take(&mut self, step: &Step) -> bool {
        for class in EventClass::ALL.map(|class| class as usize) {
            if step.classes.get(class) != Some(&true) {
                continue;
            }
            let count = |of: &[u32; CLASSES]| u64::from(of.get(class).copied().unwrap_or(0));
            let bytes = step.survey.bytes.get(class).copied().unwrap_or(0);
            if let (Some(upto), Some(kept), Some(removed)) = (
                self.upto.get_mut(class),
                self.bytes.get_mut(class),
                self.removed.get_mut(class),
            ) {
                *upto = step.range + 1;
                *kept = kept.saturating_sub(bytes);
                *removed += count(&step.survey.records);
            }
        }
        self.front() > step.range
    }
}

impl Step {
    /// Records that it removes.
    pub fn records(&self) -> u64 {
        let pairs = self.survey.records.iter().zip(self.classes);
        pairs
            .filter(|(_, chosen)| *chosen)
            .map(|(records, _)| u64::from(*records))
            .sum()
    }

    /// The classes that it removes records of, by their spelling.
    pub fn classes(&self) -> Vec<&'static str> {
        let removes = |class: &EventClass| {
            let at = *class as usize;
            self.classes.get(at) == Some(&true)
                && self.survey.records.get(at).is_some_and(|count| *count > 0)
        };
        let classes = EventClass::ALL.into_iter().filter(removes);
        classes.map(EventClass::as_str).collect()
    }

    /// What is left of the range behind it.
    pub fn left(&self) -> Survey {
        let mut left = self.survey;
        let each = left.records.iter_mut().zip(left.bytes.iter_mut());
        for ((records, bytes), chosen) in each.zip(self.classes) {
            if chosen {
                (*records, *bytes) = (0, 0);
            }
        }
        left
    }
}

fn system(keyring: &Arc<Keyring>) -> Result<Tables> {
    Tables::of(keyring, WorkspaceId::SYSTEM)
}

/// The survey of a range.
pub async fn of(
    read: &mut impl Read,
    keyring: &Arc<Keyring>,
    range: u64,
) -> Result<Option<Survey>> {
    system(keyring)?.retention(read, &key::survey(range)).await
}

/// How far retention has come.
pub async fn progress(read: &mut impl Read, keyring: &Arc<Keyring>) -> Result<Progress> {
    let found = system(keyring)?
        .retention(read, &key::audit_retention())
        .await?;
    Ok(found.unwrap_or_default())
}

/// The newest checkpoint.
pub async fn newest_checkpoint(
    read: &mut impl Read,
    keyring: &Keyring,
) -> Result<Option<Checkpoint>> {
    let newest = proof::newest(read, keyring.audit_key().public_key()).await?;
    Ok(newest.map(|newest| newest.checkpoint))
}

/// The class and the time of a record. Nothing can be told of one whose workspace was shredded, or that is damaged: it is
/// kept as long as a change.
fn class_of(
    keyring: &Keyring,
    sequence: u64,
    entry: &Entry<'_>,
) -> (EventClass, Option<Timestamp>) {
    let read = || -> Result<AuditRecord> {
        let encoded = keyring
            .workspace(entry.workspace)?
            .open_audit(sequence, entry.sealed)?;
        codec::decode(&encoded).map_err(Error::internal)
    };
    match read() {
        Ok(record) => (EventClass::of(&record), Some(record.time)),
        Err(_) => (EventClass::Admin, None),
    }
}

/// The blocks that hold records of a range, page by page.
pub struct Blocks {
    scan: Option<Scan>,
}

impl Blocks {
    /// From the block that holds the first record of the range.
    pub async fn of(read: &mut impl Read, range: u64, at_once: usize) -> Result<Self> {
        let (first, behind) = (first_of(range), first_of(range + 1));
        let mut scan = Scan {
            start: key::audit(first),
            end: key::audit(behind),
            limit: at_once,
            reverse: false,
        };
        let holds = Scan {
            end: key::audit(first + 1),
            reverse: true,
            limit: 1,
            ..key::audits(0)
        };
        if let Some((at, _)) = read.range(&holds).await?.pop() {
            scan.start = at;
        }
        Ok(Self { scan: Some(scan) })
    }

    /// The next blocks; none behind the last ones.
    pub async fn next(&mut self, read: &mut impl Read) -> Result<Vec<(Key, Value)>> {
        let Some(scan) = self.scan.take() else {
            return Ok(Vec::new());
        };
        let page = read.range(&scan).await?;
        self.scan = page.last().map(|(last, _)| scan.after(last));
        Ok(page)
    }
}

fn first_record(at: &[u8]) -> Result<u64> {
    key::parse_audit(at).ok_or_else(|| Error::internal("malformed audit key"))
}

/// The survey of a range that was not looked at, so far as these blocks hold it.
pub fn look(
    keyring: &Keyring,
    range: u64,
    blocks: &[(Key, Value)],
    survey: &mut Survey,
) -> Result<()> {
    for (at, block) in blocks {
        for (sequence, entry) in (first_record(at)?..).zip(block::entries(block)?) {
            if range_of(sequence) != range || entry.is_removed() {
                continue;
            }
            let (class, time) = class_of(keyring, sequence, &entry);
            survey.newest = survey.newest.max(time.unwrap_or(survey.newest));
            if let (Some(records), Some(bytes)) = (
                survey.records.get_mut(class as usize),
                survey.bytes.get_mut(class as usize),
            ) {
                *records += 1;
                *bytes += entry.sealed.len() as u64;
            }
        }
    }
    Ok(())
}

/// Marks the records of a step's classes that these blocks hold.
pub fn mark(
    keyring: &Keyring,
    step: &Step,
    blocks: &[(Key, Value)],
    marks: &mut Marks,
) -> Result<()> {
    for (at, block) in blocks {
        for (sequence, entry) in (first_record(at)?..).zip(block::entries(block)?) {
            if range_of(sequence) != step.range || entry.is_removed() {
                continue;
            }
            let (class, _) = class_of(keyring, sequence, &entry);
            if step.classes.get(class as usize) == Some(&true) {
                marks.mark(sequence);
            }
        }
    }
    Ok(())
}

/// A block without the records of this range that are marked; none where it has none of them any more.
pub fn without(range: u64, at: &[u8], block: &[u8], marks: &Marks) -> Result<Option<Vec<u8>>> {
    let first = first_record(at)?;
    let mut left = Builder::new(MAX_INLINE_BYTES.min(block.len()));
    let mut changed = false;
    for (sequence, entry) in (first..).zip(block::entries(block)?) {
        if !entry.is_removed() && range_of(sequence) == range && marks.has(sequence) {
            left.push_removed(&entry.leaf(sequence));
            changed = true;
        } else {
            left.push_entry(sequence, &entry)?;
        }
    }
    Ok(changed.then(|| left.finish()))
}

/// What is left of a block in a log that begins with this record: none where nothing is, else a block and its key.
pub fn behind(front: u64, at: &[u8], block: &[u8]) -> Result<Option<(Key, Vec<u8>)>> {
    let first = first_record(at)?;
    let mut left = Builder::new(MAX_INLINE_BYTES.min(block.len()));
    for (sequence, entry) in (first..).zip(block::entries(block)?) {
        if sequence >= front {
            left.push_entry(sequence, &entry)?;
        }
    }
    Ok((!left.is_empty()).then(|| (key::audit(front.max(first)), left.finish())))
}

/// The time of the oldest record that is there, of those in this block.
pub fn oldest(keyring: &Keyring, at: &[u8], block: &[u8]) -> Result<Option<Timestamp>> {
    let entries = (first_record(at)?..).zip(block::entries(block)?);
    let mut there = entries.filter(|(_, entry)| !entry.is_removed());
    Ok(there.find_map(|(sequence, entry)| class_of(keyring, sequence, &entry).1))
}

/// The tiles of a range that is removed as a whole, and are not needed any more: those below its root, but for the ones
/// that a checkpoint ends in, by whose sizes they are needed to prove it consistent with the log.
pub fn spare_tiles(range: u64, sizes: &[u64]) -> Vec<Key> {
    let (first, behind) = (range * RANGE, (range + 1) * RANGE);
    let width = super::tree::WIDTH;
    let ends_in = |from: u64, to: u64| sizes.iter().any(|size| *size > from && *size < to);
    let mut spare = Vec::new();
    if !ends_in(first, behind) {
        spare.push(key::tile(1, range));
    }
    for tile in first / width..behind / width {
        if !ends_in(tile * width, (tile + 1) * width) {
            spare.push(key::tile(0, tile));
        }
    }
    spare
}

/// The digest that statements name a checkpoint by.
pub fn under(checkpoint: &Checkpoint) -> (u64, Hash) {
    (checkpoint.statement().size, checkpoint.digest())
}

#[cfg(test)]
mod tests;
