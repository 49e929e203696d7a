//! A log that the real sealer sealed, damaged in every way, and held to its checkpoints by the public key alone.

mod seals;
mod stored;

use std::{collections::BTreeMap, sync::Arc};

use super::*;
use crate::{
    audit::{log::Log, seal::Sealer},
    clock::{Clock, SystemTime},
    crypto::{entropy::OsEntropy, keyring::Keyring, tests::keyring},
    domain::{id::WorkspaceId, time::Timestamp},
    store::{
        local::Backend,
        memory::Memory,
        port::{AuditEntry, Boxed, Key, Store, Value},
    },
    tables,
};

/// What is stored, as a table that can be tampered with.
#[derive(Clone, Default)]
struct Stored(BTreeMap<Key, Value>);

impl Read for Stored {
    fn get<'a>(&'a mut self, key: &'a [u8]) -> Boxed<'a, Result<Option<Value>>> {
        Box::pin(std::future::ready(Ok(self.0.get(key).cloned())))
    }

    fn range<'a>(&'a mut self, scan: &'a Scan) -> Boxed<'a, Result<Vec<(Key, Value)>>> {
        let inside = self
            .0
            .iter()
            .filter(|(at, _)| **at >= scan.start && **at < scan.end);
        let pairs = inside.map(|(at, value)| (at.clone(), value.clone()));
        let limit = scan.limit.min(1024);
        Box::pin(std::future::ready(Ok(match scan.reverse {
            true => pairs.rev().take(limit).collect(),
            false => pairs.take(limit).collect(),
        })))
    }
}

struct World {
    memory: Memory,
    store: Arc<dyn Store>,
    keyring: Arc<Keyring>,
    workspaces: [WorkspaceId; 2],
}

impl World {
    fn new() -> Self {
        let keyring = Arc::new(keyring(Arc::new(OsEntropy)));
        let workspaces = [1, 2].map(|byte| WorkspaceId::from_bytes([byte; 16]));
        for workspace in workspaces.into_iter().chain([WorkspaceId::SYSTEM]) {
            tables::unlock_new(&keyring, workspace).unwrap();
        }
        let clock = Arc::new(Clock::new(Arc::new(SystemTime), None));
        let log = Log::after(keyring.clone(), clock, None).unwrap();
        let memory = Memory::default();
        Self {
            store: Arc::new(memory.clone().serve(Box::new(log))),
            memory,
            keyring,
            workspaces,
        }
    }

    /// Writes records, three to a commit, of both workspaces by turns.
    async fn write(&self, records: u64) {
        let mut left: Vec<_> = (0..records).collect();
        while !left.is_empty() {
            let group = left.drain(..left.len().min(3)).map(|number| AuditEntry {
                workspace: self.workspaces[(number % 2) as usize],
                record: format!("record {number} {}", "x".repeat(200)).into_bytes(),
            });
            let txn = self.store.begin(&[]).await.unwrap();
            txn.commit(group.collect()).await.unwrap();
        }
    }

    async fn seal(&self) -> Vec<Checkpoint> {
        let mut made = Vec::new();
        let mut sealer = self.opened().await.unwrap();
        while let Some(checkpoint) = sealer
            .step(
                &*self.store,
                &self.keyring,
                Timestamp::from_millis(1_760_000_000_000),
            )
            .await
            .unwrap()
        {
            made.push(checkpoint);
        }
        made
    }

    async fn opened(&self) -> Result<Sealer> {
        Sealer::open(&*self.store, &self.keyring).await
    }

    fn stored(&self) -> Stored {
        Stored(self.memory.dump().into_iter().collect())
    }

    async fn check(&self, stored: &Stored, kept: &[Checkpoint]) -> Report {
        let question = Question {
            kept: kept.to_vec(),
            ..Question::default()
        };
        let key = self.keyring.audit_key().public_key();
        log(&mut stored.clone(), key, question).await.unwrap()
    }

    /// The first bad record.
    async fn first(&self, stored: &Stored, kept: &[Checkpoint]) -> Option<u64> {
        let report = self.check(stored, kept).await;
        report.faults.first().map(|fault| fault.sequence)
    }
}

/// The entries of a log, apart, to be put together again.
type Parts = Vec<(WorkspaceId, Hash, Vec<u8>)>;

impl Stored {
    fn parts(&self) -> Parts {
        let mut parts = Vec::new();
        for (_, block) in self
            .0
            .iter()
            .filter(|(at, _)| key::parse_audit(at).is_some())
        {
            for entry in block::entries(block).unwrap() {
                parts.push((entry.workspace, entry.content, entry.sealed.to_vec()));
            }
        }
        parts
    }

