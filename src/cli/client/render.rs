//! Answers as text for people: tables for lists, aligned labels for single objects.
//!
//! Text that somebody else wrote (a purpose, a description, a reason) is shown without control or
//! direction-changing characters, so that it can neither drive the terminal nor forge a line.

use std::fmt::Write;

use comfy_table::{LineStyle, Table, TableStyle};
use serde_json::Value;
use zeroize::{Zeroize, Zeroizing};

use super::{
    answer::Answer,
    output::{Mode, Report},
};

/// What stands for a missing value.
const NOTHING: &str = "-";

/// A rule under the titles and no other line, so that a row is a line for `grep` too.
const STYLE: TableStyle =
    TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// A column: its title, and the dotted paths under which its value may be found, the first that is there.
pub(super) struct Column(pub(super) &'static str, pub(super) &'static [&'static str]);

/// A list as a table, with a note on how to read on. `what` names the rows.
pub(super) fn list(answer: &Answer, mode: Mode, columns: &[Column], what: &str) -> Report {
    if mode.json {
        return Report::new(mode.layout(answer.text()));
    }
    let rows = answer.rows();
    if rows.is_empty() {
        return Report::default().with_note(&format!("no {what}"));
    }
    let report = Report::new(table(rows, columns));
    match answer.next_page() {
        None => report,
        Some((cursor, total)) => {
            let of = total
                .map(|total| format!(" of {total}"))
                .unwrap_or_default();
            let shown = rows.len();
            report.with_note(&format!(
                "{shown}{of} {what}; more with --cursor {}",
                clean(cursor)
            ))
        }
    }
}

/// One object as aligned labels, the fields of `order` first.
pub(super) fn object(answer: &Answer, mode: Mode, order: &[&str]) -> Report {
    if mode.json {
        return Report::new(mode.layout(answer.text()));
    }
    Report::new(aligned(facts(answer.data(), order)))
}

/// Rows as a table.
pub(super) fn table(rows: &[Value], columns: &[Column]) -> String {
    let mut table = Table::new();
    table.load_style(STYLE);
    table.set_header(columns.iter().map(|column| column.0));
    for row in rows {
        table.add_row(columns.iter().map(|Column(_, paths)| {
            let value = paths.iter().find_map(|path| lookup(row, path));
            value.map_or_else(|| NOTHING.to_owned(), brief)
        }));
    }
    let mut text = table.trim_fmt();
    text.push('\n');
    text
}

/// A row on a line of its own, for a result that goes on: missing values are left out.
pub(super) fn row(row: &Value, columns: &[Column]) -> String {
    let shown = columns.iter().filter_map(|Column(_, paths)| {
        let value = paths.iter().find_map(|path| lookup(row, path));
        value.map(brief)
    });
    shown.collect::<Vec<_>>().join("  ")
}

/// Labels and values, the values in one column. A value may be a handle, so nothing is left behind.
pub(super) fn aligned(mut facts: Vec<(String, String)>) -> Zeroizing<String> {
    let width = facts
        .iter()
        .map(|(label, _)| label.chars().count())
        .max()
        .unwrap_or_default();
    let size = facts
        .iter()
        .map(|(label, value)| label.len() + width + value.len() + 3)
        .sum();
    let mut text = Zeroizing::new(String::with_capacity(size));
    for (label, value) in &mut facts {
        // Writing to a string can't fail.
        let _ = writeln!(text, "{label:width$}  {value}");
        value.zeroize();
    }
    text
}

/// An object as labels and values: nested objects become dotted labels. Anything else becomes one value.
pub(super) fn facts(value: &Value, order: &[&str]) -> Vec<(String, String)> {
    let mut facts = Vec::new();
    match value {
        Value::Null => {}
        Value::Object(fields) => {
            let known = order.iter().filter_map(|name| fields.get_key_value(*name));
            // By name, whatever order the answer had.
            let mut others: Vec<_> = fields
                .iter()
                .filter(|(name, _)| !order.contains(&name.as_str()))
                .collect();
            others.sort_by_key(|(name, _)| *name);
            for (name, value) in known.chain(others) {
                flatten(&clean(name), value, &mut facts);
            }
        }
        other => facts.push(("data".to_owned(), brief(other))),
    }
    facts
}

fn flatten(label: &str, value: &Value, facts: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                flatten(&format!("{label}.{}", clean(name)), value, facts);
            }
        }
        other => facts.push((label.to_owned(), brief(other))),
    }
}

fn lookup<'a>(row: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.')
        .try_fold(row, |value, name| value.get(name))
        .filter(|value| !value.is_null())
}

