//! What retention remembers: legal holds, and how far it has come.

use serde::{Serialize, de::DeserializeOwned};

use super::{Read, Tables, range_all};
use crate::{
    crypto::{
        envelope::{RecordType, Slot},
        keyring::IndexOf,
    },
    domain::{
        error::{Error, Result},
        id::LeaseId,
        name::HoldName,
        retention::Hold,
    },
    store::{
        key,
        port::{Key, Txn, Value},
    },
};

/// A record of this table is bound to its key.
fn slot(at: &[u8]) -> Slot<'_> {
    Slot {
        kind: RecordType::Retention,
        id: at,
        version: 0,
    }
}

impl Tables {
    fn retained<T: DeserializeOwned>(&self, at: &[u8], sealed: &[u8]) -> Result<T> {
        self.open(slot(at), sealed)
    }

    /// A record of what retention remembers.
    pub async fn retention<T: DeserializeOwned>(
        &self,
        read: &mut impl Read,
        at: &[u8],
    ) -> Result<Option<T>> {
        let found = read.get(at).await?;
        found.map(|sealed| self.retained(at, &sealed)).transpose()
    }

    pub fn put_retention<T: Serialize>(
        &self,
        txn: &mut dyn Txn,
        at: Key,
        record: &T,
    ) -> Result<()> {
        let sealed = self.seal(slot(&at), &[], record)?;
        txn.put(at, sealed)
    }

    /// Where a legal hold lies.
    pub fn hold_key(&self, name: &HoldName) -> Key {
        let parts: [&[u8]; 1] = [name.as_str().as_bytes()];
        let hash = self.keyring.index(IndexOf::Hold, self.workspace, &parts);
        key::hold(&hash)
    }

    /// The legal holds in force.
    pub async fn holds(&self, read: &mut impl Read) -> Result<Vec<Hold>> {
        let found = range_all(read, key::holds()).await?;
        found
            .iter()
            .map(|(at, sealed)| self.open_hold(at, sealed))
            .collect()
    }

    /// Opens a legal hold that a scan gave.
    pub fn open_hold(&self, at: &[u8], sealed: &Value) -> Result<Hold> {
        let hold: Hold = self.retained(at, sealed)?;
        if *self.hold_key(&hold.name) != *at {
            return Err(Error::internal("a legal hold lies under another's name"));
        }
        Ok(hold)
    }

    /// The lease behind which first looks of this workspace go on.
    pub async fn first_look(&self, read: &mut impl Read) -> Result<LeaseId> {
        let found = self
            .retention(read, &key::first_look(self.workspace))
            .await?;
        Ok(found.unwrap_or(LeaseId::from_bytes([0; 16])))
    }

    /// Removes a closed lease's record. Nothing else leads to it any more.
    pub fn delete_lease(&self, txn: &mut dyn Txn, id: LeaseId) {
        txn.delete(key::lease(self.workspace, id));
    }
}
