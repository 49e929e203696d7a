//! `leasehold issuer …` and `leasehold token exchange`: federation from the command line. An issuer is described in
//! a JSON file, as the API takes it.

use std::path::PathBuf;

use serde::Serialize;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::{
    call::Call,
    failure::Failure,
    http::Vault,
    output::{Mode, Report},
    paging::Paging,
    render::{self, Column},
    secret_input::{AssertionArgs, CertificateArgs},
};

/// The longest description of an issuer, in bytes; the vault takes a page.
const MAX_BYTES: usize = 64 * 1024;

const FIELDS: &[&str] = &[
    "id",
    "name",
    "kind",
    "organisation",
    "iss",
    "jwks_url",
    "audiences",
    "algorithms",
    "conditions",
    "identity",
    "token_ttl",
    "require_jti",
    "leeway",
    "created_at",
    "updated_at",
];

const COLUMNS: &[Column] = &[
    Column("NAME", &["name"]),
    Column("ISS", &["iss"]),
    Column("IDENTITY", &["identity.name"]),
    Column("ROLE", &["identity.role"]),
    Column("ID", &["id"]),
];

/// What can be done with issuers of federated identities.
#[derive(Debug, clap::Subcommand)]
pub enum IssuerCommand {
    /// Register an issuer
    Create {
        /// Its description, as JSON
        #[arg(long, value_name = "FILE.json")]
        file: PathBuf,
    },
    /// List issuers
    List {
        #[command(flatten)]
        paging: Paging,
    },
    /// Show one issuer
    Show {
        /// Its name or id
        issuer: String,
    },
    /// Change an issuer; what the file leaves out stays
    Update {
        /// Its name or id
        issuer: String,
        /// What changes, as JSON
        #[arg(long, value_name = "FILE.json")]
        file: PathBuf,
    },
    /// Forget an issuer; its tokens end at once
    Delete {
        /// Its name or id
        issuer: String,
    },
}

#[derive(Debug, clap::Args)]
pub struct Exchange {
    /// The issuer's name or id; found by the assertion's `iss` otherwise
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
    #[command(flatten)]
    assertion: AssertionArgs,
    #[command(flatten)]
    certificate: CertificateArgs,
}

#[derive(Serialize)]
struct ExchangeBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    workspace: Option<&'a str>,
}

fn read(file: &PathBuf) -> Result<Map<String, Value>, Failure> {
    use std::io::Read;
    let failed = |error: &dyn std::fmt::Display| {
        Failure::Local(format!(
            "cannot read the issuer from `{}`: {error}",
            file.display()
        ))
    };
    let text = std::fs::File::open(file)
        .and_then(|file| std::io::read_to_string(file.take(MAX_BYTES as u64)))
        .map_err(|error| failed(&error))?;
    serde_json::from_str(&text).map_err(|error| failed(&format!("it is no JSON object: {error}")))
}

/// Runs one command about issuers.
pub(super) async fn run(
    vault: &Vault,
    command: IssuerCommand,
    mode: Mode,
) -> Result<Report, Failure> {
    let call = match command {
        IssuerCommand::List { paging } => {
            let call = Call::get(&["v1", "issuers"]).query(paging.query(&[]));
            let answer = vault.call(call).await?;
            return Ok(render::list(&answer, mode, COLUMNS, "issuers"));
        }
        IssuerCommand::Create { file } => Call::create(&["v1", "issuers"], &read(&file)?)?,
        IssuerCommand::Show { issuer } => Call::get(&["v1", "issuers", &issuer]),
        IssuerCommand::Update { issuer, file } => {
            Call::patch(&["v1", "issuers", &issuer], &read(&file)?)?
        }
        IssuerCommand::Delete { issuer } => Call::delete(&["v1", "issuers", &issuer]),
    };
    Ok(render::object(&vault.call(call).await?, mode, FIELDS))
}

/// Exchanges an assertion or a client certificate; the access token is all that stdout gets, so that `$(leasehold token exchange)` is it.
pub(super) async fn exchange(
    vault: &Vault,
    arguments: Exchange,
    mode: Mode,
) -> Result<Report, Failure> {
    let certified = match arguments.certificate.read()? {
        Some(pem) => Some(vault.showing(pem.as_bytes())?),
        None => None,
    };
    let call = {
        let token = match certified {
            Some(_) => None,
            None => Some(arguments.assertion.read()?),
        };
        let body = ExchangeBody {
            issuer: arguments.issuer.as_deref(),
            token: token.as_ref().map(|token| token.as_str()),
            workspace: vault.workspace(),
        };
        Call::post(&["v1", "auth", "exchange"], &body)?
    };
    let answer = certified.as_ref().unwrap_or(vault).call(call).await?;
    if mode.json {
        return Ok(Report::new(mode.layout(answer.text())));
    }
    let Some(token) = answer.data().get("token").and_then(Value::as_str) else {
        return Err(Failure::Foreign(
            "the vault took the proof but answered no token".to_owned(),
        ));
    };
    let mut out = Zeroizing::new(String::with_capacity(token.len() + 1));
    out.push_str(token);
    out.push('\n');
    Ok(Report::new(out))
}
