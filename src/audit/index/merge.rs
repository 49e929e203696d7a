//! Merging runs that follow each other into one, a bounded number of pages at a time.

use std::{cmp::Reverse, collections::BinaryHeap, sync::Arc};

use super::{
    RunMeta,
    format::{POSTINGS, Page, Postings, Writer, ZONES, Zone, rows},
    run::{Run, Shelf},
};
use crate::domain::error::{Error, Result};

/// One of the runs that are merged.
struct Input {
    run: Arc<Run>,
    /// What its offsets lie behind those of the merged run.
    behind: u32,
    /// The next page of postings, and of zones.
    postings: u32,
    zones: u32,
    page: std::vec::IntoIter<(u64, u32)>,
    first: Option<(u64, u32)>,
}

impl Input {
    /// Moves to the next posting.
    async fn advance(&mut self, shelf: &Shelf<'_>) -> Result<()> {
        self.first = self.page.next();
        if self.first.is_none() && self.postings < self.run.postings_pages(shelf).await? {
            let number = self.run.meta.number;
            let page = shelf.page((number, POSTINGS, self.postings)).await?;
            self.postings += 1;
            let mut postings = Postings::of(&page);
            let mut read = Vec::with_capacity(4096);
            while let Some(posting) = postings.next()? {
                read.push(posting);
            }
            self.page = read.into_iter();
            self.first = self.page.next();
        }
        Ok(())
    }
}

/// A merge under way.
pub(super) struct Merge {
    inputs: Vec<Input>,
    /// The next posting of each input, by term and place.
    heap: BinaryHeap<Reverse<(u64, usize)>>,
    writer: Writer,
    pub(super) into: RunMeta,
    begun: bool,
    /// The input whose zones come next.
    zones: usize,
}

impl Merge {
    /// A merge of runs that follow each other.
    pub(super) fn new(runs: &[Arc<Run>], number: u64) -> Result<Self> {
        let (Some(first), Some(last)) = (runs.first(), runs.last()) else {
            return Err(Error::internal("a merge of nothing"));
        };
        let start = first.meta.start;
        let input = |run: &Arc<Run>| {
            Ok(Input {
                behind: u32::try_from(run.meta.start - start).map_err(Error::internal)?,
                run: run.clone(),
                postings: 0,
                zones: 0,
                page: Vec::new().into_iter(),
                first: None,
            })
        };
        Ok(Self {
            inputs: runs.iter().map(input).collect::<Result<_>>()?,
            heap: BinaryHeap::new(),
            writer: Writer::default(),
            into: RunMeta {
                number,
                level: first.meta.level.saturating_add(1),
                start,
                end: last.meta.end,
            },
            begun: false,
            zones: 0,
        })
    }

    /// The runs that are merged.
    pub(super) fn inputs(&self) -> impl Iterator<Item = &Arc<Run>> {
        self.inputs.iter().map(|input| &input.run)
    }

    /// Works until there are some `pages` to be written; true where those are the last ones.
    pub(super) async fn step(
        &mut self,
        shelf: &Shelf<'_>,
        pages: usize,
    ) -> Result<(Vec<Page>, bool)> {
        if !self.begun {
            for (at, input) in self.inputs.iter_mut().enumerate() {
                input.advance(shelf).await?;
                self.heap
                    .extend(input.first.map(|(term, _)| Reverse((term, at))));
            }
            self.begun = true;
        }
        while self.writer.waiting() < pages {
            let Some(Reverse((term, at))) = self.heap.pop() else {
                return self.step_zones(shelf, pages).await;
            };
            let Some(input) = self.inputs.get_mut(at) else {
                continue;
            };
            // All of the term in one input come before those in the next one.
            while let Some((of, offset)) = input.first.filter(|(of, _)| *of == term) {
                self.writer.posting(of, input.behind + offset);
                input.advance(shelf).await?;
            }
            self.heap
                .extend(input.first.map(|(term, _)| Reverse((term, at))));
        }
        Ok((self.writer.ready(), false))
    }

    async fn step_zones(&mut self, shelf: &Shelf<'_>, pages: usize) -> Result<(Vec<Page>, bool)> {
        while let Some(input) = self.inputs.get_mut(self.zones) {
            let all = input.run.root(shelf).await?.zones.len();
            if input.zones as usize >= all {
                self.zones += 1;
                continue;
            }
            if self.writer.waiting() >= pages {
                return Ok((self.writer.ready(), false));
            }
            let page = shelf
                .page((input.run.meta.number, ZONES, input.zones))
                .await?;
            input.zones += 1;
            for zone in rows::<Zone>(&page)? {
                self.writer.zone(Zone {
                    offset: zone.offset + input.behind,
                    ..zone
                });
            }
        }
        Ok((std::mem::take(&mut self.writer).finish(), true))
    }
}
