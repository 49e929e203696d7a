//! The verifier in Python, held to exports that tell of what retention removed: it finds what the vault's own finds.

use std::{io::Write as _, path::Path, process::Command};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    audit::*,
    export::{lines, readable},
    *,
};
use crate::audit::{
    export::{Extract, Header, Item, Range, Writer},
    removal::{Gone, RANGE},
};

/// What the verifier in Python says of a file, and whether it takes it for intact.
fn python(world: &World, text: &str) -> (bool, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/verify_export.py");
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let output = Command::new("python3")
        .arg(script)
        .arg(file.path())
        .arg(STANDARD.encode(world.engine.keyring.audit_key().public_key()))
        .output()
        .expect(
            "`python3` and `openssl` are needed to run this example; `tests/run` installs them",
        );
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.is_empty(), "{errors}");
    let said = String::from_utf8(output.stdout).unwrap();
    (output.status.success(), said)
}

/// Both verifiers take the file for intact and count the same removed records; how many those are.
fn both(world: &World, text: &str) -> u64 {
    let removed = world.verified(text).unwrap().removed;
    let (intact, said) = python(world, text);
    assert!(intact, "{said}");
    let told =
        format!("removed by retention: {removed} records, of this and of other workspaces\n");
    assert_eq!(said.contains(&told), removed > 0, "{said}: {removed}");
    assert_eq!(said.contains("removed by retention"), removed > 0, "{said}");
    removed
}

/// Neither does.
fn neither(world: &World, text: &str, what: &str) -> String {
    assert!(world.verified(text).is_err(), "{what}");
    let (intact, said) = python(world, text);
    assert!(
        !intact && said.starts_with("not intact: line "),
        "{what}: {said}"
    );
    said
}

/// A log of which retention removed the front as a whole, and some of what follows.
async fn thinned() -> (World, String, String) {
    let world = World::new(retention(Some(1), Some(10))).await;
    world.write(3 * RANGE).await;
    let whole = world.exported(0).await.unwrap();
    assert_eq!(both(&world, &whole), 0);
    world.pass(2 * DAY);
    assert!(world.retain_all().await > 0);
    let some = world.exported(0).await.unwrap();
    (world, whole, some)
}

fn number(line: &str, field: &str) -> u64 {
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    line[field].as_u64().unwrap()
}

fn removed(text: &str) -> Vec<&str> {
    let lines = text.split_inclusive('\n');
    lines
        .filter(|line| line.starts_with("{\"type\":\"removed\""))
        .collect()
}

// INVARIANT (audit-tamper)
#[tokio::test]
async fn what_retention_removed_is_counted_as_the_vault_counts_it() {
    let (world, whole, some) = thinned().await;
    assert!(removed(&some).len() > 1);
    let thin = both(&world, &some);
    assert!(thin > 0);
    // Of a part of the log, what was removed behind its beginning.
    let later = world.exported(RANGE).await.unwrap();
    let second = both(&world, &later);
    assert!((1..thin).contains(&second), "{second} of {thin}");
    // A part that broke off before the removal, and one that goes on behind it.
    let marks = whole.match_indices("{\"type\":\"mark\"").map(|(at, _)| at);
    let marks: Vec<_> = marks.collect();
    let (before, mark) = whole.split_at(marks[marks.len() / 2]);
    let mark = mark.split_inclusive('\n').next().unwrap();
    let rest = world.exported(number(mark, "through")).await.unwrap();
    let joined = both(&world, &format!("{before}{mark}{rest}"));
    assert!(joined > 0 && joined < thin, "{joined} of {thin}");
    // The front goes as a whole.
    world.pass(10 * DAY);
    world.retain_all().await;
    let text = world.exported(0).await.unwrap();
    let front = removed(&text)[0];
    assert!(front.contains("\"first\":1,"), "{front}");
    assert!(both(&world, &text) > thin);
}

