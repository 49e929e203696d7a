//! Restored, the vault is what it was when the backup was taken, and goes on from there.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    backup,
    kit::{Api, Production, files, millis, now_millis, text},
    restore, serve, store,
};
use crate::support::TempDir;

const CANARIES: [&str; 6] = [
    "canary-value-one",
    "canary-value-two",
    "canary-purpose",
    "canary-metadata",
    "pinned-canary-name",
    "canary-bulky",
];

async fn lease(agent: &Api, credential: &str, ttl: &str) -> Value {
    agent.lease(credential, ttl).await.unwrap()
}

/// Issues, redeems and releases on a credential of its own until told to stop; tells how often.
async fn load(agent: Api, over: Arc<AtomicBool>) -> usize {
    let mut done = 0;
    while !over.load(Ordering::Relaxed) {
        let lease = lease(&agent, "busy", "10m").await;
        let value = agent.redeem(lease["handle"].as_str().unwrap()).await;
        assert_eq!(value.as_deref(), Ok("busy-value"));
        if done % 3 > 0 {
            assert_eq!(agent.release(lease["id"].as_str().unwrap()).await, "200");
        }
        done += 1;
    }
    done
}

const QUIET: [&str; 5] = ["pinned-canary-name", "capped", "closed", "brief", "bulky"];

/// All that the API says about what nobody touches meanwhile.
async fn told(admin: &Api) -> Value {
    let mut all = serde_json::Map::new();
    for name in QUIET {
        let mut leases = admin
            .all(&format!("/v1/leases?credential_name={name}"))
            .await;
        leases.sort_by_key(|lease| text(lease, "id"));
        let mut events = Vec::new();
        for lease in &leases {
            let id = text(lease, "id");
            events.push(admin.get(&format!("/v1/leases/{id}")).await["data"].clone());
            events.extend(admin.all(&format!("/v1/leases/{id}/events")).await);
        }
        all.insert(
            name.to_owned(),
            json!({"credential": admin.credential(name).await, "versions": admin.versions(name).await,
                "leases": leases, "events": events}),
        );
    }
    let names = admin.all("/v1/credentials?sort=created_at").await;
    let names: Vec<_> = names.iter().map(|one| text(one, "name")).collect();
    all.insert("names".to_owned(), json!(names));
    all.insert("revoked".to_owned(), admin.credential("ended").await);
    Value::Object(all)
}

