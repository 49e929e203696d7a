//! Reading the log of one workspace: filters, order, pages. Nothing of another workspace is opened.

use std::sync::Arc;

use super::{block, leaf};
use crate::{
    crypto::keyring::Keyring,
    domain::{
        error::{Error, Result},
        event::{Actor, AuditRecord, EventName, Outcome},
        id::{LeaseId, WorkspaceId},
        time::{Span, Timestamp},
    },
    store::{
        codec, key,
        port::{Scan, Store},
    },
};

/// Records of one commit group may be written in another order than their times; no group spans this long.
pub(super) const TIME_SLACK: Span = Span::from_secs(60);
/// Blocks read before other tasks get their turn.
const BLOCKS_PER_TURN: usize = 64;

/// Which records to give back. Every given filter must match.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    pub event: Option<EventName>,
    /// The name of the acting identity, or of the lease's holder.
    pub identity: Option<String>,
    pub credential_name: Option<String>,
    pub lease: Option<LeaseId>,
    pub session: Option<String>,
    pub request_id: Option<String>,
    /// `success` or `refused`.
    pub refused: Option<bool>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

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
    /// Records that match, on every page.
    pub total: u64,
}

impl AuditFilter {
    fn matches(&self, record: &AuditRecord) -> bool {
        let object = &record.object;
        let actor = match &record.actor {
            Actor::Identity { name, .. } => Some(name.as_str()),
            Actor::Vault { .. } => None,
        };
        self.event.is_none_or(|event| event == record.event)
            && self.identity.as_deref().is_none_or(|name| {
                actor == Some(name)
                    || object
                        .holder_name
                        .as_ref()
                        .is_some_and(|holder| holder.as_str() == name)
            })
            && self.credential_name.as_deref().is_none_or(|name| {
                object
                    .credential_name
                    .as_ref()
                    .is_some_and(|of| of.as_str() == name)
            })
            && self.lease.is_none_or(|lease| object.lease == Some(lease))
            && self
                .session
                .as_deref()
                .is_none_or(|session| object.session.as_deref() == Some(session))
            && self
                .request_id
                .as_deref()
                .is_none_or(|id| record.request_ids().any(|one| one == id))
            && self
                .refused
                .is_none_or(|refused| refused == matches!(record.outcome, Outcome::Refused { .. }))
            && self.since.is_none_or(|since| record.time >= since)
            && self.until.is_none_or(|until| record.time < until)
    }
}

/// Reads the log.
pub struct Reader<'a> {
    pub store: &'a dyn Store,
    pub keyring: &'a Arc<Keyring>,
    pub workspace: WorkspaceId,
}

