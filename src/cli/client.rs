//! The commands that talk to a running vault over HTTP: arguments and dispatch.
//!
//! Guaranteed here and below: the API key or access token, a handle that is redeemed and a credential's value are never
//! arguments, so they are in no process list and no shell history; the key is never printed. What the vault
//! answers goes to stdout, everything said about it to stderr. Only a call that cannot take effect twice
//! is repeated. Not here: any command that works on the data folder itself.

mod answer;
mod api_key;
mod audit;
mod backup;
mod call;
mod credential;
mod events;
mod export;
mod failure;
mod hold;
mod http;
mod identity;
mod issuer;
mod json_text;
mod lease;
mod metadata;
mod new_key;
mod output;
mod paging;
mod partial;
mod policies;
mod policy;
mod redeem;
mod render;
mod report;
mod seal;
mod secret_input;
mod status;
#[cfg(test)]
mod test_vault;
mod token;
mod workspace;

use std::process::ExitCode;

pub use self::{
    policies::PoliciesCommand,
    report::ReportsCommand,
    seal::{Verification, VerifyArgs},
};
use failure::Failure;
use http::Vault;
use output::{Mode, Report};

/// Where a vault listens when nothing else is said.
const DEFAULT_ADDR: &str = "http://127.0.0.1:8200";
/// The environment variable that holds the API key, or an access token.
const KEY_VARIABLE: &str = "LEASEHOLD_KEY";

/// Which vault to talk to and how to show its answers. The API key is read from `LEASEHOLD_KEY`.
#[derive(Debug, Clone, clap::Args)]
pub struct ClientOptions {
    /// The vault's address
    #[arg(
        long,
        value_name = "URL",
        env = "LEASEHOLD_ADDR",
        hide_env_values = true,
        default_value = DEFAULT_ADDR,
        global = true,
        help_heading = "Connection"
    )]
    pub addr: String,
    /// Whether the address was an argument, and not a variable or the default.
    #[arg(skip)]
    pub addr_named: bool,
    /// The workspace to act in, for a key that reaches several
    #[arg(
        long,
        value_name = "NAME",
        env = "LEASEHOLD_WORKSPACE",
        global = true,
        help_heading = "Connection"
    )]
    pub workspace: Option<String>,
    /// Print the vault's answer as JSON, errors too
    #[arg(long, global = true, help_heading = "Connection")]
    pub json: bool,
}

/// The commands for a running vault. They need its API key in LEASEHOLD_KEY.
#[derive(Debug, clap::Subcommand)]
pub enum ClientCommand {
    /// Keep credentials: create, rotate, change, look at, delete
    #[command(subcommand)]
    Credential(Box<credential::CredentialCommand>),
    /// Lease a credential, and renew, release, revoke or look at leases
    #[command(subcommand)]
    Lease(Box<lease::LeaseCommand>),
    /// Make API keys, look at them and their use, change, pause, rotate or delete them
    #[command(subcommand)]
    ApiKey(Box<api_key::ApiKeyCommand>),
    /// Exchange a lease's handle for the value; the handle comes from a file, LEASEHOLD_HANDLE or stdin
    Redeem(redeem::RedeemArgs),
    /// Make, look at and end access tokens
    #[command(subcommand)]
    Token(Box<token::TokenCommand>),
    /// Keep the issuers whose assertions are exchanged for access tokens
    #[command(subcommand)]
    Issuer(issuer::IssuerCommand),
    /// Keep the keys that sign access tokens
    #[command(subcommand)]
    SigningKey(token::SigningKeyCommand),
    /// Keep identities: create, change, look at, and stop them
    #[command(subcommand)]
    Identity(Box<identity::IdentityCommand>),
    /// Keep workspaces, and stop all that is in one
    #[command(subcommand)]
    Workspace(Box<workspace::WorkspaceCommand>),
    /// Search the audit log, show a record of it, watch it grow, or hold it to its seals
    Audit(Box<audit::AuditCommand>),
    /// Fetch a backup of the whole vault, or check one that was fetched
    Backup(backup::BackupArgs),
    /// Say whether the vault is up and ready, and who the key belongs to; fails unless ready
    Status,
}

