//! Reading the log of one workspace: filters, order, pages. Nothing of another workspace is opened.
//!
//! What is indexed is found by the index, the records behind it one by one, so that an answer holds all that was
//! durable when it was asked for. Positions are sequence numbers: records that are added move no page.

pub(super) mod blocks;
mod filter;
mod missing;
mod page;
mod scan;

use std::sync::Arc;

pub use self::filter::{AuditFilter, Whose};
pub(super) use self::scan::TIME_SLACK;
use self::{
    missing::Accounts,
    page::{Collector, Counter, MAX_UNREADABLE},
};
use super::{
    index::{Index, Shelf, terms::Plan},
    removal::RANGE,
};
use crate::{
    crypto::keyring::Keyring,
    domain::{
        error::{Error, Result},
        event::AuditRecord,
        id::WorkspaceId,
        time::Timestamp,
    },
    store::{
        key,
        port::{Scan, Store},
    },
};

/// A record at its place in the log.
#[derive(Debug, Clone)]
pub struct Numbered {
    pub sequence: u64,
    pub record: AuditRecord,
}

/// Which of the matching records to give back.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    pub newest_first: bool,
    /// Records on the far side of this sequence number.
    pub after: Option<u64>,
    pub offset: u64,
    pub limit: usize,
}

/// A page of records.
#[derive(Debug)]
pub struct AuditPage {
    pub records: Vec<Numbered>,
    /// Whether more records follow.
    pub more: bool,
    /// Records that match, on every page; none where counting them would mean to read too much.
    pub total: Option<u64>,
    /// Records of the workspace that might match and are damaged, as far as they were met, by their numbers.
    pub unreadable: Vec<u64>,
}

/// Why a query failed.
enum Failed {
    /// A page of the index cannot be read: the log tells the same.
    Index(Error),
    Log(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Log(error)
    }
}

/// Records that follow a place in the log.
#[derive(Debug)]
pub struct Following {
    pub records: Vec<Numbered>,
    /// Every matching record up to this number was given out.
    pub reached: u64,
    /// Records of the workspace that might have been among them and are damaged, by their numbers.
    pub unreadable: Vec<u64>,
    /// Whether there may be more of those than are told.
    pub more_unreadable: bool,
}

/// Reads the log.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    pub store: &'a dyn Store,
    pub keyring: &'a Arc<Keyring>,
    pub workspace: WorkspaceId,
    /// Where records are looked up; without one, the log is read from its beginning.
    pub index: Option<&'a Index>,
}

impl<'a> Reader<'a> {
    /// The records that match, in the order of the window.
    pub async fn query(&self, filter: &AuditFilter, window: Window) -> Result<AuditPage> {
        let page = || Collector::new(window);
        let (page, total) = match self.look_up(filter, page(), true).await {
            Ok(found) => found,
            Err(failed) => {
                let reader = self.without_index(failed)?;
                reader.read_log(filter, page(), true).await?
            }
        };
        let more = page.more();
        let (records, unreadable) = page.into_records();
        Ok(AuditPage {
            records,
            more,
            total,
            unreadable,
        })
    }

