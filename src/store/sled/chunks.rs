//! Bulky values, in pieces of one page at most.
//!
//! ```text
//! key                        → 0 ‖ value                      where the value fits
//! key                        → 1 ‖ chunks(2, BE) ‖ length(4, BE)
//! 0x7e ‖ key ‖ index(2, BE)  → a chunk
//! ```
//! The pieces of one value change in one batch, so no reader of durable state sees half of it.

use crate::{
    domain::error::{Error, Result},
    store::port::{MAX_INLINE_BYTES, Value},
};

const INLINE: u8 = 0;
const CHUNKED: u8 = 1;
/// The first byte of a chunk's key. The port's own keys never begin with it.
pub(super) const CHUNK_SPACE: u8 = 0x7e;

fn chunk_key(key: &[u8], index: u16) -> Vec<u8> {
    let mut chunk = Vec::with_capacity(key.len() + 3);
    chunk.push(CHUNK_SPACE);
    chunk.extend_from_slice(key);
    chunk.extend_from_slice(&index.to_be_bytes());
    chunk
}

fn malformed() -> Error {
    Error::storage("a stored value is damaged").caused_by("chunk header or chunk missing")
}

fn count(stored: &[u8]) -> Result<Option<(u16, usize)>> {
    match stored {
        [INLINE, ..] => Ok(None),
        [CHUNKED, c0, c1, l0, l1, l2, l3] => Ok(Some((
            u16::from_be_bytes([*c0, *c1]),
            u32::from_be_bytes([*l0, *l1, *l2, *l3]) as usize,
        ))),
        _ => Err(malformed()),
    }
}

/// The value, where `stored` holds all of it.
pub(super) fn whole(stored: &[u8]) -> Result<Option<Value>> {
    match count(stored)? {
        None => stored
            .get(1..)
            .map(Value::from)
            .map(Some)
            .ok_or_else(malformed),
        Some(_) => Ok(None),
    }
}

/// The value that `stored` begins.
pub(super) fn join(db: &sled::Db, key: &[u8], stored: &[u8]) -> Result<Value> {
    let Some((chunks, length)) = count(stored)? else {
        return stored.get(1..).map(Value::from).ok_or_else(malformed);
    };
    let mut value = Vec::with_capacity(length.min(MAX_INLINE_BYTES * usize::from(chunks)));
    for index in 0..chunks {
        let chunk = db
            .get(chunk_key(key, index))
            .map_err(super::tree::broken)?
            .ok_or_else(malformed)?;
        value.extend_from_slice(&chunk);
    }
    if value.len() == length {
        Ok(value.into())
    } else {
        Err(malformed())
    }
}

/// Adds the change of one bulky key to a batch, the pieces of its old value included.
pub(super) fn split(
    db: &sled::Db,
    batch: &mut sled::Batch,
    key: &[u8],
    value: Option<&[u8]>,
) -> Result<()> {
    let before = match db.get(key).map_err(super::tree::broken)? {
        Some(stored) => count(&stored)?.map_or(0, |(chunks, _)| chunks),
        None => 0,
    };
    let mut after = 0;
    match value {
        None => batch.remove(key),
        Some(value) if value.len() < MAX_INLINE_BYTES => {
            let mut stored = Vec::with_capacity(value.len() + 1);
            stored.push(INLINE);
            stored.extend_from_slice(value);
            batch.insert(key, stored);
        }
        Some(value) => {
            for chunk in value.chunks(MAX_INLINE_BYTES) {
                batch.insert(chunk_key(key, after), chunk);
                after = after
                    .checked_add(1)
                    .ok_or_else(|| Error::internal("a value has too many chunks"))?;
            }
            let length = u32::try_from(value.len()).map_err(Error::internal)?;
            let [c0, c1] = after.to_be_bytes();
            let [l0, l1, l2, l3] = length.to_be_bytes();
            batch.insert(key, &[CHUNKED, c0, c1, l0, l1, l2, l3]);
        }
    }
    for index in after..before {
        batch.remove(chunk_key(key, index));
    }
    Ok(())
}
