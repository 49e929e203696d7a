//! API keys and what is noted of their use. A key is found before the caller's workspace is known, so all of it is
//! sealed with the keys of the vault itself.

use super::{Read, Tables, range_all};
use crate::{
    crypto::envelope::{RecordType, Slot},
    domain::{
        error::{Error, Result},
        id::{IdentityId, KeyId, WorkspaceId},
        principal::ApiKey,
        time::Timestamp,
        usage::{LastUse, Use},
    },
    store::{
        key,
        port::{Scan, Txn},
    },
};

fn slot(kind: RecordType, id: &[u8; 16], version: u32) -> Slot<'_> {
    Slot { kind, id, version }
}

impl Tables {
    pub async fn api_key(&self, read: &mut impl Read, id: KeyId) -> Result<Option<ApiKey>> {
        let found = read.get(&key::api_key(id)).await?;
        found
            .map(|sealed| self.open(slot(RecordType::ApiKey, id.as_bytes(), 0), &sealed))
            .transpose()
    }

    /// Writes a key and its entry among those of its home, which it never leaves.
    pub fn put_api_key(&self, txn: &mut dyn Txn, api_key: &ApiKey) -> Result<()> {
        let slot = slot(RecordType::ApiKey, api_key.id.as_bytes(), 0);
        let sealed = self.seal(slot, &[], api_key)?;
        txn.put(key::api_key_home(api_key.home, api_key.id), Vec::new())?;
        txn.put(key::api_key(api_key.id), sealed)
    }

    /// Removes a key and all that is noted of its use.
    pub async fn delete_api_key(
        &self,
        txn: &mut Box<dyn Txn>,
        home: WorkspaceId,
        id: KeyId,
    ) -> Result<()> {
        txn.delete(key::api_key(id));
        txn.delete(key::api_key_home(home, id));
        txn.delete(key::last_use(id.as_bytes()));
        for (at, _) in range_all(txn, key::key_usages(id)).await? {
            txn.delete(at);
        }
        Ok(())
    }

    /// The API keys of a workspace's identities, in the order of their creation.
    pub async fn api_keys_of(&self, read: &mut impl Read, home: WorkspaceId) -> Result<Vec<KeyId>> {
        let entries = range_all(read, key::api_keys_of(home)).await?;
        let id = |at: &[u8]| key::parse_api_key_home(at).map(|(_, id)| id);
        let malformed = || Error::internal("an entry of an API key's home is malformed");
        entries
            .iter()
            .map(|(at, _)| id(at).ok_or_else(malformed))
            .collect()
    }

    /// When a key or token was used last, as far as that is written down.
    pub async fn last_use(&self, read: &mut impl Read, id: &[u8; 16]) -> Result<Option<LastUse>> {
        let found = read.get(&key::last_use(id)).await?;
        found
            .map(|sealed| self.open(slot(RecordType::LastUse, id, 0), &sealed))
            .transpose()
    }

    pub fn put_last_use(&self, txn: &mut dyn Txn, last: &LastUse) -> Result<()> {
        let id = last.proof.as_bytes();
        let sealed = self.seal(slot(RecordType::LastUse, id, 0), &[], last)?;
        txn.put(key::last_use(id), sealed)
    }

    /// When an identity was used last, as far as that is written down: it outlives the tokens that it used.
    pub async fn identity_use(
        &self,
        read: &mut impl Read,
        id: IdentityId,
    ) -> Result<Option<Timestamp>> {
        let found = read.get(&key::identity_use(id)).await?;
        found
            .map(|sealed| self.open(slot(RecordType::IdentityUse, id.as_bytes(), 0), &sealed))
            .transpose()
    }

    pub fn put_identity_use(&self, txn: &mut dyn Txn, id: IdentityId, at: Timestamp) -> Result<()> {
        let sealed = self.seal(slot(RecordType::IdentityUse, id.as_bytes(), 0), &[], &at)?;
        txn.put(key::identity_use(id), sealed)
    }

    /// A block of what an API key was used for.
    pub async fn key_usage(
        &self,
        read: &mut impl Read,
        id: KeyId,
        number: u32,
    ) -> Result<Option<Vec<Use>>> {
        let found = read.get(&key::key_usage(id, number)).await?;
        let slot = slot(RecordType::KeyUsage, id.as_bytes(), number);
        found.map(|sealed| self.open(slot, &sealed)).transpose()
    }

    /// Every block of what an API key was used for, oldest first, with its number.
    pub async fn key_usages(
        &self,
        read: &mut impl Read,
        id: KeyId,
    ) -> Result<Vec<(u32, Vec<Use>)>> {
        let blocks = range_all(read, key::key_usages(id)).await?;
        blocks
            .iter()
            .map(|(at, sealed)| self.usage_block(at, sealed))
            .collect()
    }

    /// The newest of those blocks.
    pub async fn newest_key_usage(
        &self,
        read: &mut impl Read,
        id: KeyId,
    ) -> Result<Option<(u32, Vec<Use>)>> {
        let mut found = read
            .range(&Scan {
                reverse: true,
                limit: 1,
                ..key::key_usages(id)
            })
            .await?;
        let Some((at, sealed)) = found.pop() else {
            return Ok(None);
        };
        self.usage_block(&at, &sealed).map(Some)
    }

    fn usage_block(&self, at: &[u8], sealed: &[u8]) -> Result<(u32, Vec<Use>)> {
        let (id, number) = key::parse_key_usage(at)
            .ok_or_else(|| Error::internal("the key of a usage block is malformed"))?;
        let slot = slot(RecordType::KeyUsage, id.as_bytes(), number);
        Ok((number, self.open(slot, sealed)?))
    }

    pub fn put_key_usage(
        &self,
        txn: &mut dyn Txn,
        id: KeyId,
        number: u32,
        uses: &[Use],
    ) -> Result<()> {
        let slot = slot(RecordType::KeyUsage, id.as_bytes(), number);
        let sealed = self.seal(slot, &[], &uses)?;
        txn.put(key::key_usage(id, number), sealed)
    }
}
