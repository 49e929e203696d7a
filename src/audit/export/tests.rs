//! An export says what the log says, and nothing else verifies.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use super::*;
use crate::{
    audit::{
        checkpoint::{Checkpoint, Statement},
        leaf::{Leaf, digest},
        merkle::{Frontier, Hash, perfect},
        query::Numbered,
    },
    crypto::{entropy::OsEntropy, keyring::Keyring, tests::keyring},
    domain::{
        error::Result as DomainResult,
        event::{Actor, AuditRecord, EventName, Object, Outcome},
        id::{EventId, WorkspaceId},
        time::Timestamp,
    },
    store::codec,
};

const OURS: WorkspaceId = WorkspaceId::from_bytes([1; 16]);
const THEIRS: WorkspaceId = WorkspaceId::from_bytes([2; 16]);
/// What a file has to keep apart from its own signs.
const HOSTILE: &str = "=1+1\",\r\n\u{2028}\u{0}\u{202e}{\"type\":\"end\"}";

fn readable(found: Numbered) -> DomainResult<String> {
    let Numbered { sequence, record } = found;
    let record = serde_json::json!({"sequence": sequence, "event": record.event.as_str(), "purpose": record.purpose});
    Ok(record.to_string())
}

fn record(sequence: u64, workspace: WorkspaceId, purpose: &str) -> AuditRecord {
    AuditRecord {
        id: EventId::from_bytes([sequence as u8; 16]),
        time: Timestamp::from_millis(1_000_000 + sequence),
        workspace,
        event: EventName::LeaseIssued,
        actor: Actor::vault("test"),
        object: Object::default(),
        outcome: Outcome::Success,
        policy: None,
        origin: None,
        purpose: Some(format!("{purpose} {sequence} {HOSTILE}")),
        reason: None,
        changes: Vec::new(),
        requests: Vec::new(),
    }
}

/// A log of two workspaces, of which every third record is theirs.
struct Log {
    keyring: Arc<Keyring>,
    records: Vec<AuditRecord>,
}

impl Log {
    fn of(size: u64) -> Self {
        let whose = |sequence: u64| {
            if sequence.is_multiple_of(3) {
                THEIRS
            } else {
                OURS
            }
        };
        let records = (1..=size).map(|sequence| record(sequence, whose(sequence), "purpose"));
        Self {
            keyring: Arc::new(keyring(Arc::new(OsEntropy))),
            records: records.collect(),
        }
    }

    fn key(&self) -> [u8; 32] {
        *self.keyring.audit_key().public_key()
    }

    fn exported(&self, sequence: u64) -> Exported {
        let record = self.records[sequence as usize - 1].clone();
        Exported {
            sequence,
            encoded: codec::encode(&record).unwrap(),
            sealed: digest(&sequence.to_be_bytes()),
            record,
        }
    }

    fn leaf(&self, sequence: u64) -> Hash {
        let Exported {
            record,
            encoded,
            sealed,
            ..
        } = self.exported(sequence);
        Leaf {
            sequence,
            workspace: record.workspace,
            content: digest(&encoded),
            sealed,
        }
        .hash()
    }

    /// The tree over a range of leaves, which count from 0.
    fn tree(&self, leaves: Range<u64>) -> Frontier {
        let mut frontier = Frontier::new();
        leaves.for_each(|leaf| frontier.push(self.leaf(leaf + 1)));
        frontier
    }

    fn checkpoint(&self, size: u64) -> Checkpoint {
        let statement = Statement {
            size,
            root: self.tree(0..size).root(),
            time: Timestamp::from_millis(2_000_000 + size),
            previous: None,
        };
        statement.sign(self.keyring.audit_key()).unwrap()
    }

    fn gaps(&self, leaves: Range<u64>) -> impl Iterator<Item = Item> {
        perfect(leaves).into_iter().map(|part| {
            let leaves = part.leaves();
            Item::Gap(Gap {
                first: leaves.start + 1,
                size: leaves.end - leaves.start,
                hash: self.tree(leaves).root(),
            })
        })
    }

