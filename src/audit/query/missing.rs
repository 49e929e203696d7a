//! Records that are missing from the log although retention does not say so: what was read cannot be all.

use std::ops::Range;

use crate::{
    audit::removal::{self, Removals},
    crypto::keyring::Keyring,
    domain::error::Result,
    store::port::Store,
};

/// What retention says of records that are not there. It is asked after they were looked for: a statement is durable
/// before the first record that it names is removed.
pub(in crate::audit) struct Accounts<'a> {
    store: &'a dyn Store,
    public_key: &'a [u8; 32],
    removals: Removals,
    /// Records before this one are known to be gone.
    front: u64,
}

impl<'a> Accounts<'a> {
    pub(in crate::audit) fn new(store: &'a dyn Store, keyring: &'a Keyring) -> Self {
        Self {
            store,
            public_key: keyring.audit_key().public_key(),
            removals: Removals::default(),
            front: 0,
        }
    }

    /// The first record that is still in the log; a statement that is damaged says nothing.
    pub(in crate::audit) async fn first(&self) -> Result<u64> {
        let front = removal::front(&mut { self.store }, self.public_key).await;
        Ok(front.ok().flatten().map_or(1, |front| front.first))
    }

    /// Whether nothing says why this record is not there.
    pub(super) async fn lacks(&mut self, sequence: u64) -> Result<bool> {
        let mut store = self.store;
        let told = self.removals.tell(&mut store, self.public_key, sequence);
        if told.await? || sequence < self.front {
            return Ok(false);
        }
        self.front = self.first().await?;
        Ok(sequence >= self.front)
    }

    /// The first of these, of which not even a block is there, where nothing says why.
    pub(in crate::audit) async fn hole(&self, records: Range<u64>) -> Result<Option<u64>> {
        if records.is_empty() {
            return Ok(None);
        }
        let first = self.first().await?.max(records.start);
        Ok(Some(first).filter(|first| *first < records.end))
    }
}
