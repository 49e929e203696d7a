//! One measurement: one scenario, on one server, at one number of connections.

use std::time::Duration;

use serde::Serialize;

use super::{
    Failure,
    arrivals::Arrivals,
    drive::{self, Run, Tally},
    facts::Facts,
    scenario::Scenario,
    site::{Lease, Site},
};

/// What was measured of one server.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Sample {
    /// Answers a second.
    pub(super) per_second: f64,
    pub(super) answers: u64,
    /// Answers with another status than expected; more than none ends the bench.
    pub(super) errors: u64,
    #[serde(flatten)]
    pub(super) latency: Quantiles,
    /// CPU time of the server for one answer; absent where the process is not ours.
    pub(super) cpu_us_per_answer: Option<f64>,
    /// How many processors the generator kept busy, beside the server.
    pub(super) generator_cpus: f64,
    /// Resident memory of the server at the end.
    pub(super) rss_bytes: Option<u64>,
    /// The length of the average answer's body.
    pub(super) answer_bytes: f64,
}

/// Latency in microseconds.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Quantiles {
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) p999_us: f64,
}

impl Quantiles {
    pub(super) fn of(tally: &Tally) -> Self {
        let at = |quantile| tally.latencies.micros(quantile);
        Self {
            p50_us: at(0.5),
            p99_us: at(0.99),
            p999_us: at(0.999),
        }
    }
}

/// A scenario against a server.
pub(super) struct Measurement<'a> {
    pub(super) scenario: Scenario,
    pub(super) connections: usize,
    /// The server, and its credentials.
    pub(super) site: &'a Site,
    /// Open leases to send requests about; a vault whose leases the scenario closes makes its own.
    pub(super) leases: &'a [Lease],
    /// Whether a lease that was released is gone.
    pub(super) vault: bool,
}

impl Measurement<'_> {
    fn refills(&self) -> bool {
        self.vault && self.scenario.consumes()
    }

    async fn clients(&self, stock: u64) -> Result<Vec<drive::Client>, Failure> {
        let fresh;
        let leases = match self.vault && self.scenario.closes() {
            true => {
                fresh = self.site.prepare(stock).await?;
                &fresh
            }
            false => self.leases,
        };
        let sources = self
            .scenario
            .sources(self.site, leases, self.connections, self.vault)?;
        drive::connect(&self.site.peer, sources).await
    }

    /// In a closed loop for so long, after warming up. Where leases are used up, the clocks stand still while
    /// new ones are issued.
    pub(super) async fn closed(
        &self,
        warm_up: Duration,
        time: Duration,
    ) -> Result<Sample, Failure> {
        let stock = self.scenario.leases_before(self.connections);
        let mut clients = self.clients(stock).await?;
        if !warm_up.is_zero() {
            let (warm, run) = drive::closed_loop(clients, warm_up).await?;
            run.tally.check(self.scenario.name())?;
            clients = warm;
        }
        let mut meter = Meter::new(self.site)?;
        while meter.elapsed < time {
            if self.refills() {
                clients = self.clients(stock).await?;
            }
            let left = time.saturating_sub(meter.elapsed);
            meter.start()?;
            let (again, run) = drive::closed_loop(clients, left).await?;
            meter.stop(run)?;
            clients = again;
            meter.tally.check(self.scenario.name())?;
        }
        meter.sample()
    }

    /// At a fixed rate for so long, after warming up.
    pub(super) async fn at_rate(
        &self,
        rate: f64,
        warm_up: Duration,
        time: Duration,
    ) -> Result<Sample, Failure> {
        let stock = match self.scenario.consumes() {
            true => Arrivals::over(rate, warm_up, time).count(),
            false => self.scenario.leases_before(self.connections),
        };
        let clients = self.clients(stock).await?;
        let mut meter = Meter::new(self.site)?;
        meter.start()?;
        let (_, run) = drive::at_rate(clients, rate, warm_up, time).await?;
        meter.stop(run)?;
        meter.tally.check(self.scenario.name())?;
        let mut sample = meter.sample()?;
        // The clock of the CPU ran while warming up too.
        let counted = time.as_secs_f64() / (warm_up + time).as_secs_f64();
        sample.cpu_us_per_answer = sample.cpu_us_per_answer.map(|micros| micros * counted);
        sample.generator_cpus *= counted;
        Ok(sample)
    }
}

/// Adds up stretches of one measurement.
struct Meter {
    server: Option<Facts>,
    tally: Tally,
    elapsed: Duration,
    /// Seconds of CPU: the server's and the generator's.
    cpu: (f64, f64),
    begun: (f64, f64),
}

impl Meter {
    fn new(site: &Site) -> Result<Self, Failure> {
        Ok(Self {
            server: site.pid.map(Facts),
            tally: Tally::new()?,
            elapsed: Duration::ZERO,
            cpu: (0.0, 0.0),
            begun: (0.0, 0.0),
        })
    }

    fn read(&self) -> Result<(f64, f64), Failure> {
        let server = self.server.map(Facts::cpu_seconds).transpose()?;
        Ok((server.unwrap_or_default(), Facts::own().cpu_seconds()?))
    }

    fn start(&mut self) -> Result<(), Failure> {
        self.begun = self.read()?;
        Ok(())
    }

    fn stop(&mut self, run: Run) -> Result<(), Failure> {
        let now = self.read()?;
        self.cpu.0 += now.0 - self.begun.0;
        self.cpu.1 += now.1 - self.begun.1;
        self.elapsed += run.elapsed;
        self.tally.add(run.tally)
    }

    fn sample(self) -> Result<Sample, Failure> {
        let seconds = self.elapsed.as_secs_f64();
        let answers = self.tally.latencies.count();
        if answers == 0 {
            return Err("not one request was answered in the time given".into());
        }
        Ok(Sample {
            per_second: answers as f64 / seconds,
            answers,
            errors: self.tally.errors(),
            latency: Quantiles::of(&self.tally),
            cpu_us_per_answer: self.server.map(|_| self.cpu.0 * 1e6 / answers as f64),
            generator_cpus: self.cpu.1 / seconds,
            rss_bytes: self.server.map(Facts::rss_bytes).transpose()?,
            answer_bytes: self.tally.bytes as f64 / answers as f64,
        })
    }
}
