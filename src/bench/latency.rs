//! Latencies, counted in a histogram that is exact to one percent.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// The longest latency that is told apart from a longer one.
const LONGEST: Duration = Duration::from_secs(600);
/// The shortest one.
const SHORTEST: Duration = Duration::from_micros(1);
/// Two digits: one percent, and a few kilobytes that stay in the processor's cache.
const DIGITS: u8 = 2;

/// How long answers took.
#[derive(Debug, Clone)]
pub(super) struct Latencies(Histogram<u32>);

impl Latencies {
    pub(super) fn new() -> Result<Self, hdrhistogram::CreationError> {
        Histogram::new_with_bounds(nanos(SHORTEST), nanos(LONGEST), DIGITS).map(Self)
    }

    /// Counts an answer that came at `end` to a request that was due at `due`. Where requests arrive at a fixed
    /// rate, `due` is the arrival's time and not when the request could be sent at last: a server that stalls
    /// must not be asked less just because it stalls (coordinated omission).
    pub(super) fn record(&mut self, due: Instant, end: Instant) {
        self.0
            .saturating_record(nanos(end.saturating_duration_since(due)));
    }

    /// Takes over what another one counted.
    pub(super) fn add(&mut self, other: &Self) -> Result<(), hdrhistogram::AdditionError> {
        self.0.add(&other.0)
    }

    /// How many answers were counted.
    pub(super) fn count(&self) -> u64 {
        self.0.len()
    }

    /// The latency, in microseconds, that this share of the answers did not exceed.
    pub(super) fn micros(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1e3
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_exact_to_one_percent() {
        let mut latencies = Latencies::new().unwrap();
        let due = Instant::now();
        for micros in 1..=1000 {
            latencies.record(due, due + Duration::from_micros(micros));
        }
        let mut other = Latencies::new().unwrap();
        other.record(due, due + 2 * LONGEST);
        latencies.add(&other).unwrap();
        assert_eq!(latencies.count(), 1001);
        for (quantile, micros) in [(0.5, 500.0), (0.99, 990.0), (1.0, 600e6)] {
            let seen = latencies.micros(quantile);
            assert!((seen / micros - 1.0).abs() < 0.011, "{quantile}: {seen}");
        }
    }

    #[test]
    fn a_request_that_had_to_wait_is_counted_from_when_it_was_due() {
        let mut latencies = Latencies::new().unwrap();
        let due = Instant::now();
        // Ten requests, due every 10 ms, all answered at once after a stall of 100 ms.
        for n in 0..10 {
            let late = due + Duration::from_millis(100);
            latencies.record(due + Duration::from_millis(n * 10), late);
        }
        assert!(latencies.micros(0.99) >= 99e3);
        assert!(latencies.micros(0.5) >= 49e3);
    }
}
