//! The history of the vault: an append-only log that the store writes in the same commit as what its records
//! describe. INVARIANT (ack-audited): no record, no operation.

mod block;
pub mod check;
pub mod checkpoint;
pub mod export;
pub mod index;
pub mod leaf;
pub mod log;
pub mod merkle;
pub mod proof;
pub mod query;
pub mod removal;
pub mod seal;
pub mod survey;
pub mod tree;
pub mod verifier;
pub mod verify;
