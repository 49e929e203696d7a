//! The command line: what can be said. What it does is in `client` for commands to a running vault, and in
//! the composition root for those that are the vault.

pub mod client;

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use self::client::{ClientCommand, ClientOptions, PoliciesCommand, ReportsCommand};
use crate::{
    bench::{BaselineArgs, BenchArgs},
    config::LogFormat,
};

/// A credential leasing vault for AI agents.
#[derive(Debug, Parser)]
#[command(name = "leasehold", version, about, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    pub options: ClientOptions,
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Reads this process's arguments; prints and exits where they are wrong or ask for help.
    pub fn read() -> Self {
        let matches = Self::command().try_get_matches();
        let matches = matches.unwrap_or_else(|error| refuse(&error));
        let read = Self::from_arg_matches(&matches);
        let mut cli = read.unwrap_or_else(|error| refuse(&error));
        cli.options.addr_named =
            matches.value_source("addr") == Some(clap::parser::ValueSource::CommandLine);
        cli
    }
}

/// Says what is wrong with the arguments, or the help that they ask for, and ends the process.
fn refuse(error: &clap::Error) -> ! {
    // They could not be read: whether a program asked is seen by the flag alone.
    if error.use_stderr() && std::env::args_os().any(|argument| argument == "--json") {
        client::misused(error);
        std::process::exit(error.exit_code());
    }
    error.exit()
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a vault with no configuration, to try it and to develop against
    Dev(DevArgs),
    /// Make a data folder for production
    Init(InitArgs),
    /// Serve a data folder that `init` made
    Server(ServerArgs),
    /// Measure what a vault does, beside bare handlers that answer the same JSON
    ///
    /// The vault is one of its own, in a temporary folder, unless --addr is given; LEASEHOLD_ADDR is not heeded. A
    /// running vault's keys are read from LEASEHOLD_KEY, an administrator's, and LEASEHOLD_AGENT_KEY, whose holder
    /// takes the leases, the administrator where it is not set. Credentials `bench-…` are stored there and deleted
    /// in the end; history keeps what happened.
    Bench(Box<BenchArgs>),
    /// The bare handlers, started by `bench`
    #[command(hide = true)]
    BenchBaseline(BaselineArgs),
    /// Make a data folder of a backup
    Restore(RestoreArgs),
    /// Check a data folder that no vault serves, and mend what can be
    Doctor(DoctorArgs),
    /// Keep Cedar policies: check and try them here, and put them in force at a vault
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Say who could have used a key, what should be rotated, what nobody uses
    #[command(subcommand)]
    Report(ReportCommand),
    #[command(flatten)]
    Client(ClientCommand),
}

/// How a command that starts something tells of it on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    Text,
    /// One line of JSON
    Json,
}

/// What can be done with Cedar policies.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Say what is wrong with policies, without a vault
    Validate(PolicySourceArgs),
    /// Run test cases against policies and the built-in ones, without a vault; fails where one fails
    Test(PolicyTestArgs),
    #[command(flatten)]
    Vault(PoliciesCommand),
}

/// What can be reported.
#[derive(Debug, Subcommand)]
pub enum ReportCommand {
    #[command(flatten)]
    Vault(ReportsCommand),
    /// Check the signature of a signed report, without a vault; fails unless it holds
    Verify(ReportVerifyArgs),
}

/// Arguments of `leasehold report verify`.
#[derive(Debug, Args)]
pub struct ReportVerifyArgs {
    /// What `report exposure --signed` printed, or the vault answered
    pub file: PathBuf,
    /// The vault's public key in base64, or a file with it or with what /.well-known/leasehold-keys.json answered. Keep
    /// it from before: whoever forges a report puts a key of their own in it
    #[arg(long, value_name = "KEY_OR_FILE")]
    pub public_key: String,
}

