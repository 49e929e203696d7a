//! Any sequence of operations does to a store what it does to three maps: one durable, one with what is queued
//! laid over it, one with the open transaction's own writes laid over that.

use std::collections::BTreeMap;

use proptest::{collection::vec, prelude::*, sample::select};
use tokio::task::JoinHandle;

use super::{
    Harness, Rig,
    adapters::{InMemory, OnDisk},
    in_time,
    probe::{Step, Stop},
    queue,
};
use crate::{
    domain::error::Result,
    store::port::{BARE, Key, MAX_INLINE_BYTES, Scan, Txn, Value, is_bare, is_bulky},
};

#[derive(Debug, Clone)]
enum Op {
    Put(Key, usize, u8),
    Delete(Key),
    Get(Key),
    Scan(Scan),
    /// Commits and waits, or queues where the committer stands still.
    Commit,
    Drop,
    /// The committer stands still from the next write on.
    Hold(Step),
    Release,
    Reopen,
    PowerCut,
}

/// Few keys, so that operations meet; none of the engine's own.
fn key() -> impl Strategy<Value = Key> {
    let bytes = select(vec![0x00, 0x01, 0x7f, 0xff]);
    (select(vec![0x01, 0x02, BARE, 0x80, 0x85]), vec(bytes, 0..3))
        .prop_map(|(kind, rest)| [vec![kind], rest].concat().into())
}

fn length() -> impl Strategy<Value = usize> {
    prop_oneof![
        6 => 0_usize..40,
        2 => 4090_usize..4100,
        1 => 8185_usize..8200,
        1 => 12_000_usize..30_000,
    ]
}

/// A range on one side of the engine's own keys.
fn scan() -> impl Strategy<Value = Scan> {
    let limit = prop_oneof![0_usize..6, Just(usize::MAX)];
    (key(), key(), limit, any::<bool>()).prop_map(|(start, end, limit, reverse)| {
        let end = if is_bulky(&start) == is_bulky(&end) {
            end
        } else if is_bulky(&start) {
            Key::from_slice(&[0xff])
        } else {
            Key::from_slice(&[0x7e])
        };
        Scan {
            start,
            end,
            limit,
            reverse,
        }
    })
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (key(), length(), any::<u8>()).prop_map(|(key, length, byte)| Op::Put(key, length, byte)),
        5 => key().prop_map(Op::Delete),
        6 => key().prop_map(Op::Get),
        8 => scan().prop_map(Op::Scan),
        8 => Just(Op::Commit),
        2 => Just(Op::Drop),
        2 => select(vec![Step::Apply, Step::Sync]).prop_map(Op::Hold),
        2 => Just(Op::Release),
        1 => Just(Op::Reopen),
        1 => Just(Op::PowerCut),
    ]
}

type Map = BTreeMap<Key, Value>;

fn expected(map: &Map, scan: &Scan) -> Vec<(Key, Value)> {
    if scan.start >= scan.end {
        return Vec::new();
    }
    let range = map
        .range(scan.start.clone()..scan.end.clone())
        .map(|(key, value)| (key.clone(), value.clone()));
    if scan.reverse {
        range.rev().take(scan.limit).collect()
    } else {
        range.take(scan.limit).collect()
    }
}

/// A store beside its model.
struct Pair<H: Harness> {
    held: Option<Stop>,
    txn: Option<Box<dyn Txn>>,
    rig: Rig<H>,
    waiting: Vec<JoinHandle<Result<()>>>,
    durable: Map,
    queued: Map,
    own: Map,
}

impl<H: Harness> Pair<H> {
    fn new() -> Self {
        Self {
            held: None,
            txn: None,
            rig: Rig::new(),
            waiting: Vec::new(),
            durable: Map::new(),
            queued: Map::new(),
            own: Map::new(),
        }
    }

    async fn txn(&mut self) -> &mut Box<dyn Txn> {
        if self.txn.is_none() {
            self.txn = Some(self.rig.txn().await);
        }
        self.txn.as_mut().unwrap()
    }

    async fn settle(&mut self) {
        self.held = None;
        for commit in self.waiting.drain(..) {
            commit.await.unwrap().unwrap();
        }
        self.durable = self.queued.clone();
    }

    fn drop_txn(&mut self) {
        self.txn = None;
        self.own = self.queued.clone();
    }

    async fn act(&mut self, op: Op) {
        match op {
            Op::Put(key, mut length, byte) => {
                if is_bare(&key) {
                    length = 0;
                } else if !is_bulky(&key) {
                    length = length.min(MAX_INLINE_BYTES);
                }
                let value = vec![byte; length];
                self.own.insert(key.clone(), value.as_slice().into());
                self.txn().await.put(key, value).unwrap();
            }
            Op::Delete(key) => {
                self.own.remove(&key);
                self.txn().await.delete(key);
            }
            Op::Get(key) => {
                let inside = self.txn().await.get(&key).await.unwrap();
                assert!(inside.as_ref() == self.own.get(&key));
                if self.held.is_none() {
                    assert!(self.rig.value(&key).await.as_ref() == self.durable.get(&key));
                }
            }
            Op::Scan(scan) => {
                let inside = self.txn().await.scan(&scan).await.unwrap();
                assert!(inside == expected(&self.own, &scan));
                if self.held.is_none() {
                    assert!(self.rig.pairs(&scan).await == expected(&self.durable, &scan));
                }
            }
            Op::Commit => {
                let Some(txn) = self.txn.take() else { return };
                self.waiting.push(queue(txn, Vec::new()).await);
                self.queued = self.own.clone();
                if self.held.is_none() {
                    self.settle().await;
                }
            }
            Op::Drop => self.drop_txn(),
            Op::Hold(step) => {
                if self.held.is_none() {
                    self.held = Some(self.rig.control.stop_before(step));
                }
            }
            Op::Release => self.settle().await,
            Op::Reopen | Op::PowerCut => unreachable!("they replace the store"),
        }
    }

    async fn run(mut self, ops: Vec<Op>) {
        for op in ops {
            match op {
                Op::Reopen => self = self.reopened().await,
                Op::PowerCut => {
                    if self.held.is_none() {
                        self.drop_txn();
                        self.rig = self.rig.after_power_cut();
                        self.same().await;
                    }
                }
                op => self.act(op).await,
            }
        }
        self.reopened().await.same().await;
    }

    async fn reopened(mut self) -> Self {
        self.drop_txn();
        self.settle().await;
        self.rig = self.rig.reopened().await;
        self
    }

    /// All that is durable is what the model says, and nothing more.
    async fn same(&self) {
        for (start, end) in [(0x00, 0x7e), (0x80, 0xff)] {
            let scan = Scan {
                start: Key::from_slice(&[start]),
                end: Key::from_slice(&[end]),
                limit: usize::MAX,
                reverse: false,
            };
            assert!(self.rig.pairs(&scan).await == expected(&self.durable, &scan));
        }
    }
}

fn behaves_like_the_model<H: Harness>(cases: u32) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let config = ProptestConfig {
        cases,
        max_shrink_iters: 500,
        ..ProptestConfig::default()
    };
    proptest!(config, |(ops in vec(op(), 1..120))| {
        runtime.block_on(in_time(Pair::<H>::new().run(ops)));
    });
}

#[test]
fn memory_behaves_like_the_model() {
    behaves_like_the_model::<InMemory>(150);
}

#[test]
fn sled_behaves_like_the_model() {
    behaves_like_the_model::<OnDisk>(40);
}
