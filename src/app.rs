//! The composition root: makes the parts, ties them together, starts and stops them.

mod audit;
mod audit_export;
mod bench;
mod dev;
mod doctor;
mod init;
mod policy;
mod policy_cases;
mod process;
mod report;
mod restore;
mod running;
mod server;
mod tls;
mod unseal;

use std::process::ExitCode;

use crate::cli::{
    Cli, Command, PolicyCommand, ReportCommand,
    client::{self, ClientCommand},
};

/// Runs the command line.
pub fn main() -> ExitCode {
    let cli = Cli::read();
    if let Err(error) = process::prepare() {
        return process::fail(&error);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return process::fail(&error.into()),
    };
    let outcome = runtime.block_on(async {
        match cli.command {
            Command::Client(ClientCommand::Audit(args)) if args.folder().is_some() => {
                let Some((dir, args)) = args.folder() else {
                    return ExitCode::FAILURE;
                };
                return audit::verify(dir, args, cli.options.json).await;
            }
            Command::Client(ClientCommand::Audit(args)) if args.export_file().is_some() => {
                let Some((file, args)) = args.export_file() else {
                    return ExitCode::FAILURE;
                };
                return audit_export::verify(file, args, cli.options.json);
            }
            Command::Client(command) => return client::run(cli.options, command).await,
            Command::Policy(PolicyCommand::Vault(command)) => {
                return client::run_policies(cli.options, command).await;
            }
            Command::Policy(PolicyCommand::Validate(args)) => {
                return policy::validate(&args, cli.options.json);
            }
            Command::Policy(PolicyCommand::Test(args)) => {
                return policy::test(&args, cli.options.json);
            }
            Command::Report(ReportCommand::Vault(command)) => {
                return client::run_report(cli.options, command).await;
            }
            Command::Report(ReportCommand::Verify(args)) => {
                return report::verify(&args, cli.options.json);
            }
            Command::Doctor(args) => return doctor::run(args, cli.options.json).await,
            Command::Dev(args) => dev::run(args).await,
            Command::Init(args) => init::run(args).await,
            Command::Restore(args) => restore::run(args, cli.options.json).await,
            Command::Server(args) => server::run(args).await,
            Command::Bench(args) => bench::run(*args, cli.options).await,
            Command::BenchBaseline(args) => crate::bench::serve_baseline(args).await,
        }
        .map_or_else(|error| process::fail(&error), |()| ExitCode::SUCCESS)
    });
    // A job or a connection that hangs must not hold the exit up: the store is closed by now.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    outcome
}
