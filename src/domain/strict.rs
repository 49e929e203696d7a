//! Reading objects strictly. Derived `Deserialize` also takes a JSON array for a struct, by position, and
//! keeps the last of two equal keys of a map; people who send that made a mistake, and are told.

use std::{borrow::Cow, collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};

/// A struct that is read from an object only. Compact formats, which have no objects, are not affected.
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Objects<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Objects<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }

        if deserializer.is_human_readable() {
            deserializer.deserialize_map(Objects(PhantomData)).map(Self)
        } else {
            T::deserialize(deserializer).map(Self)
        }
    }
}

/// For `#[serde(deserialize_with)]`: an object, or null.
pub fn optional_object<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Ok(Option::<Object<T>>::deserialize(deserializer)?.map(|object| object.0))
}

/// For `#[serde(deserialize_with)]` with a default of none: tells a null from what is absent.
pub fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// A map whose keys are all different.
pub struct UniqueMap<V>(pub BTreeMap<String, V>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for UniqueMap<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Maps<V>(PhantomData<V>);

        impl<'de, V: Deserialize<'de>> Visitor<'de> for Maps<V> {
            type Value = BTreeMap<String, V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<String, V>()? {
                    if pairs.insert(key, value).is_some() {
                        return Err(de::Error::custom("a key is given twice"));
                    }
                }
                Ok(pairs)
            }
        }

        deserializer.deserialize_map(Maps(PhantomData)).map(Self)
    }
}

/// What serde says that it expected, in the words of who writes JSON or TOML and knows no Rust.
pub fn expected(what: &str) -> Cow<'_, str> {
    let most = match what {
        "a sequence" => return Cow::Borrowed("an array"),
        "a map" => return Cow::Borrowed("an object"),
        "u8" => u64::from(u8::MAX),
        "u16" => u64::from(u16::MAX),
        "u32" => u64::from(u32::MAX),
        "u64" | "usize" => u64::MAX,
        other => return Cow::Borrowed(other),
    };
    Cow::Owned(format!("a whole number from 0 to {most}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Point {
        #[expect(dead_code, reason = "only its reading is tested")]
        x: u8,
    }

    #[test]
    fn arrays_are_no_objects_and_keys_are_unique() {
        assert!(serde_json::from_str::<Object<Point>>(r#"{"x":1}"#).is_ok());
        assert!(serde_json::from_str::<Object<Point>>("[1]").is_err());
        assert!(serde_json::from_str::<UniqueMap<u8>>(r#"{"a":1,"b":1}"#).is_ok());
        assert!(serde_json::from_str::<UniqueMap<u8>>(r#"{"a":1,"a":1}"#).is_err());
    }
}
