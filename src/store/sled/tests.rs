//! What sled on disk promises beyond the store's contract: its folder, its pieces, its syncs, and that it
//! survives damage without a panic and without a wrong answer.

mod chunks;
mod damage;
mod folder;
mod hostile;
mod journal;
mod packs;
mod power;
mod sync;

use std::path::Path;

use super::{Sled, SledOptions};
use crate::{
    domain::error::Result,
    store::{
        local::LocalStore,
        port::{AuditEntry, AuditLog, Key, LockKey, Store, Value},
    },
};

/// A log that keeps nothing.
struct NoLog;

impl AuditLog for NoLog {
    fn place(&mut self, _: &[AuditEntry]) -> Result<Vec<(Key, Value)>> {
        Ok(Vec::new())
    }
}

const LOCK: LockKey = LockKey {
    space: 1,
    id: [0; 16],
};

fn options(reserve_bytes: u64) -> SledOptions {
    SledOptions {
        cache_bytes: 1 << 20,
        reserve_bytes,
    }
}

fn open(data_dir: &Path) -> Result<Sled> {
    Sled::open(data_dir, &options(0))
}

fn serve(data_dir: &Path) -> LocalStore<Sled> {
    open(data_dir).unwrap().serve(Box::new(NoLog)).unwrap()
}

async fn put(store: &dyn Store, key: &[u8], value: &[u8]) {
    let mut txn = store.begin(&[LOCK]).await.unwrap();
    txn.put(key[..].into(), value.to_vec()).unwrap();
    txn.commit(Vec::new()).await.unwrap();
}
