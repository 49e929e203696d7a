//! Reading the workspace's history, once or as it grows. Every reading becomes part of it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

use super::{Call, Engine, HistoryOf, Lasting, Note};
use crate::{
    audit::{
        index::Follower,
        query::{AuditFilter, AuditPage, Following, Numbered, Reader, Window},
        removal,
    },
    authz::{Action, Resource},
    domain::{
        error::{Code, Error, Result},
        event::{Change, EventName, Object},
        id::{EventId, WorkspaceId},
        principal::Account,
    },
};

/// Live streams at a time: each reads the log a few times a second.
const MAX_STREAMS: usize = 64;
/// Those that one key may have, with the tokens that were made of it.
const MAX_STREAMS_OF_KEY: usize = 8;
/// Records that a stream reads at a time.
const STREAM_BATCH: usize = 100;
/// How long the end of all streams may take.
const STREAMS_END: Duration = Duration::from_secs(5);

/// One record, by its place in the log or by its id.
#[derive(Debug, Clone, Copy)]
pub enum WhichRecord {
    Sequence(u64),
    Id(EventId),
}

/// The live streams that are open, by whose key they were asked for with.
pub(super) struct Streams {
    open: Mutex<HashMap<Account, usize>>,
    /// How many there are.
    count: watch::Sender<usize>,
    ended: watch::Sender<bool>,
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            open: Mutex::default(),
            count: watch::Sender::new(0),
            ended: watch::Sender::new(false),
        }
    }
}

/// A stream's place, given back when it is dropped.
struct Place {
    streams: Arc<Streams>,
    of: Account,
}

impl Streams {
    fn take(self: &Arc<Self>, of: Account) -> Result<Place> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if *self.ended.borrow() {
            return Err(Error::storage("the vault is stopping"));
        }
        let own = open.entry(of).or_default();
        if *own >= MAX_STREAMS_OF_KEY || *self.count.borrow() >= MAX_STREAMS {
            let what = format!(
                "at most {MAX_STREAMS_OF_KEY} live streams of a key, and {MAX_STREAMS} of all, are open at a time"
            );
            return Err(
                Error::new(Code::QuotaExceeded, what).with("limit", MAX_STREAMS_OF_KEY as u64)
            );
        }
        *own += 1;
        self.count.send_modify(|count| *count += 1);
        let streams = self.clone();
        Ok(Place { streams, of })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self
            .streams
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = open.get_mut(&self.of) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                open.remove(&self.of);
            }
        }
        self.streams
            .count
            .send_modify(|count| *count = count.saturating_sub(1));
    }
}

/// History as it grows, for one caller. It reads the log at its reader's pace and keeps nothing back.
pub struct LiveStream {
    /// Who may have it.
    pub lasting: Lasting,
    call: Call,
    workspace: WorkspaceId,
    skipped: Option<Skipped>,
    filter: AuditFilter,
    reached: u64,
    sent: u64,
    ended: watch::Receiver<bool>,
    _place: Place,
}

/// Records that a stream goes over because retention removed them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skipped {
    /// Behind this record.
    pub after: u64,
    /// Up to this one.
    pub through: u64,
    /// At most so many of them, of whatever workspace.
    pub records: u64,
}

impl LiveStream {
    /// What was removed of the records that it was to go on behind.
    pub fn skipped(&self) -> Option<Skipped> {
        self.skipped
    }

    /// Every matching record up to this number was given out.
    pub fn reached(&self) -> u64 {
        self.reached
    }

    /// Resolves when the vault stops.
    pub async fn ended(&mut self) {
        // The sender is in the engine, which the stream's reader holds.
        let _ = self.ended.wait_for(|ended| *ended).await;
    }
}

/// The filter of a reading, for the record of it.
pub(super) fn filtered(filter: &AuditFilter) -> impl Iterator<Item = Change> {
    let told = filter.told().into_iter();
    told.map(|(name, value)| Change {
        field: format!("filter.{name}").into(),
        before: None,
        after: Some(value.into()),
    })
}

