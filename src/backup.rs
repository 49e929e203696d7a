//! A backup: every pair of the store as of one commit, sealed under a key that only the root key gives.
//!
//! The container is in [`archive`](crate::archive), the seal in [`crypto::backup`](crate::crypto::backup).
//!
//! ```text
//! header of the archive = format(1) ‖ postcard of `About`
//! body of a frame       = sealed chunk
//! chunk                 = pair ‖ pair ‖ …                 at most 256 KiB, or one longer pair
//! pair                  = length of key(2, BE) ‖ length of value(4, BE) ‖ key ‖ value
//! ```
//!
//! Keys ascend over the whole file. What is secret in a value was sealed before it came here; the outer seal
//! hides what is not, and proves that the file is whole, in order, and of this vault. A backup says nothing
//! about the pieces or marks that an engine keeps for itself, so it restores onto any.

mod open;
mod seal;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use self::{
    open::{Opened, Unlocked},
    seal::Sealer,
};
use crate::{crypto::backup::SALT_BYTES, domain::time::Timestamp};

/// Bytes of pairs after which a chunk is full.
const CHUNK_BYTES: usize = 256 * 1024;

/// What a backup says about itself, before any key is had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    pub created_at: Timestamp,
    /// The version of the software that made it.
    pub made_by: String,
    /// What makes its key its own.
    pub salt: [u8; SALT_BYTES],
    /// The vault's header as the store holds it: how to unseal, and the proof of the root key.
    pub vault: Vec<u8>,
}