async fn audit(admin: &Api) -> Vec<Value> {
    admin.all("/v1/audit?sort=time").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_vault_keeps_every_promise() {
    let folder = TempDir::new();
    let made = Production::init(folder.path());
    let server = made.serve().unwrap();
    let admin = Api::new(&server.address, &made.admin_key);
    let agent = Api::new(&server.address, &made.agent_key);
    let reveal = json!({"delivery": ["reveal"]});
    let bulky = "canary-bulky".repeat(2_000);

    // A version that is rotated with leases open on it, and one lease in each state.
    store(
        &admin,
        "pinned-canary-name",
        "canary-value-one",
        reveal.clone(),
    )
    .await;
    let old = lease(&agent, "pinned-canary-name", "30m").await;
    let (status, rotated) = admin
        .post(
            "/v1/credentials/pinned-canary-name/rotate",
            json!({"new_value": "canary-value-two"}),
        )
        .await
        .unwrap();
    assert_eq!(
        (status, &rotated["data"]["previous_retired"]),
        (200, &json!(false))
    );
    let new = lease(&agent, "pinned-canary-name", "30m").await;
    store(
        &admin,
        "capped",
        "v",
        json!({"max_leases": 2, "delivery": ["reveal"]}),
    )
    .await;
    let capped = [
        lease(&agent, "capped", "30m").await,
        lease(&agent, "capped", "30m").await,
    ];
    store(&admin, "closed", "v", reveal.clone()).await;
    let released = lease(&agent, "closed", "30m").await;
    let revoked = lease(&agent, "closed", "30m").await;
    let id = |lease: &Value| text(lease, "id");
    assert_eq!(agent.release(&id(&released)).await, "200");
    assert_eq!(
        admin
            .act(&format!("/v1/leases/{}/revoke", id(&revoked)))
            .await,
        "200"
    );
    store(&admin, "ended", "v", reveal.clone()).await;
    let patched = admin
        .call(
            Method::PATCH,
            "/v1/credentials/ended",
            Some(json!({"state": "revoked"})),
        )
        .await;
    assert_eq!(patched.map(|(status, _)| status), Some(200));
    store(&admin, "bulky", &bulky, reveal.clone()).await;
    let long = lease(&agent, "bulky", "30m").await;
    let again = json!({"credential_name": "bulky", "ttl": "20m", "purpose": "canary-purpose"});
    let retried = [("Idempotency-Key", "the-same-again")];
    let (status, first) = agent
        .call_with(Method::POST, "/v1/leases", Some(again.clone()), &retried)
        .await
        .unwrap();
    assert_eq!(status, 201);
    store(&admin, "brief", "v", reveal.clone()).await;
    let brief = lease(&agent, "brief", "8s").await;
    store(
        &admin,
        "busy",
        "busy-value",
        json!({"max_leases": 100_000, "delivery": ["reveal"]}),
    )
    .await;

    let over = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..4)
        .map(|_| tokio::spawn(load(agent.clone(), over.clone())))
        .collect();
    let before = told(&admin).await;
    let known = audit(&admin).await;
    let file = folder.path().join("vault.backup");
    let name = file.to_str().unwrap();
    let taken = tokio::task::block_in_place(|| {
        backup(&server, &made.admin_key, &["--json", "--output", name])
    });
    assert_eq!(taken.code, Some(0), "{taken:?}");
    let told_of: Value = serde_json::from_str(&taken.stdout).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    over.store(true, Ordering::Relaxed);
    for worker in workers {
        assert!(worker.await.unwrap() > 0, "there was no load");
    }
    // It is in history before it is in anybody's hands, with what identifies the file.
    let noted = admin.get("/v1/audit?event=vault.backed_up").await["data"].clone();
    assert_eq!(noted.as_array().unwrap().len(), 1, "{noted}");
    let fact = |at: usize| noted[0]["changes"][at]["after"].clone();
    assert_eq!(fact(0), told_of["data"]["bytes"].to_string());
    assert_eq!(fact(1), told_of["data"]["sha256"]);
    // What happens from here on is not in the backup: the original goes its own way.
    assert_eq!(agent.release(&id(&old)).await, "200");
    let original = audit(&admin).await;
    assert_eq!(server.stop().code, Some(0));

    let bytes = fs::read(&file).unwrap();
    assert_eq!(told_of["data"]["bytes"], bytes.len());
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let keys = [made.admin_key.as_str(), &made.agent_key];
    let handles = [&old, &new, &brief].map(|lease| lease["handle"].as_str().unwrap());
    for canary in CANARIES.iter().chain(&keys).chain(&handles) {
        let found = bytes
            .windows(canary.len())
            .any(|part| part == canary.as_bytes());
        assert!(!found, "{canary} is in the backup");
    }

    let data_dir = folder.path().join("restored");
    let ended = restore(&file, &data_dir, &made.key_file);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let answer: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(answer["data"]["sha256"], told_of["data"]["sha256"]);
    for file in files(&data_dir) {
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o077,
            0,
            "{file:?}"
        );
    }
    let server = serve(&data_dir, &made.key_file);
    let admin = Api::new(&server.address, &made.admin_key);
    let agent = Api::new(&server.address, &made.agent_key);

    let restored = audit(&admin).await;
    let same = original
        .iter()
        .zip(&restored)
        .take_while(|(a, b)| a == b)
        .count();
    assert!(same >= known.len(), "{same} of {} records", known.len());
    assert_eq!(known[..], restored[..known.len()]);
    // What comes after is this run's: its own reading, and the end of the lease that ran out.
    for record in &restored[same..] {
        let event = record["event"].as_str().unwrap();
        assert!(matches!(event, "audit.read" | "lease.expired"), "{record}");
    }
    // A lease that ran out meanwhile stays dead, before and after the reaper has seen it.
    let left = millis(&brief, "expires_at") - now_millis();
    tokio::time::sleep(Duration::from_millis(left.max(0) as u64 + 1_000)).await;
    let handle = |lease: &Value| text(lease, "handle");
    assert_eq!(
        agent.redeem(&handle(&brief)).await.unwrap_err(),
        "410 LEASE_EXPIRED"
    );
    assert_eq!(
        agent.act(&format!("/v1/leases/{}/renew", id(&brief))).await,
        "410 LEASE_EXPIRED"
    );
    let mut after = told(&admin).await;
    let mut before = before;
    for (name, of) in [("brief", &mut after), ("brief", &mut before)] {
        let brief = of.as_object_mut().unwrap().remove(name).unwrap();
        assert_eq!(brief["credential"]["name"], "brief");
    }
    assert_eq!(before, after);

    // Every lease that was open is what it was; every one that was closed stays closed.
    assert_eq!(
        agent.redeem(&handle(&old)).await.as_deref(),
        Ok("canary-value-one")
    );
    assert_eq!(
        agent.redeem(&handle(&new)).await.as_deref(),
        Ok("canary-value-two")
    );
    assert_eq!(
        agent.redeem(&handle(&long)).await.as_deref(),
        Ok(bulky.as_str())
    );
    assert_eq!(
        agent.redeem(&handle(&released)).await.unwrap_err(),
        "410 LEASE_RELEASED"
    );
    assert_eq!(
        agent.redeem(&handle(&revoked)).await.unwrap_err(),
        "410 LEASE_REVOKED"
    );
    // A retry of a request from before gets the answer from before, the handle too.
    let (status, second) = agent
        .call_with(Method::POST, "/v1/leases", Some(again), &retried)
        .await
        .unwrap();
    assert_eq!(status, 201);
    for field in ["id", "handle", "expires_at"] {
        assert_eq!(first["data"][field], second["data"][field]);
    }
    // Counters are what the records say, where leases came and went as well.
    for name in ["busy", "capped", "pinned-canary-name"] {
        let active = admin.active(name).await.len();
        assert_eq!(
            admin.credential(name).await["active_leases"],
            active,
            "{name}"
        );
    }
    assert!(!admin.active("busy").await.is_empty());
    // The cap holds at once, and a place that is given back is one place.
    assert_eq!(
        agent.lease("capped", "1m").await.unwrap_err(),
        "409 LEASE_LIMIT_REACHED"
    );
    assert_eq!(agent.release(&id(&capped[0])).await, "200");
    lease(&agent, "capped", "1m").await;
    assert_eq!(
        agent.lease("capped", "1m").await.unwrap_err(),
        "409 LEASE_LIMIT_REACHED"
    );
    // The old version retires with its last lease.
    assert_eq!(
        admin.versions("pinned-canary-name").await[1]["state"],
        "rotated"
    );
    assert_eq!(agent.release(&id(&old)).await, "200");
    assert_eq!(
        admin.versions("pinned-canary-name").await[1]["state"],
        "retired"
    );
    assert_eq!(
        agent.redeem(&handle(&new)).await.as_deref(),
        Ok("canary-value-two")
    );
    assert_eq!(server.stop().code, Some(0));
}
