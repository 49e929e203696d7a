//! Reading the workspace's history, once or as it grows. Every reading becomes part of it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

use super::{Call, Engine, Lasting, Note};
use crate::{
    audit::{
        index::Follower,
        query::{AuditFilter, AuditPage, Following, Numbered, Reader, Window},
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
    filter: AuditFilter,
    reached: u64,
    sent: u64,
    ended: watch::Receiver<bool>,
    _place: Place,
}

impl LiveStream {
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
        field: format!("filter.{name}"),
        before: None,
        after: Some(value),
    })
}

fn stream_note(what: &str, facts: &[(&str, u64)]) -> Note {
    let object = Object {
        name: Some("a live stream".to_owned()),
        ..Object::default()
    };
    let fact = |(field, value): &(&str, u64)| Change {
        field: (*field).to_owned(),
        before: None,
        after: Some(value.to_string()),
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
        reader.query(filter, window).await
    }

    /// One record of the workspace's history.
    pub async fn audit_record(&self, call: &Call, which: WhichRecord) -> Result<Numbered> {
        let name = match which {
            WhichRecord::Sequence(sequence) => format!("record {sequence}"),
            WhichRecord::Id(id) => id.to_string(),
        };
        let object = Object {
            name: Some(name),
            ..Object::default()
        };
        let permit = self
            .authorize(call, Action::AuditRead, Resource::Workspace)
            .await?;
        let reader = self.history(call.principal.workspace);
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

    /// Begins a live stream behind a sequence number: that of the newest record, where none is said. With `since`, at
    /// the first record of that time. Its beginning is recorded here, its end by [`Self::end_stream`].
    pub async fn begin_stream(
        &self,
        call: Call,
        filter: AuditFilter,
        after: Option<u64>,
    ) -> Result<LiveStream> {
        let account = call.principal.account();
        self.authorize(&call, Action::AuditRead, Resource::Workspace)
            .await?;
        let place = self.streams.take(account);
        let place = self
            .recorded(&call, EventName::AuditRead, Object::default(), place)
            .await?;
        let reader = self.history(call.principal.workspace);
        let reached = match after {
            Some(after) => after,
            None if filter.since.is_some() => 0,
            None => reader.newest().await?,
        };
        let mut note = stream_note("a live stream begins", &[("after", reached)]);
        note.changes.extend(filtered(&filter));
        self.note_reading(&call, note).await?;
        Ok(LiveStream {
            lasting: Lasting::begin(&call, Action::AuditRead, Resource::Workspace),
            call,
            filter,
            reached,
            sent: 0,
            ended: self.streams.ended.subscribe(),
            _place: place,
        })
    }

    /// The records that came since. Nobody may see them yet: see [`Self::may_go_on`].
    pub async fn read_stream(&self, stream: &mut LiveStream) -> Result<Vec<Numbered>> {
        let reader = self.history(stream.call.principal.workspace);
        let Following {
            records, reached, ..
        } = reader
            .follow(&stream.filter, Some(stream.reached), STREAM_BATCH)
            .await?;
        stream.reached = reached;
        stream.sent += records.len() as u64;
        Ok(records)
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
