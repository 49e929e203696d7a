//! `leasehold token …` and `leasehold signing-key …`: arguments, request bodies and how the answers are shown.

use serde::Serialize;
use serde_json::json;

use super::{
    call::Call,
    failure::Failure,
    http::Vault,
    issuer,
    output::{Mode, Report},
    paging::Paging,
    render::{self, Column},
};

const FIELDS: &[&str] = &[
    "jti",
    "name",
    "token",
    "identity",
    "workspace",
    "scopes",
    "state",
    "created_with",
    "created_at",
    "expires_at",
    "ttl_capped",
    "revoked_at",
];

const COLUMNS: &[Column] = &[
    Column("JTI", &["jti"]),
    Column("NAME", &["name"]),
    Column("IDENTITY", &["identity.name"]),
    Column("WORKSPACE", &["workspace"]),
    Column("STATE", &["state"]),
    Column("CREATED", &["created_at"]),
    Column("EXPIRES", &["expires_at"]),
];

/// What can be done with access tokens.
#[derive(Debug, clap::Subcommand)]
pub enum TokenCommand {
    /// Make an access token for yourself; it is shown this once, and works in LEASEHOLD_KEY as a key does
    Create(Create),
    /// List access tokens: your own, or with token:read all of the workspace
    List(List),
    /// Exchange an assertion of a registered issuer, or a client certificate, for an access token, and print it;
    /// needs no key
    Exchange(issuer::Exchange),
    /// Show one access token, never its text
    Show {
        /// The token's id, `tok_…`
        jti: String,
    },
    /// End an access token at once, with every token that was made with it
    Revoke {
        /// The token's id, `tok_…`
        jti: String,
    },
}

impl TokenCommand {
    /// Whether it asks for something that only who has a key may ask for.
    pub(super) fn needs_key(&self) -> bool {
        !matches!(self, Self::Exchange(_))
    }
}

#[derive(Debug, clap::Args)]
pub struct Create {
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// How long it lives: 1m to 30d; 1h otherwise
    #[arg(long, value_name = "DURATION")]
    expires_in: Option<String>,
    /// A scope such as lease:create, or a family such as lease:*; may be repeated; all of yours otherwise
    #[arg(long = "scope", value_name = "SCOPE", value_delimiter = ',')]
    scopes: Vec<String>,
    /// Let it reach every workspace, for a key that does
    #[arg(long)]
    every_workspace: bool,
}

#[derive(Debug, clap::Args)]
pub struct List {
    /// Only those of this identity
    #[arg(long, value_name = "NAME")]
    identity: Option<String>,
    /// Only in this state: active, expired, revoked or suspended
    #[arg(long)]
    state: Option<String>,
    #[command(flatten)]
    paging: Paging,
}

/// What can be done with the keys that sign access tokens.
#[derive(Debug, clap::Subcommand)]
pub enum SigningKeyCommand {
    /// Make a new key sign; the ones before verify until their tokens have ended
    Rotate,
}

#[derive(Serialize)]
struct CreateBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    scopes: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    workspace: Option<&'a str>,
}

/// Runs one command about tokens.
pub(super) async fn run(
    vault: &Vault,
    command: TokenCommand,
    mode: Mode,
) -> Result<Report, Failure> {
    let call = match command {
        TokenCommand::Create(arguments) => {
            let body = CreateBody {
                name: arguments.name.as_deref(),
                expires_in: arguments.expires_in.as_deref(),
                scopes: &arguments.scopes,
                workspace: arguments.every_workspace.then_some("*"),
            };
            let answer = vault.call(Call::create(&["v1", "tokens"], &body)?).await?;
            let report = render::object(&answer, mode, FIELDS);
            return Ok(match mode.json {
                true => report,
                false => {
                    report.with_note("the token is shown this once; it ends with what made it")
                }
            });
        }
        TokenCommand::List(arguments) => {
            let query = arguments.paging.query(&[
                ("identity", arguments.identity.as_deref()),
                ("state", arguments.state.as_deref()),
            ]);
            let answer = vault
                .call(Call::get(&["v1", "tokens"]).query(query))
                .await?;
            return Ok(render::list(&answer, mode, COLUMNS, "tokens"));
        }
        TokenCommand::Exchange(arguments) => {
            return issuer::exchange(vault, arguments, mode).await;
        }
        TokenCommand::Show { jti } => Call::get(&["v1", "tokens", &jti]),
        TokenCommand::Revoke { jti } => Call::delete(&["v1", "tokens", &jti]),
    };
    Ok(render::object(&vault.call(call).await?, mode, FIELDS))
}

/// Runs one command about signing keys.
pub(super) async fn run_signing_key(
    vault: &Vault,
    SigningKeyCommand::Rotate: SigningKeyCommand,
    mode: Mode,
) -> Result<Report, Failure> {
    let call = Call::post(&["v1", "sys", "signing-keys", "rotate"], &json!({}))?;
    let fields = ["kid", "number", "created_at", "verifying"];
    Ok(render::object(&vault.call(call).await?, mode, &fields))
}
