//! Ledgers and versions that were opened or sealed lately, so that they are not opened again for each request.
//!
//! An entry holds the ciphertext it stands for and serves only for those very bytes: whatever else the store gives
//! is opened. So nothing has to be dropped when a record changes, and a moved or changed ciphertext is found as
//! ever. No values are kept here, and nothing that a holder wrote.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::domain::{
    credential::Version,
    error::Result,
    id::{CredentialId, WorkspaceId},
    ledger::Ledger,
};

/// The most entries of one kind and shard; all of them are dropped when there are more.
const MAX_ENTRIES: usize = 1024;
const SHARDS: usize = 8;

/// What is remembered, of every workspace.
#[derive(Default)]
pub struct Recent {
    pub(super) ledgers: Kind<(WorkspaceId, CredentialId), Ledger>,
    pub(super) versions: Kind<(WorkspaceId, CredentialId, u32), Version>,
}

/// Records with the bytes that they stand for.
type Entries<K, T> = HashMap<K, (Box<[u8]>, T)>;

/// Records of one kind.
pub(super) struct Kind<K, T>([Mutex<Entries<K, T>>; SHARDS]);

impl<K, T> Default for Kind<K, T> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::default()))
    }
}

impl<K: Eq + Hash, T: Clone> Kind<K, T> {
    /// One credential's records are in one shard, and its requests wait for its lock anyway.
    fn shard(&self, credential: CredentialId) -> MutexGuard<'_, Entries<K, T>> {
        let [.., last] = credential.as_bytes();
        let [first, ..] = &self.0;
        self.0
            .get(usize::from(*last) % SHARDS)
            .unwrap_or(first)
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// What `part` takes of the record that these bytes seal: remembered, or opened now.
    pub(super) fn part_or<U>(
        &self,
        credential: CredentialId,
        at: K,
        sealed: &[u8],
        open: impl FnOnce() -> Result<T>,
        part: impl FnOnce(&T) -> U,
    ) -> Result<U> {
        if let Some((known, record)) = self.shard(credential).get(&at)
            && **known == *sealed
        {
            return Ok(part(record));
        }
        let record = open()?;
        self.keep(credential, at, sealed, &record);
        Ok(part(&record))
    }

    /// Remembers what was just opened or sealed.
    pub(super) fn keep(&self, credential: CredentialId, at: K, sealed: &[u8], record: &T) {
        let mut entries = self.shard(credential);
        if entries.len() >= MAX_ENTRIES {
            entries.clear();
        }
        entries.insert(at, (sealed.into(), record.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::error::Error;

    impl<K: Eq + Hash, T: Clone> Kind<K, T> {
        fn get_or(
            &self,
            credential: CredentialId,
            at: K,
            sealed: &[u8],
            open: impl FnOnce() -> Result<T>,
        ) -> Result<T> {
            self.part_or(credential, at, sealed, open, T::clone)
        }
    }

    #[test]
    fn a_record_serves_for_its_own_bytes_alone() {
        let kind = Kind::<u8, &str>::default();
        let id = CredentialId::from_bytes([7; 16]);
        let closed = || -> Result<&str> { Err(Error::internal("opened")) };
        kind.get_or(id, 1, b"sealed", closed).unwrap_err();
        assert_eq!(kind.get_or(id, 1, b"sealed", || Ok("old")).unwrap(), "old");
        assert_eq!(kind.get_or(id, 1, b"sealed", closed).unwrap(), "old");
        // Other bytes, another place: opened again.
        kind.get_or(id, 1, b"sealeD", closed).unwrap_err();
        kind.get_or(id, 2, b"sealed", closed).unwrap_err();
        kind.keep(id, 1, b"new", &"new");
        assert_eq!(kind.get_or(id, 1, b"new", closed).unwrap(), "new");
        kind.get_or(id, 1, b"sealed", closed).unwrap_err();
    }

    #[test]
    fn the_memory_is_bounded() {
        let kind = Kind::<usize, usize>::default();
        let id = CredentialId::from_bytes([7; 16]);
        for at in 0..3 * MAX_ENTRIES {
            kind.keep(id, at, b"", &at);
            assert!(kind.shard(id).len() <= MAX_ENTRIES);
        }
    }
}
