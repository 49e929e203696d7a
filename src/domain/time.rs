//! Instants and spans, in whole milliseconds. Nothing here reads a clock: time is handed down as a value.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::error::{Error, Result};

/// The latest instant the vault can write down: some hours before RFC 3339's own limit, the end of the year
/// 9999, so that it can be shown in any time zone.
const MAX_MILLIS: u64 = 253_402_207_199_999;

/// An instant of the vault's clock: milliseconds since the Unix epoch, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The instant that many milliseconds after the epoch, saturating in the year 9999.
    pub const fn from_millis(millis: u64) -> Self {
        Self(if millis > MAX_MILLIS {
            MAX_MILLIS
        } else {
            millis
        })
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The instant `span` later, saturating in the year 9999.
    #[must_use]
    pub const fn plus(self, span: Span) -> Self {
        Self::from_millis(self.0.saturating_add(span.0))
    }

    /// The instant `span` earlier, at least the epoch.
    #[must_use]
    pub const fn minus(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.0))
    }

    /// The span from `earlier` to here; zero when `earlier` is not earlier.
    pub const fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, with milliseconds only where they are not zero.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = i64::try_from(self.0).map_err(|_| fmt::Error)?;
        let instant = jiff::Timestamp::from_millisecond(millis).map_err(|_| fmt::Error)?;
        fmt::Display::fmt(&instant, f)
    }
}

impl FromStr for Timestamp {
    type Err = NotATimestamp;

    fn from_str(text: &str) -> Result<Self, NotATimestamp> {
        let instant: jiff::Timestamp = text.parse().map_err(|_| NotATimestamp)?;
        let millis = u64::try_from(instant.as_millisecond()).map_err(|_| NotATimestamp)?;
        Ok(Self::from_millis(millis))
    }
}

/// Text that is not an RFC 3339 timestamp at or after the epoch.
#[derive(Debug, thiserror::Error)]
#[error("not an RFC 3339 timestamp such as 2026-06-13T10:30:00Z")]
pub struct NotATimestamp;

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_u64(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
            text.parse().map_err(de::Error::custom)
        } else {
            u64::deserialize(deserializer).map(Self::from_millis)
        }
    }
}

/// A length of time, possibly zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Span(u64);

impl Span {
    /// A span of that many milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// A span of that many seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000))
    }

    /// The span in milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.0
    }
}

impl From<Span> for std::time::Duration {
    fn from(span: Span) -> Self {
        Self::from_millis(span.0)
    }
}

impl fmt::Display for Span {
    /// A humantime string in days and smaller, so that `90d` stays `90d`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 5] = [
            (86_400_000, "d"),
            (3_600_000, "h"),
            (60_000, "m"),
            (1_000, "s"),
            (1, "ms"),
        ];
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.0;
        let mut separator = "";
        for (size, unit) in UNITS {
            if rest >= size {
                write!(f, "{separator}{}{unit}", rest / size)?;
                rest %= size;
                separator = " ";
            }
        }
        Ok(())
    }
}

/// A lease's time to live, or a policy's limit on it: at least one millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ttl(Span);

impl Ttl {
    /// A TTL of that many seconds; `const`, for named defaults.
    pub const fn from_secs(secs: u64) -> Self {
        assert!(secs > 0, "a TTL is never zero");
        Self(Span::from_secs(secs))
    }

    /// A TTL of that span, unless it is zero.
    pub fn from_span(span: Span) -> Option<Self> {
        (span.0 > 0).then_some(Self(span))
    }

    /// Reads a humantime string such as `30m`; `field` names the parameter in the error.
    pub fn parse(text: &str, field: &str) -> Result<Self> {
        let refuse = |why: &str| {
            Error::invalid(
                field,
                format!("`{field}` {why}; use a duration such as `30s`, `30m` or `4h`"),
            )
        };
        let duration = humantime::parse_duration(text)
            .map_err(|_| refuse("is not a readable, positive duration"))?;
        let millis = u64::try_from(duration.as_millis()).map_err(|_| refuse("is too long"))?;
        Self::from_span(Span(millis)).ok_or_else(|| refuse("must be longer than zero"))
    }

    /// The span of this TTL.
    pub const fn span(self) -> Span {
        self.0
    }
}

impl fmt::Display for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Serialize for Ttl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_u64(self.0.0)
        }
    }
}

impl<'de> Deserialize<'de> for Ttl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
            // A custom serde error is shown to the caller with the field's path in front.
            Self::parse(&text, "duration").map_err(|error| de::Error::custom(error.message()))
        } else {
            let millis = u64::deserialize(deserializer)?;
            Self::from_span(Span(millis)).ok_or_else(|| de::Error::custom("zero TTL"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ttls_that_are_zero_negative_or_unreadable_are_refused() {
        for text in [
            "0s",
            "-5m",
            "forever",
            "10000000000000y",
            "",
            " ",
            "1ns",
            "30",
            "1h -5m",
            "０s",
            "9999999999999999999999s",
        ] {
            assert!(Ttl::parse(text, "ttl").is_err(), "{text:?}");
        }
        assert_eq!(Ttl::parse("30m", "ttl").unwrap(), Ttl::from_secs(1800));
        assert_eq!(Ttl::parse("1h 30m", "ttl").unwrap(), Ttl::from_secs(5400));
    }

    #[test]
    fn a_span_prints_as_it_is_read() {
        for text in ["90d", "30m", "4h", "1d 2h 3m 4s 5ms", "250ms"] {
            assert_eq!(Ttl::parse(text, "ttl").unwrap().to_string(), text);
        }
        assert_eq!(Span::from_millis(0).to_string(), "0s");
    }

    #[test]
    fn timestamps_are_rfc_3339_and_saturate() {
        let instant: Timestamp = "2026-06-13T10:30:00Z".parse().unwrap();
        assert_eq!(instant.to_string(), "2026-06-13T10:30:00Z");
        assert_eq!(
            instant.plus(Span::from_millis(5)).to_string(),
            "2026-06-13T10:30:00.005Z"
        );
        assert_eq!(
            instant.plus(Span::from_millis(u64::MAX)).to_string(),
            "9999-12-30T21:59:59.999Z"
        );
        assert!("1969-01-01T00:00:00Z".parse::<Timestamp>().is_err());
        assert!("yesterday".parse::<Timestamp>().is_err());
    }
}
