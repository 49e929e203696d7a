//! Storing, showing and rotating credentials.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Call, Engine, Note, Unit,
    cascade::{Sweep, object},
    idempotency::{Answer, Slot},
    page::{Page, PageRequest},
    views::{CredentialView, VersionView},
};
use crate::{
    authz::{Action, Resource},
    domain::{
        credential::{Author, Credential, Version, VersionState},
        error::{Code, Error, Result},
        event::{Change, EventName, Object},
        id::CredentialId,
        kind::{self, CredentialType},
        ledger::{CredentialState, Ledger},
        name::{CredentialName, MAX_TEXT_BYTES, Metadata, check_text},
        policy::{LeasePolicy, OnRotate},
        principal::Principal,
        secret::SecretText,
    },
    store::key,
};

/// A credential to store.
pub struct CreateCredential {
    pub name: CredentialName,
    pub kind: CredentialType,
    pub value: SecretText,
    pub description: Option<String>,
    pub metadata: Metadata,
    pub policy: LeasePolicy,
}

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
    /// Whether the old version retired at once, no lease being open on it.
    pub previous_retired: bool,
    pub on_open_leases: OnRotate,
    pub revoked_leases: u32,
}

/// Which credentials to list. Every given filter must match.
#[derive(Debug, Clone, Default)]
pub struct CredentialFilter {
    pub name: Option<String>,
    pub kind: Option<CredentialType>,
    pub state: Option<CredentialState>,
    pub metadata: BTreeMap<String, String>,
}

#[derive(Clone, Copy)]
enum SortBy {
    CreatedAt,
    UpdatedAt,
    Name,
}

const SORTS: [(&str, SortBy); 3] = [
    ("created_at", SortBy::CreatedAt),
    ("updated_at", SortBy::UpdatedAt),
    ("name", SortBy::Name),
];
const DEFAULT_SORT: &str = "-created_at";

/// The caller as an author.
pub(super) fn author(principal: &Principal) -> Author {
    Author {
        identity: principal.identity,
        name: principal.name.clone(),
    }
}

impl Engine {
    /// Stores a credential with its first version.
    pub async fn create_credential(
        &self,
        call: &Call,
        command: CreateCredential,
    ) -> Result<CredentialView> {
        let resource = Resource::Credential(command.name.clone());
        let permit = self
            .authorize(call, Action::CredentialCreate, resource)
            .await?;
        if let Some(description) = &command.description {
            check_text(description, "description", MAX_TEXT_BYTES)?;
        }
        self.check_policy(&command.policy)?;
        let facts = kind::inspect(
            command.kind,
            &command.value,
            &command.metadata,
            command.description.as_deref(),
            "value",
        )?;
        let slot = Slot::of(self, call, "credential:create")?;
        let tables = self.tables(call.principal.workspace)?;
        let id = CredentialId::new(self.now(), &self.keyring.entropy().bytes()?);
        let sealed = tables.seal_value(id, 1, &command.value)?;
        let fingerprint = self.keyring.fingerprint(tables.workspace, &command.value);
        let mut locks = vec![key::name_lock(&tables.credential_hash(&command.name))];
        locks.extend(slot.lock());
        let mut unit = self.begin(call, &permit, &locks).await?;
        match slot.first(&mut unit).await? {
            Some(Answer::Created(view)) => return Ok(*view),
            Some(_) => return Err(Error::internal("a first answer of another operation")),
            None => {}
        }
        if tables
            .credential_id(&mut unit.txn, &command.name)
            .await?
            .is_some()
        {
            return Err(
                Error::new(Code::AlreadyExists, "a credential of that name exists")
                    .with("field", "name"),
            );
        }
        let credential = Credential {
            id,
            name: command.name,
            kind: command.kind,
            description: command.description,
            metadata: command.metadata,
            facts,
            fingerprint,
            policy: command.policy,
            created_at: unit.now,
            created_by: author(&call.principal),
            updated_at: unit.now,
            last_rotated_at: None,
        };
        let ledger = Ledger::new();
        unit.put_new_version(&credential, ledger.newest, sealed, call)?;
        unit.put_credential(&credential)?;
        tables.put_credential_name(&mut *unit.txn, &credential.name, id)?;
        tables.put_ledger(&mut *unit.txn, id, &ledger)?;
        let changes = vec![fingerprint_change(None, &credential)];
        let at = Object {
            version: Some(1),
            ..object(&credential)
        };
        unit.record(Note {
            changes,
            ..Note::new(EventName::CredentialCreated, at)
        })?;
        let view = self.credential_view(credential, &ledger, 0);
        slot.keep(&mut unit, || Answer::Created(Box::new(view.clone())))?;
        unit.commit().await?;
        Ok(view)
    }

