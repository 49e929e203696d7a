//! Reading the log block by block: for what is not indexed yet.

use super::{AuditFilter, Collector, Numbered, Reader};
use crate::{
    audit::{block, removal::range_of, survey},
    domain::{
        error::{Error, Result},
        event::AuditRecord,
        time::{Span, Timestamp},
    },
    store::{codec, key, port::Scan},
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
        loop {
            let blocks = self.store.scan(&scan).await?;
            let Some((last, _)) = blocks.last() else {
                return Ok(matching);
            };
            scan = scan.after(last);
            for (at, block) in &blocks {
                let mut records = self.open(at, block)?;
                page.reached(first_of(at)? + block::entries(block)?.len() as u64 - 1);
                if page.descending {
                    records.reverse();
                }
                for found in records {
                    if found.sequence >= from && filter.matches(&found.record) {
                        matching += 1;
                        page.offer(found);
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
    async fn newest_before(
        &self,
        sequence: u64,
    ) -> Result<Option<(Vec<u8>, crate::store::port::Value)>> {
        let scan = Scan {
            end: key::audit(sequence),
            reverse: true,
            limit: 1,
            ..key::audits(0)
        };
        Ok(self.store.scan(&scan).await?.pop())
    }

    /// The lowest sequence number of these from which every block begins at or after `time`.
    async fn bisect(&self, (from, last): (u64, u64), time: Timestamp) -> Result<u64> {
        let (mut low, mut high) = (from, (last + 1).max(from));
        while low < high {
            let middle = low + (high - low) / 2;
            let next = Scan {
                limit: 1,
                ..key::audits(middle)
            };
            let begins = match self.store.scan(&next).await?.pop() {
                Some((at, block)) => self.time_of(&at, &block).await?,
                None => None,
            };
            match begins {
                Some(begins) if begins < time => low = middle + 1,
                _ => high = middle,
            }
        }
        Ok(low)
    }

    /// The time of a block's first record that is there, whichever workspace it belongs to; nothing else of it is looked
    /// at.
    async fn time_of(&self, at: &[u8], block: &[u8]) -> Result<Option<Timestamp>> {
        let first = first_of(at)?;
        let mut entries = (first..).zip(block::entries(block)?);
        let Some((sequence, entry)) = entries.find(|(_, entry)| !entry.is_removed()) else {
            // All of it was removed: it is no younger than the newest record of its range.
            let survey = survey::of(&mut { self.store }, self.keyring, range_of(first)).await?;
            return Ok(survey.map(|survey| survey.newest));
        };
        let encoded = self
            .keyring
            .workspace(entry.workspace)?
            .open_audit(sequence, entry.sealed)?;
        let record: AuditRecord = codec::decode(&encoded).map_err(Error::internal)?;
        Ok(Some(record.time))
    }

    /// One record, by its number.
    pub async fn record(&self, sequence: u64) -> Result<Option<Numbered>> {
        super::blocks::Records::new(self, false)?
            .get(sequence)
            .await
    }
}
