//! Credentials, their ledgers, versions and values.

use super::{Read, Tables, range_all, read_id};
use crate::{
    crypto::{
        envelope::{RecordType, Slot},
        keyring::IndexOf,
    },
    domain::{
        credential::{Credential, Version},
        error::{Error, Result},
        id::CredentialId,
        ledger::Ledger,
        name::{CredentialName, Metadata},
        secret::SecretText,
    },
    store::{
        key,
        port::{Txn, Value},
    },
};

fn slot(kind: RecordType, id: &CredentialId, version: u32) -> Slot<'_> {
    Slot {
        kind,
        id: id.as_bytes(),
        version,
    }
}

impl Tables {
    /// The index key of a credential's name.
    pub fn credential_hash(&self, name: &CredentialName) -> [u8; 32] {
        self.keyring.index(
            IndexOf::Credential,
            self.workspace,
            &[name.as_str().as_bytes()],
        )
    }

    /// The credential of that name.
    pub async fn credential_id(
        &self,
        read: &mut impl Read,
        name: &CredentialName,
    ) -> Result<Option<CredentialId>> {
        let found = read
            .get(&key::credential_name(
                self.workspace,
                &self.credential_hash(name),
            ))
            .await?;
        found
            .map(|id| read_id(&id).map(CredentialId::from_bytes))
            .transpose()
    }

    /// Gives a name to a credential.
    pub fn put_credential_name(
        &self,
        txn: &mut dyn Txn,
        name: &CredentialName,
        id: CredentialId,
    ) -> Result<()> {
        txn.put(
            key::credential_name(self.workspace, &self.credential_hash(name)),
            id.as_bytes().to_vec(),
        )
    }

    /// Frees a name.
    pub fn delete_credential_name(&self, txn: &mut dyn Txn, name: &CredentialName) {
        txn.delete(key::credential_name(
            self.workspace,
            &self.credential_hash(name),
        ));
    }

    pub async fn credential(
        &self,
        read: &mut impl Read,
        id: CredentialId,
    ) -> Result<Option<Credential>> {
        let found = read.get(&key::credential(self.workspace, id)).await?;
        found
            .map(|sealed| self.open(slot(RecordType::Credential, &id, 0), &sealed))
            .transpose()
    }

    pub fn put_credential(&self, txn: &mut dyn Txn, credential: &Credential) -> Result<()> {
        let sealed = self.seal(
            slot(RecordType::Credential, &credential.id, 0),
            &[],
            credential,
        )?;
        txn.put(key::credential(self.workspace, credential.id), sealed)
    }

    pub fn delete_credential(&self, txn: &mut dyn Txn, id: CredentialId) {
        txn.delete(key::credential(self.workspace, id));
    }

    /// Every credential of the workspace, oldest first.
    pub async fn credentials(&self, read: &mut impl Read) -> Result<Vec<Credential>> {
        let pairs = range_all(read, key::credentials(self.workspace)).await?;
        pairs
            .iter()
            .map(|(at, sealed)| {
                let (_, id) = key::parse_credential(at)
                    .ok_or_else(|| Error::internal("malformed credential key"))?;
                self.open(slot(RecordType::Credential, &id, 0), sealed)
            })
            .collect()
    }

    /// The ledger of a credential whose lock is held, and which exists.
    pub async fn ledger(&self, read: &mut impl Read, id: CredentialId) -> Result<Ledger> {
        let found = self.find_ledger(read, id).await?;
        found.ok_or_else(|| Error::internal("a credential has no ledger"))
    }

    /// The ledger of a credential, unless it is gone: without its lock it may be deleted between two reads.
    pub async fn find_ledger(
        &self,
        read: &mut impl Read,
        id: CredentialId,
    ) -> Result<Option<Ledger>> {
        self.of_ledger(read, id, Ledger::clone).await
    }

    /// What `part` takes of that ledger.
    pub async fn of_ledger<T>(
        &self,
        read: &mut impl Read,
        id: CredentialId,
        part: impl FnOnce(&Ledger) -> T,
    ) -> Result<Option<T>> {
        let found = read.get(&key::ledger(self.workspace, id)).await?;
        let open = |sealed: Value| {
            let (ledgers, at) = (&self.recent.ledgers, (self.workspace, id));
            let open = || self.open_hourly(RecordType::Ledger, id.as_bytes(), &sealed);
            ledgers.part_or(id, at, &sealed, open, part)
        };
        found.map(open).transpose()
    }

