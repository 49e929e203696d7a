//! The emergency stop: of an identity, or of everything in a workspace; complete before it is answered.
//!
//! Each has the same steps. What stops every use is made durable; the requests that began before are waited for
//! ([`super::epoch`]); the leases are revoked; the answer counts, and is signed. What is left to do is in the
//! record itself, so that a crash between the steps leaves nothing in use and the next start goes on.
//!
//! INVARIANT (stop-is-complete): after the answer nothing that was stopped is used, and none of its leases is open.

mod receipt;

use self::receipt::{Facts, Target};
pub use self::receipt::{PublicKey, Receipt};
use super::{
    Call, Engine, Note,
    bulk::Revoker,
    credential::{author, change},
    identities::{self, Locked, check_touches},
    workspaces,
};
use crate::{
    authz::{Action, Permit, Resource},
    domain::{
        error::{Error, Result},
        event::{Actor, Change, EventName, Object},
        id::{EventId, IdentityId, WorkspaceId},
        lease::Lease,
        name::{IdentityName, MAX_DIRECTORY_TEXT_BYTES, WorkspaceName, check_text},
        principal::{
            ApiKey, Identity, IdentityState, IdentityType, ProofId, Reach, Suspension, Unfinished,
        },
        time::{Span, Timestamp},
        workspace::{Stop, Workspace},
    },
    store::key,
};

/// What a stop ended.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    pub leases: u64,
    /// API keys that had not expired.
    pub keys: u64,
    /// Access tokens that had not expired.
    pub tokens: u64,
}

/// What a stop did, and how long that took by the vault's clock.
#[derive(Debug)]
pub struct Stopped {
    pub counts: Counts,
    pub took: Span,
    pub receipt: Receipt,
}

/// A stop whose first step is durable.
struct Begun {
    at: Timestamp,
    event: EventId,
    permit: Permit,
}

fn check_reason(reason: Option<&str>) -> Result<()> {
    reason.map_or(Ok(()), |reason| {
        check_text(reason, "reason", MAX_DIRECTORY_TEXT_BYTES)
    })
}

fn counted(counts: &Counts) -> Vec<Change> {
    [
        ("revoked", counts.leases),
        ("keys_stopped", counts.keys),
        ("tokens_stopped", counts.tokens),
    ]
    .into_iter()
    .map(|(field, count)| change(field, None, Some(count.to_string())))
    .collect()
}

impl Engine {
    /// Suspends an identity: its keys and tokens prove nobody, and the leases that it holds or has asked for are
    /// revoked. Suspending it again makes sure of that again.
    pub async fn suspend_identity(
        &self,
        call: Call,
        kind: IdentityType,
        name: &IdentityName,
        reason: Option<String>,
    ) -> Result<(Identity, Stopped)> {
        check_reason(reason.as_deref())?;
        let action = Action::IdentitySuspend;
        let (identity, begun) = self
            .begin_suspension(
                &call,
                action,
                (kind, name),
                reason.clone(),
                Unfinished::Sweep,
            )
            .await?;
        let why = Some(match &reason {
            Some(reason) => format!("the identity was suspended: {reason}"),
            None => "the identity was suspended".to_owned(),
        });
        let revoker = Revoker::of(&call, &begun.permit, why);
        self.drained(&call).await;
        let workspace = call.principal.workspace;
        let (after, counts) = self
            .finish_suspension(&revoker, workspace, &identity)
            .await?;
        let stopped = self.stopped(&call, &begun, Target::identity(&identity), reason, counts)?;
        Ok((after.unwrap_or(identity), stopped))
    }

