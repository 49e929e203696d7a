//! Records that are sealed over and over in one place: a credential's ledger with each lease, the clock's mark with
//! each group of commits. Their subkey changes by the hour of the vault's time, so that no key seals more than 2^32
//! messages, which would take 1.2 million a second.
//!
//! ```text
//! hourly = hour since the Unix epoch(4, BE) ‖ record, which has the hour as its version
//! ```
//! The hour is readable, and bound like any version: in the subkey and in the AAD. Any hour opens.

use std::sync::atomic::{AtomicU32, Ordering};

use zeroize::Zeroizing;

use super::{
    envelope::{OpenError, RecordType, Slot},
    keyring::WorkspaceKeys,
};
use crate::domain::{
    error::{Error, Result},
    time::Timestamp,
};

const HOUR_MILLIS: u64 = 3_600_000;

/// The hour that seals, of every workspace: that of the latest time which the clock's mark has told.
#[derive(Default)]
pub(super) struct Hour(AtomicU32);

impl Hour {
    fn reach(&self, now: Timestamp) {
        let hour = u32::try_from(now.as_millis() / HOUR_MILLIS).unwrap_or(u32::MAX);
        self.0.fetch_max(hour, Ordering::Relaxed);
    }

    fn now(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

impl WorkspaceKeys {
    /// The vault's time is this, or later. Whoever keeps the clock's mark says so with each one.
    pub fn reached(&self, now: Timestamp) {
        self.hour.reach(now);
    }

    /// Seals a record of which there is one per hour and place at most a few million.
    pub fn seal_hourly(&self, kind: RecordType, id: &[u8], plaintext: &[u8]) -> Result<Vec<u8>> {
        let version = self.hour.now();
        let slot = Slot { kind, id, version };
        self.seal(slot, &version.to_be_bytes(), plaintext)
    }

    /// Opens what [`Self::seal_hourly`] sealed, in whichever hour.
    pub fn open_hourly(
        &self,
        kind: RecordType,
        id: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>> {
        let (hour, record) = sealed
            .split_first_chunk::<4>()
            .ok_or_else(|| Error::internal(OpenError::Truncated(kind)))?;
        let version = u32::from_be_bytes(*hour);
        self.open(Slot { kind, id, version }, record)
    }
}
