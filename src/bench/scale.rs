//! `leasehold bench scale`: a vault with very many leases. Filled over HTTP, stopped, started on the same folder,
//! then measured: its start, its memory, its grants, a backlog of leases that expire together, and what it grows by.
//!
//! The page cache of the system stays warm over the restart: a start after the machine's own is slower by what
//! reading the store from disk takes.

mod backlog;
mod report;

use std::{
    sync::{Arc, atomic::AtomicI64},
    time::{Duration, Instant},
};

pub(super) use self::report::ScaleReport;
use self::report::{Figures, Growth, Target};
use super::{
    Failure,
    args::ScaleArgs,
    client::Connection,
    drive,
    facts::{Facts, disk_bytes},
    measure::Quantiles,
    note,
    server::{Folder, Vault},
    site::Site,
    source::{Mixed, Source, Step},
    suite::own_site,
};

/// The TTL of leases that stay open: longer than any run.
const LONG: &str = "7d";
/// Leases issued between two lines that tell how far it is.
const FILL_STEP: u64 = 100_000;
/// The most leases of one credential, below the cap that the bench sets.
const MAX_PER_CREDENTIAL: u64 = 900_000;
/// How often growth is looked at while leases are cycled.
const GROWTH_STEPS: u64 = 10;

/// Runs every part, one after the other, on one folder.
pub(super) async fn run(args: &ScaleArgs) -> Result<ScaleReport, Failure> {
    let open_at_most = args.leases.max(args.expiring) / u64::from(args.credentials);
    if open_at_most > MAX_PER_CREDENTIAL {
        return Err(format!(
            "{open_at_most} leases of one credential are more than {MAX_PER_CREDENTIAL}; raise --credentials"
        )
        .into());
    }
    let folder = Folder::make(args.dir.as_deref())?;
    let vault = Vault::start(&folder, args.retention).await?;
    let keys = vault.keys()?.clone();
    let site_of = |vault: &Vault| own_site(&vault.address, &keys, vault.pid(), args.credentials);
    let mut figures = Figures::default();
    figures.add(
        "start on an empty folder",
        vault.started_in.as_secs_f64(),
        "s",
    );

    let site = site_of(&vault);
    site.store_credentials(args.value_bytes).await?;
    note("grants on the empty store");
    let empty = grants(&site, args).await?;
    figures.add("grants, empty store", empty.per_second, "/s");
    figures.add("grants, empty store, p99", empty.latency.p99_us, "us");

    let open = fill(&site, args, empty.count, &mut figures).await?;
    let disk = disk_bytes(&folder.data())?;
    figures.add("open leases", open as f64, "");
    figures.add("disk in use", disk as f64, "bytes");
    figures.add(
        "disk in use, each open lease",
        disk as f64 / open as f64,
        "bytes",
    );
    let rss = Facts(vault.pid()).rss_bytes()?;
    figures.aim("memory, filled", rss as f64, "bytes", Target::Below(RSS));

    note("stopping and starting");
    figures.add("stop", vault.stop().await?.as_secs_f64(), "s");
    let begun = Instant::now();
    let vault = Vault::start(&folder, args.retention).await?;
    let site = site_of(&vault);
    ready(&site).await?;
    figures.aim(
        "start to serving",
        begun.elapsed().as_secs_f64(),
        "s",
        Target::Below(2.0),
    );
    let facts = Facts(vault.pid());
    figures.aim(
        "memory, started",
        facts.rss_bytes()? as f64,
        "bytes",
        Target::Below(RSS),
    );

    note("grants on the full store");
    let full = grants(&site, args).await?;
    figures.add("grants, full store", full.per_second, "/s");
    figures.add("grants, full store, p99", full.latency.p99_us, "us");
    let kept = full.per_second / empty.per_second;
    figures.aim(
        "grants, full over empty store",
        kept,
        "",
        Target::AtLeast(0.8),
    );
    figures.aim(
        "memory, after grants",
        facts.rss_bytes()? as f64,
        "bytes",
        Target::Below(RSS),
    );

    backlog::measure(&site, args, full.per_second, &mut figures).await?;
    let growth = cycle(&site, args, &folder, &mut figures).await?;
    figures.add("stop at the end", vault.stop().await?.as_secs_f64(), "s");
    Ok(ScaleReport::new(args, figures, growth))
}

/// The memory that a vault may take with its default cache: 1 GiB.
const RSS: f64 = 1024.0 * 1024.0 * 1024.0;

/// Grants in a closed loop.
struct Grants {
    per_second: f64,
    latency: Quantiles,
    /// Leases made, while warming up too.
    count: u64,
}

