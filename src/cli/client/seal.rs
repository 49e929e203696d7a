//! `leasehold audit checkpoint | proof | consistency | verify`: what the vault says about its log, held to its signature here.
//!
//! Nothing is believed because the vault says so: checkpoints count once their signature is good under the public key,
//! which `--public-key` pins, and proofs are computed again. Only that each record under a checkpoint is as it was sealed
//! is the vault's own word; `--data-dir` looks at the records themselves.

mod consistency;
mod proof;
mod verify;

use std::{fs, io::Write, path::PathBuf};

use serde_json::{Value, json};

pub use self::verify::Verification;
use super::{
    answer::Answer,
    call::Call,
    export::{self, ExportArgs},
    failure::Failure,
    hold::{self, HoldCommand},
    http::Vault,
    output::{Mode, Report},
    paging::Paging,
    partial::Partial,
    render::{self, Column},
};
use crate::audit::{
    checkpoint::{Checkpoint, Notes, notes_in, parse_public_key},
    merkle::Hash,
};

const COLUMNS: &[Column] = &[
    Column("RECORDS", &["size"]),
    Column("TIME", &["time"]),
    Column("ROOT", &["root"]),
];

/// What can be asked about the seals of history.
#[derive(Debug, clap::Subcommand)]
pub enum SealCommand {
    /// Show signed checkpoints over the log, and keep them
    #[command(subcommand)]
    Checkpoint(CheckpointCommand),
    /// Prove that a record is in the sealed log
    Proof(proof::ProofArgs),
    /// Prove that the log goes on from an earlier state of it
    Consistency(consistency::ConsistencyArgs),
    /// Hold the log to its checkpoints: a running vault's, with --data-dir that of a stopped one, with --export a file
    Verify(VerifyArgs),
    /// Write history into a file that proves itself, into a table, or as events for a SIEM
    Export(Box<ExportArgs>),
    /// Keep legal holds: nothing is removed while one is in force
    #[command(subcommand)]
    Hold(HoldCommand),
}

/// What can be done with checkpoints.
#[derive(Debug, clap::Subcommand)]
pub enum CheckpointCommand {
    /// List them, newest first
    List {
        #[command(flatten)]
        paging: Paging,
    },
    /// Show the newest one
    Latest,
    /// Save the newest one to a file, for --against
    Save {
        /// The file to write
        file: PathBuf,
        /// Replace the file if it exists
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        key: KeyArgs,
    },
}

/// Whose signature counts.
#[derive(Debug, Default, clap::Args)]
pub struct KeyArgs {
    /// The vault's public key, as base64, hexadecimal, or a file that holds it; a running vault is asked for it
    /// otherwise
    #[arg(long, value_name = "KEY|FILE")]
    public_key: Option<String>,
}

/// Arguments of `leasehold audit verify`.
#[derive(Debug, Default, clap::Args)]
pub struct VerifyArgs {
    /// The data folder of a vault that does not run; needs its public key and nothing else
    #[arg(long, value_name = "DIR", requires = "public_key")]
    pub data_dir: Option<PathBuf>,
    /// A file of NDJSON that `audit export` wrote; needs the public key and no vault
    #[arg(long, value_name = "FILE", requires = "public_key", conflicts_with_all = ["data_dir", "from", "to"])]
    pub export: Option<PathBuf>,
    /// A checkpoint that was kept elsewhere, or a file of them; may be repeated
    #[arg(long, value_name = "FILE")]
    against: Vec<PathBuf>,
    /// The first record to look at
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub from: Option<u64>,
    /// The last record to look at
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub to: Option<u64>,
    #[command(flatten)]
    key: KeyArgs,
}

/// What a verification without a vault needs.
#[derive(Debug)]
pub struct Pinned {
    pub public_key: [u8; 32],
    pub kept: Vec<Checkpoint>,
    /// What of the files could not be read, in words.
    pub unread: Vec<String>,
}

impl VerifyArgs {
    /// The public key and the kept checkpoints, whose signatures are good; else what is wrong with them.
    pub fn pinned(&self) -> Result<Pinned, String> {
        let public_key = self
            .key
            .pinned()?
            .ok_or("name the vault's public key with --public-key")?;
        self.opened(public_key)
    }

