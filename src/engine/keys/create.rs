//! Making API keys and giving them new values. A value is shown once, by the answer; a retry of the same request
//! gets it again.

use super::{
    super::{
        Call, Engine, Note, Unit,
        credential::{author, change},
        idempotency::{Answer, Slot},
    },
    KeyGrant, check_description, check_grant, check_name, check_name_of, check_stronger,
    check_value, facts, is_own, lacking, object, of_the_organisation, refused,
    view::{KeyView, KeyViews},
    wanted::WantedIdentity,
};
use crate::{
    authz::{Action, Resource},
    crypto::bearer::{Bearer, Minted},
    domain::{
        error::{Code, Error, Result},
        event::{EventName, Object},
        id::{KeyId, WorkspaceId},
        name::WorkspaceName,
        principal::{
            ApiKey, Identity, KeyState, PreviousValue, Principal, ProofId, RateLimit, Reach,
        },
        secret::SecretText,
        time::{Span, Timestamp, Ttl},
    },
    store::key,
};

/// The longest that a rotated key's old value is good for.
const MAX_GRACE: Span = Span::from_secs(7 * 24 * 60 * 60);

/// A key to make.
#[derive(Debug)]
pub struct CreateApiKey {
    pub name: String,
    pub description: Option<String>,
    pub identity: WantedIdentity,
    pub grant: KeyGrant,
    /// The workspace that it reaches, if one is named: the caller's.
    pub workspace: Option<WorkspaceName>,
    /// Whether it reaches every workspace instead.
    pub organisation: bool,
    /// For ever where none; cut, like the limit, for the caller's own identity.
    pub expires_in: Option<Ttl>,
    pub rate_limit: RateLimit,
}

/// A new value for a key.
#[derive(Debug, Default)]
pub struct RotateApiKey {
    /// How long the old value is good for as well; at an end at once where none.
    pub grace: Option<Ttl>,
    /// The new lifetime; the old one again where nothing is said, or by the key itself its end, and for ever where that
    /// says none.
    pub expires_in: Option<Option<Ttl>>,
}

/// A key that was made or rotated, with its value, which is shown once.
pub struct MadeKey {
    pub view: KeyView,
    pub value: SecretText,
}

impl Engine {
    /// Makes an API key for an identity of the caller's workspace.
    pub async fn create_api_key(&self, call: &Call, command: CreateApiKey) -> Result<MadeKey> {
        let action = Action::KeyCreate;
        self.authorize(call, action, Resource::Workspace).await?;
        let (kind, name) = command.identity.named(&call.principal)?;
        let name = name.clone();
        let whom = Resource::Identity { kind, name };
        let permit = self.authorize(call, action, whom).await?;
        check_name(&command.name)?;
        check_description(command.description.as_deref())?;
        let slot = Slot::of(self, call, "key:create")?;
        let home = call.principal.workspace;
        let mut locks = vec![key::api_keys_lock(home)];
        locks.extend(slot.lock());
        let mut unit = self.begin(call, &permit, &locks).await?;
        if let Some((view, seed)) = first(&slot, &mut unit).await? {
            return self.again(call, unit, &slot, home, (view, seed)).await;
        }
        let refused = Object {
            name: Some("api-key".to_owned()),
            ..Object::default()
        };
        let (key, seed, value) = match unit.make(call, &slot, command).await {
            Ok(made) => made,
            Err(error) => {
                drop(unit);
                return self
                    .recorded(call, EventName::DirectoryRefused, refused, Err(error))
                    .await;
            }
        };
        unit.record(Note {
            changes: facts(&key)
                .into_iter()
                .filter_map(|(field, has)| Some(change(field, None, Some(has?))))
                .collect(),
            ..Note::new(EventName::KeyCreated, object(&key))
        })?;
        self.finish_key(unit, &slot, key, seed, value).await
    }

