//! `leasehold audit consistency`: that the log of a running vault goes on from an earlier state of it.

use std::path::PathBuf;

use super::{KeyArgs, field_hash, foreign, kept_in, number, path, signed, told};
use crate::{
    audit::merkle,
    cli::client::{
        call::Call,
        failure::Failure,
        http::Vault,
        output::{Mode, Report},
    },
};

/// Arguments of `leasehold audit consistency`.
#[derive(Debug, clap::Args)]
pub struct ConsistencyArgs {
    /// The records that the log had
    #[arg(
        long,
        value_name = "N",
        required_unless_present = "against",
        conflicts_with = "against"
    )]
    from: Option<u64>,
    /// The checkpoint over them, kept elsewhere; of several in the file the newest
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// The records that it has come to; all that are sealed by default
    #[arg(long, value_name = "N")]
    to: Option<u64>,
    #[command(flatten)]
    key: KeyArgs,
}

pub(super) async fn run(
    vault: &Vault,
    arguments: &ConsistencyArgs,
    mode: Mode,
) -> Result<Report, Failure> {
    let (key, note) = arguments.key.get(vault).await?;
    let mut unread = Vec::new();
    let kept = match &arguments.against {
        None => Vec::new(),
        Some(file) => kept_in(file, &key, &mut unread).map_err(Failure::Local)?,
    };
    let kept = kept.iter().map(|one| *one.statement());
    let kept = kept.max_by_key(|one| one.size);
    let asked = kept.map(|kept| kept.size).or(arguments.from).unwrap_or(1);
    let to = arguments.to.map(|to| ("to".to_owned(), to.to_string()));
    let query = [("from".to_owned(), asked.to_string())];
    let query = query.into_iter().chain(to).collect();
    let call = Call::get(&["v1", "audit", "consistency"]).query(query);
    let answer = vault.call(call).await?;
    let body = answer.data();
    let old = (number(body, "from")?, field_hash(body, "from_root")?);
    let new = (number(body, "to")?, field_hash(body, "to_root")?);
    let other = arguments.to.is_some_and(|to| to != new.0);
    let held = merkle::consistent((old.0, &old.1), (new.0, &new.1), &path(body)?);
    if old.0 != asked || other || !held {
        return Err(foreign(
            "the proof does not lead from the one tree to the other",
        ));
    }
    if let Some(kept) = kept.filter(|kept| kept.root != old.1) {
        let what = format!(
            "records 1 to {asked} are not those that the kept checkpoint of {} is over",
            kept.time
        );
        return Err(foreign(&what));
    }
    let signed = signed(body, new, &key, arguments.to.is_some())?;
    let root: String = old.1.iter().map(|byte| format!("{byte:02x}")).collect();
    let rows = vec![
        ("the tree over".to_owned(), format!("{asked} records")),
        ("with the root".to_owned(), root),
        ("begins that over".to_owned(), format!("{} records", new.0)),
    ];
    let report = told(&answer, rows, signed.as_ref(), note, mode);
    Ok(unread
        .iter()
        .fold(report, |report, line| report.with_note(line)))
}
