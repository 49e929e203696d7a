//! The stored tree over the log: *tiles* of up to 64 hashes each, so that any node is one tile and a few hashes away.
//!
//! ```text
//! tile (0, n)   the leaves 64·n to 64·n + 63
//! tile (l, n)   the roots of the tiles (l − 1, 64·n) to (l − 1, 64·n + 63)
//! ```
//!
//! Only the last tile of a level has fewer than 64, and it is rewritten as it grows; a full tile never changes. Tiles are
//! plain and unsigned: whoever reads them holds their root to a checkpoint.

use std::ops::Range;

use super::merkle::{Frontier, Hash, Subtree, join, node, perfect};
use crate::{
    domain::error::{Error, Result},
    store::{key, port::Key},
    tables::Read,
};

/// Levels of the tree in one tile. A full tile, 2 KiB, stays one piece in every engine.
const HEIGHT: u32 = 6;
/// Hashes in a full tile.
pub(super) const WIDTH: u64 = 1 << HEIGHT;

fn damaged() -> Error {
    Error::internal("a tile of the tree over the log is missing or damaged")
}

/// The hashes of a tile; none where there is no such tile.
pub(super) async fn tile(
    read: &mut impl Read,
    level: u32,
    index: u64,
) -> Result<Option<Vec<Hash>>> {
    let at = key::tile(u8::try_from(level).map_err(Error::internal)?, index);
    let Some(stored) = read.get(&at).await? else {
        return Ok(None);
    };
    let (hashes, rest) = stored.as_chunks::<32>();
    if !rest.is_empty() || hashes.len() as u64 > WIDTH {
        return Err(damaged());
    }
    Ok(Some(hashes.to_vec()))
}

/// The root over two to the power of something hashes.
fn fold(hashes: &[Hash]) -> Option<Hash> {
    match hashes {
        [] => None,
        [one] => Some(*one),
        _ => {
            let (left, right) = hashes.split_at(hashes.len() / 2);
            Some(node(&fold(left)?, &fold(right)?))
        }
    }
}

/// The hash of a subtree that is stored.
async fn subtree(read: &mut impl Read, part: Subtree) -> Result<Hash> {
    let (level, height) = (part.level / HEIGHT, part.level % HEIGHT);
    let (first, count) = (part.index << height, 1u64 << height);
    let hashes = tile(read, level, first / WIDTH).await?;
    let from = (first % WIDTH) as usize;
    hashes
        .and_then(|hashes| fold(hashes.get(from..from + count as usize)?))
        .ok_or_else(damaged)
}

/// The hash over a range of leaves that a proof asks for.
pub(super) async fn range(read: &mut impl Read, range: Range<u64>) -> Result<Hash> {
    let mut hashes = Vec::new();
    for part in perfect(range) {
        hashes.push(subtree(read, part).await?);
    }
    join(&hashes).ok_or_else(damaged)
}

/// The stored tree as it was when it had `size` leaves.
pub(super) async fn frontier(read: &mut impl Read, size: u64) -> Result<Frontier> {
    let mut hashes = Vec::new();
    for part in perfect(0..size) {
        hashes.push(subtree(read, part).await?);
    }
    Frontier::from_parts(size, hashes).ok_or_else(damaged)
}

/// The last tile of each level: all that is needed to append.
#[derive(Debug, Clone, Default)]
pub(super) struct Edge {
    size: u64,
    levels: Vec<Vec<Hash>>,
    /// Tiles that were filled and not yet written.
    full: Vec<(u32, u64, Vec<Hash>)>,
}

