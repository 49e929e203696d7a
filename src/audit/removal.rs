//! What retention removed from the log, said so that the public key alone proves it. The log is removed in *ranges* of
//! [`RANGE`] sealed records, which are perfect subtrees of the tree over it. Of the oldest ranges nothing is left but the
//! hashes of their subtrees; of later ones the records of some classes are gone, and their leaves stay.
//!
//! ```text
//! leasehold/v1/audit-front                                leasehold/v1/audit-removed
//! first ⟨number of the first record that is there⟩        range ⟨number, from 0⟩
//! checkpoint ⟨records it is over⟩ ⟨its digest, base64⟩    records ⟨a bit for each, the first one lowest, base64⟩
//! time ⟨RFC 3339⟩                                         checkpoint …
//!                                                         time …
//! — ⟨Ed25519 signature(64) over the lines above the blank one, base64⟩
//! ```
//!
//! INVARIANT (audit-tamper): a record that is missing and is in no such statement is a fault. A statement is durable
//! before the first record that it names is removed.

mod gone;

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};

pub use self::gone::{Gone, divisible, gone, gone_through};
use super::{
    merkle::{self, Frontier, Hash},
    tree,
    verify::Fault,
};
use crate::{
    crypto::sign::{self, SigningKey},
    domain::{
        error::{Error, Result},
        time::Timestamp,
    },
    store::key,
    tables::Read,
};

/// Records of a range: a tile of tiles, so that one hash of the stored tree is over each.
pub const RANGE: u64 = 4096;
const BITMAP_BYTES: usize = RANGE as usize / 8;
const FRONT: &str = "leasehold/v1/audit-front";
const REMOVED: &str = "leasehold/v1/audit-removed";

/// What is wrong with a record of which only the leaf is left.
pub const UNEXPLAINED: &str = "the record was removed, and retention did not say so";

/// The checkpoint under which something was removed: how many records it is over, and its digest.
pub type Under = (u64, Hash);

/// Where the log begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Front {
    /// One more than a multiple of [`RANGE`].
    pub first: u64,
    pub under: Under,
    pub time: Timestamp,
}

/// The records of a range that were removed, and of which the leaves are left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    pub range: u64,
    pub records: Marks,
    pub under: Under,
    pub time: Timestamp,
}

/// A bit for each record of a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marks(Vec<u8>);

impl Default for Marks {
    fn default() -> Self {
        Self(vec![0; BITMAP_BYTES])
    }
}

/// The range that a record is in.
pub const fn range_of(sequence: u64) -> u64 {
    sequence.saturating_sub(1) / RANGE
}

/// The first record of a range.
pub const fn first_of(range: u64) -> u64 {
    range.saturating_mul(RANGE).saturating_add(1)
}

impl Marks {
    fn place(sequence: u64) -> (usize, u8) {
        let at = sequence.saturating_sub(1) % RANGE;
        ((at / 8) as usize, 1 << (at % 8))
    }

    /// Whether a record of the range is marked.
    pub fn has(&self, sequence: u64) -> bool {
        let (byte, bit) = Self::place(sequence);
        self.0.get(byte).is_some_and(|byte| byte & bit != 0)
    }

    /// Marks a record of the range.
    pub fn mark(&mut self, sequence: u64) {
        let (byte, bit) = Self::place(sequence);
        if let Some(byte) = self.0.get_mut(byte) {
            *byte |= bit;
        }
    }

    /// How many are marked.
    fn count(&self) -> u64 {
        let ones = self.0.iter().map(|byte| u64::from(byte.count_ones()));
        ones.sum()
    }
}

/// Signs a statement.
fn signed(text: &str, key: &SigningKey) -> Result<Vec<u8>> {
    let signature = STANDARD.encode(key.sign(text.as_bytes())?);
    Ok(format!("{text}\n— {signature}\n").into_bytes())
}

/// The lines of a statement of this kind, behind its name, and its end, once the signature is good.
fn opened<'a>(kind: &str, stored: &'a [u8], public_key: &[u8; 32]) -> Option<Vec<&'a str>> {
    let note = std::str::from_utf8(stored).ok()?;
    let (text, signature) = note.split_once("\n\n— ")?;
    let text = note.get(..text.len() + 1)?;
    let signature = STANDARD.decode(signature.strip_suffix('\n')?).ok()?;
    if !sign::verifies(public_key, text.as_bytes(), &signature) {
        return None;
    }
    let lines = text.strip_prefix(kind)?.strip_prefix('\n')?;
    Some(lines.lines().collect())
}

