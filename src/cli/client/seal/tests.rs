//! A vault that lies is not believed: the answers are made of the vectors, and one thing in each is wrong.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use super::{
    super::test_vault::{JSON, PEOPLE, TempFile, TestVault},
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
    prove_in(body, None, PEOPLE).await
}

async fn prove_in(body: &Value, size: Option<u64>, mode: Mode) -> Result<Report, Failure> {
    let vault = TestVault::answering(&[(200, &answer(body))]);
    let arguments = proof::ProofArgs {
        sequence: 1,
        size,
        history: super::super::audit::HistoryArgs::default(),
        key: key(),
    };
    run(&vault.client(), SealCommand::Proof(arguments), mode).await
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
    // Without a signature it proves nothing; where a size was chosen that no checkpoint has, it is shown and fails.
    assert!(!good.failed);
    let refused = prove(&unsigned).await.unwrap_err();
    assert!(matches!(refused, Failure::Foreign(_)), "{refused:?}");
    let shown = prove_in(&unsigned, Some(2), PEOPLE).await.unwrap();
    assert!(shown.failed && shown.out.contains("by nobody"));
    for (body, signed) in [(unsigned, false), (proof_of_first(), true)] {
        let shown = prove_in(&body, Some(2), JSON).await.unwrap();
        let told: Value = serde_json::from_str(&shown.out).unwrap();
        assert_eq!(told["data"]["signed"], signed);
        assert_eq!(shown.failed, !signed);
    }
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

fn consistency_of_second() -> Value {
    json!({
        "from": 1,
        "from_root": vector(CHECKPOINTS, "first.root"),
        "to": 2,
        "to_root": vector(CHECKPOINTS, "second.root"),
        "path": [vector(BLOCKS, "second.leaf")],
        "checkpoint": checkpoint("second"),
    })
}

async fn goes_on(body: &Value, line: &str) -> Result<Report, Failure> {
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        arguments: consistency::ConsistencyArgs,
    }
    let text = vector(KEYS, "audit_sign.public");
    let line = format!("x --public-key {text} {line}");
    let parsed = <Line as clap::Parser>::parse_from(line.split(' '));
    let vault = TestVault::answering(&[(200, &answer(body))]);
    let command = SealCommand::Consistency(parsed.arguments);
    let report = run(&vault.client(), command, JSON).await;
    assert!(vault.requests()[0].line.contains("consistency?from=1"));
    report
}

#[tokio::test]
async fn a_log_goes_on_from_what_it_was_once_that_is_computed_again() {
    let good = consistency_of_second();
    let kept = TempFile::new(checkpoint("first").to_string().as_bytes());
    let against = format!("--against {}", kept.path().display());
    for line in ["--from 1", "--from 1 --to 2", &against] {
        let report = goes_on(&good, line).await.unwrap();
        assert!(!report.failed, "{line}");
        let told: Value = serde_json::from_str(&report.out).unwrap();
        assert_eq!(told["data"]["signed"], true);
    }
    let mut unsigned = good.clone();
    unsigned["checkpoint"] = Value::Null;
    assert!(goes_on(&unsigned, "--from 1").await.is_err());
    assert!(goes_on(&unsigned, "--from 1 --to 2").await.unwrap().failed);
    let zeros = "00".repeat(32);
    for (at, value) in [
        ("/from", json!(2)),
        ("/to", json!(3)),
        ("/from_root", json!(zeros)),
        ("/to_root", json!(zeros)),
        ("/path", json!([])),
        ("/path/0", json!(zeros)),
        ("/checkpoint", checkpoint("first")),
    ] {
        let mut body = good.clone();
        *body.pointer_mut(at).unwrap() = value;
        let refused = goes_on(&body, "--from 1 --to 2").await.unwrap_err();
        assert!(matches!(refused, Failure::Foreign(_)), "{at}: {refused:?}");
    }
}

#[tokio::test]
async fn a_file_that_holds_no_checkpoint_holds_the_vault_to_nothing_and_is_refused() {
    let line = checkpoint("second").to_string();
    for (text, good) in [
        ("{\"type\":\"alarm\"}\n".to_owned(), false),
        (String::new(), false),
        (format!("{}\n{line}\n", &line[..40]), true),
    ] {
        let kept = TempFile::new(text.as_bytes());
        let arguments = VerifyArgs {
            against: vec![kept.path().to_owned()],
            key: key(),
            ..VerifyArgs::default()
        };
        match arguments.pinned() {
            Ok(pinned) => {
                assert!(good);
                assert_eq!((pinned.kept.len(), pinned.unread.len()), (1, 1));
                assert!(pinned.unread[0].contains("1 lines cannot be read"));
            }
            Err(told) => assert!(!good && told.contains("it holds no checkpoint"), "{told}"),
        }
    }
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
