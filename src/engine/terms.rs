//! Credentials with their resolved terms, remembered between grants.
//!
//! An entry is made and used only under the credential's lock, by units that do not write the credential; a
//! unit that writes it drops the entry first, under the same lock. So an entry is never older than the store.
//! Named policies do not change while the vault runs.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Unit, credential::no_credential};
use crate::domain::{credential::Credential, error::Result, id::CredentialId, policy::Terms};

/// The most entries; all are dropped when there are more. At some 2 KiB each: 20 MiB.
const MAX_ENTRIES: usize = 10_000;

/// A credential and what its policy resolves to.
pub(super) struct Resolved {
    pub(super) credential: Credential,
    pub(super) terms: Terms,
}

#[derive(Default)]
pub(super) struct TermsCache(Mutex<HashMap<CredentialId, Arc<Resolved>>>);

impl TermsCache {
    fn lock(&self) -> MutexGuard<'_, HashMap<CredentialId, Arc<Resolved>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, id: CredentialId) -> Option<Arc<Resolved>> {
        self.lock().get(&id).cloned()
    }

    fn insert(&self, id: CredentialId, resolved: Arc<Resolved>) {
        let mut entries = self.lock();
        if entries.len() >= MAX_ENTRIES {
            entries.clear();
        }
        entries.insert(id, resolved);
    }
}

impl Unit<'_> {
    /// The credential and its terms. The unit holds the credential's lock and does not write it.
    pub(super) async fn resolved(&mut self, id: CredentialId) -> Result<Arc<Resolved>> {
        if let Some(resolved) = self.engine.terms.get(id) {
            return Ok(resolved);
        }
        let found = self.tables.credential(&mut self.txn, id).await?;
        let credential = found.ok_or_else(no_credential)?;
        let terms = self.engine.policies.resolve(&credential.policy)?;
        let resolved = Arc::new(Resolved { credential, terms });
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
