//! The emergency stop: of an identity, or of everything in a workspace; complete before it is answered. Revoking leases
//! by a filter ([`super::bulk`]) waits and signs as these do, and stops nobody.
//!
//! Each has the same steps. What stops every use is made durable; the requests that began before are waited for
//! ([`super::epoch`]); the leases are revoked; the answer counts, and is signed. What is left to do is in the
//! record itself, so that a crash between the steps leaves nothing in use and the next start goes on.
//!
//! INVARIANT (stop-is-complete): after the answer nothing that was stopped is used, and none of its leases is open.

mod proofs;
mod receipt;
mod steps;

use std::collections::HashMap;

use self::receipt::Facts;
pub(super) use self::receipt::Target;
pub use self::receipt::{PublicKey, Receipt};
use super::{Call, Engine, Note, bulk::Revoker, credential::change, workspaces};
use crate::{
    authz::{Action, Permit, Resource},
    domain::{
        error::{Error, Result},
        event::EventName,
        id::EventId,
        name::{IdentityName, MAX_DIRECTORY_TEXT_BYTES, WorkspaceName, check_text},
        principal::{Identity, IdentityType, Reach, Unfinished},
        time::{Span, Timestamp},
        workspace::{Everywhere, Stop},
    },
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
pub(super) struct Begun {
    pub(super) at: Timestamp,
    pub(super) event: EventId,
    pub(super) permit: Permit,
}

fn check_reason(reason: Option<&str>) -> Result<()> {
    reason.map_or(Ok(()), |reason| {
        check_text(reason, "reason", MAX_DIRECTORY_TEXT_BYTES)
    })
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

    /// Stops every key and token of a workspace but the caller's own for good, and revokes every lease in it. Keys and
    /// tokens that reach every workspace are stopped where the caller reaches every one, too.
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
        let own = call.principal.proof;
        let spared = [own, call.principal.root];
        let lock = [self.workspace_lock(name)?];
        let mut unit = self.begin(&call, &permit, &lock).await?;
        let mut workspace = unit.workspace().await?;
        let before = workspace.stop;
        if before.is_some_and(|stop| stop.unfinished && !stop.spared.contains(&own)) {
            drop(unit);
            let refusal = Error::state(
                "everything in the workspace is being stopped already, by another key or token; try again when that is done",
            );
            let object = workspaces::object(name);
            return self
                .recorded(&call, EventName::DirectoryRefused, object, Err(refusal))
                .await;
        }
        workspace.stop = Some(Stop {
            until: unit.now,
            spared,
            unfinished: true,
            everywhere: match call.principal.organisation {
                true => Everywhere::Covered,
                false => Everywhere::Left(before.and_then(|before| before.earlier())),
            },
        });
        unit.put_workspace(&workspace)?;
        let until = |stop: Stop| stop.until.to_string();
        let changes = vec![change(
            "stopped_until",
            before.map(until),
            workspace.stop.map(until),
        )];
        let event = unit.record_as(Note {
            reason: reason.clone(),
            changes,
            ..Note::new(EventName::WorkspaceRevokedAll, workspaces::object(name))
        })?;
        unit.commit_access().await?;
        let begun = Begun { at, event, permit };
        self.drained(&call).await;

        // Who was still in may have made keys and leases after the first step; nobody is by now.
        let mut unit = self.begin(&call, &begun.permit, &lock).await?;
        let mut workspace = unit.workspace().await?;
        let mut stop = workspace.stop.ok_or_else(lost)?;
        // Where whoever is spared has begun it again meanwhile, this covers no less.
        stop.until = unit.now;
        workspace.stop = Some(stop);
        unit.put_workspace(&workspace)?;
        unit.commit_access_told().await?;
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
        let tables = self.tables(workspace.id)?;
        let identities = tables.identities(&mut self.read()).await?;
        let roles: HashMap<_, _> = identities.iter().map(|one| (one.id, one.role)).collect();
        let mut counts = self
            .proofs(|listed| {
                let role = roles.get(&listed.identity).copied();
                let everywhere = listed.reach.is_everywhere(role);
                let covered = |stop: Stop| stop.covers(listed.proof, everywhere, listed.created_at);
                let inside =
                    listed.home == workspace.id || listed.reach == Reach::Workspace(workspace.id);
                inside && covered(stop) && !before.is_some_and(covered)
            })
            .await?;
        counts.leases = self.finish_stop(&revoker, &workspace, &counts).await?;
        self.stopped(&call, &begun, Target::workspace(&workspace), reason, counts)
    }

    /// Waits for every request that began before this, but for the caller's own.
    pub(super) async fn drained(&self, call: &Call) {
        call.entered.leave();
        self.epochs.drain().await;
    }

    pub(super) fn stopped(
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

fn lost() -> Error {
    Error::internal("a workspace lost its stop")
}
