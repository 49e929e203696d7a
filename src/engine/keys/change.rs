//! Changing, pausing and deleting API keys. A change holds from the answer on: whatever authentication remembers
//! is forgotten before.

use super::{
    super::{Call, Engine, Note, Unit, credential::change},
    KeyGrant, check_description, check_grant, check_name, check_stronger, object,
    own::is_using,
    refused, spelled,
    view::{KeyView, KeyViews},
};
use crate::{
    authz::Action,
    domain::{
        error::Result,
        event::{Change, EventName},
        id::{KeyId, WorkspaceId},
        principal::{ApiKey, KeyState, RateLimit, Reach},
        scope::Role,
    },
    store::key,
};

/// A merge patch of a key (RFC 7396): what is absent stays.
#[derive(Debug, Default)]
pub struct UpdateApiKey {
    pub name: Option<String>,
    pub description: Option<Option<String>>,
    pub grant: Option<KeyGrant>,
    pub rate_limit: Option<RateLimit>,
}

impl Engine {
    /// Changes what is known of a key, or what it may do.
    pub async fn update_api_key(
        &self,
        call: &Call,
        id: KeyId,
        patch: UpdateApiKey,
    ) -> Result<KeyView> {
        if let Some(name) = &patch.name {
            check_name(name)?;
        }
        check_description(patch.description.as_ref().and_then(Option::as_deref))?;
        let (mut unit, key) = self.lock_key(call, Action::KeyUpdate, id, None).await?;
        match unit.update_key(call, &key, patch).await {
            Ok(after) => {
                unit.record(Note {
                    changes: changes(&key, &after),
                    ..Note::new(EventName::KeyUpdated, object(&key))
                })?;
                self.commit_key(unit, after).await
            }
            Err(error) => {
                drop(unit);
                let at = object(&key);
                self.recorded(call, EventName::DirectoryRefused, at, Err(error))
                    .await
            }
        }
    }

    /// Takes a key out of use until it is resumed. Its history stays.
    pub async fn pause_api_key(&self, call: &Call, id: KeyId) -> Result<KeyView> {
        let done = (Action::KeyPause, KeyState::Paused, EventName::KeyPaused);
        self.change_key_state(call, id, done).await
    }

    /// Puts a paused key into use again.
    pub async fn resume_api_key(&self, call: &Call, id: KeyId) -> Result<KeyView> {
        let done = (Action::KeyResume, KeyState::Active, EventName::KeyResumed);
        self.change_key_state(call, id, done).await
    }

    async fn change_key_state(
        &self,
        call: &Call,
        id: KeyId,
        (action, state, event): (Action, KeyState, EventName),
    ) -> Result<KeyView> {
        let (mut unit, mut key) = self.lock_key(call, action, id, None).await?;
        let allowed = match state {
            KeyState::Active if is_using(&call.principal, &key) => {
                Err(refused("nobody resumes the key that it is using"))
            }
            _ => check_stronger(&call.principal, &key),
        };
        if let Err(error) = allowed {
            drop(unit);
            let at = object(&key);
            return self
                .recorded(call, EventName::DirectoryRefused, at, Err(error))
                .await;
        }
        if key.state == state {
            let view = KeyViews::new(self, unit.now)?
                .view(&mut unit.txn, &key)
                .await?;
            drop(unit);
            self.settled(&key::api_key(id)).await?;
            return Ok(view);
        }
        let changes = vec![change(
            "state",
            spelled_state(key.state),
            spelled_state(state),
        )];
        key.state = state;
        key.updated_at = unit.now;
        unit.record(Note {
            changes,
            ..Note::new(event, object(&key))
        })?;
        self.commit_key(unit, key).await
    }

    /// Deletes a key with what is noted of its use; history keeps what it did.
    pub async fn delete_api_key(&self, call: &Call, id: KeyId) -> Result<()> {
        let (mut unit, key) = self.lock_key(call, Action::KeyDelete, id, None).await?;
        if let Err(error) = check_stronger(&call.principal, &key) {
            drop(unit);
            let at = object(&key);
            return self
                .recorded(call, EventName::DirectoryRefused, at, Err(error))
                .await;
        }
        let system = self.tables(WorkspaceId::SYSTEM)?;
        system
            .delete_api_key(&mut unit.txn, key.home, key.id)
            .await?;
        unit.record(Note {
            changes: facts(&key)
                .into_iter()
                .filter_map(|(field, had)| Some(change(field, Some(had?), None)))
                .collect(),
            ..Note::new(EventName::KeyDeleted, object(&key))
        })?;
        unit.commit_access().await
    }

    async fn commit_key(&self, mut unit: Unit<'_>, key: ApiKey) -> Result<KeyView> {
        let system = self.tables(WorkspaceId::SYSTEM)?;
        system.put_api_key(&mut *unit.txn, &key)?;
        let view = KeyViews::new(self, unit.now)?
            .view(&mut unit.txn, &key)
            .await?;
        unit.commit_access().await?;
        Ok(view)
    }
}

impl Unit<'_> {
    async fn update_key(
        &mut self,
        call: &Call,
        before: &ApiKey,
        patch: UpdateApiKey,
    ) -> Result<ApiKey> {
        let widens = patch.grant.is_some() || patch.rate_limit.is_some();
        if widens && is_using(&call.principal, before) {
            return Err(refused(
                "nobody changes the scopes, the role or the rate limit of the key that it is using",
            ));
        }
        check_stronger(&call.principal, before)?;
        if let Some(limit) = patch.rate_limit {
            self.engine.check_rate(&call.principal, before, limit)?;
        }
        let mut after = ApiKey {
            name: patch.name.unwrap_or_else(|| before.name.clone()),
            description: patch
                .description
                .unwrap_or_else(|| before.description.clone()),
            created_by: before.created_by.clone(),
            rate_limit: patch.rate_limit.unwrap_or(before.rate_limit),
            updated_at: self.now,
            ..*before
        };
        if let Some(grant) = patch.grant {
            let identity = self.engine.identity_of(self, before).await?;
            check_grant(&call.principal, grant, &identity)?;
            after.scopes = grant.scopes();
            after.role = grant.role();
        }
        Ok(after)
    }
}

fn spelled_state(state: KeyState) -> Option<String> {
    let text = match state {
        KeyState::Active => "active",
        KeyState::Paused => "paused",
    };
    Some(text.to_owned())
}

/// What history tells of a key.
pub(in crate::engine) fn facts(key: &ApiKey) -> [(&'static str, Option<String>); 7] {
    let reach = match key.reach {
        Reach::Workspace(id) => id.to_string(),
        Reach::Organisation => "*".to_owned(),
    };
    [
        ("name", Some(key.name.clone())),
        ("description", key.description.clone()),
        ("role", key.role.map(Role::as_str).map(str::to_owned)),
        ("scopes", Some(spelled(key.scopes).join(" "))),
        ("rate_limit", Some(limit(key.rate_limit))),
        ("workspace", Some(reach)),
        ("expires_at", key.expires_at.map(|at| at.to_string())),
    ]
}

fn changes(before: &ApiKey, after: &ApiKey) -> Vec<Change> {
    let pairs = facts(before).into_iter().zip(facts(after));
    pairs
        .filter(|((_, before), (_, after))| before != after)
        .map(|((field, before), (_, after))| change(field, before, after))
        .collect()
}

fn limit(limit: RateLimit) -> String {
    match limit {
        RateLimit::Unlimited => "unlimited".to_owned(),
        RateLimit::PerMinute(limit) => format!("{limit} a minute"),
        RateLimit::Default => "default".to_owned(),
    }
}
