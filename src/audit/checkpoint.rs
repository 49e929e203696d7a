//! Checkpoints: signed statements over the log, for anybody to keep and to hold the vault to.
//!
//! The form is that of C2SP's `tlog-checkpoint` (<https://c2sp.org/tlog-checkpoint>) in a `signed-note`
//! (<https://c2sp.org/signed-note>), so tools made for transparency logs read it:
//!
//! ```text
//! leasehold/v1/checkpoint/⟨first 8 bytes of SHA-256(public key), hex⟩     origin: what this is, and of which log
//! ⟨records in the tree⟩
//! ⟨root, base64⟩
//! time ⟨RFC 3339⟩
//! previous ⟨SHA-256 of the whole previous checkpoint, base64⟩             not in the first one
//!
//! — ⟨origin⟩ ⟨base64(key id(4) ‖ Ed25519 signature(64) over the lines above the blank one)⟩
//! ```
//!
//! A statement has one spelling: what reads differently from how it would be written is refused.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

use super::{leaf, merkle::Hash};
use crate::{
    crypto::sign::{self, SigningKey},
    domain::{error::Result, time::Timestamp},
};

/// What the signed bytes say they are.
const FORMAT: &str = "leasehold/v1/checkpoint";
/// The algorithm byte of Ed25519 in a signed note's key id.
const ED25519: u8 = 0x01;
/// No checkpoint is longer, in bytes.
pub const MAX_BYTES: usize = 1024;

/// What a checkpoint says: at `time` the log had `size` records, and a tree over them with that root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statement {
    pub size: u64,
    pub root: Hash,
    pub time: Timestamp,
    /// The digest of the checkpoint before it; none for the first.
    pub previous: Option<Hash>,
}

/// A statement whose signature was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    statement: Statement,
    note: String,
}

/// Why a text is not a checkpoint of a vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("it is not a checkpoint")]
    Malformed,
    #[error("it is a checkpoint of another vault")]
    OtherVault,
    #[error("its signature is not that of the public key")]
    BadSignature,
}

impl Statement {
    /// Signs it.
    pub fn sign(self, key: &SigningKey) -> Result<Checkpoint> {
        let origin = origin(key.public_key());
        let text = self.text(&origin);
        let mut signature = key_id(&origin, key.public_key()).to_vec();
        signature.extend_from_slice(&key.sign(text.as_bytes())?);
        Ok(Checkpoint {
            statement: self,
            note: format!("{text}\n— {origin} {}\n", STANDARD.encode(signature)),
        })
    }

    /// The signed bytes.
    fn text(&self, origin: &str) -> String {
        let Self {
            size,
            root,
            time,
            previous,
        } = self;
        let root = STANDARD.encode(root);
        let previous = previous
            .map(|digest| format!("previous {}\n", STANDARD.encode(digest)))
            .unwrap_or_default();
        format!("{origin}\n{size}\n{root}\ntime {time}\n{previous}")
    }

    /// Reads the signed bytes; whatever is not the spelling of a statement is none.
    fn parse(text: &str, origin: &str) -> Option<Self> {
        let mut lines = text.lines().skip(1);
        let size = lines.next()?.parse().ok()?;
        let root = hash(lines.next()?)?;
        let time = lines.next()?.strip_prefix("time ")?.parse().ok()?;
        let previous = match lines.next() {
            Some(line) => Some(hash(line.strip_prefix("previous ")?)?),
            None => None,
        };
        let statement = Self {
            size,
            root,
            time,
            previous,
        };
        (statement.text(origin) == text).then_some(statement)
    }
}

impl Checkpoint {
    /// Reads a checkpoint of the vault with this public key.
    pub fn open(note: &str, public_key: &[u8; 32]) -> Result<Self, Refused> {
        if note.len() > MAX_BYTES || !note.starts_with(FORMAT) {
            return Err(Refused::Malformed);
        }
        let (text, signature) = note.split_once("\n\n— ").ok_or(Refused::Malformed)?;
        let text = format!("{text}\n");
        let origin = origin(public_key);
        if text.lines().next() != Some(&origin) {
            return Err(Refused::OtherVault);
        }
        let signature = signature
            .strip_prefix(&origin)
            .and_then(|rest| rest.strip_prefix(' ')?.strip_suffix('\n'))
            .and_then(|encoded| STANDARD.decode(encoded).ok())
            .ok_or(Refused::Malformed)?;
        let statement = Statement::parse(&text, &origin).ok_or(Refused::Malformed)?;
        let signed = signature
            .strip_prefix(&key_id(&origin, public_key))
            .is_some_and(|signature| sign::verifies(public_key, text.as_bytes(), signature));
        if !signed {
            return Err(Refused::BadSignature);
        }
        Ok(Self {
            statement,
            note: note.to_owned(),
        })
    }

    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// The whole signed text.
    pub fn note(&self) -> &str {
        &self.note
    }

