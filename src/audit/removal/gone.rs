//! What is gone of a stretch of the log, and at which places within it something can still be proven.

use std::ops::RangeInclusive;

use super::{RANGE, Removal, first_of, front, range_of, useless};
use crate::{
    audit::{merkle::perfect, tree},
    domain::error::{Code, Error, Result},
    store::{key, port::Scan},
    tables::Read,
};

/// What retention removed of a stretch of the log, of whatever workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone {
    pub first: u64,
    pub last: u64,
    /// How many of these records.
    pub records: u64,
}

impl Gone {
    /// All up to a record.
    fn front(last: u64) -> Self {
        Self {
            first: 1,
            last,
            records: last,
        }
    }

    /// Whether it is all that the log once began with.
    pub fn is_front(&self) -> bool {
        self.first == 1 && self.records == self.last
    }

    /// Whether it can be what a statement says.
    pub fn is_sound(&self) -> bool {
        let Self {
            first,
            last,
            records,
        } = *self;
        let of_one = last.checked_sub(RANGE - 1) == Some(first) && (1..=RANGE).contains(&records);
        last > 0 && last.is_multiple_of(RANGE) && (of_one || self.is_front())
    }
}

/// The last record of the front that is gone; 0 where the log begins with its first record.
pub async fn gone_through(read: &mut impl Read, public_key: &[u8; 32]) -> Result<u64> {
    let front = front(read, public_key).await?;
    Ok(front.map_or(0, |front| front.first - 1))
}

/// What retention says that it removed of these records: the front first, then range by range, each whole. A statement is
/// durable before what it names goes, so whoever reads records first and then this is told of each that was not there.
pub async fn gone(
    read: &mut impl Read,
    public_key: &[u8; 32],
    records: RangeInclusive<u64>,
) -> Result<Vec<Gone>> {
    let (from, to) = records.into_inner();
    let mut scan = Scan {
        start: key::removed(range_of(from)),
        end: key::removed(range_of(to) + 1),
        ..key::removals()
    };
    let mut all = Vec::new();
    loop {
        let page = read.range(&scan).await?;
        let Some((last, _)) = page.last() else { break };
        scan = scan.after(last);
        for (_, stored) in &page {
            let removal = Removal::open(stored, public_key)
                .ok_or_else(|| useless("what was removed of a range"))?;
            all.push(Gone {
                first: first_of(removal.range),
                last: first_of(removal.range + 1) - 1,
                records: removal.records.count(),
            });
        }
    }
    // Behind the ranges: what they say goes once the front is over them.
    let front = gone_through(read, public_key).await?;
    all.retain(|gone| gone.first > front);
    if front >= from {
        all.insert(0, Gone::front(front));
    }
    Ok(all)
}

/// Whether the hashes are there that divide the tree over the front that is gone at `size` records: of a range that went as
/// a whole those are left that its checkpoints need.
async fn is_divisible(read: &mut impl Read, front: u64, size: u64) -> Result<bool> {
    if size >= front {
        return Ok(true);
    }
    for part in perfect(0..size).into_iter().chain(perfect(size..front)) {
        match tree::range(read, part.leaves()).await {
            Ok(_) => {}
            Err(error) if error.code() == Code::Internal => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Refuses a place within the front that is gone at which nothing can be proven any more, and says where the log begins.
pub async fn divisible(
    read: &mut impl Read,
    public_key: &[u8; 32],
    field: &str,
    size: u64,
) -> Result<()> {
    let front = gone_through(read, public_key).await?;
    if is_divisible(read, front, size).await? {
        return Ok(());
    }
    let first = front + 1;
    let what = format!(
        "retention removed records 1 to {front}, and what is left of them proves nothing at record {size}: `{field}` must \
         be the size of a checkpoint, or {front} or more; the first record that is there is {first}"
    );
    Err(Error::invalid(field, what).with("first", first))
}
