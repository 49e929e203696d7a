//! The newest indexed records, which are in no run yet.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use smallvec::SmallVec;

use super::{
    format::{Page, Segment, Writer, ZONE_RECORDS, Zone, add_segment, in_range},
    list::List,
    run::Part,
    terms::Plan,
};
use crate::domain::time::Timestamp;

/// Terms are hashes already.
#[derive(Default)]
pub(super) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Only `u64` is ever hashed; any other key would still be hashed, badly.
        bytes
            .iter()
            .for_each(|byte| self.0 = (self.0 << 8) | u64::from(*byte));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// Most terms are of one record: an id. Such a list is held in place.
type Offsets = SmallVec<[u32; 4]>;
type Lists = HashMap<u64, Offsets, BuildHasherDefault<AsItIs>>;

/// Lists in memory, over the records from `start`.
#[derive(Default)]
pub(super) struct Memory {
    start: u64,
    records: u32,
    lists: Lists,
    zones: Vec<Zone>,
}

/// What a batch of records adds.
#[derive(Default)]
pub(super) struct Batch {
    postings: Vec<(u64, u32)>,
    times: Vec<Option<Timestamp>>,
}

impl Batch {
    /// A record's time; its terms follow. One without a time is found by nothing.
    pub(super) fn record(&mut self, time: Option<Timestamp>) {
        self.times.push(time);
    }

    /// A term of the record that was added last.
    pub(super) fn term(&mut self, term: u64) {
        let record = (self.times.len() as u32).saturating_sub(1);
        self.postings.push((term, record));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// Records that were added.
    pub(super) fn len(&self) -> u64 {
        self.times.len() as u64
    }
}

impl Memory {
    /// Nothing yet, of the records from `start`.
    pub(super) fn from(start: u64) -> Self {
        Self {
            start,
            ..Self::default()
        }
    }

    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// The first record that is not in it.
    pub(super) fn end(&self) -> u64 {
        self.start + u64::from(self.records)
    }

    pub(super) fn records(&self) -> u32 {
        self.records
    }

    pub(super) fn add(&mut self, batch: &Batch) {
        for (term, record) in &batch.postings {
            let offset = self.records + record;
            let list = self.lists.entry(*term).or_default();
            // A record may have a term twice.
            if list.last() != Some(&offset) {
                list.push(offset);
            }
        }
        for time in &batch.times {
            if self.records.is_multiple_of(ZONE_RECORDS) {
                self.zones.push(Zone {
                    offset: self.records,
                    oldest: u64::MAX,
                    newest: 0,
                });
            }
            if let (Some(zone), Some(time)) = (self.zones.last_mut(), time) {
                zone.oldest = zone.oldest.min(time.as_millis());
                zone.newest = zone.newest.max(time.as_millis());
            }
            self.records += 1;
        }
    }

    /// What a plan needs of it, where there is anything.
    pub(super) fn part(&self, plan: &Plan) -> Option<Part> {
        let list = |term| Some((term, self.lists.get(&term)?.clone()));
        let snapshot = Snapshot {
            lists: plan.terms().filter_map(list).collect(),
            zones: self.zones.clone(),
            records: self.records,
        };
        (self.records > 0).then(|| Part::in_memory(self.start, snapshot))
    }

    /// The pages of a run of it.
    pub(super) fn pages(&self) -> Vec<Page> {
        let mut writer = Writer::default();
        let mut lists: Vec<_> = self.lists.iter().collect();
        lists.sort_unstable_by_key(|(term, _)| **term);
        for (term, offsets) in lists {
            offsets
                .iter()
                .for_each(|offset| writer.posting(*term, *offset));
        }
        self.zones.iter().for_each(|zone| writer.zone(*zone));
        writer.finish()
    }
}

/// A copy of some lists.
pub(in crate::audit) struct Snapshot {
    lists: HashMap<u64, Offsets>,
    zones: Vec<Zone>,
    pub(super) records: u32,
}

impl Snapshot {
    pub(super) fn list(&self, term: u64) -> List {
        let offsets = self.lists.get(&term).map(|list| list.to_vec());
        List::whole(term, offsets.unwrap_or_default())
    }

    pub(super) fn count(&self, term: u64, from: u32, to: u32) -> u64 {
        let list = self.lists.get(&term).map_or(&[][..], Offsets::as_slice);
        let below = |limit: u32| list.partition_point(|offset| *offset < limit) as u64;
        below(to).saturating_sub(below(from))
    }

    pub(super) fn segments(
        &self,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Vec<Segment> {
        let mut segments = Vec::new();
        for (at, zone) in self.zones.iter().enumerate() {
            let to = self
                .zones
                .get(at + 1)
                .map_or(self.records, |next| next.offset);
            let inside = match in_range(zone, since, until) {
                Some(false) => continue,
                inside => inside.is_some(),
            };
            let from = zone.offset;
            add_segment(&mut segments, Segment { from, to, inside });
        }
        segments
    }
}
