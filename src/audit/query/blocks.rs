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

/// The number of the newest record, of any workspace; 0 where there is none.
pub(in crate::audit) async fn newest(store: &dyn Store) -> Result<u64> {
    let newest = Scan {
        reverse: true,
        limit: 1,
        ..key::audits(0)
    };
    match store.scan(&newest).await?.pop() {
        None => Ok(0),
        Some((at, block)) => {
            // One that cannot be taken apart has one at the least.
            let entries = block::entries(&block).map_or(1, |all| all.len() as u64);
            Ok(first_of(&at)? + entries.saturating_sub(1))
        }
    }
}

/// A record, or the number of one that is there and cannot be read.
pub(super) type Found = std::result::Result<Numbered, u64>;

/// Tells that a record cannot be read: of a damaged one whoever asks gets all others.
fn unreadable(sequence: u64, error: &Error) -> u64 {
    metrics::counter!("leasehold_audit_unreadable_total").increment(1);
    let source = std::error::Error::source(error).map(ToString::to_string);
    tracing::warn!(sequence, source, "a record of history cannot be read");
    sequence
}

/// The same of one that is not there, and that nothing says was removed.
pub(super) fn lost(sequence: u64) -> u64 {
    unreadable(sequence, &Error::internal("the record is missing"))
}

fn open(keys: &WorkspaceKeys, sequence: u64, entry: &Entry<'_>) -> Result<AuditRecord> {
    let encoded = keys.open_audit(sequence, entry.sealed)?;
    if leaf::digest(&encoded) != entry.content {
        return Err(Error::internal("an audit record does not fit its digest"));
    }
    codec::decode(&encoded).map_err(Error::internal)
}

/// What is under a number of the log.
pub(in crate::audit) enum Each<'a> {
    Record(&'a AuditRecord),
    /// It was removed, or its workspace's keys are no more.
    Gone,
    /// It is there and cannot be read.
    Unreadable(WorkspaceId),
    /// A block that cannot be taken apart: it may hold anybody's.
    Lost,
}

/// The records of a block, of every workspace. A block that cannot be taken apart counts as one record.
pub(in crate::audit) fn each(
    keyring: &Keyring,
    at: &[u8],
    block: &[u8],
    mut told: impl FnMut(Each<'_>),
) -> Result<()> {
    let first = first_of(at)?;
    let entries = match block::entries(block) {
        Ok(entries) => entries,
        Err(error) => {
            unreadable(first, &error);
            told(Each::Lost);
            return Ok(());
        }
    };
    let mut last: Option<(WorkspaceId, std::sync::Arc<WorkspaceKeys>)> = None;
    for (sequence, entry) in (first..).zip(entries) {
        let keys = match &last {
            Some((of, keys)) if *of == entry.workspace => Some(keys.clone()),
            _ => keyring.workspace(entry.workspace).ok(),
        };
        let Some(keys) = keys.filter(|_| !entry.is_removed()) else {
            told(Each::Gone);
            continue;
        };
        // The seal binds the record to its place; the digest is for those who have no key.
        let opened = keys.open_audit(sequence, entry.sealed);
        match opened.and_then(|encoded| codec::decode(&encoded).map_err(Error::internal)) {
            Ok(record) => told(Each::Record(&record)),
            Err(error) => {
                unreadable(sequence, &error);
                told(Each::Unreadable(entry.workspace));
            }
        }
        last = Some((entry.workspace, keys));
    }
    Ok(())
}

impl Reader<'_> {
    /// Up to which record what is damaged at this one reaches: a block that cannot be taken apart, or that is missing,
    /// takes all that it had with it.
    pub async fn damaged_through(&self, sequence: u64) -> Result<u64> {
        let at = Scan {
            end: key::audit(sequence.saturating_add(1)),
            reverse: true,
            limit: 1,
            ..key::audits(0)
        };
        if let Some((at, block)) = self.store.scan(&at).await?.pop()
            && let Ok(entries) = block::entries(&block)
            && sequence - first_of(&at)? < entries.len() as u64
        {
            return Ok(sequence);
        }
        let behind = Scan {
            limit: 1,
            ..key::audits(sequence.saturating_add(1))
        };
        Ok(match self.store.scan(&behind).await?.pop() {
            Some((at, _)) => first_of(&at)?.saturating_sub(1).max(sequence),
            None => sequence,
        })
    }

    /// The workspace's records in a block, and the last number that it has; none where it cannot be taken apart: then it
    /// may hold anybody's.
    pub(super) fn open(&self, at: &[u8], block: &[u8]) -> Result<(Vec<Found>, Option<u64>)> {
        let keys = self.keyring.workspace(self.workspace)?;
        let first = first_of(at)?;
        let entries = match block::entries(block) {
            Ok(entries) => entries,
            Err(error) => return Ok((vec![Err(unreadable(first, &error))], None)),
        };
        let last = first + (entries.len() as u64).saturating_sub(1);
        let own = (first..)
            .zip(&entries)
            .filter(|(_, entry)| entry.workspace == self.workspace && !entry.is_removed());
        let read = |(sequence, entry): (u64, &Entry<'_>)| match open(&keys, sequence, entry) {
            Ok(record) => Ok(Numbered { sequence, record }),
            Err(error) => Err(unreadable(sequence, &error)),
        };
        Ok((own.map(read).collect(), Some(last)))
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
    pub(super) async fn get(&mut self, sequence: u64) -> Result<Option<Found>> {
        let Some((first, block)) = self.block(sequence).await? else {
            return Ok(None);
        };
        let at = usize::try_from(sequence - first).map_err(Error::internal)?;
        let entries = match block::entries(&block) {
            Ok(entries) => entries,
            Err(error) => return Ok(Some(Err(unreadable(sequence, &error)))),
        };
        let own =
            |entry: &&Entry<'_>| entry.workspace == self.keys.workspace() && !entry.is_removed();
        let Some(entry) = entries.get(at).filter(own) else {
            return Ok(None);
        };
        Ok(Some(match open(&self.keys, sequence, entry) {
            Ok(record) => Ok(Numbered { sequence, record }),
            Err(error) => Err(unreadable(sequence, &error)),
        }))
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
        let nearest = self
            .read(Scan {
                end: key::audit(sequence.saturating_add(1)),
                reverse: true,
                limit: if self.descending { self.ahead } else { 1 },
                ..key::audits(0)
            })
            .await?;
        // How far one reaches that cannot be taken apart nobody knows: up to here.
        Ok(self.kept(sequence).or(nearest))
    }

    /// Keeps the blocks of a scan that can be taken apart; gives back the first one where it cannot.
    async fn read(&mut self, scan: Scan) -> Result<Option<(u64, Value)>> {
        let (mut damaged, mut at_first) = (None, true);
        for (at, block) in self.store.scan(&scan).await? {
            let first = first_of(&at)?;
            match block::entries(&block).map(|entries| entries.len() as u64) {
                Ok(entries) => self.blocks.push_back((first, first + entries, block)),
                Err(_) if at_first => damaged = Some((first, block)),
                Err(_) => {}
            }
            at_first = false;
        }
        let surplus = self.blocks.len().saturating_sub(KEPT);
        self.blocks.drain(..surplus);
        Ok(damaged)
    }
}
