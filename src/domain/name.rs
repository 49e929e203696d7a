//! Names and free text, each held to its bounds where it enters: past the edge only valid ones exist.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::error::{Error, Result};

/// The longest name, in bytes.
pub const MAX_NAME_BYTES: usize = 128;
/// The longest description or purpose, in bytes.
pub const MAX_TEXT_BYTES: usize = 1024;
/// The longest session id, in bytes.
pub const MAX_SESSION_BYTES: usize = 128;
/// The most metadata keys on one credential.
pub const MAX_METADATA_KEYS: usize = 64;
/// The longest metadata key, in bytes.
pub const MAX_METADATA_KEY_BYTES: usize = 128;
/// The longest metadata value, in bytes.
pub const MAX_METADATA_VALUE_BYTES: usize = 1024;
/// The most bytes in all labels of one identity, keys and values: its record is read by every authentication.
pub const MAX_LABELS_BYTES: usize = 2048;
/// The longest description, or reason for a suspension, of what is in the directory, in bytes.
pub const MAX_DIRECTORY_TEXT_BYTES: usize = 512;

fn is_name(text: &str) -> bool {
    let head = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let tail = |b: u8| head(b) || matches!(b, b'.' | b'_' | b'-');
    text.len() <= MAX_NAME_BYTES && text.bytes().next().is_some_and(head) && text.bytes().all(tail)
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(SmolStr);

        impl $name {
            /// Holds `text` to `[a-z0-9][a-z0-9._-]{0,127}`; `field` names the parameter in the error.
            pub fn parse(text: &str, field: &str) -> Result<Self> {
                if text.is_empty() {
                    return Err(Error::invalid(field, format!("`{field}` is empty")));
                }
                if is_name(text) {
                    return Ok(Self(text.into()));
                }
                Err(Error::invalid(
                    field,
                    format!("`{field}` must match [a-z0-9][a-z0-9._-]{{0,127}}"),
                ))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = SmolStr::deserialize(deserializer)?;
                Self::parse(&text, "name").map_err(|error| serde::de::Error::custom(error.message()))
            }
        }
    };
}

name!(
    /// The name of a credential, unique in its workspace.
    CredentialName
);
name!(
    /// The name of an identity, unique in its workspace.
    IdentityName
);
name!(
    /// The name of a registered issuer, unique in its workspace.
    IssuerName
);
name!(
    /// The name of a workspace, unique in the vault.
    WorkspaceName
);
name!(
    /// The name of a lease policy, which is its file's stem.
    PolicyName
);
name!(
    /// The name of a legal hold, unique in the vault.
    HoldName
);

/// Free text that people read: bounded, and without control characters but tab and newline.
pub fn check_text(text: &str, field: &str, max_bytes: usize) -> Result<()> {
    if text.len() > max_bytes {
        return Err(
            Error::invalid(field, format!("`{field}` is longer than {max_bytes} bytes"))
                .with("limit", max_bytes as u64),
        );
    }
    if text
        .chars()
        .any(|c| c.is_control() && c != '\n' && c != '\t')
    {
        return Err(Error::invalid(
            field,
            format!("`{field}` holds control characters"),
        ));
    }
    Ok(())
}

/// Facts about a credential that its keeper wrote down: filterable, shown to holders, never secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Metadata(BTreeMap<String, String>);

impl Metadata {
    /// Holds the pairs to their bounds, and `rotate_every` to a duration.
    pub fn new(pairs: BTreeMap<String, String>) -> Result<Self> {
        let metadata = Self::bounded(pairs, "metadata")?;
        metadata.rotate_every()?;
        Ok(metadata)
    }

    /// The labels of an identity, held to their bounds.
    pub fn labels(pairs: BTreeMap<String, String>) -> Result<Self> {
        let labels = Self::bounded(pairs, "labels")?;
        let bytes: usize = labels
            .iter()
            .map(|(key, value)| key.len() + value.len())
            .sum();
        if bytes > MAX_LABELS_BYTES {
            return Err(Error::invalid(
                "labels",
                format!("`labels` are longer than {MAX_LABELS_BYTES} bytes in all"),
            )
            .with("limit", MAX_LABELS_BYTES as u64));
        }
        Ok(labels)
    }

