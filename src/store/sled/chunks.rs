//! Bulky values, in pieces of one page at most.
//!
//! ```text
//! key                        → 0 ‖ value                      where the value fits
//! key                        → 1 ‖ chunks(2, BE) ‖ length(4, BE)
//! 0x7e ‖ key ‖ index(2, BE)  → a chunk
//! ```
//! The pieces of one value change while nobody reads several, so no reader of durable state sees half of it.

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

/// Changes one bulky key, the pieces of its old value included. Whoever reads several pieces must be kept out meanwhile.
///
/// One piece after the other: a batch costs sled two more writes of its log, each waited for. Cut short, the change is
/// made again from the journal before anybody reads, so what is left over goes first, while the old head still counts
/// it, and the head goes last.
pub(super) fn put(db: &sled::Db, key: &[u8], value: Option<&[u8]>) -> Result<()> {
    let before = match db.get(key).map_err(super::tree::broken)? {
        Some(stored) => count(&stored)?.map_or(0, |(chunks, _)| chunks),
        None => 0,
    };
    let pieces = value
        .filter(|value| value.len() >= MAX_INLINE_BYTES)
        .map(|value| value.chunks(MAX_INLINE_BYTES));
    let after = pieces.as_ref().map_or(0, ExactSizeIterator::len);
    let after = u16::try_from(after).map_err(|_| Error::internal("a value has too many chunks"))?;
    for index in after..before {
        db.remove(chunk_key(key, index))
            .map_err(super::tree::broken)?;
    }
    for (index, piece) in (0..after).zip(pieces.into_iter().flatten()) {
        db.insert(chunk_key(key, index), piece)
            .map_err(super::tree::broken)?;
    }
    let head = match value {
        None => return db.remove(key).map(drop).map_err(super::tree::broken),
        Some(value) if after == 0 => [&[INLINE], value].concat(),
        Some(value) => {
            let length = u32::try_from(value.len()).map_err(Error::internal)?;
            [&[CHUNKED][..], &after.to_be_bytes(), &length.to_be_bytes()].concat()
        }
    };
    db.insert(key, head).map(drop).map_err(super::tree::broken)
}
