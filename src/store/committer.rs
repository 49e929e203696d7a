//! The committer: makes groups of write sets durable together, in the order in which they were queued.

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot, watch};

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
/// How long the next group is gathered then; a caller on its own never waits for it.
const GATHER: Duration = Duration::from_micros(300);

/// A write set that waits for its turn.
pub(super) struct Queued {
    pub(super) number: u64,
    pub(super) writes: WriteSet,
    pub(super) audit: Vec<AuditEntry>,
    pub(super) done: oneshot::Sender<Result<(), Failed>>,
}

/// The group could not be made durable.
#[derive(Clone, Copy)]
pub(super) struct Failed;

/// The committer of a store: whoever runs it decides on which thread.
pub struct Committer<B> {
    pub(super) shared: Arc<Shared<B>>,
    pub(super) queue: mpsc::UnboundedReceiver<Queued>,
    pub(super) log: Box<dyn AuditLog>,
    pub(super) finished: watch::Sender<bool>,
    /// Who tells the waiting commits, where that is not the committer itself.
    pub(super) teller: Option<mpsc::UnboundedSender<Told>>,
}

/// Commits that are over, and how they ended.
pub(super) type Told = (Waiting, Result<(), Failed>);

fn tell((waiting, outcome): Told) {
    for done in waiting {
        // Whoever gave up waiting does not need to know.
        let _ = done.send(outcome);
    }
}

impl<B: Backend> Committer<B> {
    /// Commits on a thread of its own until the store is closed: for engines that block. A task of the current
    /// runtime tells those who wait: waking them all from a foreign thread would cost a system call for many.
    pub fn run_on_thread(mut self) -> Result<()> {
        let (teller, mut told) = mpsc::unbounded_channel();
        self.teller = Some(teller);
        tokio::spawn(async move {
            while let Some(group) = told.recv().await {
                tell(group);
            }
        });
        std::thread::Builder::new()
            .name("committer".into())
            .spawn(move || {
                let mut crowd = 0;
                while let Some(first) = self.queue.blocking_recv() {
                    // The callers that were just answered come back in a moment: a group that takes them along
                    // costs no more than one without them.
                    if crowd >= CROWD {
                        std::thread::sleep(GATHER);
                    }
                    crowd = self.commit_group(first);
                }
                self.finish();
            })
            .map(drop)
            .map_err(Error::internal)
    }

    /// Commits as a task until the store is closed: for engines that do not block.
    pub async fn run(mut self) {
        while let Some(first) = self.queue.recv().await {
            self.commit_group(first);
        }
        self.finish();
    }

    fn finish(self) {
        let Self {
            shared, finished, ..
        } = self;
        drop(shared);
        finished.send_replace(true);
    }

    fn commit_group(&mut self, first: Queued) -> usize {
        let mut group = vec![first];
        while group.len() < MAX_GROUP
            && let Ok(next) = self.queue.try_recv()
        {
            group.push(next);
        }
        let size = group.len();
        metrics::histogram!("leasehold_commit_group_size").record(size as f64);
        let last = group.last().map_or(0, |queued| queued.number);
        let failed_before = matches!(&*self.shared.health.borrow(), Health::Failed { .. });
        let (writes, waiting) = take_apart(group);
        let outcome = if failed_before {
            Err(None)
        } else {
            self.make_durable(writes).map_err(Some)
        };
        let told = match outcome {
            Ok(written) => {
                self.shared.durable.send_replace(last);
                self.shared.overlay.forget(written.keys(), last);
                Ok(())
            }
            Err(error) => {
                if let Some(error) = error {
                    let reason = Chain(&error).to_string();
                    tracing::error!(
                        reason,
                        "a write failed; the store takes no more until a restart"
                    );
                    self.shared.health.send_replace(Health::Failed { reason });
                }
                Err(Failed)
            }
        };
        let told = (waiting, told);
        match &self.teller {
            Some(teller) => drop(teller.send(told)),
            None => tell(told),
        }
        size
    }

    /// One merged write set for the whole group: the later change to a key wins. Gives back what was written.
    fn make_durable(
        &mut self,
        (mut writes, audit): (WriteSet, Vec<AuditEntry>),
    ) -> Result<WriteSet> {
        let placed = self.log.place(&audit)?;
        writes.extend(placed.into_iter().map(|(key, value)| (key, Some(value))));
        self.shared.backend.apply(&writes)?;
        self.shared.backend.sync()?;
        Ok(writes)
    }
}

pub(super) type Waiting = Vec<oneshot::Sender<Result<(), Failed>>>;

fn take_apart(group: Vec<Queued>) -> ((WriteSet, Vec<AuditEntry>), Waiting) {
    let mut writes = WriteSet::new();
    let mut audit = Vec::new();
    let mut waiting = Vec::with_capacity(group.len());
    for queued in group {
        writes.extend(queued.writes);
        audit.extend(queued.audit);
        waiting.push(queued.done);
    }
    ((writes, audit), waiting)
}

/// An error with the sources it hides, for the log.
struct Chain<'a>(&'a Error);

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
