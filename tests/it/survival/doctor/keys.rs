//! API keys, their entries at home, and what is noted of their use.

use leasehold::domain::{
    id::KeyId,
    principal::ProofId,
    usage::{LastUse, Use},
};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_home_lists_its_keys_and_what_is_noted_of_none_goes() {
    let patient = patient().await;
    let nobody = KeyId::from_bytes([9; 16]);
    let mut missing = None;
    let damaged = patient
        .damaged("keys", async |vault| {
            let entries = vault.pairs(Table::ApiKeyHome).await;
            let (entry, _) = entries.first().unwrap();
            missing = key::parse_api_key_home(entry);
            vault.write(entry, None).await;
            let stray = key::api_key_home(vault.workspace, nobody);
            vault.write(&stray, Some(b"")).await;
            let system = Tables::of(&vault.keyring, WorkspaceId::SYSTEM).unwrap();
            let mut txn = vault.store.begin(&[]).await.unwrap();
            let at = Timestamp::from_millis(1);
            let last = LastUse {
                proof: ProofId::Key(nobody),
                at,
            };
            system.put_last_use(&mut *txn, &last).unwrap();
            let one = Use {
                at,
                method: "GET".into(),
                route: "/v1/leases".into(),
                status: 200,
                code: None,
                source_ip: None,
                user_agent: None,
                missing: Default::default(),
            };
            system.put_key_usage(&mut *txn, nobody, 7, &[one]).unwrap();
            txn.commit(Vec::new()).await.unwrap();
        })
        .await;
    let (home, id) = missing.unwrap();
    let noted = "is noted of the use of a key that is not there";
    let expected = [
        ("index", id.to_string(), "its home does not list it", true),
        ("index", nobody.to_string(), "a home lists it", true),
        ("orphan", nobody.to_string(), noted, true),
        ("orphan", format!("{nobody} usage 7"), noted, true),
    ];
    patient.diagnosis(&damaged, &expected);
    let (server, admin, _) = patient.serve(&damaged);
    let listed = admin.all("/v1/api-keys").await;
    let listed: Vec<_> = listed.iter().map(|key| text(key, "id")).collect();
    assert!(listed.contains(&id.to_string()), "{listed:?}");
    assert_eq!(listed.len(), 2, "{listed:?}");
    server.stop();

    // What was noted and is damaged is told of, and in nobody's way.
    let damaged = patient
        .damaged("usage", async |vault| {
            assert_eq!(home, vault.workspace);
            for table in [Table::LastUse, Table::KeyUsage] {
                let pairs = vault.pairs(table).await;
                let (at, _) = pairs.first().unwrap();
                vault.damage(at, 30).await;
            }
        })
        .await;
    let found = doctor(&damaged, &patient.made.key_file, &["--json"]);
    assert_eq!(
        found.stdout.matches("\"unreadable\"").count(),
        2,
        "{found:?}"
    );
    let (server, admin, agent) = patient.serve(&damaged);
    assert_eq!(admin.credential("a").await["name"], "a");
    assert_eq!(
        agent.call(Method::GET, "/v1/leases", None).await.unwrap().0,
        200
    );
    server.stop();
}