fn stream_note(what: &str, facts: &[(&str, u64)]) -> Note {
    let object = Object {
        name: Some("a live stream".to_owned()),
        ..Object::default()
    };
    let fact = |(field, value): &(&str, u64)| Change {
        field: (*field).into(),
        before: None,
        after: Some(value.to_string().into()),
    };
    Note {
        reason: Some(what.to_owned()),
        changes: facts.iter().map(fact).collect(),
        ..Note::new(EventName::AuditRead, object)
    }
}

impl Engine {
    /// What keeps the index of history. It must run for queries to be fast; they are right without it.
    pub fn follower(&self) -> Follower {
        Follower::new(self.index.clone(), self.store.clone())
    }

    /// History of a workspace, without asking whether anybody may read it.
    pub(super) fn history(&self, workspace: WorkspaceId) -> Reader<'_> {
        Reader {
            store: self.read(),
            keyring: &self.keyring,
            workspace,
            index: Some(&self.index),
        }
    }

    /// Authorises a reading of the workspace's history and records it.
    pub(super) async fn note_reading(&self, call: &Call, note: Note) -> Result<Reader<'_>> {
        let permit = self
            .authorize(call, Action::AuditRead, Resource::Workspace)
            .await?;
        let mut unit = self.begin(call, &permit, &[]).await?;
        unit.record(note)?;
        unit.commit().await?;
        Ok(self.history(call.principal.workspace))
    }

    /// A page of the workspace's history. The reading itself becomes part of it.
    pub async fn audit(
        &self,
        call: &Call,
        filter: &AuditFilter,
        window: Window,
    ) -> Result<AuditPage> {
        let note = Note {
            changes: filtered(filter).collect(),
            ..Note::new(EventName::AuditRead, Object::default())
        };
        let reader = self.note_reading(call, note).await?;
        // It may take long, and changes nothing that an emergency stop would have to wait for.
        call.entered.leave();
        reader.query(filter, window).await
    }

    /// One record of history.
    pub async fn audit_record(
        &self,
        call: &Call,
        which: WhichRecord,
        of: HistoryOf,
    ) -> Result<Numbered> {
        let name = match which {
            WhichRecord::Sequence(sequence) => format!("record {sequence}"),
            WhichRecord::Id(id) => id.to_string(),
        };
        let object = Object {
            name: Some(of.named(&name)),
            ..Object::default()
        };
        let (permit, workspace) = self.authorize_history(call, Action::AuditRead, of).await?;
        let reader = self.history(workspace);
        let found = match which {
            WhichRecord::Sequence(sequence) => reader.record(sequence).await?,
            WhichRecord::Id(id) => {
                let filter = AuditFilter {
                    id: Some(id),
                    ..AuditFilter::default()
                };
                reader.next(&filter, None, 1).await?.pop()
            }
        };
        let found = found.ok_or_else(|| Error::not_found("audit record"))?;
        let mut unit = self.begin(call, &permit, &[]).await?;
        unit.record(Note::new(EventName::AuditRead, object))?;
        unit.commit().await?;
        Ok(found)
    }

    /// Begins a live stream behind a sequence number, which the log must have reached: that of the newest record, where none
    /// is said. With `since`, at the first record of that time. Its beginning is recorded here, its end by [`Self::end_stream`].
    pub async fn begin_stream(
        &self,
        call: Call,
        filter: AuditFilter,
        after: Option<u64>,
        of: HistoryOf,
    ) -> Result<LiveStream> {
        let account = call.principal.account();
        let (permit, workspace) = self.authorize_history(&call, Action::AuditRead, of).await?;
        let reader = self.history(workspace);
        let newest = reader.newest().await?;
        let place = match after.filter(|after| *after > newest) {
            // What it was behind is gone, and what comes would be passed over until it is there again.
            Some(after) => Err(Error::invalid(
                "Last-Event-ID",
                format!(
                    "history ends at record {newest} and never reached {after}: the vault was put back to an earlier state, \
                     or is another one"
                ),
            )
            .with("limit", newest)),
            None => self.streams.take(account),
        };
        let place = self
            .recorded(&call, EventName::AuditRead, Object::default(), place)
            .await?;
        let skipped = match after {
            Some(after) => self.skipped(after, newest).await?,
            None => None,
        };
        let reached = match after {
            Some(after) => after,
            None if filter.since.is_some() => 0,
            None => newest,
        };
        let begins = of.named("a live stream begins");
        let mut note = stream_note(&begins, &[("after", reached)]);
        note.changes.extend(filtered(&filter));
        let mut unit = self.begin(&call, &permit, &[]).await?;
        unit.record(note)?;
        unit.commit().await?;
        Ok(LiveStream {
            lasting: Lasting::of_history(&call, Action::AuditRead, of),
            call,
            workspace,
            skipped,
            filter,
            reached,
            sent: 0,
            ended: self.streams.ended.subscribe(),
            _place: place,
        })
    }

    /// What retention removed behind a record.
    async fn skipped(&self, after: u64, newest: u64) -> Result<Option<Skipped>> {
        let key = self.keyring.audit_key().public_key();
        let gone = removal::gone(&mut self.read(), key, after + 1..=newest).await?;
        let of = |gone: &removal::Gone| match gone.is_front() {
            true => gone.last - after,
            false => gone.records.min(gone.last - after),
        };
        Ok(gone.last().map(|last| Skipped {
            after,
            through: last.last,
            records: gone.iter().map(of).sum(),
        }))
    }

    /// The records that came since, and the numbers of those that cannot be read. Nobody may see them yet: see
    /// [`Self::may_go_on`].
    pub async fn read_stream(&self, stream: &mut LiveStream) -> Result<(Vec<Numbered>, Vec<u64>)> {
        let reader = self.history(stream.workspace);
        let Following {
            records,
            reached,
            mut unreadable,
            ..
        } = reader
            .follow(&stream.filter, Some(stream.reached), STREAM_BATCH)
            .await?;
        // Those behind come with the next ones.
        unreadable.retain(|sequence| (stream.reached + 1..=reached).contains(sequence));
        stream.reached = reached;
        stream.sent += records.len() as u64;
        Ok((records, unreadable))
    }

    /// Whether whoever asked for history may have it, now that it was proven once more.
    pub async fn may_still_read(&self, asked: &Call, now: &Call, of: HistoryOf) -> Result<()> {
        let (began, proven) = (&asked.principal, &now.principal);
        if (began.workspace, began.identity, began.proof)
            != (proven.workspace, proven.identity, proven.proof)
        {
            return Err(Error::internal("a reading of history changed hands"));
        }
        self.authorize_history(now, Action::AuditRead, of)
            .await
            .map(drop)
    }

    /// Records the end of a stream.
    pub async fn end_stream(&self, stream: LiveStream, why: &str) -> Result<()> {
        let facts = [("reached", stream.reached), ("records", stream.sent)];
        let note = stream_note(why, &facts);
        let call = &stream.call;
        let actor = crate::domain::event::Actor::of(&call.principal);
        let origin = Some(call.origin.clone());
        let mut unit =
            super::Unit::begin(self, call.principal.workspace, actor, origin, None, &[]).await?;
        unit.record(note)?;
        unit.commit().await
    }

    /// Ends every live stream, and waits until their ends are recorded.
    pub async fn end_streams(&self) {
        {
            let _open = self
                .streams
                .open
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            self.streams.ended.send_replace(true);
        }
        let mut count = self.streams.count.subscribe();
        let all = count.wait_for(|count| *count == 0);
        if tokio::time::timeout(STREAMS_END, all).await.is_err() {
            tracing::warn!("some live streams of history did not end in time");
        }
    }
}
