//! The steps of a stop, each a commit of its own: what the first one leaves to do is in the record, and any later run
//! can do it.

use super::{Begun, Counts, lost};
use crate::{
    authz::Action,
    domain::{
        error::{Error, Result},
        event::{Actor, Change, EventName},
        id::WorkspaceId,
        lease::Lease,
        name::IdentityName,
        principal::{Identity, IdentityState, IdentityType, Suspension, Unfinished},
        time::Timestamp,
        workspace::Workspace,
    },
    engine::{
        Call, Engine, Note,
        bulk::Revoker,
        credential::{author, change},
        identities::{self, Locked, check_touches},
        workspaces,
    },
    store::key,
};

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
    /// The first step: from here on the identity proves nobody.
    pub(super) async fn begin_suspension(
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
            by: Some(author(&call.principal)),
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
        unit.commit_access().await?;
        Ok((identity, Begun { at, event, permit }))
    }

    /// The steps after the requests that began before are done. Gives back the identity, unless it is deleted.
    pub(in crate::engine) async fn finish_suspension(
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
        // It may reach more workspaces than its own, or have reached them before.
        let system = self.tables(WorkspaceId::SYSTEM)?;
        let (mut leases, mut outcome) = (0, Ok(()));
        for workspace in system.workspaces(&mut self.read()).await? {
            let tables = self.tables(workspace.id)?;
            // What cannot be read in one workspace keeps no lease open in the others.
            match self.revoke_open(&tables, revoker, &of_it).await {
                Ok(ended) => leases += ended,
                Err(error) => outcome = Err(error),
            }
        }
        outcome?;
        let counts = Counts {
            leases,
            ..self.proofs(|listed| listed.identity == id).await?
        };
        let mut proofs_gone = false;
        let (mut unit, mut after, left) = loop {
            let mut unit = revoker.begin(self, workspace, &locks).await?;
            // Another stop of it may have come first.
            let Some(after) = tables.identity(&mut unit.txn, id).await? else {
                return Ok((None, counts));
            };
            match unfinished(&after) {
                None => return Ok((Some(after), counts)),
                Some(Unfinished::Removal) if !proofs_gone => {
                    drop(unit);
                    self.delete_proofs_of(revoker, workspace, id).await?;
                    proofs_gone = true;
                }
                Some(left) => break (unit, after, left),
            }
        };
        let event = match left {
            Unfinished::Sweep => EventName::LeaseBulkRevoked,
            Unfinished::Removal => EventName::IdentityDeleted,
        };
        if left == Unfinished::Removal {
            tables.delete_identity(&mut *unit.txn, &after);
        } else {
            if let IdentityState::Suspended(suspension) = &mut after.state {
                suspension.unfinished = None;
            }
            tables.put_identity(&mut *unit.txn, &after)?;
        }
        let mut changes = counted(&counts);
        if left == Unfinished::Removal {
            let role = Some(after.role.as_str().to_owned());
            changes.push(change("state", Some(after.state.as_str().to_owned()), None));
            changes.push(change("role", role, None));
        }
        unit.record(Note {
            reason: revoker.reason.clone(),
            changes,
            ..Note::new(event, identities::object(&after))
        })?;
        unit.commit_access().await?;
        Ok((Some(after).filter(|_| left == Unfinished::Sweep), counts))
    }

    /// Revokes what a workspace's stop covers, and writes down that this is done.
    pub(super) async fn finish_stop(
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

    /// Lets the stops that an earlier run left unfinished cover what was made until now: whoever was in then may have
    /// made keys, tokens and leases after the first step, and nobody is in any more. Run before anybody is served.
    pub async fn reach_stops(&self) -> Result<()> {
        let system = self.tables(WorkspaceId::SYSTEM)?;
        for workspace in system.workspaces(&mut self.read()).await? {
            if !workspace.stop.is_some_and(|stop| stop.unfinished) {
                continue;
            }
            let locks = [self.workspace_lock(&workspace.name)?];
            let mut unit = self.begin_own("startup", workspace.id, &locks).await?;
            let mut now = unit.workspace().await?;
            let until = unit.now;
            let Some(stop) = now.stop.as_mut().filter(|stop| stop.unfinished) else {
                continue;
            };
            stop.until = until;
            unit.put_workspace(&now)?;
            unit.commit_access_told().await?;
            // What is made from here on is made later than what is stopped.
            while self.now() <= until {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    /// Carries on the stops that an earlier run left unfinished; gives back how many leases that ended. One that fails
    /// does not keep the others.
    pub(in crate::engine) async fn finish_stops(&self) -> Result<u64> {
        let mut revoked = 0;
        let mut outcome = Ok(());
        let system = self.tables(WorkspaceId::SYSTEM)?;
        for workspace in system.workspaces(&mut self.read()).await? {
            match self.finish_stops_of(&workspace).await {
                Ok(ended) => revoked += ended,
                Err(error) => outcome = Err(error),
            }
        }
        outcome.map(|()| revoked)
    }

    async fn finish_stops_of(&self, workspace: &Workspace) -> Result<u64> {
        let mut revoked = 0;
        let revoker = |reason: &str| Revoker {
            actor: Actor::vault("startup"),
            origin: None,
            decided_by: None,
            by: None,
            reason: Some(reason.to_owned()),
            witness: None,
        };
        if workspace.stop.is_some_and(|stop| stop.unfinished) {
            let revoker = revoker("everything in the workspace was stopped");
            let counts = Counts::default();
            revoked += self.finish_stop(&revoker, workspace, &counts).await?;
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
        Ok(revoked)
    }
}

fn unfinished(identity: &Identity) -> Option<Unfinished> {
    match &identity.state {
        IdentityState::Active => None,
        IdentityState::Suspended(suspension) => suspension.unfinished,
    }
}
