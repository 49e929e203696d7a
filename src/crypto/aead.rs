//! AES-256-GCM (NIST SP 800-38D), and the sole use of the cipher in the vault.

use aes_gcm::{
    Aes256Gcm, KeyInit, Nonce,
    aead::{AeadInOut, Buffer, Error as CipherError},
};
use zeroize::{Zeroize, Zeroizing};

use crate::domain::error::{Error, Result};

/// Bytes in a key.
pub const KEY_BYTES: usize = 32;
/// Bytes in a nonce.
pub const NONCE_BYTES: usize = 12;
/// Bytes in a tag.
pub const TAG_BYTES: usize = 16;

/// Key bytes on their way into a cipher.
pub(super) type KeyBytes = Zeroizing<[u8; KEY_BYTES]>;

/// A key that is ready to seal and open. The expanded key zeroizes when dropped.
pub(super) struct Cipher(Aes256Gcm);

impl Cipher {
    pub(super) fn new(key: &KeyBytes) -> Self {
        Self(Aes256Gcm::new((&**key).into()))
    }

    /// Appends `nonce ‖ ciphertext ‖ tag` to `out`.
    pub(super) fn seal_into(
        &self,
        out: &mut Vec<u8>,
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<()> {
        out.reserve(NONCE_BYTES + plaintext.len() + TAG_BYTES);
        out.extend_from_slice(nonce);
        let start = out.len();
        out.extend_from_slice(plaintext);
        let body = out
            .get_mut(start..)
            .ok_or_else(|| Error::internal("sealing past the buffer"))?;
        let tag = self
            .0
            .encrypt_inout_detached(&Nonce::from(*nonce), aad, body.into())
            .map_err(|_| Error::internal("a plaintext is too long to seal"))?;
        out.extend_from_slice(&tag);
        Ok(())
    }

    /// Opens `nonce ‖ ciphertext ‖ tag`; fails on anything that was not sealed with this key and AAD.
    pub(super) fn open(
        &self,
        aad: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, NotAuthentic> {
        let (nonce, body) = sealed
            .split_first_chunk::<NONCE_BYTES>()
            .ok_or(NotAuthentic)?;
        let mut plaintext = WipedOnFailure(Zeroizing::new(body.to_vec()));
        self.0
            .decrypt_in_place(&Nonce::from(*nonce), aad, &mut plaintext)
            .map_err(|_| NotAuthentic)?;
        Ok(plaintext.0)
    }
}

/// A ciphertext that does not open: damaged, moved, or sealed under another key.
#[derive(Debug, thiserror::Error)]
#[error("the ciphertext is not authentic")]
pub struct NotAuthentic;

/// A buffer that the cipher may shrink, in zeroizing memory.
struct WipedOnFailure(Zeroizing<Vec<u8>>);

impl AsRef<[u8]> for WipedOnFailure {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl AsMut<[u8]> for WipedOnFailure {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Buffer for WipedOnFailure {
    fn extend_from_slice(&mut self, _: &[u8]) -> std::result::Result<(), CipherError> {
        // Growing would leave an unwiped copy behind, and opening never grows.
        Err(CipherError)
    }

    fn truncate(&mut self, len: usize) {
        if let Some(rest) = self.0.get_mut(len..) {
            rest.zeroize();
        }
        self.0.truncate(len);
    }
}