    /// Deletes an identity, once it and all it has is stopped. Its name is free then; its id is not used again.
    pub async fn delete_identity(
        &self,
        call: Call,
        kind: IdentityType,
        name: &IdentityName,
    ) -> Result<Stopped> {
        let action = Action::IdentityDelete;
        let reason = Some("the identity was deleted".to_owned());
        let (identity, begun) = self
            .begin_suspension(
                &call,
                action,
                (kind, name),
                reason.clone(),
                Unfinished::Removal,
            )
            .await?;
        let revoker = Revoker::of(&call, &begun.permit, reason);
        self.drained(&call).await;
        let workspace = call.principal.workspace;
        let (_, counts) = self
            .finish_suspension(&revoker, workspace, &identity)
            .await?;
        self.stopped(&call, &begun, Target::identity(&identity), None, counts)
    }

    /// Stops every key and token of a workspace but the caller's own for good, and revokes every lease in it.
    pub async fn revoke_all(
        &self,
        call: Call,
        name: &WorkspaceName,
        reason: Option<String>,
    ) -> Result<Stopped> {
        let at = self.now();
        check_reason(reason.as_deref())?;
        let (call, _) = self.within(call, name).await?;
        let permit = self
            .authorize(&call, Action::WorkspaceRevokeAll, Resource::Workspace)
            .await?;
        let spared = call.principal.proof;
        let lock = [self.workspace_lock(name)?];
        let mut unit = self.begin(&call, &permit, &lock).await?;
        let mut workspace = unit.workspace().await?;
        let before = workspace.stop;
        workspace.stop = Some(Stop {
            until: unit.now,
            spared,
            unfinished: true,
        });
        unit.put_workspace(&workspace)?;
        let event = unit.record_as(Note {
            reason: reason.clone(),
            ..Note::new(EventName::WorkspaceRevokedAll, workspaces::object(name))
        })?;
        unit.commit().await?;
        self.generation.advance();
        let begun = Begun { at, event, permit };
        self.drained(&call).await;

        // Who was still in may have made keys and leases after the first step; nobody is by now.
        let mut unit = self.begin(&call, &begun.permit, &lock).await?;
        let mut workspace = unit.workspace().await?;
        let mut stop = workspace.stop.ok_or_else(lost)?;
        if stop.spared == spared {
            // Another stop has sparing of its own, and a second step to come.
            stop.until = unit.now;
        }
        workspace.stop = Some(stop);
        unit.put_workspace(&workspace)?;
        unit.commit_housekeeping().await?;
        self.generation.advance();
        // What is made from here on is made later than what is stopped.
        while self.now() <= stop.until {
            tokio::task::yield_now().await;
        }
        let revoker = Revoker::of(
            &call,
            &begun.permit,
            Some(match &reason {
                Some(reason) => format!("everything in the workspace was stopped: {reason}"),
                None => "everything in the workspace was stopped".to_owned(),
            }),
        );
        let mut counts = self
            .proofs(|key| {
                let proof = ProofId::Key(key.id);
                in_workspace(key, &workspace)
                    && stop.covers(proof, key.created_at)
                    && !before.is_some_and(|before| before.covers(proof, key.created_at))
            })
            .await?;
        counts.leases = self.finish_stop(&revoker, &workspace, &counts).await?;
        self.stopped(&call, &begun, Target::workspace(&workspace), reason, counts)
    }

    /// Carries on the stops that an earlier run left unfinished; gives back how many leases that ended.
    pub(super) async fn finish_stops(&self) -> Result<u64> {
        let mut revoked = 0;
        let system = self.tables(WorkspaceId::SYSTEM)?;
        for workspace in system.workspaces(&mut self.read()).await? {
            let revoker = |reason: &str| Revoker {
                actor: Actor::vault("startup"),
                origin: None,
                decided_by: None,
                by: None,
                reason: Some(reason.to_owned()),
            };
            if workspace.stop.is_some_and(|stop| stop.unfinished) {
                let revoker = revoker("everything in the workspace was stopped");
                let counts = Counts::default();
                revoked += self.finish_stop(&revoker, &workspace, &counts).await?;
            }
            let tables = self.tables(workspace.id)?;
            for identity in tables.identities(&mut self.read()).await? {
                if unfinished(&identity).is_some() {
                    let revoker = revoker("the identity was suspended");
                    let done = self
                        .finish_suspension(&revoker, workspace.id, &identity)
                        .await?;
                    revoked += done.1.leases;
                }
            }
        }
        Ok(revoked)
    }

