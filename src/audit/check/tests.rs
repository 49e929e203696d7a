//! A log that the real sealer sealed, damaged in every way, and held to its checkpoints by the public key alone.

use std::{collections::BTreeMap, sync::Arc};

use super::*;
use crate::{
    audit::{log::Log, merkle, seal::Sealer},
    clock::{Clock, SystemTime},
    crypto::{entropy::OsEntropy, keyring::Keyring, tests::keyring},
    domain::{id::WorkspaceId, time::Timestamp},
    store::{
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
        let key = self.keyring.audit_key();
        while let Some(checkpoint) = sealer
            .step(&*self.store, key, Timestamp::from_millis(1_760_000_000_000))
            .await
            .unwrap()
        {
            made.push(checkpoint);
        }
        made
    }

    async fn opened(&self) -> Result<Sealer> {
        Sealer::open(&*self.store, self.keyring.audit_key().public_key()).await
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
    for at in [0, 1, 62, 63, 64, 149, 150, 1000, 2047, 2599] {
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
    assert!(foreign >= 5, "records of two workspaces were swapped");
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

#[tokio::test]
async fn a_log_that_was_cut_is_found_by_what_is_left_of_its_seals() {
    let (world, stored, kept) = sealed().await;
    let good = stored.parts();
    let cut = stored.with(&good[..2590].to_vec());
    assert_eq!(world.first(&cut, &[]).await, Some(2591));
    // With all the seals over what was cut, nothing in the folder tells; what was kept elsewhere does.
    let mut clean = stored.with(&good[..150].to_vec());
    for checkpoint in &kept[2..] {
        clean
            .0
            .remove(&key::checkpoint(checkpoint.statement().size));
    }
    assert_eq!(world.first(&clean, &[]).await, None);
    assert_eq!(world.first(&clean, &kept[..2]).await, None);
    assert_eq!(world.first(&clean, &kept[4..]).await, Some(151));
    // A checkpoint that is taken out is missed by the next.
    let mut dropped = stored.clone();
    dropped.0.remove(&key::checkpoint(150));
    let report = world.check(&dropped, &[]).await;
    assert!(
        report.faults[0].what.contains("does not follow"),
        "{report:?}"
    );
}

#[tokio::test]
async fn a_log_that_was_rolled_back_and_went_on_is_found_by_what_was_kept() {
    let world = World::new();
    world.write(150).await;
    world.seal().await;
    let before = world.memory.after_power_cut();
    world.write(60).await;
    let kept = world.seal().await;
    // The folder of yesterday, served again: it writes other records, and seals them.
    let clock = Arc::new(Clock::new(Arc::new(SystemTime), None));
    let last = before
        .dump()
        .into_iter()
        .rfind(|(at, _)| key::parse_audit(at).is_some())
        .unwrap();
    let log = Log::after(world.keyring.clone(), clock, Some((&last.0, &last.1))).unwrap();
    let again = World {
        store: Arc::new(before.clone().serve(Box::new(log))),
        memory: before,
        keyring: world.keyring.clone(),
        workspaces: world.workspaces,
    };
    again.write(90).await;
    again.seal().await;
    let stored = again.stored();
    assert_eq!(
        again.first(&stored, &[]).await,
        None,
        "in itself it is whole"
    );
    assert_eq!(
        again.first(&stored, &kept).await,
        Some(151),
        "the kept checkpoint follows on one that is still there"
    );
}

#[tokio::test]
async fn a_tree_that_does_not_fit_the_log_is_told_apart_from_a_log_that_does_not() {
    let (world, stored, _) = sealed().await;
    let mut tampered = stored.clone();
    let tile = tampered.0.get_mut(&key::tile(0, 3)).unwrap();
    let mut bytes = tile.to_vec();
    bytes[5 * 32] ^= 1;
    *tile = bytes.into();
    let report = world.check(&tampered, &[]).await;
    assert_eq!(report.faults.len(), 1);
    assert_eq!(report.faults[0].sequence, 3 * 64 + 6);
    assert!(report.faults[0].what.contains("stored tree"), "{report:?}");
    // Log and tree changed alike: the checkpoint tells that, and no more than its range.
    let mut parts = stored.parts();
    parts[200].1[0] ^= 1;
    let mut both = stored.with(&parts);
    let leaf = block::entries(&both.0[&key::audit(201)]).unwrap()[0]
        .leaf(201)
        .hash();
    let tile = both.0.get_mut(&key::tile(0, 3)).unwrap();
    let mut bytes = tile.to_vec();
    bytes[8 * 32..9 * 32].copy_from_slice(&leaf);
    *tile = bytes.into();
    assert_eq!(world.first(&both, &[]).await, Some(151));
    // Without the tree the range is told as well.
    let mut bare = stored.with(&parts);
    bare.0.retain(|at, _| key::parse_tile(at).is_none());
    assert_eq!(world.first(&bare, &[]).await, Some(151));
}

#[tokio::test]
async fn forged_checkpoints_are_refused() {
    let (world, stored, _) = sealed().await;
    let mut forged = stored.clone();
    let value = forged.0.get_mut(&key::checkpoint(150)).unwrap();
    let text = String::from_utf8(value[8..].to_vec())
        .unwrap()
        .replace("\n150\n", "\n151\n");
    *value = [&value[..8], text.as_bytes()].concat().into();
    let report = world.check(&forged, &[]).await;
    assert!(report.faults[0].what.contains("signature"), "{report:?}");
    // Another vault's key finds nothing of its own.
    let question = Question::default();
    let report = log(&mut stored.clone(), &[7; 32], question).await.unwrap();
    assert!(
        report
            .faults
            .iter()
            .all(|fault| fault.what.contains("another vault")),
        "{report:?}"
    );
    assert_eq!(report.proven, 0);
}

#[tokio::test]
async fn a_range_is_read_from_the_checkpoint_before_it() {
    let (world, stored, _) = sealed().await;
    let key = world.keyring.audit_key().public_key();
    for (from, to, first, last) in [
        (1, Some(100), 1, 100),
        (151, Some(160), 151, 160),
        (400, None, 151, 2607),
    ] {
        let question = Question {
            from,
            to,
            kept: Vec::new(),
        };
        let report = log(&mut stored.clone(), key, question.clone())
            .await
            .unwrap();
        assert_eq!(
            (report.first, report.last, report.faults.len()),
            (first, last, 0),
            "{report:?}"
        );
        let mut parts = stored.parts();
        parts[from as usize - 1].1[0] ^= 1;
        let report = log(&mut stored.with(&parts), key, question).await.unwrap();
        assert_eq!(report.faults[0].sequence, from, "{report:?}");
    }
}

#[tokio::test]
async fn the_sealer_goes_on_after_a_stop_and_refuses_a_log_that_was_changed() {
    let world = World::new();
    for records in [5, 1, 3000] {
        world.write(records).await;
        world.seal().await;
    }
    assert_eq!(world.first(&world.stored(), &[]).await, None);
    // Every record that a restart looks at again.
    for sequence in [2_500, 3_006] {
        let stored = world.stored();
        let mut parts = stored.parts();
        parts[sequence - 1].1[0] ^= 1;
        let error = leaves(&mut stored.with(&parts), 1983..=3006)
            .await
            .unwrap_err();
        let why = reason(&error);
        assert_eq!(
            why,
            format!("record {sequence} is not the one that was sealed")
        );
    }
    let short = Stored(
        world
            .stored()
            .0
            .into_iter()
            .filter(|(at, _)| key::parse_audit(at) < Some(3000))
            .collect(),
    );
    assert!(leaves(&mut short.clone(), 1983..=3006).await.is_err());
}

#[tokio::test]
async fn proofs_from_the_store_hold() {
    let (world, stored, kept) = sealed().await;
    let read = &mut stored.clone();
    let public = world.keyring.audit_key().public_key();
    for (sequence, size) in [(1, 1), (1, 2600), (2600, 2600), (64, 150), (1024, 2600)] {
        let workspace = stored.parts()[sequence as usize - 1].0;
        let proof = proof::inclusion(read, &world.keyring, workspace, sequence, size)
            .await
            .unwrap()
            .unwrap();
        let leaf = proof.leaf.hash();
        assert!(merkle::included(
            &leaf,
            sequence - 1,
            size,
            &proof.path,
            &proof.root
        ));
        let checkpoint = proof.checkpoint.expect("it is the size of one");
        assert_eq!(checkpoint.statement().root, proof.root);
        // Another workspace's record, and one behind the tree, are not there.
        for (workspace, sequence) in [(WorkspaceId::SYSTEM, sequence), (workspace, size + 1)] {
            let none = proof::inclusion(read, &world.keyring, workspace, sequence, size).await;
            assert!(none.unwrap().is_none());
        }
    }
    for (old, new) in kept.iter().zip(&kept[1..]) {
        let (from, to) = (old.statement(), new.statement());
        let proof = proof::consistency(read, public, from.size, to.size)
            .await
            .unwrap();
        assert!(merkle::consistent(
            (from.size, &from.root),
            (to.size, &to.root),
            &proof.path
        ));
        assert_eq!((proof.from.1, proof.to.1), (from.root, to.root));
    }
    let (page, total) = proof::page(read, public, true, None, 2).await.unwrap();
    let sizes = |page: &[proof::Numbered]| {
        page.iter()
            .map(|one| one.checkpoint.statement().size)
            .collect::<Vec<_>>()
    };
    assert_eq!(total, 5);
    assert_eq!(sizes(&page)[0], 2600);
    let (rest, _) = proof::page(read, public, true, Some(sizes(&page)[1]), 9)
        .await
        .unwrap();
    assert_eq!(sizes(&rest).len(), 3);
    assert_eq!(sizes(&rest)[2], 1);
}
