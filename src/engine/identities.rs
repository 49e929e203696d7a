//! Making, showing and changing identities. Stopping and deleting them is in `stop`.
//!
//! INVARIANT (no-escalation): nobody gives, takes or touches a role that it could not give; nobody changes its own
//! role or labels, nor stops or deletes itself.

use std::collections::BTreeMap;

use super::{
    Call, Engine, Note, Unit,
    credential::{author, change, pair_changes},
    idempotency::{Answer, Slot},
    page::{Page, PageRequest},
    raise,
};
use crate::{
    authz::{Action, Permit, Resource},
    domain::{
        credential::Author,
        error::{Code, Error, Result},
        event::{EventName, Object},
        id::IdentityId,
        name::{IdentityName, MAX_DIRECTORY_TEXT_BYTES, Metadata, check_text},
        principal::{Identity, IdentityState, IdentityType, Principal, Unfinished},
        scope::Role,
        time::TimeRange,
    },
    store::{key, port::LockKey},
};

/// An identity to make.
pub struct CreateIdentity {
    pub name: IdentityName,
    pub kind: IdentityType,
    pub role: Role,
    pub description: Option<String>,
    pub labels: Metadata,
}

/// A merge patch of an identity (RFC 7396): what is absent stays.
#[derive(Debug, Default)]
pub struct UpdateIdentity {
    pub role: Option<Role>,
    pub description: Option<Option<String>>,
    pub labels: Option<BTreeMap<String, Option<String>>>,
}

/// Which identities to list. Every given filter must match.
#[derive(Debug, Clone, Default)]
pub struct IdentityFilter {
    pub name: Option<String>,
    pub kind: Option<IdentityType>,
    pub role: Option<Role>,
    /// `active` or `suspended`.
    pub suspended: Option<bool>,
    pub labels: BTreeMap<String, String>,
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

/// The identity as an audit object.
pub(super) fn object(identity: &Identity) -> Object {
    Object {
        holder: Some(identity.id),
        holder_name: Some(identity.name.clone()),
        ..named(identity.kind, &identity.name)
    }
}

fn named(kind: IdentityType, name: &IdentityName) -> Object {
    Object {
        name: Some(format!("{}/{name}", kind.as_str())),
        ..Object::default()
    }
}

pub(super) fn no_identity() -> Error {
    Error::not_found("identity")
}

fn check_description(description: Option<&str>) -> Result<()> {
    description.map_or(Ok(()), |text| {
        check_text(text, "description", MAX_DIRECTORY_TEXT_BYTES)
    })
}

/// Whether a caller may change what an identity may do, or stop it.
pub(super) fn check_touches(principal: &Principal, identity: &Identity) -> Result<()> {
    if identity.id == principal.identity {
        return Err(Error::new(
            Code::InsufficientPermissions,
            "nobody changes its own role or labels, nor stops or deletes itself; ask another administrator",
        ));
    }
    principal.check_gives(identity.role)
}

impl IdentityFilter {
    fn matches(&self, identity: &Identity) -> bool {
        let labels = &identity.labels;
        self.name
            .as_deref()
            .is_none_or(|name| name == identity.name.as_str())
            && self.kind.is_none_or(|kind| kind == identity.kind)
            && self.role.is_none_or(|role| role == identity.role)
            && self
                .suspended
                .is_none_or(|suspended| suspended != identity.is_active())
            && self
                .labels
                .iter()
                .all(|(key, value)| labels.get(key) == Some(value))
            && self.made.holds(identity.created_at)
    }
}

/// An identity under its name's lock, and what allowed the caller to have it.
pub(super) struct Locked<'a> {
    pub(super) unit: Unit<'a>,
    pub(super) identity: Identity,
    pub(super) permit: Permit,
}

impl Engine {
    /// Makes an identity. It proves itself with keys and tokens, which are made for it.
    pub async fn add_identity(&self, call: &Call, command: CreateIdentity) -> Result<Identity> {
        let resource = Resource::Identity {
            kind: command.kind,
            name: command.name.clone(),
        };
        let permit = self
            .authorize(call, Action::IdentityCreate, resource)
            .await?;
        check_description(command.description.as_deref())?;
        let given = call.principal.check_gives(command.role);
        self.recorded(
            call,
            EventName::DirectoryRefused,
            named(command.kind, &command.name),
            given,
        )
        .await?;
        let slot = Slot::of(self, call, "identity:create")?;
        let tables = self.tables(call.principal.workspace)?;
        let hash = tables.identity_hash(command.kind, &command.name);
        let mut locks = vec![key::name_lock(&hash)];
        locks.extend(slot.lock());
        let mut unit = self.begin(call, &permit, &locks).await?;
        match slot.first(&mut unit).await? {
            Some(Answer::Identity(identity)) => {
                drop(unit);
                slot.durable(self, tables.workspace).await?;
                return Ok(*identity);
            }
            Some(_) => return Err(Error::internal("a first answer of another operation")),
            None => {}
        }
        let by = Some(author(&call.principal));
        let identity = unit.put_new_identity(command, by).await?;
        slot.keep(&mut unit, || Answer::Identity(Box::new(identity.clone())))?;
        unit.commit_access().await?;
        Ok(identity)
    }

