//! Changing, stopping and deleting credentials.

use std::collections::BTreeMap;

use super::{
    Call, Engine, Note, Unit, authorize,
    cascade::{Pass, Sweep, object},
    credential::{author, change, metadata_changes, no_credential},
    expire::BATCH,
    views::CredentialView,
};
use crate::{
    authz::{Action, Facts, Resource},
    domain::{
        credential::{Credential, VersionState},
        error::{Error, Result},
        event::{Change, EventName, Object},
        id::CredentialId,
        kind,
        lease::MAX_REASON_BYTES,
        ledger::{CredentialState, Ledger, OpenVersion},
        name::{CredentialName, MAX_TEXT_BYTES, check_text},
        policy::LeasePolicyPatch,
    },
    store::key,
};

/// A merge patch of a credential (RFC 7396): what is absent stays.
#[derive(Default)]
pub struct UpdateCredential {
    pub description: Option<Option<String>>,
    pub metadata: Option<BTreeMap<String, Option<String>>>,
    pub policy: Option<LeasePolicyPatch>,
    pub canary: Option<bool>,
    pub state: Option<StateChange>,
}

/// A state that a keeper may put a credential into. `Revoked` is for good.
pub type StateChange = CredentialState;

/// A credential under its lock.
struct Locked<'a> {
    unit: Unit<'a>,
    credential: Credential,
    ledger: Ledger,
}