    /// Waits for every request that began before this, but for the caller's own.
    async fn drained(&self, call: &Call) {
        call.entered.leave();
        self.epochs.drain().await;
    }

    /// The first step: from here on the identity proves nobody.
    async fn begin_suspension(
        &self,
        call: &Call,
        action: Action,
        (kind, name): (IdentityType, &IdentityName),
        reason: Option<String>,
        rest: Unfinished,
    ) -> Result<(Identity, Begun)> {
        let at = self.now();
        let Locked {
            mut unit,
            mut identity,
            permit,
        } = self.lock_identity(call, action, kind, name).await?;
        let deleting = unfinished(&identity) == Some(Unfinished::Removal);
        let allowed = match check_touches(&call.principal, &identity) {
            Ok(()) if deleting && rest == Unfinished::Sweep => {
                Err(Error::state("the identity is being deleted"))
            }
            allowed => allowed,
        };
        if let Err(refusal) = allowed {
            drop(unit);
            let object = identities::object(&identity);
            return self
                .recorded(call, EventName::DirectoryRefused, object, Err(refusal))
                .await;
        }
        let changes = match identity.is_active() {
            true => vec![change(
                "state",
                Some("active".to_owned()),
                Some("suspended".to_owned()),
            )],
            false => Vec::new(),
        };
        identity.state = IdentityState::Suspended(Suspension {
            since: unit.now,
            by: author(&call.principal),
            reason: reason.clone(),
            unfinished: Some(rest),
        });
        identity.updated_at = unit.now;
        unit.tables.put_identity(&mut *unit.txn, &identity)?;
        let event = unit.record_as(Note {
            reason,
            changes,
            ..Note::new(EventName::IdentitySuspended, identities::object(&identity))
        })?;
        unit.commit().await?;
        self.generation.advance();
        Ok((identity, Begun { at, event, permit }))
    }

    /// The steps after the requests that began before are done. Gives back the identity, unless it is deleted.
    async fn finish_suspension(
        &self,
        revoker: &Revoker,
        workspace: WorkspaceId,
        identity: &Identity,
    ) -> Result<(Option<Identity>, Counts)> {
        let tables = self.tables(workspace)?;
        let id = identity.id;
        let locks = [key::name_lock(
            &tables.identity_hash(identity.kind, &identity.name),
        )];
        // A request that its client gave up may have left a lease behind that is queued and not durable yet, which
        // the search for leases would pass over. What is written after it is durable after it.
        let mut unit = revoker.begin(self, workspace, &locks).await?;
        if let Some(now) = tables.identity(&mut unit.txn, id).await? {
            tables.put_identity(&mut *unit.txn, &now)?;
        }
        unit.commit_housekeeping().await?;
        let of_it = |lease: &Lease, _: u32, _: Timestamp| {
            lease.holder.identity == id || lease.requested_by.by.identity == id
        };
        let leases = self.revoke_open(&tables, revoker, &of_it).await?;
        let counts = Counts {
            leases,
            ..self.proofs(|key| key.identity == id).await?
        };
        let mut unit = revoker.begin(self, workspace, &locks).await?;
        // Another stop of it may have come first.
        let Some(mut after) = tables.identity(&mut unit.txn, id).await? else {
            return Ok((None, counts));
        };
        let left = unfinished(&after);
        let event = match left {
            None => return Ok((Some(after), counts)),
            Some(Unfinished::Sweep) => EventName::LeaseBulkRevoked,
            Some(Unfinished::Removal) => EventName::IdentityDeleted,
        };
        if left == Some(Unfinished::Removal) {
            self.delete_keys_of(&mut unit, id).await?;
            tables.delete_identity(&mut *unit.txn, &after);
        } else {
            if let IdentityState::Suspended(suspension) = &mut after.state {
                suspension.unfinished = None;
            }
            tables.put_identity(&mut *unit.txn, &after)?;
        }
        unit.record(Note {
            reason: revoker.reason.clone(),
            changes: counted(&counts),
            ..Note::new(event, identities::object(&after))
        })?;
        unit.commit().await?;
        self.generation.advance();
        Ok((
            Some(after).filter(|_| left == Some(Unfinished::Sweep)),
            counts,
        ))
    }