impl Edge {
    /// The edge of the stored tree of `size` leaves.
    pub(super) async fn load(read: &mut impl Read, size: u64) -> Result<Self> {
        let mut levels = Vec::new();
        let (mut level, mut count) = (0, size);
        while count > 0 {
            let (index, used) = (count / WIDTH, (count % WIDTH) as usize);
            levels.push(if used == 0 {
                Vec::new()
            } else {
                let mut hashes = tile(read, level, index).await?.ok_or_else(damaged)?;
                if hashes.len() < used {
                    return Err(damaged());
                }
                hashes.truncate(used);
                hashes
            });
            level += 1;
            count /= WIDTH;
        }
        Ok(Self {
            size,
            levels,
            full: Vec::new(),
        })
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf.
    pub(super) fn push(&mut self, leaf: Hash) {
        let mut carried = leaf;
        for level in 0.. {
            let Some(hashes) = self.levels.get_mut(level) else {
                self.levels.push(vec![carried]);
                break;
            };
            hashes.push(carried);
            if (hashes.len() as u64) < WIDTH {
                break;
            }
            let Some(root) = fold(hashes) else { break };
            let index = self.size >> (HEIGHT * (level as u32 + 1));
            let full = std::mem::take(hashes);
            self.full.push((level as u32, index, full));
            carried = root;
        }
        self.size += 1;
    }

    /// The tree that it is the edge of.
    pub(super) fn frontier(&self) -> Result<Frontier> {
        let mut hashes = Vec::new();
        for tile in self.levels.iter().rev() {
            for part in perfect(0..tile.len() as u64) {
                let Range { start, end } = part.leaves();
                let part = tile.get(start as usize..end as usize);
                hashes.push(part.and_then(fold).ok_or_else(damaged)?);
            }
        }
        Frontier::from_parts(self.size, hashes).ok_or_else(damaged)
    }

    /// What is to be written since it was loaded or written last: the tiles that were filled, and the last of each
    /// level.
    pub(super) fn writes(&mut self) -> Result<Vec<(Key, Vec<u8>)>> {
        let last = self.levels.iter().enumerate().map(|(level, hashes)| {
            let index = self.size >> (HEIGHT * (level as u32 + 1));
            (level as u32, index, hashes.clone())
        });
        let mut writes = Vec::new();
        for (level, index, hashes) in std::mem::take(&mut self.full).into_iter().chain(last) {
            if !hashes.is_empty() {
                let level = u8::try_from(level).map_err(Error::internal)?;
                writes.push((key::tile(level, index), hashes.concat()));
            }
        }
        Ok(writes)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        audit::leaf::digest,
        store::port::{Boxed, Scan, Value},
    };

    #[derive(Default)]
    struct Stored(BTreeMap<Key, Value>);

    impl Read for Stored {
        fn get<'a>(&'a mut self, key: &'a [u8]) -> Boxed<'a, Result<Option<Value>>> {
            Box::pin(std::future::ready(Ok(self.0.get(key).cloned())))
        }

        fn range<'a>(&'a mut self, _: &'a Scan) -> Boxed<'a, Result<Vec<(Key, Value)>>> {
            Box::pin(std::future::ready(Ok(Vec::new())))
        }
    }

    fn leaf(number: u64) -> Hash {
        digest(&number.to_be_bytes())
    }

    fn now<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(work)
    }

    proptest! {
        #![proptest_config(crate::domain::hostile::cases(20))]

        /// Whatever is appended and written in whatever steps, what is stored is the one tree over it.
        #[test]
        fn the_stored_tree_is_the_tree(steps in prop::collection::vec(1u64..1500, 1..8), ends in any::<[prop::sample::Index; 4]>()) {
            let (mut stored, mut edge) = (Stored::default(), Edge::default());
            let mut trees = vec![Frontier::new()];
            for step in steps {
                for _ in 0..step {
                    edge.push(leaf(edge.size()));
                    let mut next = trees.last().unwrap().clone();
                    next.push(leaf(next.size()));
                    trees.push(next);
                }
                stored.0.extend(edge.writes().unwrap().into_iter().map(|(at, tile)| (at, tile.into())));
                prop_assert_eq!(&edge.frontier().unwrap(), trees.last().unwrap());
                // A restart goes on with what is stored.
                edge = now(Edge::load(&mut stored, edge.size())).unwrap();
                prop_assert_eq!(&edge.frontier().unwrap(), trees.last().unwrap());
            }
            let size = edge.size();
            for end in ends {
                let then = end.index(size as usize) as u64 + 1;
                prop_assert_eq!(&now(frontier(&mut stored, then)).unwrap(), &trees[then as usize]);
                let old = now(Edge::load(&mut stored, then)).unwrap();
                prop_assert_eq!(&old.frontier().unwrap(), &trees[then as usize]);
                let root = trees[then as usize].root();
                for path in [super::super::merkle::inclusion(then - 1, size), super::super::merkle::consistency(then, size)] {
                    let mut proof = Vec::new();
                    for part in path.unwrap() {
                        proof.push(now(range(&mut stored, part)).unwrap());
                    }
                    let whole = trees[size as usize].root();
                    let proves = super::super::merkle::included(&leaf(then - 1), then - 1, size, &proof, &whole)
                        || super::super::merkle::consistent((then, &root), (size, &whole), &proof);
                    prop_assert!(proves);
                }
            }
        }
    }

    #[test]
    fn damaged_tiles_are_errors() {
        let mut stored = Stored::default();
        let mut edge = Edge::default();
        (0..70).for_each(|number| edge.push(leaf(number)));
        stored.0.extend(
            edge.writes()
                .unwrap()
                .into_iter()
                .map(|(at, tile)| (at, tile.into())),
        );
        assert!(now(frontier(&mut stored, 70)).is_ok());
        assert!(now(frontier(&mut stored, 71)).is_err());
        assert!(now(Edge::load(&mut stored, 71)).is_err());
        let tile = stored.0.get_mut(&key::tile(0, 1)).unwrap();
        *tile = tile[1..].into();
        assert!(now(frontier(&mut stored, 70)).is_err());
    }
}
