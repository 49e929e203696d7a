//! Reading the records of an export, oldest first, a bounded number at a time, and the hashes of what lies between.

use std::sync::Arc;

use crate::{
    audit::{
        block,
        index::Index,
        leaf,
        merkle::{Hash, perfect},
        query::{AuditFilter, Numbered, Reader},
        removal::{self, Gone},
        tree,
    },
    crypto::keyring::Keyring,
    domain::{
        error::{Error, Result},
        event::AuditRecord,
        id::WorkspaceId,
    },
    store::{
        codec, key,
        port::{Scan, Store, Value},
    },
};

/// Records that are read at a time, and at most some 60 gaps beside each: all of an export that is in memory.
const BATCH: usize = 128;

/// A record with what its leaf is made of.
#[derive(Debug, Clone)]
pub struct Exported {
    pub sequence: u64,
    pub record: AuditRecord,
    pub encoded: Vec<u8>,
    /// The digest of its sealed form.
    pub sealed: Hash,
}

impl Exported {
    /// The record at its place.
    pub fn numbered(&self) -> Numbered {
        Numbered {
            sequence: self.sequence,
            record: self.record.clone(),
        }
    }
}

/// A perfect subtree of records that are not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    pub first: u64,
    pub size: u64,
    pub hash: Hash,
}

/// What an export is made of.
#[derive(Debug)]
pub enum Item {
    /// What retention removed of the records that follow, of whatever workspace.
    Removed(Gone),
    Record(Box<Exported>),
    Gap(Gap),
}

/// Which records.
#[derive(Debug, Clone, Default)]
pub struct Range {
    pub filter: AuditFilter,
    /// Behind this one.
    pub after: u64,
    /// Up to this one, which is sealed.
    pub end: u64,
    /// A size of the tree that no gap goes over, so that a checkpoint over so many records can be held against the file.
    pub against: Option<u64>,
}

/// An export as far as it was read.
pub struct Extract {
    store: Arc<dyn Store>,
    keyring: Arc<Keyring>,
    workspace: WorkspaceId,
    range: Range,
    /// None reads the log itself.
    index: Option<Arc<Index>>,
    /// Every record up to this one was given out, or is in a gap that was.
    position: u64,
    block: Option<(u64, Value)>,
    /// What was told of the front that is gone, and of the last range.
    told: (u64, Option<Gone>),
}

impl Extract {
    pub fn new(
        store: Arc<dyn Store>,
        keyring: Arc<Keyring>,
        workspace: WorkspaceId,
        range: Range,
    ) -> Self {
        Self {
            store,
            keyring,
            workspace,
            range,
            index: None,
            position: 0,
            block: None,
            told: (0, None),
        }
    }

    /// The same, with its records looked up in an index.
    #[must_use]
    pub fn indexed_by(mut self, index: Arc<Index>) -> Self {
        self.index = Some(index);
        self
    }

