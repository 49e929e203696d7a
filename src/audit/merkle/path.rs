//! Proofs: of which ranges of leaves they hold the hashes, and how they are checked.

use std::ops::Range;

use super::{Hash, empty_root, node};

/// The ranges whose hashes prove that the leaf at `index` is in the tree of `size` leaves, in the order of the proof
/// (RFC 9162, section 2.1.3.1). None where there is no such leaf.
pub fn inclusion(index: u64, size: u64) -> Option<Vec<Range<u64>>> {
    if index >= size {
        return None;
    }
    let mut path = Vec::new();
    let mut tree = 0..size;
    while tree.end - tree.start > 1 {
        let middle = split(&tree);
        let (inside, beside) = if index < middle {
            (tree.start..middle, middle..tree.end)
        } else {
            (middle..tree.end, tree.start..middle)
        };
        path.push(beside);
        tree = inside;
    }
    path.reverse();
    Some(path)
}

/// The ranges whose hashes prove that the tree of `new` leaves begins with the tree of `old` leaves, in the order of the
/// proof (RFC 9162, section 2.1.4.1); none for equal trees and for the empty one. None where `old` is larger.
pub fn consistency(old: u64, new: u64) -> Option<Vec<Range<u64>>> {
    if old > new {
        return None;
    }
    let mut path = Vec::new();
    if old == 0 {
        return Some(path);
    }
    let mut tree = 0..new;
    // Whether the old tree is the whole of what is left, whose root the verifier has.
    let mut known = true;
    while tree.end != old {
        let middle = split(&tree);
        if old <= middle {
            path.push(middle..tree.end);
            tree = tree.start..middle;
        } else {
            path.push(tree.start..middle);
            tree = middle..tree.end;
            known = false;
        }
    }
    if !known {
        path.push(tree);
    }
    path.reverse();
    Some(path)
}

/// Where a tree of two or more leaves is divided: behind the largest power of two that is below its size.
fn split(tree: &Range<u64>) -> u64 {
    tree.start + (1 << (tree.end - tree.start - 1).ilog2())
}

/// Whether this proves that `leaf` stands at `index` in the tree of `size` leaves with that root (RFC 9162, section
/// 2.1.3.2).
pub fn included(leaf: &Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut at, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for beside in proof {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            hash = node(beside, &hash);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            hash = node(&hash, beside);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Whether this proves that the tree `new`, of so many leaves and with that root, begins with the tree `old` (RFC 9162,
/// section 2.1.4.2). Equal trees and the empty one need no proof, and get none.
pub fn consistent(old: (u64, &Hash), new: (u64, &Hash), proof: &[Hash]) -> bool {
    let ((first, first_root), (second, second_root)) = (old, new);
    if first == 0 || first >= second {
        let same = first == second && first_root == second_root;
        let begins = first == 0 && *first_root == empty_root();
        return proof.is_empty() && (same || begins);
    }
    let mut path = proof.iter();
    let seed = if first.is_power_of_two() {
        Some(first_root)
    } else {
        path.next()
    };
    let Some(seed) = seed else { return false };
    let (mut at, mut last) = (first - 1, second - 1);
    while at & 1 == 1 {
        at >>= 1;
        last >>= 1;
    }
    let (mut old_hash, mut new_hash) = (*seed, *seed);
    for beside in path {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            old_hash = node(beside, &old_hash);
            new_hash = node(beside, &new_hash);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = node(&new_hash, beside);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && old_hash == *first_root && new_hash == *second_root
}
