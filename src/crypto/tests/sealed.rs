//! What is sealed: the same bytes as ever from the same entropy, and openable for ever.

use std::sync::Arc;

use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;
use crate::{
    crypto::{
        aead::Cipher,
        entropy::OsEntropy,
        envelope::{RecordType, Slot},
        keyring::IndexOf,
    },
    domain::{secret::SecretText, time::Timestamp},
};

/// Where a vector is sealed, as its `slot` line spells it: type, id, version.
pub(super) struct Place {
    kind: RecordType,
    id: Vec<u8>,
    version: u32,
}

impl Place {
    pub(super) fn of(name: &str) -> Self {
        let text = SEALED.text(&format!("{name}.slot"));
        let [kind, id, version] = text.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{text}")
        };
        Self {
            kind: match kind {
                "Credential" => RecordType::Credential,
                "Version" => RecordType::Version,
                "Value" => RecordType::Value,
                "Ledger" => RecordType::Ledger,
                "Lease" => RecordType::Lease,
                "Clock" => RecordType::Clock,
                _ => panic!("{kind}"),
            },
            id: unhex(id),
            version: version.parse().unwrap(),
        }
    }

    pub(super) fn slot(&self) -> Slot<'_> {
        Slot {
            kind: self.kind,
            id: &self.id,
            version: self.version,
        }
    }
}

#[test]
fn the_cipher_is_aes_256_gcm() {
    // NIST's test case 14: all zero, one block.
    let key = Zeroizing::new([0; 32]);
    let mut sealed = Vec::new();
    Cipher::new(&key)
        .seal_into(&mut sealed, &[0; 12], &[], &[0; 16])
        .unwrap();
    assert_eq!(
        hex(&sealed[12..]),
        "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"
    );
}

#[test]
fn wrapped_keks_are_as_frozen() {
    for number in [1, 2] {
        let entropy = Scripted::new(&KEYS.bytes(&format!("kek_{number}.entropy")));
        let wrapped = keyring(entropy.clone()).new_kek(workspace(), number);
        assert_eq!(
            hex(&wrapped.unwrap()),
            KEYS.text(&format!("kek_{number}.wrapped"))
        );
        entropy.assert_used_up();
    }
}

#[test]
fn the_proof_of_the_root_key_is_as_frozen() {
    let entropy = Scripted::new(&KEYS.bytes("check.entropy"));
    let keyring = keyring(entropy.clone());
    assert_eq!(
        hex(&keyring.seal_check().unwrap()),
        KEYS.text("check.sealed")
    );
    entropy.assert_used_up();
    let sealed = KEYS.bytes("check.sealed");
    assert!(keyring.opens_check(&sealed));
    let other = Keyring::new(&root_key("other_root"), Arc::new(OsEntropy)).unwrap();
    assert!(!other.opens_check(&sealed));
}

#[test]
fn records_are_as_frozen() {
    for name in ["record", "version", "lease", "clock", "empty", "second_key"] {
        let field = |field| format!("{name}.{field}");
        let place = Place::of(name);
        let newest = SEALED.text(&field("key")).parse().unwrap();
        let entropy = Scripted::new(&SEALED.bytes(&field("entropy")));
        let prefix = match name {
            "lease" => SEALED.bytes("lease.prefix"),
            _ => Vec::new(),
        };
        let plain = SEALED.bytes(&field("plain"));
        let sealed = workspace_keys(newest, entropy.clone())
            .seal(place.slot(), &prefix, &plain)
            .unwrap();
        assert_eq!(hex(&sealed), SEALED.text(&field("sealed")), "{name}");
        entropy.assert_used_up();
        let opened = workspace_keys(2, entropy)
            .open(
                place.slot(),
                &SEALED.bytes(&field("sealed"))[prefix.len()..],
            )
            .unwrap();
        assert_eq!(*opened, plain, "{name}");
    }
}

#[test]
fn what_is_sealed_by_the_hour_is_as_frozen() {
    let now = Timestamp::from_millis(SEALED.text("hourly.time").parse().unwrap());
    for name in ["hourly_ledger", "hourly_clock"] {
        let field = |field| format!("{name}.{field}");
        let place = Place::of(name);
        let slot = place.slot();
        let entropy = Scripted::new(&SEALED.bytes(&field("entropy")));
        let keys = workspace_keys(1, entropy.clone());
        keys.reached(now);
        let plain = SEALED.bytes(&field("plain"));
        let sealed = keys.seal_hourly(slot.kind, slot.id, &plain).unwrap();
        assert_eq!(hex(&sealed), SEALED.text(&field("sealed")), "{name}");
        entropy.assert_used_up();
        // In whichever hour the vault is.
        let opened = workspace_keys(2, entropy).open_hourly(slot.kind, slot.id, &sealed);
        assert_eq!(*opened.unwrap(), plain, "{name}");
        // It is an ordinary record behind the hour.
        let opened = workspace_keys(1, Arc::new(OsEntropy)).open(slot, &sealed[4..]);
        assert_eq!(*opened.unwrap(), plain, "{name}");
    }
}

