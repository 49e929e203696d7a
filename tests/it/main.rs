//! The integration tests: the real binary, over HTTP, on loopback, in a temporary folder; and the simulation, of
//! the real engine over the store in memory.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr
)]

mod access;
mod api;
mod bench;
mod compile_fail;
mod examples;
mod layers;
mod readme;
mod sim;
mod support;
mod survival;
mod tokens;
