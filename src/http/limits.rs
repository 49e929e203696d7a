//! Requests a minute for each API key. `governor` does the arithmetic: a bucket that refills evenly.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::StateInformationMiddleware,
    state::keyed::DashMapStateStore,
};

use crate::domain::{
    error::{Code, Error},
    principal::{ProofId, RateLimit},
};

type Bucket =
    RateLimiter<ProofId, DashMapStateStore<ProofId>, DefaultClock, StateInformationMiddleware>;

/// What is left of a key's limit after a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    pub(super) limit: u32,
    pub(super) remaining: u32,
    /// Seconds until the bucket is full again.
    pub(super) reset: u64,
}

tokio::task_local! {
    /// The standing of the request's key, for the headers of the answer.
    pub(super) static STANDING: std::cell::Cell<Option<Standing>>;
}

/// The limits of all keys: one set of buckets for each number of requests a minute.
pub(super) struct Limits {
    default: Option<NonZeroU32>,
    buckets: Mutex<HashMap<NonZeroU32, Arc<Bucket>>>,
    clock: DefaultClock,
}

impl Limits {
    pub(super) fn new(default: Option<NonZeroU32>) -> Self {
        Self {
            default,
            buckets: Mutex::default(),
            clock: DefaultClock::default(),
        }
    }

    fn bucket(&self, limit: NonZeroU32) -> Arc<Bucket> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets
            .entry(limit)
            .or_insert_with(|| {
                Arc::new(RateLimiter::dashmap(Quota::per_minute(limit)).with_middleware())
            })
            .clone()
    }

    /// Counts a request of `proof`; refuses it over the limit.
    pub(super) fn check(&self, proof: ProofId, own: RateLimit) -> Result<(), Error> {
        let limit = match own {
            RateLimit::PerMinute(limit) => limit,
            RateLimit::Default => match self.default {
                Some(limit) => limit,
                None => return Ok(()),
            },
            RateLimit::Unlimited => return Ok(()),
        };
        let standing = |remaining: u32| {
            let missing = u64::from(limit.get().saturating_sub(remaining));
            Standing {
                limit: limit.get(),
                remaining,
                reset: (missing * 60).div_ceil(u64::from(limit.get())),
            }
        };
        match self.bucket(limit).check_key(&proof) {
            Ok(state) => {
                let _ = STANDING
                    .try_with(|cell| cell.set(Some(standing(state.remaining_burst_capacity()))));
                Ok(())
            }
            Err(wait) => {
                let seconds = wait
                    .wait_time_from(self.clock.now())
                    .as_secs()
                    .saturating_add(1);
                let _ = STANDING.try_with(|cell| {
                    cell.set(Some(Standing {
                        reset: seconds,
                        ..standing(0)
                    }))
                });
                Err(Error::new(
                    Code::RateLimited,
                    "the API key has used up its requests for now",
                )
                .with("limit", u64::from(limit.get()))
                .with("retry_after", seconds))
            }
        }
    }

    /// Forgets the buckets that are full again; bounds memory.
    pub(super) fn forget_idle(&self) {
        for bucket in self
            .buckets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
        {
            bucket.retain_recent();
            bucket.shrink_to_fit();
        }
    }
}
