//! Disk and memory stay bounded under churn, once retention has passed.

use std::path::Path;

use super::*;
use crate::{
    domain::retention::AuditRetention,
    engine::{Opened, Unlocked},
    store::sled::{Sled, SledOptions},
};

fn disk(folder: &Path) -> u64 {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        bytes += match kind.is_dir() {
            true => disk(&entry.path()),
            false => std::os::unix::fs::MetadataExt::blocks(&entry.metadata().unwrap()) * 512,
        };
    }
    bytes
}

/// Cycles of issue and release in one round, and rounds.
const CYCLES: usize = 1_000;
const ROUNDS: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn cycles_of_leases_leave_a_store_of_bounded_size() {
    let long = std::env::var_os("LEASEHOLD_LONG").is_some();
    let (cycles, rounds) = if long { (20_000, 30) } else { (CYCLES, ROUNDS) };
    let folder = tempfile::tempdir().unwrap();
    let clocks = Arc::new(Clocks(AtomicI64::new(1_800_000_000_000)));
    let root = RootKey::generate(&OsEntropy).unwrap();
    let options = SledOptions {
        cache_bytes: 64 * 1024 * 1024,
        reserve_bytes: 0,
    };
    let sled = Sled::open(folder.path(), &options).unwrap();
    let Opened::Empty(new) = Opened::read(sled).unwrap() else {
        panic!("an empty folder holds a vault");
    };
    let entropy = Arc::new(OsEntropy);
    let unlocked: Unlocked = new
        .initialise(&root, Unseal::KeyFile, entropy.clone(), &*clocks)
        .unwrap();
    let engine = unlocked
        .serve(&root, entropy, clocks.clone(), NamedPolicies::default())
        .await
        .unwrap()
        .retaining(Retention {
            closed_leases: hours(1),
            audit: AuditRetention {
                ages: [Some(hours(1)); 4],
                ..AuditRetention::default()
            },
        });
    let name = WorkspaceName::parse("default", "name").unwrap();
    let workspace = engine.create_workspace(&name).await.unwrap();
    let owner = admitted(&engine, workspace).await;
    let world = Arc::new(World {
        memory: Memory::default(),
        header: Header {
            created_at: engine.now(),
            unseal: Unseal::KeyFile,
            check: Vec::new(),
        },
        left: Arc::default(),
        clocks,
        root,
        engine,
        owner,
        workspace,
    });
    let credential = world.store("a").await;
    let mut sizes = Vec::new();
    for _ in 0..rounds {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let (world, credential) = (world.clone(), credential.clone());
            tasks.spawn(async move {
                for _ in 0..cycles / 50 {
                    let lease = world.lease(&credential, 600).await;
                    world.release(lease).await;
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        while world.engine.seal_next().await.unwrap() {}
        world.pass(2 * HOUR);
        let mut removed = 0;
        loop {
            let some = world.engine.retain().await.unwrap();
            if some.leases + some.records == 0 {
                break;
            }
            removed += some.leases;
        }
        assert_eq!(removed as usize, cycles / 50 * 50);
        // A checkpoint of the store, so that what is free can be used again: it begins within a second, and is over when
        // nothing grows any more.
        let mut size = 0;
        loop {
            tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
            let now = disk(folder.path());
            if now == size {
                break;
            }
            size = now;
        }
        sizes.push(size);
    }
    #[expect(clippy::print_stdout, reason = "the figures of the long form")]
    if long {
        println!("disk after each round of {cycles} cycles: {sizes:?}");
    }
    let (early, late) = (sizes[rounds / 2 - 1], sizes[rounds - 1]);
    assert!(
        late < early + early / 2,
        "the store grows without end: {sizes:?}"
    );
    assert_eq!(world.findings().await, [""; 0]);
    world.engine.shut_down().await.unwrap();
}
