//! The format against `tests/vectors/backup.txt`, and what must be refused.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::{
    archive::{Reader, Writer, verify},
    crypto::{
        backup::Place,
        entropy::OsEntropy,
        keyring::Keyring,
        tests::{
            Scripted, keyring, root_key,
            vectors::{Vectors, hex},
        },
    },
    domain::{
        error::{Code, Error, Result},
        hostile,
    },
    store::{codec, key, port::MAX_BULKY_BYTES},
    tables::{Header, Unseal},
};

const BACKUP: Vectors = Vectors(include_str!("../../tests/vectors/backup.txt"));

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

fn vault() -> Vec<u8> {
    let header = Header {
        created_at: Timestamp::from_millis(1_767_225_600_000),
        unseal: Unseal::KeyFile,
        check: crate::crypto::tests::vectors::KEYS.bytes("check.sealed"),
    };
    codec::encode(&header).unwrap()
}

fn made(pairs: &[(&[u8], &[u8])], keyring: &Keyring) -> Vec<u8> {
    let created_at = Timestamp::from_millis(1_767_225_600_123);
    let mut sealer = Sealer::new(Vec::new(), keyring, &vault(), created_at).unwrap();
    for (key, value) in pairs {
        sealer.pair(key, value).unwrap();
    }
    let (file, summary) = sealer.finish().unwrap();
    assert_eq!(summary, verify(&file[..]).unwrap());
    file
}

fn fresh() -> Keyring {
    keyring(Arc::new(OsEntropy))
}

fn opened(file: &[u8]) -> Result<Pairs> {
    let mut pairs = Pairs::new();
    Opened::new(file)?.unlock(&fresh())?.pairs(|key, value| {
        pairs.push((key.to_vec(), value.to_vec()));
        Ok(())
    })?;
    Ok(pairs)
}

#[track_caller]
fn refused(file: &[u8], words: &str) {
    let error: Error = opened(file).expect_err("it was read");
    assert!(error.message().contains(words), "{error}");
}

#[test]
fn a_backup_is_as_frozen() {
    let entropy = Scripted::new(&BACKUP.bytes("entropy"));
    let about = About {
        created_at: Timestamp::from_millis(BACKUP.text("created_at").parse().unwrap()),
        made_by: BACKUP.text("made_by").to_owned(),
        salt: BACKUP.array("salt"),
        vault: vault(),
    };
    let mut sealer = Sealer::about(Vec::new(), &keyring(entropy), &about).unwrap();
    sealer.pair(&key::header(), &vault()).unwrap();
    sealer.pair(b"\x0akey", b"value").unwrap();
    let (file, _) = sealer.finish().unwrap();
    assert_eq!(hex(&file), BACKUP.text("file"));
    let read = opened(&BACKUP.bytes("file")).unwrap();
    assert_eq!(read.len(), 2);
    assert_eq!(read[1], (b"\x0akey".to_vec(), b"value".to_vec()));
    let bytes = BACKUP.bytes("file");
    let opened = Opened::new(&bytes[..]).unwrap();
    assert_eq!(*opened.about(), about);
    assert_eq!(opened.vault().unseal, Unseal::KeyFile);
}

/// Enough pairs for several chunks, one of them longer than a chunk.
fn many() -> Pairs {
    let mut pairs: Pairs = (0..2_000_u32)
        .map(|at| ([&[2], &at.to_be_bytes()[..]].concat(), vec![at as u8; 400]))
        .collect();
    pairs.insert(0, (key::header().to_vec(), vault()));
    pairs.push((vec![0x85, 0], vec![5; MAX_BULKY_BYTES]));
    pairs.push((vec![0x85, 1], Vec::new()));
    pairs
}

fn made_of(pairs: &Pairs) -> Vec<u8> {
    let borrowed: Vec<_> = pairs.iter().map(|(k, v)| (&k[..], &v[..])).collect();
    made(&borrowed, &fresh())
}

#[test]
fn every_pair_comes_back() {
    let pairs = many();
    let file = made_of(&pairs);
    assert!(verify(&file[..]).unwrap().frames > 4);
    assert!(opened(&file).unwrap() == pairs);
}

type Frames = Vec<(bool, Vec<u8>)>;
type Change<'a> = &'a dyn Fn(&mut Frames);

/// The file made anew of other frames, with a right checksum: only the seals can tell.
fn rebuilt(file: &[u8], change: impl Fn(&mut Frames)) -> Vec<u8> {
    let mut reader = Reader::new(file).unwrap();
    let mut frames = Frames::new();
    while let Some(frame) = reader.frame().unwrap() {
        frames.push((frame.last, frame.body));
    }
    change(&mut frames);
    let mut writer = Writer::new(Vec::new(), reader.header()).unwrap();
    for (last, body) in frames {
        writer.frame(last, &body).unwrap();
    }
    writer.finish().unwrap().0
}

