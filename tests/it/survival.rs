//! What the vault promises when it is pressed: by crowds, by time, by kills, by damage, by mistakes of its keeper.

mod again;
mod backup;
mod book;
mod cap;
mod churn;
mod clients;
mod configuration;
mod crash;
mod damage;
mod dice;
mod disk;
mod faults;
mod folder;
mod full;
mod history;
mod kit;
mod lifecycle;
mod mounted;
mod power;
mod process;
mod secrets;
mod shim;
mod specimen;
mod traffic;
mod ttl;
mod unsealing;
