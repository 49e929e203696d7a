//! The keys of the audit index. They tell how much history there is, and nothing of what is in it.

use super::*;
use crate::store::port::after_prefix;

pub fn audit_index_state() -> Key {
    key(AUDIT_INDEX_STATE, &[])
}

pub fn audit_index_page(run: u64, layer: u8, number: u32) -> Key {
    key(
        AUDIT_INDEX_PAGE,
        &[&run.to_be_bytes(), &[layer], &number.to_be_bytes()],
    )
}

/// All pages of a run.
pub fn audit_index_run(run: u64) -> Scan {
    Scan::prefix(&key(AUDIT_INDEX_PAGE, &[&run.to_be_bytes()]), usize::MAX)
}

/// The pages of the runs from this number on.
pub fn audit_index_runs(from: u64) -> Scan {
    Scan {
        start: key(AUDIT_INDEX_PAGE, &[&from.to_be_bytes()]),
        end: after_prefix(&[AUDIT_INDEX_PAGE]),
        limit: usize::MAX,
        reverse: false,
    }
}

/// The run, the layer and the number that a page's key names.
pub fn parse_audit_index_page(key: &[u8]) -> Option<(u64, u8, u32)> {
    let (run, rest) = key
        .strip_prefix(&[AUDIT_INDEX_PAGE])?
        .split_first_chunk::<8>()?;
    let (layer, number) = rest.split_first()?;
    let number = u32::from_be_bytes(number.try_into().ok()?);
    Some((u64::from_be_bytes(*run), *layer, number))
}

/// The exclusive right to change the audit index.
pub fn audit_index_lock() -> LockKey {
    LockKey {
        space: AUDIT_INDEX_STATE,
        id: [0; 16],
    }
}
