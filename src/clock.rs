//! The vault's time. INVARIANT (clock): it never runs backwards, not across a restart, a clock that is set
//! back or a suspended machine, and it never stands still.
//!
//! `now = boot time + offset`, where the offset only ever grows: to the wall clock's when that is ahead, and
//! at the start to the persisted high-water mark. A wall clock that once ran ahead is followed for good: leases
//! end too early then, and never too late.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use rustix::time::{ClockId, clock_gettime};

use crate::domain::time::Timestamp;

const MICROS_IN_SECOND: i64 = 1_000_000;
const MICROS_IN_MILLI: i64 = 1_000;

/// Where raw time comes from.
pub trait TimeSource: Send + Sync + 'static {
    /// Microseconds since the Unix epoch, as the machine believes; may jump either way.
    fn wall_micros(&self) -> i64;
    /// Microseconds since some fixed instant, suspension included; never goes back.
    fn boot_micros(&self) -> i64;
}

/// The machine's clocks.
pub struct SystemTime;

fn micros(clock: ClockId) -> i64 {
    let now = clock_gettime(clock);
    now.tv_sec
        .saturating_mul(MICROS_IN_SECOND)
        .saturating_add(now.tv_nsec / 1_000)
}

impl TimeSource for SystemTime {
    fn wall_micros(&self) -> i64 {
        micros(ClockId::Realtime)
    }

    fn boot_micros(&self) -> i64 {
        micros(ClockId::Boottime)
    }
}

/// The one clock of a vault.
pub struct Clock {
    source: Arc<dyn TimeSource>,
    offset: AtomicI64,
    /// The latest time known to be durable, in milliseconds.
    kept: AtomicU64,
}

impl Clock {
    /// A clock that is nowhere behind `high_water`, the latest time that an earlier run wrote down.
    pub fn new(source: Arc<dyn TimeSource>, high_water: Option<Timestamp>) -> Self {
        let floor = high_water.map_or(0, |mark| {
            i64::try_from(mark.as_millis())
                .unwrap_or(i64::MAX)
                .saturating_mul(MICROS_IN_MILLI)
        });
        let offset = floor.saturating_sub(source.boot_micros());
        Self {
            source,
            offset: AtomicI64::new(offset),
            kept: AtomicU64::new(high_water.map_or(0, Timestamp::as_millis)),
        }
    }

    /// A time that no restart goes behind.
    pub fn kept(&self) -> Timestamp {
        Timestamp::from_millis(self.kept.load(Ordering::Acquire))
    }

    /// Notes that `time` is durable.
    pub fn keep(&self, time: Timestamp) {
        self.kept.fetch_max(time.as_millis(), Ordering::AcqRel);
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        // The wall clock is read first: a thread that is held up between the two then finds the offset too small,
        // which the next reading mends. The other way round it would be too large, and stay so for good.
        let wall = self.source.wall_micros();
        let boot = self.source.boot_micros();
        let ahead = wall.saturating_sub(boot);
        let offset = self.offset.fetch_max(ahead, Ordering::AcqRel).max(ahead);
        let now = boot.saturating_add(offset) / MICROS_IN_MILLI;
        Timestamp::from_millis(u64::try_from(now).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fake {
        wall: AtomicI64,
        boot: AtomicI64,
        /// How long a thread stands still after it read a clock.
        held_up: AtomicI64,
    }

    impl Fake {
        fn at(wall: i64, boot: i64) -> Arc<Self> {
            Arc::new(Self {
                wall: AtomicI64::new(wall),
                boot: AtomicI64::new(boot),
                held_up: AtomicI64::new(0),
            })
        }

        fn read(&self, clock: &AtomicI64) -> i64 {
            let read = clock.load(Ordering::SeqCst);
            let passed = self.held_up.load(Ordering::SeqCst);
            self.wall.fetch_add(passed, Ordering::SeqCst);
            self.boot.fetch_add(passed, Ordering::SeqCst);
            read * MICROS_IN_MILLI
        }
    }

    impl TimeSource for Fake {
        fn wall_micros(&self) -> i64 {
            self.read(&self.wall)
        }

        fn boot_micros(&self) -> i64 {
            self.read(&self.boot)
        }
    }

    // INVARIANT (clock)
    #[test]
    fn time_neither_runs_backwards_nor_stands_still() {
        let fake = Fake::at(1_000_000, 50);
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

    // Leases would end before their time, the more so the longer a busy vault runs.
    #[test]
    fn a_thread_that_is_held_up_between_the_two_clocks_does_not_set_time_forward() {
        let fake = Fake::at(1_000_000, 50);
        let clock = Clock::new(fake.clone(), None);
        for passed in [250, 0, 70, 1_000, 0] {
            fake.held_up.store(passed, Ordering::SeqCst);
            let now = clock.now().as_millis();
            let wall = fake.wall.load(Ordering::SeqCst);
            assert!(now <= wall as u64, "{now} is ahead of {wall}");
        }
        assert_eq!(
            clock.now().as_millis(),
            fake.wall.load(Ordering::SeqCst) as u64,
            "nor does it stay behind"
        );
    }
}
