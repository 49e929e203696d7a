//! Reading a backup: nothing is given out that was not found authentic and in its place.

use std::io::Read;

use super::About;
use crate::{
    archive::{ArchiveError, Reader, Summary},
    crypto::{
        backup::{BackupKey, Place},
        keyring::Keyring,
    },
    domain::error::{Code, Error, Result},
    store::{codec, key},
    tables::Header,
};

/// A backup whose header was read.
pub struct Opened<R> {
    archive: Reader<R>,
    about: About,
    vault: Header,
}

/// A backup whose root key was proven.
pub struct Unlocked<R> {
    archive: Reader<R>,
    about: About,
    key: BackupKey,
}

fn refused(message: impl Into<String>) -> Error {
    Error::new(Code::InvalidRequest, message)
}

fn unreadable(error: ArchiveError) -> Error {
    refused(error.to_string())
}

impl<R: Read> Opened<R> {
    /// Reads the header.
    pub fn new(input: R) -> Result<Self> {
        let archive = Reader::new(input).map_err(unreadable)?;
        let damaged = |error: codec::CodecError| {
            refused("the backup's header cannot be read").caused_by(error)
        };
        let about: About = codec::decode(archive.header()).map_err(damaged)?;
        let vault: Header = codec::decode(&about.vault).map_err(damaged)?;
        Ok(Self {
            archive,
            about,
            vault,
        })
    }

    /// What the backup says about itself. Nothing proves it yet.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// The header of the vault that was backed up.
    pub fn vault(&self) -> &Header {
        &self.vault
    }

    /// Proves the root key.
    pub fn unlock(self, keyring: &Keyring) -> Result<Unlocked<R>> {
        if !keyring.opens_check(&self.vault.check) {
            return Err(Error::new(
                Code::Sealed,
                "the root key is not the one of the vault that this backup was made of",
            ));
        }
        Ok(Unlocked {
            archive: self.archive,
            key: keyring.backup(&self.about.salt)?,
            about: self.about,
        })
    }
}

impl<R: Read> Unlocked<R> {
    /// Gives out every pair in the order of the keys, and in the end what is known of the file.
    pub fn pairs(
        mut self,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<()>,
    ) -> Result<(About, Summary)> {
        let mut before: Option<Vec<u8>> = None;
        let mut of_this_vault = false;
        while let Some(frame) = self.archive.frame().map_err(unreadable)? {
            let place = Place {
                number: frame.number,
                last: frame.last,
                header: self.archive.prefix_digest(),
            };
            let chunk = self.key.open(place, &frame.body).map_err(|error| {
                let number = frame.number;
                refused(format!(
                    "the backup is not authentic: chunk {number} was changed, moved, or taken from another backup"
                ))
                .caused_by(error)
            })?;
            let mut rest = chunk.as_slice();
            while !rest.is_empty() {
                let (at, value, tail) =
                    pair(rest).ok_or_else(|| refused("a chunk of the backup is malformed"))?;
                if before
                    .as_ref()
                    .is_some_and(|before| at <= before.as_slice())
                {
                    return Err(refused("the backup is not in order"));
                }
                of_this_vault |= *at == *key::header() && value == self.about.vault;
                visit(at, value)?;
                before = Some(at.to_vec());
                rest = tail;
            }
        }
        if !of_this_vault {
            return Err(refused(
                "the backup does not hold the vault that its header names",
            ));
        }
        let summary = self.archive.summary();
        let summary = summary.ok_or_else(|| refused("the backup ends too early"))?;
        Ok((self.about, summary))
    }
}

fn pair(rest: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (key_bytes, rest) = rest.split_first_chunk::<2>()?;
    let (value_bytes, rest) = rest.split_first_chunk::<4>()?;
    let (key, rest) = rest.split_at_checked(u16::from_be_bytes(*key_bytes).into())?;
    let (value, rest) = rest.split_at_checked(u32::from_be_bytes(*value_bytes) as usize)?;
    Some((key, value, rest))
}
