//! Checkpoints and proofs in answers. Hashes are hexadecimal.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    audit::{
        check::Report,
        checkpoint::Checkpoint,
        proof::{Consistency, Inclusion},
        verify::Fault,
    },
    domain::time::Timestamp,
};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn path(hashes: &[[u8; 32]]) -> Vec<String> {
    hashes.iter().map(|hash| hex(hash)).collect()
}

/// A signed statement over the log.
#[derive(Serialize, ToSchema)]
pub(crate) struct CheckpointBody {
    /// How many records it is over: the first so many.
    size: u64,
    /// The root of the tree over them.
    root: String,
    #[schema(value_type = String, format = DateTime)]
    time: Timestamp,
    /// The SHA-256 of the checkpoint before it; null for the first.
    previous: Option<String>,
    /// The signed text, which says all of the above: a signed note (c2sp.org/tlog-checkpoint). Keep this.
    note: String,
}

impl From<&Checkpoint> for CheckpointBody {
    fn from(checkpoint: &Checkpoint) -> Self {
        let statement = checkpoint.statement();
        Self {
            size: statement.size,
            root: hex(&statement.root),
            time: statement.time,
            previous: statement.previous.map(|digest| hex(&digest)),
            note: checkpoint.note().to_owned(),
        }
    }
}

/// A record's place in the tree.
#[derive(Serialize, ToSchema)]
pub(crate) struct InclusionBody {
    sequence: u64,
    leaf: LeafBody,
    /// The record as it was written, in base64: `leaf.content` is its SHA-256.
    record: String,
    /// How many records the tree is over.
    size: u64,
    root: String,
    /// The hashes beside the way from the leaf to the root.
    path: Vec<String>,
    /// The checkpoint over just so many records, where there is one.
    checkpoint: Option<CheckpointBody>,
}

/// What a leaf is the SHA-256 of: 00 ‖ sequence (8 bytes) ‖ workspace (16) ‖ content (32) ‖ sealed (32).
#[derive(Serialize, ToSchema)]
pub(crate) struct LeafBody {
    workspace: String,
    /// The SHA-256 of the record.
    content: String,
    /// The SHA-256 of its ciphertext in the data folder.
    sealed: String,
    hash: String,
}

impl From<Inclusion> for InclusionBody {
    fn from(proof: Inclusion) -> Self {
        Self {
            sequence: proof.leaf.sequence,
            leaf: LeafBody {
                workspace: hex(proof.leaf.workspace.as_bytes()),
                content: hex(&proof.leaf.content),
                sealed: hex(&proof.leaf.sealed),
                hash: hex(&proof.leaf.hash()),
            },
            record: STANDARD.encode(proof.encoded),
            size: proof.size,
            root: hex(&proof.root),
            path: path(&proof.path),
            checkpoint: proof.checkpoint.as_ref().map(CheckpointBody::from),
        }
    }
}

/// That one tree begins with another.
#[derive(Serialize, ToSchema)]
pub(crate) struct ConsistencyBody {
    from: u64,
    from_root: String,
    to: u64,
    to_root: String,
    path: Vec<String>,
    /// The checkpoint over `to` records, where there is one.
    checkpoint: Option<CheckpointBody>,
}

impl From<Consistency> for ConsistencyBody {
    fn from(proof: Consistency) -> Self {
        Self {
            from: proof.from.0,
            from_root: hex(&proof.from.1),
            to: proof.to.0,
            to_root: hex(&proof.to.1),
            path: path(&proof.path),
            checkpoint: proof.checkpoint.as_ref().map(CheckpointBody::from),
        }
    }
}

/// What a verification of the log found.
#[derive(Serialize, ToSchema)]
pub(crate) struct VerificationBody {
    /// Whether nothing is wrong.
    intact: bool,
    /// The first and the last record that were read, and how many.
    first: u64,
    last: u64,
    records: u64,
    /// Checkpoints that they were held to.
    checkpoints: u64,
    /// Records of those asked for that retention removed, as its signed statements say.
    removed: u64,
    /// The last record that a checkpoint proves; those behind it wait for theirs.
    proven: u64,
    /// The first hundred at most, in the order of the log.
    faults: Vec<FaultBody>,
}

/// Something that is wrong with the log.
#[derive(Serialize, ToSchema)]
pub(crate) struct FaultBody {
    /// The first record that it is about.
    sequence: u64,
    what: String,
}

impl From<Report> for VerificationBody {
    fn from(report: Report) -> Self {
        let fault = |Fault { sequence, what }| FaultBody { sequence, what };
        Self {
            intact: report.faults.is_empty(),
            first: report.first,
            last: report.last,
            records: report.records,
            checkpoints: report.checkpoints,
            removed: report.removed,
            proven: report.proven,
            faults: report.faults.into_iter().map(fault).collect(),
        }
    }
}
