//! `leasehold audit verify --export`: holds an export to the vault's signature, with the public key alone.
//! Exit code: 0 intact, 1 something is wrong, 2 nothing could be checked.

use std::{fs::File, io::BufReader, path::Path, process::ExitCode};

use serde_json::{Value, json};

use super::process::{self, Failure};
use crate::{
    audit::{
        checkpoint::Statement,
        export::{self, Refused, Verified},
    },
    cli::client::VerifyArgs,
    domain::id::WorkspaceId,
    http,
};

/// Nothing could be checked.
const UNCHECKED: u8 = 2;

pub(super) fn verify(file: &Path, args: &VerifyArgs, as_json: bool) -> ExitCode {
    match examine(file, args) {
        Ok(outcome) => {
            let (intact, text) = match &outcome {
                Ok(verified) => (true, told(verified, as_json)),
                Err(fault) => (false, fault.told(as_json)),
            };
            match process::say(&text) {
                Ok(()) if intact => ExitCode::SUCCESS,
                _ => ExitCode::FAILURE,
            }
        }
        Err(error) => {
            process::fail(&error);
            ExitCode::from(UNCHECKED)
        }
    }
}

/// The first thing that is wrong.
struct Fault {
    line: u64,
    sequence: Option<u64>,
    what: String,
}

fn examine(file: &Path, args: &VerifyArgs) -> Result<Result<Verified, Fault>, Failure> {
    let pinned = args.pinned()?;
    pinned.unread.iter().for_each(|line| process::note(line));
    let kept: Vec<Statement> = pinned.kept.iter().map(|one| *one.statement()).collect();
    let told = |error: std::io::Error| format!("`{}`: {error}", file.display());
    let input = BufReader::new(File::open(file).map_err(told)?);
    let mut lines = http::export_lines(input).map_err(told)?;
    match export::verify(&mut *lines, &pinned.public_key, &kept, &http::readable) {
        Ok(verified) => Ok(Ok(verified)),
        Err(Refused::Unreadable(error)) => Err(told(error).into()),
        Err(Refused::Fault {
            line,
            sequence,
            what,
        }) => Ok(Err(Fault {
            line,
            sequence,
            what,
        })),
    }
}

fn answer(data: Value) -> String {
    json!({"status": "success", "data": data}).to_string()
}

fn told(verified: &Verified, as_json: bool) -> String {
    let Verified {
        header,
        checkpoint,
        after,
        records,
        hidden,
        removed,
        parts,
        ..
    } = verified;
    if as_json {
        return answer(json!({
            "intact": true, "records": records, "hidden": hidden, "removed": removed, "after": after, "through": checkpoint.size,
            "parts": parts, "workspace": header.workspace_name, "filter": header.filter,
            "checkpoint": {"size": checkpoint.size, "time": checkpoint.time}, "faults": [],
        }));
    }
    let filter: Vec<_> = header
        .filter
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let filter = match filter.is_empty() {
        true => "none".to_owned(),
        false => filter.join(" "),
    };
    let whose = match header.workspace {
        WorkspaceId::SYSTEM => "the vault itself".to_owned(),
        _ => format!("the workspace `{}`", header.workspace_name),
    };
    let removed = match removed {
        0 => ", of other workspaces or left out by the filter".to_owned(),
        removed => format!(
            ": of other workspaces, left out by the filter, or removed\n\
             removed by retention: {removed} records of these and of other workspaces"
        ),
    };
    format!(
        "intact: {records} records of {whose} between {} and {}, which the checkpoint of {} is over\n\
         filter: {filter}\nnot shown: {hidden} records{removed}",
        after + 1,
        checkpoint.size,
        checkpoint.time,
    )
}

impl Fault {
    fn told(&self, as_json: bool) -> String {
        let Self {
            line,
            sequence,
            what,
        } = self;
        if as_json {
            let fault = json!({"line": line, "sequence": sequence, "what": what});
            return answer(json!({"intact": false, "faults": [fault]}));
        }
        match line {
            0 => format!("not intact: {what}"),
            line => format!("not intact: line {line}: {what}"),
        }
    }
}