/// A key is left behind with its hour, and never taken up again, whatever the clock says.
#[test]
fn the_key_of_what_is_sealed_over_and_over_changes_by_the_hour() {
    const HOUR: u64 = 3_600_000;
    let keyring = keyring(Arc::new(OsEntropy));
    let unlock = || {
        let wrapped = [(1, KEYS.bytes("kek_1.wrapped"))];
        keyring.unlock(workspace(), &wrapped).unwrap()
    };
    let keys = unlock();
    let hour_at = |millis| {
        keys.reached(Timestamp::from_millis(millis));
        let sealed = keys
            .seal_hourly(RecordType::Ledger, &[7; 16], b"x")
            .unwrap();
        u32::from_be_bytes(sealed[..4].try_into().unwrap())
    };
    assert_eq!(hour_at(0), 0);
    assert_eq!(hour_at(5 * HOUR - 1), 4);
    assert_eq!(hour_at(5 * HOUR), 5);
    assert_eq!(hour_at(4 * HOUR), 5);
    // Every workspace of the vault has the same hour.
    let other = unlock().seal_hourly(RecordType::Ledger, &[7; 16], b"x");
    assert_eq!(other.unwrap()[..4], [0, 0, 0, 5]);
}

#[test]
fn values_are_as_frozen() {
    let place = Place::of("value");
    let entropy = Scripted::new(&SEALED.bytes("value.entropy"));
    let value = SecretText::new(SEALED.text("value.plain").to_owned());
    let keys = workspace_keys(1, entropy.clone());
    let sealed = keys.seal_value(place.slot(), &value).unwrap();
    assert_eq!(hex(&sealed), SEALED.text("value.sealed"));
    entropy.assert_used_up();
    let opened = workspace_keys(2, entropy)
        .open_value(place.slot(), &SEALED.bytes("value.sealed"))
        .unwrap();
    assert_eq!(opened.expose(), value.expose());
}

#[test]
fn audit_records_are_as_frozen() {
    for name in ["audit_first", "audit_last", "audit_next"] {
        let field = |field| format!("{name}.{field}");
        let sequence = SEALED.text(&field("sequence")).parse().unwrap();
        let entropy = Scripted::new(&SEALED.bytes(&field("entropy")));
        let plain = SEALED.bytes(&field("plain"));
        let keys = workspace_keys(1, entropy.clone());
        let sealed = keys.seal_audit(sequence, &plain).unwrap();
        assert_eq!(hex(&sealed), SEALED.text(&field("sealed")), "{name}");
        entropy.assert_used_up();
        let opened = workspace_keys(2, entropy)
            .open_audit(sequence, &SEALED.bytes(&field("sealed")))
            .unwrap();
        assert_eq!(*opened, plain, "{name}");
    }
}

#[test]
fn index_keys_and_digests_are_as_frozen() {
    let keyring = keyring(Arc::new(OsEntropy));
    let cases: [(_, _, &[&[u8]]); 4] = [
        ("workspace.default", IndexOf::Workspace, &[b"default"]),
        (
            "identity.agent.ci-bot",
            IndexOf::Identity,
            &[b"agent", b"ci-bot"],
        ),
        (
            "credential.stripe-key",
            IndexOf::Credential,
            &[b"stripe-key"],
        ),
        ("idempotency.abc", IndexOf::IdempotencyKey, &[b"abc"]),
    ];
    for (name, of, parts) in cases {
        assert_eq!(
            hex(&keyring.index(of, workspace(), parts)),
            KEYS.text(&format!("index.{name}"))
        );
    }
    let value = SecretText::new(KEYS.text("fingerprint.value").to_owned());
    assert_eq!(
        keyring.fingerprint(workspace(), &value).to_string(),
        KEYS.text("fingerprint")
    );
    assert_eq!(
        hex(&keyring.body_digest(workspace(), KEYS.text("body").as_bytes())),
        KEYS.text("body.digest")
    );
}

#[test]
fn digests_depend_on_the_workspace_and_on_where_a_part_ends() {
    let keyring = keyring(Arc::new(OsEntropy));
    let of = |workspace, parts: &[&[u8]]| keyring.index(IndexOf::Identity, workspace, parts);
    let here = of(workspace(), &[b"agent", b"bot"]);
    assert_ne!(here, of(WorkspaceId::SYSTEM, &[b"agent", b"bot"]));
    assert_ne!(here, of(workspace(), &[b"agen", b"tbot"]));
    assert_ne!(here, of(workspace(), &[b"agentbot"]));
    assert_ne!(
        here,
        keyring.index(IndexOf::Credential, workspace(), &[b"agent", b"bot"])
    );
    let value = SecretText::new("same".to_owned());
    assert_ne!(
        keyring.fingerprint(workspace(), &value),
        keyring.fingerprint(WorkspaceId::SYSTEM, &value)
    );
}

