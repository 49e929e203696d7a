//! Reading the parts of the index: the runs in the store, and what is in memory.

use std::sync::{Arc, OnceLock};

use zeroize::Zeroizing;

use super::{
    RunMeta,
    format::{
        FENCES, Fence, PAGE_ROWS, POSTINGS, ROOT, Root, Segment, ZONES, Zone, add_segment,
        in_range, offsets, rank, rows,
    },
    list::List,
    memory::Snapshot,
};
use crate::{
    crypto::{
        envelope::{RecordType, Slot},
        keyring::Keyring,
    },
    domain::{
        error::{Error, Result},
        id::WorkspaceId,
        time::Timestamp,
    },
    store::{key, port::Store},
};

type Id = (u64, u8, u32);

fn slot_id((run, layer, number): Id) -> [u8; 13] {
    let mut id = [0; 13];
    let bytes = run.to_be_bytes().into_iter().chain([layer]);
    let bytes = bytes.chain(number.to_be_bytes());
    id.iter_mut().zip(bytes).for_each(|(id, byte)| *id = byte);
    id
}

pub(super) fn open_page(keyring: &Keyring, at: Id, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let slot = Slot {
        kind: RecordType::AuditIndexPage,
        id: &slot_id(at),
        version: 0,
    };
    keyring.workspace(WorkspaceId::SYSTEM)?.open(slot, sealed)
}

pub(super) fn seal_page(keyring: &Keyring, at: Id, page: &[u8]) -> Result<Vec<u8>> {
    let slot = Slot {
        kind: RecordType::AuditIndexPage,
        id: &slot_id(at),
        version: 0,
    };
    keyring
        .workspace(WorkspaceId::SYSTEM)?
        .seal(slot, &[], page)
}

/// Where pages are read.
#[derive(Clone, Copy)]
pub(in crate::audit) struct Shelf<'a> {
    pub(in crate::audit) store: &'a dyn Store,
    pub(in crate::audit) keyring: &'a Keyring,
}

impl Shelf<'_> {
    pub(super) async fn page(&self, at: Id) -> Result<Zeroizing<Vec<u8>>> {
        let (run, layer, number) = at;
        let found = self
            .store
            .get(&key::audit_index_page(run, layer, number))
            .await?;
        let sealed =
            found.ok_or_else(|| Error::internal("a page of the audit index is missing"))?;
        open_page(self.keyring, at, &sealed)
    }
}

/// A run in the store. Whoever holds one can read its pages: they are removed only once nobody does.
pub(super) struct Run {
    pub(super) meta: RunMeta,
    root: OnceLock<Root>,
    postings_pages: OnceLock<u32>,
}

impl Run {
    pub(super) fn new(meta: RunMeta) -> Arc<Self> {
        Arc::new(Self {
            meta,
            root: OnceLock::new(),
            postings_pages: OnceLock::new(),
        })
    }

    /// How many pages of postings there are, which the last page of fences tells.
    pub(super) async fn postings_pages(&self, shelf: &Shelf<'_>) -> Result<u32> {
        if let Some(pages) = self.postings_pages.get() {
            return Ok(*pages);
        }
        let pages = match self.root(shelf).await?.fences.len().checked_sub(1) {
            None => 0,
            Some(last) => {
                let number = u32::try_from(last).map_err(Error::internal)?;
                let read = shelf.page((self.meta.number, FENCES, number)).await?;
                let more: Vec<Fence> = rows(&read)?;
                u32::try_from(last * PAGE_ROWS + more.len()).map_err(Error::internal)?
            }
        };
        let _ = self.postings_pages.set(pages);
        Ok(pages)
    }

    pub(super) async fn root(&self, shelf: &Shelf<'_>) -> Result<&Root> {
        if self.root.get().is_none() {
            let page = shelf.page((self.meta.number, ROOT, 0)).await?;
            let _ = self.root.set(Root::read(&page)?);
        }
        self.root
            .get()
            .ok_or_else(|| Error::internal("a root was not kept"))
    }
}

/// A part of the index, as one query reads it.
pub(in crate::audit) struct Part {
    /// The first record that it covers.
    pub(in crate::audit) start: u64,
    /// The first one behind it.
    pub(in crate::audit) end: u64,
    kind: Kind,
}

enum Kind {
    Stored(Stored),
    Memory(Snapshot),
}

/// A run, and the pages of it that were read last.
struct Stored {
    run: Arc<Run>,
    fences: Option<(usize, Vec<Fence>)>,
    postings: Option<(u32, Zeroizing<Vec<u8>>)>,
}

/// A page of postings, by its first one and that of the next page.
struct Place {
    number: u32,
    first: Fence,
    next: Option<Fence>,
}

impl Stored {
    /// The page on which a posting is, or would be; none before the first one. `next` is then the first of all.
    async fn place(
        &mut self,
        (term, offset): (u64, u32),
        shelf: &Shelf<'_>,
    ) -> Result<(Option<Place>, Option<Fence>)> {
        let run = self.run.clone();
        let root = run.root(shelf).await?;
        let upto = |fence: &Fence| (fence.term, fence.offset) <= (term, offset);
        let Some(page) = root.fences.partition_point(upto).checked_sub(1) else {
            return Ok((None, root.fences.first().copied()));
        };
        if self.fences.as_ref().is_none_or(|(at, _)| *at != page) {
            let number = u32::try_from(page).map_err(Error::internal)?;
            let read = shelf.page((run.meta.number, FENCES, number)).await?;
            self.fences = Some((page, rows(&read)?));
        }
        let fences = self.fences.as_ref().map_or(&[][..], |(_, rows)| rows);
        let at = fences.partition_point(upto).saturating_sub(1);
        let first = fences.get(at).copied();
        let first = first.ok_or_else(|| Error::internal("a page of fences is empty"))?;
        let next = fences.get(at + 1).or_else(|| root.fences.get(page + 1));
        let number = u32::try_from(page * PAGE_ROWS + at).map_err(Error::internal)?;
        let place = Place {
            number,
            first,
            next: next.copied(),
        };
        Ok((Some(place), None))
    }

