//! Bearer strings: handles (`lhh_…`) and API keys (`lhk_…`).
//!
//! ```text
//! text = prefix ‖ base62(id(16) ‖ secret(32) ‖ crc32(4, BE, over prefix ‖ id ‖ secret))     76 characters
//! ```
//!
//! base62 writes each 8 bytes as 11 digits and the last 4 as 6, so every string has one length and one
//! spelling: `lh[hk]_[0-9A-Za-z]{72}` finds them all. The id leads to the record, so no index is kept; the
//! secret has 256 bits of entropy; the checksum tells a typo from a wrong key without a look-up. The vault
//! keeps the digest of (prefix, id, secret) under the pepper only.

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::keyring::Keyring;
use crate::domain::{
    error::Result,
    id::{KeyId, LeaseId, WorkspaceId},
    secret::SecretText,
};

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const BODY_BYTES: usize = 16 + 32 + 4;
/// (bytes, digits) of each block.
const BLOCKS: [(usize, usize); 7] = [(8, 11), (8, 11), (8, 11), (8, 11), (8, 11), (8, 11), (4, 6)];
const PREFIX_BYTES: usize = 4;
/// Length of every bearer string, in bytes.
pub const BEARER_BYTES: usize = PREFIX_BYTES + 72;

/// What a bearer string is, told by its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bearer {
    Handle,
    ApiKey,
}

impl Bearer {
    /// The four characters in front.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Handle => "lhh_",
            Self::ApiKey => "lhk_",
        }
    }
}

/// A bearer string as somebody presented it: well formed, and not proven. Zeroizes when dropped.
pub struct Presented {
    kind: Bearer,
    id: [u8; 16],
    secret: Zeroizing<[u8; 32]>,
}

/// The only form in which the vault keeps a bearer string.
#[derive(Clone, Copy)]
pub struct Digest([u8; 32]);

impl Digest {
    /// A digest as it was stored.
    pub const fn from_stored(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The digest as it is stored.
    pub const fn to_stored(self) -> [u8; 32] {
        self.0
    }

    /// Whether `presented` is what this digest was made of, in constant time.
    pub fn proves(&self, keyring: &Keyring, presented: &Presented) -> bool {
        presented.digest(keyring).0.ct_eq(&self.0).into()
    }
}

impl Presented {
    /// Reads a bearer string; `None` for anything that the vault cannot have issued, a typo included.
    pub fn parse(kind: Bearer, text: &str) -> Option<Self> {
        let digits = text.strip_prefix(kind.prefix())?.as_bytes();
        if text.len() != BEARER_BYTES {
            return None;
        }
        let mut body = Zeroizing::new([0u8; BODY_BYTES]);
        decode(digits, &mut body)?;
        let (payload, crc) = body.split_last_chunk::<4>()?;
        if crc32(kind, payload) != u32::from_be_bytes(*crc) {
            return None;
        }
        let (id, secret) = payload.split_first_chunk::<16>()?;
        Some(Self {
            kind,
            id: *id,
            secret: Zeroizing::new(secret.try_into().ok()?),
        })
    }

    fn digest(&self, keyring: &Keyring) -> Digest {
        let parts: [&[u8]; 3] = [self.kind.prefix().as_bytes(), &self.id, &*self.secret];
        Digest(keyring.pepper.digest(WorkspaceId::SYSTEM, 0, &parts))
    }

    /// The lease that a handle speaks of.
    pub fn lease(&self) -> LeaseId {
        LeaseId::from_bytes(self.id)
    }

    /// The key that an API key claims to be.
    pub fn key(&self) -> KeyId {
        KeyId::from_bytes(self.id)
    }

    fn text(&self) -> SecretText {
        let mut body = Zeroizing::new([0u8; BODY_BYTES]);
        let mut payload = Zeroizing::new([0u8; 48]);
        payload
            .iter_mut()
            .zip(self.id.iter().chain(self.secret.iter()))
            .for_each(|(to, from)| *to = *from);
        let crc = crc32(self.kind, &*payload).to_be_bytes();
        body.iter_mut()
            .zip(payload.iter().chain(&crc))
            .for_each(|(to, from)| *to = *from);
        let mut text = String::with_capacity(BEARER_BYTES);
        text.push_str(self.kind.prefix());
        encode(&body, &mut text);
        SecretText::new(text)
    }
}

/// A bearer string that was just made: shown once, by whoever takes it.
pub struct Minted {
    pub text: SecretText,
    pub digest: Digest,
}

impl Keyring {
    /// A fresh bearer string for this id.
    pub fn mint(&self, kind: Bearer, id: &[u8; 16]) -> Result<Minted> {
        let mut secret = Zeroizing::new([0; 32]);
        self.entropy().fill(&mut *secret)?;
        Ok(self.minted(Presented {
            kind,
            id: *id,
            secret,
        }))
    }

