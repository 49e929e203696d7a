//! Rotating credentials.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Call, Engine, Note, Unit, authorize,
    cascade::{Pass, Sweep, object},
    credential::{author, change, fingerprint_change, metadata_changes, no_credential},
    idempotency::{Answer, Slot},
    views::CredentialView,
};
use crate::{
    authz::{Action, Denial, Facts, Permit, Resource, ValueFacts},
    domain::{
        credential::VersionState,
        error::{Code, Error, Result},
        event::{EventName, Object},
        id::CredentialId,
        kind,
        name::CredentialName,
        policy::OnRotate,
        secret::SecretText,
    },
    store::key,
};

/// A new value for a credential.
pub struct RotateCredential {
    pub new_value: SecretText,
    /// A merge patch of the metadata that changes with the value.
    pub metadata: BTreeMap<String, Option<String>>,
    /// What happens to open leases; the policy's choice where it is not said.
    pub on_open_leases: Option<OnRotate>,
    /// The version that the caller believes to be current.
    pub expected_version: Option<u32>,
}

/// What a rotation did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rotated {
    pub view: CredentialView,
    pub previous_version: u32,
    /// Whether the old version is retired already, no lease being open on it.
    pub previous_retired: bool,
    pub on_open_leases: OnRotate,
    /// Leases that it stopped.
    pub revoked_leases: u32,
}

impl Engine {
    /// Makes a new value current.
    pub async fn rotate_credential(
        &self,
        call: &Call,
        name: &CredentialName,
        command: RotateCredential,
    ) -> Result<Rotated> {
        let resource = || Resource::Credential(name.clone());
        self.screen(call, Action::CredentialRotate, resource())
            .await?;
        let slot = Slot::of(self, call, &format!("credential:rotate:{name}"))?;
        let tables = self.tables(call.principal.workspace)?;
        let id = tables
            .credential_id(&mut self.read(), name)
            .await?
            .ok_or_else(no_credential)?;
        let mut locks = vec![key::credential_lock(id)];
        locks.extend(slot.lock());
        let mut unit = self.begin_undecided(call, &locks).await?;
        if let Err(denial) = unit.decide_rotation(call, id, &command).await? {
            drop(unit);
            return Err(self.deny(call, denial).await?);
        }
        match slot.first(&mut unit).await? {
            Some(Answer::Rotated(rotated)) => {
                drop(unit);
                slot.durable(self, tables.workspace).await?;
                // The first request may have gone away in the middle of its cascade.
                return match rotated.on_open_leases {
                    OnRotate::Cut if !rotated.previous_retired => {
                        self.swept(call, *rotated, None).await
                    }
                    _ => Ok(*rotated),
                };
            }
            Some(_) => return Err(Error::internal("a first answer of another operation")),
            None => {}
        }
        let outcome = unit.rotate(call, id, command).await;
        let (rotated, pass) = match outcome {
            Ok(done) => done,
            Err(error) => {
                drop(unit);
                let at = Object {
                    credential: Some(id),
                    credential_name: Some(name.clone()),
                    ..Object::default()
                };
                return self
                    .recorded(call, EventName::CredentialRefused, at, Err(error))
                    .await;
            }
        };
        slot.keep(&mut unit, || Answer::Rotated(Box::new(rotated.clone())))?;
        unit.commit().await?;
        match pass {
            None => Ok(rotated),
            Some(_) => self.swept(call, rotated, pass).await,
        }
    }

    /// A rotation once its cascade is over: the answer tells of its end and not of its first step, unless the credential
    /// has been deleted since.
    async fn swept(
        &self,
        call: &Call,
        mut rotated: Rotated,
        pass: Option<Pass>,
    ) -> Result<Rotated> {
        let tables = self.tables(call.principal.workspace)?;
        let id = rotated.view.credential.id;
        self.finish_sweep(tables.workspace, id, pass).await?;
        if let Some(ledger) = tables.find_ledger(&mut self.read(), id).await? {
            let due = self.due(&tables, id, &ledger).await?;
            rotated.previous_retired = ledger.version(rotated.previous_version).is_none();
            let settings = self.settings(tables.workspace).await?;
            let credential = rotated.view.credential;
            rotated.view = self.credential_view(call, credential, &settings, &ledger, due);
        }
        Ok(rotated)
    }
}