    /// The lines of an export of ours behind a record, up to another; `shown` of ours are not left out.
    fn export(&self, after: u64, size: u64, shown: impl Fn(u64) -> bool) -> Vec<String> {
        let header = Header {
            after,
            filter: BTreeMap::from([("event".to_owned(), "lease.issued".to_owned())]),
            ..Header::new(
                (OURS, "default"),
                &self.checkpoint(size),
                &self.key(),
                Timestamp::from_millis(3_000_000),
            )
        };
        let mut out = Vec::new();
        let mut writer = Writer::begin(self.keyring.clone(), &header, &mut out).unwrap();
        let mut items: Vec<Item> = self.gaps(0..after).collect();
        let mut position = after;
        for sequence in after + 1..=size {
            let exported = self.exported(sequence);
            if exported.record.workspace == OURS && shown(sequence) {
                items.extend(self.gaps(position..sequence - 1));
                items.push(Item::Record(Box::new(exported)));
                position = sequence;
            }
        }
        items.extend(self.gaps(position..size));
        for item in items {
            writer.item(item, readable, &mut out).unwrap();
        }
        writer.end(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        text.split_inclusive('\n').map(str::to_owned).collect()
    }
}

fn check(lines: &[String], key: &[u8; 32], kept: &[Statement]) -> Result<Verified, Refused> {
    verify(
        &mut Plain::new(lines.concat().as_bytes()),
        key,
        kept,
        &readable,
    )
}

/// The record and the words of the first fault.
#[track_caller]
fn fault(lines: &[String], key: &[u8; 32]) -> (Option<u64>, String) {
    match check(lines, key, &[]) {
        Err(Refused::Fault { sequence, what, .. }) => (sequence, what),
        other => panic!("{other:?}"),
    }
}

fn line_of(lines: &[String], sequence: u64) -> usize {
    let start = format!("{{\"type\":\"record\",\"sequence\":{sequence},");
    lines
        .iter()
        .position(|line| line.starts_with(&start))
        .unwrap()
}

fn marks(lines: &[String]) -> Vec<usize> {
    let mark = |at: &usize| lines[*at].starts_with("{\"type\":\"mark\"");
    (0..lines.len()).filter(mark).collect()
}

/// The line that the vault would write of this record.
fn spelt(exported: &Exported) -> String {
    let readable = readable(exported.numbered()).unwrap();
    format!("{}\n", line::record(exported, &readable))
}

#[test]
fn an_export_verifies_with_the_public_key_alone() {
    let log = Log::of(1000);
    let lines = log.export(0, 1000, |_| true);
    assert_eq!(marks(&lines).len(), 1, "{}", lines.len());
    let verified = check(&lines, &log.key(), &[]).unwrap();
    assert_eq!((verified.records, verified.hidden), (667, 333));
    assert_eq!((verified.after, verified.checkpoint.size), (0, 1000));
    assert_eq!(verified.header.filter["event"], "lease.issued");
    for (after, size) in [(0, 1), (1, 1), (999, 1000), (1000, 1000), (17, 700), (0, 3)] {
        let lines = log.export(after, size, |sequence| sequence % 7 == 0);
        let verified = check(&lines, &log.key(), &[]).unwrap();
        let shown = (after + 1..=size).filter(|n| n % 7 == 0 && n % 3 != 0);
        assert_eq!(verified.records, shown.count() as u64, "{after} {size}");
        assert_eq!(verified.records + verified.hidden, size - after);
    }
    let none = log.export(0, 1000, |_| false);
    assert!(none.len() < 20, "{}", none.len());
    assert_eq!(check(&none, &log.key(), &[]).unwrap().hidden, 1000);
}

// INVARIANT (isolation): of what is not shown a file has hashes alone.
#[test]
fn records_of_others_are_hashes() {
    let log = Log::of(60);
    let text = log.export(0, 60, |_| true).concat();
    assert!(text.contains("purpose 58 "));
    assert!(!text.contains("purpose 57 ") && !text.contains(&THEIRS.to_string()));
}

// INVARIANT (audit-tamper)
#[test]
fn whatever_is_changed_is_found_and_the_first_bad_record_named() {
    let log = Log::of(1000);
    let (key, good) = (log.key(), log.export(0, 1000, |sequence| sequence != 500));
    let at = |sequence| line_of(&good, sequence);
    let with = |at: usize, line: String| {
        let mut lines = good.clone();
        lines[at] = line;
        lines
    };
    let edited = |sequence, from: &str, to: &str| {
        let line = &good[at(sequence)];
        assert!(line.contains(from));
        with(at(sequence), line.replace(from, to))
    };
    let named = |lines: &[String], sequence: u64, words: &str| {
        let (named, what) = fault(lines, &key);
        assert_eq!(named, Some(sequence), "{what}");
        assert!(what.contains(words), "{what}");
    };

    // What people read, and what it is read from.
    named(
        &edited(700, "purpose 700", "purpose 7"),
        700,
        "`purpose` of record 700",
    );
    let again = r#""purpose":"mine","purpose":"purpose 700"#;
    named(
        &edited(700, "\"purpose\":\"purpose 700", again),
        700,
        "record 700",
    );
    named(
        &edited(700, "\"event\"", "\"extra\":1,\"event\""),
        700,
        "`extra`",
    );
    named(
        &edited(700, "\"record\":{", "\"record\": {"),
        700,
        "not spelt",
    );
    let mut other = log.exported(700);
    other.record.purpose = Some("another".to_owned());
    other.encoded = codec::encode(&other.record).unwrap();
    let half = Exported {
        record: log.records[699].clone(),
        ..other.clone()
    };
    named(&with(at(700), spelt(&half)), 700, "`purpose` of record 700");
    named(&with(at(700), spelt(&other)), 700, "record 700, in line");
    let mut resealed = log.exported(700);
    resealed.sealed[0] ^= 1;
    named(&with(at(700), spelt(&resealed)), 700, "record 700, in line");
    let mut broken = log.exported(700);
    broken.encoded.pop();
    named(&with(at(700), spelt(&broken)), 700, "decoded");

    // Deleted, moved, added, hidden.
    let mut lines = good.clone();
    lines.remove(at(700));
    named(&lines, 700, "records 700 to 700 are missing");
    let mut lines = good.clone();
    lines.swap(at(700), at(701));
    named(&lines, 700, "records 700 to 700 are missing");
    let mut lines = good.clone();
    lines.insert(at(700), good[at(700)].clone());
    named(&lines, 700, "record 700 stands where record 701 must be");
    let moved = Exported {
        sequence: 700,
        ..log.exported(701)
    };
    named(&with(at(700), spelt(&moved)), 700, "record 700, in line");
    let hash = log.leaf(700);
    let gap = Gap {
        first: 700,
        size: 1,
        hash,
    };
    let hidden = format!("{}\n", line::gap(&gap).unwrap());
    named(&with(at(700), hidden), 700, "the gap of records 700 to 700");
    let foreign = Exported {
        sequence: 700,
        ..log.exported(702)
    };
    named(&with(at(700), spelt(&foreign)), 700, "of another workspace");
    // A record that the filter left out is shown after all.
    let shown = spelt(&log.exported(500));
    named(&with(at(499) + 1, shown), 500, "record 500, in line");
    let gap = Gap {
        hash: [7; 32],
        first: 501,
        size: 1,
    };
    let forged = format!("{}\n", line::gap(&gap).unwrap());
    let at_gap = at(502) - 1;
    named(&with(at_gap, forged), 501, "the gap of records 501 to 501");
    // A subtree of two begins at odd records alone.
    let at_even = at(505) - 1;
    let wide = good[at_even].replace("\"size\":1", "\"size\":2");
    named(&with(at_even, wide), 504, "no gap of 2 records");

    // The frame around them.
    let header = |from: &str, to: &str| fault(&with(0, good[0].replace(from, to)), &key).1;
    assert!(header("lease.issued", "lease.expired").contains("the header is not"));
    assert!(header("default", "payments").contains("the header is not"));
    assert!(header("\"format\":1", "\"format\":2").contains("the format 2"));
    assert!(header("\"size\":1000", "\"size\":999").contains("does not fit"));
    assert!(
        header("\"after\":0", "\"after\":1").contains("no gap")
            || header("\"after\":0", "\"after\":1").contains("before")
    );
    let mark = marks(&good)[0];
    let mut lines = good.clone();
    lines.remove(mark);
    assert!(fault(&lines, &key).1.contains("a mark is missing"));
    let tags = with(
        mark,
        good[mark].replace("\"tags\":\"", "\"tags\":\"AAAAAAAAAAA="),
    );
    assert!(
        fault(&tags, &key).1.contains("header"),
        "a mark that names others"
    );
    let mut lines = good.clone();
    lines.push(good[mark].clone());
    assert!(fault(&lines, &key).1.contains("follows the end"));
    assert!(fault(&good[1..], &key).1.contains("does not begin"));
    assert!(fault(&[], &key).1.contains("empty"));
    assert!(
        fault(&with(5, "{}\n".to_owned()), &key)
            .1
            .contains("no line of an export")
    );

    // Cut off anywhere.
    for end in [1, 2, mark, mark + 1, good.len() - 1] {
        let (sequence, what) = fault(&good[..end], &key);
        assert!(
            what.contains("it has no end") && sequence.is_some(),
            "{what}"
        );
        let mut cut = good[..end].to_vec();
        cut[end - 1].pop();
        assert!(fault(&cut, &key).1.contains("breaks off within"));
    }
    let mut lines = good[..at(700)].to_vec();
    lines.push(good.last().unwrap().clone());
    assert!(fault(&lines, &key).1.contains("signed") || fault(&lines, &key).1.contains("mark"));

    // Of another vault.
    let mut stranger = key;
    stranger[0] ^= 1;
    assert!(fault(&good, &stranger).1.contains("another vault"));
}

#[test]
fn a_vault_that_signs_what_its_tree_does_not_hold_is_found() {
    let log = Log::of(100);
    let mut liar = Log::of(100);
    liar.records[49].purpose = Some("never happened".to_owned());
    let (truth, mut lie) = (log.export(0, 100, |_| true), liar.export(0, 100, |_| true));
    assert!(
        check(&lie, &log.key(), &[]).is_ok(),
        "on a checkpoint of its own"
    );
    let kept = [*log.checkpoint(100).statement()];
    assert!(check(&truth, &log.key(), &kept).is_ok());
    let Err(Refused::Fault { what, .. }) = check(&lie, &log.key(), &kept) else {
        panic!("it holds")
    };
    assert!(what.contains("kept checkpoint"), "{what}");
    // With the true checkpoint in its header, signed again by whoever has the key.
    lie[0] = truth[0].clone();
    assert!(check(&lie, &log.key(), &[]).is_err());
}

#[test]
fn a_resumed_export_is_one_with_what_was_there() {
    let log = Log::of(1300);
    let (key, first) = (log.key(), log.export(0, 1200, |_| true));
    let marks = marks(&first);
    assert_eq!(marks.len(), 2);
    let through = |at: usize| -> u64 {
        let mark: serde_json::Value = serde_json::from_str(&first[at]).unwrap();
        mark["through"].as_u64().unwrap()
    };
    let resumed = |kept: usize, after: u64, log: &Log| {
        let rest = log.export(after, 1300, |_| true);
        [&first[..kept], &rest[..]].concat()
    };
    for mark in &marks {
        let whole = resumed(mark + 1, through(*mark), &log);
        let verified = check(&whole, &key, &[]).unwrap();
        assert_eq!((verified.parts, verified.after), (2, 0));
        assert_eq!((verified.records, verified.checkpoint.size), (867, 1300));
        // Held where the first part was to end, too.
        let kept = [1, 1200, 1300].map(|size| *log.checkpoint(size).statement());
        assert!(check(&whole, &key, &kept).is_ok());
    }
    let (mark, after) = (marks[0], through(marks[0]));
    assert!(
        fault(&resumed(mark + 3, after + 2, &log), &key)
            .1
            .contains("is not signed")
    );
    assert!(
        fault(&resumed(mark + 1, after + 1, &log), &key)
            .1
            .contains("does not go on")
    );
    assert!(
        fault(&resumed(mark + 1, after - 1, &log), &key)
            .1
            .contains("does not go on")
    );
    assert!(
        fault(&resumed(first.len(), 1200, &log), &key)
            .1
            .contains("follows the end")
    );
    // Nothing of a part counts that came to no mark.
    let (short, rest) = (log.export(0, 20, |_| true), log.export(20, 30, |_| true));
    let unsigned = [&short[..short.len() - 1], &rest].concat();
    assert!(fault(&unsigned, &key).1.contains("is not signed"));
    let mut other = Log::of(1300);
    other.records[10].purpose = None;
    let (sequence, what) = fault(&resumed(mark + 1, after, &other), &key);
    assert_eq!(sequence, Some(after));
    assert!(what.contains("not those that the resumed export goes on from"));
    // A part of its own begins with what came before as hashes.
    let alone = log.export(after, 1300, |_| true);
    assert_eq!(check(&alone, &key, &[]).unwrap().after, after);
}

#[test]
fn kept_checkpoints_are_held_against_an_export() {
    let log = Log::of(200);
    let key = log.key();
    let lines = log.export(0, 200, |sequence| sequence <= 128);
    let at = |size| *log.checkpoint(size).statement();
    let why = |kept: Statement| match check(&lines, &key, &[kept]) {
        Err(Refused::Fault { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    for size in [1, 64, 127, 128, 192, 200] {
        assert!(check(&lines, &key, &[at(size)]).is_ok(), "{size}");
    }
    assert!(why(at(150)).contains("against=150"));
    let root = [9; 32];
    assert!(why(Statement { root, ..at(100) }).contains("records 1 to 100 are not those"));
    let ahead = Statement {
        size: 201,
        ..at(200)
    };
    assert!(why(ahead).contains("rolled back"));
    let time = Timestamp::from_millis(9_000_000);
    assert!(why(Statement { time, ..ahead }).contains("older than the checkpoint"));
}

proptest::proptest! {
    #![proptest_config(crate::domain::hostile::cases(200))]

    /// However a file is damaged, it does not verify, and nothing panics.
    #[test]
    fn damaged_exports_are_refused(
        damaged in crate::domain::hostile::damaged(vec![Log::of(30).export(0, 30, |n| n > 9).concat().into_bytes()])
    ) {
        let log = Log::of(30);
        let good = log.export(0, 30, |n| n > 9).concat().into_bytes();
        let intact = verify(&mut Plain::new(&damaged[..]), &log.key(), &[], &readable).is_ok();
        proptest::prop_assert_eq!(intact, damaged == good);
    }
}
