//! A backup is taken while the vault works, and what it restores keeps every promise of the vault it was of.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use reqwest::Method;
use serde_json::{Value, json};

use super::kit::{Api, Ended, Production, Server, files, millis, now_millis, run, text};
use crate::support::{TempDir, leasehold};

const CANARIES: [&str; 6] = [
    "canary-value-one",
    "canary-value-two",
    "canary-purpose",
    "canary-metadata",
    "pinned-canary-name",
    "canary-bulky",
];

fn backup(server: &Server, key: &str, args: &[&str]) -> Ended {
    run(leasehold()
        .arg("backup")
        .args(args)
        .env("LEASEHOLD_ADDR", &server.address)
        .env("LEASEHOLD_KEY", key))
}

fn restore(input: &Path, data_dir: &Path, key_file: &Path) -> Ended {
    run(leasehold()
        .args(["restore", "--json", "--input"])
        .arg(input)
        .arg("--data-dir")
        .arg(data_dir)
        .arg("--key-file")
        .arg(key_file))
}

fn serve(data_dir: &Path, key_file: &Path) -> Server {
    let args = ["--data-dir", data_dir.to_str().unwrap()];
    let environment = [("LEASEHOLD__ROOT__KEY_FILE", key_file.to_str().unwrap())];
    Server::start(&args, &environment).unwrap()
}

async fn store(admin: &Api, name: &str, value: &str, policy: Value) {
    let body = json!({"name": name, "type": "api-key", "value": value, "policy": policy,
        "metadata": {"team": "canary-metadata"}});
    let (status, body) = admin.post("/v1/credentials", body).await.unwrap();
    assert_eq!(status, 201, "{body}");
}

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
    for record in &restored[same..] {
        assert_eq!(record["event"], "audit.read", "{record}");
    }
    // A lease that ran out meanwhile stays dead, before and after the reaper has seen it.
    let left = millis(&brief, "expires_at") - now_millis();
    tokio::time::sleep(Duration::from_millis(left.max(0) as u64)).await;
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

/// A vault with something in it, and a backup of it.
struct BackedUp {
    folder: TempDir,
    made: Production,
    server: Server,
    file: PathBuf,
}

