//! The load generator: what a vault does in a second, how long it takes, and what it costs, beside bare handlers
//! that parse the same requests and answer the same JSON.
//!
//! Vault and baseline are child processes of this very program, so that they stand under equal conditions and the
//! CPU and memory of each are its own; they are measured by turns, in one run. A figure never counts a refusal:
//! any answer with another status than expected fails the run. Servers of our own are stopped and their folders
//! removed however the run ends. Not here: any knowledge of the vault's inside; what is measured is its surface.

mod args;
mod arrivals;
mod baseline;
mod client;
mod drive;
mod facts;
mod latency;
mod measure;
mod report;
mod scale;
mod scenario;
mod server;
mod site;
mod source;
mod suite;
mod target;

use std::{error::Error, future::Future, io::Write};

pub use self::{
    args::{BaselineArgs, BenchArgs, BenchCommand},
    baseline::serve as serve_baseline,
};
use self::{suite::Target, target::Remote};

/// Why a run came to nothing.
pub type Failure = Box<dyn Error + Send + Sync>;

/// What the bench is told besides its own arguments.
pub struct Settings<'a> {
    /// The running vault to measure, where one was named; never taken from the environment, which may well name
    /// a vault that is in use.
    pub address: Option<&'a str>,
    /// The workspace to act in there.
    pub workspace: Option<&'a str>,
    /// JSON in place of tables.
    pub json: bool,
}

/// Runs the bench until it is done or `stopped` says why it must end; gives back what to print.
pub async fn run(
    args: BenchArgs,
    settings: Settings<'_>,
    stopped: impl Future<Output = Failure>,
) -> Result<String, Failure> {
    if let Some(BenchCommand::Scale(args)) = &args.part {
        if settings.address.is_some() {
            return Err(
                "`leasehold bench scale` stops and starts its vault, so it takes no `--addr`"
                    .into(),
            );
        }
        let report = unless(stopped, scale::run(args)).await?;
        return match settings.json {
            true => report.json(),
            false => Ok(report.text()),
        };
    }
    let suite = &args.suite;
    let target = match settings.address {
        None => Target::Own,
        Some(address) => Target::Remote(Remote::read(address, settings.workspace, &suite.vault)?),
    };
    let measured = unless(stopped, async {
        if let Target::Remote(remote) = &target {
            remote
                .site
                .store_credentials(suite.vault.value_bytes)
                .await?;
        }
        suite::run(suite, &target).await
    });
    let measured = measured.await;
    if let Target::Remote(remote) = &target
        && let Err(error) = remote.site.delete_credentials().await
    {
        let left = format!(
            "the credentials `{}-…` are left in the vault: {error}",
            remote.site.prefix
        );
        return Err(match measured {
            Ok(_) => left.into(),
            Err(first) => format!("{first}; {left}").into(),
        });
    }
    let report = measured?;
    match settings.json {
        true => report.json(),
        false => Ok(report.text()),
    }
}

async fn unless<T>(
    stopped: impl Future<Output = Failure>,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::select! {
        biased;
        why = stopped => Err(why),
        done = work => done,
    }
}

/// Tells on stderr what goes on. Nobody is left to tell if that fails.
fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