    /// Gives a key a new value, and its lifetime anew: one that has expired lives again.
    pub async fn rotate_api_key(
        &self,
        call: &Call,
        id: KeyId,
        command: RotateApiKey,
    ) -> Result<MadeKey> {
        if command.grace.is_some_and(|grace| grace.span() > MAX_GRACE) {
            return Err(
                Error::invalid("grace", format!("`grace` must be at most {MAX_GRACE}"))
                    .with("limit", MAX_GRACE.to_string()),
            );
        }
        let slot = Slot::of(self, call, &format!("key:rotate:{id}"))?;
        let (mut unit, mut key) = self
            .lock_key(call, Action::KeyRotate, id, Some(&slot))
            .await?;
        if let Some((view, seed)) = first(&slot, &mut unit).await? {
            return self.again(call, unit, &slot, key.home, (view, seed)).await;
        }
        let identity = self.identity_of(&mut unit, &key).await?;
        let caller = &call.principal;
        let anew = |lifetime: Span| unit.now.plus(lifetime);
        let expires_at = match command.expires_in {
            Some(wanted) => wanted.map(Ttl::span).map(anew),
            // Its value is new, and its end somebody else's to move.
            None if is_own(caller, &key) => key.expires_at,
            None => key.lifetime().map(anew),
        };
        let mut allowed = check_stronger(caller, &key)
            .and_then(|()| check_value(caller, &identity))
            .and_then(|()| check_name_of(caller, &identity));
        if allowed.is_ok() {
            allowed = self.check_outlives(caller, &key, expires_at).await;
        }
        if let Err(error) = allowed {
            drop(unit);
            let at = object(&key);
            return self
                .recorded(call, EventName::DirectoryRefused, at, Err(error))
                .await;
        }
        let (before, rotated_before) = (key.expires_at, key.rotated_at);
        let grace = command.grace.map(Ttl::span);
        key.previous = grace.and_then(|grace| PreviousValue::after(&key, grace, unit.now));
        let at_once = key.previous.is_none();
        if at_once {
            key.tokens_until = Some(unit.now);
        }
        let (seed, minted) = self.mint_key(&slot, unit.tables.workspace, id)?;
        key.digest = minted.digest.to_stored();
        key.rotated_at = Some(unit.now);
        key.updated_at = unit.now;
        key.expires_at = expires_at;
        let system = self.tables(WorkspaceId::SYSTEM)?;
        system.put_api_key(&mut *unit.txn, &key)?;
        let time = |at: Timestamp| at.to_string();
        let mut changes = vec![
            change(
                "rotated_at",
                rotated_before.map(time),
                key.rotated_at.map(time),
            ),
            change("expires_at", before.map(time), key.expires_at.map(time)),
        ];
        changes.retain(|change| change.before != change.after);
        if let Some(previous) = key.previous {
            let until = Some(previous.until.to_string());
            changes.push(change("previous_until", None, until));
        }
        unit.record(Note {
            changes,
            ..Note::new(EventName::KeyRotated, object(&key))
        })?;
        let digest = key.digest;
        let made = self.finish_key(unit, &slot, key, seed, minted.text).await?;
        if at_once {
            self.end_tokens(call, id, digest).await?;
        }
        Ok(made)
    }

