//! Putting a set in force, and bringing an earlier one back.

use std::sync::Arc;

use super::{
    super::{
        Call, Engine, Note,
        credential::{author, change},
        idempotency::{Answer, Slot},
    },
    InForce, faulty, home, no_version, parse, resource, with_set,
};
use crate::{
    authz::{self, Action, Facts, Permit, PolicySet, Question},
    domain::{
        error::{Code, Error, Result},
        event::{EventName, Object},
        policy_set::{self, PolicyScope, PolicySource, StoredPolicies},
    },
};

/// A set to put in force.
pub struct ApplyPolicies {
    pub scope: PolicyScope,
    pub sources: Vec<PolicySource>,
    pub comment: Option<String>,
    /// The version that the caller believes to be in force.
    pub expected_version: Option<u32>,
    /// Take a set under which the caller could not replace it.
    pub allow_lockout: bool,
}

/// An earlier set to bring back, as a new version.
pub struct Rollback {
    pub scope: PolicyScope,
    /// 0 is the empty set that everything begins with.
    pub version: u32,
    pub comment: Option<String>,
    pub expected_version: Option<u32>,
    pub allow_lockout: bool,
}

/// A set on its way into force.
struct Next {
    scope: PolicyScope,
    set: Arc<PolicySet>,
    sources: Vec<PolicySource>,
    comment: Option<String>,
    restores: Option<u32>,
    allow_lockout: bool,
}

impl Engine {
    /// Puts a set in force. Whoever asked may go away meanwhile: a set that is durable comes into force.
    pub async fn apply_policies(
        self: &Arc<Self>,
        call: Call,
        command: ApplyPolicies,
    ) -> Result<InForce> {
        let engine = self.clone();
        let work = async move {
            let scope = command.scope;
            engine
                .authorize(&call, Action::PolicyWrite, resource(scope))
                .await?;
            policy_set::check_sources(&command.sources, command.comment.as_deref())?;
            let set = parse(scope, command.sources.clone())
                .await?
                .map_err(faulty)?;
            let _turn = engine.policy_turn.lock().await;
            // Again: a set that took this right away may have come into force meanwhile.
            let permit = engine
                .authorize(&call, Action::PolicyWrite, resource(scope))
                .await?;
            let next = Next {
                scope,
                set: Arc::new(set),
                sources: command.sources,
                comment: command.comment,
                restores: None,
                allow_lockout: command.allow_lockout,
            };
            let slot = Slot::never();
            engine
                .replace(&call, &permit, next, command.expected_version, &slot)
                .await
        };
        tokio::spawn(work).await.map_err(Error::internal)?
    }

    /// Puts an earlier set in force again.
    pub async fn roll_back_policies(
        self: &Arc<Self>,
        call: Call,
        command: Rollback,
    ) -> Result<InForce> {
        let engine = self.clone();
        let work = async move {
            let scope = command.scope;
            engine.authorize_rollback(&call, scope).await?;
            policy_set::check_sources(&[], command.comment.as_deref())?;
            let sources = match command.version {
                0 => Vec::new(),
                version => {
                    let tables = engine.tables(home(&call.principal, scope))?;
                    let found = tables.policy_set(&mut engine.read(), version).await?;
                    found.ok_or_else(no_version)?.sources
                }
            };
            // What was valid once may not be under this release.
            let set = parse(scope, sources.clone()).await?.map_err(faulty)?;
            let _turn = engine.policy_turn.lock().await;
            let permit = engine.authorize_rollback(&call, scope).await?;
            let next = Next {
                scope,
                set: Arc::new(set),
                sources,
                comment: command.comment,
                restores: Some(command.version),
                allow_lockout: command.allow_lockout,
            };
            let slot = Slot::of(&engine, &call, "policy:rollback")?;
            engine
                .replace(&call, &permit, next, command.expected_version, &slot)
                .await
        };
        tokio::spawn(work).await.map_err(Error::internal)?
    }

