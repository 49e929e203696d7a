//! Records as rows and as events: nothing is lost, and nothing that somebody put into a text does anything.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use crate::{audit::export::Refused, domain::event::EventName};

/// The attributes that the schema requires, written down from <https://schema.ocsf.io/1.3.0>.
const REQUIRED: &str = include_str!("../../../tests/vectors/ocsf.json");

/// A record with every field there is, as answers show it.
fn whole() -> Value {
    json!({
        "sequence": 7, "id": "evt_1", "time": "2026-06-13T10:30:00.25Z", "event": "lease.issued", "severity": "info",
        "actor": {"type": "agent", "name": "claude-code", "identity_id": "idn_1", "key_id": "key_1", "token_id": "tok_1"},
        "outcome": "refused", "code": "POLICY_DENIED", "credential_id": "crd_1", "credential_name": "a", "version": 3,
        "lease_id": "lse_1", "holder": "claude-code", "session_id": "s-42", "object": "lease:create on lease/x",
        "decided_by": "organisation/p", "purpose": "p", "reason": "r",
        "changes": [{"field": "f", "before": null, "after": "x"}], "request_id": "req_1", "source_ip": "127.0.0.1",
        "user_agent": "u/1", "requests": [{"time": "t", "request_id": "req_2"}],
    })
}

fn ocsf(record: Value) -> Value {
    let mut out = Vec::new();
    ocsf::line(record, None, &mut out).unwrap();
    assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1);
    serde_json::from_slice(&out).unwrap()
}

/// The cells of a row.
fn cells(row: &str) -> Vec<String> {
    assert!(row.ends_with("\r\n"));
    crate::audit::export::carried::cells(row.as_bytes()).unwrap()
}

fn row(record: &Value) -> Vec<String> {
    let mut out = Vec::new();
    csv::row(record, None, &mut out);
    cells(&String::from_utf8(out).unwrap())
}

fn undone(cell: &str) -> String {
    crate::audit::export::carried::unescaped(cell)
}

const HOSTILE: [&str; 22] = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\tx",
    "\rx",
    "\nx",
    "＝1",
    "'=1",
    "a,b",
    "say \"hi\"",
    "x;=1+1;y",
    "x\t=1",
    "x\r\n@SUM(A1)",
    ";'=1;''2",
    "'\t'=1;-",
    "x;＋1",
    "two\r\nlines",
    " led ",
    "\u{feff}bom",
    "\u{202e}\u{2028}\u{0}\u{1f600}",
    "{\"type\":\"end\"}",
];

#[test]
fn a_row_has_all_of_a_record_and_no_formula() {
    let mut out = Vec::new();
    csv::header(false, &mut out);
    let names = cells(&String::from_utf8(out).unwrap());
    assert_eq!(names.len(), csv::COLUMNS.len());
    let at = |name: &str| names.iter().position(|column| column == name).unwrap();
    let record = whole();
    let mut found = row(&record);
    assert!(found.iter().all(|cell| !cell.is_empty()), "{found:?}");
    assert_eq!(found[at("sequence")], "7");
    assert_eq!(found[at("actor_key_id")], "key_1");
    let changes: Value = serde_json::from_str(&found[at("changes")]).unwrap();
    assert_eq!(changes, record["changes"]);
    for text in HOSTILE {
        let mut record = whole();
        record["purpose"] = json!(text);
        found = row(&record);
        let cell = &found[at("purpose")];
        let dangerous = ['=', '+', '-', '@', '\t', '\r', '\n', '＝'];
        // However a spreadsheet divides it.
        for part in cell
            .split([';', '\t', '\r', '\n'])
            .filter(|part| !part.is_empty())
        {
            assert!(!part.starts_with(dangerous), "{cell:?}");
        }
        assert!(!cell.starts_with(dangerous), "{cell:?}");
        assert_eq!(undone(cell), text);
        let mut record = whole();
        record["changes"] = json!([{"field": text, "before": null, "after": text}]);
        found = row(&record);
        let json = undone(&found[at("changes")]);
        let changes: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(changes, record["changes"]);
        assert_eq!(
            found[at("reason")],
            "r",
            "the cells beside it stay where they are"
        );
    }
}

/// Signs that some spreadsheets divide cells by are in quotes.
#[test]
fn cells_that_may_be_divided_are_quoted() {
    for text in ["x;y", "x\ty"] {
        let mut record = whole();
        record["purpose"] = json!(text);
        let mut raw = Vec::new();
        csv::row(&record, None, &mut raw);
        let raw = String::from_utf8(raw).unwrap();
        assert!(raw.contains(&format!(",\"{text}\",")), "{raw}");
    }
}

