//! Where a file's export goes on.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use serde_json::Value;

use super::{super::failure::Failure, ExportFormat};

/// How far the export in a file can be relied on.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// Bytes of the file that stay.
    pub(super) keep: u64,
    /// The record that the rest begins behind.
    pub(super) after: u64,
    /// Whether it has its end.
    pub(super) whole: bool,
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
        let (mut line, mut read, mut quotes) = (Vec::new(), 0, 0);
        loop {
            if format != ExportFormat::Csv || quotes % 2 == 0 {
                line.clear();
            }
            let begun = line.len();
            let length = input
                .read_until(b'\n', &mut line)
                .map_err(|error| told(error.to_string()))?;
            if length == 0 || !line.ends_with(b"\n") {
                return Ok(place);
            }
            read += length as u64;
            quotes += line
                .iter()
                .skip(begun)
                .filter(|byte| **byte == b'"')
                .count();
            match format {
                // A row ends with a line where no quote is open.
                ExportFormat::Csv if quotes % 2 == 0 => place.row(&line, read),
                ExportFormat::Csv => {}
                ExportFormat::Ocsf => place.event(&line, read),
                ExportFormat::Ndjson => place
                    .line(&line, read)
                    .ok_or_else(|| told("it is no export of NDJSON".to_owned()))?,
            }
        }
    }

    fn row(&mut self, row: &[u8], read: u64) {
        let first = row.split(|byte| *byte == b',').next();
        let number = first.and_then(|cell| std::str::from_utf8(cell).ok()?.parse().ok());
        if let Some(number) = number {
            (self.after, self.keep) = (number, read);
        }
    }

    fn event(&mut self, line: &[u8], read: u64) {
        let event: Option<Value> = serde_json::from_slice(line).ok();
        let number = event.and_then(|event| event.pointer("/metadata/sequence")?.as_u64());
        if let Some(number) = number {
            (self.after, self.keep) = (number, read);
        }
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
