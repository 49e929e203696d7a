//! Making workspaces, identities and API keys: what a new vault needs before anyone can ask it for more.

use super::{Engine, Note, credential::change, identities::CreateIdentity, keys::facts};
use crate::{
    crypto::bearer::Bearer,
    domain::{
        error::Result,
        event::{EventName, Object},
        id::{IdentityId, KeyId, WorkspaceId},
        name::{IdentityName, Metadata, WorkspaceName},
        principal::{ApiKey, IdentityType, KeyState, RateLimit, Reach},
        scope::Role,
        secret::SecretText,
        workspace::Settings,
    },
    store::key,
};

/// An identity to make.
pub struct NewIdentity {
    pub name: IdentityName,
    pub kind: IdentityType,
    pub role: Role,
}

/// A key to make for an identity.
pub struct NewKey {
    pub name: String,
    pub identity: IdentityId,
    /// The workspace that the identity belongs to.
    pub home: WorkspaceId,
    pub role: Role,
    pub reach: Reach,
    pub rate_limit: RateLimit,
    /// How long it lives; for ever where none.
    pub expires_in: Option<crate::domain::time::Ttl>,
}

impl Engine {
    /// The workspace of that name, if there is one.
    pub async fn find_workspace(&self, name: &WorkspaceName) -> Result<Option<WorkspaceId>> {
        self.tables(WorkspaceId::SYSTEM)?
            .workspace_id(&mut self.read(), name)
            .await
    }

    /// Makes a workspace with a key-encryption key of its own.
    pub async fn create_workspace(&self, name: &WorkspaceName) -> Result<WorkspaceId> {
        let lock = self.workspace_lock(name)?;
        let mut unit = self
            .begin_own("setup", WorkspaceId::SYSTEM, &[lock])
            .await?;
        let workspace = unit
            .put_new_workspace(name.clone(), None, Settings::default(), None)
            .await?;
        unit.commit_access().await?;
        Ok(workspace.id)
    }

    /// The identity of that kind and name, if there is one.
    pub async fn find_identity(
        &self,
        workspace: WorkspaceId,
        kind: IdentityType,
        name: &IdentityName,
    ) -> Result<Option<IdentityId>> {
        self.tables(workspace)?
            .identity_id(&mut self.read(), kind, name)
            .await
    }

    /// Makes an identity in a workspace.
    pub async fn create_identity(
        &self,
        workspace: WorkspaceId,
        new: NewIdentity,
    ) -> Result<IdentityId> {
        let tables = self.tables(workspace)?;
        let lock = key::name_lock(&tables.identity_hash(new.kind, &new.name));
        let mut unit = self.begin_own("setup", workspace, &[lock]).await?;
        let new = CreateIdentity {
            name: new.name,
            kind: new.kind,
            role: new.role,
            description: None,
            labels: Metadata::default(),
        };
        let identity = unit.put_new_identity(new, None).await?;
        unit.commit_access().await?;
        Ok(identity.id)
    }

    /// Makes an API key of a vault that is set up; the answer is the only time it is seen.
    pub async fn create_key(&self, new: NewKey) -> Result<SecretText> {
        let id = KeyId::new(self.now(), &self.keyring.entropy().bytes()?);
        let minted = self.keyring.mint(Bearer::ApiKey, id.as_bytes())?;
        let lock = key::api_keys_lock(new.home);
        let mut unit = self.begin_own("setup", new.home, &[lock]).await?;
        let object = Object {
            name: Some(id.to_string()),
            holder: Some(new.identity),
            ..Object::default()
        };
        let api_key = ApiKey {
            id,
            digest: minted.digest.to_stored(),
            name: new.name,
            home: new.home,
            identity: new.identity,
            scopes: new.role.scopes(),
            role: Some(new.role),
            reach: new.reach,
            state: KeyState::Active,
            rate_limit: new.rate_limit,
            created_at: unit.now,
            expires_at: new.expires_in.map(|ttl| unit.now.plus(ttl.span())),
            description: None,
            created_by: None,
            updated_at: unit.now,
            rotated_at: None,
            previous: None,
            tokens_until: None,
        };
        self.tables(WorkspaceId::SYSTEM)?
            .put_api_key(&mut *unit.txn, &api_key)?;
        let facts = facts(&api_key).into_iter();
        let changes = facts.filter_map(|(field, has)| Some(change(field, None, Some(has?))));
        unit.record(Note {
            changes: changes.collect(),
            ..Note::new(EventName::KeyCreated, object)
        })?;
        unit.commit_access().await?;
        Ok(minted.text)
    }
}