    pub fn put_ledger(&self, txn: &mut dyn Txn, id: CredentialId, ledger: &Ledger) -> Result<()> {
        let sealed = self.seal_hourly(RecordType::Ledger, id.as_bytes(), ledger)?;
        let at = (self.workspace, id);
        self.recent.ledgers.keep(id, at, &sealed, ledger);
        txn.put(key::ledger(self.workspace, id), sealed)
    }

    pub fn delete_ledger(&self, txn: &mut dyn Txn, id: CredentialId) {
        txn.delete(key::ledger(self.workspace, id));
    }

    pub async fn version(
        &self,
        read: &mut impl Read,
        id: CredentialId,
        number: u32,
    ) -> Result<Option<Version>> {
        self.of_version(read, id, number, Version::clone).await
    }

    /// The metadata of a version.
    pub async fn version_metadata(
        &self,
        read: &mut impl Read,
        id: CredentialId,
        number: u32,
    ) -> Result<Option<Metadata>> {
        let metadata = |version: &Version| version.metadata.clone();
        self.of_version(read, id, number, metadata).await
    }

    async fn of_version<T>(
        &self,
        read: &mut impl Read,
        id: CredentialId,
        number: u32,
        part: impl FnOnce(&Version) -> T,
    ) -> Result<Option<T>> {
        let found = read.get(&key::version(self.workspace, id, number)).await?;
        let open = |sealed: Value| {
            let (versions, at) = (&self.recent.versions, (self.workspace, id, number));
            let open = || self.open(slot(RecordType::Version, &id, number), &sealed);
            versions.part_or(id, at, &sealed, open, part)
        };
        found.map(open).transpose()
    }

    pub fn put_version(
        &self,
        txn: &mut dyn Txn,
        id: CredentialId,
        version: &Version,
    ) -> Result<()> {
        let sealed = self.seal(slot(RecordType::Version, &id, version.number), &[], version)?;
        txn.put(key::version(self.workspace, id, version.number), sealed)
    }

    /// Every version of a credential, oldest first.
    pub async fn versions(&self, read: &mut impl Read, id: CredentialId) -> Result<Vec<Version>> {
        let pairs = range_all(read, key::versions(self.workspace, id)).await?;
        pairs
            .iter()
            .map(|(at, sealed)| {
                let number = key::parse_version(at)
                    .ok_or_else(|| Error::internal("malformed version key"))?;
                self.open(slot(RecordType::Version, &id, number), sealed)
            })
            .collect()
    }

    pub fn delete_version(&self, txn: &mut dyn Txn, id: CredentialId, number: u32) {
        txn.delete(key::version(self.workspace, id, number));
    }

    /// The value of a version that was not erased.
    pub async fn value(
        &self,
        read: &mut impl Read,
        id: CredentialId,
        number: u32,
    ) -> Result<SecretText> {
        let found = read.get(&key::value(self.workspace, id, number)).await?;
        let sealed =
            found.ok_or_else(|| Error::internal("the value of a version in use is missing"))?;
        self.keys
            .open_value(slot(RecordType::Value, &id, number), &sealed)
    }

    /// Seals a value; done before the transaction, so that none waits for a cipher.
    pub fn seal_value(&self, id: CredentialId, number: u32, value: &SecretText) -> Result<Vec<u8>> {
        self.keys
            .seal_value(slot(RecordType::Value, &id, number), value)
    }

    pub fn put_sealed_value(
        &self,
        txn: &mut dyn Txn,
        id: CredentialId,
        number: u32,
        sealed: Vec<u8>,
    ) -> Result<()> {
        txn.put(key::value(self.workspace, id, number), sealed)
    }

    /// Erases a value and its wrapped key.
    pub fn erase_value(&self, txn: &mut dyn Txn, id: CredentialId, number: u32) {
        txn.delete(key::value(self.workspace, id, number));
    }
}
