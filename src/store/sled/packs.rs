//! Clustered keys, many in one of sled's: what sled does for a key it then does for sixteen leases, or for eighty bare keys.
//!
//! ```text
//! pack  = some clustered key → entries, in order: the keys from this one on that come before the next pack's
//! entry = bytes in common with the key before, for the first with the pack's own (1) ‖ length of the rest (2, BE) ‖ rest
//!         ‖ length of the value (2, BE) ‖ value; the last two not where the key is bare
//! ```
//! A pack that grew too long is written as several, the last one first: cut short, keys are in two of them, and never
//! in none. INVARIANT: an entry from the next pack's key on is void. Nobody reads packs between two of those writes.

use std::ops::Bound;

use super::tree::broken;
use crate::{
    domain::error::{Error, Result},
    store::{
        overlay::Change,
        port::{Key, Value, is_bare, is_clustered},
    },
};

/// The longest pack of bare keys, in bytes: half a page, so that a single change does not write much more than it needs.
const MAX_BARE_BYTES: usize = 2048;
/// The longest pack of keys with values: a page, since most of them change with their neighbours or not at all.
const MAX_VALUED_BYTES: usize = 4096;
/// The most changes of one step, and their bytes: bounds what readers wait for.
const MAX_CHANGES: usize = 512;
const MAX_STEP_BYTES: usize = 16 << 10;

/// A pack as it is stored.
pub(super) type Pack = (Key, Vec<u8>);
/// Keys with their values, in order.
type Entries<'a> = Vec<(Key, &'a [u8])>;

/// What becomes of the pack that the first of some changes belong to.
pub(super) struct Step {
    /// How many changes this makes.
    pub(super) changes: usize,
    /// In the order in which they are to be written.
    pub(super) packs: Vec<Pack>,
    /// The pack of which nothing is left, which goes last.
    pub(super) gone: Option<Key>,
}

fn damaged() -> Error {
    Error::storage("a stored value is damaged").caused_by("a pack of keys is malformed")
}

/// A length of two bytes, and so many bytes behind it.
fn counted(rest: &[u8]) -> Result<(&[u8], &[u8])> {
    let (length, rest) = rest.split_first_chunk::<2>().ok_or_else(damaged)?;
    let length = usize::from(u16::from_be_bytes(*length));
    rest.split_at_checked(length).ok_or_else(damaged)
}

/// Shows the keys of a pack and their values, in order, until the visitor says that it has seen enough.
fn visit<'a>(
    at: &[u8],
    stored: &'a [u8],
    mut enough: impl FnMut(&Key, &'a [u8]) -> bool,
) -> Result<()> {
    let bare = is_bare(at);
    let mut key = Key::from_slice(at);
    let mut first = true;
    let mut rest = stored;
    while let Some((shared, after)) = rest.split_first() {
        let shared = usize::from(*shared);
        let (tail, after) = counted(after)?;
        let old = key.get(shared..).ok_or_else(damaged)?;
        if tail < old || (tail == old && !first) {
            return Err(damaged());
        }
        key.truncate(shared);
        key.extend_from_slice(tail);
        let (value, after) = if bare {
            (&[][..], after)
        } else {
            counted(after)?
        };
        if enough(&key, value) {
            return Ok(());
        }
        first = false;
        rest = after;
    }
    Ok(())
}

/// The keys of a pack that come before the next one's, with their values, in order.
pub(super) fn read<'a>(at: &[u8], stored: &'a [u8], next: Option<&[u8]>) -> Result<Entries<'a>> {
    let mut found = Entries::new();
    visit(at, stored, |key, value| {
        if next.is_some_and(|next| key.as_slice() >= next) {
            return true;
        }
        found.push((key.clone(), value));
        false
    })?;
    Ok(found)
}

/// Entries with changes made to them, both in order.
fn changed<'a>(
    entries: &'a Entries<'a>,
    changes: &'a [(&Key, &Change)],
) -> Vec<(&'a Key, &'a [u8])> {
    let mut made = Vec::with_capacity(entries.len() + changes.len());
    let mut kept = entries.iter().map(|(key, value)| (key, *value)).peekable();
    for (key, change) in changes {
        while let Some(entry) = kept.next_if(|(kept, _)| kept < key) {
            made.push(entry);
        }
        let _ = kept.next_if(|(kept, _)| kept == key);
        made.extend(change.as_ref().map(|value| (*key, &**value)));
    }
    made.extend(kept);
    made
}