    /// Ends what requests that were let in by a key's old value made of it meanwhile. They are waited for; nobody has
    /// the new value yet. INVARIANT (offspring): no token outlives what made it.
    async fn end_tokens(&self, call: &Call, id: KeyId, digest: [u8; 32]) -> Result<()> {
        self.drained(call).await;
        let locks = [key::api_key_lock(id)];
        let mut unit = self
            .begin_own("rotation", WorkspaceId::SYSTEM, &locks)
            .await?;
        let found = unit.tables.api_key(&mut unit.txn, id).await?;
        // Deleted meanwhile, or rotated again.
        let Some(mut key) = found.filter(|key| key.digest == digest) else {
            return Ok(());
        };
        let until = unit.now;
        key.tokens_until = Some(until);
        unit.tables.put_api_key(&mut *unit.txn, &key)?;
        unit.commit_access_told().await?;
        // What is made with the new value is made later.
        while self.now() <= until {
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// A value for this key, the same for a retry, and the seed that it takes to derive it again.
    fn mint_key(
        &self,
        slot: &Slot<'_>,
        workspace: WorkspaceId,
        id: KeyId,
    ) -> Result<([u8; 16], Minted)> {
        let seed = self.keyring.entropy().bytes()?;
        let minted = match slot.key() {
            Some(key) => self.keyring.mint_key_repeatable(workspace, id, &seed, key),
            None => self.keyring.mint(Bearer::ApiKey, id.as_bytes())?,
        };
        Ok((seed, minted))
    }

    /// Commits a key whose value is new, with the answer to a retry.
    async fn finish_key(
        &self,
        mut unit: Unit<'_>,
        slot: &Slot<'_>,
        key: ApiKey,
        seed: [u8; 16],
        value: SecretText,
    ) -> Result<MadeKey> {
        let view = KeyViews::new(self, unit.now)?
            .view(&mut unit.txn, &key)
            .await?;
        slot.keep(&mut unit, || Answer::Key {
            view: Box::new(view.clone()),
            seed,
        })?;
        unit.commit_access().await?;
        Ok(MadeKey { view, value })
    }

    /// The first answer again. INVARIANT (no-escalation): not to a caller that lost what the key holds since then.
    async fn again(
        &self,
        call: &Call,
        mut unit: Unit<'_>,
        slot: &Slot<'_>,
        home: WorkspaceId,
        (view, seed): (KeyView, [u8; 16]),
    ) -> Result<MadeKey> {
        let workspace = unit.tables.workspace;
        let homes = self.tables(home)?;
        let found = homes.identity(&mut unit.txn, view.identity).await?;
        drop(unit);
        if let Err(error) = check_again(&call.principal, &view, found.as_ref()) {
            let of = Object {
                name: Some(view.id.to_string()),
                ..Object::default()
            };
            return self
                .recorded(call, EventName::DirectoryRefused, of, Err(error))
                .await;
        }
        slot.durable(self, workspace).await?;
        let key = slot.key().unwrap_or_default();
        let minted = self
            .keyring
            .mint_key_repeatable(workspace, view.id, &seed, key);
        Ok(MadeKey {
            view,
            value: minted.text,
        })
    }
}

/// Whether `caller` could still make the key that it asks for again, for an identity as it is now.
fn check_again(caller: &Principal, view: &KeyView, identity: Option<&Identity>) -> Result<()> {
    if caller.proof == ProofId::Key(view.id) {
        return Ok(());
    }
    if view.organisation && !caller.organisation {
        return Err(of_the_organisation());
    }
    // One that is deleted is proven by nothing.
    if let Some(identity) = identity {
        check_value(caller, identity)?;
        check_name_of(caller, identity)?;
    }
    lacking(
        view.scopes.difference(caller.scopes),
        "a key is shown again to callers that hold all it does; this one lacks",
    )
}

async fn first(slot: &Slot<'_>, unit: &mut Unit<'_>) -> Result<Option<(KeyView, [u8; 16])>> {
    match slot.first(unit).await? {
        Some(Answer::Key { view, seed }) => Ok(Some((*view, seed))),
        Some(_) => Err(Error::internal("a first answer of another operation")),
        None => Ok(None),
    }
}

impl Unit<'_> {
    async fn make(
        &mut self,
        call: &Call,
        slot: &Slot<'_>,
        command: CreateApiKey,
    ) -> Result<(ApiKey, [u8; 16], SecretText)> {
        let caller = &call.principal;
        let tables = self.tables.clone();
        let identity = self
            .wanted_identity(call, &tables, &command.identity)
            .await?;
        check_grant(caller, command.grant, &identity)?;
        let reach = reach(call, &command)?;
        let limit = self.settings().await?.max_api_keys as usize;
        let used = tables
            .api_keys_of(&mut self.txn, tables.workspace)
            .await?
            .len();
        if used >= limit {
            let message = format!("the workspace has {used} API keys, and {limit} are allowed");
            return Err(Error::new(Code::QuotaExceeded, message)
                .with("resource", "api_key")
                .with("limit", limit as u64)
                .with("used", used as u64));
        }
        let id = KeyId::new(self.now, &self.engine.keyring.entropy().bytes()?);
        let (seed, minted) = self.engine.mint_key(slot, tables.workspace, id)?;
        let expires_at = command.expires_in.map(|ttl| self.now.plus(ttl.span()));
        let asked = (expires_at, command.rate_limit);
        let (expires_at, rate_limit) = self.engine.within_own(caller, &identity, asked).await?;
        let key = ApiKey {
            id,
            digest: minted.digest.to_stored(),
            name: command.name,
            home: tables.workspace,
            identity: identity.id,
            scopes: command.grant.scopes(),
            role: command.grant.role(),
            reach,
            state: KeyState::Active,
            rate_limit,
            created_at: self.now,
            expires_at,
            description: command.description,
            created_by: Some(author(caller)),
            updated_at: self.now,
            rotated_at: None,
            previous: None,
            tokens_until: None,
        };
        let system = self.engine.tables(WorkspaceId::SYSTEM)?;
        system.put_api_key(&mut *self.txn, &key)?;
        Ok((key, seed, minted.text))
    }
}

/// Where the key may be used: in the caller's workspace, or in every one.
fn reach(call: &Call, command: &CreateApiKey) -> Result<Reach> {
    let caller = &call.principal;
    if command.organisation {
        return match caller.organisation {
            true => Ok(Reach::Organisation),
            false => Err(refused(
                "a key for every workspace is made by callers that reach every one only",
            )),
        };
    }
    match &command.workspace {
        Some(name) if *name != caller.workspace_name => Err(Error::invalid(
            "workspace",
            "`workspace` must be the workspace of the request, or `*`; `X-Workspace` chooses another",
        )),
        _ => Ok(Reach::Workspace(caller.workspace)),
    }
}