// INVARIANT (audit-tamper)
#[tokio::test]
async fn a_change_to_what_retention_removed_is_found() {
    let (world, _, some) = thinned().await;
    let told = removed(&some);
    let (first, second) = (told[0], told[1]);
    let records = number(first, "records");
    let (from, to) = (number(first, "first"), number(first, "last"));
    let with = |records: u64, from: u64, to: u64| {
        format!("{{\"type\":\"removed\",\"first\":{from},\"last\":{to},\"records\":{records}}}\n")
    };
    assert_eq!(first, with(records, from, to), "the line is spelt as these");
    for (what, with) in [
        ("left out", String::new()),
        ("fewer", with(records - 1, from, to)),
        ("more", with(records + 1, from, to)),
        ("none", with(0, from, to)),
        ("another range", with(records, from + RANGE, to + RANGE)),
        ("a crooked range", with(records, from + 1, to)),
        ("a longer range", with(records, from, to + RANGE)),
        ("twice", format!("{first}{first}")),
        ("the other", second.to_owned()),
    ] {
        neither(&world, &some.replacen(first, &with, 1), what);
    }
    let all: String = some
        .split_inclusive('\n')
        .filter(|line| !line.starts_with("{\"type\":\"removed\""))
        .collect();
    neither(&world, &all, "all left out");
    // The line is named, where the marks tell which it is.
    let fewer = some.replacen(first, &with(records - 1, from, to), 1);
    let said = neither(&world, &fewer, "fewer");
    assert!(
        said.contains(&format!("removed {from} is not what the vault signed")),
        "{said}"
    );
    // Behind what it is about.
    let mut moved: Vec<_> = some.split_inclusive('\n').collect();
    let at = moved.iter().position(|line| *line == first).unwrap();
    moved.swap(at, at + 1);
    neither(&world, &moved.concat(), "moved");
}

/// Whoever has the signing key cannot tell of a removal that there cannot have been.
#[tokio::test]
async fn a_signed_removal_of_what_retention_never_removes_is_refused() {
    let (world, ..) = thinned().await;
    let checkpoint = world.write(10).await;
    let end = checkpoint.statement().size;
    let keyring = &world.engine.keyring;
    for (what, gone) in [
        (
            "no range",
            Some(Gone {
                first: 2,
                last: RANGE,
                records: 5,
            }),
        ),
        (
            "half a range",
            Some(Gone {
                first: 1,
                last: RANGE - 1,
                records: 5,
            }),
        ),
        (
            "none of a range",
            Some(Gone {
                first: RANGE + 1,
                last: 2 * RANGE,
                records: 0,
            }),
        ),
        (
            "too many of a range",
            Some(Gone {
                first: RANGE + 1,
                last: 2 * RANGE,
                records: RANGE + 1,
            }),
        ),
        (
            "too many in front",
            Some(Gone {
                first: 1,
                last: 2 * RANGE,
                records: 2 * RANGE + 1,
            }),
        ),
        ("nothing beside", None),
    ] {
        let key = keyring.audit_key().public_key();
        let name = (world.workspace, "default");
        let header = Header::new(name, &checkpoint, key, Timestamp::from_millis(0));
        let mut out = Vec::new();
        let mut writer = Writer::begin(keyring.clone(), &header, &mut out).unwrap();
        let lie = gone.is_some();
        if let Some(gone) = gone {
            writer
                .item(Item::Removed(gone), readable, &mut out)
                .unwrap();
        }
        let range = Range {
            end,
            ..Range::default()
        };
        let store = world.engine.store.clone();
        let extract = Extract::new(store, keyring.clone(), world.workspace, range);
        lines(extract, writer, &mut out).await.unwrap();
        let text = String::from_utf8(out).unwrap();
        if lie {
            let said = neither(&world, &text, what);
            assert!(
                said.contains("are not what retention removes here"),
                "{what}: {said}"
            );
        } else {
            both(&world, &text);
        }
    }
}
