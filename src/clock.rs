//! The vault's time. INVARIANT (clock): it never runs backwards, not across a restart, a clock that is set
//! back or a suspended machine, and it never stands still.
//!
//! `now = boot time + offset`, where the offset only ever grows: to the wall clock's when that is ahead, and
//! at the start to the persisted high-water mark. A wall clock that once ran ahead is followed for good: leases
//! end too early then, and never too late.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use rustix::time::{ClockId, clock_gettime};

use crate::domain::time::Timestamp;

/// Where raw time comes from.
pub trait TimeSource: Send + Sync + 'static {
    /// Milliseconds since the Unix epoch, as the machine believes; may jump either way.
    fn wall_millis(&self) -> i64;
    /// Milliseconds since some fixed instant, suspension included; never goes back.
    fn boot_millis(&self) -> i64;
}

/// The machine's clocks.
pub struct SystemTime;

fn millis(clock: ClockId) -> i64 {
    let now = clock_gettime(clock);
    now.tv_sec
        .saturating_mul(1_000)
        .saturating_add(now.tv_nsec / 1_000_000)
}

impl TimeSource for SystemTime {
    fn wall_millis(&self) -> i64 {
        millis(ClockId::Realtime)
    }

    fn boot_millis(&self) -> i64 {
        millis(ClockId::Boottime)
    }
}

/// The one clock of a vault.
pub struct Clock {
    source: Arc<dyn TimeSource>,
    offset: AtomicI64,
}

impl Clock {
    /// A clock that is nowhere behind `high_water`, the latest time that an earlier run wrote down.
    pub fn new(source: Arc<dyn TimeSource>, high_water: Option<Timestamp>) -> Self {
        let floor = high_water.map_or(0, |mark| {
            i64::try_from(mark.as_millis()).unwrap_or(i64::MAX)
        });
        let offset = floor.saturating_sub(source.boot_millis());
        Self {
            source,
            offset: AtomicI64::new(offset),
        }
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        let boot = self.source.boot_millis();
        let wall = self.source.wall_millis().saturating_sub(boot);
        let offset = self.offset.fetch_max(wall, Ordering::AcqRel).max(wall);
        Timestamp::from_millis(u64::try_from(boot.saturating_add(offset)).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fake {
        wall: AtomicI64,
        boot: AtomicI64,
    }

    impl TimeSource for Fake {
        fn wall_millis(&self) -> i64 {
            self.wall.load(Ordering::SeqCst)
        }

        fn boot_millis(&self) -> i64 {
            self.boot.load(Ordering::SeqCst)
        }
    }

    // INVARIANT (clock)
    #[test]
    fn time_neither_runs_backwards_nor_stands_still() {
        let fake = Arc::new(Fake {
            wall: AtomicI64::new(1_000_000),
            boot: AtomicI64::new(50),
        });
        let clock = Clock::new(fake.clone(), None);
        assert_eq!(clock.now().as_millis(), 1_000_000);
        fake.wall.store(1_500_000, Ordering::SeqCst);
        assert_eq!(clock.now().as_millis(), 1_500_000);
        fake.wall.store(10, Ordering::SeqCst);
        fake.boot.store(60, Ordering::SeqCst);
        assert_eq!(
            clock.now().as_millis(),
            1_500_010,
            "the wall clock was set back: boot time carries on"
        );
        let restarted = Clock::new(fake.clone(), Some(clock.now()));
        fake.boot.store(65, Ordering::SeqCst);
        assert_eq!(
            restarted.now().as_millis(),
            1_500_015,
            "a restart does not go behind the mark"
        );
    }
}