    /// A policy that a credential may have: sound in itself, and building on one that exists.
    pub(super) fn check_policy(&self, policy: &LeasePolicy) -> Result<()> {
        policy.check()?;
        match &policy.extends {
            Some(name) if self.policies.get(name).is_none() => {
                let known: Vec<_> = self
                    .policies
                    .names()
                    .map(|name| format!("`{name}`"))
                    .collect();
                Err(Error::invalid(
                    "policy.extends",
                    format!(
                        "no lease policy is named `{name}`; there are {}",
                        known.join(", ")
                    ),
                ))
            }
            _ => Ok(()),
        }
    }

    /// One credential.
    pub async fn credential(&self, call: &Call, name: &CredentialName) -> Result<CredentialView> {
        self.authorize(
            call,
            Action::CredentialRead,
            Resource::Credential(name.clone()),
        )
        .await?;
        let tables = self.tables(call.principal.workspace)?;
        let read = &mut self.read();
        let id = tables
            .credential_id(read, name)
            .await?
            .ok_or_else(no_credential)?;
        let credential = tables
            .credential(read, id)
            .await?
            .ok_or_else(no_credential)?;
        let ledger = tables.ledger(read, id).await?;
        let due = self.due(&tables, read, id, &ledger).await?;
        Ok(self.credential_view(credential, &ledger, due))
    }

    /// A page of the workspace's credentials.
    pub async fn credentials(
        &self,
        call: &Call,
        filter: &CredentialFilter,
        request: &PageRequest,
    ) -> Result<Page<CredentialView>> {
        self.authorize(call, Action::CredentialRead, Resource::Workspace)
            .await?;
        let window = request.window(&SORTS, DEFAULT_SORT)?;
        let tables = self.tables(call.principal.workspace)?;
        let read = &mut self.read();
        let mut found = Vec::new();
        for credential in tables.credentials(read).await? {
            let matches = filter
                .name
                .as_deref()
                .is_none_or(|name| name == credential.name.as_str())
                && filter.kind.is_none_or(|kind| kind == credential.kind)
                && filter
                    .metadata
                    .iter()
                    .all(|(key, value)| credential.metadata.get(key) == Some(value));
            if !matches {
                continue;
            }
            let ledger = tables.ledger(read, credential.id).await?;
            if filter.state.is_some_and(|state| state != ledger.state) {
                continue;
            }
            let mut position = match window.sort {
                SortBy::CreatedAt => credential.created_at.as_millis().to_be_bytes().to_vec(),
                SortBy::UpdatedAt => credential.updated_at.as_millis().to_be_bytes().to_vec(),
                SortBy::Name => [credential.name.as_str().as_bytes(), &[0]].concat(),
            };
            position.extend_from_slice(credential.id.as_bytes());
            found.push((position, (credential, ledger)));
        }
        let page = request.cut(&window, DEFAULT_SORT, found);
        let mut views = Vec::with_capacity(page.items.len());
        for (credential, ledger) in page.items {
            let due = self.due(&tables, read, credential.id, &ledger).await?;
            views.push(self.credential_view(credential, &ledger, due));
        }
        Ok(Page {
            items: views,
            limit: page.limit,
            next_cursor: page.next_cursor,
            total: page.total,
        })
    }

    /// A page of a credential's versions, newest first.
    pub async fn versions(
        &self,
        call: &Call,
        name: &CredentialName,
        request: &PageRequest,
    ) -> Result<Page<VersionView>> {
        self.authorize(
            call,
            Action::CredentialRead,
            Resource::Credential(name.clone()),
        )
        .await?;
        let window = request.window(&[("number", ())], "-number")?;
        let tables = self.tables(call.principal.workspace)?;
        let read = &mut self.read();
        let id = tables
            .credential_id(read, name)
            .await?
            .ok_or_else(no_credential)?;
        let ledger = tables.ledger(read, id).await?;
        let view = |version: Version| {
            let open = ledger.version(version.number);
            VersionView {
                active_leases: open.map_or(0, crate::domain::ledger::OpenVersion::leases),
                revealed: version.revealed || open.is_some_and(|open| open.revealed),
                version,
            }
        };
        let versions = tables.versions(read, id).await?;
        let found = versions
            .into_iter()
            .map(|version| (version.number.to_be_bytes().to_vec(), view(version)));
        Ok(request.cut(&window, "-number", found.collect()))
    }