/// Entries, in order, as packs; the first one is at `at`, which comes after none of them.
fn write<'a>(
    at: &'a [u8],
    entries: impl Iterator<Item = (&'a Key, &'a [u8])>,
) -> Result<Vec<Pack>> {
    let mut packs: Vec<Pack> = Vec::new();
    let mut before = at;
    for (key, value) in entries {
        let most = 5 + key.len() + value.len();
        let room = match is_bare(key) {
            true => MAX_BARE_BYTES,
            false => MAX_VALUED_BYTES,
        };
        let fits = |(_, pack): &Pack| pack.len() + most <= room;
        if !packs.last().is_some_and(fits) {
            before = if packs.is_empty() { at } else { key };
            packs.push((before.into(), Vec::new()));
        }
        let Some((_, pack)) = packs.last_mut() else {
            continue;
        };
        let alike = before.iter().zip(key).take_while(|(a, b)| a == b);
        let shared = u8::try_from(alike.count()).unwrap_or(u8::MAX);
        let tail = key.get(usize::from(shared)..).unwrap_or_default();
        let length = |bytes: &[u8]| u16::try_from(bytes.len()).map_err(Error::internal);
        pack.push(shared);
        pack.extend_from_slice(&length(tail)?.to_be_bytes());
        pack.extend_from_slice(tail);
        if !is_bare(key) {
            pack.extend_from_slice(&length(value)?.to_be_bytes());
            pack.extend_from_slice(value);
        }
        before = key;
    }
    Ok(packs)
}

/// The pack at the end of a range, where it is of the same kind as this key.
fn last(range: sled::Iter, key: &[u8]) -> Result<Option<(sled::IVec, sled::IVec)>> {
    let mut range = range;
    let found = range.next_back().transpose().map_err(broken)?;
    Ok(found.filter(|(at, _)| is_clustered(at) && at.first() == key.first()))
}

/// Where the pack begins that a key belongs to, if there is one.
pub(super) fn begin(db: &sled::Db, key: &[u8]) -> Result<Option<Key>> {
    let found = last(db.range::<&[u8], _>(..=key), key)?;
    Ok(found.map(|(at, _)| Key::from_slice(&at)))
}

/// The value of a clustered key.
pub(super) fn get(db: &sled::Db, key: &[u8]) -> Result<Option<Value>> {
    let Some((at, stored)) = last(db.range::<&[u8], _>(..=key), key)? else {
        return Ok(None);
    };
    let mut found = None;
    visit(&at, &stored, |one, value| {
        if one.as_slice() == key {
            found = Some(Value::from(value));
        }
        one.as_slice() >= key
    })?;
    Ok(found)
}

/// Makes the first of these changes, which are in order.
pub(super) fn step(db: &sled::Db, changes: &[(&Key, &Change)]) -> Result<Step> {
    let Some((first, _)) = changes.first() else {
        return Err(Error::internal("no change to make"));
    };
    let found = last(db.range::<&[u8], _>(..=first.as_slice()), first)?;
    let at = found
        .as_ref()
        .map_or_else(|| (*first).clone(), |(at, _)| Key::from_slice(at));
    let after = (Bound::Excluded(at.as_slice()), Bound::Unbounded);
    let next = db.range::<&[u8], _>(after).next().transpose();
    let next = next.map_err(broken)?.map(|(key, _)| key);
    // Packs of another kind begin behind all keys of this one.
    let ours = |key: &Key| {
        key.first() == at.first() && next.as_ref().is_none_or(|next| key.as_slice() < &**next)
    };
    let entries = match &found {
        Some((at, stored)) => read(at, stored, next.as_deref())?,
        None => Entries::new(),
    };
    let (mut made, mut bytes) = (0, 0);
    for (key, change) in changes.iter().take(MAX_CHANGES) {
        bytes += key.len() + change.as_ref().map_or(0, |value| value.len());
        if !ours(key) || (made > 0 && bytes > MAX_STEP_BYTES) {
            break;
        }
        made += 1;
    }
    let changes = changes.get(..made).unwrap_or_default();
    let mut packs = write(&at, changed(&entries, changes).into_iter())?;
    let gone = (found.is_some() && packs.is_empty()).then(|| at.clone());
    if gone.is_some() {
        packs.extend(without_void(db, &at)?);
    }
    packs.reverse();
    Ok(Step {
        changes: made,
        packs,
        gone,
    })
}

