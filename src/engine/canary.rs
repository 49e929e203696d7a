//! Canaries: credentials that look real and that nobody has a reason to touch. A lease or a redemption of one raises
//! the alarm in its own commit, and, where the policy says so, stops whoever it was before it is answered.
//!
//! What tells a canary from another credential is shown to nobody who may neither change it nor read the workspace's
//! history, which tells of its making and of each alarm. INVARIANT (canary-hidden): the record of an alarm names its lease
//! in `name` and not as a lease, so that it is no part of the history that the lease's holder may read.

use std::sync::{Arc, MutexGuard, OnceLock, PoisonError, Weak};

use tokio::sync::oneshot;

use super::{
    Call, Engine, Note, Unit, authorize::Subject, bulk::Revoker, close, credential::change,
    expire::report, identities,
};
use crate::{
    domain::{
        error::{Error, Result},
        event::{Actor, EventName, Object},
        id::{CredentialId, EventId, WorkspaceId},
        lease::Lease,
        principal::{Identity, IdentityState, Principal, Suspension, Unfinished},
        scope::Scope,
        time::Span,
    },
    store::{
        key::{self, Alarm},
        port::Key,
    },
    tables::{Suspect, range_all},
};

/// How long the request that touched a canary has to stop its caller itself.
const LEFT_TO_REQUEST: Span = Span::from_secs(60);

/// The engine's own handle on itself, for what must go on when a request is given up.
pub(super) type Own = OnceLock<Weak<Engine>>;

/// What touching a canary leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Touch {
    /// The alarm.
    Alarm,
    /// The alarm, and the end of whoever it was: that canary, and the alarm's record.
    Suspend(CredentialId, EventId),
}

/// A suspect, and where it stands until it is stopped.
struct Wanted {
    at: Key,
    canary: CredentialId,
    suspect: Suspect,
}

const NOT_STOPPED: &str = "whoever touched a canary could not be stopped yet";

/// Whether a caller may know which credentials are canaries: whoever could make them some.
pub(super) fn knows_canaries(principal: &Principal) -> bool {
    principal.scopes.contains(Scope::CredentialUpdate)
}

impl Engine {
    /// The engine, shared. Work that was begun for an alarm is finished even if its request is given up.
    pub fn shared(self) -> Arc<Self> {
        let shared = Arc::new(self);
        // A new engine has no handle yet.
        let _ = shared.own.set(Arc::downgrade(&shared));
        shared
    }

    /// Stops an identity that touched a canary: the emergency stop, by the vault itself. A key or token of the whole
    /// organisation acts here for an identity of another workspace, which is stopped there. Where a crash comes in between,
    /// the next start finds by its record what is left; after a failure [`finish_suspects`](Self::finish_suspects) goes on.
    async fn suspend_suspect(&self, wanted: Wanted) -> Result<u64> {
        let Some((home, identity)) = self.stop_suspect(&wanted).await? else {
            return Ok(0);
        };
        self.epochs.drain().await;
        let swept = self.sweep_suspect(home, &identity).await;
        if swept.is_err() {
            self.unswept().push((home, identity));
        }
        swept
    }

    fn unswept(&self) -> MutexGuard<'_, Vec<(WorkspaceId, Identity)>> {
        self.unswept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the leases of a suspended suspect, in every workspace; gives back how many.
    async fn sweep_suspect(&self, home: WorkspaceId, identity: &Identity) -> Result<u64> {
        // The leases tell their holder no more than that.
        let revoker = Revoker {
            actor: Actor::vault("canary"),
            origin: None,
            decided_by: None,
            by: None,
            reason: Some("the identity was suspended".to_owned()),
            witness: None,
        };
        let (_, counts) = self.finish_suspension(&revoker, home, identity).await?;
        Ok(counts.leases)
    }

    /// The first step: from here on the identity proves nobody, and the rest is found by its record. None where it is
    /// deleted, or stopped already.
    async fn stop_suspect(&self, wanted: &Wanted) -> Result<Option<(WorkspaceId, Identity)>> {
        let Wanted { at, suspect, .. } = wanted;
        let home = suspect.home;
        let tables = self.tables(home)?;
        let canary = key::credential_lock(wanted.canary);
        let found = tables.identity(&mut self.read(), suspect.identity).await?;
        let mut locks = vec![canary];
        locks.extend(found.map(|found| {
            let hash = tables.identity_hash(found.kind, &found.name);
            key::name_lock(&hash)
        }));
        let mut unit = self.begin_own("canary", home, &locks).await?;
        if unit.txn.get(at).await?.is_none() {
            // Somebody else stopped it, and it may have been resumed since.
            return Ok(None);
        }
        unit.txn.delete(at.clone());
        let identity = tables.identity(&mut unit.txn, suspect.identity).await?;
        let Some(mut identity) = identity.filter(Identity::is_active) else {
            unit.commit_housekeeping().await?;
            return Ok(None);
        };
        let reason = Some("it touched a canary".to_owned());
        identity.state = IdentityState::Suspended(Suspension {
            since: unit.now,
            by: None,
            reason: reason.clone(),
            unfinished: Some(Unfinished::Sweep),
        });
        identity.updated_at = unit.now;
        tables.put_identity(&mut *unit.txn, &identity)?;
        let state = change(
            "state",
            Some("active".to_owned()),
            Some("suspended".to_owned()),
        );
        unit.record(Note {
            reason,
            changes: vec![state],
            ..Note::new(EventName::IdentitySuspended, identities::object(&identity))
        })?;
        unit.commit_access().await?;
        Ok(Some((home, identity)))
    }

