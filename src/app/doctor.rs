//! `leasehold doctor`: one line for each finding, and an exit code: 0 for a healthy vault, 1 where something is
//! left to say, 2 where nothing could be said.

use std::{process::ExitCode, sync::Arc};

use serde_json::json;

use super::{
    process::{self, Failure},
    unseal::root_key_at_hand,
};
use crate::{
    cli::DoctorArgs,
    clock::SystemTime,
    config::{Config, Log},
    crypto::entropy::OsEntropy,
    doctor::{self, Finding, Report, Told},
    engine::{Closed, Opened},
    store::sled::{Sled, SledOptions},
};

/// Nothing could be checked.
const UNCHECKED: u8 = 2;

pub(super) async fn run(args: DoctorArgs, as_json: bool) -> ExitCode {
    match examine(args, as_json).await {
        Ok(Report { findings: 0, .. }) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            process::fail(&error);
            ExitCode::from(UNCHECKED)
        }
    }
}

async fn examine(args: DoctorArgs, as_json: bool) -> Result<Report, Failure> {
    let repair = args.repair;
    let vault = open(args)?;
    // A reader that went away is noticed at the end.
    let mut said = Ok(());
    let mut say = |text: String| {
        if said.is_ok() {
            said = process::say(&text);
        }
    };
    let found = doctor::check(&vault, &mut |told| say(line(&told, as_json))).await?;
    let report = if repair && found.mendable > 0 {
        doctor::repair(vault, &mut |told| say(line(&told, as_json))).await?
    } else {
        found
    };
    say(summary(&report, found.findings, as_json));
    said.map(|()| report)
}

/// Opens and unseals the vault; writes nothing.
fn open(args: DoctorArgs) -> Result<Closed, Failure> {
    let config = Config::development(args.data_dir.clone());
    process::log(&Log {
        filter: "warn".to_owned(),
        ..config.log.clone()
    })?;
    let dir = args.data_dir.display();
    let no_vault = || format!("the data folder `{dir}` holds no vault");
    if !Sled::exists(&args.data_dir) {
        return Err(no_vault().into());
    }
    let options = SledOptions {
        cache_bytes: config.storage.cache_bytes,
        reserve_bytes: 0,
    };
    let Opened::Sealed(vault) = Opened::read(Sled::open(&args.data_dir, &options)?)? else {
        return Err(no_vault().into());
    };
    let root = root_key_at_hand(args.unseal, vault.unseal())?;
    Ok(vault.unlock(&root, Arc::new(OsEntropy), Arc::new(SystemTime))?)
}

fn line(told: &Told<'_>, as_json: bool) -> String {
    let (finding, mended): (&Finding, bool) = match told {
        Told::Found(finding) => (finding, false),
        Told::Mended(finding) => (finding, true),
    };
    let (kind, object, what) = (finding.kind.as_str(), finding.object(), &finding.what);
    if as_json {
        return json!({
            "kind": kind, "object": object, "what": what,
            "mendable": finding.mendable, "mended": mended,
        })
        .to_string();
    }
    let note = match (mended, finding.mendable) {
        (true, _) => "mended: ",
        (false, true) => "found, --repair can mend it: ",
        (false, false) => "found: ",
    };
    format!("{note}{kind}: {object} {what}")
}

fn summary(report: &Report, found: u64, as_json: bool) -> String {
    let Report {
        credentials,
        leases,
        audit_records,
        findings: left,
        mended,
        ..
    } = report;
    if as_json {
        return json!({
            "credentials": credentials, "leases": leases, "audit_records": audit_records,
            "found": found, "mended": mended, "left": left,
        })
        .to_string();
    }
    let looked =
        format!("{credentials} credentials, {leases} leases, {audit_records} audit records");
    match (found, left) {
        (0, _) => format!("healthy: {looked}"),
        (_, 0) => format!("healthy now: {looked}; {mended} of {found} findings mended"),
        (_, _) => format!("not healthy: {looked}; {found} findings, {mended} mended, {left} left"),
    }
}
