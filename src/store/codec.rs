//! Records as bytes: a format number, then postcard. An unknown format is an error, never a guess.

use serde::{Serialize, de::DeserializeOwned};

use crate::domain::error::{Error, Result};

/// The format that is written.
pub const FORMAT: u8 = 1;

/// A record that this version of the vault cannot read.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    #[error("unknown record format {0}")]
    UnknownFormat(u8),
    #[error("malformed record")]
    Malformed(#[source] postcard::Error),
    #[error("{0} bytes behind the record")]
    Trailing(usize),
    #[error("empty record")]
    Empty,
}

/// Writes a record down.
pub fn encode<T: Serialize>(record: &T) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(256);
    bytes.push(FORMAT);
    postcard::to_extend(record, bytes).map_err(Error::internal)
}

/// Reads a record back.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let (format, body) = bytes.split_first().ok_or(CodecError::Empty)?;
    if *format != FORMAT {
        return Err(CodecError::UnknownFormat(*format));
    }
    match postcard::take_from_bytes(body) {
        Ok((record, [])) => Ok(record),
        Ok((_, rest)) => Err(CodecError::Trailing(rest.len())),
        Err(error) => Err(CodecError::Malformed(error)),
    }
}
