//! Filling a page from the index, and counting what matches.

use std::collections::BTreeSet;

use super::{
    AuditFilter, Failed, Numbered, Window,
    blocks::{Found, Records},
    missing::Accounts,
};
use crate::audit::index::{Part, Segment, Shelf, Walk, terms::Plan};

/// Pages of the index that are read to count what several terms have in common: some 35 ms, by what they take in a log of
/// ten million records with everything in memory.
const COUNTED_PAGES: u32 = 750;
/// Records that are opened to count what no term tells: some 30 ms.
const COUNTED_RECORDS: u32 = 3000;
/// Records looked at before other tasks get their turn.
const RECORDS_PER_TURN: u32 = 256;
/// Numbers of records that cannot be read which a page tells.
pub(super) const MAX_UNREADABLE: usize = 100;

/// The page that is being filled.
pub(super) struct Collector {
    pub(super) descending: bool,
    after: Option<u64>,
    skip: u64,
    limit: usize,
    records: Vec<Numbered>,
    more: bool,
    seen: u64,
    unreadable: BTreeSet<u64>,
}

impl Collector {
    pub(super) fn new(window: Window) -> Self {
        Self {
            descending: window.newest_first,
            after: window.after,
            skip: window.offset,
            limit: window.limit,
            records: Vec::new(),
            more: false,
            seen: 0,
            unreadable: BTreeSet::new(),
        }
    }

    /// Takes note of a record that might match, and cannot be read.
    pub(super) fn unreadable(&mut self, sequence: u64) {
        self.unreadable.insert(sequence);
        if self.unreadable.len() > MAX_UNREADABLE {
            // Those that come first on the way are told.
            match self.descending {
                true => self.unreadable.pop_first(),
                false => self.unreadable.pop_last(),
            };
        }
    }

    /// Takes a matching record, if it belongs on the page.
    pub(super) fn offer(&mut self, found: Numbered) {
        if !self.passed(found.sequence) {
        } else if self.skip > 0 {
            self.skip -= 1;
        } else if self.records.len() < self.limit {
            self.records.push(found);
        } else {
            self.more = true;
        }
    }

    /// Takes note of a matching record that nobody has opened; false where it must be, since the page wants it.
    fn note(&mut self, sequence: u64) -> bool {
        if !self.passed(sequence) {
            return true;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return true;
        }
        if self.records.len() >= self.limit {
            self.more = true;
            return true;
        }
        false
    }

    fn passed(&self, sequence: u64) -> bool {
        self.after.is_none_or(|after| match self.descending {
            true => sequence < after,
            false => sequence > after,
        })
    }

    /// The first record that can be on an ascending page.
    pub(super) fn begins(&self) -> u64 {
        self.after.map_or(0, |after| after.saturating_add(1))
    }

    /// Everything up to this record was looked at.
    pub(super) fn reached(&mut self, sequence: u64) {
        self.seen = self.seen.max(sequence);
    }

    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    /// Whether nothing more is to be learnt.
    pub(super) fn is_full(&self) -> bool {
        self.more
    }

    pub(super) fn more(&self) -> bool {
        self.more
    }

    pub(super) fn last(&self) -> Option<u64> {
        self.records.last().map(|last| last.sequence)
    }

    /// The records, and the numbers of those that cannot be read.
    pub(super) fn into_records(self) -> (Vec<Numbered>, Vec<u64>) {
        (self.records, self.unreadable.into_iter().collect())
    }

    /// The sequence numbers from `from` to before `to` that can be on the page.
    pub(super) fn within(&self, from: u64, to: u64) -> (u64, u64) {
        match (self.after, self.descending) {
            (None, _) => (from, to),
            (Some(after), true) => (from, to.min(after)),
            (Some(after), false) => (from.max(after.saturating_add(1)), to),
        }
    }
}

/// Counts what matches, as long as that is cheap.
pub(super) struct Counter {
    total: Option<u64>,
    pages: u32,
    records: u32,
}

impl Counter {
    pub(super) fn new(count: bool) -> Self {
        Self {
            total: count.then_some(0),
            pages: COUNTED_PAGES,
            records: COUNTED_RECORDS,
        }
    }

    pub(super) fn counts(&self) -> bool {
        self.total.is_some()
    }

    pub(super) fn add(&mut self, more: u64) {
        self.total = self.total.map(|total| total + more);
    }

    /// Counting would mean to read too much.
    fn give_up(&mut self) {
        self.total = None;
    }

    pub(super) fn total(&self) -> Option<u64> {
        self.total
    }
}

/// One part of the index, looked at for one query.
pub(super) struct Looking<'a, 'b> {
    pub(super) filter: &'a AuditFilter,
    pub(super) plan: &'a Plan,
    pub(super) shelf: Shelf<'a>,
    pub(super) records: &'a mut Records<'b>,
    pub(super) part: Part,
    /// The first record that is still in the log.
    pub(super) first: u64,
    /// Records before this one may be gone, each for itself, and stand in the index all the same.
    pub(super) thinned: u64,
    pub(super) accounts: Accounts<'a>,
}

