//! Records and keys that no vault wrote: refused, or read as something that can be written and read again.

use proptest::{collection::vec, prelude::*, test_runner::TestRunner};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    domain::{
        hostile::{cases, damaged},
        id::{CredentialId, EventId, IdentityId, IssuerId, KeyId, LeaseId, TokenId, WorkspaceId},
        time::Timestamp,
    },
    store::{codec, key, port::Key},
};

/// Reads damaged forms of one record, and random ones with a right format number.
pub(super) fn damaged_record<T: Serialize + DeserializeOwned>(name: &str, bytes: &[u8]) {
    let random = vec(any::<u8>(), 0..200).prop_map(|body| [&[codec::FORMAT][..], &body].concat());
    let input = prop_oneof![2 => damaged(vec![bytes.to_vec()]), 1 => random];
    let mut runner = TestRunner::new(cases(100));
    let read = runner.run(&input, |bytes| {
        let Ok(record) = codec::decode::<T>(&bytes) else {
            return Ok(());
        };
        let written = codec::encode(&record).unwrap();
        let again: T = codec::decode(&written).unwrap();
        prop_assert_eq!(codec::encode(&again).unwrap(), written);
        Ok(())
    });
    read.unwrap_or_else(|error| panic!("{name}: {error}"));
}

fn keys() -> Vec<Vec<u8>> {
    let (workspace, credential) = (
        WorkspaceId::from_bytes([8; 16]),
        CredentialId::from_bytes([1; 16]),
    );
    let lease = LeaseId::from_bytes([0x1e; 16]);
    let all = [
        key::header(),
        key::kek(workspace, 7),
        key::workspace(workspace),
        key::credential_name(workspace, &[9; 32]),
        key::ledger(workspace, credential),
        key::lease(workspace, lease),
        key::open_lease(
            workspace,
            credential,
            Timestamp::from_millis(1_760_000_000_000),
            lease,
        ),
        key::version(workspace, credential, 3),
        key::sweep(workspace, credential),
        key::audit(42),
        key::listed_token(workspace, TokenId::from_bytes([7; 16])),
        key::api_key_home(workspace, KeyId::from_bytes([6; 16])),
        key::last_use(&[6; 16]),
        key::identity_use(IdentityId::from_bytes([2; 16])),
        key::key_usage(KeyId::from_bytes([6; 16]), 3),
        key::tile(2, 7),
        key::checkpoint(42),
        key::issuer(workspace, IssuerId::from_bytes([5; 16])),
        key::seen(workspace, &[6; 32]),
        key::policy_set(workspace, 3),
        key::hold(&[9; 32]),
        key::first_look(workspace),
        key::look_again(workspace, Timestamp::from_millis(1_760_000_000_000), lease),
        key::audit_retention(),
        key::survey(3),
        key::removed(3),
        key::told("file"),
        key::suspect(
            workspace,
            CredentialId::from_bytes([7; 16]),
            EventId::from_bytes([8; 16]),
        ),
    ];
    all.map(Key::into_vec).into()
}

proptest! {
    #![proptest_config(cases(1000))]

    #[test]
    fn keys_are_refused_or_round_trip(bytes in prop_oneof![damaged(keys()), vec(any::<u8>(), 0..80)]) {
        if let Some((workspace, number)) = key::parse_kek(&bytes) {
            prop_assert_eq!(&*key::kek(workspace, number), &bytes[..]);
        }
        if let Some(open) = key::parse_open_lease(&bytes) {
            let same = key::open_lease(open.workspace, open.credential, open.expiry, open.lease);
            // An expiry beyond the year 9999 is read as its end.
            prop_assert_eq!(key::parse_open_lease(&same), Some(open));
            prop_assert_eq!(same.len(), bytes.len());
        }
        if let Some((workspace, id)) = key::parse_issuer(&bytes) {
            prop_assert_eq!(&*key::issuer(workspace, id), &bytes[..]);
        }
        if let Some((workspace, hash)) = key::parse_seen(&bytes) {
            prop_assert_eq!(&*key::seen(workspace, &hash), &bytes[..]);
        }
        if let Some((workspace, id)) = key::parse_listed_token(&bytes) {
            prop_assert_eq!(&*key::listed_token(workspace, id), &bytes[..]);
        }
        if let Some(sequence) = key::parse_audit(&bytes) {
            prop_assert_eq!(&*key::audit(sequence), &bytes[..]);
        }
        if let Some((workspace, id)) = key::parse_api_key_home(&bytes) {
            prop_assert_eq!(&*key::api_key_home(workspace, id), &bytes[..]);
        }
        if let Some(id) = key::parse_last_use(&bytes) {
            prop_assert_eq!(&*key::last_use(&id), &bytes[..]);
        }
        if let Some(id) = key::parse_identity_use(&bytes) {
            prop_assert_eq!(&*key::identity_use(id), &bytes[..]);
        }
        if let Some((id, number)) = key::parse_key_usage(&bytes) {
            prop_assert_eq!(&*key::key_usage(id, number), &bytes[..]);
        }
        if let Some((level, index)) = key::parse_tile(&bytes) {
            prop_assert_eq!(&*key::tile(level, index), &bytes[..]);
        }
        if let Some(size) = key::parse_checkpoint(&bytes) {
            prop_assert_eq!(&*key::checkpoint(size), &bytes[..]);
        }
        match key::parse_retained(&bytes) {
            Some(key::Retained::Hold(hash)) => prop_assert_eq!(&*key::hold(&hash), &bytes[..]),
            Some(key::Retained::FirstLook(workspace)) => {
                prop_assert_eq!(&*key::first_look(workspace), &bytes[..]);
            }
            Some(key::Retained::LookAgain(look)) => {
                let same = key::look_again(look.workspace, look.due, look.lease);
                prop_assert_eq!(key::parse_retained(&same), Some(key::Retained::LookAgain(look)));
            }
            Some(key::Retained::Survey(range)) => prop_assert_eq!(&*key::survey(range), &bytes[..]),
            Some(key::Retained::Removed(range)) => prop_assert_eq!(&*key::removed(range), &bytes[..]),
            Some(key::Retained::AuditState) => prop_assert_eq!(&*key::audit_retention(), &bytes[..]),
            Some(key::Retained::Front) => prop_assert_eq!(&*key::audit_front(), &bytes[..]),
            None => {}
        }
        match key::parse_alarm(&bytes) {
            Some(key::Alarm::Told(listener)) => prop_assert_eq!(&*key::told(&listener), &bytes[..]),
            Some(key::Alarm::Suspect(workspace, credential, record)) => {
                prop_assert_eq!(&*key::suspect(workspace, credential, record), &bytes[..]);
            }
            None => {}
        }
        if let Some((workspace, rest)) = key::parse_workspace(&bytes) {
            prop_assert_eq!(&[&bytes[..1], workspace.as_bytes(), rest].concat(), &bytes);
        }
        if let Some((workspace, credential)) = key::parse_credential(&bytes) {
            let head = [&bytes[..1], workspace.as_bytes(), credential.as_bytes()].concat();
            prop_assert!(bytes.starts_with(&head));
        }
        if let Some(lease) = key::parse_lease(&bytes) {
            prop_assert!(bytes.ends_with(lease.as_bytes()));
        }
        if let Some(number) = key::parse_version(&bytes) {
            prop_assert!(bytes.ends_with(&number.to_be_bytes()));
        }
    }
}
