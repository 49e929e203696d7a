//! The one source of randomness: injected, and fallible, because a failure must refuse and never weaken.

use std::cell::RefCell;

use zeroize::{Zeroize, Zeroizing};

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

/// The operating system's generator, drawn from in pools: most requests make no system call for it. Bytes
/// leave a pool once and are wiped there.
pub struct OsEntropy;

/// Bytes drawn from the system at a time.
const POOL_BYTES: usize = 512;

struct Pool {
    bytes: Zeroizing<[u8; POOL_BYTES]>,
    used: usize,
}

thread_local! {
    static POOL: RefCell<Pool> = RefCell::new(Pool { bytes: Zeroizing::new([0; POOL_BYTES]), used: POOL_BYTES });
}

fn from_system(buffer: &mut [u8]) -> Result<()> {
    getrandom::fill(buffer).map_err(|error| Error::internal(error.to_string()))
}

impl Entropy for OsEntropy {
    fn fill(&self, buffer: &mut [u8]) -> Result<()> {
        POOL.with_borrow_mut(|pool| {
            if buffer.len() > POOL_BYTES - pool.used {
                from_system(&mut *pool.bytes)?;
                pool.used = 0;
            }
            let end = pool.used.saturating_add(buffer.len());
            let Some(fresh) = pool.bytes.get_mut(pool.used..end) else {
                return from_system(buffer);
            };
            buffer.copy_from_slice(fresh);
            fresh.zeroize();
            pool.used = end;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_byte_is_given_twice() {
        let entropy: &dyn Entropy = &OsEntropy;
        let mut seen = std::collections::HashSet::new();
        for _ in 0..1_000 {
            assert!(seen.insert(entropy.bytes::<16>().unwrap()));
        }
        let mut long = vec![0; 3 * POOL_BYTES];
        entropy.fill(&mut long).unwrap();
        assert!(
            long.chunks(16)
                .all(|chunk| seen.insert(chunk.try_into().unwrap()))
        );
    }
}
