//! API keys as they are shown: without their digests.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::super::Engine;
use crate::{
    domain::{
        credential::Author,
        error::Result,
        id::{IdentityId, KeyId, WorkspaceId},
        name::{IdentityName, WorkspaceName},
        principal::{ApiKey, IdentityType, KeyStatus, ProofId, RateLimit, Reach},
        scope::{Role, ScopeSet},
        time::Timestamp,
    },
    tables::{Read, Tables},
};

/// An API key as of an instant.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KeyView {
    pub id: KeyId,
    pub name: String,
    pub description: Option<String>,
    pub identity: IdentityId,
    /// Type and name of the identity, while it exists.
    pub holder: Option<(IdentityType, IdentityName)>,
    /// Whether it reaches every workspace.
    pub organisation: bool,
    /// The one workspace that it reaches otherwise, while that exists.
    pub workspace: Option<WorkspaceName>,
    pub role: Option<Role>,
    pub scopes: ScopeSet,
    pub status: KeyStatus,
    pub rate_limit: RateLimit,
    pub created_at: Timestamp,
    pub created_by: Option<Author>,
    pub updated_at: Timestamp,
    pub rotated_at: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
    /// Until when the value before the last rotation is good as well.
    pub previous_until: Option<Timestamp>,
    pub last_used_at: Option<Timestamp>,
}

/// Builds views of one workspace's keys, reading each identity once.
pub(super) struct KeyViews<'a> {
    engine: &'a Engine,
    tables: Tables,
    now: Timestamp,
    holders: HashMap<IdentityId, Option<(IdentityType, IdentityName)>>,
    workspaces: HashMap<WorkspaceId, Option<WorkspaceName>>,
}

impl<'a> KeyViews<'a> {
    pub(super) fn new(engine: &'a Engine, home: WorkspaceId, now: Timestamp) -> Result<Self> {
        Ok(Self {
            engine,
            tables: engine.tables(home)?,
            now,
            holders: HashMap::new(),
            workspaces: HashMap::new(),
        })
    }

    pub(super) async fn view(&mut self, read: &mut impl Read, key: &ApiKey) -> Result<KeyView> {
        if !self.holders.contains_key(&key.identity) {
            let found = self.tables.identity(read, key.identity).await?;
            let holder = found.map(|identity| (identity.kind, identity.name));
            self.holders.insert(key.identity, holder);
        }
        let workspace = match key.reach {
            Reach::Organisation => None,
            Reach::Workspace(id) => self.workspace(read, id).await?,
        };
        let last_used_at = self.engine.last_used_at(read, ProofId::Key(key.id)).await?;
        Ok(KeyView {
            id: key.id,
            name: key.name.clone(),
            description: key.description.clone(),
            identity: key.identity,
            holder: self.holders.get(&key.identity).cloned().flatten(),
            organisation: key.reach == Reach::Organisation,
            workspace,
            role: key.role,
            scopes: key.scopes,
            status: key.status(self.now),
            rate_limit: key.rate_limit,
            created_at: key.created_at,
            created_by: key.created_by.clone(),
            updated_at: key.updated_at,
            rotated_at: key.rotated_at,
            expires_at: key.expires_at,
            previous_until: key
                .previous
                .map(|old| old.until)
                .filter(|until| self.now < *until),
            last_used_at,
        })
    }

    async fn workspace(
        &mut self,
        read: &mut impl Read,
        id: WorkspaceId,
    ) -> Result<Option<WorkspaceName>> {
        if let Some(name) = self.workspaces.get(&id) {
            return Ok(name.clone());
        }
        let system = self.engine.tables(WorkspaceId::SYSTEM)?;
        let name = system.workspace(read, id).await?.map(|found| found.name);
        self.workspaces.insert(id, name.clone());
        Ok(name)
    }
}