    /// The next records, and the gaps before them; none at the end.
    pub async fn next(&mut self) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        let Range { after, end, .. } = self.range;
        if self.position < after {
            self.skip_to(after, &mut items).await?;
        }
        while items.is_empty() && self.position < end {
            let (found, last) = self.read().await?;
            let upto = match found.last() {
                Some(newest) if !last => newest.sequence,
                _ => end,
            };
            let mut there = Vec::with_capacity(found.len());
            for Numbered { sequence, record } in found {
                there.extend(self.with_leaf(sequence, record).await?);
            }
            self.tell_removed(upto, &mut items).await?;
            for exported in there {
                let sequence = exported.sequence;
                self.skip_to(sequence - 1, &mut items).await?;
                items.push(Item::Record(Box::new(exported)));
                self.position = sequence;
            }
            self.skip_to(upto, &mut items).await?;
        }
        Ok(items)
    }

    /// Gives out what retention removed of the records up to this one, which were read before.
    async fn tell_removed(&mut self, upto: u64, items: &mut Vec<Item>) -> Result<()> {
        let public_key = self.keyring.audit_key().public_key();
        let records = self.position + 1..=upto;
        for gone in removal::gone(&mut &*self.store, public_key, records).await? {
            let (front, of_range) = &mut self.told;
            if gone.is_front() {
                if *front == gone.last {
                    continue;
                }
                *front = gone.last;
            } else if of_range.replace(gone) == Some(gone) {
                continue;
            }
            items.push(Item::Removed(gone));
        }
        Ok(())
    }

    /// The next records alone, without what proves them; none at the end.
    pub async fn next_records(&mut self) -> Result<Vec<Numbered>> {
        self.position = self.position.max(self.range.after);
        if self.position >= self.range.end {
            return Ok(Vec::new());
        }
        let (found, last) = self.read().await?;
        self.position = match (last, found.last()) {
            (false, Some(one)) => one.sequence,
            _ => self.range.end,
        };
        Ok(found)
    }

    /// The next matching records up to the end, and whether no more follow.
    async fn read(&self) -> Result<(Vec<Numbered>, bool)> {
        let reader = Reader {
            store: &*self.store,
            keyring: &self.keyring,
            workspace: self.workspace,
            index: self.index.as_deref(),
        };
        let after = Some(self.position).filter(|position| *position > 0);
        let found = reader.follow(&self.range.filter, after, BATCH).await?;
        let damaged = found.unreadable.into_iter();
        if let Some(damaged) = damaged.min().filter(|damaged| *damaged <= self.range.end) {
            return Err(Error::internal(format!(
                "record {damaged} cannot be read, and an export without it would not be whole"
            )));
        }
        let mut found = found.records;
        let full = found.len() == BATCH;
        found.retain(|one| one.sequence <= self.range.end);
        let last = !full || found.len() < BATCH;
        Ok((found, last))
    }

    /// Gives out the gaps up to this record.
    async fn skip_to(&mut self, last: u64, items: &mut Vec<Item>) -> Result<()> {
        let split = self
            .range
            .against
            .filter(|size| (self.position..last).contains(size));
        for to in split.into_iter().chain([last]) {
            for part in perfect(self.position..to) {
                let leaves = part.leaves();
                let (first, size) = (leaves.start + 1, leaves.end - leaves.start);
                let hash = tree::range(&mut (&*self.store as &dyn Store), leaves).await?;
                items.push(Item::Gap(Gap { first, size, hash }));
            }
            self.position = to;
        }
        Ok(())
    }

    /// The record with its leaf, as it is in the log; none where retention removed it meanwhile.
    async fn with_leaf(&mut self, sequence: u64, record: AuditRecord) -> Result<Option<Exported>> {
        let lost = || Error::internal("a record is not where it was found");
        let holds = |first: u64| first <= sequence;
        let (first, block) = match self.block.take() {
            Some((first, block))
                if holds(first) && sequence - first < block::entries(&block)?.len() as u64 =>
            {
                (first, block)
            }
            _ => {
                let scan = Scan {
                    end: key::audit(sequence.saturating_add(1)),
                    reverse: true,
                    limit: 1,
                    ..key::audits(0)
                };
                let Some((at, block)) = self.store.scan(&scan).await?.pop() else {
                    return Ok(None);
                };
                (key::parse_audit(&at).ok_or_else(lost)?, block)
            }
        };
        let exported = {
            let entries = block::entries(&block)?;
            let at = usize::try_from(sequence - first).map_err(Error::internal)?;
            let entry = entries
                .get(at)
                .filter(|entry| entry.workspace == self.workspace)
                .ok_or_else(lost)?;
            let mut encoded = codec::encode(&record)?;
            if leaf::digest(&encoded) != entry.content {
                if entry.is_removed() {
                    return Ok(None);
                }
                // It was written in a format before this one.
                let keys = self.keyring.workspace(self.workspace)?;
                encoded = keys.open_audit(sequence, entry.sealed)?.to_vec();
            }
            Exported {
                sequence,
                record,
                encoded,
                // That of what is left, where the record was removed since it was read.
                sealed: entry.leaf(sequence).sealed,
            }
        };
        self.block = Some((first, block));
        Ok(Some(exported))
    }
}
