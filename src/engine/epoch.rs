//! The barrier behind an emergency stop: who is let in after it sees the stop, and who was in before is waited for.
//!
//! Requests enter an epoch before anything is read that decides whether they may act, and leave it when they are
//! done. A stop makes its state durable, turns the epoch, and waits until the one before is empty. Epochs are
//! counted in two counters that take turns, so that entering and leaving cost a few atomic operations and no lock;
//! two suffice because one turn waits for its epoch before the next begins.
//!
//! INVARIANT (stop-is-complete): a request either left before a stop answers, or reads what the stop made durable.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use tokio::sync::{Mutex, Notify, watch};

// Sequentially consistent throughout: entering writes a counter and reads the epoch, a turn writes the epoch and
// reads a counter, and one of them must see the other.
const ORDER: Ordering = Ordering::SeqCst;

#[derive(Default)]
pub(super) struct Epochs(Arc<Shared>);

#[derive(Default)]
struct Shared {
    current: AtomicU64,
    inside: [AtomicU64; 2],
    /// Told when an epoch that is over is left by its last request.
    empty: Notify,
    /// One turn at a time.
    turns: Mutex<()>,
    /// The current epoch, for those who wait for its end.
    turned: watch::Sender<u64>,
}

impl Shared {
    fn inside(&self, epoch: u64) -> &AtomicU64 {
        let [even, odd] = &self.inside;
        if epoch.is_multiple_of(2) { even } else { odd }
    }

    async fn emptied(&self, epoch: u64) {
        loop {
            let mut empty = std::pin::pin!(self.empty.notified());
            empty.as_mut().enable();
            if self.inside(epoch).load(ORDER) == 0 {
                return;
            }
            empty.await;
        }
    }

    fn leave(&self, epoch: u64) {
        let before = self.inside(epoch).fetch_sub(1, ORDER);
        if before == 1 && self.current.load(ORDER) != epoch {
            self.empty.notify_waiters();
        }
    }
}

/// A request's stay in its epoch; ends when it is dropped.
pub struct Entered {
    shared: Arc<Shared>,
    epoch: u64,
    left: AtomicBool,
    witness: Witness,
}

/// Whether history has a durable record of a request. Whoever commits one says so; whoever answers the request asks.
#[derive(Clone, Default)]
pub struct Witness(Arc<AtomicBool>);

impl Witness {
    /// A record of the request is durable.
    pub(super) fn attest(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether one is.
    pub fn attested(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The end of an epoch, to be waited for.
#[derive(Clone)]
pub struct Turn {
    shared: Arc<Shared>,
    epoch: u64,
}

impl Epochs {
    pub(super) fn enter(&self) -> Entered {
        let shared = self.0.clone();
        loop {
            let epoch = shared.current.load(ORDER);
            shared.inside(epoch).fetch_add(1, ORDER);
            // Turned meanwhile: whoever turned it may not have seen this one.
            if shared.current.load(ORDER) == epoch {
                let left = AtomicBool::new(false);
                return Entered {
                    shared,
                    epoch,
                    left,
                    witness: Witness::default(),
                };
            }
            shared.leave(epoch);
        }
    }

    /// Waits for every request that entered before. The caller has left its own epoch, or waits for itself.
    pub(super) async fn drain(&self) {
        let shared = &*self.0;
        let _alone = shared.turns.lock().await;
        // Whoever turned last may have gone away before the epoch before was empty.
        let next = shared.current.load(ORDER).wrapping_add(1);
        shared.emptied(next).await;
        let epoch = shared.current.fetch_add(1, ORDER);
        shared.turned.send_replace(next);
        shared.emptied(epoch).await;
    }
}

impl Entered {
    /// Leaves before the end: a stop does not wait for itself, nor for what takes long and changes nothing.
    pub(super) fn leave(&self) {
        if !self.left.swap(true, ORDER) {
            self.shared.leave(self.epoch);
        }
    }

    /// Who is told of this request's records.
    pub fn witness(&self) -> &Witness {
        &self.witness
    }

    /// The end of this epoch.
    pub fn turn(&self) -> Turn {
        Turn {
            shared: self.shared.clone(),
            epoch: self.epoch,
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Turn {
    /// Waits until somebody waits for the requests of this epoch.
    pub async fn over(&self) {
        let mut turned = self.shared.turned.subscribe();
        // Its sender is in `shared`, so this cannot fail.
        let _ = turned.wait_for(|now| *now != self.epoch).await;
    }
}

#[cfg(test)]
mod tests;
