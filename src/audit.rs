//! The history of the vault: an append-only log that the store writes in the same commit as what its records
//! describe. INVARIANT (ack-audited): no record, no operation.

mod block;
pub mod checkpoint;
pub mod leaf;
pub mod log;
pub mod merkle;
pub mod query;
pub mod verifier;
pub mod verify;
