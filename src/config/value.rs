//! How values are spelled: the same in TOML as in the text of a variable, and nothing else passes for them.

use std::{fmt, marker::PhantomData};

use serde::{Deserialize, Deserializer, de};

/// Reads a section. A derived `Deserialize` alone would take an array too, key by key.
pub fn table<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    struct Visitor<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> de::Visitor<'de> for Visitor<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a table")
        }

        fn visit_map<A: de::MapAccess<'de>>(self, entries: A) -> Result<T, A::Error> {
            T::deserialize(de::value::MapAccessDeserializer::new(entries))
        }
    }

    deserializer.deserialize_map(Visitor(PhantomData))
}

/// A boolean, from TOML or from a variable's text. The `config` crate alone would take `on`, and any number.
#[derive(Debug, Clone, Copy)]
pub struct Switch(pub bool);

/// A whole number, from TOML or from a variable's text. The `config` crate alone would take `yes`, and round.
#[derive(Debug, Clone, Copy)]
pub struct Whole(pub u64);

impl<'de> Deserialize<'de> for Switch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Switch;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`true` or `false`")
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Switch, E> {
                Ok(Switch(value))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Switch, E> {
                text.parse()
                    .map(Switch)
                    .map_err(|_| E::invalid_value(de::Unexpected::Other("text"), &self))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Whole;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number of at least 0, in digits alone")
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Whole, E> {
                Ok(Whole(value))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Whole, E> {
                u64::try_from(value).map(Whole).map_err(|_| {
                    E::invalid_value(de::Unexpected::Other("a negative number"), &self)
                })
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Whole, E> {
                text.parse()
                    .map(Whole)
                    .map_err(|_| E::invalid_value(de::Unexpected::Other("text"), &self))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}