/// What answers show is in the table: a field that is added to records needs a column.
#[test]
fn every_field_of_a_record_has_a_column() {
    let openapi = serde_json::to_value(<AuditBody as utoipa::PartialSchema>::schema()).unwrap();
    let fields = openapi["properties"].as_object().unwrap();
    let columns: BTreeSet<_> = csv::COLUMNS
        .iter()
        .map(|(_, at)| at.split('/').nth(1).unwrap())
        .collect();
    for name in fields.keys() {
        assert!(
            columns.contains(name.as_str()),
            "`{name}` has no column in csv.rs"
        );
    }
}

fn check_required(event: &Value, required: &Value) {
    for path in required["required"].as_array().unwrap() {
        let at = format!("/{}", path.as_str().unwrap().replace('.', "/"));
        assert!(
            event.pointer(&at).is_some_and(|value| !value.is_null()),
            "{at}: {event}"
        );
    }
    for group in required["at_least_one"].as_array().unwrap() {
        let mut paths = group.as_array().unwrap().iter();
        let there = |path: &Value| {
            let at = format!("/{}", path.as_str().unwrap().replace('.', "/"));
            event.pointer(&at).is_some()
        };
        assert!(paths.any(there), "{group}: {event}");
    }
}

#[test]
fn every_event_has_what_its_class_requires() {
    let schema: Value = serde_json::from_str(REQUIRED).unwrap();
    let mut classes = BTreeSet::new();
    let names = EventName::ALL.iter().map(|event| event.as_str());
    for name in names.chain(["canary.touched"]) {
        for bare in [false, true] {
            let mut record = whole();
            if bare {
                // The vault's own work, about nothing in particular.
                record = json!({"sequence": 1, "id": "evt_1", "time": "2026-06-13T10:30:00Z", "outcome": "success",
                    "actor": {"type": "vault", "name": "reaper"}});
            }
            record["event"] = json!(name);
            let event = ocsf(record);
            let class = event["class_uid"].as_u64().unwrap();
            classes.insert(class);
            check_required(&event, &schema["base"]);
            let required = &schema["classes"][class.to_string()];
            check_required(&event, required);
            let activity = event["activity_id"].as_u64().unwrap();
            assert!(
                required["activity_id"]
                    .as_array()
                    .unwrap()
                    .contains(&json!(activity)),
                "{event}"
            );
            assert_eq!(event["type_uid"], class * 100 + activity);
            assert_eq!(event["category_uid"], class / 1000);
        }
    }
    assert_eq!(classes, BTreeSet::from([2004, 3001, 3002, 6003]));
}

