//! Bearer strings: one spelling each, typos told from wrong keys, and proven by their digest alone.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::{
    crypto::{
        bearer::{BEARER_BYTES, Bearer, Digest, Presented},
        entropy::OsEntropy,
    },
    domain::id::{KeyId, LeaseId},
};

fn is_well_formed(kind: Bearer, text: &str) -> bool {
    // lh[hk]_[0-9A-Za-z]{72}
    let digits = text.strip_prefix(match kind {
        Bearer::Handle => "lhh_",
        Bearer::ApiKey => "lhk_",
    });
    digits.is_some_and(|digits| {
        digits.len() == 72 && digits.bytes().all(|digit| digit.is_ascii_alphanumeric())
    })
}

/// Whether a digest of this keyring is what `text` proves.
fn proves(keyring: &Keyring, digest: &Digest, kind: Bearer, text: &str) -> bool {
    Presented::parse(kind, text).is_some_and(|presented| digest.proves(keyring, &presented))
}

#[test]
fn bearer_strings_are_as_frozen() {
    for (name, kind) in [
        ("handle", Bearer::Handle),
        ("api_key", Bearer::ApiKey),
        ("handle_zero", Bearer::Handle),
        ("handle_ones", Bearer::Handle),
    ] {
        let field = |field| format!("{name}.{field}");
        let entropy = Scripted::new(&BEARER.bytes(&field("entropy")));
        let keyring = keyring(entropy.clone());
        let id = BEARER.array(&field("id"));
        let minted = keyring.mint(kind, &id).unwrap();
        let text = BEARER.text(&field("text"));
        assert_eq!(minted.text.expose(), text, "{name}");
        assert_eq!(
            hex(&minted.digest.to_stored()),
            BEARER.text(&field("digest"))
        );
        entropy.assert_used_up();
        let stored = Digest::from_stored(BEARER.array(&field("digest")));
        let presented = Presented::parse(kind, text).unwrap();
        assert!(stored.proves(&keyring, &presented), "{name}");
        assert_eq!(presented.lease(), LeaseId::from_bytes(id));
        assert_eq!(presented.key(), KeyId::from_bytes(id));
    }
}

#[test]
fn the_handle_of_a_retried_grant_is_as_frozen() {
    let keyring = keyring(Scripted::new(&[]));
    let lease = LeaseId::from_bytes(BEARER.array("repeatable.id"));
    let key = BEARER.text("repeatable.key");
    let minted = keyring.mint_repeatable(workspace(), lease, key);
    assert_eq!(minted.text.expose(), BEARER.text("repeatable.text"));
    assert_eq!(
        hex(&minted.digest.to_stored()),
        BEARER.text("repeatable.digest")
    );
    // Whoever lacks one of the three cannot derive it.
    let other_lease = LeaseId::from_bytes([9; 16]);
    for other in [
        keyring.mint_repeatable(WorkspaceId::SYSTEM, lease, key),
        keyring.mint_repeatable(workspace(), other_lease, key),
        keyring.mint_repeatable(workspace(), lease, "retry-8"),
    ] {
        let text = other.text.expose();
        assert!(!proves(&keyring, &minted.digest, Bearer::Handle, text));
        assert_ne!(text[26..], minted.text.expose()[26..], "the same secret");
    }
}

#[test]
fn the_value_of_a_retried_key_is_as_frozen() {
    let keyring = keyring(Scripted::new(&[]));
    let id = KeyId::from_bytes(BEARER.array("repeatable_key.id"));
    let seed = BEARER.array("repeatable_key.seed");
    let key = BEARER.text("repeatable_key.key");
    let minted = keyring.mint_key_repeatable(workspace(), id, &seed, key);
    assert_eq!(minted.text.expose(), BEARER.text("repeatable_key.text"));
    let digest = hex(&minted.digest.to_stored());
    assert_eq!(digest, BEARER.text("repeatable_key.digest"));
    // Whoever lacks one of the four cannot derive it, and no handle has the same secret.
    let other_id = KeyId::from_bytes([9; 16]);
    for other in [
        keyring.mint_key_repeatable(WorkspaceId::SYSTEM, id, &seed, key),
        keyring.mint_key_repeatable(workspace(), other_id, &seed, key),
        keyring.mint_key_repeatable(workspace(), id, &[9; 16], key),
        keyring.mint_key_repeatable(workspace(), id, &seed, "retry-8"),
        keyring.mint_repeatable(workspace(), LeaseId::from_bytes(*id.as_bytes()), key),
    ] {
        let text = other.text.expose();
        assert_ne!(text[26..], minted.text.expose()[26..], "the same secret");
    }
}

#[test]
fn every_change_of_one_character_is_refused() {
    for (name, kind) in [
        ("handle.text", Bearer::Handle),
        ("api_key.text", Bearer::ApiKey),
    ] {
        let good = BEARER.text(name);
        assert!(Presented::parse(kind, good).is_some());
        for at in 0..good.len() {
            for other in (0..=0x7f).filter(|other| *other != good.as_bytes()[at]) {
                let mut bad = good.as_bytes().to_vec();
                bad[at] = other;
                let bad = String::from_utf8(bad).unwrap();
                assert!(Presented::parse(kind, &bad).is_none(), "{at}: {bad}");
            }
        }
    }
}

