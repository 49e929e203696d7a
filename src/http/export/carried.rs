//! CSV and OCSF that prove themselves: beside each record stands the line that NDJSON has of it, and the other lines of
//! NDJSON stand alone, in a row without other cells and in an event of the Base Event class (0).
//!
//! So such a file is verified as NDJSON is; and every row and event must be what its line makes it.

use std::io::{self, BufRead, Cursor, Read};

use serde_json::Value;

use super::{Format, csv, ocsf};
use crate::{
    audit::export::{Lines, MAX_LINE_BYTES, Plain, Refused, carried},
    domain::{
        error::{Error, Result},
        time::Timestamp,
    },
};

/// Writes the lines of an export in another form.
#[derive(Debug)]
pub(super) struct Form {
    format: Format,
    /// That of the header: the lines that are no record have none of their own.
    time: Timestamp,
}

impl Form {
    pub(super) fn new(format: Format) -> Self {
        Self {
            format,
            time: Timestamp::from_millis(0),
        }
    }

    /// Writes lines, each with what it is beside.
    pub(super) fn write(&mut self, lines: &[u8], out: &mut Vec<u8>) -> Result<()> {
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            let line = std::str::from_utf8(line).map_err(Error::internal)?;
            self.line(line, out)?;
        }
        Ok(())
    }

    fn line(&mut self, line: &str, out: &mut Vec<u8>) -> Result<()> {
        let mut parsed: Value = serde_json::from_str(line).map_err(Error::internal)?;
        let mut take = |name: &str| parsed.get_mut(name).map(Value::take);
        if take("type").is_some_and(|kind| kind == "header") {
            let time = take("time").and_then(|time| time.as_str()?.parse().ok());
            self.time = time.ok_or_else(|| Error::internal("a header has no time"))?;
        }
        match (self.format, take("record")) {
            (Format::Ndjson, _) => {
                out.extend_from_slice(line.as_bytes());
                out.push(b'\n');
            }
            (Format::Csv, record) => csv::row(&record.unwrap_or_default(), Some(line), out),
            (Format::Ocsf, Some(record)) => ocsf::line(record, Some(line), out)?,
            (Format::Ocsf, None) => ocsf::proof(line, self.time, out)?,
        }
        Ok(())
    }
}

/// The lines of an export in a file of any form, in memory that does not grow with it.
pub struct Carried<R> {
    input: R,
    form: Form,
    /// Rows or lines so far.
    read: u64,
    row: Vec<u8>,
}

/// The lines of an export that proves itself, in whichever form it is.
pub fn lines<R: BufRead + 'static>(mut input: R) -> io::Result<Box<dyn Lines>> {
    const LONGEST: u64 = 16;
    let mut begin = Vec::new();
    (&mut input).take(LONGEST).read_to_end(&mut begin)?;
    let format = match &begin {
        begin if begin.starts_with(b"sequence,") => Format::Csv,
        begin if begin.starts_with(b"{") && !begin.starts_with(b"{\"type\":\"") => Format::Ocsf,
        _ => Format::Ndjson,
    };
    let input = Cursor::new(begin).chain(input);
    if format == Format::Ndjson {
        return Ok(Box::new(Plain::new(input)));
    }
    Ok(Box::new(Carried {
        input,
        form: Form::new(format),
        read: 0,
        row: Vec::new(),
    }))
}

impl<R: BufRead> Carried<R> {
    fn refused<T>(&self, sequence: Option<u64>, what: impl Into<String>) -> Result<T, Refused> {
        Err(Refused::Fault {
            line: self.read,
            sequence,
            what: what.into(),
        })
    }

    /// The next row, or the next line, which holds an event; false at the end.
    fn read(&mut self) -> Result<bool, Refused> {
        // A line of JSON grows by a `"` for each of its own in a row, and by a `\` in an event, beside what people read.
        let limit = 4 * MAX_LINE_BYTES;
        let read = match self.form.format {
            Format::Csv => carried::read_row(&mut self.input, limit, &mut self.row).map(drop),
            _ => {
                self.row.clear();
                let mut limited = (&mut self.input).take(limit);
                limited.read_until(b'\n', &mut self.row).map(drop)
            }
        };
        read.map_err(Refused::Unreadable)?;
        // One that is not whole is not what its line makes it.
        let some = !self.row.is_empty();
        self.read += u64::from(some);
        Ok(some)
    }

    /// The line that stands in the row or the event.
    fn found(&self) -> Option<String> {
        let line = match self.form.format {
            Format::Csv => carried::of_row(&self.row),
            _ => carried::of_event(&self.row),
        };
        line.filter(|line| line.len() as u64 <= MAX_LINE_BYTES)
    }

    /// What differs between what is shown and what its line makes it.
    fn differs(&self, expected: &[u8]) -> Option<String> {
        if self.form.format == Format::Csv {
            let (shown, meant) = (carried::cells(&self.row)?, carried::cells(expected)?);
            let mut columns = csv::COLUMNS.iter().zip(shown.iter().zip(meant.iter()));
            let (name, _) = columns.find(|(_, (shown, meant))| shown != meant)?;
            return Some(name.0.to_owned());
        }
        if self.row.len() > 2 * expected.len() {
            return None;
        }
        let read = |text: &[u8]| serde_json::from_slice::<serde_json::Map<_, Value>>(text).ok();
        let (shown, meant) = (read(&self.row)?, read(expected)?);
        let mut names = meant.keys().chain(shown.keys());
        let name = names.find(|name| shown.get(*name) != meant.get(*name))?;
        Some(name.chars().filter(|c| !c.is_control()).take(64).collect())
    }
}

impl<R: BufRead> Lines for Carried<R> {
    fn next(&mut self, line: &mut Vec<u8>) -> Result<u64, Refused> {
        line.clear();
        if !self.read()? {
            return Ok(0);
        }
        if self.form.format == Format::Csv && self.read == 1 {
            let mut names = Vec::new();
            csv::header(true, &mut names);
            if names != self.row {
                return self.refused(None, NO_PROOFS);
            }
            if !self.read()? {
                return Ok(0);
            }
        }
        let Some(found) = self.found() else {
            let what = match self.read {
                1 => NO_PROOFS,
                _ => "the file breaks off here, or this carries no line of an export",
            };
            return self.refused(None, what);
        };
        let mut expected = Vec::new();
        if self.form.line(&found, &mut expected).is_err() {
            return self.refused(None, "this carries no line of an export");
        }
        if expected != self.row {
            let parsed: Value = serde_json::from_str(&found).unwrap_or_default();
            let sequence = parsed.get("sequence").and_then(Value::as_u64);
            let whose = sequence.map_or_else(
                || "of a line without a record".to_owned(),
                |sequence| format!("of record {sequence}"),
            );
            let what = match self.differs(&expected) {
                Some(name) => format!("`{name}` {whose} is not what its proof says"),
                None => format!("what is shown {whose} is not spelt as a vault spells it"),
            };
            return self.refused(sequence, what);
        }
        line.extend_from_slice(found.as_bytes());
        line.push(b'\n');
        Ok(self.read)
    }
}

/// Told of a file that cannot be verified.
const NO_PROOFS: &str =
    "this export carries no proofs; CSV and OCSF have them where they are exported with `--proofs`";
