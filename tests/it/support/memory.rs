//! A vault over the store in memory.

use std::sync::Arc;

use leasehold::{
    clock::TimeSource,
    crypto::{entropy::OsEntropy, keyring::Keyring, root::RootKey},
    domain::time::Timestamp,
    engine::Unsealed,
    store::{local::Backend, memory::Memory},
    tables::{self, Header, Unseal},
};

/// A vault that was set up and is not served yet, with its memory.
pub fn set_up(time: Arc<dyn TimeSource>) -> (Memory, Unsealed) {
    let root = RootKey::generate(&OsEntropy).unwrap();
    let keyring = Keyring::new(&root, Arc::new(OsEntropy)).unwrap();
    let header = Header {
        created_at: Timestamp::from_millis(1_800_000_000_000),
        unseal: Unseal::KeyFile,
        check: keyring.seal_check().unwrap(),
    };
    let memory = Memory::default();
    let first = tables::first_writes(&header, &keyring).unwrap().into_iter();
    let first = first.map(|(key, value)| (key, Some(value.into())));
    memory.apply(&first.collect()).unwrap();
    memory.sync().unwrap();
    let unsealed = Unsealed::read(&memory, &header, &root, Arc::new(OsEntropy), time).unwrap();
    (memory, unsealed)
}
