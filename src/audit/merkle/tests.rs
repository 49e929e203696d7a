//! Against the vectors of Certificate Transparency's reference implementation, and against the RFC's recursive
//! definition.

use std::ops::Range;

use proptest::prelude::*;

use super::*;
use crate::crypto::tests::vectors::{hex, unhex};

/// The eight inputs of `merkle_tree_test.cc` in google/certificate-transparency, which transparency-dev/merkle tests
/// with as well.
const INPUTS: [&str; 8] = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
];

/// The roots over the first 1 to 8 of them.
const ROOTS: [&str; 8] = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

/// Inclusion proofs of the same suite: leaf (from 1), size, path.
const INCLUSIONS: [(u64, u64, &[&str]); 5] = [
    (1, 1, &[]),
    (
        1,
        8,
        &[
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        6,
        8,
        &[
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (
        3,
        3,
        &["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    ),
    (
        2,
        5,
        &[
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
];

/// Consistency proofs of the same suite: old, new, path.
const CONSISTENCIES: [(u64, u64, &[&str]); 4] = [
    (1, 1, &[]),
    (
        1,
        8,
        &[
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        6,
        8,
        &[
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (
        2,
        5,
        &[
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
];

fn leaf(data: &[u8]) -> Hash {
    Sha256::new()
        .chain_update([LEAF])
        .chain_update(data)
        .finalize()
        .into()
}

fn leaves() -> Vec<Hash> {
    INPUTS.iter().map(|data| leaf(&unhex(data))).collect()
}

fn numbered(count: u64) -> Vec<Hash> {
    (0..count).map(|at| leaf(&at.to_be_bytes())).collect()
}

/// MTH of the RFC, as it is written there.
fn mth(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => empty_root(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            node(&mth(left), &mth(right))
        }
    }
}

/// PATH of the RFC.
fn naive_path(index: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let k = leaves.len().next_power_of_two() / 2;
    let (left, right) = leaves.split_at(k);
    let (mut path, beside) = if index < k {
        (naive_path(index, left), right)
    } else {
        (naive_path(index - k, right), left)
    };
    path.push(mth(beside));
    path
}

/// SUBPROOF of the RFC.
fn naive_subproof(old: usize, leaves: &[Hash], known: bool) -> Vec<Hash> {
    if old == leaves.len() {
        return if known { Vec::new() } else { vec![mth(leaves)] };
    }
    let k = leaves.len().next_power_of_two() / 2;
    let (left, right) = leaves.split_at(k);
    let (mut proof, beside) = if old <= k {
        (naive_subproof(old, left, known), right)
    } else {
        (naive_subproof(old - k, right, false), left)
    };
    proof.push(mth(beside));
    proof
}

/// The hashes of these ranges, each joined from its perfect subtrees.
fn hashes(ranges: Vec<Range<u64>>, leaves: &[Hash]) -> Vec<Hash> {
    let over = |range: Range<u64>| mth(&leaves[range.start as usize..range.end as usize]);
    ranges
        .into_iter()
        .map(|range| {
            let parts: Vec<_> = perfect(range.clone())
                .into_iter()
                .map(|part| over(part.leaves()))
                .collect();
            let joined = join(&parts).unwrap();
            assert_eq!(joined, over(range));
            joined
        })
        .collect()
}

fn frontier(leaves: &[Hash]) -> Frontier {
    let mut frontier = Frontier::new();
    leaves.iter().for_each(|leaf| frontier.push(*leaf));
    frontier
}

#[test]
fn roots_are_those_of_the_reference() {
    let leaves = leaves();
    assert_eq!(
        hex(&frontier(&[]).root()),
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
    for (count, root) in (1..).zip(ROOTS) {
        assert_eq!(hex(&frontier(&leaves[..count]).root()), root);
    }
}

#[test]
fn proofs_are_those_of_the_reference() {
    let leaves = leaves();
    let root = |size: u64| mth(&leaves[..size as usize]);
    for (number, size, path) in INCLUSIONS {
        let proof = hashes(inclusion(number - 1, size).unwrap(), &leaves);
        assert_eq!(proof.iter().map(|hash| hex(hash)).collect::<Vec<_>>(), path);
        let leaf = &leaves[number as usize - 1];
        assert!(included(leaf, number - 1, size, &proof, &root(size)));
    }
    for (old, new, path) in CONSISTENCIES {
        let proof = hashes(consistency(old, new).unwrap(), &leaves);
        assert_eq!(proof.iter().map(|hash| hex(hash)).collect::<Vec<_>>(), path);
        assert!(consistent((old, &root(old)), (new, &root(new)), &proof));
    }
}

#[test]
fn no_proof_of_what_is_not_there() {
    assert_eq!(inclusion(0, 0), None);
    assert_eq!(inclusion(8, 8), None);
    assert_eq!(consistency(9, 8), None);
    assert_eq!(consistency(0, 8), Some(Vec::new()));
    let (one, two) = (leaf(b"one"), leaf(b"two"));
    assert!(!included(&one, 0, 0, &[], &one));
    assert!(!included(&one, 1, 1, &[], &one));
    assert!(!consistent((1, &one), (1, &two), &[]));
    assert!(!consistent((2, &one), (1, &one), &[]));
    assert!(!consistent((0, &one), (1, &two), &[]));
    assert!(consistent((0, &empty_root()), (1, &two), &[]));
    assert!(!consistent((0, &empty_root()), (1, &two), &[one]));
    assert!(!consistent((3, &one), (4, &two), &[]));
}

proptest! {
    #![proptest_config(crate::domain::hostile::cases(300))]

    /// Growing leaf by leaf, or by whole subtrees, gives the RFC's root.
    #[test]
    fn a_frontier_has_the_root_of_the_definition(size in 0u64..600, cut in 0u64..600) {
        let leaves = numbered(size);
        let grown = frontier(&leaves);
        prop_assert_eq!(grown.root(), mth(&leaves));
        let mut by_parts = Frontier::new();
        for range in [0..cut.min(size), cut.min(size)..size] {
            for part in perfect(range) {
                let leaves = part.leaves();
                let hash = mth(&leaves_of(&leaves, size));
                prop_assert!(by_parts.push_subtree(part.level, hash));
            }
        }
        prop_assert_eq!(&by_parts, &grown);
        let parts = grown.parts().map(|(_, hash)| hash).collect();
        prop_assert_eq!(Frontier::from_parts(size, parts), Some(grown));
    }

    /// Every proof is the RFC's, it is accepted, and no other is: not one with a hash changed, dropped, added or swapped,
    /// not for another leaf, place, size or root.
    #[test]
    fn inclusion_proofs_prove_one_thing(size in 1u64..300, at in any::<prop::sample::Index>(), bad in any::<prop::sample::Index>()) {
        let leaves = numbered(size);
        let index = at.index(size as usize) as u64;
        let leaf = &leaves[index as usize];
        let root = mth(&leaves);
        let proof = hashes(inclusion(index, size).unwrap(), &leaves);
        prop_assert_eq!(&proof, &naive_path(index as usize, &leaves));
        prop_assert!(included(leaf, index, size, &proof, &root));
        prop_assert!(!included(&root, index, size, &proof, &root) || size == 1);
        prop_assert!(!included(leaf, index, size, &proof, leaf) || size == 1);
        for other in (0..size).filter(|other| *other != index) {
            prop_assert!(!included(leaf, other, size, &proof, &root));
        }
        for worse in worsened(&proof, bad) {
            prop_assert!(!included(leaf, index, size, &worse, &root));
        }
    }

    #[test]
    fn consistency_proofs_prove_one_thing(size in 1u64..300, at in any::<prop::sample::Index>(), bad in any::<prop::sample::Index>()) {
        let leaves = numbered(size);
        let old = at.index(size as usize) as u64 + 1;
        let (before, after) = (mth(&leaves[..old as usize]), mth(&leaves));
        let proof = hashes(consistency(old, size).unwrap(), &leaves);
        prop_assert_eq!(&proof, &naive_subproof(old as usize, &leaves, true));
        prop_assert!(consistent((old, &before), (size, &after), &proof));
        if old < size {
            prop_assert!(!consistent((old, &after), (size, &after), &proof));
            prop_assert!(!consistent((old, &before), (size, &before), &proof));
        }
        for worse in worsened(&proof, bad) {
            prop_assert!(!consistent((old, &before), (size, &after), &worse));
        }
    }
}

fn leaves_of(range: &Range<u64>, size: u64) -> Vec<Hash> {
    numbered(size)[range.start as usize..range.end as usize].to_vec()
}

/// The proof with one fault each.
fn worsened(proof: &[Hash], at: prop::sample::Index) -> Vec<Vec<Hash>> {
    let mut worse = vec![[proof, &[leaf(b"more")]].concat()];
    if !proof.is_empty() {
        let at = at.index(proof.len());
        let mut changed = proof.to_vec();
        changed[at][31] ^= 1;
        let mut dropped = proof.to_vec();
        dropped.remove(at);
        worse.extend([changed, dropped]);
    }
    if proof.len() > 1 {
        let mut swapped = proof.to_vec();
        swapped.swap(0, proof.len() - 1);
        worse.push(swapped);
    }
    worse
}
