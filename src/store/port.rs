//! The storage port: what the engine may ask of a store, and what it may rely on.
//!
//! - A transaction holds its lock keys alone from `begin` until its write set is queued. Whoever takes the
//!   same lock next reads those writes, durable or not.
//! - `commit` resolves when the whole write set and its audit records are durable, or fails with none of it
//!   acknowledged. Write sets become durable in the order in which they were queued.
//! - Every key a transaction writes belongs to a lock it holds.
//! - Reads outside a transaction see durable state only.

use std::{future::Future, pin::Pin, sync::Arc};

use smallvec::SmallVec;

use crate::domain::{
    error::{Error, Result},
    id::WorkspaceId,
};

/// The longest value under a key that is not bulky, in bytes. Engines keep such a value in one piece.
pub const MAX_INLINE_BYTES: usize = 4096;
/// The longest value under a bulky key, in bytes.
pub const MAX_BULKY_BYTES: usize = 512 * 1024;
/// The most pairs that one scan gives back.
pub const MAX_SCAN: usize = 1024;

/// An ordered key. The high bit of its first byte marks it as bulky: its value may be split by the engine.
/// Nearly all are short enough to be held in place.
pub type Key = SmallVec<[u8; 56]>;
/// A stored value.
pub type Value = Arc<[u8]>;
/// A boxed future, as object-safe async methods need it.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The first byte of bare keys: such a key says all, and its value is empty.
pub const BARE: u8 = 0x0b;

/// Whether the key is bare.
pub fn is_bare(key: &[u8]) -> bool {
    key.first() == Some(&BARE)
}

/// The first bytes of keys with small values that are made in the order of the keys, many at a time: leases, and the
/// bare keys of the open ones. Engines may keep many in one piece.
pub const CLUSTERED: std::ops::Range<u8> = 0x0a..BARE + 1;

/// Whether the key is clustered.
pub fn is_clustered(key: &[u8]) -> bool {
    key.first().is_some_and(|kind| CLUSTERED.contains(kind))
}

/// Whether the value under this key may be longer than [`MAX_INLINE_BYTES`].
pub fn is_bulky(key: &[u8]) -> bool {
    key.first().is_some_and(|kind| kind & 0x80 != 0)
}

/// What a transaction holds alone: a credential, an idempotency key, …
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LockKey {
    pub space: u8,
    pub id: [u8; 16],
}

/// A range of keys: from `start`, to before `end`.
#[derive(Debug, Clone)]
pub struct Scan {
    pub start: Key,
    pub end: Key,
    /// At most this many pairs, and at most [`MAX_SCAN`].
    pub limit: usize,
    /// Descending order, from the end.
    pub reverse: bool,
}

impl Scan {
    /// All keys with this prefix, ascending.
    pub fn prefix(prefix: &[u8], limit: usize) -> Self {
        Self {
            start: Key::from_slice(prefix),
            end: after_prefix(prefix),
            limit,
            reverse: false,
        }
    }

    /// The same range after the last pair that a scan gave back.
    #[must_use]
    pub fn after(mut self, last: &[u8]) -> Self {
        if self.reverse {
            self.end = Key::from_slice(last);
        } else {
            self.start = Key::from_slice(last);
            self.start.push(0);
        }
        self
    }
}

/// The first key after all that have this prefix.
pub fn after_prefix(prefix: &[u8]) -> Key {
    let mut end = Key::from_slice(prefix);
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    Key::from_elem(0xff, 65)
}

/// An audit record on its way into the log: encoded, not yet numbered or sealed.
#[derive(Debug, Clone)]
pub struct AuditEntry {
    pub workspace: WorkspaceId,
    pub record: Vec<u8>,
}

/// The log that a store appends audit records to, in the order of its commits.
pub trait AuditLog: Send + 'static {
    /// Numbers and seals the records of one group; gives back what to write for them.
    fn place(&mut self, records: &[AuditEntry]) -> Result<Vec<(Key, Value)>>;
}

/// Free bytes from which on the clock's mark is still written, whatever the reserve. It takes the room of one record,
/// over and over.
pub(super) const ROOM_FOR_TIME: u64 = 16 << 20;

/// Whether a store takes writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    Writable,
    /// Too little disk is free; writes are taken again when there is more.
    DiskLow {
        free_bytes: u64,
    },
    /// A write failed; a restart recovers.
    Failed {
        reason: String,
    },
    Closed,
}

impl Health {
    /// The refusal that this health means for a write.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::Writable => Ok(()),
            Self::DiskLow { free_bytes } => {
                Err(Error::storage("the disk is nearly full; free some space")
                    .with("free_bytes", *free_bytes))
            }
            Self::Failed { .. } => Err(Error::storage(
                "the store stopped taking writes after a failed one; restart the vault",
            )),
            Self::Closed => Err(Error::storage("the store is closed")),
        }
    }

    /// The same for the clock's mark alone.
    pub fn check_time(&self) -> Result<()> {
        match self {
            Self::DiskLow { free_bytes } if *free_bytes >= ROOM_FOR_TIME => Ok(()),
            other => other.check(),
        }
    }
}

/// What is called with each pair of a snapshot, in the order of the keys. Its error ends the snapshot.
pub type Visitor<'a> = dyn FnMut(&[u8], &[u8]) -> Result<()> + 'a;
/// A visitor that may be called on another thread.
pub type Visit = Box<dyn FnMut(&[u8], &[u8]) -> Result<()> + Send>;

/// A store that serves.
pub trait Store: Send + Sync + 'static {
    /// Waits until it alone holds these locks. Never begin a second transaction while holding one.
    fn begin<'a>(&'a self, locks: &'a [LockKey]) -> Boxed<'a, Result<Box<dyn Txn>>>;
    /// The latest durable value.
    fn get<'a>(&'a self, key: &'a [u8]) -> Boxed<'a, Result<Option<Value>>>;
    /// Durable pairs in order.
    fn scan<'a>(&'a self, scan: &'a Scan) -> Boxed<'a, Result<Vec<(Key, Value)>>>;
    /// Visits every pair as of one commit: all that was acknowledged before is in it, and of no write set only
    /// a part. Resolves when all that was visited is durable. The visits are made on a thread that may block.
    fn snapshot(&self, visit: Visit) -> Boxed<'_, Result<()>>;
    /// An empty file without a name on the store's own disk, which goes with its last owner.
    fn spool(&self) -> Result<std::fs::File>;
    /// Makes the present time durable, and with it all that was queued before. Taken on a disk that is nearly full too.
    fn keep_time(&self) -> Boxed<'_, Result<()>>;
    /// Whether writes are taken.
    fn health(&self) -> Health;
    /// Refuses further writes, waits for those that are queued, and lets the engine close.
    fn close(&self) -> Boxed<'_, Result<()>>;
}

/// An exclusive section and its write set. Dropped without a commit, it changes nothing.
pub trait Txn: Send {
    /// The value, this transaction's own writes included.
    fn get<'a>(&'a mut self, key: &'a [u8]) -> Boxed<'a, Result<Option<Value>>>;
    /// Pairs in order, this transaction's own writes included.
    fn scan<'a>(&'a mut self, scan: &'a Scan) -> Boxed<'a, Result<Vec<(Key, Value)>>>;
    /// Sets a value.
    fn put(&mut self, key: Key, value: Vec<u8>) -> Result<()>;
    /// Removes a value.
    fn delete(&mut self, key: Key);
    /// Queues the write set with its audit records, gives the locks back, and waits until it is durable.
    fn commit(self: Box<Self>, audit: Vec<AuditEntry>) -> Boxed<'static, Result<()>>;
}