fn under_text((size, digest): &Under, time: Timestamp) -> String {
    let digest = STANDARD.encode(digest);
    format!("checkpoint {size} {digest}\ntime {time}\n")
}

fn read_under(checkpoint: &str, time: &str) -> Option<(Under, Timestamp)> {
    let (size, digest) = checkpoint.strip_prefix("checkpoint ")?.split_once(' ')?;
    let digest = STANDARD.decode(digest).ok()?.try_into().ok()?;
    let time = time.strip_prefix("time ")?.parse().ok()?;
    Some(((size.parse().ok()?, digest), time))
}

impl Front {
    /// The statement as it is stored.
    pub fn sign(&self, key: &SigningKey) -> Result<Vec<u8>> {
        let under = under_text(&self.under, self.time);
        signed(&format!("{FRONT}\nfirst {}\n{under}", self.first), key)
    }

    /// Reads the statement; none where it is not one of the vault with this public key.
    pub fn open(stored: &[u8], public_key: &[u8; 32]) -> Option<Self> {
        let lines = opened(FRONT, stored, public_key)?;
        let [first, checkpoint, time] = lines[..] else {
            return None;
        };
        let (under, time) = read_under(checkpoint, time)?;
        let first: u64 = first.strip_prefix("first ")?.parse().ok()?;
        let fits = first % RANGE == 1 && under.0 >= first;
        fits.then_some(Self { first, under, time })
    }
}

impl Removal {
    /// The statement as it is stored.
    pub fn sign(&self, key: &SigningKey) -> Result<Vec<u8>> {
        let records = STANDARD.encode(&self.records.0);
        let (range, under) = (self.range, under_text(&self.under, self.time));
        let text = format!("{REMOVED}\nrange {range}\nrecords {records}\n{under}");
        signed(&text, key)
    }

    /// Reads the statement; none where it is not one of the vault with this public key.
    pub fn open(stored: &[u8], public_key: &[u8; 32]) -> Option<Self> {
        let lines = opened(REMOVED, stored, public_key)?;
        let [range, records, checkpoint, time] = lines[..] else {
            return None;
        };
        let (under, time) = read_under(checkpoint, time)?;
        let range: u64 = range.strip_prefix("range ")?.parse().ok()?;
        let records = STANDARD.decode(records.strip_prefix("records ")?).ok()?;
        let fits = records.len() == BITMAP_BYTES && under.0 >= first_of(range) + RANGE - 1;
        fits.then_some(Self {
            range,
            records: Marks(records),
            under,
            time,
        })
    }
}

fn useless(what: &str) -> Error {
    Error::internal(format!("the statement of {what} is not the vault's own"))
}

/// Where the log begins; none for the first record.
pub async fn front(read: &mut impl Read, public_key: &[u8; 32]) -> Result<Option<Front>> {
    let found = read.get(&key::audit_front()).await?;
    found
        .map(|stored| {
            Front::open(&stored, public_key).ok_or_else(|| useless("where the log begins"))
        })
        .transpose()
}

/// Which records of a range were removed; none where none was.
pub async fn removal(
    read: &mut impl Read,
    public_key: &[u8; 32],
    range: u64,
) -> Result<Option<Removal>> {
    let found = read.get(&key::removed(range)).await?;
    found
        .map(|stored| {
            Removal::open(&stored, public_key)
                .filter(|removal| removal.range == range)
                .ok_or_else(|| useless("what was removed of a range"))
        })
        .transpose()
}

/// The front of the log, and the tree over what came before it; the empty one where nothing did. The tree is proven by the
/// first checkpoint behind it that the log fits.
pub async fn beginning(read: &mut impl Read, public_key: &[u8; 32]) -> Result<(u64, Frontier)> {
    match front(read, public_key).await? {
        None => Ok((1, Frontier::new())),
        Some(Front { first, .. }) => Ok((first, tree::frontier(read, first - 1).await?)),
    }
}

/// Whether the tree that a checkpoint of `size` records states is what the tree over the removed front begins with.
pub async fn begins_with(
    read: &mut impl Read,
    front: &Frontier,
    (size, root): (u64, &Hash),
) -> Result<bool> {
    let mut path = Vec::new();
    for range in merkle::consistency(size, front.size()).unwrap_or_default() {
        path.push(tree::range(read, range).await?);
    }
    Ok(merkle::consistent(
        (size, root),
        (front.size(), &front.root()),
        &path,
    ))
}

