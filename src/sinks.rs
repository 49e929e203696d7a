//! Where checkpoints and alarms go, so that a vault can be held to them by what is kept elsewhere: an append-only file,
//! an HTTP endpoint, the log.
//!
//! Each sink has a task of its own and waits for nobody but itself. Where it cannot keep up it gets the newest
//! checkpoint, which is over all that the others were over. What fails is tried again with growing pauses and counted;
//! serving never waits for it. That checkpoints fail is logged once until they work again, each try of an alarm by itself.

use std::{
    io::{ErrorKind, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::watch, task::JoinSet};

use crate::{audit::checkpoint::Checkpoint, engine::Engine};

mod alarm;

/// How long an endpoint may take to answer, all of it.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The first and the longest pause after a failure.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How long a stop waits for the last alarms, and for the last checkpoint, to be delivered.
const LAST_WORD: Duration = Duration::from_secs(6);

/// One place that checkpoints go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sink {
    /// One line of JSON each, appended and synced. The folder should be on another disk, or write-once.
    File(PathBuf),
    /// JSON in a POST; any 2xx takes it. The process must have installed a rustls provider.
    Http(String),
    /// A line of the log.
    Log,
}

type Newest = watch::Receiver<Option<Arc<Checkpoint>>>;
type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Sink {
    /// Its name in metrics and the log, which an address is not: it may hold a secret.
    fn name(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Http(_) => "http",
            Self::Log => "log",
        }
    }
}

/// The sinks at work.
pub struct Sinks {
    alarms: Tasks,
    checkpoints: Tasks,
}

/// What runs until it is told to stop.
struct Tasks {
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
}

impl Tasks {
    fn new() -> Self {
        Self {
            tasks: JoinSet::new(),
            stop: watch::Sender::new(false),
        }
    }

    /// Lets each do what is left, for a while, and ends them.
    async fn end(&mut self, left: &'static str) {
        self.stop.send_replace(true);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_WORD, all).await.is_err() {
            tracing::warn!("{left}");
            self.tasks.shutdown().await;
        }
    }
}

impl Sinks {
    /// Starts the tasks of each. Run before anybody is served: a sink that is new is told of alarms from here on.
    pub async fn start(sinks: Vec<Sink>, engine: &Arc<Engine>) -> Result<Self, Failure> {
        let (mut alarms, mut checkpoints) = (Tasks::new(), Tasks::new());
        for sink in sinks {
            let shipping = alarm::Shipping::open(sink.clone(), engine).await?;
            alarms.tasks.spawn(shipping.run(alarms.stop.subscribe()));
            let (newest, stop) = (engine.checkpoints_made(), checkpoints.stop.subscribe());
            checkpoints.tasks.spawn(ship(sink, newest, stop));
        }
        Ok(Self {
            alarms,
            checkpoints,
        })
    }

    /// Lets each be told of the last alarms, once nobody is served any more. The store must still be open.
    pub async fn stop_alarms(&mut self) {
        self.alarms
            .end("the last alarms could not be delivered in time; they are sent after the next start")
            .await;
    }

    /// Lets each deliver the newest checkpoint once more, where it has not, and ends them.
    pub async fn stop(mut self) {
        self.checkpoints
            .end("the last checkpoint could not be delivered in time")
            .await;
    }
}

