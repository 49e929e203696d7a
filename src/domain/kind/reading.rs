//! What was read from a value: the facts that may be shown, and the parts that must not be.
//!
//! Guarantees: a fact that leaves here is short, without control characters, and holds neither the value nor
//! a secret part of it. Metadata and description that hold one are refused, and the error doesn't repeat it.

use std::ops::Deref;

use zeroize::Zeroizing;

use super::Facts;
use crate::domain::{
    error::{Error, Result},
    name::Metadata,
};

/// The longest fact: enough for a distinguished name, too short to fill a listing.
pub(super) const MAX_FACT_CHARS: usize = 256;

/// Shorter secrets stand in ordinary text by chance, so they are not looked for in it.
const MIN_LEAK_BYTES: usize = 8;

/// A part of a value that must not be shown.
pub(super) enum Secret<'v> {
    /// It stands in the value as it is.
    Slice(&'v str),
    /// It had to be decoded.
    Copy(Zeroizing<String>),
}

impl Deref for Secret<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Slice(text) => text,
            Self::Copy(text) => text,
        }
    }
}

/// The outcome of reading one value.
pub(super) struct Reading<'v> {
    facts: Vec<(&'static str, String)>,
    secrets: Vec<Secret<'v>>,
}

impl<'v> Reading<'v> {
    /// A reading without facts; the whole value is secret.
    pub(super) fn of(value: &'v str) -> Self {
        // Metadata that repeats a value seldom repeats the newline at its end.
        let secrets = vec![Secret::Slice(value), Secret::Slice(value.trim())];
        Self {
            facts: Vec::new(),
            secrets,
        }
    }

    /// Adds a fact, or nothing when there is no text.
    pub(super) fn fact(&mut self, name: &'static str, text: impl Into<String>) {
        self.facts.push((name, text.into()));
    }

    /// Adds a part that is secret on its own.
    pub(super) fn secret(&mut self, secret: Secret<'v>) {
        self.secrets.push(secret);
    }

    /// Refuses metadata or a description that holds a secret.
    pub(super) fn check_apart_from(
        &self,
        metadata: &Metadata,
        description: Option<&str>,
    ) -> Result<()> {
        let leaks = |text: &str| {
            self.secrets
                .iter()
                .any(|secret| secret.len() >= MIN_LEAK_BYTES && text.contains(&**secret))
        };
        if metadata.iter().any(|(key, _)| leaks(key)) {
            // The key can't be named without repeating the secret.
            return Err(Error::invalid(
                "metadata",
                format!("a key of `metadata` {HOLDS_SECRET}"),
            ));
        }
        for (key, value) in metadata.iter() {
            if leaks(value) {
                let place = format!("metadata.{key}");
                let message = format!("`{place}` {HOLDS_SECRET}");
                return Err(Error::invalid(place, message));
            }
        }
        if description.is_some_and(leaks) {
            return Err(Error::invalid(
                "description",
                format!("`description` {HOLDS_SECRET}"),
            ));
        }
        Ok(())
    }

    /// The facts that may be shown.
    pub(super) fn into_facts(self) -> Facts {
        let Self { facts, secrets } = self;
        let leaks = |text: &str| {
            secrets
                .iter()
                .any(|secret| !secret.is_empty() && text.contains(&**secret))
        };
        let shown = |text: &str| {
            let clean = clean(text);
            // Both, as cleaning can hide a secret and can spell one.
            (!clean.is_empty() && !leaks(text) && !leaks(&clean)).then_some(clean)
        };
        facts
            .into_iter()
            .filter_map(|(name, text)| Some((name.to_owned(), shown(&text)?)))
            .collect()
    }
}

const HOLDS_SECRET: &str =
    "holds the secret value or its secret part; it is shown to readers, so keep secrets out of it";

