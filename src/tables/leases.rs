//! Leases, the index of the open ones, first answers, and sweeps.

use serde::{Serialize, de::DeserializeOwned};

use super::{Read, Tables, read_id};
use crate::{
    crypto::{
        envelope::{RecordType, Slot},
        keyring::IndexOf,
    },
    domain::{
        error::{Error, Result},
        id::{CredentialId, LeaseId},
        lease::Lease,
        principal::ProofId,
    },
    store::{
        key,
        port::{Txn, Value},
    },
};

/// A lease's ciphertext is bound to its credential as well, whose id stands readable in front of it.
fn lease_slot_id(lease: LeaseId, credential: CredentialId) -> [u8; 32] {
    let mut id = [0; 32];
    id.iter_mut()
        .zip(lease.as_bytes().iter().chain(credential.as_bytes()))
        .for_each(|(to, from)| *to = *from);
    id
}

impl Tables {
    /// The credential of a lease, read without opening the record: whoever needs the credential's lock first
    /// must not pay for the lease twice.
    pub async fn lease_credential(
        &self,
        read: &mut impl Read,
        id: LeaseId,
    ) -> Result<Option<CredentialId>> {
        let found = read.get(&key::lease(self.workspace, id)).await?;
        found
            .map(|stored| split(&stored).map(|(credential, _)| credential))
            .transpose()
    }

    pub async fn lease(&self, read: &mut impl Read, id: LeaseId) -> Result<Option<Lease>> {
        let found = read.get(&key::lease(self.workspace, id)).await?;
        found.map(|stored| self.open_lease(id, &stored)).transpose()
    }

    /// Opens a lease that a scan gave.
    pub fn open_lease(&self, id: LeaseId, stored: &[u8]) -> Result<Lease> {
        let (credential, sealed) = split(stored)?;
        let slot_id = lease_slot_id(id, credential);
        self.open(
            Slot {
                kind: RecordType::Lease,
                id: &slot_id,
                version: 0,
            },
            sealed,
        )
    }

    /// Writes a lease; the index of open leases is the caller's to keep in step.
    pub fn put_lease(&self, txn: &mut dyn Txn, lease: &Lease) -> Result<()> {
        let slot_id = lease_slot_id(lease.id, lease.credential);
        let slot = Slot {
            kind: RecordType::Lease,
            id: &slot_id,
            version: 0,
        };
        txn.put(
            key::lease(self.workspace, lease.id),
            self.seal(slot, lease.credential.as_bytes(), lease)?,
        )
    }

    pub fn put_open(&self, txn: &mut dyn Txn, lease: &Lease) -> Result<()> {
        txn.put(
            key::open_lease(self.workspace, lease.credential, lease.expires_at, lease.id),
            Vec::new(),
        )
    }

    pub fn delete_open(&self, txn: &mut dyn Txn, lease: &Lease) {
        txn.delete(key::open_lease(
            self.workspace,
            lease.credential,
            lease.expires_at,
            lease.id,
        ));
    }

    /// The index key of one caller's idempotency key for one operation.
    pub fn idempotency_hash(
        &self,
        caller: ProofId,
        operation: &str,
        idempotency_key: &str,
    ) -> [u8; 32] {
        let parts: [&[u8]; 3] = [
            caller.as_bytes(),
            operation.as_bytes(),
            idempotency_key.as_bytes(),
        ];
        self.keyring
            .index(IndexOf::IdempotencyKey, self.workspace, &parts)
    }

    pub async fn first_answer<T: DeserializeOwned>(
        &self,
        read: &mut impl Read,
        hash: &[u8; 32],
    ) -> Result<Option<T>> {
        let found = read.get(&key::first_answer(self.workspace, hash)).await?;
        found
            .map(|sealed| self.open_first_answer(hash, &sealed))
            .transpose()
    }

    /// Opens a first answer that a scan gave.
    pub fn open_first_answer<T: DeserializeOwned>(
        &self,
        hash: &[u8; 32],
        sealed: &Value,
    ) -> Result<T> {
        self.open(
            Slot {
                kind: RecordType::Idempotency,
                id: hash,
                version: 0,
            },
            sealed,
        )
    }

    pub fn put_first_answer<T: Serialize>(
        &self,
        txn: &mut dyn Txn,
        hash: &[u8; 32],
        answer: &T,
    ) -> Result<()> {
        let sealed = self.seal(
            Slot {
                kind: RecordType::Idempotency,
                id: hash,
                version: 0,
            },
            &[],
            answer,
        )?;
        txn.put(key::first_answer(self.workspace, hash), sealed)
    }

    pub async fn sweep<T: DeserializeOwned>(
        &self,
        read: &mut impl Read,
        credential: CredentialId,
    ) -> Result<Option<T>> {
        let found = read.get(&key::sweep(self.workspace, credential)).await?;
        let slot = Slot {
            kind: RecordType::Sweep,
            id: credential.as_bytes(),
            version: 0,
        };
        found.map(|sealed| self.open(slot, &sealed)).transpose()
    }

    pub fn put_sweep<T: Serialize>(
        &self,
        txn: &mut dyn Txn,
        credential: CredentialId,
        sweep: &T,
    ) -> Result<()> {
        let slot = Slot {
            kind: RecordType::Sweep,
            id: credential.as_bytes(),
            version: 0,
        };
        txn.put(
            key::sweep(self.workspace, credential),
            self.seal(slot, &[], sweep)?,
        )
    }

    pub fn delete_sweep(&self, txn: &mut dyn Txn, credential: CredentialId) {
        txn.delete(key::sweep(self.workspace, credential));
    }
}

fn split(stored: &[u8]) -> Result<(CredentialId, &[u8])> {
    let (credential, sealed) = stored
        .split_at_checked(16)
        .ok_or_else(|| Error::internal("a lease record is cut short"))?;
    Ok((CredentialId::from_bytes(read_id(credential)?), sealed))
}
