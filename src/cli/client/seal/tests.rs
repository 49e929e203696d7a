//! A vault that lies is not believed: the answers are made of the vectors, and one thing in each is wrong.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use super::{
    super::test_vault::{PEOPLE, TempFile, TestVault},
    *,
};
use crate::audit::leaf::digest;

const BLOCKS: &str = include_str!("../../../../tests/vectors/blocks.txt");
const CHECKPOINTS: &str = include_str!("../../../../tests/vectors/checkpoints.txt");
const KEYS: &str = include_str!("../../../../tests/vectors/keys.txt");

fn vector(file: &str, name: &str) -> String {
    let line = file
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{name} = ")));
    line.unwrap().replace("\\n", "\n")
}

fn bytes(name: &str) -> Vec<u8> {
    let text = vector(BLOCKS, name);
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn checkpoint(name: &str) -> Value {
    json!({
        "size": vector(CHECKPOINTS, &format!("{name}.size")).parse::<u64>().unwrap(),
        "root": vector(CHECKPOINTS, &format!("{name}.root")),
        "note": vector(CHECKPOINTS, name),
    })
}

fn key() -> KeyArgs {
    KeyArgs {
        public_key: Some(vector(KEYS, "audit_sign.public")),
    }
}

fn answer(data: &Value) -> String {
    json!({ "status": "success", "data": data }).to_string()
}

/// The first record in the tree over both.
fn proof_of_first() -> Value {
    json!({
        "sequence": 1,
        "leaf": {
            "workspace": vector(BLOCKS, "first.workspace"),
            "content": vector(BLOCKS, "first.content"),
            "sealed": hex(&digest(&bytes("first.sealed"))),
        },
        "record": STANDARD.encode(bytes("first.record")),
        "size": 2,
        "root": vector(CHECKPOINTS, "second.root"),
        "path": [vector(BLOCKS, "second.leaf")],
        "checkpoint": checkpoint("second"),
    })
}

async fn prove(body: &Value) -> Result<Report, Failure> {
    let vault = TestVault::answering(&[(200, &answer(body))]);
    let arguments = ProofArgs {
        sequence: 1,
        size: None,
        history: HistoryArgs::default(),
        key: key(),
    };
    run(&vault.client(), SealCommand::Proof(arguments), PEOPLE).await
}

#[tokio::test]
async fn a_proof_counts_once_it_is_computed_again() {
    let good = prove(&proof_of_first()).await.unwrap();
    assert!(
        good.out
            .contains("the checkpoint of 2026-06-13T10:30:01.25Z"),
        "{}",
        *good.out
    );
    let mut unsigned = proof_of_first();
    unsigned["checkpoint"] = Value::Null;
    assert!(
        prove(&unsigned)
            .await
            .unwrap()
            .out
            .contains("no checkpoint")
    );
    let zeros = "00".repeat(32);
    let wrong = [
        ("/sequence", json!(2)),
        ("/size", json!(3)),
        ("/root", json!(zeros)),
        ("/path", json!([])),
        ("/path/0", json!(zeros)),
        ("/path", json!("x")),
        ("/record", json!("AAAA")),
        ("/record", Value::Null),
        ("/leaf/content", json!(zeros)),
        ("/leaf/sealed", json!(zeros)),
        ("/leaf/workspace", json!("00".repeat(16))),
        ("/leaf/workspace", json!("é")),
        ("/checkpoint", checkpoint("first")),
        ("/checkpoint/note", json!("text")),
        (
            "/checkpoint/note",
            json!(vector(CHECKPOINTS, "second").replace("\n2\n", "\n3\n")),
        ),
    ];
    for (at, value) in wrong {
        let mut body = proof_of_first();
        *body.pointer_mut(at).unwrap() = value;
        let refused = prove(&body).await.unwrap_err();
        assert!(matches!(refused, Failure::Foreign(_)), "{at}: {refused:?}");
    }
}

#[tokio::test]
async fn a_vault_that_went_back_is_caught_by_what_was_kept() {
    let kept = TempFile::new(checkpoint("second").to_string().as_bytes());
    let arguments = || VerifyArgs {
        against: vec![kept.path().to_owned()],
        key: key(),
        ..VerifyArgs::default()
    };
    let first = checkpoint("first");
    let list = json!({ "status": "success", "data": [first], "page": {"limit": 200, "next_cursor": null, "total": 1} });
    let verified = json!({ "intact": true, "first": 1, "last": 1, "records": 1, "checkpoints": 1, "removed": 0, "proven": 1, "faults": [] });
    let vault = TestVault::answering(&[
        (200, &answer(&first)),
        (200, &list.to_string()),
        (200, &answer(&verified)),
    ]);
    let report = run(&vault.client(), SealCommand::Verify(arguments()), PEOPLE)
        .await
        .unwrap();
    assert!(report.failed);
    let told = "record 2: records 2 to 2 are missing, which the kept checkpoint of 2026-06-13T10:30:01.25Z is over";
    assert!(report.out.contains(told), "{}", *report.out);
    assert!(report.out.contains("the first bad record is 2"));

    // A key that is not pinned is asked for, and the reader is told.
    let keys =
        json!({ "keys": [{ "usage": "audit", "public_key": vector(KEYS, "audit_sign.public") }] });
    let vault = TestVault::answering(&[
        (200, &answer(&keys)),
        (200, &answer(&checkpoint("second"))),
        (200, &answer(&json!({ "path": [] }))),
        (
            200,
            &json!({ "status": "success", "data": [checkpoint("second"), first] }).to_string(),
        ),
        (200, &answer(&verified)),
    ]);
    let asking = VerifyArgs {
        key: KeyArgs::default(),
        ..arguments()
    };
    let report = run(&vault.client(), SealCommand::Verify(asking), PEOPLE)
        .await
        .unwrap();
    assert!(
        !report.failed && report.notes.contains("pin it"),
        "{}{}",
        *report.out,
        report.notes
    );
}

#[test]
fn keys_are_read_from_text_and_files() {
    let text = vector(KEYS, "audit_sign.public");
    let expected = parse_public_key(&text);
    assert!(expected.is_some());
    let encoded = STANDARD.encode(expected.unwrap());
    let published = json!({ "data": { "keys": [{ "usage": "audit", "public_key": encoded }] } });
    for content in [format!("{encoded}\n"), published.to_string()] {
        let file = TempFile::new(content.as_bytes());
        let named = KeyArgs {
            public_key: Some(file.path().display().to_string()),
        };
        assert_eq!(named.pinned().unwrap(), expected);
    }
    let file = TempFile::new(b"nothing");
    for wrong in [
        file.path().display().to_string(),
        "nowhere".to_owned(),
        String::new(),
    ] {
        let named = KeyArgs {
            public_key: Some(wrong),
        };
        assert!(named.pinned().is_err());
    }
}
