//! Where a file's export goes on.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

use serde_json::Value;

use super::{super::failure::Failure, ExportFormat};
use crate::audit::export::{MAX_LINE_BYTES, carried};

/// The longest row or line that is gone on behind: one that carries another is up to so much longer.
const MOST_BYTES: u64 = 4 * MAX_LINE_BYTES;

/// How far the export in a file can be relied on.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// Bytes of the file that stay.
    pub(super) keep: u64,
    /// The record that the rest begins behind.
    pub(super) after: u64,
    /// Whether it has its end.
    pub(super) whole: bool,
    /// Whether it carries what proves it.
    pub(super) proven: bool,
    /// What it is filtered by, where it says so.
    pub(super) filter: Option<BTreeMap<String, String>>,
}

impl Place {
    /// Reads a file through.
    pub(super) fn find(path: &Path, format: ExportFormat) -> Result<Self, Failure> {
        let told = |what: String| Failure::Local(format!("`{}`: {what}", path.display()));
        let file = File::open(path).map_err(|error| told(error.to_string()))?;
        let mut input = BufReader::new(file);
        let mut place = Self::default();
        let (mut line, mut read) = (Vec::new(), 0);
        loop {
            let next = match format {
                ExportFormat::Csv => carried::read_row(&mut input, MOST_BYTES, &mut line),
                _ => read_line(&mut input, &mut line),
            };
            if !next.map_err(|error| told(error.to_string()))? {
                return Ok(place);
            }
            let first = read == 0;
            read += line.len() as u64;
            match format {
                ExportFormat::Csv => place.row(&line, read, first),
                ExportFormat::Ocsf => place.event(&line, read, first),
                ExportFormat::Ndjson => place.line(&line, read),
            }
            .ok_or_else(|| {
                told(format!(
                    "it is no export of {}",
                    format.as_str().to_uppercase()
                ))
            })?;
        }
    }

    fn row(&mut self, row: &[u8], read: u64, first: bool) -> Option<()> {
        let cells = carried::cells(row);
        if first {
            let names = cells.as_ref().and_then(|cells| cells.first());
            if names.is_none_or(|name| name != "sequence") {
                return None;
            }
            let last = cells.as_ref().and_then(|cells| cells.last());
            self.proven = last.is_some_and(|name| name == carried::COLUMN);
        } else if self.proven {
            return self.line(carried::of_row(row)?.as_bytes(), read);
        } else if let Some(number) = cells.and_then(|cells| cells.first()?.parse().ok()) {
            (self.after, self.keep) = (number, read);
        }
        Some(())
    }

    fn event(&mut self, line: &[u8], read: u64, first: bool) -> Option<()> {
        let carried = carried::of_event(line);
        self.proven |= first && carried.is_some();
        if self.proven {
            return self.line(carried?.as_bytes(), read);
        }
        let event: Value = serde_json::from_slice(line).unwrap_or_default();
        if first && event.get("class_uid").is_none() {
            return None;
        }
        if let Some(number) = event.pointer("/metadata/sequence").and_then(Value::as_u64) {
            (self.after, self.keep) = (number, read);
        }
        Some(())
    }

    /// Only what a mark signs is relied on. None for what is no line of an export.
    fn line(&mut self, line: &[u8], read: u64) -> Option<()> {
        let kind = |kind: &str| line.starts_with(format!("{{\"type\":\"{kind}\"").as_bytes());
        if kind("record") || kind("gap") || kind("removed") {
            return self.filter.is_some().then_some(());
        }
        let json: Value = serde_json::from_slice(line).ok()?;
        let number = |name: &str| json.get(name).and_then(Value::as_u64);
        if kind("header") {
            if self.filter.is_none() {
                self.after = number("after")?;
                self.filter = serde_json::from_value(json.get("filter")?.clone()).ok();
            }
            return Some(());
        }
        (kind("mark") || kind("end")).then_some(())?;
        self.after = number("through")?;
        self.keep = read;
        self.whole = kind("end");
        Some(())
    }
}

/// Reads a line; whether it is whole.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    input.take(MOST_BYTES).read_until(b'\n', line)?;
    Ok(line.ends_with(b"\n"))
}
