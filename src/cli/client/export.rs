//! `leasehold audit export`: history into a file, or to stdout, as it comes.
//!
//! A file grows under its own name, so that what arrived before a break is there, and `--resume` goes on with it: one that
//! proves itself behind its last mark, which signs all before it, others behind their last complete record. What stands
//! behind that place is cut off first.

mod place;

use std::{
    fs::File,
    io::{self, ErrorKind, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde_json::json;

use self::place::Place;
use super::{
    audit::FilterArgs,
    call::Call,
    failure::Failure,
    http::Vault,
    output::{Mode, Report},
    paging::Query,
    render,
};
use crate::audit::checkpoint;

/// How records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ExportFormat {
    /// Lines of JSON that prove themselves, for `audit verify --export`
    Ndjson,
    /// A table for spreadsheets
    Csv,
    /// Events of the Open Cybersecurity Schema Framework, for a SIEM
    Ocsf,
}

/// Arguments of `leasehold audit export`.
#[derive(Debug, clap::Args)]
#[command(disable_version_flag = true)]
pub struct ExportArgs {
    /// How records are written
    #[arg(long, value_enum, default_value_t = ExportFormat::Ndjson)]
    format: ExportFormat,
    /// Have CSV or OCSF carry what proves them, for `audit verify --export`; NDJSON always does
    #[arg(long)]
    proofs: bool,
    /// The file to write; stdout where it is not given
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Go on with a file whose export broke off, or that history has outgrown
    #[arg(long, requires = "out", conflicts_with_all = ["force", "after"])]
    resume: bool,
    /// Replace the file if it exists
    #[arg(long, requires = "out")]
    force: bool,
    /// Only behind this record
    #[arg(long, value_name = "N")]
    after: Option<u64>,
    /// Write it so that this checkpoint, kept elsewhere, can be held against it
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    #[command(flatten)]
    filter: FilterArgs,
    /// Only before this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

impl ExportArgs {
    /// Whether it is asked to prove itself.
    fn proven(&self) -> bool {
        self.proofs || self.format == ExportFormat::Ndjson
    }

    fn query(&self) -> Query {
        let until = self.until.clone().map(|until| ("until", until));
        let given = self.filter.pairs().into_iter().chain(until);
        given
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }
}

impl ExportFormat {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
            Self::Ocsf => "ocsf",
        }
    }

    const fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv",
            Self::Ndjson | Self::Ocsf => "application/x-ndjson",
        }
    }
}

/// Fetches the export.
pub(super) async fn run(
    vault: &Vault,
    arguments: ExportArgs,
    mode: Mode,
) -> Result<Report, Failure> {
    let Some(path) = &arguments.out else {
        return to_stdout(vault, &arguments).await;
    };
    let failed =
        |error: io::Error| Failure::Local(format!("cannot write `{}`: {error}", path.display()));
    let mut query = arguments.query();
    let (file, place) = match arguments.resume {
        true => resumed(path, &arguments, &mut query)?,
        false => (created(path, arguments.force)?, Place::default()),
    };
    if place.whole {
        let name = path.display();
        return Err(Failure::Local(format!(
            "the export in `{name}` is whole; what came after goes into another file, with --after {}",
            place.after
        )));
    }
    let after = arguments.after.or(Some(place.after)).filter(|n| *n > 0);
    // A row of names stands in front of the first part alone.
    let mut rows = Rows {
        skip_first: arguments.format == ExportFormat::Csv && place.keep > 0,
    };
    // What cannot be relied on stays until something takes its place.
    let mut begun = false;
    let mut begin = |file: &mut File| match std::mem::replace(&mut begun, true) {
        true => Ok(()),
        false => {
            file.set_len(place.keep)?;
            file.seek(SeekFrom::Start(place.keep)).map(drop)
        }
    };
    let mut out = io::BufWriter::new(file);
    let proven = arguments.proven() || place.proven;
    let call = call(&arguments, query, proven, after)?;
    let fetched = vault
        .fetch(&call, arguments.format.media_type(), |piece| {
            begin(out.get_mut())
                .and_then(|()| out.write_all(rows.of(piece)))
                .map_err(failed)
        })
        .await;
    // What arrived stays, whatever came of the rest.
    let file = out
        .into_inner()
        .map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)?;
    let headers = fetched.map_err(|failure| match failure {
        Failure::Unreachable { message, .. } => Failure::Unreachable {
            message,
            hint: "what arrived is in the file; go on with --resume",
        },
        other => other,
    })?;
    let (end, records) = (headers.end, headers.records);
    let removed = headers
        .removed
        .filter(|removed| *removed > after.unwrap_or(0));
    if proven && !Place::find(path, arguments.format)?.whole {
        return Err(Failure::Unreachable {
            message: format!("the export in `{}` has no end", path.display()),
            hint: "go on with --resume",
        });
    }
    let name = path.display().to_string();
    if mode.json {
        let data = json!({"file": name, "records": records, "end": end, "removed": removed});
        let text = json!({"status": "success", "data": data}).to_string();
        return Ok(Report::new(mode.layout(&text)));
    }
    let told = |number: Option<u64>| number.map_or_else(|| "?".to_owned(), |n| n.to_string());
    let mut rows = vec![
        ("written".to_owned(), name),
        ("records".to_owned(), told(records)),
        ("up to record".to_owned(), told(end)),
    ];
    if let Some(removed) = removed {
        let first = after.unwrap_or(0) + 1;
        let what = format!("records {first} to {removed} were there before, of every workspace");
        rows.push(("removed by retention".to_owned(), what));
    }
    Ok(Report::new(render::aligned(rows)))
}

