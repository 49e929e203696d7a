//! The one source of randomness: injected, and fallible, because a failure must refuse and never weaken.

use crate::domain::error::{Error, Result};

/// Fills buffers with randomness fit for keys.
pub trait Entropy: Send + Sync + 'static {
    /// Fills all of `buffer`, or fails.
    fn fill(&self, buffer: &mut [u8]) -> Result<()>;
}

impl dyn Entropy {
    /// Fresh random bytes.
    pub fn bytes<const N: usize>(&self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }
}

/// The operating system's generator.
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&self, buffer: &mut [u8]) -> Result<()> {
        getrandom::fill(buffer).map_err(|error| Error::internal(error.to_string()))
    }
}