async fn ship(sink: Sink, mut newest: Newest, mut stop: watch::Receiver<bool>) {
    let mut delivery = Delivery::new(&sink);
    newest.mark_changed();
    let mut pause = PAUSE;
    let mut failing = false;
    loop {
        let stopping = *stop.borrow();
        if !newest.has_changed().unwrap_or(false) {
            if stopping {
                return;
            }
            tokio::select! {
                changed = newest.changed() => match changed {
                    // Seen only once it is delivered.
                    Ok(()) => newest.mark_changed(),
                    Err(_) => return,
                },
                _ = stop.wait_for(|stop| *stop) => {}
            }
            continue;
        }
        let Some(checkpoint) = newest.borrow_and_update().clone() else {
            continue;
        };
        match delivery.deliver(&sink, &checkpoint).await {
            Ok(()) => {
                metrics::counter!("leasehold_audit_sink_deliveries_total", "sink" => sink.name())
                    .increment(1);
                if failing {
                    tracing::info!(sink = sink.name(), "checkpoints are delivered again");
                }
                (failing, pause) = (false, PAUSE);
            }
            Err(error) => {
                metrics::counter!("leasehold_audit_sink_failures_total", "sink" => sink.name())
                    .increment(1);
                if !failing {
                    tracing::warn!(sink = sink.name(), %error, "a checkpoint could not be delivered; it is tried again");
                }
                failing = true;
                if stopping {
                    return;
                }
                newest.mark_changed();
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    _ = stop.wait_for(|stop| *stop) => {}
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
        let failed = u8::from(failing);
        metrics::gauge!("leasehold_audit_sink_failing", "sink" => sink.name())
            .set(f64::from(failed));
    }
}

/// What a sink keeps between deliveries.
struct Delivery {
    client: Option<reqwest::Client>,
}

impl Delivery {
    fn new(sink: &Sink) -> Self {
        let client = match sink {
            Sink::Http(url) => client(url).ok(),
            Sink::File(_) | Sink::Log => None,
        };
        Self { client }
    }

    async fn deliver(&mut self, sink: &Sink, checkpoint: &Checkpoint) -> Result<(), Failure> {
        if let Sink::Log = sink {
            let statement = checkpoint.statement();
            tracing::info!(
                size = statement.size,
                note = checkpoint.note(),
                "checkpoint"
            );
        }
        self.send(sink, checkpoint.json()).await
    }

    /// Gives a file or an endpoint one line of JSON.
    async fn send(&mut self, sink: &Sink, line: String) -> Result<(), Failure> {
        match sink {
            Sink::Log => Ok(()),
            Sink::File(path) => {
                let path = path.clone();
                tokio::task::spawn_blocking(move || append(&path, &line)).await??;
                Ok(())
            }
            Sink::Http(url) => {
                if self.client.is_none() {
                    self.client = Some(client(url)?);
                }
                let client = self.client.as_ref().ok_or("there is no HTTP client")?;
                let request = client
                    .post(url)
                    .header(reqwest::header::CONTENT_TYPE, "application/json")
                    .body(line);
                // Without its address, which may hold a secret.
                let answer = request.send().await.map_err(reqwest::Error::without_url)?;
                match answer.status() {
                    status if status.is_success() => Ok(()),
                    status => Err(format!("the answer was {status}").into()),
                }
            }
        }
    }
}

fn client(url: &str) -> Result<reqwest::Client, Failure> {
    let builder = reqwest::Client::builder()
        .user_agent(concat!("leasehold/", env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(TIMEOUT);
    let builder = match url.starts_with("http:") {
        // The system's certificates are not needed, and a container may have none.
        true => builder.tls_certs_only([]),
        false => builder.https_only(true),
    };
    Ok(builder.build()?)
}

/// Appends a line and puts it on the disk. What others wrote is never touched, and where it does not end in a line's end,
/// as after a disk that was full, the line begins one of its own.
fn append(path: &Path, line: &str) -> std::io::Result<()> {
    let mut options = std::fs::File::options();
    options.append(true).create(true).mode(0o600);
    let (mut file, whole) = match options.clone().read(true).open(path) {
        Ok(mut file) => {
            let whole = ends_a_line(&mut file)?;
            (file, whole)
        }
        // It may be written and not read.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => (options.open(path)?, false),
        Err(error) => return Err(error),
    };
    let begins = if whole { "" } else { "\n" };
    file.write_all(format!("{begins}{line}\n").as_bytes())?;
    file.sync_data()
}

/// Whether what is appended to a file begins a line.
fn ends_a_line(file: &mut std::fs::File) -> std::io::Result<bool> {
    let about = file.metadata()?;
    if !about.is_file() || about.len() == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_begins_behind_whatever_a_torn_one_left() {
        let name = format!("leasehold-sinks-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_file(&path);
        append(&path, "one").unwrap();
        append(&path, "two").unwrap();
        let mut torn = std::fs::File::options().append(true).open(&path).unwrap();
        torn.write_all(b"thr").unwrap();
        append(&path, "three").unwrap();
        append(&path, "four").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(text, "one\ntwo\nthr\nthree\nfour\n");
    }
}
