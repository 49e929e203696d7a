//! API keys: what a caller may ask of them, and the rules that hold for every one.
//!
//! - A key never holds more than whoever makes or changes it, nor more than the role of its identity.
//! - Whoever changes a key holds all that the key does: nobody takes over a stronger one.
//! - Nobody widens the key that it is using, by itself or by a token that it made.
//! - No key of the caller's own identity outlives what the caller is using.

mod change;
mod create;
mod list;
mod own;
mod rehearse;
mod view;
mod wanted;

pub(super) use self::change::facts;
pub use self::{
    change::UpdateApiKey,
    create::{CreateApiKey, MadeKey, RotateApiKey},
    list::KeyFilter,
    rehearse::KeyTest,
    view::KeyView,
    wanted::WantedIdentity,
};
use super::{Call, Engine, Unit, idempotency::Slot};
use crate::{
    authz::{Action, Resource},
    domain::{
        error::{Code, Error, Result},
        event::Object,
        id::{KeyId, WorkspaceId},
        name::{MAX_NAME_BYTES, MAX_TEXT_BYTES, check_text},
        principal::{ApiKey, Identity, Principal, ProofId, Reach},
        scope::{Role, Scope, ScopeSet},
    },
    store::key,
};

/// What a key may do: as a role says, or these scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyGrant {
    Role(Role),
    Scopes(ScopeSet),
}

impl KeyGrant {
    const fn scopes(self) -> ScopeSet {
        match self {
            Self::Role(role) => role.scopes(),
            Self::Scopes(scopes) => scopes,
        }
    }

    const fn role(self) -> Option<Role> {
        match self {
            Self::Role(role) => Some(role),
            Self::Scopes(_) => None,
        }
    }
}

fn no_key() -> Error {
    Error::not_found("API key")
}

/// A key as a decision looks at it.
pub(super) fn resource(key: &ApiKey) -> Resource {
    Resource::Key {
        id: key.id,
        identity: key.identity,
    }
}

/// A key as history names it.
pub(super) fn object(key: &ApiKey) -> Object {
    Object {
        name: Some(key.id.to_string()),
        holder: Some(key.identity),
        ..Object::default()
    }
}

fn spelled(scopes: ScopeSet) -> Vec<String> {
    scopes
        .iter()
        .map(|scope| scope.as_str().to_owned())
        .collect()
}

fn refused(why: &'static str) -> Error {
    Error::new(Code::InsufficientPermissions, why)
}

/// The refusal for want of these scopes, if there are any.
fn lacking(missing: ScopeSet, why: &str) -> Result<()> {
    let Some(first) = missing.iter().next() else {
        return Ok(());
    };
    let missing = spelled(missing);
    let message = format!("{why}: {}", missing.join(", "));
    Err(Error::new(Code::InsufficientPermissions, message)
        .with("missing_scope", Scope::as_str(first))
        .with("missing_scopes", missing))
}

/// Whether `caller` may give this to a key of `identity`.
fn check_grant(caller: &Principal, grant: KeyGrant, identity: &Identity) -> Result<()> {
    check_value(caller, identity)?;
    if !caller.organisation && grant.role().is_some_and(Role::is_organisational) {
        return Err(of_the_organisation());
    }
    if !caller.is_owner() && grant.role() == Some(Role::Owner) {
        return Err(of_owners());
    }
    let scopes = grant.scopes();
    lacking(
        scopes.difference(caller.scopes),
        "a key holds no more than its maker, who lacks",
    )?;
    lacking(
        scopes.difference(identity.role.scopes()),
        "a key holds no more than its identity's role, which lacks",
    )?;
    check_name_of(caller, identity)
}

/// Whether `caller` may be shown a value that proves `identity`, whatever little its key may do. INVARIANT
/// (no-escalation): who reaches one workspace does not act in the name of those who reach all.
fn check_value(caller: &Principal, identity: &Identity) -> Result<()> {
    if identity.id == caller.identity {
        return Ok(());
    }
    if identity.role.is_organisational() && !caller.organisation {
        return Err(of_the_organisation());
    }
    if identity.role == Role::Owner && !caller.is_owner() {
        return Err(of_owners());
    }
    Ok(())
}

/// Whether `caller` may make or renew what proves `identity`. Policies and history go by the name: even a capped key of
/// a stronger identity would borrow that.
fn check_name_of(caller: &Principal, identity: &Identity) -> Result<()> {
    if identity.id == caller.identity {
        return Ok(());
    }
    lacking(
        identity.role.scopes().difference(caller.scopes),
        "a key proves no identity whose role holds more than its maker, who lacks",
    )
}

fn of_the_organisation() -> Error {
    refused(
        "a role of the organisation, and keys of those who have one, are given by callers that reach every workspace \
         only",
    )
}

fn of_owners() -> Error {
    refused("the role of an owner, and keys of those who have it, are given by owners only")
}

/// Whether `caller` may change this key, or take it out of use: only who is no weaker.
fn check_stronger(caller: &Principal, key: &ApiKey) -> Result<()> {
    if is_own(caller, key) {
        return Ok(());
    }
    if key.reach == Reach::Organisation && !caller.organisation {
        return Err(refused(
            "the key reaches every workspace, and the caller does not",
        ));
    }
    lacking(
        key.scopes.difference(caller.scopes),
        "a key is changed by callers that hold all it does; this one lacks",
    )
}

/// Whether this very key is what proves the caller.
fn is_own(caller: &Principal, key: &ApiKey) -> bool {
    caller.proof == ProofId::Key(key.id)
}

/// A key's name: text that people read, and not empty.
fn check_name(name: &str) -> Result<()> {
    if name.trim().is_empty() {
        return Err(Error::invalid("name", "`name` is empty"));
    }
    check_text(name, "name", MAX_NAME_BYTES)
}

fn check_description(description: Option<&str>) -> Result<()> {
    description.map_or(Ok(()), |text| {
        check_text(text, "description", MAX_TEXT_BYTES)
    })
}

impl Engine {
    /// A key of the caller's workspace. INVARIANT (isolation): another's looks like none.
    pub(super) async fn find_key(&self, call: &Call, id: KeyId) -> Result<ApiKey> {
        let system = self.tables(WorkspaceId::SYSTEM)?;
        let key = system.api_key(&mut self.read(), id).await?;
        key.filter(|key| key.home == call.principal.workspace)
            .ok_or_else(no_key)
    }

    /// A key under its lock, once the caller may do this to it.
    async fn lock_key<'a>(
        &'a self,
        call: &Call,
        action: Action,
        id: KeyId,
        slot: Option<&Slot<'_>>,
    ) -> Result<(Unit<'a>, ApiKey)> {
        let key = self.find_key(call, id).await?;
        let permit = self.authorize(call, action, resource(&key)).await?;
        let mut locks = vec![key::api_key_lock(id)];
        locks.extend(slot.and_then(Slot::lock));
        if action == Action::KeyDelete {
            locks.push(key::usage_lock(id.as_bytes()));
        }
        let mut unit = self.begin(call, &permit, &locks).await?;
        let system = self.tables(WorkspaceId::SYSTEM)?;
        let key = system.api_key(&mut unit.txn, id).await?;
        Ok((unit, key.ok_or_else(no_key)?))
    }

    /// The identity that a key proves.
    async fn identity_of(&self, unit: &mut Unit<'_>, key: &ApiKey) -> Result<Identity> {
        let tables = self.tables(key.home)?;
        let identity = tables.identity(&mut unit.txn, key.identity).await?;
        identity.ok_or_else(|| Error::state("the key's identity no longer exists"))
    }
}
