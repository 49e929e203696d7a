//! One unit of work: a transaction, the time it happens at, and the records that describe it.
//! INVARIANT (ack-audited): a unit that changes anything without a record does not commit.

use std::{cell::RefCell, collections::HashMap};

use metrics::Counter;

use super::{Engine, Note, Witness};
use crate::{
    audit::log,
    domain::{
        error::{Error, Result},
        event::{Actor, AuditRecord, EventName, Origin, Severity},
        id::{EventId, WorkspaceId},
        time::Timestamp,
    },
    store::port::{AuditEntry, LockKey, Txn},
    tables::Tables,
};

thread_local! {
    /// A registry look-up hashes every label; these few are kept.
    static EVENTS: RefCell<HashMap<EventName, Counter>> = RefCell::default();
}

fn count(event: EventName) {
    EVENTS.with_borrow_mut(|counters| {
        let counter = counters.entry(event);
        let named = || metrics::counter!("leasehold_events_total", "event" => event.as_str());
        counter.or_insert_with(named).increment(1);
    });
}

pub(super) struct Unit<'a> {
    pub(super) engine: &'a Engine,
    pub(super) txn: Box<dyn Txn>,
    pub(super) tables: Tables,
    /// Read once, after the locks were had: a wait for them cannot carry an old time past an expiry.
    pub(super) now: Timestamp,
    actor: Actor,
    origin: Option<Origin>,
    decided_by: Option<String>,
    audit: Vec<AuditEntry>,
    /// Told once the records are durable.
    witness: Option<Witness>,
    /// Those of the records that somebody is told of.
    severe: Vec<AuditRecord>,
}

impl<'a> Unit<'a> {
    pub(super) async fn begin(
        engine: &'a Engine,
        workspace: WorkspaceId,
        actor: Actor,
        origin: Option<Origin>,
        decided_by: Option<String>,
        locks: &[LockKey],
    ) -> Result<Self> {
        let tables = engine.tables(workspace)?;
        let txn = engine.store.begin(locks).await?;
        Ok(Self {
            engine,
            txn,
            tables,
            now: engine.now(),
            actor,
            origin,
            decided_by,
            audit: Vec::new(),
            witness: None,
            severe: Vec::new(),
        })
    }

    /// Tells the request's witness of the records, once they are durable.
    pub(super) fn witnessed_by(mut self, witness: Option<&Witness>) -> Self {
        self.witness = witness.cloned();
        self
    }

    /// Notes the role or policy that decided that this unit may act.
    pub(super) fn set_decided_by(&mut self, decided_by: &str) {
        self.decided_by = Some(decided_by.to_owned());
    }

    /// Names who acts, once it is known.
    pub(super) fn set_actor(&mut self, actor: Actor) {
        self.actor = actor;
    }

    /// Adds a record to this unit's commit.
    pub(super) fn record(&mut self, note: Note) -> Result<()> {
        self.record_as(note).map(drop)
    }

    /// The same; gives back the record's id, for an answer to name.
    pub(super) fn record_as(&mut self, note: Note) -> Result<EventId> {
        count(note.event);
        let record = self.engine.record(
            self.tables.workspace,
            self.actor.clone(),
            self.origin.clone(),
            self.decided_by.clone(),
            self.now,
            note,
        )?;
        self.audit.push(log::entry(&record)?);
        let id = record.id;
        if record.event.severity() == Severity::High {
            self.severe.push(record);
        }
        Ok(id)
    }

    /// Commits the changes with their records; resolves when both are durable.
    pub(super) async fn commit(self) -> Result<()> {
        if self.audit.is_empty() {
            return Err(Error::internal("a unit of work without an audit record"));
        }
        if !self.severe.is_empty() {
            return self.committing()?.await;
        }
        self.txn.commit(self.audit).await?;
        if let Some(witness) = &self.witness {
            witness.attest();
        }
        Ok(())
    }

    /// The commit, queued, which tells of what is severe once it is durable.
    pub(super) fn committing(
        self,
    ) -> Result<impl Future<Output = Result<()>> + Send + 'static + use<>> {
        if self.audit.is_empty() {
            return Err(Error::internal("a unit of work without an audit record"));
        }
        let (alarms, severe) = (self.engine.alarms.clone(), self.severe);
        let commit = self.txn.commit(self.audit);
        let witness = self.witness;
        Ok(async move {
            commit.await?;
            if let Some(witness) = witness {
                witness.attest();
            }
            severe.iter().for_each(|record| alarms.raise(record));
            Ok(())
        })
    }

    /// Commits a change to who may do what. Once it is durable, authentication forgets what it remembers, even
    /// if the caller has gone away by then: nothing that was stopped serves on.
    pub(super) async fn commit_access(self) -> Result<()> {
        let generation = self.engine.generation.clone();
        let commit = self.committing()?;
        to_the_end(commit, move || generation.advance()).await
    }

    /// The same of what a workspace sets.
    pub(super) async fn commit_settings(self) -> Result<()> {
        let generation = self.engine.generation.clone();
        let terms = self.engine.terms.generation();
        let commit = self.committing()?;
        let forget = move || {
            terms.settings_changed();
            generation.advance();
        };
        to_the_end(commit, forget).await
    }

    /// The same of a change that another unit's record tells of.
    pub(super) async fn commit_access_told(self) -> Result<()> {
        let generation = self.engine.generation.clone();
        to_the_end(self.txn.commit(self.audit), move || generation.advance()).await
    }

    /// Commits what is no event: the removal of expired bookkeeping.
    pub(super) async fn commit_housekeeping(self) -> Result<()> {
        self.txn.commit(self.audit).await
    }
}

/// Waits for a commit and lets what memory holds of before be forgotten, whether or not anybody waits for that. After
/// a commit that failed too: nobody knows then what the disk has.
async fn to_the_end(
    commit: impl Future<Output = Result<()>> + Send + 'static,
    forget: impl FnOnce() + Send + 'static,
) -> Result<()> {
    let done = tokio::spawn(async move {
        let outcome = commit.await;
        forget();
        outcome
    });
    done.await.map_err(Error::internal)?
}

impl Engine {
    /// Waits until the change of access that was read under a lock is durable and nothing remembers the time before:
    /// whoever made it may not have been answered yet.
    pub(super) async fn settled(&self, at: &[u8]) -> Result<()> {
        self.read().get(at).await?;
        self.generation.advance();
        Ok(())
    }
}