impl Looking<'_, '_> {
    pub(super) async fn look(
        &mut self,
        page: &mut Collector,
        counter: &mut Counter,
    ) -> Result<(), Failed> {
        let filter = self.filter;
        let mut segments = self
            .part
            .segments(filter.since, filter.until, &self.shelf)
            .await
            .map_err(Failed::Index)?;
        let removed = self.first.saturating_sub(self.part.start);
        let removed = u32::try_from(removed).unwrap_or(u32::MAX);
        segments
            .iter_mut()
            .for_each(|segment| segment.from = segment.from.max(removed));
        segments.retain(|segment| segment.from < segment.to);
        if page.descending {
            segments.reverse();
        }
        for segment in &segments {
            if !page.is_full() {
                self.fill(page, *segment).await?;
            }
        }
        for segment in &segments {
            if counter.counts() {
                self.count(counter, *segment).await?;
            }
            self.tell_unreadable(page, *segment).await?;
        }
        Ok(())
    }

    /// Tells the workspace's records that the index could not read.
    async fn tell_unreadable(
        &mut self,
        page: &mut Collector,
        segment: Segment,
    ) -> Result<(), Failed> {
        let start = self.part.start;
        let (from, to) = page.within(
            start + u64::from(segment.from),
            start + u64::from(segment.to),
        );
        let Some(bounds) = self.offsets(from, to) else {
            return Ok(());
        };
        let plan = self.plan.unreadable();
        let mut walk = Walk::new(&self.part, &plan, bounds, page.descending);
        let mut pages = MAX_UNREADABLE as u32;
        while page.unreadable.len() < MAX_UNREADABLE
            && let Some(offset) = walk
                .next(&mut self.part, &self.shelf, &mut pages)
                .await
                .map_err(Failed::Index)?
        {
            page.unreadable(start + u64::from(offset));
        }
        Ok(())
    }

    async fn fill(&mut self, page: &mut Collector, segment: Segment) -> Result<(), Failed> {
        let start = self.part.start;
        let (from, to) = page.within(
            start + u64::from(segment.from),
            start + u64::from(segment.to),
        );
        let Some((from, to)) = self.offsets(from, to) else {
            return Ok(());
        };
        let known = self.knows(segment);
        let mut walk = Walk::new(&self.part, self.plan, (from, to), page.descending);
        let mut unlimited = u32::MAX;
        let mut opened = 0;
        while !page.is_full()
            && let Some(offset) = walk
                .next(&mut self.part, &self.shelf, &mut unlimited)
                .await
                .map_err(Failed::Index)?
        {
            unlimited = u32::MAX;
            let sequence = start + u64::from(offset);
            if known && page.note(sequence) {
                continue;
            }
            match self.open(sequence, &mut opened).await? {
                Some(Ok(found)) => page.offer(found),
                Some(Err(sequence)) => page.unreadable(sequence),
                None => {}
            }
        }
        Ok(())
    }

    /// Whether whatever the index names in a segment is there, and matches.
    fn knows(&self, segment: Segment) -> bool {
        let begins = self.part.start + u64::from(segment.from);
        segment.inside && self.plan.exact && begins >= self.thinned
    }

    /// Sequence numbers as offsets, where there are any.
    fn offsets(&self, from: u64, to: u64) -> Option<(u32, u32)> {
        let offset = |sequence: u64| u32::try_from(sequence.checked_sub(self.part.start)?).ok();
        (from < to).then(|| Some((offset(from)?, offset(to)?)))?
    }

    /// The record, where it is what is looked for; its number, where nobody can tell, or where it is missing.
    async fn open(&mut self, sequence: u64, opened: &mut u32) -> Result<Option<Found>, Failed> {
        *opened += 1;
        if opened.is_multiple_of(RECORDS_PER_TURN) {
            tokio::task::yield_now().await;
        }
        let known = self.accounts.knows_missing(sequence);
        let found = match known {
            true => None,
            false => self.records.get(sequence).await?,
        };
        let found = match found {
            None if known || self.accounts.lacks(sequence).await? => Some(Err(sequence)),
            found => found,
        };
        Ok(found.filter(|found| match found {
            Ok(found) => self.filter.matches(&found.record),
            Err(_) => true,
        }))
    }

    async fn count(&mut self, counter: &mut Counter, segment: Segment) -> Result<(), Failed> {
        let bounds = (segment.from, segment.to);
        let known = self.knows(segment);
        // The members of a group exclude each other: no record has two events.
        if let Some(terms) = self.plan.only_group().filter(|_| known) {
            for term in terms {
                let count = self.part.count(*term, bounds, &self.shelf).await;
                counter.add(count.map_err(Failed::Index)?);
            }
            return Ok(());
        }
        let descending = false;
        let mut walk = Walk::new(&self.part, self.plan, bounds, descending);
        let mut opened = 0;
        while let Some(offset) = walk
            .next(&mut self.part, &self.shelf, &mut counter.pages)
            .await
            .map_err(Failed::Index)?
        {
            if known {
                counter.add(1);
                continue;
            }
            let Some(left) = counter.records.checked_sub(1) else {
                counter.give_up();
                return Ok(());
            };
            counter.records = left;
            let sequence = self.part.start + u64::from(offset);
            let matches = matches!(self.open(sequence, &mut opened).await?, Some(Ok(_)));
            counter.add(u64::from(matches));
        }
        if counter.pages == 0 {
            counter.give_up();
        }
        Ok(())
    }
}
