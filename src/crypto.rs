//! The only place where ciphertext is made. Callers hold workspace keys and slots, never key bytes.
//!
//! ```text
//! root key (32 bytes)
//!   └─ HKDF-SHA256(root, no salt, info = "leasehold/v1/<label>")  kdf::Label
//!        ├─ kek-wrap ── AES-256-GCM ── KEK per workspace, numbered
//!        │    ├─ record subkey = Expand(KEK, "leasehold/v1/record" ‖ type ‖ version ‖ id) ── AES-256-GCM ── record
//!        │    ├─ audit subkey  = Expand(KEK, "leasehold/v1/audit" ‖ epoch(8)) ── AES-256-GCM ── audit record
//!        │    └─ wrapping key  = Expand(KEK, "leasehold/v1/dek-wrap" ‖ version ‖ id) ── AES-256-GCM ── DEK per version
//!        │                                                                              └─ AES-256-GCM ── value
//!        ├─ index, digest-pepper, fingerprint, idempotency ── HMAC-SHA256
//!        ├─ audit-sign ── Ed25519 seed ── receipts
//!        ├─ backup ── backup subkey = Expand(backup, "leasehold/v1/backup-file" ‖ salt) ── AES-256-GCM ── chunk of a backup
//!        ├─ token-sign ── seed = Expand(token-sign, "leasehold/v1/token-key" ‖ number(4, BE)) ── Ed25519 ── access token
//!        ├─ audit-index ── SipHash-2-4 ── terms that history is searched by
//!        └─ check ── AES-256-GCM ── proves at the start that this is the right root key
//! AAD = format ‖ record type ‖ workspace ‖ version ‖ key number ‖ id, always
//! ```
//!
//! Nonces are random 96 bits; a subkey per record, and per hour where a record is sealed over and over ([`hourly`]),
//! keeps every key far below 2^32 messages (NIST SP 800-38D).

pub mod aead;
pub mod assertion;
pub mod backup;
pub mod bearer;
pub mod entropy;
pub mod envelope;
mod hourly;
pub mod kdf;
pub mod keyring;
mod recent;
pub mod root;
pub mod sign;
pub mod terms;
pub mod token;

#[cfg(test)]
pub(crate) mod tests;
