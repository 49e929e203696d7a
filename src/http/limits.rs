//! Requests a minute for each key, for each source address before anyone is authenticated, and for failed
//! authentications of a source. `governor` does the arithmetic: a bucket that refills evenly, so that a burst is
//! paid for by whoever made it.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::StateInformationMiddleware,
    state::keyed::DashMapStateStore,
};

use super::context::tell_standing;
use crate::domain::{
    error::{Code, Error},
    principal::{Account, ProofId, RateLimit},
};

/// Exchanges of assertions a minute from one source: each may be written into history and ask an issuer for its keys.
const EXCHANGES_PER_MINUTE: NonZeroU32 = NonZeroU32::MIN.saturating_add(599);

type Bucket<K> = RateLimiter<K, DashMapStateStore<K>, DefaultClock, StateInformationMiddleware>;

/// What is left of a limit after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) limit: u32,
    pub(super) remaining: u32,
    /// Seconds until the bucket is full again.
    pub(super) reset: u64,
}

impl Standing {
    /// Where nothing is counted: the largest number that clients can read.
    pub(super) const UNLIMITED: Self = Self {
        limit: u32::MAX,
        remaining: u32::MAX,
        reset: 0,
    };

    fn of(limit: NonZeroU32, remaining: u32) -> Self {
        let missing = u64::from(limit.get().saturating_sub(remaining));
        Self {
            limit: limit.get(),
            remaining,
            reset: (missing * 60).div_ceil(u64::from(limit.get())),
        }
    }
}

/// The limits that hold where nobody set another one; none where a number is absent.
#[derive(Debug, Clone, Copy, Default)]
pub struct DefaultLimits {
    /// Requests a minute of a key without a limit of its own.
    pub key: Option<NonZeroU32>,
    /// Requests a minute of a source address, before authentication.
    pub source: Option<NonZeroU32>,
    /// Failed authentications a minute of a source address, and refusals of a key or token that is let in no more.
    pub failures: Option<NonZeroU32>,
}

/// One set of buckets for each number of requests a minute.
struct Buckets<K: Hash + Eq + Clone>(Mutex<HashMap<NonZeroU32, Arc<Bucket<K>>>>);

impl<K: Hash + Eq + Clone> Buckets<K> {
    fn new() -> Self {
        Self(Mutex::default())
    }

    fn of(&self, limit: NonZeroU32) -> Arc<Bucket<K>> {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        buckets
            .entry(limit)
            .or_insert_with(|| {
                Arc::new(RateLimiter::dashmap(Quota::per_minute(limit)).with_middleware())
            })
            .clone()
    }

    /// Counts one; over the limit, the seconds to wait.
    fn take(&self, key: &K, limit: NonZeroU32, clock: &DefaultClock) -> Result<Standing, u64> {
        match self.of(limit).check_key(key) {
            Ok(state) => Ok(Standing::of(limit, state.remaining_burst_capacity())),
            Err(wait) => Err(wait.wait_time_from(clock.now()).as_secs().saturating_add(1)),
        }
    }

    fn forget_idle(&self) {
        for bucket in self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
        {
            bucket.retain_recent();
            bucket.shrink_to_fit();
        }
    }
}

/// Every limit of the surface.
pub(super) struct Limits {
    default: DefaultLimits,
    accounts: Buckets<Account>,
    sources: Buckets<IpAddr>,
    failures: Buckets<IpAddr>,
    refusals: Buckets<ProofId>,
    exchanges: Buckets<IpAddr>,
    clock: DefaultClock,
}

impl Limits {
    pub(super) fn new(default: DefaultLimits) -> Self {
        Self {
            default,
            accounts: Buckets::new(),
            sources: Buckets::new(),
            failures: Buckets::new(),
            refusals: Buckets::new(),
            exchanges: Buckets::new(),
            clock: DefaultClock::default(),
        }
    }

    /// Counts a request of `source`, whoever it is; refuses it over the limit.
    pub(super) fn check_source(&self, source: Option<IpAddr>) -> Result<(), Error> {
        let (Some(limit), Some(source)) = (self.default.source, source) else {
            return Ok(());
        };
        let taken = self.sources.take(&network(source), limit, &self.clock);
        let why = "the address has used up its requests for now";
        told(taken, limit, why)
    }

    /// Counts a request of `account`; refuses it over the limit.
    pub(super) fn check(&self, account: Account, own: RateLimit) -> Result<(), Error> {
        let limit = match own {
            RateLimit::PerMinute(limit) => Some(limit),
            RateLimit::Default => self.default.key,
            RateLimit::Unlimited => None,
        };
        let Some(limit) = limit else {
            tell_standing(Standing::UNLIMITED);
            return Ok(());
        };
        let taken = self.accounts.take(&account, limit, &self.clock);
        let why = "the API key has used up its requests for now";
        told(taken, limit, why)
    }