    async fn postings(&mut self, number: u32, shelf: &Shelf<'_>) -> Result<&[u8]> {
        if self.postings.as_ref().is_none_or(|(at, _)| *at != number) {
            let page = shelf.page((self.run.meta.number, POSTINGS, number)).await?;
            self.postings = Some((number, page));
        }
        Ok(self.postings.as_ref().map_or(&[][..], |(_, page)| page))
    }

    /// Reads a term's postings around an offset into a list.
    async fn fill(&mut self, list: &mut List, offset: u32, shelf: &Shelf<'_>) -> Result<()> {
        let term = list.term;
        // The last offset before those of the next page, where that goes on with the term.
        let until = |next: Option<Fence>| match next {
            Some(next) if next.term == term => next.offset.saturating_sub(1),
            _ => u32::MAX,
        };
        match self.place((term, offset), shelf).await? {
            (None, first) => list.fill(Vec::new(), 0, until(first)),
            (Some(place), _) => {
                let from = match place.first.term == term {
                    true => place.first.offset,
                    false => 0,
                };
                let page = self.postings(place.number, shelf).await?;
                list.fill(offsets(page, term)?, from, until(place.next));
            }
        }
        Ok(())
    }

    /// How many postings of the run come before this one.
    async fn rank(&mut self, before: (u64, u32), shelf: &Shelf<'_>) -> Result<u64> {
        let (Some(place), _) = self.place(before, shelf).await? else {
            return Ok(0);
        };
        if (place.first.term, place.first.offset) == before {
            return Ok(place.first.rank);
        }
        let page = self.postings(place.number, shelf).await?;
        Ok(place.first.rank + rank(page, before)?)
    }

    async fn segments(
        &self,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
        shelf: &Shelf<'_>,
    ) -> Result<Vec<Segment>> {
        let meta = self.run.meta;
        let records = u32::try_from(meta.end - meta.start).map_err(Error::internal)?;
        let mut segments = Vec::new();
        if since.is_none() && until.is_none() {
            let whole = Segment {
                from: 0,
                to: records,
                inside: true,
            };
            add_segment(&mut segments, whole);
            return Ok(segments);
        }
        let root = self.run.root(shelf).await?;
        let mut add = |zone: &Zone, next: Option<u32>, inside| {
            let segment = Segment {
                from: zone.offset,
                to: next.unwrap_or(records),
                inside,
            };
            add_segment(&mut segments, segment);
        };
        for (number, page) in (0..).zip(&root.zones) {
            let next_page = root.zones.get(number as usize + 1).map(|next| next.offset);
            match in_range(page, since, until) {
                Some(false) => {}
                Some(true) => add(page, next_page, true),
                None => {
                    let read = shelf.page((meta.number, ZONES, number)).await?;
                    let zones: Vec<Zone> = rows(&read)?;
                    for (at, zone) in zones.iter().enumerate() {
                        let next = zones.get(at + 1).map(|next| next.offset).or(next_page);
                        match in_range(zone, since, until) {
                            Some(false) => {}
                            inside => add(zone, next, inside.is_some()),
                        }
                    }
                }
            }
        }
        Ok(segments)
    }
}

impl Part {
    pub(super) fn stored(run: Arc<Run>) -> Self {
        Self {
            start: run.meta.start,
            end: run.meta.end,
            kind: Kind::Stored(Stored {
                run,
                fences: None,
                postings: None,
            }),
        }
    }

    pub(super) fn in_memory(start: u64, snapshot: Snapshot) -> Self {
        Self {
            start,
            end: start + u64::from(snapshot.records),
            kind: Kind::Memory(snapshot),
        }
    }

    pub(super) fn list(&self, term: u64) -> List {
        match &self.kind {
            Kind::Stored(_) => List::unread(term),
            Kind::Memory(snapshot) => snapshot.list(term),
        }
    }

    pub(super) async fn fill(
        &mut self,
        list: &mut List,
        offset: u32,
        shelf: &Shelf<'_>,
    ) -> Result<()> {
        match &mut self.kind {
            Kind::Stored(stored) => stored.fill(list, offset, shelf).await,
            Kind::Memory(snapshot) => {
                *list = snapshot.list(list.term);
                Ok(())
            }
        }
    }

    /// How many postings a term has from offset `from` to before `to`.
    pub(in crate::audit) async fn count(
        &mut self,
        term: u64,
        (from, to): (u32, u32),
        shelf: &Shelf<'_>,
    ) -> Result<u64> {
        match &mut self.kind {
            Kind::Stored(stored) => {
                let before = stored.rank((term, from), shelf).await?;
                let upto = stored.rank((term, to), shelf).await?;
                Ok(upto.saturating_sub(before))
            }
            Kind::Memory(snapshot) => Ok(snapshot.count(term, from, to)),
        }
    }

    /// The rows of records whose times are, or may be, in the range.
    pub(in crate::audit) async fn segments(
        &self,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
        shelf: &Shelf<'_>,
    ) -> Result<Vec<Segment>> {
        match &self.kind {
            Kind::Stored(stored) => stored.segments(since, until, shelf).await,
            Kind::Memory(snapshot) => Ok(snapshot.segments(since, until)),
        }
    }
}
