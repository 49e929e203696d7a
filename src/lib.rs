//! Leasehold: a credential leasing vault for AI agents.
//!
//! The layers, each of which imports only what stands before it:
//! `domain` and `archive`, then `clock`, `crypto`, `authz`, `store` and `config`, then `tables`, then `authn`, `audit`
//! and `backup`, then `engine`, then `doctor`, then the surfaces (`http`, `cli`), `jwks`, `sinks` and `schedule`, then
//! `app`, the composition root. `bench`, the load generator, knows none of them: it talks HTTP.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

pub mod app;
pub mod archive;
pub mod audit;
pub mod authn;
pub mod authz;
pub mod backup;
pub mod bench;
pub mod cli;
pub mod clock;
pub mod config;
pub mod crypto;
pub mod doctor;
pub mod domain;
pub mod engine;
pub mod http;
pub mod jwks;
pub mod schedule;
pub mod sinks;
pub mod store;
pub mod tables;
