//! What the vault promises when it is pressed: by crowds, by time, by kills, by damage, by mistakes of its keeper.

mod book;
mod cap;
mod churn;
mod clients;
mod configuration;
mod crash;
mod damage;
mod dice;
mod folder;
mod history;
mod kit;
mod lifecycle;
mod secrets;
mod traffic;
mod ttl;
mod unsealing;