    /// The same store with another log, well formed.
    fn with(&self, parts: &Parts) -> Self {
        let mut stored = self.clone();
        stored.0.retain(|at, _| key::parse_audit(at).is_none());
        for (at, (workspace, content, sealed)) in parts.iter().enumerate() {
            let mut block = block::Builder::new(64);
            block.push(*workspace, content, sealed).unwrap();
            stored
                .0
                .insert(key::audit(at as u64 + 1), block.finish().into());
        }
        stored
    }
}

/// 2,600 records under five checkpoints, and seven that wait for theirs.
async fn sealed() -> (World, Stored, Vec<Checkpoint>) {
    let world = World::new();
    let mut kept = Vec::new();
    for records in [1, 149, 2450] {
        world.write(records).await;
        kept.extend(world.seal().await);
    }
    world.write(7).await;
    let stored = world.stored();
    (world, stored, kept)
}

#[tokio::test]
async fn a_log_that_nobody_touched_holds() {
    let (world, stored, kept) = sealed().await;
    let sizes: Vec<_> = kept.iter().map(|one| one.statement().size).collect();
    assert_eq!(sizes[..2], [1, 150]);
    assert_eq!((sizes.len(), sizes.last()), (5, Some(&2600)));
    for kept in [&kept[..], &[]] {
        let report = world.check(&stored, kept).await;
        assert_eq!(report.faults, []);
        assert_eq!((report.first, report.last, report.records), (1, 2607, 2607));
        assert_eq!((report.checkpoints, report.proven), (5, 2600));
    }
    // However the records lie in blocks.
    assert_eq!(
        world.first(&stored.with(&stored.parts()), &kept).await,
        None
    );
    assert!(world.opened().await.is_ok());
}

// INVARIANT (audit-tamper): with the public key alone, and the first bad record is named.
#[tokio::test]
async fn every_change_of_a_sealed_record_is_found_and_named() {
    let (world, stored, kept) = sealed().await;
    let good = stored.parts();
    let first = async |parts: &Parts| world.first(&stored.with(parts), &[]).await;

    let mut foreign = 0;
    for at in [0, 63, 64, 150, 1000, 2599] {
        let number = at as u64 + 1;
        let mut edited = good.clone();
        *edited[at].2.last_mut().unwrap() ^= 1;
        assert_eq!(
            first(&edited).await,
            Some(number),
            "a byte of the ciphertext"
        );
        let mut edited = good.clone();
        edited[at].1[0] ^= 1;
        assert_eq!(first(&edited).await, Some(number), "a byte of the digest");
        let mut edited = good.clone();
        edited[at].0 = WorkspaceId::SYSTEM;
        assert_eq!(first(&edited).await, Some(number), "its workspace");
        let mut deleted = good.clone();
        deleted.remove(at);
        assert_eq!(
            first(&deleted).await,
            Some(number),
            "the record, those behind it moved up"
        );
        let mut inserted = good.clone();
        inserted.insert(at, (world.workspaces[0], [7; 32], vec![7; 200]));
        assert_eq!(first(&inserted).await, Some(number), "another one put in");
        let mut swapped = good.clone();
        swapped.swap(at, at + 1);
        let of_two = swapped[at].0 != good[at].0;
        foreign += usize::from(of_two);
        assert_eq!(first(&swapped).await, Some(number), "its place");
    }
    assert!(foreign >= 3, "records of two workspaces were swapped");
    let mut two = good.clone();
    two[10].1[0] ^= 1;
    two[2000].1[0] ^= 1;
    let report = world.check(&stored.with(&two), &kept).await;
    let named: Vec<_> = report.faults.iter().map(|fault| fault.sequence).collect();
    assert_eq!(named, [11, 2001], "{report:?}");
    assert_eq!(report.records, 2607, "the rest is looked at too");
    // What is not sealed yet is nobody's word.
    let mut edited = good.clone();
    edited[2603].1[0] ^= 1;
    assert_eq!(first(&edited).await, None);
}

#[tokio::test]
async fn missing_blocks_are_named() {
    let (world, stored, _) = sealed().await;
    let blocks: Vec<_> = stored
        .0
        .keys()
        .filter_map(|at| key::parse_audit(at))
        .collect();
    for at in [0, 1, 40, blocks.len() - 10] {
        let mut gap = stored.clone();
        gap.0.remove(&key::audit(blocks[at]));
        assert_eq!(world.first(&gap, &[]).await, Some(blocks[at]));
        let mut torn = stored.clone();
        let block = torn.0.get_mut(&key::audit(blocks[at])).unwrap();
        *block = block[..block.len() - 1].into();
        assert_eq!(world.first(&torn, &[]).await, Some(blocks[at]));
        let mut twice = stored.clone();
        let block = twice.0[&key::audit(blocks[at])].clone();
        twice.0.insert(key::audit(blocks[at] + 1), block);
        assert!(world.first(&twice, &[]).await.is_some(), "{at}");
    }
}
