//! Holding the log to what it promises: numbered without a gap, each record authentic, fitting its digest, and in
//! the order of time.

use super::{
    block, leaf,
    query::TIME_SLACK,
    removal::{Removals, UNEXPLAINED},
};
use crate::{
    crypto::keyring::Keyring,
    domain::{
        error::{Error, Result},
        event::AuditRecord,
        time::Timestamp,
    },
    store::{codec, key},
};

/// Something that is wrong at a place in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub sequence: u64,
    pub what: String,
}

/// A walk over the blocks of the log, from its beginning.
pub struct Walk<'a> {
    keyring: &'a Keyring,
    /// The number that must come next; none behind a block that could not be taken apart.
    next: Option<u64>,
    newest: Timestamp,
    records: u64,
    /// What retention says that it removed.
    removals: &'a Removals,
}

impl<'a> Walk<'a> {
    /// Over a log that begins with `first`.
    pub fn new(keyring: &'a Keyring, first: u64, removals: &'a Removals) -> Self {
        Self {
            keyring,
            next: Some(first),
            newest: Timestamp::from_millis(0),
            records: 0,
            removals,
        }
    }

    /// Records seen so far.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Looks at the next block.
    pub fn block(&mut self, at: &[u8], block: &[u8], fault: &mut impl FnMut(Fault)) {
        let Some(first) = key::parse_audit(at) else {
            let sequence = self.next.unwrap_or(0);
            let what = "a block lies under a malformed key".to_owned();
            return fault(Fault { sequence, what });
        };
        // What is left over of a removal that a crash cut short.
        let front = self.next.filter(|_| self.records == 0);
        if front.is_some_and(|front| {
            block::entries(block)
                .is_ok_and(|entries| first.saturating_add(entries.len() as u64) <= front)
        }) {
            return;
        }
        match self.next {
            // The first block may hold some of it.
            Some(next) if first < next && front.is_some() => {}
            Some(next) if first > next => fault(Fault {
                sequence: next,
                what: format!("records {next} to {} are missing", first - 1),
            }),
            Some(next) if first < next => fault(Fault {
                sequence: first,
                what: "a block overlaps the one before it".to_owned(),
            }),
            _ => {}
        }
        let entries = match block::entries(block) {
            Ok(entries) => entries,
            Err(error) => {
                self.next = None;
                return fault(Fault {
                    sequence: first,
                    what: reason(&error),
                });
            }
        };
        self.next = Some(first.saturating_add(entries.len() as u64));
        let there = front.unwrap_or(first);
        for (sequence, entry) in (first..).zip(entries).filter(|(at, _)| *at >= there) {
            self.records += 1;
            if let Err(error) = self.entry(sequence, &entry) {
                let what = reason(&error);
                fault(Fault { sequence, what });
            }
        }
    }

    fn entry(&mut self, sequence: u64, entry: &block::Entry<'_>) -> Result<()> {
        if entry.is_removed() {
            return match self.removals.has(sequence) {
                true => Ok(()),
                false => Err(Error::internal(UNEXPLAINED)),
            };
        }
        let keys = self.keyring.workspace(entry.workspace)?;
        let encoded = keys.open_audit(sequence, entry.sealed)?;
        if leaf::digest(&encoded) != entry.content {
            return Err(Error::internal("the record does not fit its digest"));
        }
        let record: AuditRecord = codec::decode(&encoded).map_err(Error::internal)?;
        if record.workspace != entry.workspace {
            return Err(Error::internal("the record is of another workspace"));
        }
        if record.time.plus(TIME_SLACK) < self.newest {
            return Err(Error::internal("the record is older than those before it"));
        }
        self.newest = self.newest.max(record.time);
        Ok(())
    }

    /// Looks at the end: the clock's mark is written with every group of records.
    pub fn end(&self, mark: Option<Timestamp>) -> Option<Fault> {
        let sequence = self.next.unwrap_or(1).saturating_sub(1);
        let behind = mark.is_none_or(|mark| mark < self.newest);
        (self.records > 0 && behind).then(|| Fault {
            sequence,
            what: "the newest record is ahead of the clock's mark".to_owned(),
        })
    }
}

/// What lies behind an error's public text.
pub(super) fn reason(error: &Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}
