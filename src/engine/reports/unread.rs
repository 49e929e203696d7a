//! Records of history that a report should have read, and that are damaged: it may tell too little, and says where.

use std::collections::BTreeSet;

use super::model::Damaged;
use crate::{
    audit::query::{Following, Reader},
    domain::error::Result,
};

/// Ranges that a report names, and numbers that are kept until it does.
const MAX_RANGES: usize = 200;
const MAX_NUMBERS: usize = 10_000;

/// What was met of them.
#[derive(Default)]
pub(super) struct Unread {
    numbers: BTreeSet<u64>,
    more: bool,
}

impl Unread {
    /// Takes note of what one reading met, up to the record `last`.
    pub(super) fn note(&mut self, found: &Following, last: u64) {
        self.more |= found.more_unreadable;
        for sequence in found.unreadable.iter().filter(|one| **one <= last) {
            if self.numbers.len() >= MAX_NUMBERS {
                self.more = true;
                return;
            }
            self.numbers.insert(*sequence);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// The ranges, and whether there may be more.
    pub(super) async fn ranges(self, reader: &Reader<'_>) -> Result<(Vec<Damaged>, bool)> {
        let mut ranges: Vec<Damaged> = Vec::new();
        for first in self.numbers {
            if ranges.last().is_some_and(|before| first <= before.last) {
                continue;
            }
            let last = reader.damaged_through(first).await?;
            let full = ranges.len() >= MAX_RANGES;
            match ranges.last_mut().filter(|before| before.last + 1 == first) {
                Some(before) => before.last = last,
                None if full => return Ok((ranges, true)),
                None => ranges.push(Damaged { first, last }),
            }
        }
        Ok((ranges, self.more))
    }
}