impl Reader<'_> {
    /// The records that match, in the order of the window.
    pub async fn query(&self, filter: &AuditFilter, window: Window) -> Result<AuditPage> {
        let mut page = AuditPage {
            records: Vec::new(),
            more: false,
            total: 0,
        };
        let mut skip = window.offset;
        let mut scan = self.range(filter).await?;
        scan.reverse = window.newest_first;
        scan.limit = BLOCKS_PER_TURN;
        loop {
            let blocks = self.store.scan(&scan).await?;
            let Some((last, _)) = blocks.last() else {
                return Ok(page);
            };
            scan = scan.after(last);
            for (at, block) in &blocks {
                let mut records = self.open(at, block)?;
                if window.newest_first {
                    records.reverse();
                }
                for found in records
                    .into_iter()
                    .filter(|found| filter.matches(&found.record))
                {
                    page.total += 1;
                    let passed = window.after.is_none_or(|after| {
                        if window.newest_first {
                            found.sequence < after
                        } else {
                            found.sequence > after
                        }
                    });
                    if !passed {
                        continue;
                    }
                    if skip > 0 {
                        skip -= 1;
                    } else if page.records.len() < window.limit {
                        page.records.push(found);
                    } else {
                        page.more = true;
                    }
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// The next records that match behind a sequence number, oldest first: at most `limit`, and no block more is read.
    pub async fn next(
        &self,
        filter: &AuditFilter,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Numbered>> {
        let mut scan = self.range(filter).await?;
        scan.limit = BLOCKS_PER_TURN;
        if let Some(after) = after {
            // The block that holds that record.
            let holds = Scan {
                end: key::audit(after.saturating_add(1)),
                reverse: true,
                limit: 1,
                ..key::audits(0)
            };
            if let Some((at, _)) = self.store.scan(&holds).await?.pop() {
                scan.start = scan.start.max(at);
            }
        }
        let mut found = Vec::new();
        loop {
            let blocks = self.store.scan(&scan).await?;
            let Some((last, _)) = blocks.last() else {
                return Ok(found);
            };
            scan = scan.after(last);
            for (at, block) in &blocks {
                let records = self.open(at, block)?.into_iter();
                found.extend(records.filter(|one| {
                    after.is_none_or(|after| one.sequence > after) && filter.matches(&one.record)
                }));
                if found.len() >= limit {
                    found.truncate(limit);
                    return Ok(found);
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// The workspace's records in a block.
    fn open(&self, at: &[u8], block: &[u8]) -> Result<Vec<Numbered>> {
        let first = key::parse_audit(at).ok_or_else(|| Error::internal("malformed audit key"))?;
        let keys = self.keyring.workspace(self.workspace)?;
        let mut records = Vec::new();
        for (sequence, entry) in (first..).zip(block::entries(block)?) {
            if entry.workspace != self.workspace {
                continue;
            }
            let encoded = keys.open_audit(sequence, entry.sealed)?;
            if leaf::digest(&encoded) != entry.content {
                return Err(Error::internal("an audit record does not fit its digest"));
            }
            records.push(Numbered {
                sequence,
                record: codec::decode(&encoded).map_err(Error::internal)?,
            });
        }
        Ok(records)
    }

    /// The blocks that can hold matching records: the log is in the order of time, so a time range is a range
    /// of blocks, found by bisection.
    async fn range(&self, filter: &AuditFilter) -> Result<Scan> {
        let mut scan = key::audits(0);
        let newest = Scan {
            reverse: true,
            limit: 1,
            ..key::audits(0)
        };
        let Some((last, _)) = self.store.scan(&newest).await?.pop() else {
            return Ok(scan);
        };
        let last = key::parse_audit(&last).unwrap_or(0);
        if let Some(since) = filter.since {
            let from = self.bisect(last, since.minus(TIME_SLACK)).await?;
            // The block before may reach into the range.
            let before = Scan {
                end: key::audit(from),
                reverse: true,
                limit: 1,
                ..key::audits(0)
            };
            scan.start = match self.store.scan(&before).await?.pop() {
                Some((at, _)) => at,
                None => key::audit(from),
            };
        }
        if let Some(until) = filter.until {
            scan.end = key::audit(
                self.bisect(last, until.plus(TIME_SLACK))
                    .await?
                    .saturating_add(1),
            );
        }
        Ok(scan)
    }

    /// The lowest sequence number from which every block begins at or after `time`.
    async fn bisect(&self, last: u64, time: Timestamp) -> Result<u64> {
        let (mut low, mut high) = (0, last + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            let next = Scan {
                limit: 1,
                ..key::audits(middle)
            };
            let begins = match self.store.scan(&next).await?.pop() {
                Some((at, block)) => self.time_of(&at, &block)?,
                None => None,
            };
            match begins {
                Some(begins) if begins < time => low = middle + 1,
                _ => high = middle,
            }
        }
        Ok(low)
    }

    /// The time of a block's first record, whichever workspace it belongs to; nothing else of it is looked at.
    fn time_of(&self, at: &[u8], block: &[u8]) -> Result<Option<Timestamp>> {
        let first = key::parse_audit(at).ok_or_else(|| Error::internal("malformed audit key"))?;
        let Some(entry) = block::entries(block)?.into_iter().next() else {
            return Ok(None);
        };
        let encoded = self
            .keyring
            .workspace(entry.workspace)?
            .open_audit(first, entry.sealed)?;
        Ok(Some(
            codec::decode::<AuditRecord>(&encoded)
                .map_err(Error::internal)?
                .time,
        ))
    }

    /// What reading a time range rests on: the number that its first record has at the least, and the newest number
    /// there is; none where the log is empty. Of either nothing is opened.
    pub async fn span(&self, since: Option<Timestamp>) -> Result<Option<(u64, u64)>> {
        let newest = Scan {
            reverse: true,
            limit: 1,
            ..key::audits(0)
        };
        let malformed = || Error::internal("malformed audit key");
        let Some((at, block)) = self.store.scan(&newest).await?.pop() else {
            return Ok(None);
        };
        let last = key::parse_audit(&at).ok_or_else(malformed)?
            + (block::entries(&block)?.len() as u64).saturating_sub(1);
        let filter = AuditFilter {
            since,
            ..AuditFilter::default()
        };
        let mut scan = self.range(&filter).await?;
        scan.limit = 1;
        let first = match self.store.scan(&scan).await?.pop() {
            Some((at, _)) => key::parse_audit(&at).ok_or_else(malformed)?,
            None => last,
        };
        Ok(Some((first, last)))
    }
}
