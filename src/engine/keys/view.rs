//! API keys as they are shown: without their digests.

use serde::{Deserialize, Serialize};

use super::super::{Engine, standing::Standings};
use crate::{
    domain::{
        credential::Author,
        error::Result,
        id::{IdentityId, KeyId},
        name::{IdentityName, WorkspaceName},
        principal::{ApiKey, IdentityType, KeyStatus, ProofId, RateLimit, Reach},
        scope::{Role, ScopeSet},
        time::Timestamp,
    },
    tables::Read,
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

/// Builds views of keys, reading what they have in common once.
pub(super) struct KeyViews<'a> {
    engine: &'a Engine,
    now: Timestamp,
    standings: Standings<'a>,
}

impl<'a> KeyViews<'a> {
    pub(super) fn new(engine: &'a Engine, now: Timestamp) -> Result<Self> {
        Ok(Self {
            engine,
            now,
            standings: Standings::new(engine, now)?,
        })
    }

    pub(super) async fn view(&mut self, read: &mut impl Read, key: &ApiKey) -> Result<KeyView> {
        let standings = &mut self.standings;
        let workspace = match key.reach {
            Reach::Organisation => None,
            Reach::Workspace(id) => standings.workspace_name(read, id).await?,
        };
        let holder = standings.holder(read, key.home, key.identity).await?;
        let status = standings.key(read, key).await?;
        let last_used_at = self.engine.last_used_at(read, ProofId::Key(key.id)).await?;
        Ok(KeyView {
            id: key.id,
            name: key.name.clone(),
            description: key.description.clone(),
            identity: key.identity,
            holder,
            organisation: key.reach == Reach::Organisation,
            workspace,
            role: key.role,
            scopes: key.scopes,
            status,
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
}