    /// The handle of a grant that was asked for with an idempotency key: the same each time, so that a retry
    /// gets it again although only its digest was stored. Whoever lacks the caller's key cannot derive it.
    pub fn mint_repeatable(
        &self,
        workspace: WorkspaceId,
        lease: LeaseId,
        idempotency_key: &str,
    ) -> Minted {
        let secret = self.idempotency.digest(
            workspace,
            1,
            &[lease.as_bytes(), idempotency_key.as_bytes()],
        );
        self.minted(Presented {
            kind: Bearer::Handle,
            id: *lease.as_bytes(),
            secret: Zeroizing::new(secret),
        })
    }

    /// An API key that was asked for with an idempotency key: the same each time, as a handle is. `seed` is
    /// drawn anew for each key and each rotation and kept with the first answer, so that no value comes back
    /// when an idempotency key does.
    pub fn mint_key_repeatable(
        &self,
        workspace: WorkspaceId,
        id: KeyId,
        seed: &[u8; 16],
        idempotency_key: &str,
    ) -> Minted {
        let parts: [&[u8]; 3] = [id.as_bytes(), seed, idempotency_key.as_bytes()];
        let secret = self.idempotency.digest(workspace, 3, &parts);
        self.minted(Presented {
            kind: Bearer::ApiKey,
            id: *id.as_bytes(),
            secret: Zeroizing::new(secret),
        })
    }

    /// The keyed digest of a request's body, by which a retry is told from another request.
    pub fn body_digest(&self, workspace: WorkspaceId, body: &[u8]) -> [u8; 32] {
        self.idempotency.digest(workspace, 2, &[body])
    }

    fn minted(&self, bearer: Presented) -> Minted {
        Minted {
            text: bearer.text(),
            digest: bearer.digest(self),
        }
    }
}

fn crc32(kind: Bearer, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(kind.prefix().as_bytes());
    hasher.update(payload);
    hasher.finalize()
}

fn encode(body: &[u8; BODY_BYTES], text: &mut String) {
    let mut rest = body.as_slice();
    for (bytes, digits) in BLOCKS {
        let (block, tail) = rest.split_at_checked(bytes).unwrap_or((rest, &[]));
        rest = tail;
        let mut number = block
            .iter()
            .fold(0u64, |number, byte| number << 8 | u64::from(*byte));
        let mut block = [b'0'; 11];
        for digit in block.iter_mut().take(digits).rev() {
            *digit = DIGITS.get((number % 62) as usize).copied().unwrap_or(b'0');
            number /= 62;
        }
        let block_text = block
            .get(..digits)
            .and_then(|block| str::from_utf8(block).ok());
        text.push_str(block_text.unwrap_or_default());
        block.zeroize();
    }
}

fn decode(text: &[u8], body: &mut [u8; BODY_BYTES]) -> Option<()> {
    let mut rest = text;
    let mut out = body.as_mut_slice();
    for (bytes, digits) in BLOCKS {
        let (block, tail) = rest.split_at_checked(digits)?;
        rest = tail;
        let mut number = 0u64;
        for digit in block {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'A'..=b'Z' => digit - b'A' + 10,
                b'a'..=b'z' => digit - b'a' + 36,
                _ => return None,
            };
            number = number.checked_mul(62)?.checked_add(u64::from(value))?;
        }
        let number = number.to_be_bytes();
        let (unused, used) = number.split_at_checked(8 - bytes)?;
        if unused.iter().any(|byte| *byte != 0) {
            return None;
        }
        let (here, tail) = out.split_at_mut_checked(bytes)?;
        here.copy_from_slice(used);
        out = tail;
    }
    rest.is_empty().then_some(())
}
