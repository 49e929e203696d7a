//! A second look at records that were sealed, without any checkpoint.

use std::ops::RangeInclusive;

use super::{
    super::{
        block,
        tree::{self, WIDTH},
    },
    behind,
    pages::Pages,
};
use crate::{
    domain::error::{Error, Result},
    store::key,
    tables::Read,
};

/// Holds the leaves of these records to those that were sealed.
pub(in crate::audit) async fn leaves(
    read: &mut impl Read,
    range: RangeInclusive<u64>,
) -> Result<()> {
    let (from, to) = range.into_inner();
    let changed = |sequence: u64| {
        Error::internal(format!("record {sequence} is not the one that was sealed"))
    };
    let mut expected = from;
    let mut tile = Vec::new();
    let mut blocks = Pages::new(behind(read, from).await?);
    while expected <= to {
        let Some((at, block)) = blocks.next(read).await? else {
            return Err(changed(expected));
        };
        let first = key::parse_audit(&at).ok_or_else(|| changed(expected))?;
        for (sequence, entry) in (first..).zip(block::entries(&block)?) {
            if sequence < expected || sequence > to {
                continue;
            }
            if tile.is_empty() || (sequence - 1).is_multiple_of(WIDTH) {
                tile = tree::tile(read, 0, (sequence - 1) / WIDTH)
                    .await?
                    .unwrap_or_default();
            }
            let sealed = tile.get(((sequence - 1) % WIDTH) as usize);
            if sequence != expected || sealed != Some(&entry.leaf(sequence).hash()) {
                return Err(changed(expected));
            }
            expected += 1;
        }
    }
    Ok(())
}
