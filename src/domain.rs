//! What the vault is about, as plain values: ids, time, policies, credentials, versions, leases, events, and
//! the pure transitions between their states. No I/O, no async, no clock, no randomness.

mod claims;
pub mod configuration;
pub mod credential;
pub mod egress;
pub mod error;
pub mod event;
#[cfg(test)]
pub(crate) mod hostile;
pub mod id;
pub mod identities;
pub mod issuer;
pub mod kind;
pub mod lease;
pub mod ledger;
pub mod mask;
#[cfg(test)]
mod model_tests;
pub mod name;
pub mod policy;
pub mod policy_set;
pub mod principal;
pub mod retention;
pub mod scope;
pub mod secret;
pub mod strict;
pub mod time;
pub mod token;
pub mod usage;
pub mod workspace;