    /// The permit to roll back. INVARIANT (way-back): an owner of the organisation has it whatever the sets that are
    /// kept here say. The built-in policies and those of files hold for owners too.
    async fn authorize_rollback(&self, call: &Call, scope: PolicyScope) -> Result<Permit> {
        let principal = &call.principal;
        if !(principal.organisation && principal.is_owner()) {
            return self
                .authorize(call, Action::PolicyWrite, resource(scope))
                .await;
        }
        let rules = self
            .access
            .snapshot()
            .with_organisation(PolicySet::default())
            .with_workspace(principal.workspace, PolicySet::default());
        match authz::decide(&rules, self.may_write(call, scope)) {
            Ok(permit) => Ok(permit),
            Err(denial) => Err(self.deny(call, denial).await?),
        }
    }

    fn may_write<'a>(&self, call: &'a Call, scope: PolicyScope) -> Question<'a> {
        Question {
            principal: &call.principal,
            action: Action::PolicyWrite,
            resource: resource(scope),
            now: self.now(),
            source_ip: call.origin.source_ip,
            facts: Facts::default(),
        }
    }

    /// Makes a set the newest, and puts it in force once that is durable. The caller holds the turn.
    async fn replace(
        &self,
        call: &Call,
        permit: &Permit,
        next: Next,
        expected: Option<u32>,
        slot: &Slot<'_>,
    ) -> Result<InForce> {
        let scope = next.scope;
        let home = home(&call.principal, scope);
        let tables = self.tables(home)?;
        let locks: Vec<_> = slot.lock().into_iter().collect();
        let mut unit = self.begin(call, permit, &locks).await?;
        match slot.first(&mut unit).await? {
            Some(Answer::Policies { version }) => {
                let workspace = unit.tables.workspace;
                drop(unit);
                slot.durable(self, workspace).await?;
                let stored = tables.policy_set(&mut self.read(), version).await?;
                return Ok(InForce { scope, stored });
            }
            Some(_) => return Err(Error::internal("a first answer of another operation")),
            None => {}
        }
        let before = tables.newest_policy_set(&mut unit.txn).await?;
        let current = before.as_ref().map_or(0, |before| before.version);
        if expected.is_some_and(|expected| expected != current) {
            return Err(Error::new(
                Code::VersionConflict,
                "the policies were replaced in the meantime",
            )
            .with("current_version", u64::from(current)));
        }
        let event = match next.restores {
            None => EventName::PolicyApplied,
            Some(_) => EventName::PolicyRolledBack,
        };
        let object = Object {
            name: Some(format!("policies of the {}", scope.as_str())),
            ..Object::default()
        };
        let candidate = with_set(&self.access.snapshot(), home, next.set.clone());
        if !next.allow_lockout
            && let Err(denial) = authz::decide(&candidate, self.may_write(call, scope))
        {
            drop(unit);
            let error = Error::state(
                "under these policies you could not replace them any more; change them, or send `allow_lockout: true` \
                 where that is meant",
            )
            .with("policy", denial.policies.join(", "));
            return self.recorded(call, event, object, Err(error)).await;
        }
        let stored = StoredPolicies {
            version: current
                .checked_add(1)
                .ok_or_else(|| Error::internal("no version is left"))?,
            digest: policy_set::digest(&next.sources),
            sources: next.sources,
            applied_at: unit.now,
            applied_by: author(&call.principal),
            comment: next.comment,
            restores: next.restores,
        };
        let digest = |set: &StoredPolicies| policy_set::describe_digest(&set.digest);
        let version = |set: &StoredPolicies| set.version.to_string();
        let mut changes = vec![
            change(
                "version",
                before.as_ref().map(version),
                Some(version(&stored)),
            ),
            change("digest", before.as_ref().map(digest), Some(digest(&stored))),
        ];
        changes.extend(
            next.restores
                .map(|restored| change("restores", None, Some(restored.to_string()))),
        );
        let old = before.as_ref().map_or(&[][..], |before| &before.sources);
        changes.extend(policy_set::changes(old, &stored.sources));
        tables.put_policy_set(&mut *unit.txn, &stored)?;
        let version = stored.version;
        slot.keep(&mut unit, || Answer::Policies { version })?;
        unit.record(Note {
            reason: stored.comment.clone(),
            changes,
            ..Note::new(event, object)
        })?;
        unit.commit().await?;
        self.put_in_force(home, next.set);
        Ok(InForce {
            scope,
            stored: Some(stored),
        })
    }
}
