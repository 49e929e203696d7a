//! Records, out of the blocks that hold them.

use std::collections::VecDeque;

use super::{Numbered, Reader};
use crate::{
    audit::{
        block::{self, Entry},
        leaf,
    },
    crypto::keyring::{Keyring, WorkspaceKeys},
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

/// The most blocks that are read ahead.
const AHEAD: usize = 16;
/// Blocks that are kept.
const KEPT: usize = 2 * AHEAD;
/// Records behind the last block that was read within which the next one is worth more than a look-up.
const NEAR: u64 = 64;

pub(super) fn first_of(at: &[u8]) -> Result<u64> {
    key::parse_audit(at).ok_or_else(|| Error::internal("malformed audit key"))
}

fn open(keys: &WorkspaceKeys, sequence: u64, entry: &Entry<'_>) -> Result<AuditRecord> {
    let encoded = keys.open_audit(sequence, entry.sealed)?;
    if leaf::digest(&encoded) != entry.content {
        return Err(Error::internal("an audit record does not fit its digest"));
    }
    codec::decode(&encoded).map_err(Error::internal)
}

/// The records of a block, of every workspace; none for one that was removed, or whose workspace's keys are no more.
pub(in crate::audit) fn each(
    keyring: &Keyring,
    at: &[u8],
    block: &[u8],
    mut told: impl FnMut(Option<AuditRecord>),
) -> Result<()> {
    let first = first_of(at)?;
    let mut last: Option<(WorkspaceId, std::sync::Arc<WorkspaceKeys>)> = None;
    for (sequence, entry) in (first..).zip(block::entries(block)?) {
        let keys = match &last {
            Some((of, keys)) if *of == entry.workspace => Some(keys.clone()),
            _ => keyring.workspace(entry.workspace).ok(),
        };
        let Some(keys) = keys.filter(|_| !entry.is_removed()) else {
            told(None);
            continue;
        };
        // The seal binds the record to its place; the digest is for those who have no key.
        let encoded = keys.open_audit(sequence, entry.sealed)?;
        told(Some(codec::decode(&encoded).map_err(Error::internal)?));
        last = Some((entry.workspace, keys));
    }
    Ok(())
}

impl Reader<'_> {
    /// The workspace's records in a block.
    pub(super) fn open(&self, at: &[u8], block: &[u8]) -> Result<Vec<Numbered>> {
        let keys = self.keyring.workspace(self.workspace)?;
        let mut records = Vec::new();
        for (sequence, entry) in (first_of(at)?..).zip(block::entries(block)?) {
            if entry.workspace == self.workspace && !entry.is_removed() {
                let record = open(&keys, sequence, &entry)?;
                records.push(Numbered { sequence, record });
            }
        }
        Ok(records)
    }
}

/// Reads single records in ascending or descending order.
pub(super) struct Records<'a> {
    store: &'a dyn Store,
    keys: std::sync::Arc<WorkspaceKeys>,
    descending: bool,
    /// By the numbers of their first records and of those behind their last.
    blocks: VecDeque<(u64, u64, Value)>,
    /// How many to read at the next miss; it grows while misses follow each other closely.
    ahead: usize,
}

impl<'a> Records<'a> {
    pub(super) fn new(reader: &Reader<'a>, descending: bool) -> Result<Self> {
        Ok(Self {
            store: reader.store,
            keys: reader.keyring.workspace(reader.workspace)?,
            descending,
            blocks: VecDeque::new(),
            ahead: 1,
        })
    }

    /// The record, where it is still in the log and of this workspace.
    pub(super) async fn get(&mut self, sequence: u64) -> Result<Option<Numbered>> {
        let Some((first, block)) = self.block(sequence).await? else {
            return Ok(None);
        };
        let at = usize::try_from(sequence - first).map_err(Error::internal)?;
        let entries = block::entries(&block)?;
        let own =
            |entry: &&Entry<'_>| entry.workspace == self.keys.workspace() && !entry.is_removed();
        let Some(entry) = entries.get(at).filter(own) else {
            return Ok(None);
        };
        let record = open(&self.keys, sequence, entry)?;
        Ok(Some(Numbered { sequence, record }))
    }

    fn kept(&self, sequence: u64) -> Option<(u64, Value)> {
        let holds = |(first, end, _): &&(u64, u64, Value)| (*first..*end).contains(&sequence);
        let (first, _, block) = self.blocks.iter().find(holds)?;
        Some((*first, block.clone()))
    }

    async fn block(&mut self, sequence: u64) -> Result<Option<(u64, Value)>> {
        if let Some(kept) = self.kept(sequence) {
            return Ok(Some(kept));
        }
        let near = match self.blocks.back() {
            Some((first, _, _)) if self.descending => sequence < *first && first - sequence <= NEAR,
            Some((_, end, _)) => sequence >= *end && sequence - end < NEAR,
            None => false,
        };
        self.ahead = if near { (self.ahead * 2).min(AHEAD) } else { 1 };
        if near && !self.descending {
            let end = self.blocks.back().map_or(0, |(_, end, _)| *end);
            self.read(Scan {
                limit: self.ahead,
                ..key::audits(end)
            })
            .await?;
            if let Some(kept) = self.kept(sequence) {
                return Ok(Some(kept));
            }
        }
        self.read(Scan {
            end: key::audit(sequence.saturating_add(1)),
            reverse: true,
            limit: if self.descending { self.ahead } else { 1 },
            ..key::audits(0)
        })
        .await?;
        Ok(self.kept(sequence))
    }

    async fn read(&mut self, scan: Scan) -> Result<()> {
        for (at, block) in self.store.scan(&scan).await? {
            let first = first_of(&at)?;
            let end = first + block::entries(&block)?.len() as u64;
            self.blocks.push_back((first, end, block));
        }
        let surplus = self.blocks.len().saturating_sub(KEPT);
        self.blocks.drain(..surplus);
        Ok(())
    }
}