    fn bounded(pairs: BTreeMap<String, String>, field: &str) -> Result<Self> {
        if pairs.len() > MAX_METADATA_KEYS {
            return Err(Error::invalid(
                field,
                format!("`{field}` has more than {MAX_METADATA_KEYS} keys"),
            )
            .with("limit", MAX_METADATA_KEYS as u64));
        }
        for (key, value) in &pairs {
            if key.is_empty() || key.len() > MAX_METADATA_KEY_BYTES {
                return Err(Error::invalid(
                    field,
                    format!("a key of `{field}` must be 1 to {MAX_METADATA_KEY_BYTES} bytes long"),
                ));
            }
            check_text(key, field, MAX_METADATA_KEY_BYTES)?;
            check_text(value, &format!("{field}.{key}"), MAX_METADATA_VALUE_BYTES)?;
        }
        Ok(Self(pairs))
    }

    /// The value under `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// The pairs, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// How often the credential should be rotated, where its keeper said so.
    pub fn rotate_every(&self) -> Result<Option<super::time::Ttl>> {
        self.get("rotate_every")
            .map(|text| super::time::Ttl::parse(text, "metadata.rotate_every"))
            .transpose()
    }

    /// The pairs after a merge patch (RFC 7396): a given key is set, a `None` removes it.
    pub fn patched(&self, patch: BTreeMap<String, Option<String>>) -> Result<Self> {
        Self::new(self.merged(patch))
    }

    /// The same for labels.
    pub fn patched_labels(&self, patch: BTreeMap<String, Option<String>>) -> Result<Self> {
        Self::labels(self.merged(patch))
    }

    fn merged(&self, patch: BTreeMap<String, Option<String>>) -> BTreeMap<String, String> {
        let mut pairs = self.0.clone();
        for (key, value) in patch {
            match value {
                Some(value) => pairs.insert(key, value),
                None => pairs.remove(&key),
            };
        }
        pairs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_outside_the_pattern_are_refused() {
        let long = "a".repeat(MAX_NAME_BYTES + 1);
        for text in [
            "",
            "A",
            "-a",
            ".a",
            "_a",
            "..",
            "a/b",
            "a b",
            "a\0",
            "é",
            "а",
            "a\u{200b}",
            "%2e",
            &long,
        ] {
            assert!(CredentialName::parse(text, "name").is_err(), "{text:?}");
        }
        for text in ["a", "0", "a.b_c-d", &"a".repeat(MAX_NAME_BYTES)] {
            assert_eq!(CredentialName::parse(text, "name").unwrap().as_str(), text);
        }
    }

    #[test]
    fn metadata_is_bounded() {
        let pairs =
            |n: usize, len: usize| (0..n).map(|i| (i.to_string(), "x".repeat(len))).collect();
        assert!(Metadata::new(pairs(MAX_METADATA_KEYS, MAX_METADATA_VALUE_BYTES)).is_ok());
        assert!(Metadata::new(pairs(MAX_METADATA_KEYS + 1, 1)).is_err());
        assert!(Metadata::new(pairs(1, MAX_METADATA_VALUE_BYTES + 1)).is_err());
        assert!(Metadata::new([("rotate_every".into(), "soon".into())].into()).is_err());
        assert!(Metadata::new([("k".into(), "a\0".into())].into()).is_err());
    }

    #[test]
    fn a_patch_sets_and_removes() {
        let metadata =
            Metadata::new([("a".into(), "1".into()), ("b".into(), "2".into())].into()).unwrap();
        let patched = metadata
            .patched([("a".into(), None), ("c".into(), Some("3".into()))].into())
            .unwrap();
        assert_eq!(patched.iter().collect::<Vec<_>>(), [("b", "2"), ("c", "3")]);
    }
}
