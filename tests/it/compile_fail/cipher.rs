//! Outside of `crypto` there is no cipher, no key, no derivation, and no ciphertext without a slot.

use leasehold::crypto::aead::Cipher;
use leasehold::crypto::aead::KeyBytes;
use leasehold::crypto::kdf::Expander;
use leasehold::crypto::kdf::from_root;
use leasehold::crypto::keyring::{Keyring, WorkspaceKeys};

fn take(keyring: &Keyring, keys: &WorkspaceKeys) {
    let _ = &keyring.pepper;
    let _ = &keys.keks;
}

fn main() {}
