//! Making a backup: pairs in, a file out.

use std::io::Write;

use super::{About, CHUNK_BYTES};
use crate::{
    archive::{ArchiveError, Summary, Writer},
    crypto::{
        backup::{BackupKey, Place},
        keyring::Keyring,
    },
    domain::{
        error::{Error, Result},
        time::Timestamp,
    },
    store::codec,
};

/// A backup that is being made.
pub struct Sealer<W> {
    archive: Writer<W>,
    key: BackupKey,
    chunk: Vec<u8>,
}

fn failed(error: ArchiveError) -> Error {
    Error::storage("the backup could not be written").caused_by(error)
}

impl<W: Write> Sealer<W> {
    /// Begins a backup of the vault with this header.
    pub fn new(out: W, keyring: &Keyring, vault: &[u8], created_at: Timestamp) -> Result<Self> {
        let about = About {
            created_at,
            made_by: env!("CARGO_PKG_VERSION").to_owned(),
            salt: keyring.entropy().bytes()?,
            vault: vault.to_vec(),
        };
        Self::about(out, keyring, &about)
    }

    pub(super) fn about(out: W, keyring: &Keyring, about: &About) -> Result<Self> {
        Ok(Self {
            archive: Writer::new(out, &codec::encode(about)?).map_err(failed)?,
            key: keyring.backup(&about.salt)?,
            chunk: Vec::with_capacity(CHUNK_BYTES),
        })
    }

    /// Adds a pair, whose key is greater than those before; tells whether that wrote a chunk.
    pub fn pair(&mut self, key: &[u8], value: &[u8]) -> Result<bool> {
        let (key_bytes, value_bytes) = (
            u16::try_from(key.len()).map_err(Error::internal)?,
            u32::try_from(value.len()).map_err(Error::internal)?,
        );
        let full =
            !self.chunk.is_empty() && self.chunk.len() + 6 + key.len() + value.len() > CHUNK_BYTES;
        if full {
            self.write(false)?;
        }
        self.chunk.extend_from_slice(&key_bytes.to_be_bytes());
        self.chunk.extend_from_slice(&value_bytes.to_be_bytes());
        self.chunk.extend_from_slice(key);
        self.chunk.extend_from_slice(value);
        Ok(full)
    }

    /// Ends the backup.
    pub fn finish(mut self) -> Result<(W, Summary)> {
        self.write(true)?;
        self.archive.finish().map_err(failed)
    }

    fn write(&mut self, last: bool) -> Result<()> {
        let place = Place {
            number: self.archive.frames(),
            last,
            header: self.archive.prefix_digest(),
        };
        let sealed = self.key.seal(place, &self.chunk)?;
        self.chunk.clear();
        self.archive.frame(last, &sealed).map_err(failed)
    }
}
