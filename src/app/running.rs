//! A vault that serves: its surface, its reaper and its jobs, from start to drain.

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use axum_server::Handle;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::{sync::watch, task::JoinHandle};

use super::{
    process::{Failure, check_files, told_to_stop},
    tls,
};
use crate::{
    authz::{self, Layer, PolicySet, Source},
    clock::SystemTime,
    config::{Audit, Config, policies},
    crypto::{entropy::OsEntropy, root::RootKey},
    domain::{configuration::Configuration, policy::NamedPolicies},
    engine::{Engine, Removed, Unlocked},
    http::{
        DefaultLimits, Surface, SurfaceParts,
        serve::{PATIENCE, ServeOptions, serve},
    },
    jwks::HttpKeys,
    schedule::{Schedule, Task},
    sinks::{Sink, Sinks},
    store::sled::{Sled, SledOptions},
};

/// How long the store may take to write what is queued, once every request is done.
const CLOSE_DEADLINE: Duration = Duration::from_secs(10);
/// The longest that revocations of an earlier run wait until they are tried again.
const SWEEP_AGAIN: Duration = Duration::from_secs(60);
/// Upper bounds of the request histogram, in seconds.
const SECONDS: [f64; 12] = [
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0,
];
/// Upper bounds of the group size histogram.
const GROUP_SIZES: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 64.0, 256.0, 1024.0];

/// Opens the engine's files as the configuration says.
pub(super) fn open(config: &Config) -> Result<Sled, Failure> {
    let options = SledOptions {
        cache_bytes: config.storage.cache_bytes,
        reserve_bytes: config.storage.reserve_bytes,
    };
    Ok(Sled::open(&config.storage.data_dir, &options)?)
}

/// The named lease policies that the configuration names.
pub(super) fn lease_policies(config: &Config) -> Result<NamedPolicies, Failure> {
    Ok(match &config.policies.dir {
        Some(dir) => policies::load(dir)?,
        None => policies::built_in()?,
    })
}

/// The Cedar policies of the folder that the configuration names, which hold in every workspace.
pub(super) fn access_policies(config: &Config) -> Result<PolicySet, Failure> {
    let Some(dir) = &config.policies.dir else {
        return Ok(PolicySet::default());
    };
    let mut sources = Vec::new();
    for (name, text) in policies::load_cedar(dir)? {
        if name != authz::ROLES_FILE {
            sources.push(Source { name, text });
        } else if text != authz::ROLES {
            let file = dir.join(name);
            return Err(format!(
                "{}: these are not the built-in policies of this version, which cannot be changed; remove the file, \
                 and write policies of your own beside it",
                file.display()
            )
            .into());
        }
    }
    let set = PolicySet::parse(Layer::File, &sources).map_err(|faults| {
        let told = faults.iter().map(|fault| dir.join(fault.to_string()));
        let told: Vec<_> = told.map(|fault| fault.display().to_string()).collect();
        told.join("\n")
    })?;
    for warning in set.warnings() {
        tracing::warn!(policy = %warning, "a policy says what is probably not meant");
    }
    Ok(set)
}

/// Unseals a vault on this machine's clock and randomness.
pub(super) async fn unseal(
    vault: Unlocked,
    root: &RootKey,
    policies: NamedPolicies,
    access: PolicySet,
    config: &Config,
) -> Result<Arc<Engine>, Failure> {
    let engine = vault
        .serve(root, Arc::new(OsEntropy), Arc::new(SystemTime), policies)
        .await?;
    engine.access().set_files(access);
    let engine = engine
        .fetching_keys_with(Arc::new(HttpKeys::default()))
        .limiting_keys_to(config.limits.requests_per_minute)
        .retaining(config.retention);
    Ok(match &config.server.public_url {
        Some(url) => engine.issuing_tokens_as(url),
        None => engine,
    }
    .shared())
}

