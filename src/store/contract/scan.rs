//! Ranges: order, ends, pages and limits. Inside a transaction and outside, the answer is the same.

use super::{Harness, Rig, on_both};
use crate::store::port::{Key, MAX_SCAN, Scan, Store, after_prefix};

on_both!(
    keys_come_in_the_order_of_their_bytes,
    a_scan_goes_on_after_its_last_pair,
    a_page_holds_no_more_than_the_limit,
    prefixes_end_where_their_last_byte_does,
    empty_and_inverted_ranges_hold_nothing,
    long_values_come_whole,
);

const KEYS: [&[u8]; 12] = [
    b"\x01",
    b"\x01\x00",
    b"\x01\x00\x00",
    b"\x01\x01",
    b"\x01\x7f\xff",
    b"\x01\x80",
    b"\x01\xfe\xff\xff",
    b"\x01\xff",
    b"\x01\xff\x00",
    b"\x01\xff\xff",
    b"\x01\xff\xff\xff",
    b"\x02",
];

fn owned<const N: usize>(keys: [&[u8]; N]) -> Vec<Key> {
    keys.map(Key::from_slice).to_vec()
}

async fn filled<H: Harness>(keys: impl IntoIterator<Item = Key>) -> Rig<H> {
    let rig = Rig::<H>::new();
    let mut txn = rig.txn().await;
    for key in keys {
        txn.put(key.clone(), key.to_vec()).unwrap();
    }
    txn.commit(Vec::new()).await.unwrap();
    rig
}

/// What the scan gives, outside and inside of a transaction, keys only.
async fn keys<H: Harness>(rig: &Rig<H>, scan: &Scan) -> Vec<Key> {
    let outside = rig.store.scan(scan).await.unwrap();
    let mut txn = rig.txn().await;
    assert_eq!(txn.scan(scan).await.unwrap(), outside);
    // Again, with a change that lies next to the range and must not show.
    txn.delete(b"\x03"[..].into());
    txn.put(b"\x00"[..].into(), Vec::new()).unwrap();
    let aside = *scan.start <= b"\x00"[..];
    if !aside {
        assert_eq!(txn.scan(scan).await.unwrap(), outside);
    }
    outside
        .into_iter()
        .map(|(key, value)| {
            assert_eq!(*value, *key, "the value of another key");
            key
        })
        .collect()
}

async fn keys_come_in_the_order_of_their_bytes<H: Harness>() {
    let rig = filled::<H>(KEYS.iter().rev().map(|key| Key::from_slice(key))).await;
    let mut scan = Scan::prefix(b"", usize::MAX);
    assert_eq!(keys(&rig, &scan).await, owned(KEYS));
    scan.reverse = true;
    let mut descending = KEYS;
    descending.reverse();
    assert_eq!(keys(&rig, &scan).await, owned(descending));
}

async fn a_scan_goes_on_after_its_last_pair<H: Harness>() {
    let rig = filled::<H>(KEYS.iter().map(|key| Key::from_slice(key))).await;
    for reverse in [false, true] {
        for limit in 1..=KEYS.len() {
            let mut scan = Scan {
                reverse,
                ..Scan::prefix(b"\x01", limit)
            };
            let mut read = Vec::new();
            loop {
                let page = keys(&rig, &scan).await;
                let Some(last) = page.last() else { break };
                scan = scan.after(last);
                read.extend(page);
            }
            if reverse {
                read.reverse();
            }
            assert_eq!(read, owned(KEYS)[..11], "limit {limit}, reverse {reverse}");
        }
    }
}

async fn a_page_holds_no_more_than_the_limit<H: Harness>() {
    let many = MAX_SCAN as u16 + 100;
    let numbered = |number: u16| Key::from([&[1][..], &number.to_be_bytes()].concat());
    let rig = filled::<H>((0..many).map(numbered)).await;
    for (limit, expected) in [
        (0, 0),
        (1, 1),
        (1024, 1024),
        (1025, 1024),
        (usize::MAX, 1024),
    ] {
        let mut scan = Scan::prefix(b"\x01", limit);
        let page = keys(&rig, &scan).await;
        assert_eq!(page.len(), expected);
        assert!(page.first().is_none_or(|first| *first == numbered(0)));
        scan.reverse = true;
        let page = keys(&rig, &scan).await;
        assert_eq!(page.len(), expected);
        assert!(
            page.first()
                .is_none_or(|first| *first == numbered(many - 1))
        );
    }
}

