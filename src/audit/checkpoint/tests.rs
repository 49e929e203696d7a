//! Against the vectors, which a script over python's `cryptography` computed, and what must be refused.

use std::sync::Arc;

use super::*;
use crate::crypto::{
    entropy::OsEntropy,
    tests::{keyring, vectors::Vectors},
};

const VECTORS: Vectors = Vectors(include_str!("../../../tests/vectors/checkpoints.txt"));

fn note(name: &str) -> String {
    VECTORS.text(name).replace("\\n", "\n")
}

fn statement(name: &str) -> Statement {
    let previous = (name == "second").then(|| VECTORS.array("first.digest"));
    Statement {
        size: VECTORS.text(&format!("{name}.size")).parse().unwrap(),
        root: VECTORS.array(&format!("{name}.root")),
        time: VECTORS.text(&format!("{name}.time")).parse().unwrap(),
        previous,
    }
}

#[test]
fn checkpoints_are_as_frozen() {
    let keyring = keyring(Arc::new(OsEntropy));
    let key = keyring.audit_key();
    for name in ["first", "second"] {
        let signed = statement(name).sign(key).unwrap();
        assert_eq!(signed.note(), note(name));
        assert_eq!(signed.digest(), VECTORS.array(&format!("{name}.digest")));
        let opened = Checkpoint::open(&note(name), key.public_key()).unwrap();
        assert_eq!(opened, signed);
        assert_eq!(*opened.statement(), statement(name));
        assert!(signed.note().len() <= MAX_BYTES);
    }
}

#[test]
fn what_is_not_the_checkpoint_is_refused() {
    let keyring = keyring(Arc::new(OsEntropy));
    let key = keyring.audit_key().public_key();
    let good = note("second");
    assert_eq!(Checkpoint::open(&good, &[7; 32]), Err(Refused::OtherVault));
    // Every byte counts: of the text, the names, the spelling, the signature.
    for at in 0..good.len() {
        let mut bytes = good.clone().into_bytes();
        bytes[at] ^= 1;
        if let Ok(worse) = String::from_utf8(bytes) {
            assert!(Checkpoint::open(&worse, key).is_err(), "byte {at}: {worse}");
        }
        if good.is_char_boundary(at) {
            assert!(Checkpoint::open(&good[..at], key).is_err(), "cut at {at}");
        }
    }
    let refused = [
        format!("{good}\n"),
        format!("{good}{good}"),
        format!(" {good}"),
        good.replace("\ntime", "\nmore\ntime"),
        good.replace("Z\n", "+00:00\n"),
        good.replace('\n', "\r\n"),
        note("first").replace("\n\n", "\nprevious \n\n"),
    ];
    for text in refused {
        assert!(Checkpoint::open(&text, key).is_err(), "{text}");
    }
}

#[test]
fn other_statements_of_the_same_key_are_no_checkpoints() {
    let keyring = keyring(Arc::new(OsEntropy));
    let key = keyring.audit_key();
    // Properly signed, and not the spelling of any statement.
    let origin = origin(key.public_key());
    for text in [
        format!("{origin}\n"),
        format!("{origin}\n007\n"),
        format!("{origin}\n1\nAAAA\ntime 2026-06-13T10:30:00Z\n"),
        "{\"format\":\"leasehold/v1/receipt\"}\n".to_owned(),
    ] {
        let mut signature = key_id(&origin, key.public_key()).to_vec();
        signature.extend_from_slice(&key.sign(text.as_bytes()).unwrap());
        let note = format!("{text}\n— {origin} {}\n", STANDARD.encode(signature));
        let refused = Checkpoint::open(&note, key.public_key());
        assert_eq!(refused, Err(Refused::Malformed), "{note}");
    }
}