/// Carries on, beside the first requests, the cascades that a crash cut short: their leases are stopped already.
async fn finish_sweeps(engine: Arc<Engine>, mut stopped: watch::Receiver<bool>) {
    let mut wait = Duration::from_secs(1);
    loop {
        match engine.finish_sweeps().await {
            Ok(0) => return,
            Ok(closed) => {
                return tracing::info!(closed, "finished revocations that an earlier run began");
            }
            Err(error) => {
                let again = wait.as_secs();
                tracing::error!(%error, again, "revocations of an earlier run could not be finished");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => wait = SWEEP_AGAIN.min(wait * 2),
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
    }
}

/// A vault that serves.
pub(super) struct Running {
    pub(super) address: SocketAddr,
    engine: Arc<Engine>,
    handle: Handle<SocketAddr>,
    server: JoinHandle<std::io::Result<()>>,
    reaper: Option<JoinHandle<()>>,
    sealer: Option<JoinHandle<()>>,
    sinks: Sinks,
    follower: Option<JoinHandle<()>>,
    stop: watch::Sender<bool>,
    schedule: Schedule,
    drain_deadline: Duration,
}

impl Running {
    /// Starts serving; everything that can be wrong with the configuration was found before.
    pub(super) async fn start(config: &Config, engine: Arc<Engine>) -> Result<Self, Failure> {
        let listener = TcpListener::bind(config.server.listen)
            .map_err(|error| format!("cannot listen on {}: {error}", config.server.listen))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        check_files(config.server.max_connections);
        let tls = match &config.server.tls {
            None => None,
            Some(tls) => Some(tls::served(tls).await?),
        };
        let metrics = install_metrics()?;
        engine
            .note_configuration(Configuration(config.facts()?))
            .await?;
        engine.reach_stops().await?;
        engine.reach_suspects().await?;
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(finish_sweeps(engine.clone(), stopped.clone()));
        let follower = config
            .audit
            .indexing
            .then(|| follow(&engine, stopped.clone()));
        let reaper = config
            .reaper
            .enabled
            .then(|| tokio::spawn(engine.clone().reap(stopped)));
        let sealer = match config.audit.sealing {
            false => None,
            true => {
                // What is stored is proven and the start is sealed before anybody is served; what fails is tried again.
                let _ = engine.seal_next().await;
                Some(tokio::spawn(engine.clone().seal(stop.subscribe())))
            }
        };
        let sinks = Sinks::start(sinks(&config.audit), &engine).await?;
        let surface = Surface::new(SurfaceParts {
            authenticator: engine.authenticator()?,
            engine: engine.clone(),
            metrics: metrics.clone(),
            limits: DefaultLimits {
                key: config.limits.requests_per_minute,
                source: config.limits.source_requests_per_minute,
                failures: config.limits.failed_authentications_per_minute,
            },
            trusted_proxies: config.server.trusted_proxies.clone(),
            request_timeout: config.server.request_timeout,
            tls: tls.is_some(),
        });
        let schedule = Schedule::start(tasks(&engine, &surface, metrics)).await?;
        let handle = Handle::new();
        let options = ServeOptions {
            tls: tls.clone(),
            max_connections: config.server.max_connections,
            patience: PATIENCE,
        };
        let server = tokio::spawn(serve(listener, surface.router(), options, handle.clone()));
        handle
            .listening()
            .await
            .ok_or("the server did not come up")?;
        tracing::info!(%address, tls = tls.is_some(), reaper = reaper.is_some(), "serving");
        Ok(Self {
            address,
            engine,
            handle,
            server,
            reaper,
            sealer,
            sinks,
            follower,
            stop,
            schedule,
            drain_deadline: config.server.drain_deadline,
        })
    }

    /// Serves until told to stop, then drains: no new work, open requests finish within the deadline, the store
    /// closes.
    pub(super) async fn until_stopped(mut self) -> Result<(), Failure> {
        let signal = told_to_stop().await?;
        let deadline = humantime::format_duration(self.drain_deadline).to_string();
        tracing::info!(
            signal,
            deadline,
            open_connections = self.handle.connection_count(),
            "draining"
        );
        self.handle.graceful_shutdown(Some(self.drain_deadline));
        // They would go on until the deadline otherwise.
        self.engine.end_streams().await;
        let served = self.server.await?;
        self.stop.send_replace(true);
        if let Some(follower) = self.follower {
            follower.await?;
        }
        if let Some(reaper) = self.reaper {
            reaper.await?;
        }
        if let Some(sealer) = self.sealer {
            sealer.await?;
        }
        self.schedule.stop().await?;
        self.sinks.stop_alarms().await;
        tokio::time::timeout(CLOSE_DEADLINE, self.engine.shut_down())
            .await
            .map_err(|_| "the store did not close in time; what was acknowledged is durable")??;
        self.sinks.stop().await;
        tracing::info!("stopped");
        Ok(served?)
    }
}

/// Keeps the index of history, on a thread of its own: its work is in pieces that are long for a worker.
fn follow(engine: &Engine, stop: watch::Receiver<bool>) -> JoinHandle<()> {
    let follower = engine.follower();
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || runtime.block_on(follower.follow(stop)))
}

fn install_metrics() -> Result<PrometheusHandle, Failure> {
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(
            Matcher::Full("leasehold_http_request_seconds".to_owned()),
            &SECONDS,
        )?
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .set_buckets_for_metric(
            Matcher::Full("leasehold_commit_group_size".to_owned()),
            &GROUP_SIZES,
        )?;
    Ok(builder.install_recorder()?)
}

fn sinks(audit: &Audit) -> Vec<Sink> {
    let file = audit.checkpoint_file.clone().map(Sink::File);
    let http = audit.checkpoint_url.clone().map(Sink::Http);
    let log = audit.checkpoint_log.then_some(Sink::Log);
    [file, http, log].into_iter().flatten().collect()
}

async fn forget_ended(engine: &Engine) -> crate::domain::error::Result<usize> {
    Ok(engine.forget_tokens().await? + engine.forget_assertions().await?)
}

fn tasks(engine: &Arc<Engine>, surface: &Surface, metrics: PrometheusHandle) -> Vec<Task> {
    let (engine, uses, surface) = (engine.clone(), engine.clone(), surface.clone());
    let ended = engine.clone();
    let recorder = engine.clone();
    let retained = engine.clone();
    let cascades = engine.clone();
    vec![
        Task::new("*/5 * * * * *", move || {
            let engine = recorder.clone();
            async move {
                if let Err(error) = engine.record_strangers().await {
                    tracing::warn!(%error, "failed authentications could not be recorded");
                }
                // While the store takes no writes, that was said when it began.
                let _ = engine.record_late().await;
            }
        }),
        Task::new("*/5 * * * * *", move || {
            let metrics = metrics.clone();
            async move { metrics.run_upkeep() }
        }),
        Task::new("30 * * * * *", move || {
            let surface = surface.clone();
            async move { surface.forget_idle_limits() }
        }),
        Task::new("0 5/10 * * * *", move || {
            let engine = ended.clone();
            async move {
                match forget_ended(&engine).await {
                    Ok(0) => {}
                    Ok(forgotten) => {
                        tracing::debug!(forgotten, "forgot tokens and assertions that ended")
                    }
                    Err(error) => {
                        tracing::warn!(%error, "tokens that ended could not be forgotten")
                    }
                }
            }
        }),
        Task::new("5/10 * * * * *", move || {
            let engine = cascades.clone();
            async move {
                if let Err(error) = engine.finish_suspects().await {
                    tracing::warn!(%error, "whoever touched a canary could not be stopped yet");
                }
                match engine.finish_cascades().await {
                    Ok(0) => {}
                    Ok(closed) => tracing::info!(closed, "finished revocations that were left"),
                    Err(error) => {
                        tracing::warn!(%error, "what is left of revocations could not be read")
                    }
                }
            }
        }),
        Task::new("*/10 * * * * *", move || {
            let engine = retained.clone();
            async move {
                match engine.retain().await {
                    Ok(removed) if removed == Removed::default() => {}
                    Ok(Removed { leases, records }) => {
                        tracing::debug!(leases, records, "removed what is past its retention")
                    }
                    Err(error) => {
                        tracing::warn!(%error, "what is past its retention could not be removed")
                    }
                }
            }
        }),
        Task::new("*/2 * * * * *", move || {
            let engine = uses.clone();
            async move {
                if let Err(error) = engine.write_uses(false).await {
                    tracing::warn!(%error, "uses of keys could not be written down");
                }
            }
        }),
        Task::new("0 */10 * * * *", move || {
            let engine = engine.clone();
            async move {
                match engine.forget_answers().await {
                    Ok(0) => {}
                    Ok(forgotten) => tracing::debug!(forgotten, "forgot answers kept for retries"),
                    Err(error) => {
                        tracing::warn!(%error, "answers kept for retries could not be forgotten")
                    }
                }
            }
        }),
    ]
}
