//! Records that are missing from the log although retention does not say so: what was read cannot be all.

use std::{
    ops::Range,
    sync::{Mutex, PoisonError},
};

use super::{
    AuditFilter, Reader,
    blocks::{first_of, lost},
    page::Collector,
    scan::TIME_SLACK,
};
use crate::{
    audit::{
        block,
        removal::{Front, Removals},
    },
    crypto::keyring::Keyring,
    domain::error::Result,
    store::{
        key,
        port::{Scan, Store, Value},
    },
};

/// The statement of where the log begins that was proven last, with the key that proved it: it is asked for by every
/// query of a log whose front retention removed.
static PROVEN: Mutex<Option<([u8; 32], Value, u64)>> = Mutex::new(None);

/// What retention says of records that are not there. It is asked after they were looked for: a statement is durable
/// before the first record that it names is removed.
pub(super) struct Accounts<'a> {
    store: &'a dyn Store,
    public_key: &'a [u8; 32],
    removals: Removals,
    /// The hole that was found last: what stands in it has been asked for.
    hole: Range<u64>,
}

impl<'a> Accounts<'a> {
    pub(super) fn new(store: &'a dyn Store, keyring: &'a Keyring) -> Self {
        Self {
            store,
            public_key: keyring.audit_key().public_key(),
            removals: Removals::default(),
            hole: 0..0,
        }
    }

    /// The first record that is still in the log; a statement that is damaged says nothing.
    async fn first(&self) -> Result<u64> {
        let Some(stored) = self.store.get(&key::audit_front()).await? else {
            return Ok(1);
        };
        let proven = || PROVEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((public_key, known, first)) = &*proven()
            && public_key == self.public_key
            && *known == stored
        {
            return Ok(*first);
        }
        let Some(Front { first, .. }) = Front::open(&stored, self.public_key) else {
            return Ok(1);
        };
        *proven() = Some((*self.public_key, stored, first));
        Ok(first)
    }

    /// Whether it is known already that this record is missing.
    pub(super) fn knows_missing(&self, sequence: u64) -> bool {
        self.hole.contains(&sequence)
    }

    /// Whether nothing says why this record, which the index names, is not there.
    pub(super) async fn lacks(&mut self, sequence: u64) -> Result<bool> {
        let (mut store, public_key) = (self.store, self.public_key);
        let told = self.removals.tell(&mut store, public_key, sequence).await?;
        if told || sequence < self.first().await? {
            return Ok(false);
        }
        // What was read of the range may be older than what was removed since.
        let mut now = Removals::default();
        if now.tell(&mut store, public_key, sequence).await? {
            self.removals = now;
            return Ok(false);
        }
        self.hole = self.around(sequence).await?;
        lost(sequence);
        Ok(true)
    }

    /// The records without a block around this one; it alone, where its block is there.
    async fn around(&self, sequence: u64) -> Result<Range<u64>> {
        let before = Scan {
            end: key::audit(sequence.saturating_add(1)),
            reverse: true,
            limit: 1,
            ..key::audits(0)
        };
        let behind = Scan {
            limit: 1,
            ..key::audits(sequence.saturating_add(1))
        };
        let begin = match self.store.scan(&before).await?.pop() {
            None => 1,
            Some((at, block)) => match block::entries(&block) {
                Ok(entries) => first_of(&at)? + entries.len() as u64,
                Err(_) => sequence,
            },
        };
        let end = match self.store.scan(&behind).await?.pop() {
            Some((at, _)) if begin <= sequence => first_of(&at)?,
            _ => sequence + 1,
        };
        // In front of that retention says why.
        let begin = begin.max(self.first().await?);
        Ok(begin.min(sequence)..end)
    }

    /// Those of these, of which not even a block is there, where nothing says why.
    pub(super) async fn hole(&self, records: Range<u64>) -> Result<Option<Range<u64>>> {
        if records.is_empty() {
            return Ok(None);
        }
        let hole = self.first().await?.max(records.start)..records.end;
        Ok(Some(hole).filter(|hole| !hole.is_empty()))
    }
}

impl Reader<'_> {
    /// Tells of records without a block, where nothing says why, and where they can be of the page and of the time that
    /// is looked for.
    pub(super) async fn tell_hole(
        &self,
        filter: &AuditFilter,
        records: Range<u64>,
        page: &mut Collector,
    ) -> Result<()> {
        let accounts = Accounts::new(self.store, self.keyring);
        let Some(hole) = accounts.hole(records).await? else {
            return Ok(());
        };
        let (from, to) = page.within(hole.start, hole.end);
        let before = self.newest_before(hole.start).await?;
        // What a block had that cannot be taken apart was told with it.
        let told = before.is_some_and(|(_, block)| block::entries(&block).is_err());
        if from >= to || told || !self.can_be_of(filter, &hole).await? {
            return Ok(());
        }
        page.unreadable(lost(from));
        Ok(())
    }

    /// Whether what is missing can be of the time that is looked for, by what stands beside it.
    async fn can_be_of(&self, filter: &AuditFilter, hole: &Range<u64>) -> Result<bool> {
        if let Some(since) = filter.since
            && let Some((_, behind)) = self.begins(hole.end).await?
            && behind < since.minus(TIME_SLACK)
        {
            return Ok(false);
        }
        if let Some(until) = filter.until
            && let Some((at, block)) = self.newest_before(hole.start).await?
            && let Some(before) = self.time_of(first_of(&at)?, &block)
            && before > until.plus(TIME_SLACK)
        {
            return Ok(false);
        }
        Ok(true)
    }
}