    /// The kept checkpoints by this key. A file that holds none holds the vault to nothing, and is refused.
    fn opened(&self, public_key: [u8; 32]) -> Result<Pinned, String> {
        let (mut kept, mut unread) = (Vec::new(), Vec::new());
        for file in &self.against {
            kept.extend(kept_in(file, &public_key, &mut unread)?);
        }
        kept.sort_by_key(|one| one.statement().size);
        Ok(Pinned {
            public_key,
            kept,
            unread,
        })
    }
}

/// The checkpoints in a file, one at the least; says what could not be read.
fn kept_in(
    file: &std::path::Path,
    public_key: &[u8; 32],
    unread: &mut Vec<String>,
) -> Result<Vec<Checkpoint>, String> {
    let told = |what: &dyn std::fmt::Display| format!("`{}`: {what}", file.display());
    let text = fs::read(file).map_err(|error| told(&error))?;
    let Notes { notes, unreadable } = notes_in(&text);
    if notes.is_empty() {
        return Err(told(&"it holds no checkpoint"));
    }
    if unreadable > 0 {
        unread.push(told(&format!(
            "{unreadable} lines cannot be read and are left out"
        )));
    }
    let open = |note: &String| Checkpoint::open(note, public_key).map_err(|refused| told(&refused));
    notes.iter().map(open).collect()
}

impl KeyArgs {
    fn pinned(&self) -> Result<Option<[u8; 32]>, String> {
        let Some(text) = &self.public_key else {
            return Ok(None);
        };
        if let Some(key) = parse_public_key(text) {
            return Ok(Some(key));
        }
        let file = fs::read_to_string(text)
            .map_err(|error| format!("`{text}` is no public key, and as a file: {error}"))?;
        match parse_public_key(&file).or_else(|| audit_key(&serde_json::from_str(&file).ok()?)) {
            Some(key) => Ok(Some(key)),
            None => Err(format!("`{text}` holds no public key")),
        }
    }

    /// The pinned key, else what the vault says it is, with a note that says so.
    async fn get(&self, vault: &Vault) -> Result<([u8; 32], Option<&'static str>), Failure> {
        if let Some(key) = self.pinned().map_err(Failure::Usage)? {
            return Ok((key, None));
        }
        let answer = vault
            .call(Call::get(&[".well-known", "leasehold-keys.json"]))
            .await?;
        let key =
            audit_key(answer.member("data")).ok_or_else(|| foreign("it shows no public key"))?;
        let note = "the public key is what the vault itself says it is: pin it with --public-key";
        Ok((key, Some(note)))
    }
}

/// The key for the log among a vault's public keys, with or without the envelope.
fn audit_key(json: &Value) -> Option<[u8; 32]> {
    let keys = json.get("data").unwrap_or(json).get("keys")?.as_array()?;
    let key = keys
        .iter()
        .find(|key| key.get("usage").and_then(Value::as_str) == Some("audit"))?;
    parse_public_key(key.get("public_key")?.as_str()?)
}

fn foreign(what: &str) -> Failure {
    Failure::Foreign(format!("what the vault answered does not hold: {what}"))
}

/// Runs one command.
pub(super) async fn run(
    vault: &Vault,
    command: SealCommand,
    mode: Mode,
) -> Result<Report, Failure> {
    match command {
        SealCommand::Checkpoint(CheckpointCommand::List { paging }) => {
            let call = Call::get(&["v1", "audit", "checkpoints"]).query(paging.query(&[]));
            let answer = vault.call(call).await?;
            Ok(render::list(&answer, mode, COLUMNS, "checkpoints"))
        }
        SealCommand::Checkpoint(CheckpointCommand::Latest) => {
            let answer = vault.call(latest()).await?;
            let order = ["size", "time", "root", "previous"];
            Ok(render::object(&answer, mode, &order))
        }
        SealCommand::Checkpoint(CheckpointCommand::Save { file, force, key }) => {
            save(vault, &file, force, &key, mode).await
        }
        SealCommand::Proof(arguments) => proof::run(vault, &arguments, mode).await,
        SealCommand::Consistency(arguments) => consistency::run(vault, &arguments, mode).await,
        SealCommand::Verify(arguments) => verify::verify(vault, &arguments, mode).await,
        SealCommand::Export(arguments) => export::run(vault, *arguments, mode).await,
        SealCommand::Hold(command) => hold::run(vault, command, mode).await,
    }
}