/// A value in one line.
fn brief(value: &Value) -> String {
    match value {
        Value::Null => NOTHING.to_owned(),
        Value::String(text) if text.is_empty() => NOTHING.to_owned(),
        Value::String(text) => clean(text),
        Value::Array(items) if items.is_empty() => NOTHING.to_owned(),
        Value::Array(items) => items.iter().map(brief).collect::<Vec<_>>().join(", "),
        Value::Object(fields) if fields.is_empty() => NOTHING.to_owned(),
        Value::Object(_) => {
            let name = ["name", "id", "part", "type"]
                .iter()
                .find_map(|name| lookup(value, name));
            name.map_or_else(|| clean(&value.to_string()), brief)
        }
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// The text on one line, with what could drive a terminal written out.
pub(super) fn clean(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_direction(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PEOPLE: Mode = Mode {
        json: false,
        terminal: true,
    };
    const COLUMNS: &[Column] = &[
        Column("id", &["id"]),
        Column("holder", &["identity.name", "identity"]),
        Column("n", &["n"]),
    ];

    #[test]
    fn a_list_is_a_table_with_a_hint_at_the_next_page() {
        let answer = Answer::for_test(
            200,
            r#"{"data":[{"id":"lse_1","identity":{"name":"claude"},"n":2},{"id":"lse_2","identity":"bob"}],
                "page":{"limit":2,"next_cursor":"abc","total":7}}"#,
        );
        let report = list(&answer, PEOPLE, COLUMNS, "leases");
        let lines: Vec<&str> = report
            .out
            .lines()
            .filter(|line| line.contains("lse"))
            .collect();
        assert_eq!(lines.len(), 2, "{}", *report.out);
        assert!(report.out.contains("claude") && report.out.contains("bob"));
        assert!(lines[1].trim_end().ends_with(NOTHING), "{}", lines[1]);
        assert_eq!(report.notes, "2 of 7 leases; more with --cursor abc\n");
    }

    #[test]
    fn an_empty_list_leaves_stdout_empty() {
        let answer = Answer::for_test(200, r#"{"data":[],"page":{"next_cursor":null}}"#);
        let report = list(&answer, PEOPLE, COLUMNS, "leases");
        assert_eq!(
            (report.out.as_str(), report.notes.as_str()),
            ("", "no leases\n")
        );
    }

    #[test]
    fn an_object_is_aligned_in_the_given_order_with_the_rest_after_it() {
        let answer = Answer::for_test(
            200,
            r#"{"data":{"zeta":[1,"b"],"name":"a","state":"active","metadata":{"team":"ml","x":null},"alpha":{}}}"#,
        );
        assert_eq!(
            *object(&answer, PEOPLE, &["name", "state", "missing"]).out,
            "name           a\n\
             state          active\n\
             alpha          -\n\
             metadata.team  ml\n\
             metadata.x     -\n\
             zeta           1, b\n"
        );
    }

    #[test]
    fn json_is_the_body_as_it_came() {
        let body = r#"{"status":"success","data":[{"z":1,"a":2.50}],"page":{"next_cursor":"c"}}"#;
        let mode = Mode {
            json: true,
            terminal: false,
        };
        let report = list(&Answer::for_test(200, body), mode, COLUMNS, "leases");
        assert_eq!((report.out.trim_end(), report.notes.as_str()), (body, ""));
        assert_eq!(
            object(&Answer::for_test(200, body), mode, &[])
                .out
                .trim_end(),
            body
        );
    }

    #[test]
    fn foreign_text_stays_on_its_line_and_drives_nothing() {
        let value =
            json!({ "purpose": "a\nhandle  lhh_forged\u{1b}[2J\u{9b}\u{202e}", "k\ney": 1 });
        let text = aligned(facts(&value, &[]));
        assert_eq!(text.lines().count(), 2);
        assert!(!text.contains(['\u{1b}', '\u{9b}', '\u{202e}']));
        assert_eq!(clean("día 日本 ✓"), "día 日本 ✓");
    }

    #[test]
    fn every_kind_of_value_has_a_brief_form() {
        for (value, shown) in [
            (json!(null), "-"),
            (json!(""), "-"),
            (json!(true), "true"),
            (json!(3), "3"),
            (json!({ "id": "i", "name": "n" }), "n"),
            (json!({ "part": "reaper" }), "reaper"),
            (json!({ "odd": 1 }), "{\"odd\":1}"),
            (json!([["a"], []]), "a, -"),
        ] {
            assert_eq!(brief(&value), shown);
        }
    }
}
