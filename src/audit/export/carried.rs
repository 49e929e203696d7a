//! The lines of an export where another form carries them beside what it shows: in the last cell of a row, or in an
//! attribute of an event.

use std::io::{self, BufRead, Read};

/// The column of a table that carries them.
pub const COLUMN: &str = "proof";
/// What a spreadsheet may divide cells and rows by: behind one, and at the beginning of a cell, a `'` says that what follows
/// is no formula.
pub const DIVIDING: [char; 4] = [';', '\t', '\r', '\n'];
/// The attribute of an event that carries them: the schema's own, for what an event was made of.
pub const ATTRIBUTE: &str = "raw_data";

/// Reads a row of CSV: up to a line feed where no quote is open, or up to the limit in bytes. Returns whether it is
/// whole: one that was cut off or is longer is not, and at the end there is none.
pub fn read_row(input: &mut impl BufRead, limit: u64, row: &mut Vec<u8>) -> io::Result<bool> {
    row.clear();
    let mut input = input.take(limit);
    let mut quotes = 0;
    loop {
        let begun = row.len();
        if input.read_until(b'\n', row)? == 0 {
            return Ok(false);
        }
        let more = row.iter().skip(begun);
        quotes += more.filter(|byte| **byte == b'"').count();
        if quotes % 2 == 0 && row.ends_with(b"\n") {
            return Ok(true);
        }
    }
}

/// The cells of a row, as RFC 4180 has them; none for what is no text.
pub fn cells(row: &[u8]) -> Option<Vec<String>> {
    let row = std::str::from_utf8(row).ok()?;
    let row = row.strip_suffix("\r\n").unwrap_or(row);
    let (mut cells, mut cell, mut quoted) = (Vec::new(), String::new(), false);
    let mut signs = row.chars().peekable();
    while let Some(sign) = signs.next() {
        match sign {
            '"' if quoted && signs.next_if_eq(&'"').is_some() => cell.push('"'),
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(std::mem::take(&mut cell)),
            sign => cell.push(sign),
        }
    }
    cells.push(cell);
    Some(cells)
}

/// What a cell says, without the signs that keep spreadsheets from taking it for a formula.
pub fn unescaped(cell: &str) -> String {
    let (mut text, mut begins) = (String::with_capacity(cell.len()), true);
    for sign in cell.chars() {
        if !(begins && sign == '\'') {
            text.push(sign);
        }
        begins = DIVIDING.contains(&sign);
    }
    text
}

/// The line that an event carries.
pub fn of_event(event: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Event {
        raw_data: String,
    }
    let Event { raw_data } = serde_json::from_slice(event).ok()?;
    Some(raw_data)
}

/// The line that a row carries.
pub fn of_row(row: &[u8]) -> Option<String> {
    Some(unescaped(&cells(row)?.pop()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_end_where_no_quote_is_open_and_no_later_than_allowed() {
        let text = b"a,\"b\r\nc\"\"\"\r\nd\r\n\"e";
        let (mut input, mut row, mut rows) = (&text[..], Vec::new(), Vec::new());
        while read_row(&mut input, 64, &mut row).unwrap() {
            rows.push(cells(&row).unwrap());
        }
        let expected: [&[&str]; 2] = [&["a", "b\r\nc\""], &["d"]];
        assert_eq!(rows, expected);
        assert_eq!(row, b"\"e");
        let endless = [b'"'; 100];
        assert!(!read_row(&mut &endless[..], 64, &mut row).unwrap());
        assert_eq!(row.len(), 64);
        // A line that ends within quotes is no row.
        assert!(!read_row(&mut &b"\"a\r\n"[..], 64, &mut row).unwrap());
        assert_eq!(cells(&[0xff]), None);
    }
}
