//! The pages of a run, before they are sealed.
//!
//! ```text
//! layer 0, postings = list ‖ list ‖ …                            by term
//! list              = term(varint) ‖ offset + 1 ‖ gap ‖ … ‖ 0    varints (LEB128); the term less the one before it
//!                                                                in the page; an offset counts from the run's start
//! layer 1, fences   = fence ‖ fence ‖ …                          one for each page of postings
//! fence             = term(8, BE) ‖ offset(4, BE) ‖ rank(8, BE)  of the page's first posting; rank is its place in the run
//! layer 2, zones    = zone ‖ zone ‖ …                            one for each row of records, with their times
//! zone              = offset(4, BE) ‖ oldest(8, BE) ‖ newest(8, BE)
//! layer 3, root     = count(4, BE) ‖ fence ‖ … ‖ zone ‖ …        of each page of fences, and of zones
//! ```
//!
//! A list may go on in the next page. A term alone is some 12 bytes; in a long list a posting is one byte.

use crate::domain::{
    error::{Error, Result},
    time::Timestamp,
};

/// Bytes of a page: sealed, it stays in one piece in every engine. The unit tests have tiny pages and zones, so that
/// few records make runs of many.
const PAGE_BYTES: usize = if cfg!(test) { 72 } else { 4032 };
/// Bytes that another posting may take: the end of the list before, a term, an offset, an end.
const POSTING_BYTES: usize = 1 + 10 + 5 + 1;
/// Bytes of a fence, and of a zone.
const ROW_BYTES: usize = 20;
/// Fences, or zones, on a page.
pub(super) const PAGE_ROWS: usize = if cfg!(test) { 3 } else { 200 };
/// Records in a zone.
pub(super) const ZONE_RECORDS: u32 = if cfg!(test) { 4 } else { 256 };

pub(super) const POSTINGS: u8 = 0;
pub(super) const FENCES: u8 = 1;
pub(super) const ZONES: u8 = 2;
pub(super) const ROOT: u8 = 3;

fn damaged() -> Error {
    Error::internal("a page of the audit index is damaged")
}

fn put_varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

fn take_varint(from: &mut &[u8]) -> Result<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = from.split_first().ok_or_else(damaged)?;
        *from = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(damaged())
}

/// The first posting of a page of postings, or of fences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fence {
    pub(super) term: u64,
    pub(super) offset: u32,
    pub(super) rank: u64,
}

/// The times of a row of records, from `offset` to the next zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Zone {
    pub(super) offset: u32,
    pub(super) oldest: u64,
    pub(super) newest: u64,
}

pub(super) trait Row: Sized {
    fn parts(&self) -> (u64, u32, u64);
    fn of(first: u64, offset: u32, last: u64) -> Self;

    fn put(&self, to: &mut Vec<u8>) {
        let (first, offset, last) = self.parts();
        to.extend_from_slice(&first.to_be_bytes());
        to.extend_from_slice(&offset.to_be_bytes());
        to.extend_from_slice(&last.to_be_bytes());
    }

    fn read(row: &[u8]) -> Result<Self> {
        let (first, rest) = row.split_first_chunk().ok_or_else(damaged)?;
        let (offset, rest) = rest.split_first_chunk().ok_or_else(damaged)?;
        let last = rest.try_into().map_err(|_| damaged())?;
        Ok(Self::of(
            u64::from_be_bytes(*first),
            u32::from_be_bytes(*offset),
            u64::from_be_bytes(last),
        ))
    }
}

impl Row for Fence {
    fn parts(&self) -> (u64, u32, u64) {
        (self.term, self.offset, self.rank)
    }

    fn of(term: u64, offset: u32, rank: u64) -> Self {
        Self { term, offset, rank }
    }
}

impl Row for Zone {
    fn parts(&self) -> (u64, u32, u64) {
        (self.oldest, self.offset, self.newest)
    }

    fn of(oldest: u64, offset: u32, newest: u64) -> Self {
        Self {
            offset,
            oldest,
            newest,
        }
    }
}

/// Reads a page of fences, or of zones.
pub(super) fn rows<T: Row>(page: &[u8]) -> Result<Vec<T>> {
    page.chunks(ROW_BYTES).map(T::read).collect()
}

/// The pages above the postings, by their first rows.
#[derive(Debug, Default)]
pub(super) struct Root {
    pub(super) fences: Vec<Fence>,
    pub(super) zones: Vec<Zone>,
}

impl Root {
    pub(super) fn read(page: &[u8]) -> Result<Self> {
        let (count, rest) = page.split_first_chunk().ok_or_else(damaged)?;
        let bytes = ROW_BYTES.saturating_mul(u32::from_be_bytes(*count) as usize);
        let (fences, zones) = rest.split_at_checked(bytes).ok_or_else(damaged)?;
        Ok(Self {
            fences: rows(fences)?,
            zones: rows(zones)?,
        })
    }

    fn write(&self) -> Vec<u8> {
        let mut page = (self.fences.len() as u32).to_be_bytes().to_vec();
        self.fences.iter().for_each(|fence| fence.put(&mut page));
        self.zones.iter().for_each(|zone| zone.put(&mut page));
        page
    }
}

/// The postings of a page, one after the other.
pub(super) struct Postings<'a> {
    rest: &'a [u8],
    term: u64,
    /// The offset before, plus one; 0 between two lists.
    last: u64,
}

impl<'a> Postings<'a> {
    pub(super) fn of(page: &'a [u8]) -> Self {
        Self {
            rest: page,
            term: 0,
            last: 0,
        }
    }

