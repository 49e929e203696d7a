//! Keys of what seals the log: the tree's tiles and the checkpoints.

use super::*;

/// The tile of the tree over the log with this index, at this level of tiles.
pub fn tile(level: u8, index: u64) -> Key {
    key(TREE, &[&[level], &index.to_be_bytes()])
}

/// The level and index of a tile.
pub fn parse_tile(key: &[u8]) -> Option<(u8, u64)> {
    let (level, index) = key.strip_prefix(&[TREE])?.split_first()?;
    Some((*level, u64::from_be_bytes(index.try_into().ok()?)))
}

/// The checkpoint over so many records.
pub fn checkpoint(size: u64) -> Key {
    key(CHECKPOINT, &[&size.to_be_bytes()])
}

/// The checkpoints over at least so many records, smallest first.
pub fn checkpoints(size: u64) -> Scan {
    Scan {
        start: checkpoint(size),
        ..Scan::prefix(&[CHECKPOINT], usize::MAX)
    }
}

/// How many records a checkpoint is over.
pub fn parse_checkpoint(key: &[u8]) -> Option<u64> {
    key.strip_prefix(&[CHECKPOINT])
        .and_then(|rest| rest.try_into().ok())
        .map(u64::from_be_bytes)
}

/// The exclusive right to seal.
pub fn sealing_lock() -> LockKey {
    LockKey {
        space: 0x14,
        id: [0; 16],
    }
}
