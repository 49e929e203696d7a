//! What lies in a data folder: every record's encoding against `tests/vectors/records.txt`, every stored number
//! against `numbers.txt`, and a lease that was put behind another credential.

use std::sync::Arc;

use serde::{Serialize, de::DeserializeOwned};

use super::Tables;
use crate::{
    crypto::{
        entropy::OsEntropy,
        tests::{
            keyring,
            vectors::{KEYS, REFUSED, SEALED, Vectors, hex, unhex},
            workspace,
        },
    },
    domain::{
        error::Code,
        event::EventName,
        id::{CredentialId, LeaseId},
        issuer::SignatureAlgorithm,
        kind::CredentialType,
        ledger::CredentialState,
        policy::{Delivery, OnRotate},
        principal::IdentityType,
        scope::{Role, Scope, ScopeSet},
    },
    store::codec::{self, CodecError},
};

mod hostile;
mod samples;

const RECORDS: Vectors = Vectors(include_str!("../../tests/vectors/records.txt"));
const NUMBERS: Vectors = Vectors(include_str!("../../tests/vectors/numbers.txt"));

/// Holds one record to its line: it is read from it, and written as it again.
fn frozen<T: Serialize + DeserializeOwned>(name: &str, sample: &T, same: impl Fn(&T, &T) -> bool) {
    let bytes = RECORDS.bytes(name);
    assert_eq!(hex(&codec::encode(sample).unwrap()), hex(&bytes), "{name}");
    let read: T = codec::decode(&bytes).unwrap_or_else(|error| panic!("{name}: {error:?}"));
    assert!(same(&read, sample), "{name} reads as something else");

    let refusal = |bytes: &[u8]| codec::decode::<T>(bytes).err().expect(name);
    for format in [0, 2, 255] {
        let other = [&[format], &bytes[1..]].concat();
        let is = matches!(refusal(&other), CodecError::UnknownFormat(at) if at == format);
        assert!(is, "{name}: format {format}");
    }
    let longer = [&bytes[..], &[0, 0]].concat();
    assert!(matches!(refusal(&longer), CodecError::Trailing(2)));
    assert!(matches!(refusal(&[]), CodecError::Empty));
    for len in 1..bytes.len() {
        assert!(matches!(refusal(&bytes[..len]), CodecError::Malformed(_)));
    }
    hostile::damaged_record::<T>(name, &bytes);
}

#[test]
fn every_record_is_encoded_as_frozen() {
    let mut tested = Vec::new();
    samples::each(&mut |name| tested.push(name));
    let mut frozen: Vec<_> = RECORDS.pairs().map(|(name, _)| name).collect();
    frozen.sort_unstable();
    tested.sort_unstable();
    assert_eq!(tested, frozen, "a sample for every line");
}

/// Holds names to the numbers that records store for them, and every number in use to its line.
fn numbered<T: Serialize>(kind: &str, all: &[T], spelling: impl Fn(&T) -> &'static str) {
    let mut expected: Vec<_> = NUMBERS
        .pairs()
        .filter_map(|(name, number)| Some((name.strip_prefix(kind)?.strip_prefix('.')?, number)))
        .map(|(name, number)| (number.parse().unwrap(), name))
        .collect();
    expected.sort_unstable();
    let found: Vec<_> = all
        .iter()
        .map(|one| match codec::encode(one).unwrap()[..] {
            [codec::FORMAT, number] => (number, spelling(one)),
            _ => panic!("{kind}: more than a number"),
        })
        .collect();
    assert_eq!(
        found, expected,
        "{kind}: append what is new to numbers.txt, and change nothing else"
    );
}

#[test]
fn stored_numbers_are_as_frozen() {
    numbered("event", EventName::ALL, |name| name.as_str());
    numbered("credential_type", &CredentialType::ALL, |kind| {
        kind.as_str()
    });
    numbered("role", &Role::ALL, |role| role.as_str());
    let types = [
        IdentityType::Agent,
        IdentityType::Human,
        IdentityType::Service,
    ];
    numbered("identity_type", &types, |kind| kind.as_str());
    numbered("delivery", &[Delivery::Broker, Delivery::Reveal], |one| {
        one.as_str()
    });
    let modes = [OnRotate::Drain, OnRotate::Follow, OnRotate::Cut];
    numbered("on_rotate", &modes, |mode| mode.as_str());
    numbered("signature_algorithm", &SignatureAlgorithm::ALL, |one| {
        one.as_str()
    });
    let states = [
        CredentialState::Active,
        CredentialState::Disabled,
        CredentialState::Revoked,
    ];
    numbered("credential_state", &states, |state| state.as_str());
}

#[test]
fn the_bits_of_scopes_are_as_frozen() {
    let line = |scope: &Scope| NUMBERS.text(&format!("scope.{}", scope.as_str()));
    for scope in Scope::ALL {
        let bit: u32 = line(scope).parse().unwrap();
        let set: u64 = codec::decode(&codec::encode(&ScopeSet::of(&[*scope])).unwrap()).unwrap();
        assert_eq!(set, 1 << bit, "{}", scope.as_str());
    }
    let scopes = NUMBERS
        .pairs()
        .filter(|(name, _)| name.starts_with("scope."));
    assert_eq!(scopes.count(), Scope::ALL.len());
}

#[test]
fn a_lease_behind_another_credential_is_refused() {
    let keyring = Arc::new(keyring(Arc::new(OsEntropy)));
    let wrapped = KEYS.bytes("kek_1.wrapped");
    keyring.unlock(workspace(), &[(1, wrapped)]).unwrap();
    let tables = Tables::of(&keyring, workspace()).unwrap();
    // The frozen lease is sealed text, not a record: once it opens, the codec is what refuses it.
    let slot = SEALED.text("lease.slot");
    let id = |at| <[u8; 16]>::try_from(unhex(&slot[at..at + 32])).unwrap();
    let lease = LeaseId::from_bytes(id("Lease ".len()));
    let open = |id, stored: &[u8]| {
        let error = tables.open_lease(id, stored).unwrap_err();
        assert_eq!(error.code(), Code::Internal);
        error.details().is_empty()
    };
    let (not_opened, not_read) = (true, false);
    let good = SEALED.bytes("lease.sealed");
    assert_eq!(open(lease, &good), not_read);
    let [_, _, swapped] = REFUSED
        .text("prefix_swapped")
        .split(" | ")
        .collect::<Vec<_>>()[..]
    else {
        panic!("a bad vector has three parts")
    };
    assert_eq!(open(lease, &unhex(swapped)), not_opened);
    assert_eq!(open(LeaseId::from_bytes([7; 16]), &good), not_opened);
    assert_eq!(open(lease, &good[..15]), not_opened);
    let credential = CredentialId::from_bytes(id("Lease ".len() + 32));
    assert_eq!(good[..16], *credential.as_bytes(), "the id in front");
}
