//! The root key can't be logged, written down, copied, or made of bytes that anybody holds.

use leasehold::crypto::{keyring::Keyring, root::RootKey};

fn log(root: RootKey, keyring: Keyring) {
    println!("{root:?}");
    println!("{keyring:?}");
}

fn answer<T: serde::Serialize>(_: T) {}

fn show(root: &RootKey) {
    answer(root);
}

fn copy(root: &RootKey) -> RootKey {
    root.clone()
}

fn expose(root: &RootKey) -> [u8; 32] {
    **root.bytes()
}

fn make(bytes: [u8; 32]) -> RootKey {
    RootKey(bytes.into())
}

fn main() {}
