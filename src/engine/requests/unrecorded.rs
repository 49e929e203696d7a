//! What was answered while the store took no writes: remembered within bounds, then counted.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::{
    event::{AuditRecord, Change},
    time::Timestamp,
};

/// Requests that are remembered. Bounds memory: a few hundred bytes each.
const MAX_KEPT: usize = 4096;

/// Requests that are only counted any more.
#[derive(Clone, Copy)]
pub(super) struct Lost {
    count: u64,
    first: Timestamp,
    last: Timestamp,
}

/// What is to be written down as soon as that is possible.
#[derive(Default)]
pub(super) struct Late {
    pub(super) records: Vec<AuditRecord>,
    pub(super) lost: Option<Lost>,
}

#[derive(Default)]
pub(super) struct Unrecorded(Mutex<Late>);

impl Lost {
    pub(super) fn told(&self) -> String {
        "requests were answered while the store took no writes, more than were remembered"
            .to_owned()
    }

    pub(super) fn changes(&self) -> Vec<Change> {
        let fact = |field: &str, after: String| Change {
            field: field.into(),
            before: None,
            after: Some(after.into()),
        };
        vec![
            fact("count", self.count.to_string()),
            fact("first", self.first.to_string()),
            fact("last", self.last.to_string()),
        ]
    }

    fn and(self, other: Option<Self>) -> Self {
        other.map_or(self, |other| Self {
            count: self.count + other.count,
            first: self.first.min(other.first),
            last: self.last.max(other.last),
        })
    }
}

impl Late {
    fn requests(&self) -> usize {
        self.records
            .iter()
            .map(|record| record.requests.len())
            .sum()
    }

    fn is_empty(&self) -> bool {
        self.records.is_empty() && self.lost.is_none()
    }
}

impl Unrecorded {
    fn late(&self) -> MutexGuard<'_, Late> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is nothing to write down.
    pub(super) fn is_empty(&self) -> bool {
        self.late().is_empty()
    }

    /// Requests that are in no history.
    pub(super) fn len(&self) -> u64 {
        let late = self.late();
        late.requests() as u64 + late.lost.map_or(0, |lost| lost.count)
    }

    /// Remembers records that could not be written, the older ones first; counts what there is no room for.
    pub(super) fn keep(&self, records: impl Iterator<Item = AuditRecord>) {
        let mut late = self.late();
        if late.is_empty() {
            tracing::warn!(
                "requests are answered and cannot be recorded: the store takes no writes"
            );
        }
        let mut kept = late.requests();
        for record in records {
            let count = record.requests.len();
            if kept + count <= MAX_KEPT {
                kept += count;
                late.records.push(record);
                continue;
            }
            let times = record.requests.iter().map(|request| request.time);
            let lost = Lost {
                count: count as u64,
                first: times.clone().min().unwrap_or(record.time),
                last: times.max().unwrap_or(record.time),
            };
            late.lost = Some(lost.and(late.lost));
            metrics::counter!("leasehold_requests_unrecorded_total").increment(count as u64);
        }
        tell(&late);
    }

    /// All of it, if there is any.
    pub(super) fn take(&self) -> Option<Late> {
        let mut held = self.late();
        let late = std::mem::take(&mut *held);
        tell(&held);
        (!late.is_empty()).then_some(late)
    }

    /// Takes back what could not be written.
    pub(super) fn put_back(&self, late: Late) {
        let mut held = self.late();
        let newer = std::mem::replace(&mut *held, late);
        held.records.extend(newer.records);
        held.lost = match (held.lost, newer.lost) {
            (Some(lost), other) => Some(lost.and(other)),
            (None, other) => other,
        };
        tell(&held);
    }
}

fn tell(late: &Late) {
    metrics::gauge!("leasehold_requests_to_record").set(late.requests() as f64);
}
