//! Drives connections: in a closed loop, where each sends its next request once the last one is answered, or at a
//! fixed arrival rate.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{sync::mpsc, task::JoinSet, time::timeout};

use super::{
    Failure,
    arrivals::{Arrival, Arrivals},
    client::{ClientError, Connection, PATIENCE, Peer},
    latency::Latencies,
    source::Source,
};

/// The most characters of a refusal that are repeated.
const MAX_REFUSAL: usize = 300;

/// A connection and what it sends.
pub(super) struct Client {
    connection: Connection,
    pub(super) source: Source,
}

/// Opens a connection for each source.
pub(super) async fn connect(peer: &Peer, sources: Vec<Source>) -> Result<Vec<Client>, Failure> {
    let mut clients = Vec::with_capacity(sources.len());
    for source in sources {
        let connection = Connection::open(peer).await?;
        clients.push(Client { connection, source });
    }
    Ok(clients)
}

/// What came back.
pub(super) struct Tally {
    pub(super) latencies: Latencies,
    /// Bytes of all bodies.
    pub(super) bytes: u64,
    /// Answers with another status than expected, by status.
    refused: BTreeMap<u16, u64>,
    first_refusal: Option<String>,
}

impl Tally {
    pub(super) fn new() -> Result<Self, Failure> {
        Ok(Self {
            latencies: Latencies::new()?,
            bytes: 0,
            refused: BTreeMap::new(),
            first_refusal: None,
        })
    }

    pub(super) fn add(&mut self, other: Self) -> Result<(), Failure> {
        self.latencies.add(&other.latencies)?;
        self.bytes += other.bytes;
        for (status, count) in other.refused {
            *self.refused.entry(status).or_default() += count;
        }
        self.first_refusal = self.first_refusal.take().or(other.first_refusal);
        Ok(())
    }

    /// Answers other than expected.
    pub(super) fn errors(&self) -> u64 {
        self.refused.values().sum()
    }

    /// Fails where any answer was not as expected: a figure that counts refusals measures something else.
    pub(super) fn check(&self, what: &str) -> Result<(), Failure> {
        if self.refused.is_empty() {
            return Ok(());
        }
        let by_status: Vec<_> = self
            .refused
            .iter()
            .map(|(status, count)| format!("{count} with status {status}"))
            .collect();
        let first = self.first_refusal.as_deref().unwrap_or_default();
        Err(format!(
            "{what}: {} of {} answers were not as expected ({}); the first said {first}",
            self.errors(),
            self.errors() + self.latencies.count(),
            by_status.join(", ")
        )
        .into())
    }

    fn refuse(&mut self, status: u16, body: &[u8]) {
        *self.refused.entry(status).or_default() += 1;
        if self.first_refusal.is_none() {
            // A success that was not expected may show a secret; a refusal never does.
            let text = match status {
                400.. => String::from_utf8_lossy(body)
                    .chars()
                    .take(MAX_REFUSAL)
                    .collect(),
                _ => format!("status {status}"),
            };
            self.first_refusal = Some(text);
        }
    }
}

/// What a run came to.
pub(super) struct Run {
    pub(super) tally: Tally,
    pub(super) elapsed: Duration,
}

impl Client {
    /// One exchange; false when the source is used up.
    async fn once(&mut self, due: Option<Instant>, tally: &mut Tally) -> Result<bool, ClientError> {
        let Some((request, expected)) = self.source.next() else {
            return Ok(false);
        };
        let due = due.unwrap_or_else(Instant::now);
        let answer = self.connection.exchange(request).await?;
        if answer.status == expected {
            tally.latencies.record(due, Instant::now());
            tally.bytes += answer.body.len() as u64;
            self.source.answered(answer.body);
        } else {
            tally.refuse(answer.status, answer.body);
        }
        Ok(true)
    }
}

type Finished = Result<(Client, Tally), Failure>;

