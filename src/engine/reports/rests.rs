//! What a report rests on: which part of history was read, what retention had removed of it, and what is damaged.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    super::Engine,
    model::{Checkpoint, RestsOn},
    unread::Unread,
};
use crate::{
    audit::{
        query::{AuditFilter, Reader},
        removal::first_of,
        survey::{self, Progress},
    },
    domain::{
        error::Result,
        retention::EventClass,
        time::{Span, Timestamp},
    },
};

/// Times of records and of what they describe may lie apart by so much.
pub(super) const SLACK: Span = Span::from_secs(60);

const OPEN_THEN: &str = "retention has removed records of leases within this time: a lease that ended before them is not \
                         named, of another its grant, places and redemptions may be missing";
const READ_BEFORE: &str = "retention has removed records of leases from before this time: somebody who had read a value \
                           by then may not be named";
const DAMAGED: &str = "records of history are damaged or missing: leases, redemptions and denied attempts that only \
                       they tell of are not named";
const UNSEALED: &str = "the newest records are not those that the newest checkpoint is over: some are gone, or others took \
                        their places, and `leasehold audit verify` tells which";
const DENIED_THEN: &str = "retention has removed records of denied attempts within this time";

/// From where on history has every record of one class.
struct Whole {
    first: u64,
    /// When that was; none where retention has removed nothing, and the end of time where nothing is left.
    since: Option<Timestamp>,
}

impl Whole {
    async fn of(reader: &Reader<'_>, progress: &Progress, class: EventClass) -> Result<Self> {
        let of = |counts: &[u64]| counts.get(class as usize).copied().unwrap_or(0);
        if of(&progress.removed) == 0 {
            return Ok(Self {
                first: 1,
                since: None,
            });
        }
        let first = first_of(of(&progress.upto));
        let filter = AuditFilter::default();
        let next = reader.next(&filter, Some(first - 1), 1).await?.pop();
        let begins = next.map_or(Timestamp::from_millis(u64::MAX), |next| next.record.time);
        Ok(Self {
            first,
            since: Some(begins.plus(SLACK)),
        })
    }

    /// Whether something is missing from that time on.
    fn lacks(&self, from: Option<Timestamp>) -> bool {
        self.since
            .is_some_and(|whole| from.is_none_or(|from| from < whole))
    }
}

/// What retention has removed, as far as a report needs to know.
pub(super) struct Removed {
    leases: Whole,
    denials: Whole,
}

impl Removed {
    pub(super) async fn of(engine: &Engine, reader: &Reader<'_>) -> Result<Self> {
        let progress = survey::progress(&mut engine.read(), &engine.keyring).await?;
        Ok(Self {
            leases: Whole::of(reader, &progress, EventClass::Access).await?,
            denials: Whole::of(reader, &progress, EventClass::Denial).await?,
        })
    }

    /// Leases made before then may not be in history; none where all are.
    pub(super) fn leases_before(&self) -> Option<Timestamp> {
        self.leases.since
    }
}

/// What of history was read.
pub(super) struct Read {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) records: u64,
    /// Where the window begins.
    pub(super) since: Option<Timestamp>,
    /// From when on a lease can have shown one of the values.
    pub(super) read_since: Option<Timestamp>,
}

impl Engine {
    pub(super) async fn rests_on(
        &self,
        span: &Read,
        removed: &Removed,
        unread: Unread,
        reader: &Reader<'_>,
    ) -> Result<RestsOn> {
        let checkpoint = self.covering(span.last).await?;
        let missing: Vec<_> = [
            (removed.leases.lacks(span.since), OPEN_THEN),
            (
                removed.leases.lacks(span.read_since) && !removed.leases.lacks(span.since),
                READ_BEFORE,
            ),
            (removed.denials.lacks(span.since), DENIED_THEN),
            (!unread.is_empty(), DAMAGED),
            (!self.seals_hold().await?, UNSEALED),
        ]
        .into_iter()
        .filter_map(|(lacks, what)| lacks.then_some(what))
        .collect();
        let (unreadable, more_unreadable) = unread.ranges(reader).await?;
        Ok(RestsOn {
            first_sequence: span.first,
            last_sequence: span.last,
            matching_records: span.records,
            leases_from_sequence: removed.leases.first,
            denials_from_sequence: removed.denials.first,
            complete: missing.is_empty(),
            missing,
            unreadable,
            more_unreadable,
            checkpoint,
        })
    }

    /// The newest checkpoint, where it is over every record up to `last`.
    async fn covering(&self, last: u64) -> Result<Option<Checkpoint>> {
        // A report is an answer where nothing can be sealed, too.
        let newest = self.sealed_now().await.ok();
        if !self.seals_hold().await? {
            return Ok(None);
        }
        let newest = newest.map(|newest| *newest.statement());
        Ok(newest
            .filter(|newest| newest.size >= last)
            .map(|newest| Checkpoint {
                size: newest.size,
                root: STANDARD.encode(newest.root),
            }))
    }
}
