//! The store as the simulated vault sees it: the real one, with a door before and after each operation. The
//! bugs that are planted to prove that the simulation finds them are here as well, and nowhere near the product.

use std::sync::Arc;

use leasehold::{
    crypto::{
        envelope::{RecordType, Slot},
        keyring::Keyring,
    },
    domain::{
        error::Result,
        lease::Lease,
        time::{Span, Timestamp},
    },
    store::{
        codec, key,
        port::{AuditEntry, Boxed, Health, Key, LockKey, Scan, Store, Txn, Value, Visit},
    },
};

use super::{dice::Dice, executor::Doors};

/// A bug that is put in on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// Now and then the change of a credential's counters is not written.
    CounterUpdateDropped,
    /// A section's locks are free while it still runs.
    LocksReleasedEarly,
    /// A redemption does not see that the lease has expired.
    ExpiryCheckSkipped,
}

pub struct Gate {
    pub store: Arc<dyn Store>,
    pub doors: Doors,
    pub dice: Dice,
    pub keyring: Arc<Keyring>,
    pub planted: Option<Planted>,
}

impl Store for Gate {
    fn begin<'a>(&'a self, locks: &'a [LockKey]) -> Boxed<'a, Result<Box<dyn Txn>>> {
        Box::pin(async move {
            self.doors.pass().await;
            let locks = match self.planted {
                Some(Planted::LocksReleasedEarly) => &[],
                _ => locks,
            };
            let txn = self.store.begin(locks).await?;
            self.doors.pass().await;
            Ok(Box::new(GateTxn {
                txn,
                doors: self.doors.clone(),
                dice: self.dice.clone(),
                keyring: self.keyring.clone(),
                planted: self.planted,
                read: Vec::new(),
                hidden: None,
            }) as Box<dyn Txn>)
        })
    }

    fn get<'a>(&'a self, key: &'a [u8]) -> Boxed<'a, Result<Option<Value>>> {
        Box::pin(async move {
            self.doors.pass().await;
            self.store.get(key).await
        })
    }

    fn scan<'a>(&'a self, scan: &'a Scan) -> Boxed<'a, Result<Vec<(Key, Value)>>> {
        Box::pin(async move {
            self.doors.pass().await;
            self.store.scan(scan).await
        })
    }

    fn snapshot(&self, visit: Visit) -> Boxed<'_, Result<()>> {
        self.store.snapshot(visit)
    }

    fn spool(&self) -> Result<std::fs::File> {
        self.store.spool()
    }

    fn keep_time(&self) -> Boxed<'_, Result<()>> {
        Box::pin(async move {
            self.doors.pass().await;
            let outcome = self.store.keep_time().await;
            self.doors.pass().await;
            outcome
        })
    }

    fn health(&self) -> Health {
        self.store.health()
    }

    fn close(&self) -> Boxed<'_, Result<()>> {
        self.store.close()
    }
}

struct GateTxn {
    txn: Box<dyn Txn>,
    doors: Doors,
    dice: Dice,
    keyring: Arc<Keyring>,
    planted: Option<Planted>,
    /// The keys that were read.
    read: Vec<Key>,
    /// The expiry that [`Planted::ExpiryCheckSkipped`] keeps from the engine.
    hidden: Option<Timestamp>,
}

const LEDGER: u8 = 0x09;
const LEASE: u8 = 0x0a;

impl GateTxn {
    /// The same lease with another expiry.
    fn redated(
        &self,
        at: &[u8],
        stored: &[u8],
        expiry: impl FnOnce(&Lease) -> Timestamp,
    ) -> Result<Vec<u8>> {
        let workspace =
            leasehold::domain::id::WorkspaceId::from_bytes(at[1..17].try_into().unwrap());
        let keys = self.keyring.workspace(workspace)?;
        let id = [&at[17..33], &stored[..16]].concat();
        let slot = Slot {
            kind: RecordType::Lease,
            id: &id,
            version: 0,
        };
        let mut lease: Lease = codec::decode(&keys.open(slot, &stored[16..])?).unwrap();
        lease.expires_at = expiry(&lease);
        keys.seal(slot, &stored[..16], &codec::encode(&lease)?)
    }
}

impl Txn for GateTxn {
    fn get<'a>(&'a mut self, key: &'a [u8]) -> Boxed<'a, Result<Option<Value>>> {
        Box::pin(async move {
            self.doors.pass().await;
            let found = self.txn.get(key).await?;
            self.read.push(key.into());
            let Some(stored) = &found else {
                return Ok(None);
            };
            if self.planted == Some(Planted::ExpiryCheckSkipped) && key[0] == LEASE {
                let mut hidden = None;
                let later = self.redated(key, stored, |lease| {
                    hidden = Some(lease.expires_at);
                    lease.expires_at.plus(Span::from_secs(1 << 30))
                })?;
                self.hidden = hidden;
                return Ok(Some(later.into()));
            }
            Ok(found)
        })
    }

    fn scan<'a>(&'a mut self, scan: &'a Scan) -> Boxed<'a, Result<Vec<(Key, Value)>>> {
        Box::pin(async move {
            self.doors.pass().await;
            self.txn.scan(scan).await
        })
    }

    fn put(&mut self, key: Key, value: Vec<u8>) -> Result<()> {
        let updates_counter = key[0] == LEDGER && self.read.contains(&key);
        if self.planted == Some(Planted::CounterUpdateDropped)
            && updates_counter
            && self.dice.one_in(16)
        {
            return Ok(());
        }
        match self.hidden.filter(|_| key[0] == LEASE) {
            Some(expiry) => {
                let value = self.redated(&key, &value, |_| expiry)?;
                self.txn.put(key, value)
            }
            None => self.txn.put(key, value),
        }
    }

    fn delete(&mut self, key: Key) {
        self.txn.delete(key);
    }

    fn commit(self: Box<Self>, audit: Vec<AuditEntry>) -> Boxed<'static, Result<()>> {
        Box::pin(async move {
            self.doors.pass().await;
            let outcome = self.txn.commit(audit).await;
            // Durable, and not told yet.
            self.doors.pass().await;
            outcome
        })
    }
}

/// What key a lease lies under, kept in step with the bug above.
#[test]
fn the_planted_bugs_know_their_keys() {
    use leasehold::domain::id::{CredentialId, LeaseId, WorkspaceId};
    let ledger = key::ledger(WorkspaceId::SYSTEM, CredentialId::from_bytes([1; 16]));
    let lease = key::lease(WorkspaceId::SYSTEM, LeaseId::from_bytes([1; 16]));
    assert_eq!((ledger[0], lease[0]), (LEDGER, LEASE));
}
