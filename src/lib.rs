//! Leasehold: a credential leasing vault for AI agents.
//!
//! The layers, each of which imports only what stands before it:
//! `domain`, then `clock`, `crypto`, `authz` and `store`, then `tables`, then `authn` and `audit`, then
//! `engine`, then the surfaces (`http`, `cli`) and `schedule`, then `app`, the composition root.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

pub mod audit;
pub mod authn;
pub mod authz;
pub mod clock;
pub mod crypto;
pub mod domain;
pub mod store;
pub mod tables;
