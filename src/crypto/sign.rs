//! Ed25519 (RFC 8032): every signature that the vault makes. The sole use of `aws_lc_rs::signature`.
//!
//! A key signs statements of several kinds; each kind names itself within its bytes, so that none can be taken for
//! another.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
pub(super) use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

use super::aead::KeyBytes;
use crate::domain::error::{Error, Result};

/// The algorithm's name, as answers spell it.
pub const ALGORITHM: &str = "Ed25519";

/// A key that signs.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: [u8; 32],
}

/// The key pair of a seed.
pub(super) fn pair(seed: &KeyBytes) -> Result<Ed25519KeyPair> {
    Ed25519KeyPair::from_seed_unchecked(&**seed).map_err(Error::internal)
}

impl SigningKey {
    pub(super) fn new(seed: &KeyBytes) -> Result<Self> {
        let pair = pair(seed)?;
        let public = pair.public_key().as_ref().try_into();
        Ok(Self {
            public: public.map_err(Error::internal)?,
            pair,
        })
    }

    /// The signature over a message.
    pub fn sign(&self, message: &[u8]) -> Result<[u8; 64]> {
        let signature = self.pair.sign(message);
        signature.as_ref().try_into().map_err(Error::internal)
    }

    /// What anybody checks its signatures with.
    pub fn public_key(&self) -> &[u8; 32] {
        &self.public
    }
}

/// Whether a signature is that of this public key over this message.
pub fn verifies(public_key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public_key)
        .verify(message, signature)
        .is_ok()
}
