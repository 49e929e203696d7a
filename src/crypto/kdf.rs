//! HKDF-SHA256 (RFC 5869) and HMAC-SHA256 (RFC 2104): every derived key and every keyed digest, with all
//! their labels. The sole use of hkdf.

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::aead::KeyBytes;
use crate::domain::{
    error::{Error, Result},
    id::WorkspaceId,
};

/// What a key that is derived from the root key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Label {
    /// Wraps the KEK of each workspace.
    KekWrap,
    /// Turns names into opaque index keys.
    Index,
    /// Peppers the digests of handles and API keys.
    DigestPepper,
    /// Makes fingerprints of values.
    Fingerprint,
    /// Derives the handles of retried grants, and digests idempotency keys and bodies.
    Idempotency,
    /// Seals the constant that proves the root key.
    Check,
    /// Derives the key of each backup.
    Backup,
    /// Derives the keys that sign access tokens.
    TokenSign,
    /// Signs what others are to believe about history.
    AuditSign,
    /// Turns what history is searched by into terms.
    AuditIndex,
}

impl Label {
    const fn info(self) -> &'static [u8] {
        match self {
            Self::KekWrap => b"leasehold/v1/kek-wrap",
            Self::Index => b"leasehold/v1/index",
            Self::DigestPepper => b"leasehold/v1/digest-pepper",
            Self::Fingerprint => b"leasehold/v1/fingerprint",
            Self::Idempotency => b"leasehold/v1/idempotency",
            Self::Check => b"leasehold/v1/check",
            Self::Backup => b"leasehold/v1/backup",
            Self::TokenSign => b"leasehold/v1/token-sign",
            Self::AuditSign => b"leasehold/v1/audit-sign",
            Self::AuditIndex => b"leasehold/v1/audit-index",
        }
    }
}

/// What a key that is derived from a KEK, or from the key over all backups or all tokens, is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Branch {
    Record,
    Audit,
    DekWrap,
    BackupFile,
    TokenKey,
}

impl Branch {
    const fn info(self) -> &'static [u8] {
        match self {
            Self::Record => b"leasehold/v1/record",
            Self::Audit => b"leasehold/v1/audit",
            Self::DekWrap => b"leasehold/v1/dek-wrap",
            Self::BackupFile => b"leasehold/v1/backup-file",
            Self::TokenKey => b"leasehold/v1/token-key",
        }
    }
}

/// The key for `label`, from the root key.
pub(super) fn from_root(root: &KeyBytes, label: Label) -> Result<KeyBytes> {
    let mut key = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(None, &**root)
        .expand(label.info(), &mut *key)
        .map_err(Error::internal)?;
    Ok(key)
}

/// A KEK, or the key over all backups or all tokens, as a source of subkeys; holds HMAC state that was keyed once.
pub(super) struct Expander(Hkdf<Sha256>);

impl Expander {
    /// The key is uniformly random already, so it serves as the pseudorandom key without the extract step.
    pub(super) fn new(key: &KeyBytes) -> Result<Self> {
        Hkdf::from_prk(&**key).map(Self).map_err(Error::internal)
    }

    /// The subkey for `branch` and the parts that follow it; only the last part may vary in length.
    pub(super) fn subkey(&self, branch: Branch, parts: &[&[u8]]) -> Result<KeyBytes> {
        let mut info: [&[u8]; 4] = [branch.info(), &[], &[], &[]];
        for (slot, part) in info.iter_mut().skip(1).zip(parts) {
            *slot = part;
        }
        let mut key = Zeroizing::new([0; 32]);
        self.0
            .expand_multi_info(&info, &mut *key)
            .map_err(Error::internal)?;
        Ok(key)
    }
}

/// A key for keyed digests.
pub(super) struct MacKey(Hmac<Sha256>);

impl MacKey {
    pub(super) fn new(key: &KeyBytes) -> Result<Self> {
        Hmac::new_from_slice(&**key)
            .map(Self)
            .map_err(Error::internal)
    }

    /// HMAC-SHA256 over the workspace, a purpose byte and the parts, each with its length (8, BE) in front.
    pub(super) fn digest(&self, workspace: WorkspaceId, purpose: u8, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.0.clone();
        mac.update(workspace.as_bytes());
        mac.update(&[purpose]);
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}
