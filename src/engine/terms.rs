//! Credentials with their resolved terms, remembered between grants.
//!
//! An entry is made and used only under the credential's lock, by units that do not write the credential; a
//! unit that writes it drops the entry first, under the same lock. So an entry is never older than the store.
//! Named policies do not change while the vault runs. Settings of a workspace do, under another lock: an entry
//! counts only for the generation of settings that it was read at, which moves when new ones are durable.
//!
//! Which id a name stands for is remembered as a hint: whoever follows it checks the name under the lock.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{Engine, Unit, credential::no_credential};
use crate::authz::Allowed;
use crate::domain::{
    credential::Credential,
    error::{Code, Error, Result},
    id::{CredentialId, WorkspaceId},
    name::CredentialName,
    policy::Terms,
    workspace::Settings,
};
use crate::tables::{Read, Tables};

/// The most entries; all are dropped when there are more. At some 2 KiB each: 20 MiB.
const MAX_ENTRIES: usize = 10_000;

/// A credential and what its policy resolves to.
pub(super) struct Resolved {
    generation: u64,
    pub(super) credential: Credential,
    pub(super) terms: Terms,
    /// Whom the terms admit; none where they admit every identity.
    pub(super) allowed: Option<Allowed>,
}

type Names = HashMap<CredentialName, CredentialId>;

/// Counts the changes to settings of workspaces. Clones count the same.
#[derive(Clone, Default)]
pub(super) struct SettingsGeneration(Arc<AtomicU64>);

impl SettingsGeneration {
    /// Settings of a workspace have changed, and are durable.
    pub(super) fn settings_changed(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }

    fn now(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

#[derive(Default)]
pub(super) struct TermsCache {
    generation: SettingsGeneration,
    resolved: Mutex<HashMap<CredentialId, Arc<Resolved>>>,
    names: Mutex<HashMap<WorkspaceId, Names>>,
}

impl TermsCache {
    fn lock(&self) -> MutexGuard<'_, HashMap<CredentialId, Arc<Resolved>>> {
        self.resolved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn names(&self) -> MutexGuard<'_, HashMap<WorkspaceId, Names>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, id: CredentialId, generation: u64) -> Option<Arc<Resolved>> {
        let found = self.lock().get(&id).cloned();
        found.filter(|resolved| resolved.generation == generation)
    }

    /// What counts the changes to settings.
    pub(super) fn generation(&self) -> SettingsGeneration {
        self.generation.clone()
    }

    fn insert(&self, id: CredentialId, resolved: Arc<Resolved>) {
        let mut entries = self.lock();
        if entries.len() >= MAX_ENTRIES {
            entries.clear();
        }
        entries.insert(id, resolved);
    }
}

impl Engine {
    /// The id that a credential's name stood for last, or stands for now.
    pub(super) async fn credential_hint(
        &self,
        tables: &Tables,
        name: &CredentialName,
    ) -> Result<Option<CredentialId>> {
        let known = self
            .terms
            .names()
            .get(&tables.workspace)
            .and_then(|names| names.get(name).copied());
        if known.is_some() {
            return Ok(known);
        }
        let found = tables.credential_id(&mut self.read(), name).await?;
        if let Some(id) = found {
            let mut names = self.terms.names();
            let names = names.entry(tables.workspace).or_default();
            if names.len() >= MAX_ENTRIES {
                names.clear();
            }
            names.insert(name.clone(), id);
        }
        Ok(found)
    }

    /// A credential with its terms, made anew.
    pub(super) fn resolve(
        &self,
        credential: Credential,
        settings: &Settings,
        generation: u64,
    ) -> Result<Resolved> {
        let terms = self.policies.resolve(&credential.policy, settings)?;
        let allowed = terms.allowed_identities.as_deref();
        let allowed = allowed.map(Allowed::compile).transpose()?;
        Ok(Resolved {
            generation,
            credential,
            terms,
            allowed,
        })
    }

    /// Forgets a hint that led nowhere.
    pub(super) fn forget_hint(&self, workspace: WorkspaceId, name: &CredentialName) {
        if let Some(names) = self.terms.names().get_mut(&workspace) {
            names.remove(name);
        }
    }
}

impl Engine {
    /// What a workspace sets.
    pub(super) async fn settings(&self, workspace: WorkspaceId) -> Result<Settings> {
        self.settings_in(&mut self.read(), workspace).await
    }

    async fn settings_in(&self, read: &mut impl Read, workspace: WorkspaceId) -> Result<Settings> {
        let system = self.tables(WorkspaceId::SYSTEM)?;
        let found = system.workspace(read, workspace).await?;
        found
            .map(|workspace| workspace.settings)
            .ok_or_else(|| Error::internal("a workspace has no record"))
    }
}

impl Unit<'_> {
    /// What the unit's workspace sets.
    pub(super) async fn settings(&mut self) -> Result<Settings> {
        let workspace = self.tables.workspace;
        self.engine.settings_in(&mut self.txn, workspace).await
    }

    /// Whether a credential is there and has this name. The unit holds its lock and does not write it.
    pub(super) async fn is_named(
        &mut self,
        id: CredentialId,
        name: &CredentialName,
    ) -> Result<bool> {
        match self.resolved(id).await {
            Ok(resolved) => Ok(resolved.credential.name == *name),
            Err(error) if error.code() == Code::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The credential and its terms. The unit holds the credential's lock and does not write it.
    pub(super) async fn resolved(&mut self, id: CredentialId) -> Result<Arc<Resolved>> {
        // Read first: what changes after this makes the entry stale, whenever it is inserted.
        let generation = self.engine.terms.generation.now();
        if let Some(resolved) = self.engine.terms.get(id, generation) {
            return Ok(resolved);
        }
        let found = self.tables.credential(&mut self.txn, id).await?;
        let credential = found.ok_or_else(no_credential)?;
        let settings = self.settings().await?;
        let resolved = self.engine.resolve(credential, &settings, generation)?;
        let resolved = Arc::new(resolved);
        self.engine.terms.insert(id, resolved.clone());
        Ok(resolved)
    }

    /// Writes a credential.
    pub(super) fn put_credential(&mut self, credential: &Credential) -> Result<()> {
        self.engine.terms.lock().remove(&credential.id);
        self.tables.put_credential(&mut *self.txn, credential)
    }

    /// Removes a credential.
    pub(super) fn delete_credential(&mut self, id: CredentialId) {
        self.engine.terms.lock().remove(&id);
        self.tables.delete_credential(&mut *self.txn, id);
    }
}