impl Unit<'_> {
    /// The decision on a rotation: on the credential as it is, and on the value as it would be.
    async fn decide_rotation(
        &mut self,
        call: &Call,
        id: CredentialId,
        command: &RotateCredential,
    ) -> Result<Result<Permit, Box<Denial>>> {
        let tables = self.tables.clone();
        let credential = tables
            .credential(&mut self.txn, id)
            .await?
            .ok_or_else(no_credential)?;
        let metadata = credential.metadata.patched(command.metadata.clone())?;
        let value = ValueFacts::of(&command.new_value, credential.kind, &metadata);
        let facts = Facts {
            credential: Some(authorize::of(&credential)),
            value: Some(&value),
            ..Facts::default()
        };
        let resource = Resource::Credential(credential.name.clone());
        let action = Action::CredentialRotate;
        let decided = self.engine.decide(call, action, resource, facts, self.now);
        if let Ok(permit) = &decided {
            self.decided(permit);
        }
        Ok(decided)
    }

    async fn rotate(
        &mut self,
        call: &Call,
        id: CredentialId,
        command: RotateCredential,
    ) -> Result<(Rotated, Option<Pass>)> {
        let tables = self.tables.clone();
        let before = tables
            .credential(&mut self.txn, id)
            .await?
            .ok_or_else(no_credential)?;
        let mut ledger = tables.ledger(&mut self.txn, id).await?;
        if let Some(expected) = command.expected_version
            && expected != ledger.newest
        {
            return Err(Error::new(
                Code::VersionConflict,
                "the credential was rotated in the meantime",
            )
            .with("current_version", u64::from(ledger.newest)));
        }
        let mut credential = before.clone();
        credential.metadata = before.metadata.patched(command.metadata)?;
        credential.facts = kind::inspect(
            before.kind,
            &command.new_value,
            &credential.metadata,
            before.description.as_deref(),
            "new_value",
        )?;
        credential.fingerprint = self
            .engine
            .keyring
            .fingerprint(tables.workspace, &command.new_value);
        let holds_value = ledger.current().is_some();
        if holds_value && credential.fingerprint == before.fingerprint {
            return Err(Error::invalid(
                "new_value",
                "`new_value` is the value that is current already",
            ));
        }
        credential.last_rotated_at = Some(self.now);
        credential.updated_at = self.now;
        let settings = self.settings().await?;
        let mode = match command.on_open_leases {
            Some(mode) => mode,
            None => {
                let terms = self.engine.policies.resolve(&before.policy, &settings)?;
                terms.on_rotate
            }
        };
        let rotation = ledger.rotate(mode)?;
        let sealed = tables.seal_value(id, rotation.new, &command.new_value)?;
        self.put_new_version(&credential, rotation.new, sealed, call)?;
        self.put_credential(&credential)?;
        let missing = || Error::internal("the newest version has no record");
        let mut old = tables
            .version(&mut self.txn, id, rotation.old)
            .await?
            .ok_or_else(missing)?;
        if old.state == VersionState::Current {
            old.state = VersionState::Rotated { at: self.now };
            tables.put_version(&mut *self.txn, id, &old)?;
        }
        let mut changes = vec![
            fingerprint_change(Some(&before), &credential),
            change(
                "version",
                Some(rotation.old.to_string()),
                Some(rotation.new.to_string()),
            ),
            change("on_open_leases", None, Some(mode.as_str().to_owned())),
        ];
        changes.extend(metadata_changes(&before.metadata, &credential.metadata));
        let at = Object {
            version: Some(rotation.new),
            ..object(&credential)
        };
        self.record(Note {
            changes,
            ..Note::new(EventName::CredentialRotated, at)
        })?;
        for emptied in rotation.emptied {
            let why = "it was rotated, and no lease was open on it";
            self.retire(id, &credential.name, emptied, why).await?;
        }
        let next = if rotation.to_close > 0 {
            let reason = Some("the credential was rotated with `cut`".to_owned());
            let sweep = Sweep {
                by: Some(author(&call.principal)),
                reason,
                delete: false,
            };
            self.cascade(&credential, &mut ledger, &sweep).await?
        } else {
            tables.put_ledger(&mut *self.txn, id, &ledger)?;
            None
        };
        let counted = self.engine.count_due(&tables, &mut self.txn, id, &ledger);
        let (due, _) = counted.await?;
        let rotated = Rotated {
            view: self
                .engine
                .credential_view(call, credential, &settings, &ledger, due),
            previous_version: rotation.old,
            previous_retired: ledger.version(rotation.old).is_none(),
            on_open_leases: mode,
            revoked_leases: rotation.to_close,
        };
        Ok((rotated, next))
    }
}