impl Engine {
    async fn lock_credential<'a>(
        &'a self,
        call: &Call,
        action: Action,
        name: &CredentialName,
    ) -> Result<Locked<'a>> {
        let resource = || Resource::Credential(name.clone());
        self.screen(call, action, resource()).await?;
        let tables = self.tables(call.principal.workspace)?;
        let id = tables
            .credential_id(&mut self.read(), name)
            .await?
            .ok_or_else(no_credential)?;
        // The name's lock keeps a deletion and a creation under the same name apart.
        let locks = [
            key::credential_lock(id),
            key::name_lock(&tables.credential_hash(name)),
        ];
        let mut unit = self.begin_undecided(call, &locks).await?;
        let credential = tables
            .credential(&mut unit.txn, id)
            .await?
            .ok_or_else(no_credential)?;
        let facts = Facts {
            credential: Some(authorize::of(&credential)),
            ..Facts::default()
        };
        match self.decide(call, action, resource(), facts, unit.now) {
            Ok(permit) => unit.decided(&permit),
            Err(denial) => {
                drop(unit);
                return Err(self.deny(call, denial).await?);
            }
        }
        let ledger = tables.ledger(&mut unit.txn, id).await?;
        Ok(Locked {
            unit,
            credential,
            ledger,
        })
    }

    /// Changes what is known about a credential, its policy or its state.
    pub async fn update_credential(
        &self,
        call: &Call,
        name: &CredentialName,
        patch: UpdateCredential,
    ) -> Result<CredentialView> {
        let Locked {
            mut unit,
            credential,
            mut ledger,
        } = self
            .lock_credential(call, Action::CredentialUpdate, name)
            .await?;
        let outcome = unit.update(call, credential, &mut ledger, patch).await;
        let (credential, pass) = match outcome {
            Ok(done) => done,
            Err(error) => {
                drop(unit);
                let at = Object {
                    credential_name: Some(name.clone()),
                    ..Object::default()
                };
                return self
                    .recorded(call, EventName::CredentialRefused, at, Err(error))
                    .await;
            }
        };
        unit.commit().await?;
        let tables = self.tables(call.principal.workspace)?;
        if pass.is_some() {
            self.finish_sweep(tables.workspace, credential.id, pass)
                .await?;
            // Where the credential has been deleted since, the answer tells of the first step.
            let swept = tables.find_ledger(&mut self.read(), credential.id).await?;
            ledger = swept.unwrap_or(ledger);
        }
        let due = self.due(&tables, credential.id, &ledger).await?;
        let settings = self.settings(tables.workspace).await?;
        Ok(self.credential_view(call, credential, &settings, &ledger, due))
    }

    /// Stops a version in an emergency: its leases are revoked and its value is erased. Gives back how many
    /// leases that stopped.
    pub async fn revoke_version(
        &self,
        call: &Call,
        name: &CredentialName,
        number: u32,
        reason: Option<String>,
    ) -> Result<u32> {
        check_reason(reason.as_deref())?;
        let Locked {
            mut unit,
            credential,
            mut ledger,
        } = self
            .lock_credential(call, Action::CredentialRevokeVersion, name)
            .await?;
        let known = unit
            .tables
            .version(&mut unit.txn, credential.id, number)
            .await?;
        let known = known.ok_or_else(|| Error::not_found("version"))?;
        let held = ledger.version(number).cloned();
        let stopped = match ledger.revoke_version(number) {
            Ok(stopped) => stopped,
            Err(error) => {
                drop(unit);
                let at = Object {
                    version: Some(number),
                    ..object(&credential)
                };
                return self
                    .recorded(call, EventName::CredentialRefused, at, Err(error))
                    .await;
            }
        };
        unit.erase_versions(credential.id, held.as_slice()).await?;
        let at = Object {
            version: Some(number),
            ..object(&credential)
        };
        unit.record(Note {
            reason: reason.clone(),
            changes: vec![revoked("state", known.state.as_str())],
            ..Note::new(EventName::CredentialVersionRevoked, at)
        })?;
        let sweep = Sweep {
            by: Some(author(&call.principal)),
            reason,
            delete: false,
        };
        let pass = unit.cascade(&credential, &mut ledger, &sweep).await?;
        self.finish(unit, credential.id, pass).await?;
        Ok(stopped)
    }

    /// Deletes a credential; with `force` its open leases are revoked first. Gives back how many those were.
    pub async fn delete_credential(
        &self,
        call: &Call,
        name: &CredentialName,
        force: bool,
    ) -> Result<u32> {
        let action = Action::CredentialDelete;
        let mut locked = self.lock_credential(call, action, name).await?;
        if !force && locked.ledger.active > 0 {
            // Leases that have expired already are no reason to refuse.
            let (id, active) = (locked.credential.id, locked.ledger.active);
            drop(locked);
            self.close_all_due(call, id, active).await?;
            locked = self.lock_credential(call, action, name).await?;
        }
        let Locked {
            mut unit,
            credential,
            mut ledger,
        } = locked;
        let id = credential.id;
        if !force && ledger.active > 0 {
            drop(unit);
            let error =
                Error::state("leases are active; end them first, or delete with `force=true`")
                    .with("active_leases", u64::from(ledger.active));
            return self
                .recorded(
                    call,
                    EventName::CredentialRefused,
                    object(&credential),
                    Err(error),
                )
                .await;
        }
        let before = ledger.state;
        let held = ledger.revoke();
        let stopped = held.iter().map(OpenVersion::usable_leases).sum();
        let changes = unit.erase_all(id, before, &held).await?;
        let reason = Some("the credential was deleted".to_owned());
        let sweep = Sweep {
            by: Some(author(&call.principal)),
            reason,
            delete: true,
        };
        let pass = unit.cascade(&credential, &mut ledger, &sweep).await?;
        if pass.is_some() {
            unit.record(Note {
                reason: sweep.reason.clone(),
                changes,
                ..Note::new(EventName::CredentialRevoked, object(&credential))
            })?;
        }
        self.finish(unit, id, pass).await?;
        Ok(stopped)
    }

    /// Closes what has expired of so many leases, as the reaper does: batch by batch, each a commit of its own.
    async fn close_all_due(&self, call: &Call, id: CredentialId, active: u32) -> Result<()> {
        let place = (call.principal.workspace, id);
        for _ in 0..=usize::try_from(active).unwrap_or(usize::MAX) / BATCH {
            match self.expire(place).await? {
                Some(next) if next <= self.now() => tokio::task::yield_now().await,
                _ => break,
            }
        }
        Ok(())
    }

    /// Commits the first step of a cascade, and goes on to its end.
    async fn finish(&self, unit: Unit<'_>, id: CredentialId, pass: Option<Pass>) -> Result<()> {
        let workspace = unit.tables.workspace;
        unit.commit().await?;
        if pass.is_some() {
            self.finish_sweep(workspace, id, pass).await?;
        }
        Ok(())
    }
}

