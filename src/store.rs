//! Durable state as ordered byte keys, atomic write sets and exclusive sections.
//!
//! [`port`] is all that the layers above know. [`local`] implements it once for every engine that lives in
//! this process; an engine is a small [`local::Backend`]: [`sled`] on disk, [`memory`] for simulation.

pub mod codec;
mod committer;
pub mod key;
pub mod local;
mod locks;
pub mod memory;
mod overlay;
pub mod port;
pub mod sled;
mod spool;

#[cfg(test)]
mod contract;