/// Tells a program, as JSON on stdout, that its arguments were refused.
pub(super) fn misused(error: &clap::Error) {
    output::finish(Err(Failure::misused(error)), Mode::detect(true));
}

/// Runs one command to its exit code: 0 done, 1 the vault refused or could not be reached, 2 misused.
/// For https addresses the process must have installed a rustls provider.
pub async fn run(options: ClientOptions, command: ClientCommand) -> ExitCode {
    let mode = Mode::detect(options.json);
    let outcome = match Vault::connect(&options, api_key()) {
        Ok(vault) => {
            if let Some(warning) = vault.warning() {
                output::note(&warning);
            }
            execute(&vault, command, mode).await
        }
        Err(failure) => Err(failure),
    };
    output::finish(outcome, mode)
}

/// Runs one command on policies, as [`run`] does.
pub async fn run_policies(options: ClientOptions, command: PoliciesCommand) -> ExitCode {
    with_key(&options, async |vault, mode| {
        policies::run(vault, command, mode).await
    })
    .await
}

/// Runs one report, as [`run`] does.
pub async fn run_report(options: ClientOptions, command: ReportsCommand) -> ExitCode {
    with_key(&options, async |vault, mode| {
        report::run(vault, command, mode).await
    })
    .await
}

async fn with_key(
    options: &ClientOptions,
    work: impl AsyncFnOnce(&Vault, Mode) -> Result<Report, Failure>,
) -> ExitCode {
    let mode = Mode::detect(options.json);
    let outcome = match Vault::connect(options, api_key()) {
        Ok(vault) => {
            if let Some(warning) = vault.warning() {
                output::note(&warning);
            }
            match vault.require_key() {
                Ok(()) => work(&vault, mode).await,
                Err(failure) => Err(failure),
            }
        }
        Err(failure) => Err(failure),
    };
    output::finish(outcome, mode)
}

async fn execute(vault: &Vault, command: ClientCommand, mode: Mode) -> Result<Report, Failure> {
    let needs_key = match &command {
        ClientCommand::Status => false,
        ClientCommand::Token(command) => command.needs_key(),
        ClientCommand::Backup(arguments) => arguments.calls(),
        _ => true,
    };
    if needs_key {
        vault.require_key()?;
    }
    match command {
        ClientCommand::Credential(command) => credential::run(vault, *command, mode).await,
        ClientCommand::Lease(command) => lease::run(vault, *command, mode).await,
        ClientCommand::Identity(command) => identity::run(vault, *command, mode).await,
        ClientCommand::Workspace(command) => workspace::run(vault, *command, mode).await,
        ClientCommand::Redeem(arguments) => redeem::run(vault, arguments, mode).await,
        ClientCommand::Token(command) => token::run(vault, *command, mode).await,
        ClientCommand::Issuer(command) => issuer::run(vault, command, mode).await,
        ClientCommand::SigningKey(command) => token::run_signing_key(vault, command, mode).await,
        ClientCommand::ApiKey(command) => api_key::run(vault, *command, mode).await,
        ClientCommand::Audit(command) => audit::run(vault, *command, mode).await,
        ClientCommand::Backup(arguments) => backup::run(vault, arguments, mode).await,
        ClientCommand::Status => status::run(vault, mode).await,
    }
}

