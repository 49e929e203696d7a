//! Text that must not leak: it zeroizes when dropped, and has no `Debug`, `Display`, `Clone`, `Serialize` or
//! `PartialEq`, so a log line, an error or an answer cannot hold it by accident.

use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use super::error::{Error, Result};

/// The longest value of a credential: 64 KiB of UTF-8.
pub const MAX_VALUE_BYTES: usize = 64 * 1024;

/// The plaintext of a credential, a handle or an API key.
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Takes ownership of the text; the caller keeps no copy.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself. Each call site says why it needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Holds a credential's value to its bounds: 1 byte to [`MAX_VALUE_BYTES`].
    pub fn check_value_bounds(&self, field: &'static str) -> Result<()> {
        if self.is_empty() {
            return Err(Error::invalid(field, format!("`{field}` is empty")));
        }
        if self.len() > MAX_VALUE_BYTES {
            return Err(Error::invalid(
                field,
                format!("`{field}` is longer than {MAX_VALUE_BYTES} bytes"),
            )
            .with("limit", MAX_VALUE_BYTES as u64));
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}
