//! Reading the log block by block: for what is not indexed yet.

use super::{AuditFilter, Collector, Numbered, Reader, blocks::Found};
use crate::{
    audit::{
        block,
        removal::{self, range_of},
        survey,
    },
    domain::{
        error::{Error, Result},
        event::AuditRecord,
        time::{Span, Timestamp},
    },
    store::{
        codec, key,
        port::{Key, Scan, Value},
    },
};

use super::blocks::first_of;

/// Records of one commit group may be written in another order than their times; no group spans this long.
pub(in crate::audit) const TIME_SLACK: Span = Span::from_secs(60);
/// Blocks read before other tasks get their turn.
const BLOCKS_PER_TURN: usize = 64;

impl Reader<'_> {
    /// Looks at the records from `from` on, in either order. With `count`, at all of them, and tells how many match;
    /// else until the page is full.
    pub(super) async fn scan_log(
        &self,
        filter: &AuditFilter,
        from: u64,
        page: &mut Collector,
        count: bool,
    ) -> Result<u64> {
        let mut scan = self.range(filter, from).await?;
        scan.reverse = page.descending;
        scan.limit = BLOCKS_PER_TURN;
        let mut matching = 0;
        // The first number that is looked at, where no time bounds that.
        let floor = Some(from.max(1)).filter(|floor| scan.start <= key::audit(*floor));
        // Where the block before ended, or began: none before the first one, and behind one that does not tell.
        let mut beside = floor.filter(|_| !page.descending).map(|floor| floor - 1);
        loop {
            let blocks = self.store.scan(&scan).await?;
            let Some((last, _)) = blocks.last() else {
                if let Some((floor, lowest)) = floor.zip(beside).filter(|_| page.descending) {
                    self.tell_hole(filter, floor..lowest, page).await?;
                }
                return Ok(matching);
            };
            scan = scan.after(last);
            for (at, block) in &blocks {
                let (mut records, last) = self.open(at, block)?;
                let first = first_of(at)?;
                page.reached(last.unwrap_or(first));
                let between = match page.descending {
                    true => last.zip(beside).map(|(last, beside)| last + 1..beside),
                    false => beside.map(|beside| beside + 1..first),
                };
                if let Some(between) = between {
                    self.tell_hole(filter, between, page).await?;
                }
                beside = if page.descending { Some(first) } else { last };
                if page.descending {
                    records.reverse();
                }
                for found in records {
                    match found {
                        Ok(found) if found.sequence >= from && filter.matches(&found.record) => {
                            matching += 1;
                            page.offer(found);
                        }
                        Err(sequence) if sequence >= from => page.unreadable(sequence),
                        _ => {}
                    }
                }
                if page.is_full() && !count {
                    return Ok(matching);
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// The blocks that can hold matching records from `from` on: the log is in the order of time, so a time range is a
    /// range of blocks, found by bisection.
    pub(super) async fn range(&self, filter: &AuditFilter, from: u64) -> Result<Scan> {
        let mut scan = key::audits(from);
        // The block that holds `from` may begin before it.
        if let Some((at, _)) = self.newest_before(from.saturating_add(1)).await? {
            scan.start = at;
        }
        let Some((last, _)) = self.newest_before(u64::MAX).await? else {
            return Ok(scan);
        };
        let last = first_of(&last)?;
        if let Some(since) = filter.since {
            let from = self.bisect((from, last), since.minus(TIME_SLACK)).await?;
            // The block before may reach into the range.
            let start = match self.newest_before(from).await? {
                Some((at, _)) => at,
                None => key::audit(from),
            };
            scan.start = scan.start.max(start);
        }
        if let Some(until) = filter.until {
            let upto = self.bisect((from, last), until.plus(TIME_SLACK)).await?;
            scan.end = key::audit(upto.saturating_add(1));
        }
        Ok(scan)
    }

    /// The last block that begins before a sequence number.
    pub(super) async fn newest_before(&self, sequence: u64) -> Result<Option<(Key, Value)>> {
        let scan = Scan {
            end: key::audit(sequence),
            reverse: true,
            limit: 1,
            ..key::audits(0)
        };
        Ok(self.store.scan(&scan).await?.pop())
    }

    /// The lowest sequence number of these from which every block with a record begins at or after `time`.
    async fn bisect(&self, (from, last): (u64, u64), time: Timestamp) -> Result<u64> {
        let (mut low, mut high) = (from, (last + 1).max(from));
        while low < high {
            let middle = low + (high - low) / 2;
            match self.begins(middle).await? {
                Some((first, begins)) if begins < time => low = (first + 1).min(high),
                _ => high = middle,
            }
        }
        Ok(low)
    }

    /// The first block from a number on that has a record, and the time of that one. A block of which all was removed, or
    /// that is damaged, says nothing of where a time begins.
    pub(super) async fn begins(&self, from: u64) -> Result<Option<(u64, Timestamp)>> {
        let mut scan = Scan {
            limit: 1,
            ..key::audits(from)
        };
        loop {
            let blocks = self.store.scan(&scan).await?;
            for (at, block) in &blocks {
                let first = first_of(at)?;
                if let Some(time) = self.time_of(first, block) {
                    return Ok(Some((first, time)));
                }
            }
            let Some((last, _)) = blocks.last() else {
                return Ok(None);
            };
            scan = scan.after(last);
            scan.limit = BLOCKS_PER_TURN;
            let begun = range_of(first_of(last)?);
            let mut range = begun;
            while self.is_empty(range).await? {
                range += 1;
            }
            if range > begun {
                // The block that holds the first record of the range may begin before it.
                let first = removal::first_of(range);
                let holds = self.newest_before(first.saturating_add(1)).await?;
                let start = holds.map_or_else(|| key::audit(first), |(at, _)| at);
                scan.start = scan.start.max(start);
            }
            tokio::task::yield_now().await;
        }
    }

    /// Whether retention left no record of a range.
    async fn is_empty(&self, range: u64) -> Result<bool> {
        let survey = survey::of(&mut { self.store }, self.keyring, range).await?;
        Ok(survey.is_some_and(|survey| survey.records.iter().all(|records| *records == 0)))
    }

    /// The time of a block's first record that can be read, whichever workspace it belongs to.
    pub(super) fn time_of(&self, first: u64, block: &[u8]) -> Option<Timestamp> {
        let entries = block::entries(block).ok()?;
        let mut there = (first..)
            .zip(&entries)
            .filter(|(_, entry)| !entry.is_removed());
        there.find_map(|(sequence, entry)| {
            let keys = self.keyring.workspace(entry.workspace).ok()?;
            let encoded = keys.open_audit(sequence, entry.sealed).ok()?;
            let record: AuditRecord = codec::decode(&encoded).ok()?;
            Some(record.time)
        })
    }

    /// One record, by its number.
    pub async fn record(&self, sequence: u64) -> Result<Option<Numbered>> {
        let mut records = super::blocks::Records::new(self, false)?;
        let found: Option<Found> = records.get(sequence).await?;
        let damaged = |_| Error::internal(format!("record {sequence} of history cannot be read"));
        found.transpose().map_err(damaged)
    }
}