fn api_key() -> Option<zeroize::Zeroizing<String>> {
    secret_input::from_environment(KEY_VARIABLE)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    #[command(name = "leasehold", version, propagate_version = true)]
    struct Cli {
        #[command(flatten)]
        options: ClientOptions,
        #[command(subcommand)]
        command: ClientCommand,
    }

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("leasehold").chain(line.split_whitespace()))
    }

    #[test]
    fn the_command_line_is_well_formed() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn connection_options_are_read_before_and_after_the_command() {
        for line in [
            "--addr http://v:1 --workspace w --json credential list",
            "credential list --addr http://v:1 --workspace w --json",
            "credential --json list --workspace w --addr http://v:1",
        ] {
            let options = parse(line).unwrap().options;
            assert_eq!(options.addr, "http://v:1");
            assert_eq!(options.workspace.as_deref(), Some("w"));
            assert!(options.json);
        }
    }

    #[test]
    fn secrets_have_no_place_on_the_command_line() {
        for line in [
            "credential create a --type api-key --value s3cret",
            "credential create a s3cret --type api-key",
            "credential rotate a --value s3cret",
            "credential rotate a s3cret",
            "redeem lhh_s3cret",
            "redeem --handle lhh_s3cret",
            "--key lhk_s3cret status",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn every_documented_line_parses() {
        for line in [
            "credential create a --type api-key --description d --metadata k=v --metadata team=ml \
             --extends production --default-lease-ttl 30m --max-lease-ttl 4h --max-leases 5 \
             --delivery broker,reveal --renewable true --require-purpose false --max-uses 3 \
             --on-rotate follow --egress-host api.openai.com --egress-method GET --egress-path /v1/* \
             --policy-file p.json --value-file v.txt --keep-newline",
            "credential create a --type api-key --value-stdin",
            "credential list --type api-key --state active --name a --metadata team=ml --limit 5 \
             --cursor c --sort -created_at",
            "credential list --offset 10",
            "credential show a",
            "credential update a --metadata k=v --remove-metadata old --state disabled --max-uses none",
            "credential rotate a --metadata access_key_id=AKIA --on-open-leases cut --expected-version 3",
            "credential versions a",
            "credential revoke-version a 2",
            "credential delete a --force",
            "lease create a --ttl 30m --delivery reveal --purpose p --session s-42 \
             --identity claude-code --identity-type agent --reveal",
            "lease list --credential a --identity i --session s --state active --version 2 \
             --since 2026-06-13T10:30:00Z --until 2026-06-14T10:30:00Z --limit 200",
            "lease show lse_1",
            "lease events lse_1",
            "lease renew lse_1 --ttl 1h",
            "lease release lse_1",
            "lease revoke lse_1 --reason leaked",
            "lease revoke lse_1",
            "lease revoke --all --reason leaked",
            "lease revoke --credential a --version 2 --identity i --session s --reason leaked",
            "api-key create ci --role agent --identity ci-bot --identity-type service --description d \
             --expires-in 90d --rate-limit starter --output k.txt",
            "api-key create ci --scope lease:* --scope handle:redeem --organisation --json",
            "api-key list --unused-for 30d --name ci --identity ci-bot --state paused --role agent \
             --sort last_used_at --limit 5",
            "api-key show key_1",
            "api-key update key_1 --name n --description d --scope lease:read --rate-limit 250",
            "api-key pause key_1",
            "api-key disable key_1",
            "api-key resume key_1",
            "api-key enable key_1",
            "api-key rotate key_1 --grace 24h --expires-in never --output k.txt",
            "api-key delete key_1",
            "api-key test key_1 --action lease:create --resource credential/a",
            "api-key usage key_1 --limit 5 --sort time",
            "redeem --handle-file h.txt",
            "redeem",
            "identity create agent/ci --role agent --description d --label team=ml",
            "identity list --type agent --role agent --state suspended --label team=ml --sort name",
            "identity show agent/ci",
            "identity update agent/ci --role viewer --label a=b --remove-label c --description d",
            "identity suspend agent/ci --reason leaked",
            "identity resume agent/ci",
            "identity delete agent/ci",
            "workspace create payments --description d --default-lease-ttl 1h --max-lease-ttl 4h --max-api-keys 50",
            "workspace list --limit 5",
            "workspace show payments",
            "workspace update payments --max-lease-ttl default",
            "workspace revoke-all payments --reason leaked",
            "audit --event lease.issued --actor a --credential c --lease lse_1 --outcome success \
             --since 2026-06-13T10:30:00Z --until 2026-06-14T10:30:00Z --limit 10 --sort -time",
            "audit query --event lease.issued,lease.revoked --actor a --identity i --key key_1 --session s-42 \
             --credential c --credential-id crd_1 --version 3 --lease lse_1 --outcome refused --code POLICY_DENIED \
             --source 192.0.2.0/24 --request req_1 --object o --all",
            "audit --json query --token tok_1 --cursor c",
            "audit show 42",
            "audit show evt_1 --json",
            "audit tail --credential c --after 42 --no-follow --since 2026-06-13T10:30:00Z",
            "audit hold set case-17 --reason subpoena",
            "audit hold release case-17",
            "audit hold list",
            "token create --name ci --expires-in 15m --scope lease:create --scope handle:redeem,lease:renew",
            "token create --every-workspace",
            "token list --identity ci-bot --state active --limit 5 --sort -expires_at",
            "token show tok_1",
            "token revoke tok_1",
            "token exchange --issuer github --assertion-file a.jwt",
            "token exchange --issuer mesh --client-cert c.pem --client-key k.pem",
            "issuer create --file github.json",
            "issuer list --limit 5",
            "issuer show github",
            "issuer update github --file more.json",
            "issuer delete github",
            "signing-key rotate",
            "status",
            "audit checkpoint list --limit 5 --sort size",
            "audit checkpoint latest",
            "audit checkpoint save c.json --force --public-key k.pub",
            "audit proof 17 --size 20 --public-key k.pub",
            "audit verify --against c.json --against d.json --from 1 --to 9 --public-key k.pub",
            "audit verify --data-dir d --public-key k.pub",
            "audit verify --export e.ndjson --public-key k.pub --against c.json",
            "audit export",
            "audit export --format csv --out e.csv --force --event lease.issued --actor a --credential c \
             --lease lse_1 --session s --request r --outcome refused --since 2026-06-13T10:30:00Z \
             --until 2026-06-14T10:30:00Z --after 7 --against c.json",
            "audit export --format ocsf --out e.json --resume",
        ] {
            if let Err(error) = parse(line) {
                panic!("{line}: {error}");
            }
        }
    }

    #[test]
    fn misuse_is_refused_before_any_request() {
        for line in [
            "credential create a",
            "credential create --type api-key",
            "credential create a --type api-key --metadata novalue",
            "credential create a --type api-key --metadata =v",
            "credential create a --type api-key --value-stdin --value-file f",
            "credential create a --type api-key --delivery carrier-pigeon",
            "credential create a --type api-key --renewable maybe",
            "credential update a --state retired",
            "credential rotate a --on-open-leases ignore",
            "credential revoke-version a latest",
            "credential list --limit 0",
            "credential list --limit 201",
            "credential list --cursor c --offset 1",
            "api-key create ci",
            "api-key create ci --role agent --scope lease:read",
            "api-key create ci --role agent --identity-type agent",
            "api-key create --role agent",
            "api-key update key_1 --role agent --scope lease:read",
            "api-key list --state retired",
            "api-key test key_1 --resource credential/a",
            "api-key rotate",
            "lease create a --identity-type agent",
            "lease create a --identity i --identity-type robot",
            "lease revoke",
            "lease revoke --reason r",
            "lease revoke lse_1 --all --reason r",
            "lease revoke lse_1 --credential a --reason r",
            "lease revoke --all --credential a --reason r",
            "lease revoke --credential a",
            "lease revoke --version 2 --reason r",
            "token exchange --client-cert c.pem --client-key k.pem",
            "token exchange --issuer mesh --client-cert c.pem",
            "token exchange --issuer mesh --client-key k.pem",
            "token exchange --issuer mesh --client-cert c --client-key k --assertion-file a",
        ] {
            assert_eq!(
                parse(line).map(|_| ()).unwrap_err().exit_code(),
                2,
                "{line}"
            );
        }
    }
}