    /// The next records that match behind a sequence number, oldest first: at most `limit`, and no block more is read.
    pub async fn next(
        &self,
        filter: &AuditFilter,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Numbered>> {
        Ok(self.follow(filter, after, limit).await?.records)
    }

    /// The same, and how far the log was looked at: for whoever goes on from there.
    pub async fn follow(
        &self,
        filter: &AuditFilter,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Following> {
        let page = || {
            Collector::new(Window {
                newest_first: false,
                after,
                offset: 0,
                limit,
            })
        };
        let page = match self.look_up(filter, page(), false).await {
            Ok((page, _)) => page,
            Err(failed) => {
                let reader = self.without_index(failed)?;
                reader.read_log(filter, page(), false).await?.0
            }
        };
        let last = page.last();
        let reached = match (page.is_full(), last) {
            (true, Some(last)) => last,
            _ => page.seen().max(after.unwrap_or(0)),
        };
        let (records, unreadable) = page.into_records();
        Ok(Following {
            more_unreadable: unreadable.len() >= MAX_UNREADABLE,
            records,
            reached,
            unreadable,
        })
    }

    /// The newest record that matches.
    pub async fn last(&self, filter: &AuditFilter) -> Result<Option<Numbered>> {
        let page = || {
            Collector::new(Window {
                newest_first: true,
                after: None,
                offset: 0,
                limit: 1,
            })
        };
        let page = match self.look_up(filter, page(), false).await {
            Ok((page, _)) => page,
            Err(failed) => {
                let reader = self.without_index(failed)?;
                reader.read_log(filter, page(), false).await?.0
            }
        };
        Ok(page.into_records().0.pop())
    }

    /// The number of the newest record, of any workspace; 0 where there is none.
    pub async fn newest(&self) -> Result<u64> {
        blocks::newest(self.store).await
    }

    /// Where the index is what failed, the log alone tells, and the index is made anew.
    fn without_index(&self, failed: Failed) -> Result<Self> {
        let (index, error) = match (self.index, failed) {
            (Some(index), Failed::Index(error)) => (index, error),
            (_, Failed::Index(error) | Failed::Log(error)) => return Err(error),
        };
        let source = std::error::Error::source(&error).map(ToString::to_string);
        tracing::warn!(%error, source, "a query failed and is asked of the log itself");
        index.distrust();
        Ok(Self {
            index: None,
            ..*self
        })
    }

    async fn read_log(
        &self,
        filter: &AuditFilter,
        page: Collector,
        count: bool,
    ) -> Result<(Collector, Option<u64>)> {
        let found = self.look_up(filter, page, count).await;
        found.map_err(|failed| match failed {
            Failed::Index(error) | Failed::Log(error) => error,
        })
    }

    /// Fills a page, and counts what matches.
    async fn look_up(
        &self,
        filter: &AuditFilter,
        mut page: Collector,
        count: bool,
    ) -> Result<(Collector, Option<u64>), Failed> {
        let plan = Plan::of(self.keyring.terms(), self.workspace, filter);
        let (mut parts, end) = match self.index {
            Some(index) => index.view(&plan),
            None => (Vec::new(), 0),
        };
        let oldest = Scan {
            limit: 1,
            ..key::audits(0)
        };
        let Some((oldest, _)) = self.store.scan(&oldest).await?.pop() else {
            return Ok((page, Some(0)));
        };
        let first = blocks::first_of(&oldest)?;
        let thinned = self.thinned().await?;
        let shelf = Shelf {
            store: self.store,
            keyring: self.keyring,
        };
        let mut counter = Counter::new(count);
        // In front of the oldest block, and between parts of the index, which touch each other where the log has no hole.
        let mut holes = Vec::with_capacity(parts.len() + 2);
        holes.push(1..first);
        let mut behind = first;
        for (start, next) in parts
            .iter()
            .map(|part| (part.start, part.end))
            .chain([(end, end)])
        {
            holes.push(behind..start);
            behind = next.max(behind);
        }
        if page.descending {
            parts.reverse();
            counter.add(
                self.scan_log(filter, end.max(first), &mut page, count)
                    .await?,
            );
        }
        let mut records = blocks::Records::new(self, page.descending)?;
        for part in parts {
            if page.is_full() && !counter.counts() {
                break;
            }
            let mut looking = page::Looking {
                filter,
                plan: &plan,
                shelf,
                records: &mut records,
                part,
                first,
                thinned,
                accounts: Accounts::new(self.store, self.keyring),
            };
            looking.look(&mut page, &mut counter).await?;
        }
        for hole in holes {
            self.tell_hole(filter, hole, &mut page).await?;
        }
        if !page.descending && (!page.is_full() || counter.counts()) {
            // Whatever the parts hold was looked at.
            page.reached(end.saturating_sub(1));
            let counts = counter.counts();
            // What is before the page is read to be counted alone.
            let begin = if counts { 0 } else { page.begins() };
            counter.add(
                self.scan_log(filter, end.max(first).max(begin), &mut page, counts)
                    .await?,
            );
        }
        Ok((page, counter.total()))
    }

    /// The record behind the last range of the log of which retention removed some.
    async fn thinned(&self) -> Result<u64> {
        let last = Scan {
            reverse: true,
            limit: 1,
            ..key::removals()
        };
        let last = self.store.scan(&last).await?.pop();
        Ok(match last.and_then(|(at, _)| key::parse_retained(&at)) {
            Some(key::Retained::Removed(range)) => (range + 1) * RANGE + 1,
            _ => 0,
        })
    }

    /// What reading a time range rests on: the number that its first record has at the least, and the newest number
    /// there is; none where the log is empty. Of either nothing is opened.
    pub async fn span(&self, since: Option<Timestamp>) -> Result<Option<(u64, u64)>> {
        let last = self.newest().await?;
        if last == 0 {
            return Ok(None);
        }
        let filter = AuditFilter {
            since,
            ..AuditFilter::default()
        };
        let mut scan = self.range(&filter, 0).await?;
        scan.limit = 1;
        let first = match self.store.scan(&scan).await?.pop() {
            Some((at, _)) => blocks::first_of(&at)?,
            None => last,
        };
        Ok(Some((first, last)))
    }
}
