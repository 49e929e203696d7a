//! What is stored about the sealed log, as answers: checkpoints, and proofs of inclusion and consistency.

use super::{
    block,
    checkpoint::Checkpoint,
    leaf::Leaf,
    merkle::{self, Hash},
    tree,
};
use crate::{
    crypto::keyring::Keyring,
    domain::{
        error::{Error, Result},
        id::WorkspaceId,
    },
    store::{
        key,
        port::{Key, Scan, Value},
    },
    tables::Read,
};

/// A stored checkpoint, the how manieth it is, from 1.
#[derive(Debug, Clone)]
pub struct Numbered {
    pub number: u64,
    pub checkpoint: Checkpoint,
}

/// A record's place in the tree of `size` leaves.
#[derive(Debug)]
pub struct Inclusion {
    pub leaf: Leaf,
    /// The record itself, encoded: what `leaf.content` is the digest of.
    pub encoded: Vec<u8>,
    pub size: u64,
    pub root: Hash,
    pub path: Vec<Hash>,
    /// The checkpoint over just so many records, where there is one.
    pub checkpoint: Option<Checkpoint>,
}

/// That the tree of `to` leaves begins with the tree of `from` leaves.
#[derive(Debug)]
pub struct Consistency {
    pub from: (u64, Hash),
    pub to: (u64, Hash),
    pub path: Vec<Hash>,
    /// The checkpoint over `to` records, where there is one.
    pub checkpoint: Option<Checkpoint>,
}

/// The value that a checkpoint is stored as: number(8, BE) ‖ text.
pub(super) fn stored(number: u64, checkpoint: &Checkpoint) -> Vec<u8> {
    [&number.to_be_bytes(), checkpoint.note().as_bytes()].concat()
}

/// Reads a stored checkpoint; its signature must be good, and its size that of its key.
pub(super) fn read_stored(
    at: &[u8],
    value: &[u8],
    public_key: &[u8; 32],
) -> std::result::Result<Numbered, String> {
    let malformed = || "a stored checkpoint is malformed".to_owned();
    let size = key::parse_checkpoint(at).ok_or_else(malformed)?;
    let (number, note) = value.split_first_chunk::<8>().ok_or_else(malformed)?;
    let note = std::str::from_utf8(note).map_err(|_| malformed())?;
    let checkpoint = Checkpoint::open(note, public_key)
        .map_err(|refused| format!("the checkpoint over {size} records is of no use: {refused}"))?;
    if checkpoint.statement().size != size {
        return Err(format!(
            "the checkpoint over {size} records is one over others"
        ));
    }
    Ok(Numbered {
        number: u64::from_be_bytes(*number),
        checkpoint,
    })
}

/// The newest checkpoint.
pub async fn newest(read: &mut impl Read, public_key: &[u8; 32]) -> Result<Option<Numbered>> {
    let scan = Scan {
        reverse: true,
        limit: 1,
        ..key::checkpoints(0)
    };
    let found = read.range(&scan).await?.pop();
    found.map(|pair| opened(&pair, public_key)).transpose()
}

fn opened((at, value): &(Key, Value), public_key: &[u8; 32]) -> Result<Numbered> {
    read_stored(at, value, public_key).map_err(Error::internal)
}

/// A page of checkpoints, behind the one over `after` records in the order asked for; and how many there are in all.
pub async fn page(
    read: &mut impl Read,
    public_key: &[u8; 32],
    newest_first: bool,
    after: Option<u64>,
    limit: usize,
) -> Result<(Vec<Numbered>, u64)> {
    let mut scan = Scan {
        reverse: newest_first,
        limit,
        ..key::checkpoints(0)
    };
    if let Some(after) = after {
        scan = scan.after(&key::checkpoint(after));
    }
    let mut found = Vec::new();
    while found.len() < limit {
        scan.limit = limit - found.len();
        let pairs = read.range(&scan).await?;
        let Some((last, _)) = pairs.last() else { break };
        scan = scan.after(last);
        for pair in &pairs {
            found.push(opened(pair, public_key)?);
        }
    }
    let ends = [false, true].map(|reverse| Scan {
        reverse,
        limit: 1,
        ..key::checkpoints(0)
    });
    let mut numbers = Vec::new();
    for end in &ends {
        for pair in read.range(end).await? {
            numbers.push(opened(&pair, public_key)?.number);
        }
    }
    // Numbered without a gap, so that nothing has to be counted.
    let total = match numbers[..] {
        [oldest, newest] => newest.saturating_sub(oldest) + 1,
        _ => 0,
    };
    Ok((found, total))
}

/// The checkpoint over just so many records.
pub async fn at(
    read: &mut impl Read,
    public_key: &[u8; 32],
    size: u64,
) -> Result<Option<Checkpoint>> {
    let at = key::checkpoint(size);
    let found = read.get(&at).await?;
    found
        .map(|value| opened(&(at, value), public_key).map(|found| found.checkpoint))
        .transpose()
}

async fn path(
    read: &mut impl Read,
    ranges: Option<Vec<std::ops::Range<u64>>>,
) -> Result<Vec<Hash>> {
    let mut path = Vec::new();
    for range in ranges.unwrap_or_default() {
        path.push(tree::range(read, range).await?);
    }
    Ok(path)
}

/// The proof that a record of this workspace is in the tree of `size` leaves, no more than are sealed. None where there
/// is no such record under it: one of another workspace looks the same.
pub async fn inclusion(
    read: &mut impl Read,
    keyring: &Keyring,
    workspace: WorkspaceId,
    sequence: u64,
    size: u64,
) -> Result<Option<Inclusion>> {
    if sequence == 0 || sequence > size {
        return Ok(None);
    }
    let holds = Scan {
        end: key::audit(sequence.saturating_add(1)),
        reverse: true,
        limit: 1,
        ..key::audits(0)
    };
    let Some((at, block)) = read.range(&holds).await?.pop() else {
        return Ok(None);
    };
    let first = key::parse_audit(&at).ok_or_else(|| Error::internal("malformed audit key"))?;
    let entries = block::entries(&block)?;
    let entry = (first..)
        .zip(&entries)
        .find(|(at, entry)| *at == sequence && entry.workspace == workspace);
    let Some((_, entry)) = entry else {
        return Ok(None);
    };
    if entry.is_removed() {
        return Ok(None);
    }
    let leaf = entry.leaf(sequence);
    let encoded = keyring
        .workspace(workspace)?
        .open_audit(sequence, entry.sealed)?;
    let ranges = merkle::inclusion(sequence - 1, size);
    Ok(Some(Inclusion {
        leaf,
        encoded: encoded.to_vec(),
        size,
        root: tree::range(read, 0..size).await?,
        path: path(read, ranges).await?,
        checkpoint: self::at(read, keyring.audit_key().public_key(), size).await?,
    }))
}

/// The proof that the tree of `to` leaves, no more than are sealed, begins with that of `from`, at least one and at most
/// `to`.
pub async fn consistency(
    read: &mut impl Read,
    public_key: &[u8; 32],
    from: u64,
    to: u64,
) -> Result<Consistency> {
    let ranges = merkle::consistency(from, to);
    Ok(Consistency {
        from: (from, tree::range(read, 0..from).await?),
        to: (to, tree::range(read, 0..to).await?),
        path: path(read, ranges).await?,
        checkpoint: at(read, public_key, to).await?,
    })
}
