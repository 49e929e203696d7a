//! What follows from the records is mended, and written down.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn counters_and_indexes_are_rebuilt_from_the_records() {
    let patient = patient().await;
    let id = patient.credential;
    let [old, new, closed] = patient.leases;
    let credential = id.to_string();
    let version = |number: u32| format!("{id} version {number}");

    let counters = patient
        .damaged("counters", async |vault| {
            vault
                .ledger(id, |ledger| {
                    ledger.active = 7;
                    ledger.versions[0].reveal = 3;
                    ledger.versions[1].reveal = 0;
                })
                .await;
        })
        .await;
    let expected = [
        (
            "counter",
            version(1),
            "counts 3 reveal and 0 broker leases, and 1 and 0",
            true,
        ),
        ("counter", version(2), "counts 0 reveal", true),
        (
            "counter",
            credential.clone(),
            "counts 7 open leases, and 2 are open",
            true,
        ),
    ];
    patient.diagnosis(&counters, &expected);
    let (server, admin, agent) = patient.serve(&counters);
    assert_eq!(admin.credential("a").await["active_leases"], 2);
    let repaired = admin.all("/v1/audit?event=vault.repaired").await;
    assert_eq!(repaired.len(), 3);
    assert!(
        repaired
            .iter()
            .all(|record| record["actor"]["name"] == "doctor"),
        "{repaired:?}"
    );
    assert_eq!(agent.release(&old.to_string()).await, "200");
    assert_eq!(admin.versions("a").await[1]["state"], "retired");
    server.stop();
    assert_eq!(doctor(&counters, &patient.made.key_file, &[]).code, Some(0));

    let index = patient
        .damaged("index", async |vault| {
            let open = vault.pairs(Table::OpenLease).await;
            assert_eq!(open.len(), 2);
            for (at, _) in &open {
                let entry = key::parse_open_lease(at).unwrap();
                if entry.lease == old {
                    vault.write(at, None).await;
                } else {
                    // Of a lease that is closed, of one that never was, and of another expiry.
                    let later = Timestamp::from_millis(entry.expiry.as_millis() + 1);
                    for (lease, expiry) in [
                        (closed, entry.expiry),
                        (LeaseId::from_bytes([9; 16]), entry.expiry),
                        (new, later),
                    ] {
                        let stale = key::open_lease(entry.workspace, id, expiry, lease);
                        vault.write(&stale, Some(b"")).await;
                    }
                }
            }
        })
        .await;
    let nobody = LeaseId::from_bytes([9; 16]).to_string();
    let expected = [
        ("index", old.to_string(), "does not have it", true),
        ("index", closed.to_string(), "is closed", true),
        ("index", nobody, "has no record", true),
        (
            "index",
            new.to_string(),
            "another credential or expiry",
            true,
        ),
    ];
    patient.diagnosis(&index, &expected);
    let (server, admin, _) = patient.serve(&index);
    assert_eq!(admin.active("a").await.len(), 2);
    // A cascade finds every lease again.
    let (status, _) = admin
        .call(Method::DELETE, "/v1/credentials/a?force=true", None)
        .await
        .unwrap();
    assert_eq!(status, 200);
    server.stop();
    assert_eq!(doctor(&index, &patient.made.key_file, &[]).code, Some(0));

    let names = patient
        .damaged("names", async |vault| {
            for (at, target) in vault.pairs(Table::CredentialName).await {
                if *target == *id.as_bytes() {
                    vault.write(&at, None).await;
                    let mut other = at.clone();
                    *other.last_mut().unwrap() ^= 1;
                    vault.write(&other, Some(&target)).await;
                }
            }
        })
        .await;
    let (kind, what) = ("index", "the name leads to nothing that bears it");
    let found = doctor(&names, &patient.made.key_file, &["--json"]).stdout;
    let stray: Value = serde_json::from_str(found.lines().next().unwrap()).unwrap();
    let expected = [
        (kind, text(&stray, "object"), what, true),
        (kind, credential.clone(), "no name leads to it", true),
    ];
    assert!(expected[0].1.starts_with("CredentialName 08"));
    patient.diagnosis(&names, &expected);
    let (server, admin, _) = patient.serve(&names);
    assert_eq!(text(&admin.credential("a").await, "id"), credential);
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_to_retire_is_retired() {
    let patient = patient().await;
    let id = patient.credential;
    let version = |number: u32| format!("{id} version {number}");
    let due = "is not current, has no open lease, and is not retired";
    let stale = OpenVersion {
        number: 1,
        stage: Stage::Rotated,
        reveal: 0,
        broker: 0,
        revealed_at: Some(Timestamp::from_millis(1)),
        outlived_at: None,
    };
    // The last lease on version 1 closed, and only its record says so.
    let close = async |vault: &Surgery| {
        let mut txn = vault.store.begin(&[]).await.unwrap();
        let tables = vault.tables();
        let mut lease = tables
            .lease(&mut txn, patient.leases[0])
            .await
            .unwrap()
            .unwrap();
        tables.delete_open(&mut *txn, &lease);
        let ending = leasehold::domain::lease::Ending::Expired;
        lease.close(1, ending, Timestamp::from_millis(1)).unwrap();
        tables.put_lease(&mut *txn, &lease).unwrap();
        txn.commit(Vec::new()).await.unwrap();
    };
    let in_ledger = patient
        .damaged("in-ledger", async |vault| {
            close(vault).await;
            vault
                .ledger(id, |ledger| {
                    ledger.active = 1;
                    ledger.versions[0] = stale.clone();
                })
                .await;
        })
        .await;
    patient.diagnosis(&in_ledger, &[("state", version(1), due, true)]);
    let (server, admin, _) = patient.serve(&in_ledger);
    let versions = admin.versions("a").await;
    assert_eq!(
        (&versions[1]["state"], &versions[1]["revealed"]),
        (&json!("retired"), &json!(true))
    );
    assert_eq!(versions[0]["state"], "current");
    assert_eq!(
        admin
            .all("/v1/audit?event=credential.version_retired")
            .await
            .len(),
        1
    );
    server.stop();

    // The ledger has let go of it, and its record has not.
    let in_record = patient
        .damaged("in-record", async |vault| {
            close(vault).await;
            vault
                .ledger(id, |ledger| {
                    ledger.active = 1;
                    ledger.versions.retain(|open| open.number != 1);
                })
                .await;
        })
        .await;
    let what = "is rotated, has no open lease, and is not retired";
    patient.diagnosis(&in_record, &[("state", version(1), what, true)]);

    // Retired, with its value still there; and in use, with its value gone.
    let at = Timestamp::from_millis(1_700_000_000_000);
    let kept = patient
        .damaged("kept", async |vault| {
            close(vault).await;
            vault
                .ledger(id, |ledger| {
                    ledger.active = 1;
                    ledger.versions.retain(|open| open.number != 1);
                })
                .await;
            let rotated_at = at;
            vault
                .version(id, 1, VersionState::Retired { rotated_at, at })
                .await;
            let canary = SecretText::new("canary-kept".to_owned());
            let sealed = vault.tables().seal_value(id, 1, &canary).unwrap();
            let place = key::value(vault.workspace, id, 1);
            vault.write(&place, Some(&sealed)).await;
            vault.write(&key::value(vault.workspace, id, 2), None).await;
        })
        .await;
    let expected = [
        (
            "state",
            version(1),
            "is retired, and its value is not erased",
            true,
        ),
        (
            "state",
            version(2),
            "is current, and its value is missing",
            false,
        ),
    ];
    patient.diagnosis(&kept, &expected);
    let said = doctor(&kept, &patient.made.key_file, &[]);
    assert!(!said.stdout.contains("canary") && !said.stderr.contains("canary"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_audit_index_is_dropped_and_made_anew() {
    let patient = patient().await;
    let damaged = patient
        .damaged("audit-index", async |vault| {
            let state = key::audit_index_state();
            vault.write(&state, Some(&[9; 64])).await;
            // Of a run that no state names: what a crash leaves, and a start sweeps.
            let page = key::audit_index_page(3, 0, 0);
            vault.write(&page, Some(b"left over")).await;
        })
        .await;
    let what = "its state cannot be read";
    let expected = [("index", "the audit index".to_owned(), what, true)];
    patient.diagnosis(&damaged, &expected);
    let (server, admin, _) = patient.serve(&damaged);
    assert!(!admin.all("/v1/audit?event=lease.issued").await.is_empty());
    server.stop();
    assert_eq!(doctor(&damaged, &patient.made.key_file, &[]).code, Some(0));
}