    /// One identity.
    pub async fn identity(
        &self,
        call: &Call,
        kind: IdentityType,
        name: &IdentityName,
    ) -> Result<Identity> {
        let resource = Resource::Identity {
            kind,
            name: name.clone(),
        };
        self.authorize(call, Action::IdentityRead, resource).await?;
        let tables = self.tables(call.principal.workspace)?;
        let read = &mut self.read();
        let id = tables.identity_id(read, kind, name).await?;
        let id = id.ok_or_else(no_identity)?;
        tables.identity(read, id).await?.ok_or_else(no_identity)
    }

    /// A page of the workspace's identities.
    pub async fn identities(
        &self,
        call: &Call,
        filter: &IdentityFilter,
        request: &PageRequest,
    ) -> Result<Page<Identity>> {
        self.authorize(call, Action::IdentityRead, Resource::Workspace)
            .await?;
        let window = request.window(&SORTS, DEFAULT_SORT)?;
        let tables = self.tables(call.principal.workspace)?;
        let all = tables.identities(&mut self.read()).await?;
        let found = all.into_iter().filter(|identity| filter.matches(identity));
        let found = found.map(|identity| {
            let mut position = match window.sort {
                SortBy::CreatedAt => identity.created_at.as_millis().to_be_bytes().to_vec(),
                SortBy::UpdatedAt => identity.updated_at.as_millis().to_be_bytes().to_vec(),
                SortBy::Name => [identity.name.as_str().as_bytes(), &[0]].concat(),
            };
            position.extend_from_slice(identity.id.as_bytes());
            (position, identity)
        });
        Ok(request.cut(&window, DEFAULT_SORT, found.collect()))
    }

    /// Changes an identity. A lower role counts from the answer on for every key and token it has; one of the
    /// organisation brings back none that was stopped.
    pub async fn update_identity(
        &self,
        call: &Call,
        kind: IdentityType,
        name: &IdentityName,
        patch: UpdateIdentity,
    ) -> Result<Identity> {
        let action = Action::IdentityUpdate;
        let locks = self.locks_to_raise(call, kind, name, patch.role).await?;
        let Locked {
            mut unit, identity, ..
        } = self
            .lock_identity_and(call, action, kind, name, &locks)
            .await?;
        if let Some(description) = &patch.description {
            check_description(description.as_deref())?;
        }
        let own = identity.id == call.principal.identity;
        let allowed = match patch.role {
            // Its description is all that anybody may change of itself.
            None if own && patch.labels.is_none() => Ok(()),
            role => check_touches(&call.principal, &identity)
                .and_then(|()| role.map_or(Ok(()), |role| call.principal.check_gives(role))),
        };
        if let Err(refusal) = allowed {
            drop(unit);
            let at = object(&identity);
            return self
                .recorded(call, EventName::DirectoryRefused, at, Err(refusal))
                .await;
        }
        let mut after = identity.clone();
        after.role = patch.role.unwrap_or(identity.role);
        if let Some(description) = patch.description {
            after.description = description;
        }
        if let Some(labels) = patch.labels {
            after.labels = identity.labels.patched_labels(labels)?;
        }
        let mut changes = pair_changes("labels", &identity.labels, &after.labels);
        if identity.role != after.role {
            let text = |role: Role| Some(role.as_str().to_owned());
            changes.push(change("role", text(identity.role), text(after.role)));
        }
        if identity.description != after.description {
            let before = identity.description.clone();
            let after = after.description.clone();
            changes.push(change("description", before, after));
        }
        after.updated_at = unit.now;
        unit.tables.put_identity(&mut *unit.txn, &after)?;
        unit.record(Note {
            changes,
            ..Note::new(EventName::IdentityUpdated, object(&after))
        })?;
        let ended = match raise::rises(&identity, Some(after.role)) {
            true => unit.keep_stopped(call, &identity, &locks).await?,
            false => Vec::new(),
        };
        unit.commit_access().await?;
        ended
            .iter()
            .for_each(|token| self.give_back_token_place(token));
        Ok(after)
    }

