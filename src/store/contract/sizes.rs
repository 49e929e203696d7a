//! How long a value may be, and that every length comes back as it went in.

use super::{Harness, Rig, on_both, probe::Step};
use crate::{
    domain::error::Code,
    store::port::{MAX_BULKY_BYTES, MAX_INLINE_BYTES, Scan, is_bulky},
};

on_both!(
    a_value_has_a_longest_length,
    every_length_comes_back,
    a_value_may_grow_shrink_and_go,
    many_long_values_in_one_write_set,
);

const LENGTHS: [usize; 12] = [
    0,
    1,
    2,
    4094,
    4095,
    4096,
    4097,
    2 * 4096 - 1,
    2 * 4096,
    2 * 4096 + 1,
    MAX_BULKY_BYTES - 1,
    MAX_BULKY_BYTES,
];

/// Bytes that show when two pieces are exchanged or one is of another value.
fn value(length: usize, seed: u8) -> Vec<u8> {
    (0..length)
        .map(|at| (at / 251) as u8 ^ (at as u8) ^ seed)
        .collect()
}

async fn a_value_has_a_longest_length<H: Harness>() {
    assert!(!is_bulky(b""));
    assert!(!is_bulky(b"\x7f\xff"));
    assert!(is_bulky(b"\x80"));
    let rig = Rig::<H>::new();
    let mut txn = rig.txn().await;
    for (key, longest) in [(b"\x01a", MAX_INLINE_BYTES), (b"\x81a", MAX_BULKY_BYTES)] {
        let refused = txn.put(key[..].into(), vec![0; longest + 1]).unwrap_err();
        assert_eq!(refused.code(), Code::Internal);
        assert_eq!(txn.get(key).await.unwrap(), None);
        txn.put(key[..].into(), vec![0; longest]).unwrap();
    }
    txn.commit(Vec::new()).await.unwrap();
    let rig = rig.reopened().await;
    assert_eq!(rig.value(b"\x01a").await.unwrap().len(), MAX_INLINE_BYTES);
    assert_eq!(rig.value(b"\x81a").await.unwrap().len(), MAX_BULKY_BYTES);
}

async fn every_length_comes_back<H: Harness>() {
    let mut rig = Rig::<H>::new();
    let keys = |length: usize| {
        let inline = (length <= MAX_INLINE_BYTES).then_some(0x01_u8);
        [Some(0x81), inline]
            .into_iter()
            .flatten()
            .map(move |kind| [&[kind][..], &(length as u32).to_be_bytes()].concat())
    };
    let mut txn = rig.txn().await;
    for length in LENGTHS {
        keys(length).for_each(|key| txn.put(key.into(), value(length, 1)).unwrap());
    }
    let stop = rig.control.stop_before(Step::Apply);
    let commit = super::queue(txn, Vec::new()).await;
    // From the overlay, from the engine, and after a restart.
    let mut next = rig.txn().await;
    for length in LENGTHS {
        for key in keys(length) {
            let found = next.get(&key).await.unwrap().unwrap();
            assert!(*found == *value(length, 1), "length {length}");
        }
    }
    drop(next);
    stop.release();
    commit.await.unwrap().unwrap();
    for _ in 0..2 {
        for length in LENGTHS {
            for key in keys(length) {
                let found = rig.value(&key).await.unwrap();
                assert!(*found == *value(length, 1), "length {length}");
            }
        }
        rig = rig.reopened().await;
    }
}

async fn a_value_may_grow_shrink_and_go<H: Harness>() {
    let rig = Rig::<H>::new();
    let key = b"\x81a";
    for (round, length) in [0, 20_000, 4095, 4096, 100_000, 4097, 3, 50_000]
        .into_iter()
        .enumerate()
    {
        let value = value(length, round as u8);
        rig.write(&[(key, Some(&value))]).await;
        assert!(*rig.value(key).await.unwrap() == *value);
        if round % 3 == 2 {
            rig.write(&[(key, None)]).await;
            assert_eq!(rig.value(key).await, None);
        }
    }
    let rig = rig.reopened().await;
    let pairs = rig.pairs(&Scan::prefix(b"\x81", 10)).await;
    assert!(*pairs[0].1 == *value(50_000, 7));
}

async fn many_long_values_in_one_write_set<H: Harness>() {
    let rig = Rig::<H>::new();
    let mut txn = rig.txn().await;
    for number in 0..8_u8 {
        txn.put([0x82, number][..].into(), value(MAX_BULKY_BYTES, number))
            .unwrap();
    }
    txn.commit(Vec::new()).await.unwrap();
    let rig = rig.reopened().await;
    for number in 0..8_u8 {
        let found = rig.value(&[0x82, number]).await.unwrap();
        assert!(*found == *value(MAX_BULKY_BYTES, number));
    }
}