#[test]
fn a_file_holds_the_text_or_the_answer() {
    let text = note("first");
    let of = |file: &str| {
        let Notes { notes, unreadable } = notes_in(file.as_bytes());
        (notes, unreadable)
    };
    let one = (vec![text.clone()], 0);
    assert_eq!(of(&text), one);
    let body = serde_json::json!({ "size": 1, "note": text });
    assert_eq!(of(&body.to_string()), one);
    let answer = serde_json::json!({ "status": "success", "data": body });
    assert_eq!(of(&answer.to_string()), one);
    assert_eq!(of(&format!("{answer:#}")), one);
    let lines = format!("{body}\n{answer}\n");
    let two = vec![text.clone(), text.clone()];
    assert_eq!(of(&lines), (two.clone(), 0));
    let keyring = keyring(Arc::new(OsEntropy));
    let key = keyring.audit_key().public_key();
    let opened = Checkpoint::open(&text, key).unwrap();
    assert_eq!(of(&opened.json()), one);
    // Wherever a line was torn, what stands in the lines around it is read.
    let line = body.to_string();
    for (cut, _) in line.char_indices().skip(1) {
        let torn = format!("{line}\n{}\n{line}\n", &line[..cut]);
        assert_eq!(of(&torn), (two.clone(), 1), "{cut}");
        assert_eq!(of(&line[..cut]), (Vec::new(), 1), "{cut}");
    }
    let holes = [&[0; 40][..], b"\n\xff\xfe{\n", line.as_bytes()].concat();
    assert_eq!(notes_in(&holes).notes, vec![text.clone()]);
    let alarms = "{\"type\":\"alarm\"}\n".repeat(3);
    assert_eq!(of(&alarms), (Vec::new(), 0));
    assert_eq!(of(&format!("{alarms}{line}")), one);
    for nothing in ["", "{\"size\":1}", "more", "{"] {
        assert!(of(nothing).0.is_empty(), "{nothing}");
    }
    assert_eq!(parse_public_key(&STANDARD.encode(key)), Some(*key));
    assert_eq!(parse_public_key(&format!("{}\n", hex(key))), Some(*key));
    assert_eq!(parse_public_key(&"é".repeat(32)), None);
    assert_eq!(parse_public_key("AAAA"), None);
}

/// A sink writes a checkpoint each second: a running vault is not asked for a proof of each.
#[test]
fn kept_checkpoints_that_lead_back_are_asked_for_now_and_then() {
    let keyring = keyring(Arc::new(OsEntropy));
    let mut chain: Vec<Checkpoint> = Vec::new();
    for size in 1..=1000 {
        let statement = Statement {
            size,
            root: [size as u8; 32],
            time: Timestamp::from_millis(size),
            previous: chain.last().map(Checkpoint::digest),
        };
        chain.push(statement.sign(keyring.audit_key()).unwrap());
    }
    let sizes = |kept: &[Checkpoint]| -> Vec<u64> {
        let told = telling(kept, 100);
        told.iter().map(|one| one.statement().size).collect()
    };
    let some = sizes(&chain);
    assert!(some.len() <= 101, "{}", some.len());
    assert_eq!((some[0], *some.last().unwrap()), (1, 1000));
    // Behind a gap nothing leads back, so that one is held too.
    let mut broken = chain.clone();
    broken.remove(555);
    assert!(sizes(&broken).contains(&555));
    assert_eq!(sizes(&chain[..50]).len(), 50);
    assert!(sizes(&[]).is_empty());
}

proptest::proptest! {
    #![proptest_config(crate::domain::hostile::cases(1000))]

    #[test]
    fn damaged_checkpoints_are_refused(text in crate::domain::hostile::damaged(vec![note("first").into_bytes(), note("second").into_bytes()])) {
        let keyring = keyring(Arc::new(OsEntropy));
        let Ok(text) = String::from_utf8(text) else { return Ok(()) };
        if let Ok(opened) = Checkpoint::open(&text, keyring.audit_key().public_key()) {
            proptest::prop_assert!([note("first"), note("second")].contains(&text));
            proptest::prop_assert_eq!(opened.note(), text);
        }
    }
}
