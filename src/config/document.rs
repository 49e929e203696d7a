//! TOML documents that people write: read within a bound, each fault told in one line with its position.
//!
//! Guaranteed: a fault never repeats a value of the document, so that a secret put under a wrong key stays there.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue};

use crate::domain::strict::expected;

/// A place in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The column, in characters from 1.
    pub column: usize,
}

impl Position {
    fn of(text: &str, offset: usize) -> Self {
        let before =
            String::from_utf8_lossy(text.as_bytes().get(..offset).unwrap_or(text.as_bytes()));
        let last = before.rsplit('\n').next().unwrap_or_default();
        Self {
            line: 1 + before.matches('\n').count(),
            column: 1 + last.chars().count(),
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// What is wrong with a document, and where.
#[derive(Debug)]
pub struct Fault {
    pub position: Option<Position>,
    pub reason: String,
}

/// Reads a file of at most `max_bytes`; refuses folders, pipes and devices.
pub fn read(path: &Path, max_bytes: u64) -> io::Result<String> {
    let refuse = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    // Before the open, which would wait for the other end of a pipe.
    if !fs::metadata(path)?.is_file() {
        return Err(refuse("not a regular file".to_owned()));
    }
    let mut bytes = Vec::new();
    File::open(path)?
        .take(max_bytes.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        return Err(refuse(format!("larger than {max_bytes} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| refuse("not UTF-8 text".to_owned()))
}

/// Reads a value from a document.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Fault> {
    let fault = |error: &toml::de::Error, reason: String| Fault {
        position: error.span().map(|span| Position::of(text, span.start)),
        reason,
    };
    let document = toml::Deserializer::parse(text)
        .map_err(|error| fault(&error, reason("", error.message())))?;
    serde_path_to_error::deserialize(document).map_err(|error| {
        let key = error.path().to_string();
        fault(error.inner(), reason(&key, error.inner().message()))
    })
}

/// Finds the key of a dotted path such as `egress.hosts[2]`.
pub fn find(text: &str, path: &str) -> Option<Position> {
    let document = DeTable::parse(text).ok()?;
    let mut table = document.get_ref();
    let mut segments = path.split('.').peekable();
    while let Some(segment) = segments.next() {
        let (name, index) = match segment.split_once('[') {
            Some((name, index)) => (name, index.trim_end_matches(']').parse::<usize>().ok()),
            None => (segment, None),
        };
        let (key, value) = table.iter().find(|(key, _)| key.get_ref() == name)?;
        match value.get_ref() {
            DeValue::Table(inner) if segments.peek().is_some() => table = inner,
            DeValue::Array(entries) => {
                let span = index
                    .and_then(|index| entries.get(index))
                    .map_or(key.span(), |entry| entry.span());
                return Some(Position::of(text, span.start));
            }
            _ if segments.peek().is_none() => return Some(Position::of(text, key.span().start)),
            _ => return None,
        }
    }
    None
}

/// What serde or a parser said about `key`, in one line and without the value.
pub fn reason(key: &str, message: &str) -> String {
    let message = message.trim().replace('\n', "; ");
    if let Some(unknown) = message.strip_prefix("unknown field ") {
        return format!("unknown key {unknown}");
    }
    if let Some(missing) = message.strip_prefix("missing field ") {
        return format!("missing key {missing}");
    }
    let repeats = [
        "invalid type: ",
        "invalid value: ",
        "invalid length ",
        "unknown variant ",
    ];
    let message = match message.rsplit_once(", expected ") {
        Some((_, what)) if repeats.iter().any(|start| message.starts_with(start)) => {
            format!("must be {}", expected(what))
        }
        _ => message,
    };
    // The domain's types don't know the key that they stand under.
    let message = message
        .strip_prefix("`duration` ")
        .or(message.strip_prefix("`name` "))
        .unwrap_or(&message);
    if key.is_empty() || key == "." {
        message.to_owned()
    } else {
        format!("`{key}` {message}")
    }
}
