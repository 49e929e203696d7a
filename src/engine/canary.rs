//! Canaries: credentials that look real and that nobody has a reason to touch. A lease or a redemption of one raises
//! the alarm in its own commit, and, where the policy says so, stops whoever it was before it is answered.
//!
//! What tells a canary from another credential is shown to nobody who may neither change it nor read the workspace's
//! history, which tells of its making and of each alarm. INVARIANT (canary-hidden): the record of an alarm names its lease
//! in `name` and not as a lease, so that it is no part of the history that the lease's holder may read.

use std::sync::{Arc, OnceLock, Weak};

use tokio::sync::oneshot;

use super::{
    Call, Engine, Note, Unit, authorize::Subject, bulk::Revoker, close, credential::change,
    identities,
};
use crate::{
    domain::{
        error::{Error, Result},
        event::{Actor, EventName, Object},
        id::{IdentityId, WorkspaceId},
        lease::Lease,
        principal::{IdentityState, Principal, ProofId, Suspension, Unfinished},
        scope::Scope,
        time::Timestamp,
    },
    store::key,
};

/// The engine's own handle on itself, for what must go on when a request is given up.
pub(super) type Own = OnceLock<Weak<Engine>>;

/// What touching a canary leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Touch {
    /// The alarm.
    Alarm,
    /// The alarm, and the end of whoever it was.
    Suspend,
}

/// An identity to stop.
#[derive(Clone, Copy)]
struct Suspect {
    /// Where it touched the canary.
    workspace: WorkspaceId,
    identity: IdentityId,
    /// What it came with.
    proof: ProofId,
}

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
    /// organisation acts here for an identity of another workspace, which is stopped there.
    async fn suspend_suspect(&self, suspect: Suspect) -> Result<()> {
        let home = self.home_of(suspect.proof).await?;
        let home = home.unwrap_or(suspect.workspace);
        let tables = self.tables(home)?;
        let found = tables
            .identity(&mut self.read(), suspect.identity)
            .await?
            .filter(|identity| identity.is_active());
        // Deleted, or stopped already.
        let Some(found) = found else { return Ok(()) };
        let locks = [key::name_lock(
            &tables.identity_hash(found.kind, &found.name),
        )];
        let mut unit = self.begin_own("canary", home, &locks).await?;
        let Some(mut identity) = tables.identity(&mut unit.txn, suspect.identity).await? else {
            return Ok(());
        };
        if !identity.is_active() {
            return Ok(());
        }
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
        self.epochs.drain().await;
        // The leases tell their holder no more than that.
        let revoker = Revoker {
            actor: Actor::vault("canary"),
            origin: None,
            decided_by: None,
            by: None,
            reason: Some("the identity was suspended".to_owned()),
            witness: None,
        };
        if home != suspect.workspace {
            let id = identity.id;
            let of_it = |lease: &Lease, _: u32, _: Timestamp| {
                lease.holder.identity == id || lease.requested_by.by.identity == id
            };
            let here = self.tables(suspect.workspace)?;
            self.revoke_open(&here, &revoker, &of_it).await?;
        }
        self.finish_suspension(&revoker, home, &identity).await?;
        Ok(())
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
        self.record(Note {
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
            true => Touch::Suspend,
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

    async fn commit_alarmed(self, call: &Call, touch: Touch) -> Result<()> {
        let suspect =
            (touch == Touch::Suspend && !knows_canaries(&call.principal)).then_some(Suspect {
                workspace: self.tables.workspace,
                identity: call.principal.identity,
                proof: call.principal.proof,
            });
        let engine = self.engine;
        let shared = engine.own.get().and_then(Weak::upgrade);
        // Queued here, under the locks.
        let commit = self.committing()?;
        let (durable, told) = oneshot::channel();
        let work = tokio::spawn({
            let shared = shared.clone();
            async move {
                commit.await?;
                let _ = durable.send(());
                match (shared, suspect) {
                    (Some(engine), Some(suspect)) => engine.suspend_suspect(suspect).await,
                    _ => Ok(()),
                }
            }
        });
        // What is durable no stop needs to wait for, this one's own least of all.
        if told.await.is_ok() {
            call.entered.leave();
        }
        work.await.map_err(Error::internal)??;
        match (shared, suspect) {
            (None, Some(suspect)) => engine.suspend_suspect(suspect).await,
            _ => Ok(()),
        }
    }
}
