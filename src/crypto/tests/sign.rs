use super::{keyring, vectors::KEYS, *};
use crate::crypto::{entropy::OsEntropy, sign::verifies};

#[test]
fn the_audit_key_signs_as_frozen() {
    let keyring = keyring(Arc::new(OsEntropy));
    let key = keyring.audit_key();
    assert_eq!(*key.public_key(), KEYS.array::<32>("audit_sign.public"));
    let message = KEYS.text("audit_sign.message").as_bytes();
    let signature = KEYS.array::<64>("audit_sign.signature");
    assert_eq!(key.sign(message).unwrap(), signature);
    assert!(verifies(key.public_key(), message, &signature));
}

#[test]
fn a_signature_is_good_for_its_key_and_message_only() {
    let keyring = keyring(Arc::new(OsEntropy));
    let key = keyring.audit_key();
    let (message, signature) = (b"stopped", key.sign(b"stopped").unwrap());
    for at in 0..signature.len() {
        let mut other = signature;
        other[at] ^= 1;
        assert!(!verifies(key.public_key(), message, &other), "byte {at}");
    }
    assert!(!verifies(key.public_key(), b"stoppee", &signature));
    assert!(!verifies(&[7; 32], message, &signature));
    assert!(!verifies(&[], message, &signature));
    assert!(!verifies(key.public_key(), message, &[]));
}