    /// The next one.
    pub(super) fn next(&mut self) -> Result<Option<(u64, u32)>> {
        loop {
            if self.last == 0 {
                if self.rest.is_empty() {
                    return Ok(None);
                }
                let above = take_varint(&mut self.rest)?;
                self.term = self.term.checked_add(above).ok_or_else(damaged)?;
            }
            match take_varint(&mut self.rest)? {
                0 if self.last == 0 => return Err(damaged()),
                0 => self.last = 0,
                gap => {
                    self.last = self.last.checked_add(gap).ok_or_else(damaged)?;
                    let offset = u32::try_from(self.last - 1).map_err(|_| damaged())?;
                    return Ok(Some((self.term, offset)));
                }
            }
        }
    }
}

/// The offsets of a term on a page.
pub(super) fn offsets(page: &[u8], term: u64) -> Result<Vec<u32>> {
    let mut postings = Postings::of(page);
    let mut found = Vec::new();
    while let Some((of, offset)) = postings.next()? {
        match of.cmp(&term) {
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Equal => found.push(offset),
            std::cmp::Ordering::Greater => break,
        }
    }
    Ok(found)
}

/// How many postings of a page come before this one.
pub(super) fn rank(page: &[u8], before: (u64, u32)) -> Result<u64> {
    let mut postings = Postings::of(page);
    let mut rank = 0;
    while postings.next()?.is_some_and(|posting| posting < before) {
        rank += 1;
    }
    Ok(rank)
}

/// A page to be sealed: its layer, its number, its bytes.
pub(super) type Page = (u8, u32, Vec<u8>);

/// Writes the pages of a run: postings in the order of terms and offsets, zones in the order of records.
#[derive(Default)]
pub(super) struct Writer {
    pages: Vec<Page>,
    root: Root,
    postings: Vec<u8>,
    postings_pages: u32,
    fences: Vec<u8>,
    zones: Vec<u8>,
    term: u64,
    /// The offset of the open list's last posting, plus one; 0 where no list is open.
    last: u64,
    rank: u64,
}

impl Writer {
    pub(super) fn posting(&mut self, term: u64, offset: u32) {
        if self.postings.len() + POSTING_BYTES > PAGE_BYTES {
            self.end_postings();
        }
        let at = u64::from(offset) + 1;
        if self.postings.is_empty() {
            self.fence(Fence {
                term,
                offset,
                rank: self.rank,
            });
            put_varint(&mut self.postings, term);
            put_varint(&mut self.postings, at);
        } else if self.term == term {
            put_varint(&mut self.postings, at.wrapping_sub(self.last));
        } else {
            self.postings.push(0);
            put_varint(&mut self.postings, term.wrapping_sub(self.term));
            put_varint(&mut self.postings, at);
        }
        (self.term, self.last) = (term, at);
        self.rank += 1;
    }

    fn end_postings(&mut self) {
        if self.postings.is_empty() {
            return;
        }
        self.postings.push(0);
        let page = std::mem::take(&mut self.postings);
        self.pages.push((POSTINGS, self.postings_pages, page));
        self.postings_pages += 1;
    }

    fn fence(&mut self, fence: Fence) {
        if self.fences.is_empty() {
            self.root.fences.push(fence);
        }
        fence.put(&mut self.fences);
        if self.fences.len() >= PAGE_ROWS * ROW_BYTES {
            self.end_fences();
        }
    }

    fn end_fences(&mut self) {
        if !self.fences.is_empty() {
            let number = self.root.fences.len() as u32 - 1;
            let page = std::mem::take(&mut self.fences);
            self.pages.push((FENCES, number, page));
        }
    }

    pub(super) fn zone(&mut self, zone: Zone) {
        match self.root.zones.last_mut() {
            Some(page) if !self.zones.is_empty() => {
                page.oldest = page.oldest.min(zone.oldest);
                page.newest = page.newest.max(zone.newest);
            }
            _ => self.root.zones.push(zone),
        }
        zone.put(&mut self.zones);
        if self.zones.len() >= PAGE_ROWS * ROW_BYTES {
            self.end_zones();
        }
    }

    fn end_zones(&mut self) {
        if !self.zones.is_empty() {
            let number = self.root.zones.len() as u32 - 1;
            let page = std::mem::take(&mut self.zones);
            self.pages.push((ZONES, number, page));
        }
    }

    /// The pages that are full by now.
    pub(super) fn ready(&mut self) -> Vec<Page> {
        std::mem::take(&mut self.pages)
    }

    /// How many those are.
    pub(super) fn waiting(&self) -> usize {
        self.pages.len()
    }

    /// All pages that are left, the root among them.
    pub(super) fn finish(mut self) -> Vec<Page> {
        self.end_postings();
        self.end_fences();
        self.end_zones();
        self.pages.push((ROOT, 0, self.root.write()));
        self.pages
    }
}

/// A row of records, and how they lie to a time range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::audit) struct Segment {
    /// Offsets from `from` to before `to`.
    pub(in crate::audit) from: u32,
    pub(in crate::audit) to: u32,
    /// All of them are in the range; else each must be looked at.
    pub(in crate::audit) inside: bool,
}

/// Whether the times of a zone are all in the range, none of them, or perhaps some.
pub(super) fn in_range(
    zone: &Zone,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
) -> Option<bool> {
    let since = since.map_or(0, Timestamp::as_millis);
    let until = until.map_or(u64::MAX, Timestamp::as_millis);
    if zone.newest < since || zone.oldest >= until {
        return Some(false);
    }
    (zone.oldest >= since && zone.newest < until).then_some(true)
}

/// Adds a segment behind others, one with the last where they are alike.
pub(super) fn add_segment(segments: &mut Vec<Segment>, segment: Segment) {
    match segments.last_mut() {
        Some(last) if last.to == segment.from && last.inside == segment.inside => {
            last.to = segment.to;
        }
        _ if segment.from < segment.to => segments.push(segment),
        _ => {}
    }
}
