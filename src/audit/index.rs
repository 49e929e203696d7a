//! The index of history: for each term of a record (its event, its actor, its lease, …) the sequence numbers of the
//! records that have it.
//!
//! A follower reads the log behind the commit, so the index costs an operation nothing. It is a log-structured merge
//! tree: what is newest is in memory, then come *runs*, each over a row of sequence numbers, and as many runs of one
//! level as [`Limits::fan`] are merged into one of the next. One commit puts a run in the place of what it was made
//! of; what a crash leaves over is swept at the next start. A query looks at all runs, at what is in memory, and at
//! the records of the log that nobody indexed yet, so it never misses what was acknowledged.
//!
//! The index holds nothing that is not in the log: one that is lost or damaged is made anew.

mod follow;
mod format;
mod list;
mod memory;
mod merge;
mod run;
pub mod terms;
#[cfg(test)]
mod tests;

use std::sync::{
    Arc, PoisonError, RwLock,
    atomic::{AtomicBool, Ordering},
};

use serde::{Deserialize, Serialize};

pub use self::follow::Follower;
pub(super) use self::{
    format::Segment,
    list::Walk,
    run::{Part, Shelf},
};
use self::{memory::Memory, run::Run, terms::Plan};
use crate::{
    crypto::{
        envelope::{RecordType, Slot},
        keyring::Keyring,
    },
    domain::{
        error::{Error, Result},
        id::WorkspaceId,
    },
    store::{codec, key},
};

/// How the index is cut.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Records that are gathered in memory for a run: bounds memory, to some 4 MB, and the records read again at a start.
    pub run_records: u32,
    /// Runs of one level that are merged into one of the next.
    pub fan: usize,
    /// The highest level: bounds what is written at a time, and keeps offsets within 32 bits.
    pub max_level: u8,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            run_records: 8192,
            fan: 16,
            max_level: 4,
        }
    }
}

/// The index, as queries and the follower share it.
pub struct Index {
    keyring: Arc<Keyring>,
    limits: Limits,
    shared: RwLock<Shared>,
    /// Something in it could not be read: the follower makes it anew.
    distrusted: AtomicBool,
}

/// All that is indexed: runs in the order of their records, and what follows the last one.
#[derive(Default)]
struct Shared {
    runs: Vec<Arc<Run>>,
    memory: Memory,
}

/// What the store remembers of the index.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The first sequence number that no run covers.
    pub next: u64,
    /// The number that the next run gets.
    pub next_run: u64,
    pub runs: Vec<RunMeta>,
}

/// A run of the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunMeta {
    pub number: u64,
    pub level: u8,
    /// It covers the records from `start` to before `end`.
    pub start: u64,
    pub end: u64,
}

const STATE_SLOT: Slot<'static> = Slot {
    kind: RecordType::AuditIndexState,
    id: &[],
    version: 0,
};

/// Reads what the store remembers of the index.
pub fn open_state(keyring: &Keyring, sealed: &[u8]) -> Result<State> {
    let keys = keyring.workspace(WorkspaceId::SYSTEM)?;
    codec::decode(&keys.open(STATE_SLOT, sealed)?).map_err(Error::internal)
}

fn seal_state(keyring: &Keyring, state: &State) -> Result<Vec<u8>> {
    let keys = keyring.workspace(WorkspaceId::SYSTEM)?;
    keys.seal(STATE_SLOT, &[], &codec::encode(state)?)
}

/// Opens a page of a run, which lies under this key. Bytes, and no more than that they are authentic.
pub fn open_page(keyring: &Keyring, at: &[u8], sealed: &[u8]) -> Result<()> {
    let (run, layer, number) = key::parse_audit_index_page(at)
        .ok_or_else(|| Error::internal("malformed key of the audit index"))?;
    run::open_page(keyring, (run, layer, number), sealed).map(drop)
}

impl Index {
    /// An empty index, until a follower fills it.
    pub fn new(keyring: Arc<Keyring>, limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            keyring,
            limits,
            shared: RwLock::default(),
            distrusted: AtomicBool::new(false),
        })
    }

    /// What is indexed now, as far as the plan needs it: parts in the order of their records, and where they end.
    pub(super) fn view(&self, plan: &Plan) -> (Vec<Part>, u64) {
        let shared = self.shared.read().unwrap_or_else(PoisonError::into_inner);
        let stored = shared.runs.iter().map(|run| Part::stored(run.clone()));
        let mut parts: Vec<_> = stored.collect();
        parts.extend(shared.memory.part(plan));
        (parts, shared.memory.end())
    }

    /// Tells the follower to make the index anew.
    pub(super) fn distrust(&self) {
        self.distrusted.store(true, Ordering::Relaxed);
    }

    fn change<T>(&self, change: impl FnOnce(&mut Shared) -> T) -> T {
        let mut shared = self.shared.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut shared)
    }

    fn look<T>(&self, look: impl FnOnce(&Shared) -> T) -> T {
        look(&self.shared.read().unwrap_or_else(PoisonError::into_inner))
    }
}