#[test]
fn a_file_that_somebody_rebuilt_is_refused() {
    let pairs = many();
    let (file, other) = (made_of(&pairs), made_of(&pairs));
    assert!(opened(&rebuilt(&file, |_| {})).is_ok());
    let mut reader = Reader::new(&other[..]).unwrap();
    let foreign = reader.frame().unwrap().unwrap().body;
    let changes: [(&str, Change<'_>); 6] = [
        ("chunk 1 ", &|frames| frames.swap(1, 2)),
        ("chunk 1 ", &|frames| drop(frames.remove(1))),
        ("chunk 2 ", &|frames| frames.insert(2, frames[1].clone())),
        ("chunk 0 ", &|frames| frames[0].1 = foreign.clone()),
        ("chunk 1 ", &|frames| frames[1].1[40] ^= 1),
        ("chunk 1 ", &|frames| {
            frames.truncate(2);
            frames[1].0 = true;
        }),
    ];
    for (which, change) in changes {
        refused(&rebuilt(&file, change), &format!("not authentic: {which}"));
    }
    // Another header over the same chunks.
    let mut reader = Reader::new(&file[..]).unwrap();
    let mut about: About = codec::decode(reader.header()).unwrap();
    about.created_at = Timestamp::from_millis(0);
    let mut writer = Writer::new(Vec::new(), &codec::encode(&about).unwrap()).unwrap();
    while let Some(frame) = reader.frame().unwrap() {
        writer.frame(frame.last, &frame.body).unwrap();
    }
    refused(&writer.finish().unwrap().0, "not authentic: chunk 0 ");
}

#[test]
fn another_root_key_is_told_from_damage() {
    let file = made_of(&many());
    let other = Keyring::new(&root_key("other_root"), Arc::new(OsEntropy)).unwrap();
    let error = Opened::new(&file[..])
        .unwrap()
        .unlock(&other)
        .err()
        .unwrap();
    assert_eq!(error.code(), Code::Sealed);
    assert!(error.message().contains("root key"));
}

#[test]
fn what_no_vault_writes_is_refused() {
    let keys = fresh();
    let header = (key::header(), vault());
    refused(&made(&[], &keys), "does not hold the vault");
    refused(
        &made(&[(&header.0, b"another")], &keys),
        "does not hold the vault",
    );
    refused(
        &made(&[(b"\x02", b""), (&header.0, &header.1)], &keys),
        "not in order",
    );
    refused(
        &made(&[(&header.0, &header.1), (&header.0, b"")], &keys),
        "not in order",
    );
    refused(b"PK\x03\x04 something else", "not a backup");
    // A chunk that is sealed well and holds half a pair.
    let about = About {
        created_at: Timestamp::from_millis(0),
        made_by: String::new(),
        salt: [1; 32],
        vault: vault(),
    };
    let mut writer = Writer::new(Vec::new(), &codec::encode(&about).unwrap()).unwrap();
    let place = Place {
        number: 0,
        last: true,
        header: writer.prefix_digest(),
    };
    let sealed = keys.backup(&about.salt).unwrap();
    let sealed = sealed.seal(place, &[0, 1, 0, 0, 0, 9, 1]).unwrap();
    writer.frame(true, &sealed).unwrap();
    refused(&writer.finish().unwrap().0, "malformed");
    let mut writer = Writer::new(Vec::new(), &[9, 9]).unwrap();
    writer.frame(true, b"").unwrap();
    refused(&writer.finish().unwrap().0, "header cannot be read");
}

/// Opens what can be opened, with the checksum made right, so that not it alone refuses.
fn resealed(mut file: Vec<u8>) -> Vec<u8> {
    use sha2::{Digest, Sha256};
    file.truncate(file.len().saturating_sub(32));
    let sum = Sha256::digest(&file);
    file.extend_from_slice(&sum);
    file
}

#[test]
fn damaged_backups_are_refused_or_whole() {
    let (file, keys) = (BACKUP.bytes("file"), fresh());
    let whole = opened(&file).unwrap();
    let input = hostile::damaged(vec![file.clone()]);
    proptest!(hostile::cases(200), |(damaged in input, reseal: bool)| {
        let same = damaged == file;
        let damaged = if reseal { resealed(damaged) } else { damaged };
        let mut pairs = Pairs::new();
        let read = Opened::new(&damaged[..]).and_then(|opened| opened.unlock(&keys)).and_then(|unlocked| {
            unlocked.pairs(|key, value| {
                pairs.push((key.to_vec(), value.to_vec()));
                Ok(())
            })
        });
        // Whatever was handed out by then was in the vault.
        prop_assert!(whole.starts_with(&pairs));
        match read {
            Ok(_) => prop_assert!(same || pairs == whole),
            Err(error) => prop_assert!(!same && matches!(error.code(), Code::InvalidRequest | Code::Sealed)),
        }
    });
}

#[test]
fn random_bytes_are_no_backup() {
    let random = proptest::collection::vec(any::<u8>(), 0..300);
    proptest!(hostile::cases(200), |(bytes in random, prefix: bool)| {
        let head: &[u8] = if prefix { b"LEASEHOLD-BACKUP\x01" } else { b"" };
        prop_assert!(verify(&[head, &bytes].concat()[..]).is_err());
        prop_assert!(Opened::new(&[head, &bytes].concat()[..]).is_err());
    });
}