    /// Lets a suspended identity act again: its keys and tokens count again, its leases stay revoked.
    pub async fn resume_identity(
        &self,
        call: &Call,
        kind: IdentityType,
        name: &IdentityName,
    ) -> Result<Identity> {
        let action = Action::IdentityResume;
        let Locked {
            mut unit, identity, ..
        } = self.lock_identity(call, action, kind, name).await?;
        let resumable = match &identity.state {
            IdentityState::Active => Err(Error::state("the identity is not suspended")),
            IdentityState::Suspended(suspension) => match suspension.unfinished {
                None => Ok(()),
                Some(Unfinished::Sweep) => Err(Error::state(
                    "the identity's leases are still being revoked",
                )),
                Some(Unfinished::Removal) => Err(Error::state("the identity is being deleted")),
            },
        };
        if let Err(refusal) = check_touches(&call.principal, &identity).and(resumable) {
            drop(unit);
            let at = object(&identity);
            return self
                .recorded(call, EventName::DirectoryRefused, at, Err(refusal))
                .await;
        }
        let text = |identity: &Identity| Some(identity.state.as_str().to_owned());
        let after = Identity {
            state: IdentityState::Active,
            updated_at: unit.now,
            ..identity.clone()
        };
        unit.tables.put_identity(&mut *unit.txn, &after)?;
        unit.record(Note {
            changes: vec![change("state", text(&identity), text(&after))],
            ..Note::new(EventName::IdentityResumed, object(&after))
        })?;
        unit.commit_access().await?;
        Ok(after)
    }

    /// An identity under its name's lock, once the caller may do `action` to it.
    pub(super) async fn lock_identity<'a>(
        &'a self,
        call: &Call,
        action: Action,
        kind: IdentityType,
        name: &IdentityName,
    ) -> Result<Locked<'a>> {
        self.lock_identity_and(call, action, kind, name, &[]).await
    }

    async fn lock_identity_and<'a>(
        &'a self,
        call: &Call,
        action: Action,
        kind: IdentityType,
        name: &IdentityName,
        more: &[LockKey],
    ) -> Result<Locked<'a>> {
        let resource = Resource::Identity {
            kind,
            name: name.clone(),
        };
        let permit = self.authorize(call, action, resource).await?;
        let tables = self.tables(call.principal.workspace)?;
        let own = key::name_lock(&tables.identity_hash(kind, name));
        let locks = [&[own], more].concat();
        let mut unit = self.begin(call, &permit, &locks).await?;
        let id = tables.identity_id(&mut unit.txn, kind, name).await?;
        let id = id.ok_or_else(no_identity)?;
        let identity = tables.identity(&mut unit.txn, id).await?;
        Ok(Locked {
            identity: identity.ok_or_else(no_identity)?,
            unit,
            permit,
        })
    }
}

impl Unit<'_> {
    /// Writes a new identity, unless its name is taken. The unit holds the name's lock.
    pub(super) async fn put_new_identity(
        &mut self,
        new: CreateIdentity,
        created_by: Option<Author>,
    ) -> Result<Identity> {
        let tables = self.tables.clone();
        let taken = tables
            .identity_id(&mut self.txn, new.kind, &new.name)
            .await?;
        if taken.is_some() {
            let (kind, name) = (new.kind.as_str(), &new.name);
            let message = format!("an identity of type `{kind}` named `{name}` exists");
            return Err(Error::new(Code::AlreadyExists, message).with("field", "name"));
        }
        let entropy = self.engine.keyring.entropy();
        let identity = Identity {
            id: IdentityId::new(self.now, &entropy.bytes()?),
            name: new.name,
            kind: new.kind,
            role: new.role,
            state: IdentityState::Active,
            description: new.description,
            labels: new.labels,
            created_at: self.now,
            created_by,
            updated_at: self.now,
        };
        tables.put_identity(&mut *self.txn, &identity)?;
        let mut changes = pair_changes("labels", &Metadata::default(), &identity.labels);
        let role = Some(identity.role.as_str().to_owned());
        changes.push(change("role", None, role));
        if let Some(description) = &identity.description {
            changes.push(change("description", None, Some(description.clone())));
        }
        self.record(Note {
            changes,
            ..Note::new(EventName::IdentityCreated, object(&identity))
        })?;
        Ok(identity)
    }
}
