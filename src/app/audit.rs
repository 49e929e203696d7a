//! `leasehold audit verify --data-dir`: holds the log of a stopped vault to its checkpoints, with the public key alone.
//! Exit code: 0 intact, 1 something is wrong, 2 nothing could be checked.

use std::{path::Path, process::ExitCode};

use super::process::{self, Failure};
use crate::{
    audit::check::{self, Question},
    cli::client::{Verification, VerifyArgs},
    config::{Config, Log},
    store::sled::{Sled, SledOptions},
};

/// Nothing could be checked.
const UNCHECKED: u8 = 2;

pub(super) async fn verify(data_dir: &Path, args: &VerifyArgs, as_json: bool) -> ExitCode {
    match examine(data_dir, args).await {
        Ok(found) => {
            let text = if as_json {
                found.json().to_string()
            } else {
                found.text().trim_end().to_owned()
            };
            match process::say(&text) {
                Ok(()) if found.faults.is_empty() => ExitCode::SUCCESS,
                _ => ExitCode::FAILURE,
            }
        }
        Err(error) => {
            process::fail(&error);
            ExitCode::from(UNCHECKED)
        }
    }
}

async fn examine(data_dir: &Path, args: &VerifyArgs) -> Result<Verification, Failure> {
    let pinned = args.pinned()?;
    pinned.unread.iter().for_each(|line| process::note(line));
    let config = Config::development(data_dir.to_owned());
    process::log(&Log {
        filter: "warn".to_owned(),
        ..config.log
    })?;
    if !Sled::exists(data_dir) {
        return Err(format!("the data folder `{}` holds no vault", data_dir.display()).into());
    }
    let options = SledOptions {
        cache_bytes: config.storage.cache_bytes,
        reserve_bytes: 0,
    };
    let sled = Sled::open(data_dir, &options)?;
    let question = Question {
        from: args.from.unwrap_or(1),
        to: args.to,
        kept: pinned.kept,
    };
    let report = check::log(&mut &sled, &pinned.public_key, question).await?;
    let faults = report.faults.into_iter();
    Ok(Verification {
        records: report.records,
        checkpoints: report.checkpoints,
        last: report.last,
        removed: report.removed,
        proven: report.proven,
        faults: faults.map(|fault| (fault.sequence, fault.what)).collect(),
    })
}
