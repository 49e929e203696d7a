//! What does not open, and for which reason.

use std::sync::Arc;

use super::{sealed::Place, *};
use crate::crypto::{
    entropy::OsEntropy,
    envelope::{RecordType, Slot},
};

/// Opens `sealed` the way a line of `refused.txt` says; gives the reason where it is refused.
fn open(how: &str, sealed: &[u8]) -> Option<String> {
    let keyring = keyring(Arc::new(OsEntropy));
    let keys = workspace_keys(2, Arc::new(OsEntropy));
    let refused = match how {
        "record" | "version" => keys.open(Place::of(how).slot(), sealed).err(),
        "value" => keys.open_value(Place::of(how).slot(), sealed).err(),
        "audit" => keys.open_audit(1, sealed).err(),
        "hourly" => {
            let place = Place::of("hourly_ledger");
            let slot = place.slot();
            keys.open_hourly(slot.kind, slot.id, sealed).err()
        }
        "kek" => keyring
            .unlock(workspace(), &[(1, sealed.to_vec())])
            .map(|_| ())
            .err(),
        "check" => return (!keyring.opens_check(sealed)).then(|| "-".to_owned()),
        "lease" => {
            // As the table of leases does: the id in front is a part of the slot's.
            let (credential, body) = sealed.split_at(16);
            let id = [&Place::of("lease").slot().id[..16], credential].concat();
            let slot = Slot {
                kind: RecordType::Lease,
                id: &id,
                version: 0,
            };
            keys.open(slot, body).err()
        }
        _ => panic!("{how}"),
    };
    refused.map(|error| reason(&error))
}

#[test]
fn every_bad_vector_is_refused_for_its_reason() {
    let mut tested = 0;
    for (name, line) in REFUSED.pairs() {
        let [how, why, bytes] = line.split(" | ").collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let sealed = unhex(bytes.trim_start_matches('-'));
        assert_eq!(open(how, &sealed).as_deref(), Some(why), "{name}");
        tested += 1;
    }
    assert!(tested >= 60, "bad vectors are only ever added: {tested}");
}

/// The good vectors and how each is opened.
fn good() -> [(&'static str, Vec<u8>); 8] {
    [
        ("record", SEALED.bytes("record.sealed")),
        ("version", SEALED.bytes("version.sealed")),
        ("value", SEALED.bytes("value.sealed")),
        ("lease", SEALED.bytes("lease.sealed")),
        ("audit", SEALED.bytes("audit_first.sealed")),
        ("hourly", SEALED.bytes("hourly_ledger.sealed")),
        ("kek", KEYS.bytes("kek_1.wrapped")),
        ("check", KEYS.bytes("check.sealed")),
    ]
}

#[test]
fn a_change_of_any_bit_is_refused() {
    for (how, sealed) in good() {
        assert_eq!(open(how, &sealed), None, "{how}: the good one opens");
        for at in 0..sealed.len() * 8 {
            let mut bad = sealed.clone();
            bad[at / 8] ^= 1 << (at % 8);
            assert!(open(how, &bad).is_some(), "{how}: bit {at}");
        }
    }
}

#[test]
fn every_cut_is_refused() {
    for (how, sealed) in good() {
        // The id in front of a lease is the table's to look after.
        let from = if how == "lease" { 16 } else { 0 };
        for len in from..sealed.len() {
            assert!(open(how, &sealed[..len]).is_some(), "{how}: {len} bytes");
        }
    }
}

#[test]
fn the_same_kek_in_another_workspace_opens_nothing() {
    let other = WorkspaceId::from_bytes(KEYS.array("other_workspace"));
    let keys = keyring(Arc::new(OsEntropy))
        .unlock(other, &[(1, KEYS.bytes("other_kek_1.wrapped"))])
        .unwrap();
    let open = |name: &str| keys.open(Place::of(name).slot(), &SEALED.bytes("record.sealed"));
    assert_eq!(
        reason(&open("record").unwrap_err()),
        "NotAuthentic(Credential)"
    );
    let value = keys.open_value(Place::of("value").slot(), &SEALED.bytes("value.sealed"));
    assert_eq!(reason(&value.err().unwrap()), "NotAuthentic(Value)");
    let audit = keys.open_audit(1, &SEALED.bytes("audit_first.sealed"));
    assert_eq!(reason(&audit.unwrap_err()), "NotAuthentic(Audit)");
}
