//! The seal over the chunks of a backup. Each backup has a key of its own, by the salt in its header, so that
//! no key seals more than one; each chunk is bound to its place in it.
//!
//! ```text
//! chunk = nonce(12) ‖ ciphertext ‖ tag(16)
//! AAD   = format(1) ‖ type `Backup`(1) ‖ zero(16) ‖ last(4, BE): 0, or 1 for the last one ‖ zero(4)
//!         ‖ number(8, BE) ‖ SHA-256 of the header(32)
//! ```

use std::sync::Arc;

use zeroize::Zeroizing;

use super::{
    aead::Cipher,
    entropy::Entropy,
    envelope::{Aad, OpenError, RecordType, Slot},
    kdf::{Branch, Expander},
};
use crate::domain::{
    error::{Error, Result},
    id::WorkspaceId,
};

/// Bytes in the salt of a backup.
pub const SALT_BYTES: usize = 32;

/// Which chunk of which backup a ciphertext is.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Counted from 0.
    pub number: u64,
    /// Whether no chunk follows.
    pub last: bool,
    /// SHA-256 of the backup's header.
    pub header: &'a [u8; 32],
}

impl Place<'_> {
    fn aad(&self) -> Aad {
        let mut id = [0; 40];
        id.iter_mut()
            .zip(self.number.to_be_bytes().iter().chain(self.header))
            .for_each(|(to, from)| *to = *from);
        Slot {
            kind: RecordType::Backup,
            id: &id,
            version: self.last.into(),
        }
        .aad(WorkspaceId::SYSTEM, 0)
    }
}

/// The key of one backup.
pub struct BackupKey {
    cipher: Cipher,
    entropy: Arc<dyn Entropy>,
}

impl BackupKey {
    pub(super) fn new(
        over_all: &Expander,
        salt: &[u8; SALT_BYTES],
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self> {
        let key = over_all.subkey(Branch::BackupFile, &[salt])?;
        Ok(Self {
            cipher: Cipher::new(&key),
            entropy,
        })
    }

    /// Seals one chunk into its place.
    pub fn seal(&self, place: Place<'_>, plaintext: &[u8]) -> Result<Vec<u8>> {
        let mut sealed = Vec::new();
        let nonce = self.entropy.bytes()?;
        self.cipher
            .seal_into(&mut sealed, &nonce, &place.aad(), plaintext)?;
        Ok(sealed)
    }

    /// Opens one chunk from its place.
    pub fn open(&self, place: Place<'_>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        self.cipher
            .open(&place.aad(), sealed)
            .map_err(|_| Error::internal(OpenError::NotAuthentic(RecordType::Backup)))
    }
}
