//! The times at which requests arrive, fixed before the first one is sent: evenly, at a given rate, whatever the
//! server makes of them.

use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;

/// A fixed schedule: some requests to warm up, then those that count.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrivals {
    /// Requests a second.
    rate: f64,
    warm_up: u64,
    counted: u64,
}

/// A request that is due.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    pub(super) due: Instant,
    /// Whether it came after the warm-up.
    pub(super) counts: bool,
}

impl Arrivals {
    /// All arrivals of `warm_up` and then of `time`, of which at least one counts.
    pub(super) fn over(rate: f64, warm_up: Duration, time: Duration) -> Self {
        let in_time = |time: Duration| (rate * time.as_secs_f64()).round() as u64;
        Self {
            rate,
            warm_up: in_time(warm_up),
            counted: in_time(time).max(1),
        }
    }

    /// How many requests there are, those to warm up included.
    pub(super) fn count(&self) -> u64 {
        self.warm_up + self.counted
    }

    /// When the first request that counts is due, after the start.
    pub(super) fn first_counted(&self) -> Duration {
        self.due(self.warm_up)
    }

    /// The time that the requests that count are spread over.
    pub(super) fn span(&self) -> Duration {
        self.due(self.counted)
    }

    /// When request number `n` is due, after the start. Computed anew each time, so that no rounding adds up.
    fn due(&self, n: u64) -> Duration {
        Duration::from_secs_f64(n as f64 / self.rate)
    }

    /// Hands the times out, each when it has come, to the connections by turns. Blocks its thread: a timer of
    /// the runtime is a millisecond off, a sleeping thread a tenth of that. Ends early when nobody listens.
    pub(super) fn hand_out(self, start: Instant, to: &[UnboundedSender<Arrival>]) {
        for (n, lane) in (0..self.count()).zip(to.iter().cycle()) {
            let due = start + self.due(n);
            let wait = due.saturating_duration_since(Instant::now());
            if !wait.is_zero() {
                std::thread::sleep(wait);
            }
            let counts = n >= self.warm_up;
            if lane.send(Arrival { due, counts }).is_err() {
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
        let arrivals = Arrivals::over(3000.0, Duration::from_secs(10), Duration::from_secs(50));
        assert_eq!((arrivals.warm_up, arrivals.counted), (30_000, 150_000));
        assert_eq!(arrivals.due(0), Duration::ZERO);
        assert_eq!(arrivals.due(1), Duration::from_secs_f64(1.0 / 3000.0));
        assert_eq!(arrivals.due(90_000), Duration::from_secs(30));
        assert_eq!(arrivals.due(179_997), Duration::from_millis(59_999));
    }

    #[test]
    fn however_low_the_rate_one_arrival_counts() {
        let millis = Duration::from_millis;
        let arrivals = Arrivals::over(1.0, millis(50), millis(300));
        assert_eq!((arrivals.warm_up, arrivals.counted), (0, 1));
        assert_eq!(arrivals.first_counted(), Duration::ZERO);
        assert_eq!(arrivals.span(), Duration::from_secs(1));
        let arrivals = Arrivals::over(1.0, millis(900), millis(300));
        assert_eq!((arrivals.warm_up, arrivals.counted), (1, 1));
    }

    #[test]
    fn the_schedule_takes_no_notice_of_the_receivers() {
        let millis = Duration::from_millis;
        let arrivals = Arrivals::over(1000.0, millis(5), millis(15));
        let (lanes, mut ends): (Vec<_>, Vec<_>) = (0..3)
            .map(|_| tokio::sync::mpsc::unbounded_channel())
            .unzip();
        let start = Instant::now();
        // Nobody takes anything out until all have arrived.
        arrivals.hand_out(start, &lanes);
        let mut seen = Vec::new();
        for end in &mut ends {
            while let Ok(arrival) = end.try_recv() {
                seen.push((arrival.due - start, arrival.counts));
            }
        }
        seen.sort();
        let expected: Vec<_> = (0..20).map(|n| (millis(n), n >= 5)).collect();
        assert_eq!(seen, expected);
    }
}
