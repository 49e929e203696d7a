//! The right edge of a tree: all that is needed to append to it and to tell its root.

use super::{Hash, Subtree, empty_root, join, node, perfect};

/// The perfect subtrees that make up a tree of `size` leaves: one for each bit of its size.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    /// From the left, which is from the largest.
    hashes: Vec<Hash>,
}

impl Frontier {
    /// The tree without leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// The tree of `size` leaves of which these are the perfect subtrees. None where their count does not fit.
    pub fn from_parts(size: u64, hashes: Vec<Hash>) -> Option<Self> {
        (hashes.len() == size.count_ones() as usize).then_some(Self { size, hashes })
    }

    /// Which subtrees it is made of, and their hashes, from the left.
    pub fn parts(&self) -> impl Iterator<Item = (Subtree, Hash)> {
        perfect(0..self.size)
            .into_iter()
            .zip(self.hashes.iter().copied())
    }

    /// How many leaves the tree has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root of the tree.
    pub fn root(&self) -> Hash {
        join(&self.hashes).unwrap_or_else(empty_root)
    }

    /// Appends a leaf.
    pub fn push(&mut self, leaf: Hash) {
        self.grow(0, leaf);
    }

    /// Appends the 2^level leaves of a perfect subtree. False, and nothing is appended, where the tree does not end at
    /// a place where one of that level begins.
    #[must_use]
    pub fn push_subtree(&mut self, level: u32, hash: Hash) -> bool {
        let fits = level < u64::BITS && self.size.trailing_zeros() >= level;
        if fits {
            self.grow(level, hash);
        }
        fits
    }

    /// Each carry of the addition size + 2^level joins two subtrees of the same size.
    fn grow(&mut self, level: u32, hash: Hash) {
        let carries = (self.size >> level).trailing_ones();
        let mut hash = hash;
        for _ in 0..carries {
            if let Some(left) = self.hashes.pop() {
                hash = node(&left, &hash);
            }
        }
        self.hashes.push(hash);
        self.size += 1 << level;
    }
}
