//! The committer: makes groups of write sets durable together, in the order in which they were queued.
//!
//! An engine that blocks gets two threads, so that one group is applied while the one before it is synced:
//! neither the processor waits for the disk nor the disk for the processor. A group gathers for as long as the
//! two before it take.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc::sync_channel},
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};

use super::{
    local::{Backend, Shared},
    overlay::WriteSet,
    port::{AuditEntry, AuditLog, Health},
};
use crate::domain::error::{Error, Result};

/// Write sets in one group: bounds the time that the first one waits for the last.
const MAX_GROUP: usize = 1024;

/// A group of this size tells of many callers at once.
const CROWD: usize = 4;
/// How long the next group gathers then: the callers that were just answered come back in a moment, and a group
/// that takes them along costs hardly more than one without them. A caller on its own never waits for it.
const GATHER: Duration = Duration::from_micros(500);

/// A write set that waits for its turn.
pub(super) struct Queued {
    pub(super) number: u64,
    pub(super) writes: WriteSet,
    pub(super) audit: Vec<AuditEntry>,
    pub(super) waiter: Waiter,
}

/// Whoever waits for a write set, and the write set's place in the queue: kept until the end even where nobody
/// waits any more.
pub(super) struct Waiter {
    done: oneshot::Sender<Result<(), Failed>>,
    _slot: OwnedSemaphorePermit,
}

impl Waiter {
    pub(super) fn new(
        done: oneshot::Sender<Result<(), Failed>>,
        slot: OwnedSemaphorePermit,
    ) -> Self {
        Self { done, _slot: slot }
    }
}

/// The group could not be made durable.
#[derive(Clone, Copy)]
pub(super) struct Failed;

/// The committer of a store: whoever runs it decides on which thread.
pub struct Committer<B> {
    queue: mpsc::UnboundedReceiver<Queued>,
    log: Box<dyn AuditLog>,
    settler: Settler<B>,
    finished: watch::Sender<bool>,
}

/// A group that the engine holds and the disk may not.
struct Applied {
    last: u64,
    written: WriteSet,
    waiting: Waiting,
}

type Waiting = Vec<Waiter>;

/// Commits that are over, and how they ended.
type Told = (Waiting, Result<(), Failed>);

fn tell((waiting, outcome): Told) {
    for waiter in waiting {
        // Whoever gave up waiting does not need to know.
        let _ = waiter.done.send(outcome);
    }
}

impl<B: Backend> Committer<B> {
    pub(super) fn new(
        shared: Arc<Shared<B>>,
        queue: mpsc::UnboundedReceiver<Queued>,
        log: Box<dyn AuditLog>,
        finished: watch::Sender<bool>,
    ) -> Self {
        let settler = Settler {
            shared,
            teller: None,
        };
        Self {
            queue,
            log,
            settler,
            finished,
        }
    }

    /// Commits on threads of its own until the store is closed: for engines that block. A task of the current
    /// runtime tells those who wait: waking them from a foreign thread would cost a system call for many.
    pub fn run_on_thread(self) -> Result<()> {
        let Self {
            mut queue,
            mut log,
            mut settler,
            finished,
        } = self;
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (teller, mut told) = mpsc::unbounded_channel();
            runtime.spawn(async move {
                while let Some(group) = told.recv().await {
                    tell(group);
                }
            });
            settler.teller = Some(teller);
        }
        // No room in between: the next group is handed over when the one before it is settled.
        let (hand_over, applied) = sync_channel::<Result<Applied, Waiting>>(0);
        let shared = settler.shared.clone();
        spawn("committer", move || {
            let mut crowd = 0;
            while let Some(first) = queue.blocking_recv() {
                if crowd >= CROWD {
                    std::thread::sleep(GATHER);
                }
                let group = gather(first, &mut queue);
                crowd = group.len();
                if hand_over.send(shared.apply(&mut *log, group)).is_err() {
                    break;
                }
            }
            // Let go of the engine before the syncer says that all is over.
            drop(shared);
            drop(hand_over);
        })?;
        spawn("syncer", move || {
            while let Ok(group) = applied.recv() {
                settler.settle(group);
            }
            // After a failed write the next start judges what is there.
            if !settler.shared.has_failed()
                && let Err(error) = guarded(|| settler.shared.backend.close())
            {
                settler.shared.fail(&error);
            }
            drop(settler);
            finished.send_replace(true);
        })
    }

    /// Commits as a task until the store is closed: for engines that do not block.
    pub async fn run(mut self) {
        while let Some(first) = self.queue.recv().await {
            let group = gather(first, &mut self.queue);
            let applied = self.settler.shared.apply(&mut *self.log, group);
            self.settler.settle(applied);
        }
        drop(self.settler);
        self.finished.send_replace(true);
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    let builder = std::thread::Builder::new().name(name.to_owned());
    builder.spawn(work).map(drop).map_err(Error::internal)
}