#[test]
fn the_newest_kek_seals_and_all_open() {
    let keyring = keyring(Arc::new(OsEntropy));
    // Handed over in the wrong order on purpose: the number decides.
    let wrapped = [2, 1].map(|number| (number, KEYS.bytes(&format!("kek_{number}.wrapped"))));
    let keys = keyring.unlock(workspace(), &wrapped).unwrap();
    let place = Place::of("record");
    let sealed = keys.seal(place.slot(), &[], b"new").unwrap();
    assert_eq!(sealed[1..5], [0, 0, 0, 2]);
    assert_eq!(**keys.open(place.slot(), &sealed).unwrap(), *b"new");
    keys.open(place.slot(), &SEALED.bytes("record.sealed"))
        .unwrap();
    let known = keyring.workspace(workspace()).unwrap();
    assert_eq!(known.workspace(), workspace());
    assert!(keyring.workspace(WorkspaceId::SYSTEM).is_err());
    assert!(keyring.unlock(workspace(), &[]).is_err());
}

#[test]
fn the_audit_cipher_that_is_kept_is_never_the_wrong_one() {
    let keys = workspace_keys(1, Arc::new(OsEntropy));
    let both = workspace_keys(2, Arc::new(OsEntropy));
    let sequences = [1, 1 << 20, 2, (1 << 20) + 1, 1 << 40];
    let sealed: Vec<_> = sequences
        .iter()
        .map(|sequence| keys.seal_audit(*sequence, b"old").unwrap())
        .collect();
    for (sequence, old) in sequences.into_iter().zip(&sealed) {
        // Alternates between the keys of two KEKs, and between epochs.
        let new = both.seal_audit(sequence, b"new").unwrap();
        assert_eq!(**both.open_audit(sequence, old).unwrap(), *b"old");
        assert_eq!(**both.open_audit(sequence, &new).unwrap(), *b"new");
        assert!(both.open_audit(sequence + 1, old).is_err());
    }
}

#[test]
fn without_entropy_nothing_is_made() {
    let dry = |bytes: usize| Scripted::new(&vec![7; bytes]);
    let keys = |bytes| workspace_keys(1, dry(bytes));
    let (record, value) = (Place::of("record"), Place::of("value"));
    let secret = SecretText::new("value".to_owned());
    assert!(keys(11).seal(record.slot(), &[], b"x").is_err());
    assert!(keys(11).seal_audit(1, b"x").is_err());
    // A DEK, its nonce, the value's nonce: each may be what fails.
    for bytes in [31, 32 + 11, 32 + 12 + 11] {
        assert!(keys(bytes).seal_value(value.slot(), &secret).is_err());
    }
    assert!(keyring(dry(32 + 11)).new_kek(workspace(), 1).is_err());
    assert!(keyring(dry(11)).seal_check().is_err());
    assert!(RootKey::generate(&*dry(31)).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is sealed opens in its own slot, twice sealed is twice different, and no other slot opens it.
    #[test]
    fn sealed_text_opens_in_its_own_slot_alone(
        plain in prop::collection::vec(any::<u8>(), 0..200),
        id in prop::collection::vec(any::<u8>(), 0..40),
        other_id in prop::collection::vec(any::<u8>(), 0..40),
        version: u32,
        other_version: u32,
    ) {
        let keys = workspace_keys(1, Arc::new(OsEntropy));
        let slot = Slot { kind: RecordType::Version, id: &id, version };
        let sealed = keys.seal(slot, &[], &plain).unwrap();
        let opens = |slot| keys.open(slot, &sealed).is_ok();
        prop_assert_eq!(&**keys.open(slot, &sealed).unwrap(), &plain[..]);
        prop_assert_ne!(&sealed, &keys.seal(slot, &[], &plain).unwrap());
        let other_kind = Slot { kind: RecordType::Ledger, ..slot };
        let other_id = Slot { id: &other_id, ..slot };
        let other_version = Slot { version: other_version, ..slot };
        prop_assert!(!opens(other_kind));
        prop_assert_eq!(opens(other_id), other_id.id == slot.id);
        prop_assert_eq!(opens(other_version), other_version.version == version);
    }

    #[test]
    fn values_open_in_their_own_slot_alone(value in ".{0,60}", version: u32, other_version: u32) {
        let keys = workspace_keys(1, Arc::new(OsEntropy));
        let secret = SecretText::new(value.clone());
        let slot = Slot { kind: RecordType::Value, id: &[5; 16], version };
        let sealed = keys.seal_value(slot, &secret).unwrap();
        let opens = |slot| keys.open_value(slot, &sealed).is_ok();
        let opened = keys.open_value(slot, &sealed).unwrap();
        prop_assert_eq!(opened.expose(), &value);
        prop_assert_ne!(&sealed, &keys.seal_value(slot, &secret).unwrap());
        let other_id = Slot { id: &[6; 16], ..slot };
        let other_version = Slot { version: other_version, ..slot };
        prop_assert!(!opens(other_id));
        prop_assert_eq!(opens(other_version), other_version.version == version);
    }
}