impl Unit<'_> {
    async fn update(
        &mut self,
        call: &Call,
        before: Credential,
        ledger: &mut Ledger,
        patch: UpdateCredential,
    ) -> Result<(Credential, Option<Pass>)> {
        let tables = self.tables.clone();
        let mut after = before.clone();
        if let Some(description) = patch.description {
            if let Some(description) = &description {
                check_text(description, "description", MAX_TEXT_BYTES)?;
            }
            after.description = description;
        }
        if let Some(metadata) = patch.metadata {
            after.metadata = before.metadata.patched(metadata)?;
        }
        if let Some(policy) = patch.policy {
            after.policy = before.policy.patched(policy);
            self.engine.check_policy(&after.policy)?;
        }
        after.canary = patch.canary.unwrap_or(before.canary);
        if let Some(current) = ledger.current().map(|current| current.number)
            && (after.description != before.description || after.metadata != before.metadata)
        {
            let value = tables.value(&mut self.txn, before.id, current).await?;
            let description = after.description.as_deref();
            after.facts =
                kind::inspect(before.kind, &value, &after.metadata, description, "value")?;
            let missing = || Error::internal("the current version has no record");
            let mut version = tables
                .version(&mut self.txn, before.id, current)
                .await?
                .ok_or_else(missing)?;
            version.metadata = after.metadata.clone();
            version.facts = after.facts.clone();
            if version.state != VersionState::Current {
                return Err(Error::internal("the current version is not current"));
            }
            tables.put_version(&mut *self.txn, before.id, &version)?;
        }
        let mut changes = changes(&before, &after);
        let state = patch.state.filter(|state| *state != ledger.state);
        if let Some(state) = state {
            changes.push(change(
                "state",
                Some(ledger.state.as_str()),
                Some(state.as_str()),
            ));
        }
        after.updated_at = self.now;
        self.put_credential(&after)?;
        self.record(Note {
            changes,
            ..Note::new(EventName::CredentialUpdated, object(&after))
        })?;
        let next = match state {
            None => None,
            Some(state) => self.change_state(call, &after, ledger, state).await?,
        };
        Ok((after, next))
    }

    /// Erases every version that held a value; gives back what that changes of the credential.
    async fn erase_all(
        &mut self,
        id: CredentialId,
        before: CredentialState,
        held: &[OpenVersion],
    ) -> Result<Vec<Change>> {
        let mut changes = vec![revoked("state", before.as_str())];
        for open in held {
            let version = self.tables.version(&mut self.txn, id, open.number).await?;
            let state = version.map_or("unknown", |version| version.state.as_str());
            changes.push(revoked(&format!("version.{}", open.number), state));
        }
        self.erase_versions(id, held).await?;
        Ok(changes)
    }

    async fn change_state(
        &mut self,
        call: &Call,
        credential: &Credential,
        ledger: &mut Ledger,
        state: StateChange,
    ) -> Result<Option<Pass>> {
        if ledger.state == CredentialState::Revoked {
            return Err(Error::new(
                crate::domain::error::Code::CredentialRevoked,
                "the credential is revoked for good",
            ));
        }
        if state != CredentialState::Revoked {
            ledger.state = state;
            self.tables
                .put_ledger(&mut *self.txn, credential.id, ledger)?;
            return Ok(None);
        }
        let before = ledger.state;
        let held = ledger.revoke();
        let changes = self.erase_all(credential.id, before, &held).await?;
        self.record(Note {
            changes,
            ..Note::new(EventName::CredentialRevoked, object(credential))
        })?;
        let reason = Some("the credential was revoked".to_owned());
        let sweep = Sweep {
            by: Some(author(&call.principal)),
            reason,
            delete: false,
        };
        self.cascade(credential, ledger, &sweep).await
    }
}

fn revoked(field: &str, before: &str) -> Change {
    change(field, Some(before), Some("revoked"))
}

/// Holds a reason to its bounds.
pub(super) fn check_reason(reason: Option<&str>) -> Result<()> {
    reason.map_or(Ok(()), |reason| {
        check_text(reason, "reason", MAX_REASON_BYTES)
    })
}

fn changes(before: &Credential, after: &Credential) -> Vec<Change> {
    let mut changes = metadata_changes(&before.metadata, &after.metadata);
    if before.description != after.description {
        changes.push(change(
            "description",
            before.description.clone(),
            after.description.clone(),
        ));
    }
    if before.canary != after.canary {
        let text = |credential: &Credential| Some(credential.canary.to_string());
        changes.push(change("canary", text(before), text(after)));
    }
    let policies = before
        .policy
        .fields()
        .into_iter()
        .zip(after.policy.fields());
    let changed = policies.filter(|((_, before), (_, after))| before != after);
    changes.extend(changed.map(|((field, before), (_, after))| change(field, before, after)));
    changes
}
