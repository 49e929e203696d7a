//! The adapters under the contract: the engine in memory and sled on disk, each through its own way of serving
//! at the end.

use std::{fs, path::Path};

use super::{Harness, Numbering, in_time, lock, record};
use crate::store::{
    memory::Memory,
    port::{Health, Store},
    sled::{Sled, SledOptions},
};

/// A folder of its own under the system's temporary folder; gone with the guard.
pub(in crate::store) struct TempDir(tempfile::TempDir);

impl TempDir {
    pub(in crate::store) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(in crate::store) fn path(&self) -> &Path {
        self.0.path()
    }

    /// A copy of all that is in the folder now.
    pub(in crate::store) fn copied(&self) -> Self {
        let copy = Self::new();
        copy_folder(self.path(), copy.path());
        copy
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The engine in memory.
pub(super) struct InMemory(Memory);

impl Harness for InMemory {
    type Engine = Memory;

    fn new() -> Self {
        Self(Memory::default())
    }

    fn open(&self) -> Memory {
        self.0.clone()
    }

    fn after_power_cut(&self) -> Self {
        Self(self.0.after_power_cut())
    }
}

/// sled in a folder.
pub(super) struct OnDisk(TempDir);

impl Harness for OnDisk {
    type Engine = Sled;

    fn new() -> Self {
        Self(TempDir::new())
    }

    fn open(&self) -> Sled {
        let options = SledOptions {
            cache_bytes: 1 << 20,
            reserve_bytes: 0,
        };
        Sled::open(self.0.path(), &options).unwrap()
    }

    /// What the system was given by now. That the disk was given it too is what `sled/tests/sync` shows.
    fn after_power_cut(&self) -> Self {
        Self(self.0.copied())
    }
}

async fn round_trip(store: &dyn Store) {
    let mut txn = store.begin(&[lock(1)]).await.unwrap();
    txn.put(b"\x01key"[..].into(), b"value".to_vec()).unwrap();
    txn.commit(vec![record(b"done")]).await.unwrap();
    let value = store.get(b"\x01key").await.unwrap();
    assert_eq!(value.as_deref(), Some(&b"value"[..]));
    let logged = store.get(&Numbering::key(1)).await.unwrap();
    assert_eq!(logged.as_deref(), Some(&b"done"[..]));
    store.close().await.unwrap();
    assert_eq!(store.health(), Health::Closed);
}

#[tokio::test]
async fn memory_serves_by_itself() {
    let memory = Memory::default();
    let store = memory.clone().serve(Box::new(Numbering::default()));
    in_time(round_trip(&store)).await;
    let left = memory.after_power_cut().dump();
    assert_eq!(left, memory.dump());
    assert_eq!(left.len(), 2);
}

#[tokio::test]
async fn sled_serves_by_itself() {
    let disk = OnDisk::new();
    let store = disk.open().serve(Box::new(Numbering::default())).unwrap();
    in_time(round_trip(&store)).await;
    drop(store);
    let value = disk.open().read(b"\x01key").unwrap();
    assert_eq!(value.as_deref(), Some(&b"value"[..]));
}
