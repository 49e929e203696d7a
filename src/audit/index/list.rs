//! Lists of postings, read a page at a time, and the walk over the records that are in one list of each group.

use super::{
    run::{Part, Shelf},
    terms::Plan,
};
use crate::domain::error::Result;

/// The postings of a term in one part of the index, as far as they were read.
pub(in crate::audit) struct List {
    pub(super) term: u64,
    /// Ascending, and all there are from offset `from` to `to`.
    window: Vec<u32>,
    from: u32,
    to: u32,
    /// Where in the window the last look-up ended.
    at: usize,
    read: bool,
}

/// What a list says of an offset.
enum Next {
    At(u32),
    /// The page that has this offset must be read first.
    Unread(u32),
    End,
}

impl List {
    /// A list of which nothing was read.
    pub(super) fn unread(term: u64) -> Self {
        Self {
            term,
            window: Vec::new(),
            from: 0,
            to: 0,
            at: 0,
            read: false,
        }
    }

    /// A list that is there as a whole.
    pub(super) fn whole(term: u64, window: Vec<u32>) -> Self {
        let mut list = Self::unread(term);
        list.fill(window, 0, u32::MAX);
        list
    }

    /// All postings from `from` to `to`, both included.
    pub(super) fn fill(&mut self, window: Vec<u32>, from: u32, to: u32) {
        *self = Self {
            term: self.term,
            window,
            from,
            to,
            at: 0,
            read: true,
        };
    }

    /// What was read continues where nothing was found from this offset on.
    fn reach(&mut self, offset: u32) {
        self.from = self.from.min(offset);
        self.to = self.to.max(offset);
    }

    /// The first posting at or after an offset; the last at or before it, where the walk descends.
    fn seek(&mut self, offset: u32, descending: bool) -> Next {
        if !self.read || offset < self.from || offset > self.to {
            return Next::Unread(offset);
        }
        let window = self.window.as_slice();
        // Usually it is the one after the last.
        let below = window.partition_from(self.at, offset);
        self.at = below;
        let found = match descending {
            false => window.get(below),
            true => match window.get(below) {
                Some(exact) if *exact == offset => Some(exact),
                _ => below.checked_sub(1).and_then(|before| window.get(before)),
            },
        };
        match found {
            Some(found) => Next::At(*found),
            None if descending => self.from.checked_sub(1).map_or(Next::End, Next::Unread),
            None => self.to.checked_add(1).map_or(Next::End, Next::Unread),
        }
    }
}

trait PartitionFrom {
    /// How many are below `offset`, looked for from a place near by.
    fn partition_from(&self, near: usize, offset: u32) -> usize;
}

impl PartitionFrom for [u32] {
    fn partition_from(&self, near: usize, offset: u32) -> usize {
        let below = |at: usize| self.get(at).is_some_and(|one| *one < offset);
        let (mut low, mut high) = (0, self.len());
        if near == 0 || below(near - 1) {
            low = near.min(self.len());
            let mut step = 1;
            while below(low + step - 1) {
                low += step;
                step *= 2;
            }
            high = (low + step - 1).min(self.len());
        } else {
            high = near.min(high);
            let mut step = 1;
            while high >= step && !below(high - step) {
                high -= step;
                step *= 2;
            }
            if let Some(reached) = high.checked_sub(step) {
                low = reached;
            }
        }
        let within = self.get(low..high).unwrap_or_default();
        low + within.partition_point(|one| *one < offset)
    }
}

/// A walk over the offsets of one part that have a term of each group, within bounds, in either direction.
pub(in crate::audit) struct Walk {
    groups: Vec<Vec<List>>,
    /// Where to look next; none at the end.
    at: Option<u32>,
    /// Offsets from `from` to before `to`.
    from: u32,
    to: u32,
    descending: bool,
    read: u32,
}

/// Pages read before other tasks get their turn.
const PAGES_PER_TURN: u32 = 32;

impl Walk {
    /// A walk over offsets from `from` to before `to`.
    pub(in crate::audit) fn new(
        part: &Part,
        plan: &Plan,
        (from, to): (u32, u32),
        descending: bool,
    ) -> Self {
        let group = |terms: &Vec<u64>| terms.iter().map(|term| part.list(*term)).collect();
        let first = if descending {
            to.checked_sub(1)
        } else {
            Some(from)
        };
        Self {
            groups: plan.groups.iter().map(group).collect(),
            at: first.filter(|_| from < to),
            from,
            to,
            descending,
            read: 0,
        }
    }

    /// The next offset; each page that must be read is taken from `budget`, and where that is used up nothing more
    /// is found.
    pub(in crate::audit) async fn next(
        &mut self,
        part: &mut Part,
        shelf: &Shelf<'_>,
        budget: &mut u32,
    ) -> Result<Option<u32>> {
        while let Some(at) = self.at {
            match self.settle(at) {
                Settled::At(offset) => {
                    self.at = if self.descending {
                        offset.checked_sub(1).filter(|next| *next >= self.from)
                    } else {
                        offset.checked_add(1).filter(|next| *next < self.to)
                    };
                    return Ok(Some(offset));
                }
                Settled::End => self.at = None,
                Settled::Unread {
                    group,
                    member,
                    offset,
                    at,
                } => {
                    let Some(left) = budget.checked_sub(1) else {
                        return Ok(None);
                    };
                    *budget = left;
                    self.read += 1;
                    if self.read.is_multiple_of(PAGES_PER_TURN) {
                        tokio::task::yield_now().await;
                    }
                    let lists = self.groups.get_mut(group);
                    if let Some(list) = lists.and_then(|lists| lists.get_mut(member)) {
                        part.fill(list, offset, shelf).await?;
                        list.reach(at);
                    }
                    self.at = Some(at);
                }
            }
        }
        Ok(None)
    }

    /// Moves on until every group is at the same offset, as far as that goes without reading.
    fn settle(&mut self, mut at: u32) -> Settled {
        let descending = self.descending;
        loop {
            let mut moved = false;
            for (group, lists) in self.groups.iter_mut().enumerate() {
                let mut nearest: Option<u32> = None;
                for (member, list) in lists.iter_mut().enumerate() {
                    match list.seek(at, descending) {
                        Next::Unread(offset) => {
                            return Settled::Unread {
                                group,
                                member,
                                offset,
                                at,
                            };
                        }
                        Next::End => {}
                        Next::At(found) => {
                            nearest = Some(match nearest {
                                None => found,
                                Some(other) if descending => other.max(found),
                                Some(other) => other.min(found),
                            });
                        }
                    }
                }
                match nearest {
                    Some(found) if found >= self.from && found < self.to => {
                        moved |= found != at;
                        at = found;
                    }
                    _ => return Settled::End,
                }
            }
            if !moved {
                return Settled::At(at);
            }
        }
    }
}

enum Settled {
    At(u32),
    /// A member of a group must be read at `offset`; nothing before `at` is left.
    Unread {
        group: usize,
        member: usize,
        offset: u32,
        at: u32,
    },
    End,
}
