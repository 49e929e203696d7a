//! The times at which requests arrive, fixed before the first one is sent: evenly, at a given rate, whatever the
//! server makes of them.

use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;

/// A fixed schedule.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrivals {
    /// Requests a second.
    pub(super) rate: f64,
    /// How many requests there are.
    pub(super) count: u64,
}

impl Arrivals {
    /// All arrivals of so long a time; at least one.
    pub(super) fn over(rate: f64, time: Duration) -> Self {
        let count = ((rate * time.as_secs_f64()).round() as u64).max(1);
        Self { rate, count }
    }

    /// When request number `n` is due, after the start. Computed anew each time, so that no rounding adds up.
    pub(super) fn due(&self, n: u64) -> Duration {
        Duration::from_secs_f64(n as f64 / self.rate)
    }

    /// Hands the times out, each when it has come, to the connections by turns. Blocks its thread: a timer of
    /// the runtime is a millisecond off, a sleeping thread a tenth of that. Ends early when nobody listens.
    pub(super) fn hand_out(self, start: Instant, to: &[UnboundedSender<Instant>]) {
        for (n, lane) in (0..self.count).zip(to.iter().cycle()) {
            let due = start + self.due(n);
            let wait = due.saturating_duration_since(Instant::now());
            if !wait.is_zero() {
                std::thread::sleep(wait);
            }
            if lane.send(due).is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_are_even_and_do_not_drift() {
        let arrivals = Arrivals::over(3000.0, Duration::from_secs(60));
        assert_eq!(arrivals.count, 180_000);
        assert_eq!(arrivals.due(0), Duration::ZERO);
        assert_eq!(arrivals.due(1), Duration::from_secs_f64(1.0 / 3000.0));
        assert_eq!(arrivals.due(90_000), Duration::from_secs(30));
        assert_eq!(arrivals.due(179_997), Duration::from_millis(59_999));
        assert_eq!(Arrivals::over(0.5, Duration::from_millis(1)).count, 1);
    }

    #[test]
    fn the_schedule_takes_no_notice_of_the_receivers() {
        let arrivals = Arrivals::over(1000.0, Duration::from_millis(20));
        let (lanes, mut ends): (Vec<_>, Vec<_>) = (0..3)
            .map(|_| tokio::sync::mpsc::unbounded_channel())
            .unzip();
        let start = Instant::now();
        // Nobody takes anything out until all have arrived.
        arrivals.hand_out(start, &lanes);
        let mut due = Vec::new();
        for end in &mut ends {
            while let Ok(at) = end.try_recv() {
                due.push(at - start);
            }
        }
        due.sort();
        assert_eq!(due.len(), 20);
        for (n, at) in due.into_iter().enumerate() {
            assert_eq!(at, Duration::from_micros(1000 * n as u64));
        }
    }
}
