//! History as CSV (RFC 4180): a header row, a row a record, lines that end in CR LF, UTF-8 without a byte order mark.
//!
//! A spreadsheet takes some cells for formulas, and a name or a purpose is anybody's text: a text that begins with one of
//! `= + - @`, their full-width forms, a tab, a CR or a LF, gets a `'` in front, as OWASP says ("CSV Injection"). Where a
//! spreadsheet divides rows by `;` or tabs, cells begin within a text as well: one of `= + - @` and their full-width forms
//! behind a `;`, a tab, a CR or a LF gets a `'` in front too. So does a `'` of the text's own at any of these places, so
//! that a reader who takes one `'` away at the beginning and behind each `;`, tab, CR and LF has what history says.

use serde_json::Value;

use crate::audit::export::carried;

/// The columns, and where in a record they are found. A list is written as JSON.
pub(super) const COLUMNS: &[(&str, &str)] = &[
    ("sequence", "/sequence"),
    ("id", "/id"),
    ("time", "/time"),
    ("event", "/event"),
    ("severity", "/severity"),
    ("outcome", "/outcome"),
    ("code", "/code"),
    ("actor_type", "/actor/type"),
    ("actor_name", "/actor/name"),
    ("actor_identity_id", "/actor/identity_id"),
    ("actor_key_id", "/actor/key_id"),
    ("actor_token_id", "/actor/token_id"),
    ("credential_id", "/credential_id"),
    ("credential_name", "/credential_name"),
    ("version", "/version"),
    ("lease_id", "/lease_id"),
    ("holder", "/holder"),
    ("session_id", "/session_id"),
    ("object", "/object"),
    ("decided_by", "/decided_by"),
    ("purpose", "/purpose"),
    ("reason", "/reason"),
    ("changes", "/changes"),
    ("request_id", "/request_id"),
    ("source_ip", "/source_ip"),
    ("user_agent", "/user_agent"),
    ("requests", "/requests"),
];

/// What a spreadsheet takes for the beginning of a formula, and the sign that says it is none.
const ESCAPED: [char; 9] = ['=', '+', '-', '@', '＝', '＋', '－', '＠', '\''];
/// What some pass over in front of one, at a cell's beginning.
const BLANKS: [char; 3] = ['\t', '\r', '\n'];

/// Writes the header row, with a column for proofs or without.
pub(super) fn header(proven: bool, out: &mut Vec<u8>) {
    let names = COLUMNS.iter().map(|(name, _)| *name);
    let names = names.chain(proven.then_some(carried::COLUMN));
    write_row(names.map(ToOwned::to_owned), out);
}

/// Writes the row of a record, or of none, with the line that proves it where there is one.
pub(super) fn row(record: &Value, proof: Option<&str>, out: &mut Vec<u8>) {
    let cells = COLUMNS.iter().map(|(_, at)| cell(record.pointer(at)));
    // What somebody wrote stands in the proof as well.
    write_row(cells.chain(proof.map(escaped)), out);
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => escaped(text),
        Some(other) => escaped(&other.to_string()),
    }
}

/// The text with a `'` wherever it could begin a formula.
fn escaped(text: &str) -> String {
    let mut cell = String::with_capacity(text.len());
    if text.starts_with(BLANKS) {
        cell.push('\'');
    }
    let mut begins = true;
    for sign in text.chars() {
        if begins && ESCAPED.contains(&sign) {
            cell.push('\'');
        }
        cell.push(sign);
        begins = carried::DIVIDING.contains(&sign);
    }
    cell
}

fn write_row(cells: impl Iterator<Item = String>, out: &mut Vec<u8>) {
    for (number, cell) in cells.enumerate() {
        if number > 0 {
            out.push(b',');
        }
        let plain = !cell.contains(['"', ',', ';', '\t', '\r', '\n']) && cell.trim() == cell;
        if plain {
            out.extend_from_slice(cell.as_bytes());
        } else {
            out.push(b'"');
            out.extend_from_slice(cell.replace('"', "\"\"").as_bytes());
            out.push(b'"');
        }
    }
    out.extend_from_slice(b"\r\n");
}
