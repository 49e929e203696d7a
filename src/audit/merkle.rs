//! The Merkle tree of RFC 6962 (section 2.1) and RFC 9162 (section 2.1), with SHA-256: growing it, its proofs, and what
//! checks them. Pure: where the hashes of a tree are kept is up to the caller.
//!
//! ```text
//! MTH({})      = SHA-256()
//! MTH({leaf})  = leaf                                     SHA-256(0x00 ‖ …), see `leaf`
//! MTH(D[0:n])  = SHA-256(0x01 ‖ MTH(D[0:k]) ‖ MTH(D[k:n]))   k: the largest power of two below n
//! ```
//!
//! Every hash that a proof needs is that of a range of leaves which begins at a multiple of a power of two that it is not
//! longer than: such a range is made of *perfect subtrees*, 2^level leaves each, and those never change again once their
//! leaves are there.

mod frontier;
mod path;

use std::ops::Range;

use sha2::{Digest, Sha256};

pub use self::{
    frontier::Frontier,
    path::{consistency, consistent, included, inclusion},
};

/// A SHA-256 digest.
pub type Hash = [u8; 32];

/// What the bytes of a leaf and of a node begin with.
pub(super) const LEAF: u8 = 0x00;
const NODE: u8 = 0x01;

/// The hash of a node over its two halves.
pub fn node(left: &Hash, right: &Hash) -> Hash {
    Sha256::new()
        .chain_update([NODE])
        .chain_update(left)
        .chain_update(right)
        .finalize()
        .into()
}

/// The root of the tree without leaves.
pub fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

/// The 2^level leaves from `index` · 2^level on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subtree {
    pub level: u32,
    pub index: u64,
}

impl Subtree {
    /// The leaves that it is over.
    pub fn leaves(self) -> Range<u64> {
        let first = self.index << self.level;
        first..first + (1 << self.level)
    }
}

/// The largest perfect subtrees that make up a range of leaves, from the left: at most two of each level.
pub fn perfect(range: Range<u64>) -> Vec<Subtree> {
    let mut parts = Vec::new();
    let Range { mut start, end } = range;
    while start < end {
        let level = start.trailing_zeros().min((end - start).ilog2());
        parts.push(Subtree {
            level,
            index: start >> level,
        });
        start += 1 << level;
    }
    parts
}

/// The hash over a range of leaves of which these are the hashes of its perfect subtrees, as [`perfect`] names them for
/// a range that a proof asks for. None for none of them.
pub fn join(hashes: &[Hash]) -> Option<Hash> {
    let (last, rest) = hashes.split_last()?;
    Some(
        rest.iter()
            .rev()
            .fold(*last, |right, left| node(left, &right)),
    )
}

#[cfg(test)]
mod tests;
