//! A backup is taken while the vault works, and what it restores keeps every promise of the vault it was of.

mod refused;
mod restored;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::kit::{self, Api, Ended, Production, Server, run};
use crate::support::{TempDir, leasehold};

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