async fn to_stdout(vault: &Vault, arguments: &ExportArgs) -> Result<Report, Failure> {
    let call = call(
        arguments,
        arguments.query(),
        arguments.proven(),
        arguments.after,
    )?;
    let mut out = io::stdout();
    let mut gone = false;
    let outcome = vault
        .fetch(&call, arguments.format.media_type(), |piece| {
            out.write_all(piece)
                .and_then(|()| out.flush())
                .map_err(|error| {
                    gone = error.kind() == ErrorKind::BrokenPipe;
                    Failure::Local(format!("cannot write the result: {error}"))
                })
        })
        .await;
    match outcome {
        // Its reader has had enough.
        Err(_) if gone => Ok(Report::default()),
        outcome => outcome.map(|_| Report::default()),
    }
}

fn call(
    arguments: &ExportArgs,
    mut query: Query,
    proven: bool,
    after: Option<u64>,
) -> Result<Call, Failure> {
    query.push(("format".to_owned(), arguments.format.as_str().to_owned()));
    if proven && arguments.format != ExportFormat::Ndjson {
        query.push(("proofs".to_owned(), "true".to_owned()));
    }
    query.extend(after.map(|after| ("after".to_owned(), after.to_string())));
    if let Some(file) = &arguments.against {
        query.push(("against".to_owned(), size_of(file)?.to_string()));
    }
    Ok(Call::get(&["v1", "audit", "export"]).query(query))
}

/// How many records the newest checkpoint in a file is over. Whose it is, is for the verification to say.
fn size_of(file: &Path) -> Result<u64, Failure> {
    let told = |what: &str| Failure::Local(format!("`{}`: {what}", file.display()));
    let text = std::fs::read(file).map_err(|error| told(&error.to_string()))?;
    let found = checkpoint::notes_in(&text);
    let sizes = found
        .notes
        .iter()
        .filter_map(|note| note.lines().nth(1)?.parse().ok());
    sizes.max().ok_or_else(|| told("it holds no checkpoint"))
}

fn created(path: &Path, force: bool) -> Result<File, Failure> {
    let mut options = File::options();
    options.write(true).mode(0o600);
    match force {
        true => options.create(true).truncate(true),
        false => options.create_new(true),
    };
    options.open(path).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => Failure::Local(format!(
            "`{}` exists; choose another name, go on with it with --resume, or replace it with --force",
            path.display()
        )),
        _ => Failure::Local(format!("cannot write `{}`: {error}", path.display())),
    })
}

/// The file to go on with, and where; one that proves itself says what it is filtered by.
fn resumed(
    path: &Path,
    arguments: &ExportArgs,
    query: &mut Query,
) -> Result<(File, Place), Failure> {
    let place = Place::find(path, arguments.format)?;
    if arguments.proofs && place.keep > 0 && !place.proven {
        return Err(Failure::Usage(
            "what is in the file has no proofs; go on without --proofs, or export it anew with --force".to_owned(),
        ));
    }
    if let Some(filter) = &place.filter {
        let same = |(name, value): &(String, String)| filter.get(name) == Some(value);
        if !query.iter().all(same) {
            return Err(Failure::Usage(
                "the export is filtered by something else; leave the filters out, the file has them".to_owned(),
            ));
        }
        *query = filter.clone().into_iter().collect();
    }
    if place.keep == 0 && place.filter.is_none() {
        return Err(Failure::Local(format!(
            "`{}` holds nothing of an export that one could go on behind; begin anew with --force",
            path.display()
        )));
    }
    let file = File::options().write(true).open(path);
    let file = file
        .map_err(|error| Failure::Local(format!("cannot write `{}`: {error}", path.display())))?;
    Ok((file, place))
}

/// Passes an answer on, but for its first row where the file has one.
struct Rows {
    skip_first: bool,
}

impl Rows {
    fn of<'a>(&mut self, piece: &'a [u8]) -> &'a [u8] {
        if !self.skip_first {
            return piece;
        }
        let Some(end) = piece.iter().position(|byte| *byte == b'\n') else {
            return &[];
        };
        self.skip_first = false;
        piece.get(end + 1..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
