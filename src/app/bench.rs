//! `leasehold bench`: hands over what the command line said, and ends the run when the process is told to stop.

use super::process::{self, Failure};
use crate::{
    bench::{self, BenchArgs, Settings},
    cli::client::ClientOptions,
};

pub(super) async fn run(args: BenchArgs, options: ClientOptions) -> Result<(), Failure> {
    let settings = Settings {
        address: options.addr_named.then_some(options.addr.as_str()),
        workspace: options.workspace.as_deref().filter(|name| !name.is_empty()),
        json: options.json,
    };
    let stopped = async {
        match process::told_to_stop().await {
            Ok(signal) => format!("stopped by {signal}").into(),
            Err(error) => error,
        }
    };
    let report = bench::run(args, settings, stopped).await?;
    process::say(report.trim_end())
}
