//! The requests that leave no record of their own: what was only read, and what was refused before anything was
//! decided. Their answers wait until history has them, in records that stand for several.
//!
//! INVARIANT (ack-audited): a request of an authenticated caller is in history before it is answered. The exception is
//! a store that takes no writes: what shows no secret is answered then, and what memory holds of it is written down
//! as soon as that is possible, the rest as a count.

mod strangers;
#[cfg(test)]
mod tests;
mod unrecorded;

use std::{
    mem,
    net::IpAddr,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use futures_util::FutureExt;
use tokio::sync::Notify;

pub use self::strangers::Stranger;
pub(super) use self::strangers::Strangers;
use self::unrecorded::Unrecorded;
use super::{Engine, Witness};
use crate::{
    audit::log,
    clock::Clock,
    crypto::keyring::Keyring,
    domain::{
        error::{Code, Error, Result},
        event::{Actor, AnsweredRequest, AuditRecord, Change, EventName, Object, Origin, Outcome},
        id::{EventId, WorkspaceId},
        principal::{Principal, ProofId},
    },
    store::port::Store,
};

/// Requests in one record, which then takes about a page of the store.
const MAX_TOGETHER: usize = 32;
/// Requests that wait for their record; further ones wait for their turn to wait. Bounds memory.
const MAX_WAITING: usize = 16 * 1024;
/// How often the recorder lets others go first when it is busy, so that they are in its next commit.
const TURNS_GIVEN: usize = 2;

/// A request that was served, and left no record of its own.
pub struct Served {
    pub workspace: WorkspaceId,
    pub actor: Actor,
    pub source_ip: Option<IpAddr>,
    pub user_agent: Option<String>,
    /// The error code of the answer; none of a success.
    pub code: Option<&'static str>,
    /// Whether the answer may not go out without the record.
    pub essential: bool,
    pub request: AnsweredRequest,
}

/// A caller that was let in, for the record of its request.
pub struct Admitted {
    pub actor: Actor,
    pub workspace: WorkspaceId,
    pub witness: Witness,
}

impl Admitted {
    /// The caller of a request, and whoever is told of the request's own records.
    pub fn of(principal: &Principal, witness: &Witness) -> Self {
        Self {
            actor: Actor::of(principal),
            workspace: principal.workspace,
            witness: witness.clone(),
        }
    }
}

/// Why a batch is not in history.
#[derive(Clone, Copy)]
enum Missed {
    /// The store takes no writes.
    Unavailable,
    Failed,
}

/// The fate of the requests that are recorded together.
#[derive(Default)]
struct Batch {
    outcome: OnceLock<Result<(), Missed>>,
    over: Notify,
}

impl Batch {
    fn end(&self, outcome: Result<(), Missed>) {
        // Ended once, by whoever took its requests.
        let _ = self.outcome.set(outcome);
        self.over.notify_waiters();
    }

    async fn ended(&self) -> Result<(), Missed> {
        loop {
            // Made before the look, so that an end in between is not missed.
            let over = self.over.notified();
            if let Some(outcome) = self.outcome.get() {
                return *outcome;
            }
            over.await;
        }
    }
}

#[derive(Default)]
struct Waiting {
    requests: Vec<Served>,
    batch: Arc<Batch>,
    /// Whether somebody records.
    busy: bool,
}

/// Records requests, together where several wait.
pub(super) struct Requests(Arc<Recorder>);

struct Recorder {
    store: Arc<dyn Store>,
    keyring: Arc<Keyring>,
    clock: Arc<Clock>,
    waiting: Mutex<Waiting>,
    unrecorded: Unrecorded,
}

impl Requests {
    pub(super) fn new(store: &Arc<dyn Store>, keyring: &Arc<Keyring>, clock: &Arc<Clock>) -> Self {
        Self(Arc::new(Recorder {
            store: store.clone(),
            keyring: keyring.clone(),
            clock: clock.clone(),
            waiting: Mutex::default(),
            unrecorded: Unrecorded::default(),
        }))
    }
}

impl Engine {
    /// Resolves when history has the request. Fails where the store takes no writes: unless the request is
    /// essential it is remembered then, for when it does.
    pub async fn record_request(&self, request: Served) -> Result<()> {
        let batch = self.requests.0.join(request).await;
        batch.ended().await.map_err(|missed| match missed {
            Missed::Unavailable => Error::storage(
                "the store takes no writes, and without its record the request is not answered",
            ),
            Missed::Failed => Error::internal("a request could not be recorded"),
        })
    }

    /// Writes down what could not be written down before, if the store takes writes again.
    pub async fn record_late(&self) -> Result<()> {
        self.requests.0.record_late().await
    }

    /// Writes down what is left, and tells of what cannot be.
    pub(super) async fn finish_requests(&self) {
        let recorder = &self.requests.0;
        if let Err(error) = recorder.record_late().await {
            let missing = recorder.unrecorded.len();
            tracing::error!(%error, missing, "requests that were answered are not in history");
        }
    }
}

impl Recorder {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the request to the batch that is recorded next.
    async fn join(self: &Arc<Self>, request: Served) -> Arc<Batch> {
        loop {
            let full = {
                let mut waiting = self.waiting();
                if waiting.requests.len() < MAX_WAITING {
                    waiting.requests.push(request);
                    if !mem::replace(&mut waiting.busy, true) {
                        // A task of its own: whoever waits may go away.
                        tokio::spawn(self.clone().record_all());
                    }
                    return waiting.batch.clone();
                }
                waiting.batch.clone()
            };
            // How it ends is its own requests' affair.
            let _ = full.ended().await;
        }
    }

    /// Records whatever waits, batch by batch, until nothing does.
    async fn record_all(self: Arc<Self>) {
        let mut last = 0;
        loop {
            if last > 1 {
                for _ in 0..TURNS_GIVEN {
                    tokio::task::yield_now().await;
                }
            }
            let (requests, batch) = {
                let mut waiting = self.waiting();
                if waiting.requests.is_empty() {
                    waiting.busy = false;
                    return;
                }
                let room = Vec::with_capacity(waiting.requests.len());
                (
                    mem::replace(&mut waiting.requests, room),
                    mem::take(&mut waiting.batch),
                )
            };
            last = requests.len();
            // A panic here must not leave everyone waiting.
            let outcome = AssertUnwindSafe(self.record(requests)).catch_unwind().await;
            batch.end(outcome.unwrap_or(Err(Missed::Failed)));
        }
    }

    async fn record(&self, requests: Vec<Served>) -> Result<(), Missed> {
        let failed = |error: Error| {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            tracing::error!(%error, source, "requests could not be recorded");
            Missed::Failed
        };
        let batches = together(requests);
        let mut records = Vec::with_capacity(batches.len());
        for batch in batches {
            records.push((batch.essential, self.record_of(batch).map_err(failed)?));
        }
        match self.commit(records.iter().map(|(_, record)| record)).await {
            Ok(()) => {
                if !self.unrecorded.is_empty()
                    && let Err(error) = self.record_late().await
                {
                    tracing::warn!(%error, "requests of before could not be recorded");
                }
                Ok(())
            }
            Err(error) if error.code() == Code::StorageUnavailable => {
                let kept = records
                    .into_iter()
                    .filter_map(|(essential, record)| (!essential).then_some(record));
                self.unrecorded.keep(kept);
                Err(Missed::Unavailable)
            }
            Err(error) => Err(failed(error)),
        }
    }

    async fn commit(&self, records: impl Iterator<Item = &AuditRecord>) -> Result<()> {
        let entries = records.map(log::entry).collect::<Result<Vec<_>>>()?;
        let count = entries.len() as u64;
        self.store.begin(&[]).await?.commit(entries).await?;
        let event = EventName::RequestRead.as_str();
        metrics::counter!("leasehold_events_total", "event" => event).increment(count);
        Ok(())
    }

    /// Writes down what is remembered of the time when the store took no writes.
    async fn record_late(&self) -> Result<()> {
        while let Some(late) = self.unrecorded.take() {
            let now = self.clock.now();
            let mut records = late.records.clone();
            for record in &mut records {
                // The log is in the order of time; the requests in it tell when they were answered.
                record.time = now;
            }
            if let Some(lost) = &late.lost {
                records.push(self.own(
                    EventName::RequestUnrecorded,
                    "recorder",
                    Some(lost.told()),
                    lost.changes(),
                )?);
            }
            if let Err(error) = self.commit(records.iter()).await {
                self.unrecorded.put_back(late);
                return Err(error);
            }
        }
        Ok(())
    }

    /// A record of the vault's own.
    fn own(
        &self,
        event: EventName,
        part: &str,
        reason: Option<String>,
        changes: Vec<Change>,
    ) -> Result<AuditRecord> {
        let time = self.clock.now();
        Ok(AuditRecord {
            id: EventId::new(time, &self.keyring.entropy().bytes()?),
            time,
            workspace: WorkspaceId::SYSTEM,
            event,
            actor: Actor::vault(part),
            object: Object::default(),
            outcome: Outcome::Success,
            policy: None,
            origin: None,
            purpose: None,
            reason,
            changes,
            requests: Vec::new(),
        })
    }

    fn record_of(&self, batch: Together) -> Result<AuditRecord> {
        let own = self.own(EventName::RequestRead, "", None, Vec::new())?;
        let record = AuditRecord {
            workspace: batch.workspace,
            actor: batch.actor,
            outcome: match batch.code {
                None => Outcome::Success,
                Some(code) => Outcome::Refused {
                    code: code.to_owned(),
                },
            },
            origin: Some(Origin {
                request_id: String::new(),
                source_ip: batch.source_ip,
                user_agent: batch.user_agent,
            }),
            requests: batch.requests,
            ..own
        };
        Ok(record.masked())
    }
}

/// Requests that share a record: of one caller, from one source, with one outcome.
struct Together {
    workspace: WorkspaceId,
    actor: Actor,
    source_ip: Option<IpAddr>,
    user_agent: Option<String>,
    code: Option<&'static str>,
    essential: bool,
    requests: Vec<AnsweredRequest>,
}

impl Together {
    /// Whether a request belongs into the same record.
    fn takes(&self, next: &Served) -> bool {
        self.requests.len() < MAX_TOGETHER
            && self.workspace == next.workspace
            && proof(&self.actor) == proof(&next.actor)
            && self.source_ip == next.source_ip
            && self.user_agent == next.user_agent
            && self.code == next.code
            && self.essential == next.essential
    }
}

fn proof(actor: &Actor) -> Option<ProofId> {
    match actor {
        Actor::Identity { proof, .. } => Some(*proof),
        Actor::Vault { .. } => None,
    }
}

/// Sorts requests into records. Those of one record stay in the order in which they were answered.
fn together(mut requests: Vec<Served>) -> Vec<Together> {
    requests.sort_by(|a, b| {
        let key = |one: &Served| {
            (
                one.workspace,
                proof(&one.actor),
                one.source_ip,
                one.code,
                one.essential,
            )
        };
        let first = key(a).cmp(&key(b));
        first.then_with(|| a.user_agent.cmp(&b.user_agent))
    });
    let mut sorted: Vec<Together> = Vec::new();
    for next in requests {
        match sorted.last_mut() {
            Some(last) if last.takes(&next) => last.requests.push(next.request),
            _ => sorted.push(Together {
                workspace: next.workspace,
                actor: next.actor,
                source_ip: next.source_ip,
                user_agent: next.user_agent,
                code: next.code,
                essential: next.essential,
                requests: vec![next.request],
            }),
        }
    }
    sorted
}
