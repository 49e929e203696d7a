//! Storing, showing and rotating credentials.

use std::collections::BTreeMap;

use smol_str::SmolStr;

use super::{
    Call, Engine, Note, Unit, authorize,
    cascade::object,
    idempotency::{Answer, Slot},
    page::{Page, PageRequest},
    views::CredentialView,
};
use crate::{
    authz::{Action, CredentialFacts, Facts, Resource, ValueFacts},
    domain::{
        credential::{Author, Credential, Version, VersionState},
        error::{Code, Error, Result},
        event::{Change, EventName, Object},
        id::CredentialId,
        kind::{self, CredentialType},
        ledger::{CredentialState, Ledger},
        name::{CredentialName, MAX_TEXT_BYTES, Metadata, check_text},
        policy::LeasePolicy,
        principal::Principal,
        secret::SecretText,
        time::TimeRange,
    },
    store::key,
    tables::Tables,
};

/// A credential to store.
pub struct CreateCredential {
    pub name: CredentialName,
    pub kind: CredentialType,
    pub value: SecretText,
    pub description: Option<String>,
    pub metadata: Metadata,
    pub policy: LeasePolicy,
    /// Whether a lease of it raises the alarm.
    pub canary: bool,
}

/// Which credentials to list. Every given filter must match.
#[derive(Debug, Clone, Default)]
pub struct CredentialFilter {
    pub name: Option<String>,
    pub kind: Option<CredentialType>,
    pub state: Option<CredentialState>,
    pub metadata: BTreeMap<String, String>,
    /// When it was made.
    pub made: TimeRange,
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
        let value = ValueFacts::of(&command.value, command.kind, &command.metadata);
        let facts = Facts {
            credential: Some(CredentialFacts {
                kind: command.kind,
                metadata: &command.metadata,
            }),
            value: Some(&value),
            ..Facts::default()
        };
        let permit = self
            .authorize_on(call, Action::CredentialCreate, resource, facts)
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
            Some(Answer::Created(view)) => {
                drop(unit);
                slot.durable(self, tables.workspace).await?;
                return Ok(*view);
            }
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
            canary: command.canary,
        };
        let ledger = Ledger::new();
        unit.put_new_version(&credential, ledger.newest, sealed, call)?;
        unit.put_credential(&credential)?;
        tables.put_credential_name(&mut *unit.txn, &credential.name, id)?;
        tables.put_ledger(&mut *unit.txn, id, &ledger)?;
        let mut changes = said(&credential);
        if credential.canary {
            changes.push(change("canary", None, Some("true".to_owned())));
        }
        let at = Object {
            version: Some(1),
            ..object(&credential)
        };
        unit.record(Note {
            changes,
            ..Note::new(EventName::CredentialCreated, at)
        })?;
        let settings = self.settings(tables.workspace).await?;
        let view = self.credential_view(call, credential, &settings, &ledger, 0);
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

    /// The credential of that name, once the caller may read it.
    pub(super) async fn readable(
        &self,
        call: &Call,
        tables: &Tables,
        name: &CredentialName,
    ) -> Result<Credential> {
        let resource = || Resource::Credential(name.clone());
        self.screen(call, Action::CredentialRead, resource())
            .await?;
        let read = &mut self.read();
        let id = tables
            .credential_id(read, name)
            .await?
            .ok_or_else(no_credential)?;
        let credential = tables
            .credential(read, id)
            .await?
            .ok_or_else(no_credential)?;
        let facts = Facts {
            credential: Some(authorize::of(&credential)),
            ..Facts::default()
        };
        self.authorize_on(call, Action::CredentialRead, resource(), facts)
            .await?;
        Ok(credential)
    }

    /// One credential.
    pub async fn credential(&self, call: &Call, name: &CredentialName) -> Result<CredentialView> {
        let tables = self.tables(call.principal.workspace)?;
        let read = &mut self.read();
        let credential = self.readable(call, &tables, name).await?;
        let id = credential.id;
        let ledger = tables
            .find_ledger(read, id)
            .await?
            .ok_or_else(no_credential)?;
        let due = self.due(&tables, id, &ledger).await?;
        let settings = self.settings(tables.workspace).await?;
        Ok(self.credential_view(call, credential, &settings, &ledger, due))
    }

    /// A page of the workspace's credentials.
    pub async fn credentials(
        &self,
        call: &Call,
        filter: &CredentialFilter,
        request: &PageRequest,
    ) -> Result<Page<CredentialView>> {
        self.authorize(call, Action::CredentialList, Resource::Workspace)
            .await?;
        let sight = self.sight(call, Action::CredentialRead);
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
            let matches = matches && filter.made.holds(credential.created_at);
            if !matches || !sight.of_credential(&credential) {
                continue;
            }
            // Deleted since the scan.
            let Some(ledger) = tables.find_ledger(read, credential.id).await? else {
                continue;
            };
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
        let mut page = request.cut(&window, DEFAULT_SORT, found);
        let settings = self.settings(tables.workspace).await?;
        let mut views = Vec::with_capacity(page.items.len());
        for (credential, ledger) in std::mem::take(&mut page.items) {
            let due = self.due(&tables, credential.id, &ledger).await?;
            views.push(self.credential_view(call, credential, &settings, &ledger, due));
        }
        Ok(page.with(views))
    }
}

impl Unit<'_> {
    /// Writes a version and its sealed value.
    pub(super) fn put_new_version(
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
            revealed_at: None,
        };
        self.tables
            .put_version(&mut *self.txn, credential.id, &version)?;
        self.tables
            .put_sealed_value(&mut *self.txn, credential.id, number, sealed)
    }
}

/// What history tells of a new credential.
fn said(credential: &Credential) -> Vec<Change> {
    let mut facts = vec![
        fingerprint_change(None, credential),
        change("type", None, Some(credential.kind.as_str().to_owned())),
    ];
    facts.extend(metadata_changes(&Metadata::default(), &credential.metadata));
    let description = ("description", credential.description.clone());
    let more = credential.policy.fields().into_iter().chain([description]);
    let more = more.filter_map(|(field, value)| Some(change(field, None, Some(value?))));
    facts.extend(more);
    facts
}

pub(super) fn no_credential() -> Error {
    Error::not_found("credential")
}

pub(super) fn change<T: Into<SmolStr>>(field: &str, before: Option<T>, after: Option<T>) -> Change {
    Change {
        field: field.into(),
        before: before.map(Into::into),
        after: after.map(Into::into),
    }
}

pub(super) fn fingerprint_change(before: Option<&Credential>, after: &Credential) -> Change {
    change(
        "fingerprint",
        before.map(|c| c.fingerprint.to_string()),
        Some(after.fingerprint.to_string()),
    )
}

pub(super) fn metadata_changes(before: &Metadata, after: &Metadata) -> Vec<Change> {
    pair_changes("metadata", before, after)
}

/// What differs between pairs, each key as `field.key`.
pub(super) fn pair_changes(field: &str, before: &Metadata, after: &Metadata) -> Vec<Change> {
    let removed = before.iter().filter(|(key, _)| after.get(key).is_none());
    let removed =
        removed.map(|(key, value)| change(&format!("{field}.{key}"), Some(value.to_owned()), None));
    let set = after
        .iter()
        .filter(|(key, value)| before.get(key) != Some(value));
    let set = set.map(|(key, value)| {
        change(
            &format!("{field}.{key}"),
            before.get(key).map(str::to_owned),
            Some(value.to_owned()),
        )
    });
    removed.chain(set).collect()
}
