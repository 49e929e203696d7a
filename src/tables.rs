//! Sealed, typed records over the storage port: the one place where a record meets its key, its slot and its
//! ciphertext. Callers see domain types; the store sees opaque keys and sealed bytes.

mod alarms;
mod credentials;
mod directory;
mod issuers;
mod keys;
mod leases;
mod policy_sets;
mod recent;
mod retention;
mod tokens;
mod vault;

use std::sync::Arc;

use serde::{Serialize, de::DeserializeOwned};

pub use self::alarms::Suspect;
pub use self::policy_sets::next_with_policies;
pub use self::recent::Recent;
pub use self::vault::{Header, Unseal, first_writes, high_water, load_keys, seal_mark, unlock_new};
use crate::{
    crypto::{
        envelope::{RecordType, Slot},
        keyring::{Keyring, WorkspaceKeys},
    },
    domain::{
        error::{Error, Result},
        id::WorkspaceId,
    },
    store::{
        codec,
        port::{Boxed, Key, MAX_SCAN, Scan, Store, Txn, Value},
        sled::Sled,
    },
};

/// Reads, inside a transaction or outside.
pub trait Read: Send {
    /// The value under a key.
    fn get<'a>(&'a mut self, key: &'a [u8]) -> Boxed<'a, Result<Option<Value>>>;
    /// The pairs of a range, at most as many as one scan gives.
    fn range<'a>(&'a mut self, scan: &'a Scan) -> Boxed<'a, Result<Vec<(Key, Value)>>>;
}

impl Read for &dyn Store {
    fn get<'a>(&'a mut self, key: &'a [u8]) -> Boxed<'a, Result<Option<Value>>> {
        Store::get(*self, key)
    }

    fn range<'a>(&'a mut self, scan: &'a Scan) -> Boxed<'a, Result<Vec<(Key, Value)>>> {
        Store::scan(*self, scan)
    }
}

/// Before the store serves.
impl Read for &Sled {
    fn get<'a>(&'a mut self, key: &'a [u8]) -> Boxed<'a, Result<Option<Value>>> {
        Box::pin(std::future::ready(self.read(key)))
    }

    fn range<'a>(&'a mut self, scan: &'a Scan) -> Boxed<'a, Result<Vec<(Key, Value)>>> {
        let mut scan = scan.clone();
        scan.limit = scan.limit.min(MAX_SCAN);
        Box::pin(std::future::ready(self.read_range(&scan)))
    }
}

impl Read for Box<dyn Txn> {
    fn get<'a>(&'a mut self, key: &'a [u8]) -> Boxed<'a, Result<Option<Value>>> {
        Txn::get(&mut **self, key)
    }

    fn range<'a>(&'a mut self, scan: &'a Scan) -> Boxed<'a, Result<Vec<(Key, Value)>>> {
        Txn::scan(&mut **self, scan)
    }
}

/// All pairs of a range, page by page.
pub async fn range_all(read: &mut impl Read, mut scan: Scan) -> Result<Vec<(Key, Value)>> {
    let mut all = Vec::new();
    loop {
        let page = read.range(&scan).await?;
        let Some((last, _)) = page.last() else {
            return Ok(all);
        };
        scan = scan.after(last);
        all.extend(page);
    }
}

/// The tables of one workspace.
#[derive(Clone)]
pub struct Tables {
    pub workspace: WorkspaceId,
    keyring: Arc<Keyring>,
    keys: Arc<WorkspaceKeys>,
    recent: Arc<Recent>,
}

impl Tables {
    /// The tables of a workspace whose keys are unlocked.
    pub fn of(keyring: &Arc<Keyring>, workspace: WorkspaceId) -> Result<Self> {
        Self::remembering(keyring, workspace, &Arc::default())
    }

    /// The same, with a memory that they share with others.
    pub fn remembering(
        keyring: &Arc<Keyring>,
        workspace: WorkspaceId,
        recent: &Arc<Recent>,
    ) -> Result<Self> {
        Ok(Self {
            workspace,
            keyring: keyring.clone(),
            keys: keyring.workspace(workspace)?,
            recent: recent.clone(),
        })
    }

    /// Every key of the vault.
    pub fn keyring(&self) -> &Arc<Keyring> {
        &self.keyring
    }

    fn seal<T: Serialize>(&self, slot: Slot<'_>, prefix: &[u8], record: &T) -> Result<Vec<u8>> {
        self.keys.seal(slot, prefix, &codec::encode(record)?)
    }

    fn open<T: DeserializeOwned>(&self, slot: Slot<'_>, sealed: &[u8]) -> Result<T> {
        decode(slot.kind, &self.keys.open(slot, sealed)?)
    }

    /// For records that are sealed over and over in one place.
    fn seal_hourly<T: Serialize>(
        &self,
        kind: RecordType,
        id: &[u8],
        record: &T,
    ) -> Result<Vec<u8>> {
        self.keys.seal_hourly(kind, id, &codec::encode(record)?)
    }

    fn open_hourly<T: DeserializeOwned>(
        &self,
        kind: RecordType,
        id: &[u8],
        sealed: &[u8],
    ) -> Result<T> {
        decode(kind, &self.keys.open_hourly(kind, id, sealed)?)
    }
}

fn decode<T: DeserializeOwned>(kind: RecordType, plain: &[u8]) -> Result<T> {
    codec::decode(plain).map_err(|error| Error::internal(error).with("record", format!("{kind:?}")))
}

/// Pointers from a hash to an id are plain: neither says anything without the index key.
fn read_id(value: &[u8]) -> Result<[u8; 16]> {
    value
        .try_into()
        .map_err(|_| Error::internal("an index entry is malformed"))
}

#[cfg(test)]
mod tests;
