//! What the seals that are left, and those that were kept elsewhere, tell.

use super::*;

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

// INVARIANT (audit-tamper)
#[tokio::test]
async fn nothing_is_sealed_that_the_vault_did_not_write() {
    let world = World::new();
    world.write(150).await;
    world.seal().await;
    world.write(60).await;
    world.seal().await;
    // The newest seal is taken away, and what lay under it changed.
    let dump = world.memory.dump().into_iter();
    let (at, block) = dump
        .filter(|(at, _)| key::parse_audit(at).is_some_and(|first| first > 150))
        .nth(3)
        .unwrap();
    let first = key::parse_audit(&at).unwrap();
    let put = |changes: &[(Key, Option<Value>)]| {
        world
            .memory
            .apply(&changes.iter().cloned().collect())
            .unwrap();
        world.memory.sync().unwrap();
    };
    put(&[(key::checkpoint(210), None)]);
    assert!(world.opened().await.is_ok(), "all of it is the vault's own");
    let entries = block::entries(&block).unwrap();
    let last = first + entries.len() as u64 - 1;
    let mut edited = block.to_vec();
    *edited.last_mut().unwrap() ^= 1;
    let mut other = block.to_vec();
    // The digest of the first record, behind the format and its workspace.
    other[1 + 16] ^= 1;
    let mut removed = block::Builder::new(block.len());
    for (sequence, entry) in (first..).zip(&entries) {
        match sequence == last {
            true => removed.push_removed(&entry.leaf(sequence)),
            false => removed.push_entry(sequence, entry).unwrap(),
        }
    }
    for (changed, sequence) in [(edited, last), (other, first), (removed.finish(), last)] {
        put(&[(at.clone(), Some(changed.into()))]);
        let refused = world.opened().await.err().unwrap();
        let told = reason(&refused);
        let expected = format!("record {sequence} waits for its seal and gets none: ");
        assert!(told.starts_with(&expected), "{told}");
    }
    put(&[(at, Some(block.clone()))]);
    assert!(world.opened().await.is_ok());
}

// INVARIANT (audit-tamper)
#[tokio::test]
async fn a_checkpoint_is_followed_by_one_alone() {
    let world = World::new();
    world.write(30).await;
    let (mut one, mut other) = (world.opened().await.unwrap(), world.opened().await.unwrap());
    let time = Timestamp::from_millis(1_760_000_000_000);
    let made = one.step(&*world.store, &world.keyring, time).await.unwrap();
    assert_eq!(made.unwrap().statement().size, 30);
    world.write(30).await;
    let refused = other.step(&*world.store, &world.keyring, time).await;
    assert!(reason(&refused.unwrap_err()).contains("another checkpoint"));
    world.seal().await;
    assert_eq!(world.first(&world.stored(), &[]).await, None);
}

// INVARIANT (audit-tamper)
#[tokio::test]
async fn a_long_tail_without_a_checkpoint_is_told() {
    let world = World::new();
    world.write(150).await;
    world.seal().await;
    world.write(MAX_UNSEALED).await;
    assert_eq!(world.first(&world.stored(), &[]).await, None);
    world.write(1).await;
    let stored = world.stored();
    let report = world.check(&stored, &[]).await;
    assert_eq!(report.faults.len(), 1, "{report:?}");
    assert_eq!((report.faults[0].sequence, report.proven), (151, 150));
    world.seal().await;
    assert_eq!(world.first(&world.stored(), &[]).await, None);
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
