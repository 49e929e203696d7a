//! The formats of what is sealed, byte by byte. Frozen by the vectors in `tests/vectors`.
//!
//! ```text
//! record     = format(1) ‖ key number(4, BE) ‖ nonce(12) ‖ ciphertext ‖ tag(16)
//! value      = format(1) ‖ key number(4, BE) ‖ nonce(12) ‖ wrapped DEK(32) ‖ tag(16) ‖ nonce(12) ‖ ciphertext ‖ tag(16)
//! wrapped KEK = format(1) ‖ nonce(12) ‖ wrapped KEK(32) ‖ tag(16)
//! AAD        = format(1) ‖ record type(1) ‖ workspace(16) ‖ version(4, BE) ‖ key number(4, BE) ‖ id
//! ```
//!
//! A wrapped KEK's AAD has its number as the version too and no id, a DEK's has the type `Dek`, an audit
//! record's has its sequence number (8, BE) as the id. A backup's chunk is in [`super::backup`], what is sealed over
//! and over in [`super::hourly`].

use smallvec::SmallVec;

use crate::domain::id::WorkspaceId;

/// The one format there is. An unknown one is an error, never plaintext.
pub const FORMAT: u8 = 1;
/// Bytes before the nonce of a record or a value.
pub(super) const HEADER_BYTES: usize = 5;
/// Bytes of a sealed 32-byte key: nonce, key, tag.
pub(super) const WRAPPED_BYTES: usize = 12 + 32 + 16;

/// What a ciphertext holds; bound into its AAD and its subkey. Never reuse a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RecordType {
    Check = 1,
    Kek = 2,
    Workspace = 3,
    Identity = 4,
    ApiKey = 5,
    Credential = 6,
    Version = 7,
    Dek = 8,
    Value = 9,
    Ledger = 10,
    Lease = 11,
    Idempotency = 12,
    Sweep = 13,
    Audit = 14,
    Clock = 15,
    Backup = 16,
    Token = 17,
    Issuer = 18,
    SigningKeys = 21,
    Seen = 22,
    KeyUsage = 20,
    LastUse = 23,
    PolicySet = 19,
    AuditIndexState = 27,
    AuditIndexPage = 28,
    Configuration = 29,
    IdentityUse = 30,
    Retention = 32,
    Alarm = 33,
}

/// Additional authenticated data, in place for all but a backup's chunk.
pub(super) type Aad = SmallVec<[u8; 64]>;

/// Where a ciphertext belongs. One that is moved to another slot does not open.
#[derive(Debug, Clone, Copy)]
pub struct Slot<'a> {
    pub kind: RecordType,
    pub id: &'a [u8],
    /// The version of a credential where there is one, the hour of a record that is sealed over and over, else 0.
    pub version: u32,
}

impl Slot<'_> {
    /// The additional authenticated data of a ciphertext in this slot.
    pub(super) fn aad(&self, workspace: WorkspaceId, key_number: u32) -> Aad {
        let mut aad = Aad::new();
        aad.push(FORMAT);
        aad.push(self.kind as u8);
        aad.extend_from_slice(workspace.as_bytes());
        aad.extend_from_slice(&self.version.to_be_bytes());
        aad.extend_from_slice(&key_number.to_be_bytes());
        aad.extend_from_slice(self.id);
        aad
    }
}

/// Why something sealed did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("unknown format {0} of a {1:?} record")]
    UnknownFormat(u8, RecordType),
    #[error("unknown key number {0} of a {1:?} record")]
    UnknownKey(u32, RecordType),
    #[error("a {0:?} record is cut short")]
    Truncated(RecordType),
    #[error(
        "a {0:?} record is not authentic: it was damaged, moved, or sealed under another root key"
    )]
    NotAuthentic(RecordType),
}

/// Splits `format ‖ key number` off.
pub(super) fn header(kind: RecordType, sealed: &[u8]) -> Result<(u32, &[u8]), OpenError> {
    let (header, body) = sealed
        .split_first_chunk::<HEADER_BYTES>()
        .ok_or(OpenError::Truncated(kind))?;
    let [format, number @ ..] = *header;
    if format != FORMAT {
        return Err(OpenError::UnknownFormat(format, kind));
    }
    Ok((u32::from_be_bytes(number), body))
}