/// As many grants as go in the time given, after a quarter of it to warm up. The leases stay open.
async fn grants(site: &Site, args: &ScaleArgs) -> Result<Grants, Failure> {
    let clients = connect(site, usize::from(args.connections), LONG).await?;
    let (clients, warm) = drive::closed_loop(clients, args.duration / 4).await?;
    warm.tally.check("warming up")?;
    let (_, run) = drive::closed_loop(clients, args.duration).await?;
    run.tally.check("grants")?;
    let count = run.tally.latencies.count();
    Ok(Grants {
        per_second: count as f64 / run.elapsed.as_secs_f64(),
        latency: Quantiles::of(&run.tally),
        count: count + warm.tally.latencies.count(),
    })
}

/// Connections that issue leases, spread over the credentials.
async fn connect(
    site: &Site,
    connections: usize,
    ttl: &str,
) -> Result<Vec<drive::Client>, Failure> {
    let requests = Arc::new(site.issues_for(ttl, false));
    let apart = (requests.len() / connections).max(1);
    let round = |n| Source::round(requests.clone(), n * apart, 201);
    drive::connect(&site.peer, (0..connections).map(round).collect()).await
}

/// Issues what is missing to the number of leases that must be open; gives back how many are.
async fn fill(
    site: &Site,
    args: &ScaleArgs,
    mut open: u64,
    figures: &mut Figures,
) -> Result<u64, Failure> {
    let requests = Arc::new(site.issues_for(LONG, false));
    let missing = args.leases.saturating_sub(open);
    let begun = Instant::now();
    while open < args.leases {
        note(&format!(
            "filling: {open} of {} leases are open",
            args.leases
        ));
        let step = FILL_STEP.min(args.leases - open);
        site.grant(step, requests.clone(), false).await?;
        open += step;
    }
    if missing > 0 {
        figures.add(
            "filling",
            missing as f64 / begun.elapsed().as_secs_f64(),
            "/s",
        );
    }
    Ok(open)
}

async fn ready(site: &Site) -> Result<(), Failure> {
    let mut connection = Connection::open(&site.peer).await?;
    let status = connection.ask(&site.peer.get("/ready", "")).await?.status;
    match status {
        200 => Ok(()),
        status => Err(format!("the vault that was started again is not ready: {status}").into()),
    }
}

/// Issues and releases leases; tells after each part what disk and memory came to.
async fn cycle(
    site: &Site,
    args: &ScaleArgs,
    folder: &Folder,
    figures: &mut Figures,
) -> Result<Vec<Growth>, Failure> {
    let facts = Facts(site.pid.ok_or("a vault of our own without a process")?);
    let look = |cycles| {
        Ok::<_, Failure>(Growth {
            cycles,
            disk_bytes: disk_bytes(&folder.data())?,
            rss_bytes: facts.rss_bytes()?,
        })
    };
    let issues = Arc::new(site.issues(false));
    let connections = usize::from(args.connections);
    let mut growth = vec![look(0)?];
    let mut done = 0;
    let mut busy = Duration::ZERO;
    for part in 1..=GROWTH_STEPS {
        let upto = args.cycles * part / GROWTH_STEPS;
        if upto == done {
            continue;
        }
        note(&format!("cycling: {done} of {} leases", args.cycles));
        // Two requests a cycle.
        let left = Arc::new(AtomicI64::new(i64::try_from((upto - done) * 2)?));
        let source = |n| {
            let steps = &[Step::Issue, Step::Release];
            let mixed = Mixed::new(site, issues.clone(), steps, n * 2, Vec::new());
            Source::Mixed(mixed.bounded(left.clone()))
        };
        let clients = drive::connect(&site.peer, (0..connections).map(source).collect()).await?;
        let (_, run) = drive::to_the_end(clients).await?;
        run.tally.check("cycling leases")?;
        busy += run.elapsed;
        done += run.tally.latencies.count() / 2;
        growth.push(look(done)?);
        // What the connections overshot by counts for the next part.
        done = done.max(upto);
    }
    figures.add(
        "cycles of issue and release",
        done as f64 / busy.as_secs_f64(),
        "/s",
    );
    if let (Some(first), Some(last)) = (growth.first(), growth.last()) {
        let each = |to: u64, from: u64| (to as f64 - from as f64) / last.cycles as f64;
        let disk = each(last.disk_bytes, first.disk_bytes);
        figures.add("disk, each cycle", disk, "bytes");
        let rss = each(last.rss_bytes, first.rss_bytes);
        figures.add("memory, each cycle", rss, "bytes");
        figures.aim(
            "memory, after cycles",
            last.rss_bytes as f64,
            "bytes",
            Target::Below(RSS),
        );
    }
    Ok(growth)
}
