//! An engine that a test stops, breaks and listens to. It adds nothing to what the engine promises.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, mpsc},
    time::Duration,
};

use tokio::sync::oneshot;

use crate::{
    domain::error::{Error, Result},
    store::{
        local::Backend,
        memory::Fault,
        overlay::WriteSet,
        port::{Key, Scan, Value, Visitor},
    },
};

/// A step of the committer, before which it can be stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Taken from the queue, not yet in the engine.
    Apply,
    /// In the engine, not yet durable.
    Sync,
}

/// What reached the engine, in order.
#[derive(Debug, Clone)]
pub(super) enum Event {
    Applied(WriteSet),
    Synced,
}

/// The hand on the engine; clones are the same hand.
#[derive(Clone, Default)]
pub(super) struct Control(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    stop: Option<(Step, oneshot::Sender<()>, mpsc::Receiver<()>)>,
    fault: Option<Fault>,
    reads: usize,
    free_bytes: Option<u64>,
    journal: Vec<Event>,
    durable: BTreeMap<Key, Value>,
    applied: BTreeMap<Key, Value>,
}

/// The committer stops once, at the step it was told, until this is dropped.
pub(super) struct Stop {
    reached: oneshot::Receiver<()>,
    _go: mpsc::Sender<()>,
}

impl Stop {
    /// Waits until the committer stands there.
    pub(super) async fn reached(&mut self) {
        (&mut self.reached).await.unwrap();
    }

    pub(super) fn release(self) {}
}

impl Control {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(super) fn stop_before(&self, step: Step) -> Stop {
        let (arrive, reached) = oneshot::channel();
        let (go, wait) = mpsc::channel();
        self.lock().stop = Some((step, arrive, wait));
        Stop { reached, _go: go }
    }

    /// Makes the next write fail.
    pub(super) fn inject(&self, fault: Fault) {
        self.lock().fault = Some(fault);
    }

    /// Makes the disk look nearly full, or not.
    pub(super) fn set_disk_low(&self, free_bytes: Option<u64>) {
        self.lock().free_bytes = free_bytes;
    }

    /// How often the engine was asked for a value or a range.
    pub(super) fn reads(&self) -> usize {
        self.lock().reads
    }

    pub(super) fn journal(&self) -> Vec<Event> {
        self.lock().journal.clone()
    }

    /// The value that a sync made durable last.
    pub(super) fn durable(&self, key: &[u8]) -> Option<Value> {
        self.lock().durable.get(key).cloned()
    }

    fn pass(&self, step: Step) {
        let stop = self.lock().stop.take_if(|(at, ..)| *at == step);
        if let Some((_, arrive, wait)) = stop {
            let _ = arrive.send(());
            let _ = wait.recv();
        }
    }

    fn fail(&self, at: Fault) -> Result<()> {
        match self.lock().fault.take_if(|fault| *fault == at) {
            Some(fault) => Err(Error::internal(format!("injected fault: {fault:?}"))),
            None => Ok(()),
        }
    }
}

pub(super) struct Probe<B> {
    engine: B,
    control: Control,
    _lives: mpsc::Sender<Infallible>,
}

/// Dropped, it waits until the engine is gone, so that what the engine stands on may go as well.
pub(super) struct Ended(mpsc::Receiver<Infallible>);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.recv_timeout(Duration::from_secs(10));
    }
}

impl<B> Probe<B> {
    pub(super) fn new(engine: B, control: Control) -> (Self, Ended) {
        let (lives, ended) = mpsc::channel();
        let probe = Self {
            engine,
            control,
            _lives: lives,
        };
        (probe, Ended(ended))
    }
}

impl<B: Backend> Backend for Probe<B> {
    fn get(&self, key: &[u8]) -> Result<Option<Value>> {
        self.control.lock().reads += 1;
        self.engine.get(key)
    }

    fn scan(&self, scan: &Scan, limit: usize) -> Result<Vec<(Key, Value)>> {
        self.control.lock().reads += 1;
        self.engine.scan(scan, limit)
    }

    fn apply(&self, writes: &WriteSet) -> Result<()> {
        self.control.pass(Step::Apply);
        self.control.fail(Fault::Apply)?;
        self.engine.apply(writes)?;
        let mut state = self.control.lock();
        for (key, change) in writes {
            match change {
                Some(value) => drop(state.applied.insert(key.clone(), value.clone())),
                None => drop(state.applied.remove(key)),
            }
        }
        state.journal.push(Event::Applied(writes.clone()));
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        self.control.pass(Step::Sync);
        self.control.fail(Fault::Sync)?;
        self.engine.sync()?;
        let mut state = self.control.lock();
        state.durable = state.applied.clone();
        state.journal.push(Event::Synced);
        Ok(())
    }

    fn snapshot(&self, visit: &mut Visitor<'_>) -> Result<()> {
        self.control.lock().reads += 1;
        self.engine.snapshot(visit)
    }

    fn spool(&self) -> Result<std::fs::File> {
        self.engine.spool()
    }

    fn close(&self) -> Result<()> {
        self.engine.close()
    }

    fn failure(&self) -> Option<String> {
        self.engine.failure()
    }

    fn disk_low(&self) -> Option<u64> {
        let told = self.control.lock().free_bytes;
        told.or_else(|| self.engine.disk_low())
    }
}