/// The pack before this one, which is about to go, without its entries that are void for it: they would come back.
fn without_void(db: &sled::Db, at: &[u8]) -> Result<Option<Pack>> {
    let Some((before, stored)) = last(db.range::<&[u8], _>(..at), at)? else {
        return Ok(None);
    };
    let (mut void, mut kept) = (false, Entries::new());
    visit(&before, &stored, |key, value| {
        void = key.as_slice() >= at;
        if !void {
            kept.push((key.clone(), value));
        }
        void
    })?;
    if !void {
        return Ok(None);
    }
    let kept = kept.iter().map(|(key, value)| (key, *value));
    let packs = write(&before, kept)?;
    let emptied = || (Key::from_slice(&before), Vec::new());
    Ok(Some(packs.into_iter().next().unwrap_or_else(emptied)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> Key {
        [&[0x0b; 33][..], &number.to_be_bytes(), &[7; 14]]
            .concat()
            .into()
    }

    fn bare(keys: &[Key]) -> impl Iterator<Item = (&Key, &[u8])> {
        keys.iter().map(|key| (key, &[][..]))
    }

    fn keys_of((at, stored): &Pack) -> Vec<Key> {
        let entries = read(at, stored, None).unwrap();
        entries.into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn keys_come_back_from_packs_that_are_small() {
        let keys: Vec<_> = (0..1_000).map(|n| key(n * 3)).collect();
        let at = Key::from_elem(0x0b, 20);
        let packs = write(&at, bare(&keys)).unwrap();
        assert_eq!(packs[0].0, at);
        assert!(packs.len() < 20, "{}", packs.len());
        let mut back = Vec::new();
        for pack in &packs {
            assert!(pack.1.len() <= MAX_BARE_BYTES);
            let some = keys_of(pack);
            assert!(some.iter().all(|key| *key >= pack.0));
            back.extend(some);
        }
        assert_eq!(back, keys);
        assert!(write(&at, std::iter::empty()).unwrap().is_empty());
    }

    #[test]
    fn values_come_back_with_their_keys_up_to_the_next_pack() {
        let entries: Vec<_> = (0..100_u8)
            .map(|n| (Key::from_slice(&[0x0a, n, 1]), vec![n; usize::from(n) * 20]))
            .collect();
        let entries: Entries = entries
            .iter()
            .map(|(key, value)| (key.clone(), &value[..]))
            .collect();
        let borrowed = entries.iter().map(|(key, value)| (key, *value));
        let packs = write(&[0x0a], borrowed).unwrap();
        let back = packs
            .iter()
            .flat_map(|(at, stored)| read(at, stored, None).unwrap());
        assert_eq!(back.collect::<Entries>(), entries);
        let (at, stored) = &packs[0];
        let some = read(at, stored, Some(&[0x0a, 5])).unwrap();
        assert_eq!(
            some.len(),
            5,
            "what comes from the next pack's key on is void"
        );
    }

    #[test]
    fn keys_of_any_length_are_packed() {
        let keys: Vec<Key> = [0, 1, 2, 254, 255, 256, 300, 2000, 4000, 60_000]
            .map(|length| Key::from_elem(0x0b, length + 1))
            .into();
        let packs = write(&[0x0b], bare(&keys)).unwrap();
        assert_eq!(packs.iter().flat_map(keys_of).collect::<Vec<_>>(), keys);
    }

    #[test]
    fn a_damaged_pack_is_an_error() {
        let keys: Vec<_> = (1..50).map(key).collect();
        let at = key(0);
        let (_, stored) = write(&at, bare(&keys)).unwrap().remove(0);
        for end in 1..stored.len() {
            if let Ok(some) = read(&at, &stored[..end], None) {
                let whole = bare(&keys[..some.len()]).map(|(key, value)| (key.clone(), value));
                assert_eq!(some, whole.collect::<Vec<_>>());
            }
        }
        read(&at, &[200, 0, 1, 7], None).unwrap_err();
        // The same key twice, and one before the pack's own.
        read(&at, &[55, 0, 0, 55, 0, 0], None).unwrap_err();
        read(&at, &[0, 0, 1, 1], None).unwrap_err();
        // A value that is cut off.
        read(&[0x0a], &[1, 0, 1, 7, 0, 3, 1, 2], None).unwrap_err();
    }
}