    /// Counts a failed authentication of `source`; over the limit, the error to give in its place. Only failures
    /// are counted and only failures refused: a caller that can prove itself is let in from the same address.
    pub(super) fn check_failure(&self, source: Option<IpAddr>) -> Result<(), Error> {
        let (Some(limit), Some(source)) = (self.default.failures, source) else {
            return Ok(());
        };
        let taken = self.failures.take(&network(source), limit, &self.clock);
        let why = "too many failed authentications from this address";
        match taken {
            Ok(_) => Ok(()),
            Err(seconds) => told(Err(seconds), limit, why),
        }
    }

    /// Counts a request of a key or token that was proven and is let in no more, for its source and for itself; over
    /// either limit, the error to give in place of its own, and no record of its own.
    pub(super) fn check_refusal(
        &self,
        source: Option<IpAddr>,
        proof: ProofId,
    ) -> Result<(), Error> {
        self.check_failure(source)?;
        let Some(limit) = self.default.failures else {
            return Ok(());
        };
        let taken = self.refusals.take(&proof, limit, &self.clock);
        let why = "too many requests were refused to this key or token";
        match taken {
            Ok(_) => Ok(()),
            Err(seconds) => told(Err(seconds), limit, why),
        }
    }

    /// Counts an exchange from `source`; refuses it over the limit.
    pub(super) fn check_exchange(&self, source: IpAddr) -> Result<(), Error> {
        let limit = EXCHANGES_PER_MINUTE;
        let taken = self.exchanges.take(&network(source), limit, &self.clock);
        told(taken, limit, "too many exchanges came from this address")
    }

    /// Forgets the buckets that are full again; bounds memory.
    pub(super) fn forget_idle(&self) {
        self.exchanges.forget_idle();
        self.accounts.forget_idle();
        self.sources.forget_idle();
        self.failures.forget_idle();
        self.refusals.forget_idle();
    }
}

/// What a limit counts as one source: an IPv4 address, or the /64 network that one IPv6 host can roam in.
fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !0 << 64)),
        address => address,
    }
}

fn told(taken: Result<Standing, u64>, limit: NonZeroU32, why: &'static str) -> Result<(), Error> {
    match taken {
        Ok(standing) => {
            tell_standing(standing);
            Ok(())
        }
        Err(seconds) => {
            tell_standing(Standing {
                reset: seconds,
                ..Standing::of(limit, 0)
            });
            Err(Error::new(Code::RateLimited, why)
                .with("limit", u64::from(limit.get()))
                .with("retry_after", seconds))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::KeyId;

    fn limits(number: u32) -> Limits {
        let limit = NonZeroU32::new(number);
        Limits::new(DefaultLimits {
            key: limit,
            source: limit,
            failures: limit,
        })
    }

    fn account(number: u8) -> Account {
        Account::Key(KeyId::from_bytes([number; 16]))
    }

    #[test]
    fn a_burst_of_one_is_paid_for_by_nobody_else() {
        let limits = limits(100);
        let asked = |who| {
            (0..150)
                .filter(|_| limits.check(account(who), RateLimit::Default).is_ok())
                .count()
        };
        assert!((100..110).contains(&asked(1)));
        assert!((100..110).contains(&asked(2)));
        let starter = RateLimit::PerMinute(NonZeroU32::new(500).unwrap());
        assert!((0..500).all(|_| limits.check(account(3), starter).is_ok()));
        assert!((0..10_000).all(|_| limits.check(account(4), RateLimit::Unlimited).is_ok()));
    }

    #[test]
    fn the_hosts_of_one_ipv6_network_count_as_one_source() {
        let limits = limits(2);
        let ask = |source: &str| limits.check_source(source.parse().ok()).is_ok();
        assert!(ask("2001:db8:1:1::1") && ask("2001:db8:1:1:ffff::2"));
        assert!(!ask("2001:db8:1:1::3"));
        assert!(ask("2001:db8:1:2::1"));
        assert!(
            ask("192.0.2.1") && ask("::ffff:192.0.2.1") && !ask("192.0.2.1") && ask("192.0.2.2")
        );
    }

    #[test]
    fn an_idle_bucket_is_forgotten_and_a_used_one_is_not() {
        let limits = limits(1);
        let source = "192.0.2.1".parse().ok();
        assert!(limits.check_source(source).is_ok());
        limits.forget_idle();
        assert!(limits.check_source(source).is_err());
    }
}
