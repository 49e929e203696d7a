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

/// Bytes of the longest timestamp: `2026-06-13T10:30:00.123Z`.
const WRITTEN_BYTES: usize = 24;

impl Timestamp {
    /// The text form, in `buffer`. Answers hold several, so they are written here digit by digit.
    fn written(self, buffer: &mut [u8; WRITTEN_BYTES]) -> &str {
        let (days, of_day) = (self.0 / 86_400_000, self.0 % 86_400_000);
        // Civil from days, by Howard Hinnant (https://howardhinnant.github.io/date_algorithms.html): years begin in
        // March, eras of 400 years on 0000-03-01. No instant is before the epoch.
        let days = days + 719_468;
        let (era, of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * of_year + 2) / 153;
        let day = of_year - (153 * shifted + 2) / 5 + 1;
        let month = if shifted < 10 {
            shifted + 3
        } else {
            shifted - 9
        };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        let parts = [
            (4, year, b'-'),
            (2, month, b'-'),
            (2, day, b'T'),
            (2, of_day / 3_600_000, b':'),
            (2, of_day / 60_000 % 60, b':'),
            (2, of_day / 1_000 % 60, b'.'),
            (3, of_day % 1_000, b'Z'),
        ];
        let mut rest = &mut buffer[..];
        for (width, mut number, end) in parts {
            let Some((digits, after)) = rest.split_at_mut_checked(width) else {
                return "";
            };
            for digit in digits.iter_mut().rev() {
                *digit = b'0' + (number % 10) as u8;
                number /= 10;
            }
            if let Some(first) = after.first_mut() {
                *first = end;
            }
            rest = after.get_mut(1..).unwrap_or_default();
        }
        let zeros = match of_day % 1_000 {
            0 => 4,
            n if n % 100 == 0 => 2,
            n if n % 10 == 0 => 1,
            _ => 0,
        };
        let length = WRITTEN_BYTES - zeros;
        if let Some(last) = buffer.get_mut(length - 1) {
            *last = b'Z';
        }
        let text = buffer.get(..length).unwrap_or_default();
        std::str::from_utf8(text).unwrap_or_default()
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, with a fraction of a second only where it is not zero.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.written(&mut [0; WRITTEN_BYTES]))
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
            serializer.serialize_str(self.written(&mut [0; WRITTEN_BYTES]))
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

/// A stretch of time with either end open: at or after `since`, and before `until`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimeRange {
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

impl TimeRange {
    /// Whether an instant lies in it.
    pub fn holds(&self, at: Timestamp) -> bool {
        self.since.is_none_or(|since| at >= since) && self.until.is_none_or(|until| at < until)
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
    fn timestamps_are_written_as_a_library_writes_them() {
        let hard = [
            0,
            1,
            999,
            1_000,
            951_782_400_000,
            951_868_799_990,
            MAX_MILLIS,
        ];
        // Steps that share no factor with a day, a year or a second: every date and fraction comes up.
        let spread = (0..200_000u64).map(|n| n * 1_266_913_337 % MAX_MILLIS);
        for millis in spread.chain(hard) {
            let library = jiff::Timestamp::from_millisecond(millis as i64).unwrap();
            let ours = Timestamp::from_millis(millis).to_string();
            assert_eq!(ours, library.to_string(), "{millis}");
        }
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