/// The first write set and all that are queued behind it.
fn gather(first: Queued, queue: &mut mpsc::UnboundedReceiver<Queued>) -> Vec<Queued> {
    let mut group = vec![first];
    while group.len() < MAX_GROUP
        && let Ok(next) = queue.try_recv()
    {
        group.push(next);
    }
    metrics::histogram!("leasehold_commit_group_size").record(group.len() as f64);
    group
}

impl<B: Backend> Shared<B> {
    fn has_failed(&self) -> bool {
        matches!(&*self.health.borrow(), Health::Failed { .. })
    }

    fn fail(&self, error: &Error) {
        let reason = Chain(error).to_string();
        tracing::error!(
            reason,
            "a write failed; the store takes no more until a restart"
        );
        self.health.send_replace(Health::Failed { reason });
    }

    /// Applies one merged write set for the whole group, in which the later change to a key wins.
    fn apply(&self, log: &mut dyn AuditLog, group: Vec<Queued>) -> Result<Applied, Waiting> {
        let last = group.last().map_or(0, |queued| queued.number);
        let mut written = WriteSet::new();
        let mut audit = Vec::new();
        let mut waiting = Vec::with_capacity(group.len());
        for queued in group {
            written.extend(queued.writes);
            audit.extend(queued.audit);
            waiting.push(queued.waiter);
        }
        if self.has_failed() {
            return Err(waiting);
        }
        let apply = || {
            let logged = log.place(&audit)?;
            self.overlay.lock().lay(last, &logged);
            written.extend(logged.into_iter().map(|(key, value)| (key, Some(value))));
            self.backend.apply(&written)
        };
        let begun = Instant::now();
        let outcome = guarded(apply);
        metrics::histogram!("leasehold_commit_apply_seconds").record(begun.elapsed().as_secs_f64());
        match outcome {
            Ok(()) => Ok(Applied {
                last,
                written,
                waiting,
            }),
            Err(error) => {
                self.fail(&error);
                Err(waiting)
            }
        }
    }
}

/// A panic that ended the committer would leave everyone waiting for it.
fn guarded(work: impl FnOnce() -> Result<()>) -> Result<()> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(Error::internal("the committer panicked")))
}

/// Syncs groups and tells those who wait for them.
struct Settler<B> {
    shared: Arc<Shared<B>>,
    /// Who tells the waiting commits, where that is not the settler itself.
    teller: Option<mpsc::UnboundedSender<Told>>,
}

impl<B: Backend> Settler<B> {
    fn sync(&self) -> Result<()> {
        let begun = Instant::now();
        let outcome = guarded(|| self.shared.backend.sync());
        metrics::histogram!("leasehold_commit_sync_seconds").record(begun.elapsed().as_secs_f64());
        outcome
    }

    /// INVARIANT (ack-durable): nobody is told of success before the sync, nor after any failure.
    fn settle(&self, group: Result<Applied, Waiting>) {
        let told = match group {
            Err(waiting) => (waiting, Err(Failed)),
            Ok(Applied { waiting, .. }) if self.shared.has_failed() => (waiting, Err(Failed)),
            Ok(Applied {
                last,
                written,
                waiting,
            }) => match self.sync() {
                Ok(()) => {
                    self.shared.durable.send_replace(last);
                    self.shared.overlay.forget(written.keys(), last);
                    (waiting, Ok(()))
                }
                Err(error) => {
                    self.shared.fail(&error);
                    (waiting, Err(Failed))
                }
            },
        };
        match &self.teller {
            Some(teller) => drop(teller.send(told)),
            None => tell(told),
        }
    }
}

/// An error with the sources it hides, for the log.
pub(super) struct Chain<'a>(pub(super) &'a Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = std::error::Error::source(self.0);
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}