#[test]
fn what_the_vault_cannot_have_issued_is_refused() {
    let good = BEARER.text("handle.text");
    let digits = &good[4..];
    let moved = |from: usize, to: usize| {
        let mut bytes = good.as_bytes().to_vec();
        bytes.swap(from, to);
        String::from_utf8(bytes).unwrap()
    };
    for bad in [
        String::new(),
        "lhh_".to_owned(),
        digits.to_owned(),
        good[..75].to_owned(),
        format!("{good}0"),
        format!("{good}\n"),
        format!(" {good}"),
        format!("lhk_{digits}"),
        format!("LHH_{digits}"),
        format!("lhh-{digits}"),
        format!("lhh_{}", digits.to_uppercase()),
        format!("lhh_{}", digits.replace('0', "O")),
        // 71 characters that are 72 bytes, and 72 that are 73.
        format!("lhh_é{}", &digits[2..]),
        format!("lhh_é{}", &digits[1..]),
        format!("lhh_{}", "0".repeat(72)),
        moved(10, 20),
        moved(4 + 11, 4 + 22),
    ] {
        assert!(bad != good, "a change that changes nothing");
        assert!(Presented::parse(Bearer::Handle, &bad).is_none(), "{bad}");
    }
    // The checksum holds in these: the digits alone are wrong.
    for block in 0..7 {
        let bad = BEARER.text(&format!("respelled_{block}"));
        assert!(is_well_formed(Bearer::Handle, bad));
        assert!(Presented::parse(Bearer::Handle, bad).is_none(), "{bad}");
    }
    let api_key = BEARER.text("api_key.text");
    assert!(Presented::parse(Bearer::Handle, api_key).is_none());
    assert!(Presented::parse(Bearer::ApiKey, good).is_none());
}

#[test]
fn a_digest_proves_one_string_under_one_root_key() {
    let keyring = keyring(Arc::new(OsEntropy));
    let other = Keyring::new(&root_key("other_root"), Arc::new(OsEntropy)).unwrap();
    let id = [3; 16];
    let minted = keyring.mint(Bearer::Handle, &id).unwrap();
    let again = keyring.mint(Bearer::Handle, &id).unwrap();
    let text = minted.text.expose();
    assert!(proves(&keyring, &minted.digest, Bearer::Handle, text));
    assert!(!proves(&keyring, &again.digest, Bearer::Handle, text));
    assert!(!proves(&other, &minted.digest, Bearer::Handle, text));
    // One digest for a handle and for a key would let either pass for the other.
    let secret = Scripted::new(&[7; 64]);
    let keyring = super::keyring(secret);
    let handle = keyring.mint(Bearer::Handle, &id).unwrap().digest;
    let api_key = keyring.mint(Bearer::ApiKey, &id).unwrap().digest;
    assert_ne!(handle.to_stored(), api_key.to_stored());
    assert!(keyring.mint(Bearer::Handle, &id).is_err(), "no entropy");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn text_round_trips(id: [u8; 16], secret: [u8; 32], is_key: bool) {
        let kind = if is_key { Bearer::ApiKey } else { Bearer::Handle };
        let keyring = keyring(Scripted::new(&secret));
        let minted = keyring.mint(kind, &id).unwrap();
        let text = minted.text.expose();
        prop_assert!(is_well_formed(kind, text), "{}", text);
        prop_assert_eq!(text.len(), BEARER_BYTES);
        let presented = Presented::parse(kind, text).unwrap();
        prop_assert_eq!(presented.lease(), LeaseId::from_bytes(id));
        prop_assert!(minted.digest.proves(&keyring, &presented));
    }

    /// A string that reads is the one spelling of what it says, so none is found by guessing either.
    #[test]
    fn a_random_string_is_refused(digits in "[0-9A-Za-z]{72}") {
        let text = format!("lhh_{digits}");
        prop_assert!(Presented::parse(Bearer::Handle, &text).is_none());
    }

    #[test]
    fn any_text_is_refused_without_a_panic(text in "(lh[hk]_)?.{0,80}") {
        prop_assert!(Presented::parse(Bearer::ApiKey, &text).is_none());
    }
}

fn frozen() -> Vec<Vec<u8>> {
    let names = ["handle", "api_key", "handle_zero", "handle_ones"];
    let text = |name| BEARER.text(&format!("{name}.text")).as_bytes().to_vec();
    names.map(text).to_vec()
}

proptest! {
    #![proptest_config(crate::domain::hostile::cases(1000))]

    /// The checksum finds damage, and each kind is told by its prefix.
    #[test]
    fn a_damaged_string_is_refused(bytes in crate::domain::hostile::damaged(frozen())) {
        let text = String::from_utf8_lossy(&bytes);
        for kind in [Bearer::Handle, Bearer::ApiKey] {
            if Presented::parse(kind, &text).is_some() {
                prop_assert!(frozen().contains(&bytes) && text.starts_with(kind.prefix()));
            }
        }
    }
}
