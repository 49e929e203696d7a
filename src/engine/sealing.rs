//! The sealer: about every second, or every [`seal::BATCH`] records, what was written since gets a checkpoint. Nothing
//! waits for it, and what it has not come to yet is sealed after a restart.

use std::{
    sync::{Arc, Mutex as SyncMutex, PoisonError},
    time::Duration,
};

use tokio::sync::{Mutex, Semaphore, watch};

use super::{
    Engine,
    expire::{report, sleep_or_stop},
};
use crate::{
    audit::{
        checkpoint::Checkpoint,
        seal::{self, Sealer},
    },
    clock::Clock,
    crypto::keyring::Keyring,
    domain::error::{Code, Error, Result},
    store::port::Store,
};

/// How long records wait for their checkpoint while there are few.
const EVERY: Duration = Duration::from_secs(1);
/// The longest rest between two batches of a backlog.
const LONGEST_REST: Duration = Duration::from_millis(50);
/// The longest wait after failures.
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);
/// Batches that a stop waits for: more than gather in the time between two rounds.
const LAST_BATCHES: u64 = seal::MAX_UNSEALED / seal::BATCH;

/// What the sealer works on, and what it came to.
pub(super) struct Sealing {
    made: Arc<Made>,
    state: SyncMutex<State>,
    /// The one place for a verification of the log at a time.
    pub(super) verifying: Semaphore,
}

/// The sealer, and the newest checkpoint that it made.
struct Made {
    /// None before the first round and after a failure: then the next round opens it, and proves its state first.
    sealer: Mutex<Option<Sealer>>,
    newest: watch::Sender<Option<Arc<Checkpoint>>>,
}

#[derive(Default)]
struct State {
    started: bool,
    failure: Option<String>,
}

impl Default for Sealing {
    fn default() -> Self {
        Self {
            made: Arc::new(Made {
                sealer: Mutex::default(),
                newest: watch::Sender::new(None),
            }),
            state: SyncMutex::default(),
            verifying: Semaphore::new(1),
        }
    }
}

impl Sealing {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// The newest checkpoint that this run made, and each one after it.
    pub fn checkpoints_made(&self) -> watch::Receiver<Option<Arc<Checkpoint>>> {
        self.sealing.made.newest.subscribe()
    }

    /// Why the log is not being sealed, where that is so.
    pub fn sealing_failure(&self) -> Option<String> {
        self.sealing.state().failure.clone()
    }

    /// Whether the newest records under the newest checkpoint are still what it is over, as far as a failure to seal makes
    /// one doubt it: not where they are gone, or others took their numbers.
    pub(super) async fn seals_hold(&self) -> Result<bool> {
        if self.sealing_failure().is_none() {
            return Ok(true);
        }
        match Sealer::sealed(&*self.store, &self.keyring).await {
            Ok(_) => Ok(true),
            Err(error) if error.code() == Code::Internal => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Seals the next batch; gives back whether more may wait behind it. The first call proves what is stored. A batch
    /// that was begun is finished even if nobody waits for it any more: nobody may seal beside its commit.
    pub async fn seal_next(&self) -> Result<bool> {
        self.sealing.state().started = true;
        let (store, keyring) = (self.store.clone(), self.keyring.clone());
        let (made, clock) = (self.sealing.made.clone(), self.clock.clone());
        let batch = async move { made.batch(&*store, &keyring, &clock).await };
        let outcome = tokio::spawn(batch)
            .await
            .unwrap_or_else(|panicked| Err(Error::internal(panicked)));
        let mut state = self.sealing.state();
        state.failure = outcome.as_ref().err().map(|error| {
            let source = std::error::Error::source(error).map(ToString::to_string);
            source.unwrap_or_else(|| error.message().to_owned())
        });
        metrics::gauge!("leasehold_audit_sealing_failed")
            .set(f64::from(u8::from(outcome.is_err())));
        outcome
    }

    /// Runs the sealer until `stop` says so.
    pub async fn seal(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut backoff = EVERY;
        while !*stop.borrow() {
            let begun = self.now();
            let rest = match self.seal_next().await {
                Ok(more) => {
                    backoff = EVERY;
                    // A backlog must not take the disk and the processors from requests. Told by the vault's clock.
                    let took: Duration = self.now().since(begun).into();
                    if more { took.min(LONGEST_REST) } else { EVERY }
                }
                Err(error) => {
                    metrics::counter!("leasehold_audit_seal_failures_total").increment(1);
                    report(&error, "the audit log cannot be sealed");
                    backoff = (backoff * 2).min(LONGEST_BACKOFF);
                    backoff
                }
            };
            if sleep_or_stop(rest, &mut stop).await {
                return;
            }
        }
    }

    /// Seals what is left before a stop, where this run seals at all.
    pub(super) async fn seal_last(&self) {
        if !self.sealing.state().started {
            return;
        }
        for _ in 0..LAST_BATCHES {
            match self.seal_next().await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => return report(&error, "the last records could not be sealed"),
            }
        }
    }

    /// How many records are sealed, by the newest stored checkpoint.
    pub(super) async fn sealed_size(&self) -> Result<u64> {
        let newest = self.newest_checkpoint().await?;
        Ok(newest.map_or(0, |newest| newest.statement().size))
    }

    pub(super) async fn newest_checkpoint(&self) -> Result<Option<Checkpoint>> {
        let key = self.keyring.audit_key().public_key();
        let newest = crate::audit::proof::newest(&mut self.read(), key).await?;
        Ok(newest.map(|newest| newest.checkpoint))
    }

    /// The one turn to verify the log.
    pub(super) async fn turn_to_verify(&self) -> Result<tokio::sync::SemaphorePermit<'_>> {
        self.sealing
            .verifying
            .acquire()
            .await
            .map_err(Error::internal)
    }
}

impl Made {
    async fn batch(&self, store: &dyn Store, keyring: &Keyring, clock: &Clock) -> Result<bool> {
        let mut place = self.sealer.lock().await;
        // Taken out, so that a failure leaves none behind that is ahead of what is stored.
        let mut sealer = match place.take() {
            Some(sealer) => sealer,
            None => Sealer::open(store, keyring).await?,
        };
        let before = sealer.size();
        let made = sealer.step(store, keyring, clock.now()).await?;
        let sealed = sealer.size() - before;
        *place = Some(sealer);
        if let Some(checkpoint) = made {
            metrics::counter!("leasehold_audit_sealed_records_total").increment(sealed);
            metrics::counter!("leasehold_audit_checkpoints_total").increment(1);
            // Under the lock, so that the newest is told last.
            self.newest.send_replace(Some(Arc::new(checkpoint)));
        }
        Ok(sealed >= seal::BATCH)
    }
}