fn latest() -> Call {
    Call::get(&["v1", "audit", "checkpoints", "latest"])
}

fn opened(body: &Value, key: &[u8; 32]) -> Result<Checkpoint, Failure> {
    let note = body.get("note").and_then(Value::as_str).unwrap_or_default();
    Checkpoint::open(note, key).map_err(|refused| foreign(&refused.to_string()))
}

async fn save(
    vault: &Vault,
    file: &std::path::Path,
    force: bool,
    key: &KeyArgs,
    mode: Mode,
) -> Result<Report, Failure> {
    let (key, note) = key.get(vault).await?;
    let answer = vault.call(latest()).await?;
    let checkpoint = opened(answer.data(), &key)?;
    let failed = |error: std::io::Error| {
        Failure::Local(format!("cannot write `{}`: {error}", file.display()))
    };
    let mut partial = Partial::create(file).map_err(failed)?;
    writeln!(partial.out, "{}", checkpoint.json()).map_err(failed)?;
    partial.sync().map_err(failed)?;
    partial.publish(file, force).map_err(failed)?;
    let out = if mode.json {
        mode.layout(answer.text())
    } else {
        let statement = checkpoint.statement();
        render::aligned(vec![
            ("written".to_owned(), file.display().to_string()),
            ("records".to_owned(), statement.size.to_string()),
            ("time".to_owned(), statement.time.to_string()),
        ])
    };
    let report = Report::new(out);
    Ok(match note {
        Some(note) => report.with_note(note),
        None => report,
    })
}

fn number(body: &Value, field: &str) -> Result<u64, Failure> {
    let found = body.get(field).and_then(Value::as_u64);
    found.ok_or_else(|| foreign(&format!("it has no `{field}`")))
}

fn hash(text: &Value) -> Option<Hash> {
    let text = text.as_str()?;
    parse_public_key(text).filter(|_| text.len() == 64)
}

fn field_hash(body: &Value, field: &str) -> Result<Hash, Failure> {
    let found = body.get(field).and_then(hash);
    found.ok_or_else(|| foreign(&format!("it has no `{field}`")))
}

fn path(body: &Value) -> Result<Vec<Hash>, Failure> {
    let path = body.get("path").and_then(Value::as_array);
    path.and_then(|path| path.iter().map(hash).collect())
        .ok_or_else(|| foreign("it has no `path`"))
}

/// The checkpoint over a tree, whose signature is good. Only where the tree was chosen by its size there may be none.
fn signed(
    body: &Value,
    tree: (u64, Hash),
    key: &[u8; 32],
    chosen: bool,
) -> Result<Option<Checkpoint>, Failure> {
    let checkpoint = match body.get("checkpoint") {
        None | Some(Value::Null) if chosen => return Ok(None),
        None | Some(Value::Null) => return Err(foreign("no checkpoint signs it")),
        Some(body) => opened(body, key)?,
    };
    let statement = checkpoint.statement();
    if (statement.size, statement.root) != tree {
        return Err(foreign(
            "the checkpoint is over another tree than the proof",
        ));
    }
    Ok(Some(checkpoint))
}

/// What a proof comes to. One that nothing signs is shown, and is none: the process fails.
fn told(
    answer: &Answer,
    mut rows: Vec<(String, String)>,
    signed: Option<&Checkpoint>,
    note: Option<&'static str>,
    mode: Mode,
) -> Report {
    let mut report = if mode.json {
        let mut data = answer.data().clone();
        if let Some(data) = data.as_object_mut() {
            data.insert("signed".to_owned(), signed.is_some().into());
        }
        let text = json!({"status": "success", "data": data}).to_string();
        Report::new(mode.layout(&text))
    } else {
        let under = match signed {
            Some(checkpoint) => format!("the checkpoint of {}", checkpoint.statement().time),
            None => "by nobody: no checkpoint is over as many records".to_owned(),
        };
        rows.push(("signed".to_owned(), under));
        Report::new(render::aligned(rows))
    };
    report.failed = signed.is_none();
    match note {
        Some(note) => report.with_note(note),
        None => report,
    }
}

#[cfg(test)]
mod tests;
