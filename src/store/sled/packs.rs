//! Bare keys, many in one of sled's: what sled does for a key it then does for some eighty.
//!
//! ```text
//! pack  = some bare key → entries, in order: the keys from this one on that come before the next pack's
//! entry = bytes in common with the key before, for the first with the pack's own (1) ‖ length of the rest (2, BE) ‖ rest
//! ```
//! A pack is written in one piece, and one that grows too long as several in one batch: no reader misses a key.

use std::{collections::BTreeSet, ops::Bound};

use super::tree::broken;
use crate::{
    domain::error::{Error, Result},
    store::port::{Key, is_bare},
};

/// The longest pack, in bytes: half a page, so that a single change does not write much more than it needs.
const MAX_PACK_BYTES: usize = 2048;
/// The most changes of one step: bounds the batch.
const MAX_CHANGES: usize = 512;

/// A pack as it is stored.
pub(super) type Pack = (Key, Vec<u8>);

/// What becomes of the pack that the first of some changes belong to.
pub(super) struct Step {
    /// How many changes this makes.
    pub(super) changes: usize,
    pub(super) packs: Vec<Pack>,
    /// The pack of which nothing is left.
    pub(super) gone: Option<Key>,
}

/// The keys of a pack, in order.
pub(super) fn read(at: &[u8], stored: &[u8]) -> Result<Vec<Key>> {
    let damaged =
        || Error::storage("a stored value is damaged").caused_by("a pack of keys is malformed");
    let mut keys: Vec<Key> = Vec::new();
    let mut rest = stored;
    while let Some((shared, after)) = rest.split_first() {
        let (length, after) = after.split_first_chunk::<2>().ok_or_else(damaged)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (tail, after) = after.split_at_checked(length).ok_or_else(damaged)?;
        let before = keys.last().map_or(at, Vec::as_slice);
        let shared = before.get(..usize::from(*shared)).ok_or_else(damaged)?;
        let key = [shared, tail].concat();
        if key.as_slice() < before || keys.last() == Some(&key) {
            return Err(damaged());
        }
        keys.push(key);
        rest = after;
    }
    Ok(keys)
}

/// Keys, in order, as packs; the first one is at `at`, which comes after none of them.
fn write<'a>(at: &'a [u8], keys: impl Iterator<Item = &'a Key>) -> Result<Vec<Pack>> {
    let mut packs: Vec<Pack> = Vec::new();
    let mut before = at;
    for key in keys {
        let fits = |(_, entries): &Pack| entries.len() + 3 + key.len() <= MAX_PACK_BYTES;
        if !packs.last().is_some_and(fits) {
            before = if packs.is_empty() { at } else { key };
            packs.push((before.to_vec(), Vec::new()));
        }
        let Some((_, entries)) = packs.last_mut() else {
            continue;
        };
        let alike = before.iter().zip(key).take_while(|(a, b)| a == b);
        let shared = u8::try_from(alike.count()).unwrap_or(u8::MAX);
        let tail = key.get(usize::from(shared)..).unwrap_or_default();
        let length = u16::try_from(tail.len()).map_err(Error::internal)?;
        entries.push(shared);
        entries.extend_from_slice(&length.to_be_bytes());
        entries.extend_from_slice(tail);
        before = key;
    }
    Ok(packs)
}

/// The pack that a key belongs to, if there is one.
pub(super) fn find(db: &sled::Db, key: &[u8]) -> Result<Option<(Key, Vec<Key>)>> {
    let found = db.range::<&[u8], _>(..=key).next_back().transpose();
    match found.map_err(broken)? {
        Some((at, stored)) if is_bare(&at) => Ok(Some((at.to_vec(), read(&at, &stored)?))),
        _ => Ok(None),
    }
}

/// Makes the first of these changes, which are in order: a key that is to be there, or not.
pub(super) fn step(db: &sled::Db, changes: &[(&Key, bool)]) -> Result<Step> {
    let Some((first, _)) = changes.first() else {
        return Err(Error::internal("no change to make"));
    };
    let found = find(db, first)?;
    let was_there = found.is_some();
    let (at, keys) = found.unwrap_or_else(|| ((*first).clone(), Vec::new()));
    let after = (Bound::Excluded(at.as_slice()), Bound::Unbounded);
    let next = db.range::<&[u8], _>(after).next().transpose();
    let next = next.map_err(broken)?.map(|(key, _)| key);
    let next = next.filter(|key| is_bare(key));
    let of_pack = changes
        .iter()
        .take(MAX_CHANGES)
        .take_while(|(key, _)| next.as_ref().is_none_or(|next| key.as_slice() < &**next));
    let mut keys: BTreeSet<Key> = keys.into_iter().collect();
    let mut made = 0;
    for (key, present) in of_pack {
        match present {
            true => keys.insert((*key).clone()),
            false => keys.remove(*key),
        };
        made += 1;
    }
    let packs = write(&at, keys.iter())?;
    let gone = (was_there && packs.is_empty()).then_some(at);
    Ok(Step {
        changes: made,
        packs,
        gone,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> Key {
        [&[0x0b; 33][..], &number.to_be_bytes(), &[7; 14]].concat()
    }

    #[test]
    fn keys_come_back_from_packs_that_are_small() {
        let keys: Vec<_> = (0..1_000).map(|n| key(n * 3)).collect();
        let at = vec![0x0b; 20];
        let packs = write(&at, keys.iter()).unwrap();
        assert_eq!(packs[0].0, at);
        assert!(packs.len() < 20, "{}", packs.len());
        let mut back = Vec::new();
        for (at, stored) in &packs {
            assert!(stored.len() <= MAX_PACK_BYTES);
            let some = read(at, stored).unwrap();
            assert!(some.iter().all(|key| key >= at));
            back.extend(some);
        }
        assert_eq!(back, keys);
        assert!(write(&at, [].iter()).unwrap().is_empty());
    }

    #[test]
    fn keys_of_any_length_are_packed() {
        let keys: Vec<Key> = [0, 1, 2, 254, 255, 256, 300, 2000, 4000, 60_000]
            .map(|length| vec![0x0b; length + 1])
            .into();
        let packs = write(&[0x0b], keys.iter()).unwrap();
        let back = packs
            .iter()
            .flat_map(|(at, stored)| read(at, stored).unwrap());
        assert_eq!(back.collect::<Vec<_>>(), keys);
    }

    #[test]
    fn a_damaged_pack_is_an_error() {
        let keys: Vec<_> = (1..50).map(key).collect();
        let at = key(0);
        let (_, stored) = write(&at, keys.iter()).unwrap().remove(0);
        for end in 1..stored.len() {
            if let Ok(some) = read(&at, &stored[..end]) {
                assert_eq!(some, keys[..some.len()]);
            }
        }
        read(&at, &[200, 0, 1, 7]).unwrap_err();
        // The same key twice, and one before the pack's own.
        read(&at, &[55, 0, 0, 55, 0, 0]).unwrap_err();
        read(&at, &[0, 0, 1, 1]).unwrap_err();
    }
}
