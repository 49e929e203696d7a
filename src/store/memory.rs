//! An engine in memory, with faults on demand: for tests and simulation.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    local::{Backend, LocalStore},
    overlay::{WriteSet, bounds},
    port::{AuditLog, Key, Scan, Value, Visitor},
    spool,
};
use crate::domain::error::{Error, Result};

/// What goes wrong at the next write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `apply` fails and changes nothing.
    Apply,
    /// `apply` tears: every other change of the group is in memory, none is durable.
    Torn,
    /// `apply` works and `sync` fails: in memory, not durable.
    Sync,
    /// `sync` works and says that it failed: durable, and nobody may be told so.
    Unsaid,
}

/// Free bytes of a disk that looks nearly full: the clock's mark still fits.
const LITTLE: u64 = 64 << 20;

#[derive(Default)]
struct Inner {
    applied: BTreeMap<Key, Value>,
    durable: BTreeMap<Key, Value>,
    fault: Option<Fault>,
    disk_low: bool,
}

/// The engine's state; clones share it, so that a test can look inside and pull the plug.
#[derive(Clone, Default)]
pub struct Memory(Arc<Mutex<Inner>>);

impl Memory {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A store over this state; its committer runs as a task of the current runtime.
    pub fn serve(self, log: Box<dyn AuditLog>) -> LocalStore<Self> {
        let (store, committer) = LocalStore::new(self, log);
        tokio::spawn(committer.run());
        store
    }

    /// Makes the next write fail.
    pub fn inject(&self, fault: Fault) {
        self.lock().fault = Some(fault);
    }

    /// Makes the disk look nearly full, or not.
    pub fn set_disk_low(&self, low: bool) {
        self.lock().disk_low = low;
    }

    /// What a power cut leaves: the durable state in a new engine.
    pub fn after_power_cut(&self) -> Self {
        let durable = self.lock().durable.clone();
        Self(Arc::new(Mutex::new(Inner {
            applied: durable.clone(),
            durable,
            ..Inner::default()
        })))
    }

    /// Every durable pair.
    pub fn dump(&self) -> Vec<(Key, Value)> {
        self.lock()
            .durable
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }
}

impl Backend for Memory {
    fn get(&self, key: &[u8]) -> Result<Option<Value>> {
        Ok(self.lock().applied.get(key).cloned())
    }

    fn scan(&self, scan: &Scan, limit: usize) -> Result<Vec<(Key, Value)>> {
        let inner = self.lock();
        let range = inner
            .applied
            .range::<[u8], _>(bounds(scan))
            .map(|(key, value)| (key.clone(), value.clone()));
        Ok(if scan.reverse {
            range.rev().take(limit).collect()
        } else {
            range.take(limit).collect()
        })
    }

    fn apply(&self, writes: &WriteSet) -> Result<()> {
        let mut inner = self.lock();
        if inner
            .fault
            .take_if(|fault| *fault == Fault::Apply)
            .is_some()
        {
            return Err(Error::internal("injected fault: apply"));
        }
        let torn = inner.fault.take_if(|fault| *fault == Fault::Torn).is_some();
        for (key, change) in writes.iter().step_by(if torn { 2 } else { 1 }) {
            match change {
                Some(value) => drop(inner.applied.insert(key.clone(), value.clone())),
                None => drop(inner.applied.remove(key)),
            }
        }
        if torn {
            return Err(Error::internal("injected fault: torn group"));
        }
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        let mut inner = self.lock();
        if inner.fault.take_if(|fault| *fault == Fault::Sync).is_some() {
            return Err(Error::internal("injected fault: sync"));
        }
        inner.durable = inner.applied.clone();
        let unsaid = inner.fault.take_if(|fault| *fault == Fault::Unsaid);
        unsaid.map_or(Ok(()), |_| {
            Err(Error::internal("injected fault: unsaid sync"))
        })
    }

    fn snapshot(&self, visit: &mut Visitor<'_>) -> Result<()> {
        let applied = self.lock().applied.clone();
        applied
            .iter()
            .try_for_each(|(key, value)| visit(key, value))
    }

    fn spool(&self) -> Result<std::fs::File> {
        spool::unnamed(&std::env::temp_dir()).map_err(Error::internal)
    }

    fn disk_low(&self) -> Option<u64> {
        self.lock().disk_low.then_some(LITTLE)
    }
}
