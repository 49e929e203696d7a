//! `audit-tamper` on a data folder: with the public key alone, and against checkpoints that were kept or shipped.

mod alarms;
mod reports;
mod sinks;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
    time::{Duration, Instant},
};

use leasehold::store::{
    key::{self, Table},
    local::Backend,
    port::{Key, Value as Stored},
    sled::{Sled, SledOptions},
};
use serde_json::{Value, json};

use super::kit::{Api, Ended, Production, Server, copy, run, text};
use crate::support::{TempDir, leasehold};

const SEALED_WITHIN: Duration = Duration::from_secs(60);

struct Site {
    folder: TempDir,
    made: Production,
    key: String,
}

impl Site {
    fn new() -> Self {
        let folder = TempDir::new();
        let made = Production::init(folder.path());
        Self {
            folder,
            made,
            key: String::new(),
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn serve(&self, environment: &[(&str, &str)]) -> (Server, Api) {
        let config = ["--config", self.made.config.to_str().unwrap()];
        let server = Server::start(&config, environment).unwrap();
        let admin = Api::new(&server.address, &self.made.admin_key);
        (server, admin)
    }

    /// Something happens to the vault; it gives back the newest checkpoint after its clean stop, by the file.
    async fn live(&mut self, credentials: &[&str]) {
        let (server, admin) = self.serve(&[]);
        for name in credentials {
            let body = json!({"name": name, "type": "api-key", "value": "v"});
            assert_eq!(admin.post("/v1/credentials", body).await.unwrap().0, 201);
        }
        let keys = admin.get("/.well-known/leasehold-keys.json").await;
        self.key = text(&keys["data"]["keys"][0], "public_key");
        assert_eq!(server.stop().code, Some(0));
    }

    fn verify(&self, data_dir: &Path, against: &[&Path]) -> Ended {
        let mut command = leasehold();
        command.args([
            "--json",
            "audit",
            "verify",
            "--public-key",
            &self.key,
            "--data-dir",
        ]);
        command.arg(data_dir);
        for kept in against {
            command.arg("--against").arg(kept);
        }
        run(&mut command)
    }

    /// The first bad record, where there is one.
    fn first(&self, data_dir: &Path, against: &[&Path]) -> Option<u64> {
        let ended = self.verify(data_dir, against);
        let body: Value =
            serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"));
        let faults = body["data"]["faults"].as_array().unwrap();
        assert_eq!(ended.code, Some(i32::from(!faults.is_empty())), "{ended:?}");
        faults
            .first()
            .map(|fault| fault["sequence"].as_u64().unwrap())
    }

    /// Serves a copy of the folder.
    fn serve_copy(&self, data_dir: &Path) -> (Server, Api) {
        let config = self.made.config.to_str().unwrap();
        let args = ["--config", config, "--data-dir", data_dir.to_str().unwrap()];
        let server = Server::start(&args, &[]).unwrap();
        let admin = Api::new(&server.address, &self.made.admin_key);
        (server, admin)
    }

    /// A copy of the folder whose log was changed.
    fn damaged(&self, name: &str, damage: impl FnOnce(&mut Vec<(Key, Vec<u8>)>)) -> PathBuf {
        let data_dir = self.at(name);
        copy(&self.made.data_dir, &data_dir);
        let sled = open(&data_dir);
        let blocks: Vec<(Key, Stored)> = sled.read_range(&Table::Audit.scan()).unwrap();
        let mut after: Vec<_> = blocks
            .iter()
            .map(|(at, block)| (at.clone(), block.to_vec()))
            .collect();
        damage(&mut after);
        let mut writes: std::collections::BTreeMap<_, _> =
            blocks.into_iter().map(|(at, _)| (at, None)).collect();
        writes.extend(
            after
                .into_iter()
                .map(|(at, block)| (at, Some(Stored::from(block)))),
        );
        sled.apply(&writes).unwrap();
        sled.sync().unwrap();
        drop(sled);
        data_dir
    }
}

fn open(data_dir: &Path) -> Sled {
    let options = SledOptions {
        cache_bytes: 1 << 24,
        reserve_bytes: 0,
    };
    Sled::open(data_dir, &options).unwrap()
}

fn number(at: &[u8]) -> u64 {
    key::parse_audit(at).unwrap()
}

/// The blocks of one record each: those of single requests.
fn single(blocks: &[(Key, Vec<u8>)]) -> Vec<usize> {
    let next = |at: usize| blocks.get(at + 1).map(|(key, _)| number(key));
    (0..blocks.len())
        .filter(|at| next(*at) == Some(number(&blocks[*at].0) + 1))
        .collect()
}

// INVARIANT (audit-tamper)
#[tokio::test(flavor = "multi_thread")]
async fn each_way_to_change_a_folder_is_found_with_the_public_key_alone() {
    let mut site = Site::new();
    site.live(&["a", "b", "c", "d", "e", "f"]).await;
    assert_eq!(site.first(&site.made.data_dir, &[]), None);
    let at = Mutex::new(0);
    let set = |number: u64| *at.lock().unwrap() = number;
    let expected = || Some(*at.lock().unwrap());

    let edited = site.damaged("edited", |blocks| {
        let place = single(blocks)[4];
        set(number(&blocks[place].0));
        *blocks[place].1.last_mut().unwrap() ^= 1;
    });
    assert_eq!(site.first(&edited, &[]), expected());
    let redigested = site.damaged("redigested", |blocks| {
        let place = single(blocks)[5];
        set(number(&blocks[place].0));
        blocks[place].1[1 + 16] ^= 1;
    });
    assert_eq!(site.first(&redigested, &[]), expected());
    // Two records change places, with their workspaces; the system's own and that of a workspace are among them.
    let swapped = site.damaged("swapped", |blocks| {
        let singles = single(blocks);
        let workspace = |place: usize| blocks[place].1[1..17].to_vec();
        let two = singles
            .iter()
            .flat_map(|one| singles.iter().map(move |other| (*one, *other)));
        let (one, other) = two
            .clone()
            .find(|(one, other)| one < other && workspace(*one) != workspace(*other))
            .unwrap();
        set(number(&blocks[one].0));
        let (first, second) = (blocks[one].1.clone(), blocks[other].1.clone());
        (blocks[one].1, blocks[other].1) = (second, first);
    });
    assert_eq!(site.first(&swapped, &[]), expected());
    let relabelled = site.damaged("relabelled", |blocks| {
        let place = single(blocks)[3];
        set(number(&blocks[place].0));
        blocks[place].1[1..17].copy_from_slice(&[9; 16]);
    });
    assert_eq!(site.first(&relabelled, &[]), expected());
    let deleted = site.damaged("deleted", |blocks| {
        let place = single(blocks)[4];
        set(number(&blocks[place].0));
        blocks.remove(place);
    });
    assert_eq!(site.first(&deleted, &[]), expected());
    let moved_up = site.damaged("moved-up", |blocks| {
        let place = single(blocks)[4];
        set(number(&blocks[place].0));
        blocks.remove(place);
        for (at, _) in &mut blocks[place..] {
            *at = key::audit(number(at) - 1);
        }
    });
    assert_eq!(site.first(&moved_up, &[]), expected());
    let inserted = site.damaged("inserted", |blocks| {
        let place = single(blocks)[4];
        set(number(&blocks[place].0));
        let (at, other) = (blocks[place].0.clone(), blocks[place - 1].1.clone());
        for (at, _) in &mut blocks[place..] {
            *at = key::audit(number(at) + 1);
        }
        blocks.insert(place, (at, other));
    });
    assert_eq!(site.first(&inserted, &[]), expected());
    let cut = site.damaged("cut", |blocks| {
        let place = single(blocks)[6];
        set(number(&blocks[place].0));
        blocks.truncate(place);
    });
    assert_eq!(site.first(&cut, &[]), expected());
    // The doctor says so too, and the vault does not seal on top of it.
    let ended = run(leasehold()
        .args(["doctor", "--json", "--data-dir"])
        .arg(&edited)
        .arg("--key-file")
        .arg(&site.made.key_file));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stdout.contains("audit record"), "{ended:?}");
    let args = [
        "--config",
        site.made.config.to_str().unwrap(),
        "--data-dir",
        edited.to_str().unwrap(),
    ];
    let server = Server::start(&args, &[]).unwrap();
    let admin = Api::new(&server.address, &site.made.admin_key);
    let metrics = reqwest::get(format!("{}/metrics", server.address))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(
        metrics.contains("leasehold_audit_sealing_failed 1"),
        "{metrics}"
    );
    let verified = admin.get("/v1/audit/verify").await;
    assert_eq!(verified["data"]["intact"], false, "{verified}");
    let ended = server.stop();
    assert!(ended.stderr.contains("cannot be sealed"), "{ended:?}");
}

// INVARIANT (audit-tamper): what the folder itself cannot tell.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_was_rolled_back_or_cut_is_found_by_a_kept_checkpoint() {
    let mut site = Site::new();
    let shipped = site.at("shipped");
    site.live(&["a"]).await;
    let old = site.at("old");
    copy(&site.made.data_dir, &old);
    let (server, admin) = site.serve(&[(
        "LEASEHOLD__AUDIT__CHECKPOINT_FILE",
        shipped.to_str().unwrap(),
    )]);
    let before = admin.get("/v1/audit/checkpoints?sort=size&limit=200").await;
    for name in ["b", "c"] {
        let body = json!({"name": name, "type": "api-key", "value": "v"});
        assert_eq!(admin.post("/v1/credentials", body).await.unwrap().0, 201);
    }
    assert_eq!(server.stop().code, Some(0));
    // The last line is the checkpoint over all of it, made after the last request.
    let lines = fs::read_to_string(&shipped).unwrap();
    let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    let kept = site.at("kept");
    fs::write(&kept, last.to_string()).unwrap();
    assert_eq!(site.first(&site.made.data_dir, &[&shipped, &kept]), None);
    assert!(last["size"].as_u64() > before["data"][0]["size"].as_u64());

