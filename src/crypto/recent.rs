//! Ciphers that were derived lately: a record that is used over and over does not pay for its subkey each time.
//!
//! An entry is what its whole place derives to, so nothing has to be dropped when records change. Each place has one
//! seat in a table, which the last one that came keeps; ids are random, and so are the seats. Subkeys only, no
//! plaintext, and nothing that the keys in this process's memory do not derive anyway.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{
    aead::Cipher,
    envelope::{RecordType, Slot},
};
use crate::domain::{error::Result, id::WorkspaceId};

/// At some 800 bytes each: 3 MiB.
const SEATS: usize = 4096;
/// The longest id of a record that is remembered: a lease's, with its credential's.
const MAX_ID_BYTES: usize = 32;

/// The place of a record, and the number of the key that its subkey comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    workspace: WorkspaceId,
    key: u32,
    kind: RecordType,
    version: u32,
    id: [u8; MAX_ID_BYTES],
    id_bytes: usize,
}

impl Place {
    /// None for a record that is used too seldom to be remembered.
    fn of(workspace: WorkspaceId, key: u32, slot: &Slot<'_>) -> Option<Self> {
        if !matches!(
            slot.kind,
            RecordType::Lease | RecordType::Ledger | RecordType::Dek | RecordType::Clock
        ) {
            return None;
        }
        let mut id = [0; MAX_ID_BYTES];
        id.get_mut(..slot.id.len())?.copy_from_slice(slot.id);
        Some(Self {
            workspace,
            key,
            kind: slot.kind,
            version: slot.version,
            id,
            id_bytes: slot.id.len(),
        })
    }

    fn seat(&self) -> usize {
        let (words, _) = self.id.as_chunks::<8>();
        let mixed = words.iter().fold(self.kind as u64, |mixed, word| {
            (mixed.rotate_left(23) ^ u64::from_le_bytes(*word)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        });
        // The high bits depend on all of the id.
        (mixed >> 48) as usize % SEATS
    }
}

type Seat = Mutex<Option<(Place, Arc<Cipher>)>>;

pub(super) struct RecentCiphers(Box<[Seat]>);

impl Default for RecentCiphers {
    fn default() -> Self {
        Self((0..SEATS).map(|_| Seat::default()).collect())
    }
}

impl RecentCiphers {
    /// The cipher of a record: remembered, or derived now.
    pub(super) fn get_or(
        &self,
        workspace: WorkspaceId,
        key: u32,
        slot: &Slot<'_>,
        derive: impl FnOnce() -> Result<Cipher>,
    ) -> Result<Arc<Cipher>> {
        let Some(place) = Place::of(workspace, key, slot) else {
            return derive().map(Arc::new);
        };
        let Some(seat) = self.0.get(place.seat()) else {
            return derive().map(Arc::new);
        };
        let taken = || -> MutexGuard<'_, _> { seat.lock().unwrap_or_else(PoisonError::into_inner) };
        if let Some((known, cipher)) = &*taken()
            && *known == place
        {
            return Ok(cipher.clone());
        }
        let cipher = Arc::new(derive()?);
        let before = taken().replace((place, cipher.clone()));
        // Wiped outside the lock.
        drop(before);
        Ok(cipher)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{crypto::aead::NONCE_BYTES, domain::error::Error};

    fn slot(kind: RecordType, id: &[u8], version: u32) -> Slot<'_> {
        Slot { kind, id, version }
    }

    /// What a cipher makes of a message tells which one it is.
    fn mark(cipher: &Cipher) -> Vec<u8> {
        let mut sealed = Vec::new();
        cipher
            .seal_into(&mut sealed, &[0; NONCE_BYTES], &[], b"mark")
            .unwrap();
        sealed
    }

    fn cipher(n: u8) -> Cipher {
        Cipher::new(&zeroize::Zeroizing::new([n; 32]))
    }

    #[test]
    fn a_cipher_serves_for_its_own_place_alone() {
        let recent = RecentCiphers::default();
        let (one, other) = (WorkspaceId::from_bytes([1; 16]), WorkspaceId::SYSTEM);
        let (long, short) = ([7; 32], [7; 16]);
        let lease = slot(RecordType::Lease, &long, 0);
        let closed = || -> Result<Cipher> { Err(Error::internal("derived")) };
        let made = recent.get_or(one, 1, &lease, || Ok(cipher(9))).unwrap();
        let again = recent.get_or(one, 1, &lease, closed).unwrap();
        assert_eq!(mark(&again), mark(&made));
        // Another workspace, key, kind, version or id: derived anew, though it may have the same seat.
        assert!(recent.get_or(other, 1, &lease, closed).is_err());
        assert!(recent.get_or(one, 2, &lease, closed).is_err());
        for slot in [
            slot(RecordType::Ledger, &long, 0),
            slot(RecordType::Lease, &long, 1),
            slot(RecordType::Lease, &short, 0),
            slot(RecordType::Lease, &[8; 32], 0),
            slot(RecordType::Lease, &[7; 33], 0),
            slot(RecordType::Credential, &long, 0),
        ] {
            assert!(recent.get_or(one, 1, &slot, closed).is_err(), "{slot:?}");
        }
    }

    #[test]
    fn a_seat_is_kept_by_whoever_came_last() {
        let recent = RecentCiphers::default();
        let id = [7; 32];
        let lease = slot(RecordType::Lease, &id, 0);
        for key in [1, 2, 1] {
            let made = recent.get_or(WorkspaceId::SYSTEM, key, &lease, || Ok(cipher(key as u8)));
            assert_eq!(mark(&made.unwrap()), mark(&cipher(key as u8)));
        }
    }

    #[test]
    fn seats_are_spread_over_the_table() {
        let mut seats = std::collections::HashSet::new();
        for n in 0..SEATS as u64 {
            let mut id = [0; 32];
            id[8..16].copy_from_slice(&n.wrapping_mul(0xa076_1d64_78bd_642f).to_be_bytes());
            let place = Place::of(WorkspaceId::SYSTEM, 1, &slot(RecordType::Lease, &id, 0));
            seats.insert(place.unwrap().seat());
        }
        assert!(seats.len() > SEATS / 2, "{}", seats.len());
    }
}