async fn backed_up() -> BackedUp {
    let folder = TempDir::new();
    let made = Production::init(folder.path());
    let server = made.serve().unwrap();
    let admin = Api::new(&server.address, &made.admin_key);
    for at in 0..4 {
        let value = "v".repeat(60_000);
        store(&admin, &format!("c{at}"), &value, json!({})).await;
    }
    let file = folder.path().join("vault.backup");
    let taken = backup(
        &server,
        &made.admin_key,
        &["--output", file.to_str().unwrap()],
    );
    assert_eq!(taken.code, Some(0), "{taken:?}");
    BackedUp {
        folder,
        made,
        server,
        file,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_restored_is_refused_and_leaves_nothing() {
    let BackedUp {
        folder,
        made,
        server,
        file,
    } = backed_up().await;
    let good = fs::read(&file).unwrap();
    let target = folder.path().join("new");
    let bad = folder.path().join("bad.backup");
    let attempt = |bytes: &[u8]| {
        fs::write(&bad, bytes).unwrap();
        let ended = restore(&bad, &target, &made.key_file);
        assert!(!target.exists(), "a failed restore left something");
        assert!(ended.stdout.is_empty());
        let verified = run(leasehold().args(["backup", "--verify"]).arg(&bad));
        assert_eq!(verified.code, Some(1), "{verified:?}");
        ended
    };
    let changed = |at: usize, to: u8| {
        let mut bytes = good.clone();
        assert_ne!(bytes[at], to);
        bytes[at] = to;
        bytes
    };
    attempt(&good[..good.len() / 2]).refused(&["bad.backup", "ends too early"]);
    attempt(&good[..good.len() - 1]).refused(&["ends too early"]);
    attempt(&[&good[..], b"\n"].concat()).refused(&["something follows its end"]);
    let middle = good.len() / 2;
    attempt(&changed(middle, !good[middle])).refused(&["checksum is wrong"]);
    attempt(&changed(16, 9)).refused(&["format 9", "reads format 1 only"]);
    attempt(b"{\"status\":\"success\"}").refused(&["not a backup of a Leasehold vault"]);
    attempt(b"").refused(&["not a backup of a Leasehold vault"]);

    // Another vault's key, no key, no file.
    let other = TempDir::new();
    let stranger = Production::init(other.path());
    restore(&file, &target, &stranger.key_file).refused(&["root key is not the one"]);
    restore(&file, &target, Path::new("/nonexistent/key")).refused(&["root key file"]);
    restore(Path::new("/nonexistent/file"), &target, &made.key_file).refused(&["No such file"]);
    let without = run(leasehold()
        .args(["restore", "--input"])
        .arg(&file)
        .arg("--data-dir")
        .arg(&target));
    without.refused(&["unsealed by a key file", "--key-file"]);
    assert!(!target.exists());

    // A running vault's folder, a stopped vault's, and one that holds something else.
    let pid = format!("process {}", server.started.child.id());
    restore(&file, &made.data_dir, &made.key_file).refused(&["in use by another process", &pid]);
    let stranger_holds = files(&stranger.data_dir).len();
    restore(&file, &stranger.data_dir, &made.key_file).refused(&["is not empty", "new folder"]);
    assert_eq!(files(&stranger.data_dir).len(), stranger_holds);
    stranger.serve().unwrap().stop();
    fs::create_dir(&target).unwrap();
    fs::write(target.join("notes.txt"), "mine").unwrap();
    restore(&file, &target, &made.key_file).refused(&["is not empty", "notes.txt"]);
    assert_eq!(fs::read_dir(&target).unwrap().count(), 1);

    // An empty folder will do, and so will one in which a restore was killed.
    fs::remove_file(target.join("notes.txt")).unwrap();
    fs::create_dir(target.join("restoring")).unwrap();
    fs::write(target.join("restoring/MARK"), "half").unwrap();
    let ended = restore(&file, &target, &made.key_file);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!target.join("restoring").exists());
    let restored = serve(&target, &made.key_file);
    let admin = Api::new(&restored.address, &made.admin_key);
    assert_eq!(admin.all("/v1/credentials").await.len(), 4);
    assert_eq!(restored.stop().code, Some(0));
    // The original never noticed.
    let admin = Api::new(&server.address, &made.admin_key);
    assert_eq!(admin.all("/v1/credentials").await.len(), 4);
    assert_eq!(server.stop().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_replaces_nothing_unasked_and_leaves_no_half_file() {
    let BackedUp {
        folder,
        made,
        server,
        file,
    } = backed_up().await;
    let name = file.to_str().unwrap();
    let before = fs::read(&file).unwrap();
    let again = backup(&server, &made.admin_key, &["--output", name]);
    again.refused(&["exists", "--force"]);
    assert!(fs::read(&file).unwrap() == before);
    let forced = backup(&server, &made.admin_key, &["--force", "--output", name]);
    assert_eq!(forced.code, Some(0), "{forced:?}");
    let after = fs::read(&file).unwrap();
    // Of the same vault, and never the same bytes.
    assert!(after != before && after.len() >= before.len());
    let whole = backup(&server, "", &["--json", "--verify", name]);
    assert_eq!(whole.code, Some(0), "{whole:?}");
    let whole: Value = serde_json::from_str(&whole.stdout).unwrap();
    assert_eq!(whole["data"]["bytes"], after.len());

    let elsewhere = folder.path().join("agent.backup");
    let refused = backup(
        &server,
        &made.agent_key,
        &["--output", elsewhere.to_str().unwrap()],
    );
    refused.refused(&["INSUFFICIENT_PERMISSIONS", "sys:backup"]);
    let nowhere = backup(
        &server,
        &made.admin_key,
        &["--output", "/nonexistent/folder/file"],
    );
    nowhere.refused(&["cannot write", "/nonexistent/folder/file"]);
    for usage in [
        &["--output", name, "--verify", name][..],
        &[],
        &["--force", "--verify", name],
    ] {
        assert_eq!(
            backup(&server, &made.admin_key, usage).code,
            Some(2),
            "{usage:?}"
        );
    }
    assert_eq!(server.stop().code, Some(0));
    let gone = run(leasehold()
        .args(["backup", "--output", elsewhere.to_str().unwrap()])
        .env("LEASEHOLD_ADDR", "http://127.0.0.1:9")
        .env("LEASEHOLD_KEY", &made.admin_key));
    gone.refused(&["cannot connect"]);
    let mut left: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["data", "leasehold.toml", "root.key", "vault.backup"]);
    // No spool is left behind either.
    let data: Vec<_> = files(&made.data_dir);
    assert!(
        data.iter()
            .all(|path| !path.to_string_lossy().contains("spool")),
        "{data:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_backup_at_a_time_and_each_is_whole() {
    let BackedUp {
        folder,
        made,
        server,
        ..
    } = backed_up().await;
    let fetch = async |body: Option<Value>| {
        let mut request = crate::support::client()
            .post(format!("{}/v1/sys/backup", server.address))
            .bearer_auth(&made.admin_key);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        (status, headers, response.bytes().await.unwrap())
    };
    let mut taken = 0;
    let all = futures_util::future::join_all((0..6).map(|_| fetch(None))).await;
    for (status, headers, bytes) in all {
        if status == 409 {
            let body: Value = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(body["code"], "INVALID_STATE");
            continue;
        }
        assert_eq!(status, 200);
        assert_eq!(headers["content-type"], "application/octet-stream");
        assert_eq!(headers["cache-control"], "no-store");
        taken += 1;
        let file = folder.path().join(format!("{taken}.backup"));
        fs::write(&file, &bytes).unwrap();
        let verified = run(leasehold().args(["backup", "--verify"]).arg(&file));
        assert_eq!(verified.code, Some(0), "{verified:?}");
    }
    assert!(taken > 0);
    // The turn is given back, whatever became of the others.
    assert_eq!(fetch(Some(json!({}))).await.0, 200);
    assert_eq!(fetch(Some(json!({"output": "x"}))).await.0, 400);
    let admin = Api::new(&server.address, &made.admin_key);
    let noted = admin.all("/v1/audit?event=vault.backed_up").await;
    // The first one was taken by `backed_up`.
    assert_eq!(noted.len(), taken + 2);
    assert_eq!(server.stop().code, Some(0));
}
