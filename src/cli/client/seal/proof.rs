//! `leasehold audit proof`: that a record is in the sealed log of a running vault.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::{KeyArgs, field_hash, foreign, number, path, signed, told};
use crate::{
    audit::{
        checkpoint::parse_public_key,
        leaf::digest,
        merkle::{self, Hash},
    },
    cli::client::{
        answer::Answer,
        audit::HistoryArgs,
        call::Call,
        failure::Failure,
        http::Vault,
        output::{Mode, Report},
    },
};

/// Arguments of `leasehold audit proof`.
#[derive(Debug, clap::Args)]
pub struct ProofArgs {
    /// The record's number
    pub(super) sequence: u64,
    /// Prove it in the tree over so many records; all that are sealed by default
    #[arg(long, value_name = "N")]
    pub(super) size: Option<u64>,
    #[command(flatten)]
    pub(super) history: HistoryArgs,
    #[command(flatten)]
    pub(super) key: KeyArgs,
}

pub(super) async fn run(
    vault: &Vault,
    arguments: &ProofArgs,
    mode: Mode,
) -> Result<Report, Failure> {
    let (key, note) = arguments.key.get(vault).await?;
    let mut query = vec![("sequence".to_owned(), arguments.sequence.to_string())];
    query.extend(
        arguments
            .size
            .map(|size| ("size".to_owned(), size.to_string())),
    );
    let whose = arguments.history.pair();
    query.extend(whose.map(|(name, value)| (name.to_owned(), value)));
    let answer = vault
        .call(Call::get(&["v1", "audit", "proof"]).query(query))
        .await?;
    let (sequence, size, root) = (
        number(answer.data(), "sequence")?,
        number(answer.data(), "size")?,
        field_hash(answer.data(), "root")?,
    );
    let leaf = leaf(&answer, sequence)?;
    let held = sequence == arguments.sequence
        && merkle::included(
            &leaf,
            sequence.saturating_sub(1),
            size,
            &path(answer.data())?,
            &root,
        );
    if !held {
        return Err(foreign(
            "the proof does not lead from the record to the root",
        ));
    }
    let signed = signed(answer.data(), (size, root), &key, arguments.size.is_some())?;
    let rows = vec![
        ("record".to_owned(), sequence.to_string()),
        ("in the tree over".to_owned(), format!("{size} records")),
    ];
    Ok(told(&answer, rows, signed.as_ref(), note, mode))
}

/// The leaf, computed from its parts, and the content digest from the record itself.
fn leaf(answer: &Answer, sequence: u64) -> Result<Hash, Failure> {
    let parts = answer.data().get("leaf").unwrap_or(&Value::Null);
    let record = answer.data().get("record").and_then(Value::as_str);
    let record = record
        .and_then(|record| STANDARD.decode(record).ok())
        .ok_or_else(|| foreign("it has no `record`"))?;
    let content = field_hash(parts, "content")?;
    if digest(&record) != content {
        return Err(foreign("the record is not the one that the leaf is of"));
    }
    let workspace = parts
        .get("workspace")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let workspace = parse_public_key(&format!("{workspace:0>64}"))
        .filter(|_| workspace.len() == 32)
        .ok_or_else(|| foreign("it has no `workspace`"))?;
    let bytes: Vec<u8> = [
        &[0][..],
        &sequence.to_be_bytes(),
        workspace.get(16..).unwrap_or_default(),
        &content,
        &field_hash(parts, "sealed")?,
    ]
    .concat();
    Ok(digest(&bytes))
}
