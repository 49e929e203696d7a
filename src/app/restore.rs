//! `leasehold restore`: a data folder out of a backup. Everything is checked before the folder is anything: its
//! checksum, the root key, every seal, and that the vault in it opens.

use std::{
    fs::File,
    io::{BufReader, Seek},
    sync::Arc,
};

use serde_json::json;

use super::{
    process::{self, Failure},
    unseal::root_key_at_hand,
};
use crate::{
    archive,
    backup::{self, About},
    cli::RestoreArgs,
    clock::SystemTime,
    config::{Config, Log, policies},
    crypto::{entropy::OsEntropy, keyring::Keyring, root::RootKey},
    domain::error::Result,
    engine::Opened,
    store::{
        port::Key,
        sled::{Claim, Sled, SledOptions},
    },
};

/// Bytes of pairs that are written at once.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

pub(super) async fn run(args: RestoreArgs, as_json: bool) -> Result<(), Failure> {
    let config = Config::development(args.data_dir.clone());
    process::log(&Log {
        filter: "warn".to_owned(),
        ..config.log.clone()
    })?;
    let shown = args.input.display();
    let told = |why: String| format!("backup `{shown}`: {why}");
    let mut file = File::open(&args.input).map_err(|error| told(error.to_string()))?;
    archive::verify(BufReader::new(&file)).map_err(|error| told(error.to_string()))?;
    file.rewind()?;
    let opened =
        backup::Opened::new(BufReader::new(file)).map_err(|error| told(error.to_string()))?;
    let claim = Claim::take(&args.data_dir)?;
    let root = root_key_at_hand(args.unseal, &opened.vault().unseal)?;
    let backup = opened.unlock(&Keyring::new(&root, Arc::new(OsEntropy))?)?;
    let options = SledOptions {
        cache_bytes: config.storage.cache_bytes,
        reserve_bytes: 0,
    };
    let sled = Sled::open(claim.staging(), &options)?;
    let (about, summary) = fill(&sled, backup)?;
    settle(sled, &root, &about).await?;
    claim.publish()?;
    let (dir, created_at) = (args.data_dir.display(), about.created_at);
    process::say(&if as_json {
        let data = json!({
            "data_dir": dir.to_string(), "created_at": created_at.to_string(), "made_by": about.made_by,
            "bytes": summary.bytes, "sha256": summary.checksum.to_string(),
        });
        json!({"status": "success", "data": data}).to_string()
    } else {
        format!(
            "The vault was restored into {dir}, as it was at {created_at}.\n\
             What happened since then is undone, revocations and rotations too: look at the open leases before agents come back."
        )
    })
}

/// Writes every pair, in batches of a bounded size.
fn fill(
    sled: &Sled,
    backup: backup::Unlocked<BufReader<File>>,
) -> Result<(About, archive::Summary)> {
    let mut batch: Vec<(Key, Vec<u8>)> = Vec::new();
    let mut bytes = 0;
    let done = backup.pairs(|key, value| {
        bytes += key.len() + value.len();
        batch.push((key.into(), value.to_vec()));
        if bytes < BATCH_BYTES {
            return Ok(());
        }
        bytes = 0;
        sled.write_first(std::mem::take(&mut batch))
    })?;
    sled.write_first(batch)?;
    Ok(done)
}

/// Opens the vault once, which shows that it can be, and writes into its history where it came from.
async fn settle(sled: Sled, root: &RootKey, about: &About) -> Result<(), Failure> {
    let Opened::Sealed(vault) = Opened::read(sled)? else {
        return Err("the backup holds no vault".into());
    };
    let (entropy, time) = (Arc::new(OsEntropy), Arc::new(SystemTime));
    let engine = vault
        .serve(root, entropy, time, policies::built_in()?)
        .await?;
    engine.note_restored(about.created_at).await?;
    Ok(engine.shut_down().await?)
}
