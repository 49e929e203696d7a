//! A rate limit as JSON: a tier by its name, or a number.

use std::{fmt, num::NonZeroU32};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::domain::principal::RateLimit;

/// The highest rate limit, in requests a minute; beyond it is `unlimited`.
const MAX_RATE: u32 = 1_000_000;

/// A rate limit: a tier, or requests a minute.
pub(crate) struct RateBody(pub(super) RateLimit);

impl<'de> Deserialize<'de> for RateBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Rates;

        impl de::Visitor<'_> for Rates {
            type Value = RateLimit;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(
                    f,
                    "`free`, `starter`, `pro`, `unlimited`, or a number from 1 to {MAX_RATE}"
                )
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<RateLimit, E> {
                RateLimit::tier(text)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Other("text"), &self))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<RateLimit, E> {
                u32::try_from(number)
                    .ok()
                    .filter(|number| *number <= MAX_RATE)
                    .and_then(NonZeroU32::new)
                    .map(RateLimit::PerMinute)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Other("number"), &self))
            }
        }

        deserializer.deserialize_any(Rates).map(Self)
    }
}

impl Serialize for RateBody {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self.0.tier_name(), self.0) {
            (Some(tier), _) => serializer.serialize_str(tier),
            (None, RateLimit::PerMinute(limit)) => serializer.serialize_u32(limit.get()),
            (None, _) => serializer.serialize_none(),
        }
    }
}
