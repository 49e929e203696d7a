//! What the records cannot tell is found, named and left alone.

use leasehold::domain::{
    credential::Author,
    id::KeyId,
    principal::{IdentityState, IdentityType, ProofId, Suspension, Unfinished},
    workspace::{Everywhere, Stop},
};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_the_records_cannot_tell_is_found_and_left_alone() {
    let patient = patient().await;
    let id = patient.credential;
    let credential = id.to_string();
    let [old, new, _] = patient.leases;
    let version = |number: u32| format!("{id} version {number}");
    let (unreadable, authentic) = ("unreadable", "is not authentic");

    let damaged = patient
        .damaged("records", async |vault| {
            vault.damage(&key::lease(vault.workspace, old), 60).await;
            vault
                .damage(&key::credential(vault.workspace, id), 30)
                .await;
            vault.damage(&key::value(vault.workspace, id, 2), 90).await;
            // The format of a sealed record is its first byte; of a lease it stands behind the credential's id.
            vault.damage(&key::version(vault.workspace, id, 1), 0).await;
            let (at, _) = vault.pairs(Table::FirstAnswer).await.remove(0);
            vault.damage(&at, 50).await;
        })
        .await;
    let found = doctor(&damaged, &patient.made.key_file, &["--json"]).stdout;
    let answer = found
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .find(|line| text(line, "object").starts_with("FirstAnswer"));
    let expected = [
        (
            unreadable,
            old.to_string(),
            "a Lease record is not authentic",
            false,
        ),
        (
            unreadable,
            credential.clone(),
            "a Credential record is not authentic",
            false,
        ),
        (
            unreadable,
            version(2),
            "a Value record is not authentic",
            false,
        ),
        (
            unreadable,
            version(1),
            "unknown format 65 of a Version record",
            false,
        ),
        (
            unreadable,
            text(&answer.unwrap(), "object"),
            authentic,
            false,
        ),
        // The lease that cannot be read cannot be counted, and nothing is rebuilt that might be wrong.
        (
            "counter",
            version(1),
            "counts 1 reveal and 0 broker leases, and 0 and 0",
            false,
        ),
        (
            "counter",
            credential.clone(),
            "counts 2 open leases, and 1 are open",
            false,
        ),
        (
            "state",
            version(1),
            "has no open lease, and is not retired",
            false,
        ),
    ];
    patient.diagnosis(&damaged, &expected);

    let moved = patient
        .damaged("moved", async |vault| {
            let ledgers = vault.pairs(Table::Ledger).await;
            let [(_, one), (at, _)] = &ledgers[..] else {
                panic!("two ledgers")
            };
            vault.write(at, Some(one)).await;
        })
        .await;
    let surgery = Surgery::open(&moved, &patient.made.key_file).await;
    let (at, _) = surgery.pairs(Table::Ledger).await.remove(1);
    let (_, other) = key::parse_credential(&at).unwrap();
    surgery.store.close().await.unwrap();
    drop(surgery);
    let what = "a Ledger record is not authentic";
    patient.diagnosis(&moved, &[(unreadable, other.to_string(), what, false)]);

    let orphans = patient
        .damaged("orphans", async |vault| {
            vault
                .write(&key::credential(vault.workspace, id), None)
                .await;
            let agent = vault.pairs(Table::Identity).await.pop().unwrap();
            vault.write(&agent.0, None).await;
            vault.write(&[0x42, 1, 2], Some(b"stray")).await;
        })
        .await;
    let found: Vec<Value> = doctor(&orphans, &patient.made.key_file, &["--json"])
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let about = |kind: &str, words: &str| -> Vec<String> {
        let fits = |one: &&Value| one["kind"] == kind && text(one, "what").contains(words);
        found
            .iter()
            .filter(fits)
            .map(|one| text(one, "object"))
            .collect()
    };
    assert_eq!(
        about("orphan", "a ledger without a credential"),
        [credential.as_str()]
    );
    assert_eq!(
        about("orphan", "a version without a credential"),
        [version(1), version(2)]
    );
    let mut without = about("orphan", "is open, and its credential");
    without.sort();
    let mut open = [old.to_string(), new.to_string()];
    open.sort();
    assert_eq!(without, open);
    assert_eq!(about("orphan", "is for the identity idn_").len(), 1);
    assert_eq!(about("orphan", "keys begin with 42"), ["the store"]);
    assert_eq!(about("index", "leads to nothing that bears it").len(), 2);

    let version_gone = patient
        .damaged("version-gone", async |vault| {
            vault
                .write(&key::version(vault.workspace, id, 1), None)
                .await;
        })
        .await;
    let expected = [
        ("orphan", version(1), "a value without a version", false),
        ("state", version(1), "has no record", false),
    ];
    patient.diagnosis(&version_gone, &expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_held_to_its_numbers_seals_and_order() {
    let patient = patient().await;
    let log = async |name: &str, damage: &dyn Fn(&mut Blocks)| {
        patient
            .damaged(name, async |vault| {
                let blocks = vault.pairs(Table::Audit).await;
                let mut after: Blocks = blocks
                    .iter()
                    .map(|(at, b)| (at.clone(), b.to_vec()))
                    .collect();
                assert!(after.len() > 8);
                damage(&mut after);
                for (at, _) in &blocks {
                    vault.write(at, None).await;
                }
                for (at, block) in &after {
                    vault.write(at, Some(block)).await;
                }
            })
            .await
    };
    let record = |sequence: u64| format!("audit record {sequence}");
    let first = |blocks: &[(Key, Vec<u8>)], at: usize| key::parse_audit(&blocks[at].0).unwrap();
    let places = std::sync::Mutex::new((0, 0));
    let gap = log("gap", &|blocks| {
        *places.lock().unwrap() = (first(blocks, 3), first(blocks, 4));
        drop(blocks.remove(3));
    })
    .await;
    let (from, to) = *places.lock().unwrap();
    let what = format!("records {from} to {} are missing", to - 1);
    patient.diagnosis(&gap, &[("audit", record(from), &what, false)]);

    let beginning = log("beginning", &|blocks| {
        *places.lock().unwrap() = (1, first(blocks, 1));
        drop(blocks.remove(0));
    })
    .await;
    let (_, to) = *places.lock().unwrap();
    let what = format!("records 1 to {} are missing", to - 1);
    patient.diagnosis(&beginning, &[("audit", record(1), &what, false)]);

    // A digest, a seal, the numbers of a block, and two records that changed places.
    let digest = log("digest", &|blocks| blocks[5].1[1 + 16] ^= 1).await;
    let at = {
        let surgery = Surgery::open(&digest, &patient.made.key_file).await;
        let blocks = surgery.pairs(Table::Audit).await;
        surgery.store.close().await.unwrap();
        key::parse_audit(&blocks[5].0).unwrap()
    };
    let what = "the record does not fit its digest";
    patient.diagnosis(&digest, &[("audit", record(at), what, false)]);
    let sealed = log("sealed", &|blocks| *blocks[5].1.last_mut().unwrap() ^= 1).await;
    let found = doctor(&sealed, &patient.made.key_file, &[]);
    assert_eq!(found.code, Some(1), "{found:?}");
    assert!(found.stdout.contains("audit: audit record"), "{found:?}");
    assert!(
        found.stdout.contains("a Audit record is not authentic"),
        "{found:?}"
    );
    let torn = log("torn", &|blocks| blocks[5].1.truncate(20)).await;
    let found = doctor(&torn, &patient.made.key_file, &[]);
    assert!(
        found.stdout.contains("an audit block is damaged"),
        "{found:?}"
    );
    let swapped = log("swapped", &|blocks| {
        let (one, other) = (blocks[5].1.clone(), blocks[6].1.clone());
        (blocks[5].1, blocks[6].1) = (other, one);
    })
    .await;
    let found = doctor(&swapped, &patient.made.key_file, &["--json"]);
    assert_eq!(found.code, Some(1));
    assert!(found.stdout.lines().count() >= 3, "{found:?}");
}

// INVARIANT (stop-is-complete)
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_outlived_a_stop_is_found() {
    let patient = patient().await;
    let [old, new, _] = patient.leases;
    let suspend = async |vault: &Surgery, unfinished| {
        let mut txn = vault.store.begin(&[]).await.unwrap();
        let all = vault.tables().identities(&mut txn).await.unwrap();
        let mut agent = all
            .into_iter()
            .find(|identity| identity.kind == IdentityType::Agent)
            .unwrap();
        agent.state = IdentityState::Suspended(Suspension {
            since: agent.created_at,
            by: Some(Author {
                identity: agent.id,
                name: agent.name.clone(),
            }),
            reason: None,
            unfinished,
        });
        vault.tables().put_identity(&mut *txn, &agent).unwrap();
        txn.commit(Vec::new()).await.unwrap();
    };
    let suspended = patient
        .damaged("suspended", async |vault| suspend(vault, None).await)
        .await;
    let what = "suspended or deleted";
    let expected = [
        ("state", old.to_string(), what, false),
        ("state", new.to_string(), what, false),
    ];
    patient.diagnosis(&suspended, &expected);
    // One that a crash cut short is the next start's to finish.
    let unfinished = patient
        .damaged("unfinished", async |vault| {
            suspend(vault, Some(Unfinished::Sweep)).await;
        })
        .await;
    let ended = doctor(&unfinished, &patient.made.key_file, &[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");

    let stopped = patient
        .damaged("stopped", async |vault| {
            let system = Tables::of(&vault.keyring, WorkspaceId::SYSTEM).unwrap();
            let mut txn = vault.store.begin(&[]).await.unwrap();
            let found = system.workspace(&mut txn, vault.workspace).await.unwrap();
            let mut workspace = found.unwrap();
            workspace.stop = Some(Stop {
                until: Timestamp::from_millis(u64::MAX),
                spared: [ProofId::Key(KeyId::from_bytes([1; 16])); 2],
                unfinished: false,
                everywhere: Everywhere::Covered,
            });
            system.put_workspace(&mut *txn, &workspace).unwrap();
            txn.commit(Vec::new()).await.unwrap();
        })
        .await;
    let what = "everything in its workspace was stopped";
    let expected = [
        ("state", old.to_string(), what, false),
        ("state", new.to_string(), what, false),
    ];
    patient.diagnosis(&stopped, &expected);
}