    /// Those who touched a canary and are not stopped. What does not open, the doctor tells, and holds up no other.
    async fn suspects(&self) -> Result<Vec<Wanted>> {
        let mut found = Vec::new();
        for (at, sealed) in range_all(&mut self.read(), key::suspects()).await? {
            let opened = match key::parse_alarm(&at) {
                Some(Alarm::Suspect(workspace, canary, _)) => self
                    .tables(workspace)
                    .and_then(|tables| Ok((canary, tables.open_suspect(&at, &sealed)?))),
                _ => Err(Error::internal("malformed key of a suspect")),
            };
            match opened {
                Ok((canary, suspect)) => found.push(Wanted {
                    at,
                    canary,
                    suspect,
                }),
                Err(error) => report(
                    &error,
                    "whoever touched a canary cannot be read, nor stopped",
                ),
            }
        }
        Ok(found)
    }

    /// Stops those who touched a canary in an earlier run that ended before it had stopped them. Run before anybody is
    /// served; their leases are ended by [`finish_sweeps`](Self::finish_sweeps). One that cannot be stopped keeps
    /// neither the others nor the vault from it: it is tried again.
    pub async fn reach_suspects(&self) -> Result<()> {
        for wanted in self.suspects().await? {
            if let Err(error) = self.stop_suspect(&wanted).await {
                report(&error, NOT_STOPPED);
            }
        }
        Ok(())
    }

    /// Stops those whom a failure kept from being stopped; gives back how many leases that ended. Whose request may be
    /// at it still is left to that: it must not answer before the end.
    pub async fn finish_suspects(&self) -> Result<u64> {
        let mut revoked = 0;
        let given = |wanted: &Wanted| wanted.suspect.since.plus(LEFT_TO_REQUEST) < self.now();
        for wanted in self.suspects().await?.into_iter().filter(given) {
            match self.suspend_suspect(wanted).await {
                Ok(ended) => revoked += ended,
                Err(error) => report(&error, NOT_STOPPED),
            }
        }
        let unswept = std::mem::take(&mut *self.unswept());
        for (home, identity) in unswept {
            match self.sweep_suspect(home, &identity).await {
                Ok(ended) => revoked += ended,
                Err(error) => {
                    report(&error, NOT_STOPPED);
                    self.unswept().push((home, identity));
                }
            }
        }
        Ok(revoked)
    }
}

impl Unit<'_> {
    /// Records that a canary is touched, where the lease is one of a canary; its commit is
    /// [`commit_touched`](Self::commit_touched). The unit holds the credential's lock.
    pub(super) async fn touch(&mut self, lease: &Lease, what: &str) -> Result<Option<Touch>> {
        let subject = match self.resolved(lease.credential).await {
            Ok(resolved) => Subject::Resolved(resolved),
            // The named policy is gone, and what is left of it can be used up.
            Err(_) => {
                let tables = self.tables.clone();
                super::authorize::read_subject(&tables, &mut self.txn, lease.credential).await?
            }
        };
        let (canary, suspends) = match &subject {
            Subject::Resolved(resolved) => {
                (resolved.credential.canary, resolved.terms.canary_suspends)
            }
            Subject::Read(read) => (
                read.0.canary,
                read.0.policy.canary_suspends.unwrap_or_default(),
            ),
            Subject::Unread => (false, false),
        };
        if !canary {
            return Ok(None);
        }
        let of = close::object(lease);
        let record = self.record_as(Note {
            purpose: lease.purpose.clone(),
            reason: Some(what.to_owned()),
            ..Note::new(
                EventName::CanaryTouched,
                Object {
                    lease: None,
                    name: of.lease.map(|lease| lease.to_string()),
                    ..of
                },
            )
        })?;
        Ok(Some(match suspends {
            true => Touch::Suspend(lease.credential, record),
            false => Touch::Alarm,
        }))
    }

    /// Commits; where a canary was touched, raises the alarm and stops the caller first, whether or not the caller
    /// waits for it. Whoever may change credentials knows which are canaries and is not stopped: it tests the alarm.
    pub(super) async fn commit_touched(self, call: &Call, touch: Option<Touch>) -> Result<()> {
        match touch {
            None => self.commit().await,
            // Rare and long: in line it would make the future of every grant and use longer by half.
            Some(touch) => Box::pin(self.commit_alarmed(call, touch)).await,
        }
    }

    async fn commit_alarmed(mut self, call: &Call, touch: Touch) -> Result<()> {
        let wanted = match touch {
            Touch::Suspend(canary, record) if !knows_canaries(&call.principal) => {
                let workspace = self.tables.workspace;
                let home = self.engine.home_of(call.principal.proof).await?;
                let suspect = Suspect {
                    workspace,
                    identity: call.principal.identity,
                    home: home.unwrap_or(workspace),
                    since: self.now,
                };
                let at = key::suspect(workspace, canary, record);
                self.tables
                    .put_suspect(&mut *self.txn, at.clone(), &suspect)?;
                Some(Wanted {
                    at,
                    canary,
                    suspect,
                })
            }
            Touch::Suspend(..) | Touch::Alarm => None,
        };
        let engine = self.engine;
        let shared = engine.own.get().and_then(Weak::upgrade);
        // Queued here, under the locks.
        let commit = self.committing()?;
        let (durable, told) = oneshot::channel();
        let work = tokio::spawn(async move {
            commit.await?;
            let _ = durable.send(());
            match (shared, wanted) {
                (Some(engine), Some(wanted)) => engine.suspend_suspect(wanted).await.map(|_| None),
                (_, wanted) => Ok(wanted),
            }
        });
        // What is durable no stop needs to wait for, this one's own least of all.
        if told.await.is_ok() {
            call.entered.leave();
        }
        match work.await.map_err(Error::internal)?? {
            Some(wanted) => engine.suspend_suspect(wanted).await.map(drop),
            None => Ok(()),
        }
    }
}
