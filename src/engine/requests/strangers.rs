//! Requests of nobody: failed authentications, and what an address sent over its limit before anybody was proven. They
//! are gathered for a while and written down as one record for each source and outcome, so that a flood of them is a
//! few records. Their answers wait for nothing, and a crash loses those of one interval.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::super::{Engine, Note};
use crate::{
    audit::log,
    domain::{
        error::Result,
        event::{Actor, AnsweredRequest, Change, EventName, Object, Origin, Outcome},
        id::WorkspaceId,
        time::Timestamp,
    },
};

/// Sources and outcomes that are told apart in one interval; all others share a record for each outcome.
const MAX_SOURCES: usize = 256;
/// Requests of one source and outcome that are listed with their ids; the others are counted.
const MAX_LISTED: usize = 16;

/// A request whose caller was not proven.
pub struct Stranger {
    pub source_ip: Option<IpAddr>,
    pub user_agent: Option<String>,
    /// The error code of the answer.
    pub code: &'static str,
    pub request: AnsweredRequest,
}

/// Requests of one source with one outcome.
pub(super) struct Seen {
    user_agent: Option<String>,
    pub(super) count: u64,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
    pub(super) listed: Vec<AnsweredRequest>,
}

/// A source and an outcome; no source stands for all that there was no room for.
pub(super) type Place = (Option<IpAddr>, &'static str);

#[derive(Default)]
pub(in crate::engine) struct Strangers(Mutex<HashMap<Place, Seen>>);

impl Strangers {
    fn seen(&self) -> MutexGuard<'_, HashMap<Place, Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note(&self, one: Stranger) {
        let mut seen = self.seen();
        let own = (one.source_ip, one.code);
        let place = match seen.contains_key(&own) || seen.len() < MAX_SOURCES {
            true => own,
            false => (None, one.code),
        };
        let time = one.request.time;
        let at = seen.entry(place).or_insert_with(|| Seen {
            user_agent: one.user_agent.filter(|_| place.0.is_some()),
            count: 0,
            first: time,
            last: time,
            listed: Vec::new(),
        });
        at.count += 1;
        at.last = at.last.max(time);
        if at.listed.len() < MAX_LISTED {
            at.listed.push(one.request);
        }
    }

    pub(super) fn take(&self) -> HashMap<Place, Seen> {
        std::mem::take(&mut *self.seen())
    }

    /// Takes back what could not be written, as far as there is room.
    pub(super) fn put_back(&self, taken: HashMap<Place, Seen>) {
        let mut seen = self.seen();
        for (place, older) in taken {
            let room = seen.len() < 2 * MAX_SOURCES;
            match seen.get_mut(&place) {
                Some(at) => {
                    at.count += older.count;
                    at.first = at.first.min(older.first);
                    at.listed = older.listed;
                }
                None if room => drop(seen.insert(place, older)),
                None => {}
            }
        }
    }
}

impl Engine {
    /// Notes a request whose caller was not proven. Takes no longer than a lock in memory.
    pub fn note_stranger(&self, one: Stranger) {
        self.strangers.note(one);
    }

    /// Writes down what was noted. Run twice, it does nothing more.
    pub async fn record_strangers(&self) -> Result<()> {
        let taken = self.strangers.take();
        if taken.is_empty() {
            return Ok(());
        }
        let mut entries = Vec::with_capacity(taken.len());
        for ((source_ip, code), seen) in &taken {
            let fact = |field: &str, after: String| Change {
                field: field.into(),
                before: None,
                after: Some(after.into()),
            };
            let note = Note {
                changes: vec![
                    fact("count", seen.count.to_string()),
                    fact("first", seen.first.to_string()),
                    fact("last", seen.last.to_string()),
                ],
                ..Note::new(EventName::AuthFailed, Object::default())
            };
            let origin = Origin {
                request_id: String::new(),
                source_ip: *source_ip,
                user_agent: seen.user_agent.clone(),
            };
            let actor = Actor::vault("authentication");
            let now = self.now();
            let mut record =
                self.record(WorkspaceId::SYSTEM, actor, Some(origin), None, now, note)?;
            record.outcome = Outcome::Refused {
                code: (*code).to_owned(),
            };
            record.requests.clone_from(&seen.listed);
            entries.push(log::entry(&record)?);
        }
        let written = match self.store.begin(&[]).await {
            Ok(txn) => txn.commit(entries).await,
            Err(error) => Err(error),
        };
        if written.is_err() {
            self.strangers.put_back(taken);
        }
        written
    }
}