/// `text` in the bounds of a fact.
fn clean(text: &str) -> String {
    let visible = |c: char| {
        if c.is_control() {
            char::REPLACEMENT_CHARACTER
        } else {
            c
        }
    };
    text.chars().take(MAX_FACT_CHARS).map(visible).collect()
}

/// RFC 3339 in UTC, for the years 0 to 9999.
///
/// Civil arithmetic, because `jiff::Timestamp` ends a day before the `99991231235959Z` that RFC 5280 gives
/// to certificates without an end.
pub(super) fn rfc3339(seconds: i64) -> Option<String> {
    let epoch = jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0);
    let instant = epoch
        .checked_add(jiff::SignedDuration::from_secs(seconds))
        .ok()?;
    (instant.year() >= 0).then(|| format!("{instant}Z"))
}

/// Lowercase hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a `String` can't fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(key: &str, value: &str) -> Metadata {
        Metadata::new([(key.to_owned(), value.to_owned())].into()).unwrap()
    }

    #[test]
    fn facts_are_bounded_and_clean() {
        let mut reading = Reading::of("some-secret");
        reading.fact("long", "ä".repeat(MAX_FACT_CHARS + 1));
        reading.fact("control", "a\u{1b}[31mb\nc");
        reading.fact("empty", "");
        let facts = reading.into_facts();
        assert_eq!(facts["long"].chars().count(), MAX_FACT_CHARS);
        assert_eq!(facts["control"], "a\u{fffd}[31mb\u{fffd}c");
        assert!(!facts.contains_key("empty"));
    }

    #[test]
    fn a_fact_that_holds_a_secret_is_dropped() {
        let mut reading = Reading::of("user:\u{fffd}pw\n");
        reading.secret(Secret::Slice("\u{fffd}pw"));
        reading.secret(Secret::Slice("\u{7}bell"));
        reading.secret(Secret::Slice(""));
        reading.fact("spelled_by_cleaning", "a\u{1}pw");
        reading.fact("hidden_by_cleaning", "a\u{7}bell");
        reading.fact(
            "cut_off",
            format!("{}\u{7}bell", "x".repeat(MAX_FACT_CHARS - 2)),
        );
        reading.fact("value", "user:\u{fffd}pw");
        reading.fact("kept", "user");
        assert_eq!(
            reading.into_facts(),
            [("kept".to_owned(), "user".to_owned())].into()
        );
    }

    #[test]
    fn a_secret_is_refused_in_metadata_and_description() {
        let secret = "seven-8\n";
        let reading = Reading::of(secret);
        // The trimmed value is too short to be looked for, the value itself is not.
        reading
            .check_apart_from(&metadata("note", "it is seven-8"), Some("seven-8"))
            .unwrap();

        let mut reading = Reading::of("a-value-to-hide\n");
        reading.secret(Secret::Copy(Zeroizing::new("part-to-hide".to_owned())));
        for hidden in ["a-value-to-hide", "part-to-hide"] {
            let text = format!("key {hidden}!");
            let errors = [
                (
                    "metadata.note",
                    reading.check_apart_from(&metadata("note", &text), None),
                ),
                (
                    "metadata",
                    reading.check_apart_from(&metadata(&text, "note"), None),
                ),
                (
                    "description",
                    reading.check_apart_from(&Metadata::default(), Some(&text)),
                ),
            ];
            for (field, outcome) in errors {
                let error = outcome.unwrap_err();
                assert_eq!(error.details(), [("field", field.into())]);
                assert!(!format!("{error:?}").contains(hidden));
            }
        }
    }

    #[test]
    fn instants_are_rfc_3339() {
        assert_eq!(rfc3339(0).unwrap(), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(-1).unwrap(), "1969-12-31T23:59:59Z");
        assert_eq!(rfc3339(253_402_300_799).unwrap(), "9999-12-31T23:59:59Z");
        for seconds in [253_402_300_800, -62_167_219_201, i64::MAX, i64::MIN] {
            assert_eq!(rfc3339(seconds), None, "{seconds}");
        }
    }
}
