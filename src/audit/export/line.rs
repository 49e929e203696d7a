//! The lines of an export, to and from text.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Exported, Gap};
use crate::{
    audit::{
        checkpoint::{self, Checkpoint},
        merkle::Hash,
        removal::Gone,
    },
    domain::{
        error::{Error, Result},
        id::WorkspaceId,
        time::Timestamp,
    },
};

/// The format that is written. Another rendering of records is another format, that in rows and events included.
pub const FORMAT: u32 = 1;

/// What an export is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    pub format: u32,
    /// The log's name, as its checkpoints have it: it ends in the first 8 bytes of the public key's SHA-256.
    pub log: String,
    pub workspace: WorkspaceId,
    pub workspace_name: String,
    /// When the export began.
    pub time: Timestamp,
    /// What was asked for, by the names of the parameters.
    pub filter: BTreeMap<String, String>,
    /// The record that it begins behind; 0 for the beginning.
    pub after: u64,
    pub checkpoint: At,
}

/// A checkpoint and the records under it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct At {
    pub size: u64,
    pub note: String,
}

impl Header {
    /// The header of a whole export of this workspace, without a filter.
    pub fn new(
        workspace: (WorkspaceId, &str),
        checkpoint: &Checkpoint,
        public_key: &[u8; 32],
        time: Timestamp,
    ) -> Self {
        let (workspace, name) = workspace;
        Self {
            format: FORMAT,
            log: checkpoint::origin(public_key),
            workspace,
            workspace_name: name.to_owned(),
            time,
            filter: BTreeMap::new(),
            after: 0,
            checkpoint: At {
                size: checkpoint.statement().size,
                note: checkpoint.note().to_owned(),
            },
        }
    }
}

/// A record's line, without what people read.
#[derive(Debug, Deserialize)]
pub(super) struct RecordLine {
    pub(super) sequence: u64,
    pub(super) encoded: String,
    pub(super) sealed: String,
}

/// A gap's line.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct GapLine {
    pub(super) first: u64,
    pub(super) size: u64,
    pub(super) hash: String,
}

/// The line of what retention removed.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RemovedLine {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) records: u64,
}

/// The line of a mark, or of the end.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct MarkLine {
    /// The last record that the lines so far account for.
    pub(super) through: u64,
    /// Records in this part so far.
    pub(super) records: u64,
    pub(super) tags: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) signature: String,
}

/// A line of any kind.
#[derive(Debug)]
pub(super) enum Line {
    Header(Box<Header>),
    Record(RecordLine),
    Gap(GapLine),
    Removed(RemovedLine),
    Mark(MarkLine),
    End(MarkLine),
}

impl Line {
    /// Reads a line; none for what is no line of an export.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let kind = text.strip_prefix("{\"type\":\"")?.split('"').next()?;
        Some(match kind {
            "header" => Self::Header(json(text)?),
            "record" => Self::Record(json(text)?),
            "gap" => Self::Gap(json(text)?),
            "removed" => Self::Removed(json(text)?),
            "mark" => Self::Mark(json(text)?),
            "end" => Self::End(json(text)?),
            _ => return None,
        })
    }
}

fn json<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_str(text).ok()
}

/// A line of this kind, without its newline.
fn tagged(kind: &str, fields: &impl Serialize) -> Result<String> {
    let json = serde_json::to_string(fields).map_err(Error::internal)?;
    let fields = json.strip_prefix('{').unwrap_or_default();
    Ok(format!("{{\"type\":\"{kind}\",{fields}"))
}

/// The header's line.
pub(super) fn header(header: &Header) -> Result<String> {
    tagged("header", header)
}

/// The line of a record, whose readable form is an object of JSON.
pub(super) fn record(record: &Exported, readable: &str) -> String {
    format!(
        "{{\"type\":\"record\",\"sequence\":{},\"encoded\":\"{}\",\"sealed\":\"{}\",\"record\":{readable}}}",
        record.sequence,
        STANDARD.encode(&record.encoded),
        STANDARD.encode(record.sealed),
    )
}

/// The line of a gap.
pub(super) fn gap(gap: &Gap) -> Result<String> {
    let Gap { first, size, hash } = *gap;
    let hash = STANDARD.encode(hash);
    tagged("gap", &GapLine { first, size, hash })
}

/// The line of what retention removed.
pub(super) fn removed(gone: &Gone) -> Result<String> {
    let Gone {
        first,
        last,
        records,
    } = *gone;
    let line = RemovedLine {
        first,
        last,
        records,
    };
    tagged("removed", &line)
}

/// The line of a mark; without its signature, it has no closing brace.
pub(super) fn mark(end: bool, mark: &MarkLine) -> Result<String> {
    let line = tagged(if end { "end" } else { "mark" }, mark)?;
    match mark.signature.is_empty() {
        true => Ok(line.strip_suffix('}').unwrap_or_default().to_owned()),
        false => Ok(line),
    }
}

/// The digest that a text spells.
pub(super) fn hash(text: &str) -> Option<Hash> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

/// The bytes that a text spells.
pub(super) fn bytes(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}