/// Policies to read.
#[derive(Debug, Args)]
pub struct PolicySourceArgs {
    /// Files of Cedar policies, and folders, whose `*.cedar` are read
    #[arg(value_name = "DIR_OR_FILE", required = true)]
    pub paths: Vec<PathBuf>,
    /// Whose policies they are: their names begin with it
    #[arg(long, value_enum, default_value_t = PolicyLayer::Workspace)]
    pub scope: PolicyLayer,
}

/// Arguments of `leasehold policy test`.
#[derive(Debug, Args)]
pub struct PolicyTestArgs {
    #[command(flatten)]
    pub sources: PolicySourceArgs,
    /// The cases: a TOML or JSON file, or a folder of them
    #[arg(long, value_name = "DIR_OR_FILE")]
    pub cases: PathBuf,
}

/// Whose policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PolicyLayer {
    Workspace,
    Organisation,
}

/// Arguments of `leasehold dev`.
#[derive(Debug, Args)]
pub struct DevArgs {
    /// The data folder: made where it is missing, reopened where it exists; a temporary one where not given
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where to listen; port 0 picks a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8200")]
    pub listen: SocketAddr,
    /// What stdout says once the vault serves
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    /// The folder of named lease policies; `./policies` where it exists, else the built-in ones
    #[arg(long, value_name = "DIR")]
    pub policies: Option<PathBuf>,
    /// How long closed leases and records of every class are kept, for measurements
    #[arg(long, value_name = "TIME", hide = true, value_parser = humantime::parse_duration)]
    pub retention: Option<std::time::Duration>,
    /// Keep no index of history, for measuring what it costs: queries read the log itself
    #[arg(long, hide = true)]
    pub danger_disable_index: bool,
    #[command(flatten)]
    pub serving: ServingArgs,
}

/// Arguments of `leasehold server`.
#[derive(Debug, Args)]
pub struct ServerArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The data folder, over the file's
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where to listen, over the file's
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Serve plain HTTP to other machines: whoever is on the path reads every value
    #[arg(long)]
    pub danger_plain_http: bool,
    #[command(flatten)]
    pub serving: ServingArgs,
}

/// Arguments of everything that serves.
#[derive(Debug, Args)]
pub struct ServingArgs {
    /// How log lines look
    #[arg(long, value_name = "human|json")]
    pub log_format: Option<LogFormat>,
    /// Leave expired leases to whoever uses them next: for tests, which show that no use depends on the reaper
    #[arg(long)]
    pub danger_disable_reaper: bool,
    /// Leave history unsealed: for measuring what the seals cost
    #[arg(long)]
    pub danger_disable_sealing: bool,
}

/// Arguments of `leasehold init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The data folder to make
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
    /// The root key's file: made where it is missing. Keep it apart from the data folder, and keep a copy
    #[arg(long, value_name = "FILE", conflicts_with = "passphrase_file")]
    pub key_file: Option<PathBuf>,
    /// A file that holds the passphrase; without it and without a key file, it is asked for
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// A workspace to make beside `default`; may be repeated
    #[arg(long = "workspace-name", value_name = "NAME")]
    pub workspaces: Vec<String>,
    /// An agent to make with a key of its own, as NAME or WORKSPACE/NAME; may be repeated
    #[arg(long = "agent", value_name = "NAME")]
    pub agents: Vec<String>,
    /// What stdout says
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// How a vault that does not serve is unsealed.
#[derive(Debug, Args)]
pub struct UnsealArgs {
    /// The root key's file, for a vault that has one
    #[arg(long, value_name = "FILE", conflicts_with = "passphrase_file")]
    pub key_file: Option<PathBuf>,
    /// A file that holds the passphrase; without it and without a key file, it is asked for
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

/// Arguments of `leasehold restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// The backup
    #[arg(long, value_name = "FILE")]
    pub input: PathBuf,
    /// The data folder to make: missing or empty
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
    #[command(flatten)]
    pub unseal: UnsealArgs,
}

/// Arguments of `leasehold doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// The data folder to check
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Rebuild counters and indexes from the records, and retire what is due; each is written into the history
    #[arg(long)]
    pub repair: bool,
    #[command(flatten)]
    pub unseal: UnsealArgs,
}