    /// As one line of JSON, with what it says beside the text.
    pub fn json(&self) -> String {
        let Statement {
            size,
            root,
            time,
            previous,
        } = &self.statement;
        serde_json::json!({
            "size": size, "root": hex(root), "time": time, "previous": previous.map(|digest| hex(&digest)),
            "note": self.note,
        })
        .to_string()
    }

    /// What the next checkpoint names it by.
    pub fn digest(&self) -> Hash {
        leaf::digest(self.note.as_bytes())
    }
}

/// The signed texts in a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Notes {
    pub notes: Vec<String>,
    /// Lines that are neither a checkpoint nor an alarm, such as those of which a full disk took a part only.
    pub unreadable: usize,
}

/// The signed texts in a file: one text itself, or JSON values one after the other, as the API answers them and sinks write
/// them, with the text in `note`, alarms between them. What cannot be read is passed over, line by line, and counted.
pub fn notes_in(file: &[u8]) -> Notes {
    let text = String::from_utf8_lossy(file);
    let mut found = Notes::default();
    if text.starts_with(FORMAT) {
        found.notes.push(text.into_owned());
        return found;
    }
    let note = |json: &serde_json::Value| {
        let body = json.get("data").unwrap_or(json);
        Some(body.get("note")?.as_str()?.to_owned())
    };
    let alarm = |json: &serde_json::Value| json.get("type").is_some_and(|kind| kind == "alarm");
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let mut values = serde_json::Deserializer::from_str(rest).into_iter();
        rest = match values.next() {
            Some(Ok(json)) => {
                match note(&json) {
                    Some(note) => found.notes.push(note),
                    None if alarm(&json) => {}
                    None => found.unreadable += 1,
                }
                rest.get(values.byte_offset()..).unwrap_or_default()
            }
            _ => {
                found.unreadable += 1;
                rest.split_once('\n').map_or("", |(_, rest)| rest)
            }
        }
        .trim_start();
    }
    found
}

/// Of kept checkpoints, in the order of their sizes, those that a running vault must prove: the newest and the oldest one,
/// those that no younger one names as the one before it, and some `few` of the rest at equal distances. A file that a sink
/// wrote has one for each second.
pub fn telling(kept: &[Checkpoint], few: usize) -> Vec<&Checkpoint> {
    let step = kept.len().div_ceil(few.max(1)).max(1);
    let next = kept.iter().skip(1).map(Some).chain([None]);
    let told = kept
        .iter()
        .zip(next)
        .enumerate()
        .filter(|(at, (one, next))| {
            let named = next.is_some_and(|next| {
                next.statement.previous == Some(one.digest()) || next.note == one.note
            });
            !named || at % step == 0
        });
    told.map(|(_, (one, _))| one).collect()
}

/// Reads a public key as answers show it, in base64, or in hexadecimal.
pub fn parse_public_key(text: &str) -> Option<[u8; 32]> {
    let text = text.trim();
    if text.len() == 64 {
        let (pairs, _) = text.as_bytes().as_chunks::<2>();
        let bytes: Option<Vec<u8>> = pairs
            .iter()
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
            .collect();
        return bytes?.try_into().ok();
    }
    STANDARD.decode(text).ok()?.try_into().ok()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The name of the log whose checkpoints this key signs.
pub(super) fn origin(public_key: &[u8; 32]) -> String {
    let digest = Sha256::digest(public_key);
    format!("{FORMAT}/{}", hex(digest.get(..8).unwrap_or(&digest)))
}

/// The key's id, as a signed note has it.
fn key_id(origin: &str, public_key: &[u8; 32]) -> [u8; 4] {
    let digest: Hash = Sha256::new()
        .chain_update(origin)
        .chain_update([b'\n', ED25519])
        .chain_update(public_key)
        .finalize()
        .into();
    let [a, b, c, d, ..] = digest;
    [a, b, c, d]
}

fn hash(encoded: &str) -> Option<Hash> {
    STANDARD.decode(encoded).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests;