#[test]
fn an_event_loses_nothing_of_a_record() {
    fn leaves(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => fields.values().for_each(|one| leaves(one, found)),
            Value::Array(several) => several.iter().for_each(|one| leaves(one, found)),
            Value::Null => {}
            Value::String(text) => found.push(text.clone()),
            other => found.push(other.to_string()),
        }
    }
    let all = |value: &Value| {
        let mut found = Vec::new();
        leaves(value, &mut found);
        found
    };
    for event in [
        "lease.issued",
        "identity.created",
        "auth.refused",
        "canary.touched",
    ] {
        let mut record = whole();
        record["event"] = json!(event);
        let told = all(&ocsf(record.clone()));
        for text in all(&record) {
            // The outcome is a number of the schema, one of two proofs is there.
            let mapped = ["refused", "tok_1"].contains(&text.as_str());
            assert!(mapped || told.contains(&text), "{event}: `{text}` is lost");
        }
    }
    let event = ocsf(whole());
    assert_eq!(
        (&event["class_uid"], &event["activity_id"]),
        (&json!(6003), &json!(1))
    );
    assert_eq!(
        (&event["status_id"], &event["severity_id"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(event["time"], 1_781_346_600_250u64);
    assert_eq!(event["actor"]["user"]["credential_uid"], "key_1");
    assert_eq!(event["resources"][0]["version"], "3");
    assert_eq!(event["unmapped"]["session_id"], "s-42");
    for text in HOSTILE {
        let mut record = whole();
        record["purpose"] = json!(text);
        assert_eq!(ocsf(record)["unmapped"]["purpose"], text);
    }
}

/// The lines of an export as a form carries them.
fn carried(format: Format, lines: &[String]) -> String {
    let mut out = Vec::new();
    if format == Format::Csv {
        csv::header(true, &mut out);
    }
    let lines = lines.concat();
    Form::new(format).write(lines.as_bytes(), &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// The lines that are found in a file, or the line of what is wrong with it and what that is.
fn found(text: &str) -> std::result::Result<Vec<String>, (u64, String)> {
    let mut lines = super::lines(std::io::Cursor::new(text.to_owned())).unwrap();
    let (mut line, mut all) = (Vec::new(), Vec::new());
    loop {
        match lines.next(&mut line) {
            Ok(0) => return Ok(all),
            Ok(_) => all.push(String::from_utf8(line.clone()).unwrap()),
            Err(Refused::Fault { line, what, .. }) => return Err((line, what)),
            Err(other) => panic!("{other:?}"),
        }
    }
}

fn lines_of_an_export() -> Vec<String> {
    let header = r#"{"type":"header","format":1,"time":"2026-06-13T10:30:00.25Z"}"#;
    let mut lines = vec![
        header.to_owned(),
        r#"{"type":"gap","first":1,"size":1,"hash":"x"}"#.to_owned(),
    ];
    for (sequence, text) in (2..).zip(HOSTILE) {
        let mut record = whole();
        record["sequence"] = json!(sequence);
        record["purpose"] = json!(text);
        let line = json!({"type": "record", "sequence": sequence, "record": record});
        lines.push(line.to_string());
    }
    lines.push(r#"{"type":"end","through":23}"#.to_owned());
    lines.iter().map(|line| format!("{line}\n")).collect()
}

// INVARIANT (audit-tamper): what another form shows beside its proof is what the proof says.
#[test]
fn every_form_carries_the_lines_and_shows_what_they_say() {
    let lines = lines_of_an_export();
    for format in [Format::Ndjson, Format::Csv, Format::Ocsf] {
        let text = carried(format, &lines);
        assert_eq!(found(&text).unwrap(), lines, "{format:?}");
    }
    let schema: Value = serde_json::from_str(REQUIRED).unwrap();
    let ocsf = carried(Format::Ocsf, &lines);
    for event in ocsf.lines() {
        let event: Value = serde_json::from_str(event).unwrap();
        match event["class_uid"].as_u64() {
            Some(0) => {
                check_required(&event, &schema["classes"]["0"]);
                assert_eq!(event["time"], 1_781_346_600_250u64);
            }
            _ => check_required(&event, &schema["base"]),
        }
    }
    let rows = carried(Format::Csv, &lines);
    let told = |text: &str, from: &str, to: &str, what: &str| {
        assert!(text.contains(from), "{from}");
        let (_, found) = found(&text.replacen(from, to, 1)).unwrap_err();
        assert!(found.contains(what), "{from}: {found}");
    };
    // What is shown, the proof, and what is beside no record.
    let agent = "agent,claude-code,idn_1";
    told(
        &rows,
        agent,
        "agent,somebody,idn_1",
        "`actor_name` of record 2",
    );
    told(
        &rows,
        "\"\"name\"\":\"\"claude-code",
        "\"\"name\"\":\"\"x",
        "`actor_name`",
    );
    told(&rows, ",,,,", ",,,x,", "of a line without a record");
    told(&rows, "\r\n2,", "\n2,", "spelt");
    told(&rows, ",proof", ",proofs", "--proofs");
    told(
        &ocsf,
        "\"uid\":\"idn_1\"",
        "\"uid\":\"idn_2\"",
        "`actor` of record 2",
    );
    told(&ocsf, "\"Base Event\"", "\"Event\"", "`class_name`");
    told(
        &ocsf,
        "{\"activity_id\"",
        "{\"added\":1,\"activity_id\"",
        "`added`",
    );
    told(&ocsf, "raw_data", "raw", "--proofs");
    // Files that were cut, and such as carry nothing.
    assert!(found(&rows[..rows.len() - 3]).is_err());
    assert!(found(&ocsf[..ocsf.len() - 3]).is_err());
    let mut bare = Vec::new();
    csv::header(false, &mut bare);
    csv::row(&whole(), None, &mut bare);
    ocsf::line(whole(), None, &mut bare).unwrap();
    let bare = String::from_utf8(bare).unwrap();
    let event = bare.find("{\"activity_id").unwrap();
    for text in [&bare, &bare[event..]] {
        let (line, what) = found(text).unwrap_err();
        assert!(line == 1 && what.contains("--proofs"), "{what}");
    }
}

/// What was exported is verified by every later version: a form that changes is another format of the export.
#[test]
fn the_forms_are_as_kept() {
    let lines = lines_of_an_export();
    let some: Vec<_> = [0, 1, 2, lines.len() - 1]
        .map(|at| lines[at].clone())
        .into();
    for (format, kept) in [
        (
            Format::Csv,
            include_str!("../../../tests/vectors/export.csv"),
        ),
        (
            Format::Ocsf,
            include_str!("../../../tests/vectors/export.ocsf.ndjson"),
        ),
    ] {
        let text = carried(format, &some);
        if std::env::var_os("LEASEHOLD_WRITE_MATRIX").is_some() {
            let ending = format.file().1;
            std::fs::write(format!("tests/vectors/export.{ending}"), &text).unwrap();
        }
        assert_eq!(
            text, kept,
            "after a deliberate change: LEASEHOLD_WRITE_MATRIX=1"
        );
    }
}
