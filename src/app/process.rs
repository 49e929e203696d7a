//! The process itself: hardening, logs, and how it says that it failed.

use std::{error::Error, io::Write, process::ExitCode};

use rustix::{
    fs::Mode,
    process::{
        DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit, umask,
    },
};
use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// A failure to start, run or stop, told to a person.
pub(super) type Failure = Box<dyn Error + Send + Sync>;

/// Files that the vault opens for itself: the store, the listener, a backup. Generous.
const OWN_FILES: u64 = 64;

/// What must hold before anything secret is in memory: new files are the owner's alone, a crash leaves no core
/// dump, and no other process of the same user may look inside.
pub(super) fn prepare() -> Result<(), Failure> {
    umask(Mode::RWXG | Mode::RWXO);
    setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    )?;
    // Each connection is an open file, and the usual limit is far below `max_connections`.
    let files = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: files.maximum,
            ..files
        },
    )?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    // A second provider cannot have been installed: nothing ran yet.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Ok(())
}

/// Warns where the system allows fewer open files than there may be connections.
pub(super) fn check_files(max_connections: usize) {
    let needed = (max_connections as u64).saturating_add(OWN_FILES);
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if files < needed {
        tracing::warn!(
            files,
            needed,
            "the limit of open files is lower than server.max_connections needs; raise `ulimit -n`"
        );
    }
}

/// Logs to stderr.
pub(super) fn log(log: &Log) -> Result<(), Failure> {
    // The job library tells of its own inner life at `info`; what the filter says of it comes after and wins.
    let filter = EnvFilter::try_new(format!("tokio_cron_scheduler=warn,{}", log.filter))
        .map_err(|error| format!("log.filter: {error}"))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match log.format {
        LogFormat::Human => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    }
}

/// Says on stderr what failed, with its causes, and gives back the exit code.
pub(super) fn fail(error: &Failure) -> ExitCode {
    let mut text = format!("error: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!("\n  caused by: {cause}"));
        source = cause.source();
    }
    let _ = writeln!(std::io::stderr().lock(), "{text}");
    ExitCode::FAILURE
}

/// Says something on stderr beside a command's result.
pub(super) fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Writes to stdout, for the few lines that are a command's result.
pub(super) fn say(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{text}")?;
    Ok(stdout.flush()?)
}

/// Resolves when the process is told to stop.
pub(super) async fn told_to_stop() -> Result<&'static str, Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    })
}