/// The statements about ranges, as they are needed: records are asked for in their order.
#[derive(Debug, Default)]
pub struct Removals {
    known: BTreeMap<u64, Option<Removal>>,
}

impl Removals {
    /// All of them; what is damaged is a fault.
    pub async fn all(
        read: &mut impl Read,
        public_key: &[u8; 32],
        faults: &mut Vec<Fault>,
    ) -> Result<Self> {
        let mut known = BTreeMap::new();
        let mut scan = key::removals();
        loop {
            let page = read.range(&scan).await?;
            let Some((last, _)) = page.last() else {
                return Ok(Self { known });
            };
            scan = scan.after(last);
            for (at, stored) in &page {
                let Some(key::Retained::Removed(range)) = key::parse_retained(at) else {
                    continue;
                };
                let removal = Removal::open(stored, public_key);
                if removal.as_ref().is_none_or(|one| one.range != range) {
                    faults.push(Fault {
                        sequence: first_of(range),
                        what: useless("what was removed of a range").to_string(),
                    });
                    continue;
                }
                known.insert(range, removal);
            }
        }
    }

    /// Whether retention says that it removed this record, of those that were read.
    pub fn has(&self, sequence: u64) -> bool {
        let removal = self.known.get(&range_of(sequence)).and_then(Option::as_ref);
        removal.is_some_and(|removal| removal.records.has(sequence))
    }

    /// The same; reads the statement first.
    pub async fn tell(
        &mut self,
        read: &mut impl Read,
        public_key: &[u8; 32],
        sequence: u64,
    ) -> Result<bool> {
        let range = range_of(sequence);
        if !self.known.contains_key(&range) {
            // Those before are of no more use.
            self.known.clear();
            let removal = removal(read, public_key, range).await.ok().flatten();
            self.known.insert(range, removal);
        }
        Ok(self.has(sequence))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::crypto::{entropy::OsEntropy, tests::keyring};

    fn under() -> Under {
        (9000, [7; 32])
    }

    fn time() -> Timestamp {
        Timestamp::from_millis(1_800_000_000_123)
    }

    // INVARIANT (audit-tamper)
    #[test]
    fn statements_read_as_they_were_signed_and_no_other_way() {
        let keyring = keyring(Arc::new(OsEntropy));
        let key = keyring.audit_key();
        let public = key.public_key();
        let front = Front {
            first: RANGE + 1,
            under: under(),
            time: time(),
        };
        let mut records = Marks::default();
        [RANGE + 1, RANGE + 4, 2 * RANGE]
            .into_iter()
            .for_each(|sequence| records.mark(sequence));
        let removal = Removal {
            range: 1,
            records,
            under: under(),
            time: time(),
        };
        let (stored_front, stored) = (front.sign(key).unwrap(), removal.sign(key).unwrap());
        assert_eq!(Front::open(&stored_front, public), Some(front.clone()));
        assert_eq!(Removal::open(&stored, public), Some(removal.clone()));
        assert_eq!(Front::open(&stored, public), None, "each kind names itself");
        assert_eq!(Removal::open(&stored_front, public), None);
        for at in 0..stored.len() {
            let mut bad = stored.clone();
            bad[at] ^= 1;
            assert_ne!(Removal::open(&bad, public).as_ref(), Some(&removal), "{at}");
        }
        for at in 0..stored_front.len() {
            assert_eq!(Front::open(&stored_front[..at], public), None);
        }
        let crooked = Front {
            first: RANGE,
            ..front
        };
        assert_eq!(Front::open(&crooked.sign(key).unwrap(), public), None);
        let ahead = Removal {
            under: (2 * RANGE - 1, [7; 32]),
            ..removal
        };
        assert_eq!(
            Removal::open(&ahead.sign(key).unwrap(), public),
            None,
            "its checkpoint is not over all of the range"
        );
    }

    #[test]
    fn each_record_of_a_range_has_a_mark_of_its_own() {
        let mut marks = Marks::default();
        let marked = [1, 2, 9, RANGE / 2, RANGE];
        marked.into_iter().for_each(|sequence| marks.mark(sequence));
        let found: Vec<_> = (1..=RANGE)
            .filter(|sequence| marks.has(*sequence))
            .collect();
        assert_eq!(found, marked);
        assert_eq!((range_of(RANGE), range_of(RANGE + 1)), (0, 1));
        assert_eq!(first_of(1), RANGE + 1);
    }
}