    /// Makes a new value current.
    pub async fn rotate_credential(
        &self,
        call: &Call,
        name: &CredentialName,
        command: RotateCredential,
    ) -> Result<Rotated> {
        let permit = self
            .authorize(
                call,
                Action::CredentialRotate,
                Resource::Credential(name.clone()),
            )
            .await?;
        let slot = Slot::of(self, call, &format!("credential:rotate:{name}"))?;
        let tables = self.tables(call.principal.workspace)?;
        let id = tables
            .credential_id(&mut self.read(), name)
            .await?
            .ok_or_else(no_credential)?;
        let mut locks = vec![key::credential_lock(id)];
        locks.extend(slot.lock());
        let mut unit = self.begin(call, &permit, &locks).await?;
        match slot.first(&mut unit).await? {
            Some(Answer::Rotated(rotated)) => return Ok(*rotated),
            Some(_) => return Err(Error::internal("a first answer of another operation")),
            None => {}
        }
        let outcome = unit.rotate(call, id, command).await;
        let (rotated, sweep_from) = match outcome {
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
        let mut rotated = rotated;
        if sweep_from.is_some() {
            rotated.revoked_leases += self.finish_sweep(tables.workspace, id, sweep_from).await?;
        }
        Ok(rotated)
    }
}

impl Unit<'_> {
    /// Writes a version and its sealed value.
    fn put_new_version(
        &mut self,
        credential: &Credential,
        number: u32,
        sealed: Vec<u8>,
        call: &Call,
    ) -> Result<()> {
        let version = Version {
            number,
            state: VersionState::Current,
            created_at: self.now,
            created_by: author(&call.principal),
            metadata: credential.metadata.clone(),
            facts: credential.facts.clone(),
            fingerprint: credential.fingerprint,
            revealed: false,
        };
        self.tables
            .put_version(&mut *self.txn, credential.id, &version)?;
        self.tables
            .put_sealed_value(&mut *self.txn, credential.id, number, sealed)
    }

    async fn rotate(
        &mut self,
        call: &Call,
        id: CredentialId,
        command: RotateCredential,
    ) -> Result<(Rotated, Option<crate::store::port::Scan>)> {
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
        let mode = match command.on_open_leases {
            Some(mode) => mode,
            None => self.engine.policies.resolve(&before.policy)?.on_rotate,
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
            self.retire(id, &credential.name, emptied).await?;
        }
        let (closed, next) = if rotation.to_close > 0 {
            let reason = Some("the credential was rotated with `cut`".to_owned());
            let sweep = Sweep {
                by: Some(author(&call.principal)),
                reason,
                delete: false,
            };
            let step = self.cascade(&credential, &mut ledger, &sweep).await?;
            (step.closed, step.next)
        } else {
            tables.put_ledger(&mut *self.txn, id, &ledger)?;
            (0, None)
        };
        let due = self.engine.due(&tables, &mut self.txn, id, &ledger).await?;
        let rotated = Rotated {
            view: self.engine.credential_view(credential, &ledger, due),
            previous_version: rotation.old,
            previous_retired: ledger.version(rotation.old).is_none(),
            on_open_leases: mode,
            revoked_leases: closed,
        };
        Ok((rotated, next))
    }
}

pub(super) fn no_credential() -> Error {
    Error::not_found("credential")
}

pub(super) fn change(field: &str, before: Option<String>, after: Option<String>) -> Change {
    Change {
        field: field.to_owned(),
        before,
        after,
    }
}

fn fingerprint_change(before: Option<&Credential>, after: &Credential) -> Change {
    change(
        "fingerprint",
        before.map(|c| c.fingerprint.to_string()),
        Some(after.fingerprint.to_string()),
    )
}

pub(super) fn metadata_changes(before: &Metadata, after: &Metadata) -> Vec<Change> {
    let removed = before.iter().filter(|(key, _)| after.get(key).is_none());
    let removed = removed
        .map(|(key, value)| change(&format!("metadata.{key}"), Some(value.to_owned()), None));
    let set = after
        .iter()
        .filter(|(key, value)| before.get(key) != Some(value));
    let set = set.map(|(key, value)| {
        change(
            &format!("metadata.{key}"),
            before.get(key).map(str::to_owned),
            Some(value.to_owned()),
        )
    });
    removed.chain(set).collect()
}
