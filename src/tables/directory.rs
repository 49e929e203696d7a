//! Workspaces and identities. Workspaces are found before the caller's workspace is known, so they are sealed with
//! the keys of the vault itself.

use super::{Read, Tables, range_all, read_id};
use crate::{
    crypto::{
        envelope::{RecordType, Slot},
        keyring::IndexOf,
    },
    domain::{
        error::Result,
        id::{IdentityId, WorkspaceId},
        name::{IdentityName, WorkspaceName},
        principal::{ApiKey, Identity, IdentityType},
        workspace::Workspace,
    },
    store::{
        key,
        port::{Scan, Txn},
    },
};

fn slot(kind: RecordType, id: &[u8; 16]) -> Slot<'_> {
    Slot {
        kind,
        id,
        version: 0,
    }
}

impl Tables {
    /// The index key of a workspace's name.
    pub fn workspace_hash(&self, name: &WorkspaceName) -> [u8; 32] {
        self.keyring.index(
            IndexOf::Workspace,
            WorkspaceId::SYSTEM,
            &[name.as_str().as_bytes()],
        )
    }

    pub async fn workspace_id(
        &self,
        read: &mut impl Read,
        name: &WorkspaceName,
    ) -> Result<Option<WorkspaceId>> {
        let found = read
            .get(&key::workspace_name(&self.workspace_hash(name)))
            .await?;
        found
            .map(|id| read_id(&id).map(WorkspaceId::from_bytes))
            .transpose()
    }

    pub async fn workspace(
        &self,
        read: &mut impl Read,
        id: WorkspaceId,
    ) -> Result<Option<Workspace>> {
        let found = read.get(&key::workspace(id)).await?;
        found
            .map(|sealed| self.open(slot(RecordType::Workspace, id.as_bytes()), &sealed))
            .transpose()
    }

    /// Every workspace there is.
    pub async fn workspaces(&self, read: &mut impl Read) -> Result<Vec<Workspace>> {
        let start = key::workspace(WorkspaceId::SYSTEM);
        let prefix = start.get(..1).unwrap_or_default();
        let mut workspaces = Vec::new();
        for (at, sealed) in range_all(read, Scan::prefix(prefix, usize::MAX)).await? {
            let id = WorkspaceId::from_bytes(read_id(at.get(1..).unwrap_or_default())?);
            workspaces.push(self.open(slot(RecordType::Workspace, id.as_bytes()), &sealed)?);
        }
        Ok(workspaces)
    }

    pub fn put_workspace(&self, txn: &mut dyn Txn, workspace: &Workspace) -> Result<()> {
        let name = key::workspace_name(&self.workspace_hash(&workspace.name));
        txn.put(name, workspace.id.as_bytes().to_vec())?;
        let sealed = self.seal(
            slot(RecordType::Workspace, workspace.id.as_bytes()),
            &[],
            workspace,
        )?;
        txn.put(key::workspace(workspace.id), sealed)
    }

    /// The index key of an identity's name: one name may stand for an agent, a human and a service.
    pub fn identity_hash(&self, kind: IdentityType, name: &IdentityName) -> [u8; 32] {
        let parts = [kind.as_str().as_bytes(), name.as_str().as_bytes()];
        self.keyring
            .index(IndexOf::Identity, self.workspace, &parts)
    }

    pub async fn identity_id(
        &self,
        read: &mut impl Read,
        kind: IdentityType,
        name: &IdentityName,
    ) -> Result<Option<IdentityId>> {
        let found = read
            .get(&key::identity_name(
                self.workspace,
                &self.identity_hash(kind, name),
            ))
            .await?;
        found
            .map(|id| read_id(&id).map(IdentityId::from_bytes))
            .transpose()
    }

    pub async fn identity(&self, read: &mut impl Read, id: IdentityId) -> Result<Option<Identity>> {
        let found = read.get(&key::identity(self.workspace, id)).await?;
        found
            .map(|sealed| self.open(slot(RecordType::Identity, id.as_bytes()), &sealed))
            .transpose()
    }

    pub fn put_identity(&self, txn: &mut dyn Txn, identity: &Identity) -> Result<()> {
        let name = key::identity_name(
            self.workspace,
            &self.identity_hash(identity.kind, &identity.name),
        );
        txn.put(name, identity.id.as_bytes().to_vec())?;
        let sealed = self.seal(
            slot(RecordType::Identity, identity.id.as_bytes()),
            &[],
            identity,
        )?;
        txn.put(key::identity(self.workspace, identity.id), sealed)
    }

    /// Every identity of the workspace.
    pub async fn identities(&self, read: &mut impl Read) -> Result<Vec<Identity>> {
        let mut identities = Vec::new();
        for (at, sealed) in range_all(read, key::identities(self.workspace)).await? {
            let id = read_id(at.get(17..).unwrap_or_default())?;
            identities.push(self.open(slot(RecordType::Identity, &id), &sealed)?);
        }
        Ok(identities)
    }

    pub fn delete_identity(&self, txn: &mut dyn Txn, identity: &Identity) {
        let hash = self.identity_hash(identity.kind, &identity.name);
        txn.delete(key::identity_name(self.workspace, &hash));
        txn.delete(key::identity(self.workspace, identity.id));
        txn.delete(key::identity_use(identity.id));
    }

    /// Every API key of the vault.
    pub async fn api_keys(&self, read: &mut impl Read) -> Result<Vec<ApiKey>> {
        let mut keys = Vec::new();
        for (at, sealed) in range_all(read, key::api_keys()).await? {
            let id = read_id(at.get(1..).unwrap_or_default())?;
            keys.push(self.open(slot(RecordType::ApiKey, &id), &sealed)?);
        }
        Ok(keys)
    }
}
