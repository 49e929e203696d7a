//! Issuers of federated identities, and the assertions that were taken and may not be taken again.

use super::{Read, Tables, range_all};
use crate::{
    crypto::{
        envelope::{RecordType, Slot},
        keyring::IndexOf,
    },
    domain::{
        error::{Error, Result},
        id::IssuerId,
        issuer::Issuer,
        time::Timestamp,
    },
    store::{key, port::Txn},
};

fn slot(id: &IssuerId) -> Slot<'_> {
    Slot {
        kind: RecordType::Issuer,
        id: id.as_bytes(),
        version: 0,
    }
}

fn seen_slot(hash: &[u8; 32]) -> Slot<'_> {
    Slot {
        kind: RecordType::Seen,
        id: hash,
        version: 0,
    }
}

impl Tables {
    pub async fn issuer(&self, read: &mut impl Read, id: IssuerId) -> Result<Option<Issuer>> {
        let found = read.get(&key::issuer(self.workspace, id)).await?;
        found
            .map(|sealed| self.open(slot(&id), &sealed))
            .transpose()
    }

    /// Every issuer of the workspace, oldest first.
    pub async fn issuers(&self, read: &mut impl Read) -> Result<Vec<Issuer>> {
        let pairs = range_all(read, key::issuers(self.workspace)).await?;
        pairs
            .iter()
            .map(|(at, sealed)| {
                let (_, id) =
                    key::parse_issuer(at).ok_or_else(|| Error::internal("malformed issuer key"))?;
                self.open(slot(&id), sealed)
            })
            .collect()
    }

    pub fn put_issuer(&self, txn: &mut dyn Txn, issuer: &Issuer) -> Result<()> {
        let sealed = self.seal(slot(&issuer.id), &[], issuer)?;
        txn.put(key::issuer(self.workspace, issuer.id), sealed)
    }

    pub fn delete_issuer(&self, txn: &mut dyn Txn, id: IssuerId) {
        txn.delete(key::issuer(self.workspace, id));
    }

    /// The index key of an issuer's assertion.
    pub fn assertion_hash(&self, issuer: IssuerId, jti: &str) -> [u8; 32] {
        let parts = [&issuer.as_bytes()[..], jti.as_bytes()];
        self.keyring
            .index(IndexOf::Assertion, self.workspace, &parts)
    }

    /// Until when it must be remembered that an assertion was taken.
    pub async fn seen_until(
        &self,
        read: &mut impl Read,
        hash: &[u8; 32],
    ) -> Result<Option<Timestamp>> {
        let found = read.get(&key::seen(self.workspace, hash)).await?;
        found
            .map(|sealed| self.open(seen_slot(hash), &sealed))
            .transpose()
    }

    pub fn put_seen(&self, txn: &mut dyn Txn, hash: &[u8; 32], until: Timestamp) -> Result<()> {
        let sealed = self.seal(seen_slot(hash), &[], &until)?;
        txn.put(key::seen(self.workspace, hash), sealed)
    }

    pub fn delete_seen(&self, txn: &mut dyn Txn, hash: &[u8; 32]) {
        txn.delete(key::seen(self.workspace, hash));
    }
}