    /// Revokes what a workspace's stop covers, and writes down that this is done.
    async fn finish_stop(
        &self,
        revoker: &Revoker,
        workspace: &Workspace,
        proofs: &Counts,
    ) -> Result<u64> {
        let tables = self.tables(workspace.id)?;
        let stop = workspace.stop.ok_or_else(lost)?;
        let covered = |lease: &Lease, _: u32, _: Timestamp| lease.issued_at <= stop.until;
        let leases = self.revoke_open(&tables, revoker, &covered).await?;
        let locks = [self.workspace_lock(&workspace.name)?];
        let mut unit = revoker.begin(self, workspace.id, &locks).await?;
        let mut now = unit.workspace().await?;
        if let Some(stop) = now.stop.as_mut().filter(|now| **now == stop) {
            stop.unfinished = false;
            unit.put_workspace(&now)?;
        }
        unit.record(Note {
            reason: revoker.reason.clone(),
            changes: counted(&Counts { leases, ..*proofs }),
            ..Note::new(EventName::LeaseBulkRevoked, workspaces::object(&now.name))
        })?;
        unit.commit().await?;
        Ok(leases)
    }

    /// Counts the proofs that are wanted and have not expired. Whatever else proves a caller is counted here.
    async fn proofs(&self, wanted: impl Fn(&ApiKey) -> bool) -> Result<Counts> {
        let system = self.tables(WorkspaceId::SYSTEM)?;
        let now = self.now();
        let lasting = |key: &&ApiKey| key.expires_at.is_none_or(|at| at > now);
        let keys = system.api_keys(&mut self.read()).await?;
        let keys = keys.iter().filter(lasting).filter(|key| wanted(key));
        Ok(Counts {
            keys: keys.count() as u64,
            ..Counts::default()
        })
    }

    /// Deletes the keys of an identity that goes. Whatever else belongs to it goes here.
    async fn delete_keys_of(&self, unit: &mut super::Unit<'_>, id: IdentityId) -> Result<()> {
        let system = self.tables(WorkspaceId::SYSTEM)?;
        for key in system.api_keys(&mut unit.txn).await? {
            if key.identity == id {
                system
                    .delete_api_key(&mut unit.txn, key.home, key.id)
                    .await?;
                let object = Object {
                    name: Some(key.id.to_string()),
                    holder: Some(id),
                    ..Object::default()
                };
                unit.record(Note::new(EventName::KeyDeleted, object))?;
            }
        }
        Ok(())
    }

    fn stopped(
        &self,
        call: &Call,
        begun: &Begun,
        target: Target,
        reason: Option<String>,
        counts: Counts,
    ) -> Result<Stopped> {
        let done = self.now();
        let took = done.since(begun.at);
        let receipt = self.receipt(&Facts {
            call,
            action: begun.permit.action(),
            target,
            reason: reason.as_deref(),
            counts,
            event: begun.event,
            began_at: begun.at,
            completed_at: done,
        })?;
        Ok(Stopped {
            counts,
            took,
            receipt,
        })
    }
}

fn unfinished(identity: &Identity) -> Option<Unfinished> {
    match &identity.state {
        IdentityState::Active => None,
        IdentityState::Suspended(suspension) => suspension.unfinished,
    }
}

/// Whether a key is one of the workspace's: its identity belongs to it, or it was made for it.
fn in_workspace(key: &ApiKey, workspace: &Workspace) -> bool {
    key.home == workspace.id || key.reach == Reach::Workspace(workspace.id)
}

fn lost() -> Error {
    Error::internal("a workspace lost its stop")
}