/// Sends for as long as given, or until a source is used up. Answers that come after that are waited for and
/// counted, and so is the time they take.
pub(super) async fn closed_loop(
    clients: Vec<Client>,
    limit: Duration,
) -> Result<(Vec<Client>, Run), Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for mut client in clients {
        let stop = stop.clone();
        tasks.spawn(async move {
            let mut tally = Tally::new()?;
            while !stop.load(Ordering::Relaxed) && client.once(None, &mut tally).await? {}
            Finished::Ok((client, tally))
        });
    }
    // The first that ends ends all: it has nothing left to send, or failed.
    let first = timeout(limit, tasks.join_next()).await.ok().flatten();
    stop.store(true, Ordering::Relaxed);
    collect(tasks, first, begun).await
}

/// Sends until every source is used up.
pub(super) async fn to_the_end(clients: Vec<Client>) -> Result<(Vec<Client>, Run), Failure> {
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for mut client in clients {
        tasks.spawn(async move {
            let mut tally = Tally::new()?;
            while timeout(PATIENCE, client.once(None, &mut tally))
                .await
                .map_err(|_| ClientError::Late)??
            {}
            Finished::Ok((client, tally))
        });
    }
    let mut finished = Vec::new();
    while let Some(next) = tasks.join_next().await {
        finished.push(next??);
    }
    merge(finished, begun)
}

/// Sends at a fixed rate. What is due while warming up is sent and not counted.
pub(super) async fn at_rate(
    clients: Vec<Client>,
    rate: f64,
    warm_up: Duration,
    time: Duration,
) -> Result<(Vec<Client>, Run), Failure> {
    let arrivals = Arrivals::over(rate, warm_up, time);
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    let mut lanes = Vec::with_capacity(clients.len());
    for mut client in clients {
        let (lane, mut arrivals) = mpsc::unbounded_channel();
        lanes.push(lane);
        tasks.spawn(async move {
            let (mut tally, mut ignored) = (Tally::new()?, Tally::new()?);
            while let Some(Arrival { due, counts }) = arrivals.recv().await {
                let into = if counts { &mut tally } else { &mut ignored };
                if !client.once(Some(due), into).await? {
                    return Err("the leases prepared for the fixed rate were too few".into());
                }
            }
            ignored.check("warming up")?;
            Finished::Ok((client, tally))
        });
    }
    let pace = tokio::task::spawn_blocking(move || arrivals.hand_out(begun, &lanes));
    let first = timeout(warm_up + time + PATIENCE, tasks.join_next())
        .await
        .map_err(|_| {
            let late = PATIENCE.as_secs();
            format!("at {rate:.0} requests a second the server fell {late} seconds behind; ask for fewer")
        })?;
    let done = collect(tasks, first, begun + arrivals.first_counted()).await;
    // Every lane is closed by now, so the pace has ended or ends at its next arrival.
    drop(pace);
    let (clients, mut run) = done?;
    // The last arrival is answered before its share of the time is over, unless the server fell behind.
    run.elapsed = run.elapsed.max(arrivals.span());
    Ok((clients, run))
}

async fn collect(
    mut tasks: JoinSet<Finished>,
    first: Option<Result<Finished, tokio::task::JoinError>>,
    begun: Instant,
) -> Result<(Vec<Client>, Run), Failure> {
    let mut finished = Vec::new();
    if let Some(first) = first {
        finished.push(first??);
    }
    let rest = async {
        while let Some(next) = tasks.join_next().await {
            finished.push(next??);
        }
        Ok::<_, Failure>(())
    };
    timeout(PATIENCE, rest)
        .await
        .map_err(|_| ClientError::Late)??;
    merge(finished, begun)
}

fn merge(finished: Vec<(Client, Tally)>, begun: Instant) -> Result<(Vec<Client>, Run), Failure> {
    let elapsed = begun.elapsed();
    let mut tally = Tally::new()?;
    let mut clients = Vec::with_capacity(finished.len());
    for (client, own) in finished {
        clients.push(client);
        tally.add(own)?;
    }
    Ok((clients, Run { tally, elapsed }))
}

#[cfg(test)]
mod tests;
