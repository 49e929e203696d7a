//! What is wrong, in words.

use super::{Step, bad};
use crate::{audit::checkpoint::Statement, domain::error};

/// Why a kept checkpoint could not be held against an export.
pub(super) fn unheld(kept: &Statement, ends: &Statement) -> String {
    let Statement { size, time, .. } = kept;
    if *size <= ends.size {
        return format!(
            "a gap goes over record {size}, so the checkpoint over {size} records cannot be held against the export; \
             export again with `against={size}`"
        );
    }
    match ends.time >= *time {
        true => format!(
            "the log was rolled back or cut: it had {size} records at {time}, and {} at {}",
            ends.size, ends.time
        ),
        false => format!(
            "the export is older than the checkpoint: it ends at record {}, the checkpoint is over {size}",
            ends.size
        ),
    }
}

/// A line has one spelling.
pub(super) fn written_so(
    written: &error::Result<String>,
    bare: &[u8],
    sequence: impl Into<Option<u64>>,
) -> Step {
    match written {
        Ok(written) if written.as_bytes() == bare => Ok(()),
        _ => bad(sequence, "this line is not spelt as a vault spells it"),
    }
}

/// What differs between a record's line and how it must read.
pub(super) fn told_otherwise(sequence: u64, written: &str, bare: &[u8]) -> String {
    let read = |text: &[u8]| serde_json::from_slice::<serde_json::Value>(text).ok();
    let (truth, told) = (read(written.as_bytes()), read(bare));
    let fields = |line: &Option<serde_json::Value>| {
        let record = line
            .as_ref()
            .and_then(|line| line.get("record")?.as_object());
        record.cloned().unwrap_or_default()
    };
    let (truth, told) = (fields(&truth), fields(&told));
    let names = truth.keys().chain(told.keys());
    let differs = names
        .into_iter()
        .find(|name| truth.get(*name) != told.get(*name));
    match differs {
        Some(name) => {
            let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
            format!("`{shown}` of record {sequence} is not what the encoded record says")
        }
        None => format!("record {sequence} is not spelt as a vault spells it"),
    }
}
