//! Leases that expire within the same second: what that does to grants, and how fast the backlog is worked off.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    super::{Failure, args::ScaleArgs, client::Connection, drive, note, site::Site},
    Figures, Target, connect,
};

/// The drain rate to reach, in leases a second. Grants are watched for as long as the backlog then takes.
const DRAIN_TARGET: f64 = 20_000.0;
/// The shortest time that grants are watched for.
const MIN_WATCH: Duration = Duration::from_secs(1);
/// The longest wait for the backlog.
const PATIENCE: Duration = Duration::from_secs(600);
/// How often the vault is asked how many leases it has closed.
const POLL: Duration = Duration::from_millis(50);
/// Grants in the time of one chunk, all with one TTL: so far apart may two leases of a chunk expire.
const CHUNK: Duration = Duration::from_millis(400);
/// Time between the last of these leases and the first expiry, at least.
const MARGIN: Duration = Duration::from_secs(3);
/// What the vault counts leases in that it closed because they expired.
const CLOSED: &str = "leasehold_reaper_closed_total";

/// Grants arrive at a quarter of the vault's rate all along.
pub(super) async fn measure(
    site: &Site,
    args: &ScaleArgs,
    grants_per_second: f64,
    figures: &mut Figures,
) -> Result<(), Failure> {
    let rate = (grants_per_second / 4.0).max(1.0);
    let connections = usize::from(args.connections);
    note("grants at a fixed rate, nothing expiring");
    let clients = connect(site, connections, super::LONG).await?;
    let quiet = drive::at_rate(clients, rate, args.duration / 4, args.duration).await?;
    let quiet = quiet.1.tally;
    quiet.check("grants")?;

    note(&format!(
        "issuing {} leases that expire together",
        args.expiring
    ));
    let mut connection = Connection::open(&site.peer).await?;
    let before = closed(site, &mut connection).await?;
    let issuing = Duration::from_secs_f64(2.0 * args.expiring as f64 / grants_per_second);
    let due = Instant::now() + issuing + MARGIN;
    issue(site, args.expiring, grants_per_second, due).await?;

    note("grants at the same rate, over the expiry");
    let clients = connect(site, connections, super::LONG).await?;
    let until = due.saturating_duration_since(Instant::now());
    let watch = MIN_WATCH.max(Duration::from_secs_f64(args.expiring as f64 / DRAIN_TARGET));
    let (busy, drained_in) = tokio::try_join!(
        drive::at_rate(clients, rate, until, watch),
        drained(site, &mut connection, before + args.expiring, due),
    )?;
    let busy = busy.1.tally;
    busy.check("grants over the expiry")?;

    let p99 = |tally: &drive::Tally| tally.latencies.micros(0.99);
    figures.add("grants at a quarter of the rate", rate, "/s");
    figures.add("their p99, nothing expiring", p99(&quiet), "us");
    figures.add("their p99, over the expiry", p99(&busy), "us");
    let ratio = p99(&busy) / p99(&quiet);
    figures.aim("p99 over the expiry, times", ratio, "", Target::AtMost(2.0));
    let drain = args.expiring as f64 / drained_in.as_secs_f64();
    figures.aim(
        "backlog drained",
        drain,
        "/s",
        Target::AtLeast(DRAIN_TARGET),
    );
    Ok(())
}

/// Issues leases in chunks, each with the TTL that is left until `due`.
async fn issue(site: &Site, leases: u64, per_second: f64, due: Instant) -> Result<(), Failure> {
    let chunk = ((per_second * CHUNK.as_secs_f64()) as u64).max(1);
    let mut left = leases;
    while left > 0 {
        let ttl = due.saturating_duration_since(Instant::now()).as_millis();
        if ttl == 0 {
            return Err("the leases could not be issued before the first of them expired".into());
        }
        let requests = Arc::new(site.issues_for(&format!("{ttl}ms"), false));
        let now = chunk.min(left);
        site.grant(now, requests, false).await?;
        left -= now;
    }
    Ok(())
}

/// Waits until so many leases are closed; gives back how long after `due` that was.
async fn drained(
    site: &Site,
    connection: &mut Connection,
    target: u64,
    due: Instant,
) -> Result<Duration, Failure> {
    tokio::time::sleep_until(due.into()).await;
    while due.elapsed() < PATIENCE {
        if closed(site, connection).await? >= target {
            return Ok(due.elapsed());
        }
        tokio::time::sleep(POLL).await;
    }
    Err("the leases that expired were not closed in time".into())
}

/// How many leases the vault has closed because they expired.
async fn closed(site: &Site, connection: &mut Connection) -> Result<u64, Failure> {
    let answer = connection.ask(&site.peer.get("/metrics", "")).await?;
    let text = std::str::from_utf8(answer.body)?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(CLOSED)?.trim().parse().ok());
    // A counter that never counted is not shown.
    Ok(value.unwrap_or_default())
}