    // The folder of before: whole in itself, and shorter than what was shipped.
    assert_eq!(site.first(&old, &[]), None);
    let first = site.first(&old, &[&kept]).unwrap();
    let sizes = |path: &Path| Sled::read_range(&open(path), &Table::Checkpoint.scan()).unwrap();
    let have = sizes(&old)
        .last()
        .map(|(at, _)| key::parse_checkpoint(at).unwrap())
        .unwrap();
    assert_eq!(first, have + 1);
    // Served on, it grows past that: other records, as well sealed.
    let args = [
        "--config",
        site.made.config.to_str().unwrap(),
        "--data-dir",
        old.to_str().unwrap(),
    ];
    let server = Server::start(&args, &[]).unwrap();
    let admin = Api::new(&server.address, &site.made.admin_key);
    for name in ["d", "e", "f", "g", "h", "i"] {
        let body = json!({"name": name, "type": "api-key", "value": "v"});
        assert_eq!(admin.post("/v1/credentials", body).await.unwrap().0, 201);
    }
    // The running vault is caught as well.
    let mut command = leasehold();
    command
        .args(["audit", "verify", "--public-key", &site.key, "--against"])
        .arg(&kept);
    command
        .env("LEASEHOLD_ADDR", &server.address)
        .env("LEASEHOLD_KEY", &site.made.admin_key);
    let begun = Instant::now();
    while admin.get("/v1/audit/checkpoints/latest").await["data"]["size"].as_u64()
        < last["size"].as_u64()
    {
        assert!(begun.elapsed() < SEALED_WITHIN);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let ended = run(&mut command);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended
            .stdout
            .contains("are not those that the kept checkpoint"),
        "{ended:?}"
    );
    assert_eq!(server.stop().code, Some(0));
    assert_eq!(site.first(&old, &[]), None);
    assert!(site.first(&old, &[&kept]).unwrap() <= have + 1);
    // All that was shipped tells where they part.
    assert_eq!(site.first(&old, &[&shipped]), Some(have + 1));
}