async fn prefixes_end_where_their_last_byte_does<H: Harness>() {
    assert_eq!(*after_prefix(b"\x01"), b"\x02"[..]);
    assert_eq!(*after_prefix(b"\x01\xff"), b"\x02"[..]);
    assert_eq!(*after_prefix(b"\x01\xff\xff"), b"\x02"[..]);
    assert_eq!(*after_prefix(b"\x01\xfe\xff"), b"\x01\xff"[..]);
    // No first key comes after these: a bound behind every key that the vault has.
    assert!(after_prefix(b"\xff").len() > 64);
    assert!(after_prefix(b"").len() > 64);

    let behind_all = Key::from([&[0x85_u8][..], &[0xff; 60]].concat());
    let last = Key::from_elem(0xff, 64);
    let all = KEYS.iter().map(|key| Key::from_slice(key));
    let rig = filled::<H>(all.chain([behind_all.clone(), last.clone()])).await;
    for prefix in KEYS {
        let mut expected = owned(KEYS);
        expected.retain(|key| key.starts_with(prefix));
        assert_eq!(keys(&rig, &Scan::prefix(prefix, 100)).await, expected);
    }
    assert_eq!(
        keys(&rig, &Scan::prefix(b"\x85\xff", 10)).await,
        [behind_all]
    );
    assert_eq!(keys(&rig, &Scan::prefix(b"\xff\xff", 10)).await, [last]);
    assert_eq!(keys(&rig, &Scan::prefix(b"", 100)).await.len(), 14);
}

async fn empty_and_inverted_ranges_hold_nothing<H: Harness>() {
    let rig = filled::<H>(KEYS.iter().map(|key| Key::from_slice(key))).await;
    let ranges: [(&[u8], &[u8]); 5] = [
        (b"\x01", b"\x01"),
        (b"\x02", b"\x01"),
        (b"\x01\xff", b"\x01\x00"),
        (b"", b""),
        (b"\x01\x02", b"\x01\x03"),
    ];
    for (start, end) in ranges {
        for reverse in [false, true] {
            let scan = Scan {
                start: start.into(),
                end: end.into(),
                limit: 10,
                reverse,
            };
            assert!(keys(&rig, &scan).await.is_empty());
            // Also with changes about.
            let mut txn = rig.txn().await;
            txn.put(start[..].into(), b"x".to_vec()).unwrap();
            txn.delete(end[..].into());
            let inside = txn.scan(&scan).await.unwrap();
            assert_eq!(inside.len(), usize::from(start == b"\x01\x02"));
        }
    }
    // Behind the last pair of a whole scan there is nothing, in either order.
    let last = Scan::prefix(b"\x01", 10).after(b"\x01\xff\xff\xff");
    assert!(keys(&rig, &last).await.is_empty());
    let mut first = Scan::prefix(b"\x01", 10);
    first.reverse = true;
    assert!(keys(&rig, &first.after(b"\x01")).await.is_empty());
}

async fn long_values_come_whole<H: Harness>() {
    let rig = Rig::<H>::new();
    let value = |number: u8| vec![number; 1 + usize::from(number) * 1500];
    let mut txn = rig.txn().await;
    for number in 0..20 {
        txn.put([0x82, number][..].into(), value(number)).unwrap();
        txn.put([0x83, number][..].into(), vec![number]).unwrap();
    }
    txn.commit(Vec::new()).await.unwrap();
    for reverse in [false, true] {
        let scan = Scan {
            reverse,
            ..Scan::prefix(b"\x82", 15)
        };
        let pairs = rig.pairs(&scan).await;
        assert_eq!(pairs.len(), 15);
        for (key, found) in pairs {
            assert_eq!(*found, *value(key[1]));
        }
    }
    assert_eq!(rig.pairs(&Scan::prefix(b"\x83", 100)).await.len(), 20);
}
