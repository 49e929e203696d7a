//! A damaged folder: an error in words or the right data; never a wrong value, a panic or a hang.

use std::{
    fs,
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use reqwest::Method;
use serde_json::json;

use super::kit::{Api, Production, assert_no_panic, copy, text};
use crate::support::TempDir;

const CREDENTIALS: usize = 6;

/// A stopped production vault with credentials, leases and history, and its handles.
struct Specimen {
    _folder: TempDir,
    folder: PathBuf,
    vault: Production,
    handles: Vec<String>,
}

fn value(number: usize) -> String {
    // The fifth is in chunks.
    format!("value-{number}-").repeat(if number == 5 { 3000 } else { 3 })
}

async fn specimen() -> Specimen {
    let temporary = TempDir::new();
    let folder = temporary.path().to_owned();
    let vault = Production::init(&folder);
    let server = vault.serve().unwrap();
    let admin = Api::new(&server.address, &vault.admin_key);
    let agent = Api::new(&server.address, &vault.agent_key);
    let mut handles = Vec::new();
    for number in 0..CREDENTIALS {
        let body =
            json!({"name": format!("c-{number}"), "type": "api-key", "value": value(number)});
        assert_eq!(admin.post("/v1/credentials", body).await.unwrap().0, 201);
        let lease = agent.lease(&format!("c-{number}"), "1h").await.unwrap();
        handles.push(text(&lease, "handle"));
    }
    for handle in &handles {
        for _ in 0..5 {
            agent.redeem(handle).await.unwrap();
        }
    }
    assert_eq!(server.stop().code, Some(0));
    Specimen {
        _folder: temporary,
        folder,
        vault,
        handles,
    }
}

/// What became of a damaged copy.
#[derive(Debug, Default)]
struct Outcome {
    refused: usize,
    served: usize,
    right: usize,
    failed: usize,
}

impl Specimen {
    /// Damages a copy of the data folder and sees what the vault makes of it.
    async fn with(&self, what: &str, damage: impl FnOnce(&Path), outcome: &mut Outcome) {
        let copied = self.folder.join("copy");
        let _ = fs::remove_dir_all(&copied);
        copy(&self.vault.data_dir, &copied);
        damage(&copied);
        let args = [
            "--config",
            self.vault.config.to_str().unwrap(),
            "--data-dir",
            copied.to_str().unwrap(),
        ];
        let server = match super::kit::Server::start(&args, &[]) {
            Ok(server) => server,
            Err(ended) => {
                outcome.refused += 1;
                assert_eq!(ended.code, Some(1), "{what}: {ended:?}");
                assert!(ended.stderr.contains("error: "), "{what}: {ended:?}");
                assert!(!ended.stderr.contains("value-"), "{what}: {ended:?}");
                println!(
                    "{what}: {}",
                    ended.stderr.lines().last().unwrap_or_default()
                );
                assert_no_panic(&ended.stderr);
                return;
            }
        };
        outcome.served += 1;
        let agent = Api::new(&server.address, &self.vault.agent_key);
        let admin = Api::new(&server.address, &self.vault.admin_key);
        for (number, handle) in self.handles.iter().enumerate() {
            match agent.redeem(handle).await {
                Ok(found) => {
                    assert_eq!(found, value(number), "{what}: a wrong value");
                    outcome.right += 1;
                }
                Err(code) => {
                    assert_ne!(code, "no answer", "{what}: {}", server.started.stderr());
                    outcome.failed += 1;
                    println!("{what}: c-{number}: {code}");
                }
            }
        }
        for path in ["/v1/credentials", "/v1/leases", "/v1/audit", "/ready"] {
            let (status, body) = admin.call(Method::GET, path, None).await.unwrap();
            assert!(!body.to_string().contains("value-"), "{what}: {body}");
            assert!(
                matches!(status, 200 | 401 | 500 | 503),
                "{what}: {status} {body}"
            );
        }
        let ended = server.stop();
        assert_no_panic(&ended.stderr);
    }
}

fn log_of(folder: &Path) -> PathBuf {
    folder.join("store").join("db")
}

// INVARIANT (sealed-at-rest)
#[tokio::test]
async fn a_flipped_bit_never_gives_a_wrong_value() {
    let specimen = specimen().await;
    let bytes = fs::read(log_of(&specimen.vault.data_dir)).unwrap();
    // Only bytes that hold something: sled's file has long empty stretches.
    let used: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
    let samples = 20;
    let mut outcome = Outcome::default();
    for sample in 0..samples {
        let at = used[(used.len() - 1) * sample / (samples - 1)];
        let flip = |folder: &Path| {
            let mut file = fs::File::options()
                .read(true)
                .write(true)
                .open(log_of(folder))
                .unwrap();
            let mut byte = [0];
            file.seek(SeekFrom::Start(at as u64)).unwrap();
            file.read_exact(&mut byte).unwrap();
            byte[0] ^= 1 << (sample % 8);
            file.seek(SeekFrom::Start(at as u64)).unwrap();
            file.write_all(&byte).unwrap();
        };
        specimen
            .with(&format!("bit {at} of {}", bytes.len()), flip, &mut outcome)
            .await;
    }
    println!("{outcome:?}");
    assert_eq!(outcome.refused + outcome.served, samples);
}

/// sled takes a record that it cannot read for the torn end of its log and drops all that comes after it: the vault
/// then serves an older state as if nothing had happened.
#[tokio::test]
async fn a_log_that_lost_its_end_is_not_served_as_if_it_had_not() {
    let specimen = specimen().await;
    let whole = fs::metadata(log_of(&specimen.vault.data_dir))
        .unwrap()
        .len();
    for tenths in 1..10 {
        let mut outcome = Outcome::default();
        let cut = |folder: &Path| {
            let file = fs::File::options().write(true).open(log_of(folder));
            file.unwrap().set_len(whole * tenths / 10).unwrap();
        };
        let what = format!("{tenths} tenths");
        specimen.with(&what, cut, &mut outcome).await;
        assert_eq!(outcome.failed, 0, "{what} are served with losses");
    }
}

#[tokio::test]
async fn a_half_copied_folder_is_refused_or_right() {
    let specimen = specimen().await;
    let mut outcome = Outcome::default();
    specimen.with("untouched", |_| {}, &mut outcome).await;
    assert_eq!((outcome.served, outcome.right), (1, CREDENTIALS));
    let remove = |name: &'static str| {
        move |folder: &Path| {
            let path = folder.join("store").join(name);
            assert!(path.exists(), "{}", path.display());
            fs::remove_file(path).unwrap();
        }
    };
    let whole = fs::metadata(log_of(&specimen.vault.data_dir))
        .unwrap()
        .len();
    let truncate = |length: u64| {
        move |folder: &Path| {
            let file = fs::File::options()
                .write(true)
                .open(log_of(folder))
                .unwrap();
            file.set_len(length).unwrap();
        }
    };
    let mut lost = Outcome::default();
    let nothing = |folder: &Path| fs::remove_dir_all(folder.join("store")).unwrap();
    specimen.with("no store", nothing, &mut lost).await;
    specimen.with("no db", remove("db"), &mut lost).await;
    specimen.with("empty db", truncate(0), &mut lost).await;
    assert_eq!((lost.refused, lost.served), (3, 0), "{lost:?}");

    let mut partly = Outcome::default();
    specimen.with("no conf", remove("conf"), &mut partly).await;
    let snapshots = |folder: &Path| {
        for entry in fs::read_dir(folder.join("store")).unwrap() {
            let path = entry.unwrap().path();
            if path
                .file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with("snap.")
            {
                fs::remove_file(path).unwrap();
            }
        }
    };
    specimen.with("no snapshot", snapshots, &mut partly).await;
    for part in [1, 5, 9] {
        let length = whole * part / 10;
        specimen
            .with(
                &format!("{length} of {whole} bytes"),
                truncate(length),
                &mut partly,
            )
            .await;
    }
    specimen
        .with("one byte short", truncate(whole - 1), &mut partly)
        .await;
    let empty_conf = |folder: &Path| fs::write(folder.join("store").join("conf"), "").unwrap();
    specimen.with("empty conf", empty_conf, &mut partly).await;
    println!("{partly:?}");
    assert_eq!(partly.refused + partly.served, 7);
}
