//! Ranges, restarts, and proofs from the store.

use super::*;
use crate::audit::merkle;

#[tokio::test]
async fn a_range_is_read_from_the_checkpoint_before_it_to_the_one_behind_it() {
    let (world, stored, kept) = sealed().await;
    let third = kept[2].statement().size;
    let key = world.keyring.audit_key().public_key();
    for (from, to, first, last) in [
        (1, Some(100), 1, 150),
        (151, Some(160), 151, third),
        (2500, Some(2605), kept[3].statement().size + 1, 2605),
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
    // A kept checkpoint is never out of the range.
    let question = Question {
        from: 2000,
        to: Some(2000),
        kept: vec![kept[1].clone(), kept[4].clone()],
    };
    let report = log(&mut stored.clone(), key, question).await.unwrap();
    assert_eq!((report.first, report.last), (2, 2600), "{report:?}");
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
