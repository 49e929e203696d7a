//! `leasehold lease …`: arguments, request bodies and how the answers are shown.

use clap::ValueEnum;
use serde::Serialize;
use serde_json::{Value, json};
use zeroize::{Zeroize, Zeroizing};

use super::{
    audit,
    call::Call,
    failure::Failure,
    http::Vault,
    output::{Mode, Report},
    paging::{Paging, Query},
    policy::Delivery,
    render::{self, Column},
};

const FIELDS: &[&str] = &[
    "id",
    "handle",
    "credential_name",
    "version",
    "state",
    "delivery",
    "ttl",
    "ttl_capped",
    "issued_at",
    "expires_at",
    "max_expires_at",
    "renewable",
    "identity",
    "requested_by",
    "purpose",
    "metadata",
    "broker",
];

const COLUMNS: &[Column] = &[
    Column("ID", &["id"]),
    Column("CREDENTIAL", &["credential_name"]),
    Column("VERSION", &["version"]),
    Column("IDENTITY", &["identity.name", "identity"]),
    Column("SESSION", &["identity.session_id", "session_id"]),
    Column("DELIVERY", &["delivery"]),
    Column("STATE", &["state"]),
    Column("ISSUED", &["issued_at"]),
    Column("EXPIRES", &["expires_at"]),
];

/// What can be done with leases.
#[derive(Debug, clap::Subcommand)]
pub enum LeaseCommand {
    /// Lease a credential; the handle is shown this once
    Create(Create),
    /// List leases
    List(List),
    /// Show one lease
    Show {
        /// The lease, `lse_…`
        id: String,
    },
    /// List what happened to a lease
    Events {
        /// The lease, `lse_…`
        id: String,
        #[command(flatten)]
        paging: Paging,
    },
    /// Move a lease's expiry, up to the maximum lifetime
    Renew {
        /// The lease, `lse_…`
        id: String,
        /// The new TTL from now, for example 30m; the credential's default otherwise
        #[arg(long, value_name = "DURATION")]
        ttl: Option<String>,
    },
    /// Give a lease back
    Release {
        /// The lease, `lse_…`
        id: String,
    },
    /// End somebody's lease, or every lease that the filters match
    Revoke(Revoke),
}

#[derive(Debug, clap::Args)]
pub struct Create {
    /// The credential
    credential: String,
    /// How long, for example 30m; the credential's default otherwise
    #[arg(long, value_name = "DURATION")]
    ttl: Option<String>,
    /// How to use it; the first that the policy allows otherwise
    #[arg(long, value_enum, value_name = "HOW")]
    delivery: Option<Delivery>,
    /// What it is needed for
    #[arg(long, value_name = "TEXT")]
    purpose: Option<String>,
    /// The session it belongs to
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Who will hold it; the key's own identity otherwise
    #[arg(long, value_name = "NAME")]
    identity: Option<String>,
    /// What kind of identity that is
    #[arg(long, value_enum, value_name = "TYPE", requires = "identity")]
    identity_type: Option<IdentityType>,
    /// Answer with the value too, for a reveal lease
    #[arg(long)]
    reveal: bool,
}

#[derive(Debug, clap::Args)]
#[command(disable_version_flag = true)]
pub struct List {
    /// Only of this credential
    #[arg(long, value_name = "NAME")]
    credential: Option<String>,
    /// Only held by this identity
    #[arg(long, value_name = "NAME")]
    identity: Option<String>,
    /// Only of this session
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Only in this state: active, expired, released or revoked
    #[arg(long)]
    state: Option<String>,
    /// Only on this version
    #[arg(long, value_name = "N")]
    version: Option<u32>,
    /// Only issued at or after this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only issued before this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    #[command(flatten)]
    paging: Paging,
}

#[derive(Debug, clap::Args)]
#[command(
    disable_version_flag = true,
    group = clap::ArgGroup::new("filter").multiple(true).args(["credential", "identity", "version", "session"]),
    group = clap::ArgGroup::new("target").required(true).multiple(true)
        .args(["id", "all", "credential", "identity", "version", "session"]),
)]
pub struct Revoke {
    /// The lease, `lse_…`
    #[arg(conflicts_with_all = ["all", "filter"])]
    id: Option<String>,
    /// Every lease of the workspace
    #[arg(long, conflicts_with = "filter")]
    all: bool,
    /// Every lease of this credential; filters add up
    #[arg(long, value_name = "NAME")]
    credential: Option<String>,
    /// Every lease of this identity
    #[arg(long, value_name = "NAME")]
    identity: Option<String>,
    /// Every lease on this version of the credential
    #[arg(long, value_name = "N", requires = "credential")]
    version: Option<u32>,
    /// Every lease of this session
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Why; needed for more than one lease
    #[arg(long, value_name = "TEXT", required_unless_present = "id")]
    reason: Option<String>,
}

/// What kind of actor an identity is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum IdentityType {
    Agent,
    Human,
    Service,
}

#[derive(Serialize)]
struct CreateBody<'a> {
    credential_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery: Option<Delivery>,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<Holder<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    purpose: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    reveal: bool,
}

#[derive(Serialize)]
struct Holder<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<IdentityType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<&'a str>,
}

#[derive(Serialize)]
struct Filter<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    credential_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<&'a str>,
}

/// Runs one command.
pub(super) async fn run(
    vault: &Vault,
    command: LeaseCommand,
    mode: Mode,
) -> Result<Report, Failure> {
    let call = match command {
        LeaseCommand::Create(arguments) => return create(vault, &arguments, mode).await,
        LeaseCommand::List(arguments) => {
            let answer = vault
                .call(Call::get(&["v1", "leases"]).query(arguments.query()))
                .await?;
            return Ok(render::list(&answer, mode, COLUMNS, "leases"));
        }
        LeaseCommand::Events { id, paging } => {
            let call = Call::get(&["v1", "leases", &id, "events"]).query(paging.query(&[]));
            return Ok(render::list(
                &vault.call(call).await?,
                mode,
                audit::COLUMNS,
                "events",
            ));
        }
        LeaseCommand::Show { id } => Call::get(&["v1", "leases", &id]),
        LeaseCommand::Renew { id, ttl } => {
            Call::post(&["v1", "leases", &id, "renew"], &optional("ttl", ttl))?
        }
        LeaseCommand::Release { id } => Call::post(&["v1", "leases", &id, "release"], &json!({}))?,
        LeaseCommand::Revoke(arguments) => arguments.call()?,
    };
    Ok(render::object(&vault.call(call).await?, mode, FIELDS))
}

async fn create(vault: &Vault, arguments: &Create, mode: Mode) -> Result<Report, Failure> {
    let answer = vault
        .call(Call::create(&["v1", "leases"], &arguments.body())?)
        .await?;
    if mode.json {
        return Ok(render::object(&answer, mode, FIELDS));
    }
    let mut report = Report::new(shown(answer.data()));
    if answer.data().get("handle").is_some() {
        report = report
            .with_note("the handle is shown this once; it works with the API key of its holder");
    }
    Ok(report)
}

/// The lease, its value last. A value that does not fit on a line as it is stands below, to be copied.
fn shown(lease: &Value) -> Zeroizing<String> {
    let mut facts = render::facts(lease, FIELDS);
    facts.retain_mut(|(label, value)| {
        let keep = label != "value";
        if !keep {
            value.zeroize();
        }
        keep
    });
    let value = lease.get("value").and_then(Value::as_str);
    let (short, long) = match value {
        Some(value) if render::clean(value) != value => (None, Some(value)),
        value => (value, None),
    };
    facts.extend(short.map(|value| ("value".to_owned(), value.to_owned())));
    let head = render::aligned(facts);
    let Some(value) = long else {
        return head;
    };
    let newline = if value.ends_with('\n') { "" } else { "\n" };
    let parts = [head.as_str(), "value\n", value, newline];
    let mut text = Zeroizing::new(String::with_capacity(
        parts.iter().map(|part| part.len()).sum(),
    ));
    parts.iter().for_each(|part| text.push_str(part));
    text
}

fn optional(field: &str, text: Option<String>) -> Value {
    text.map_or_else(|| json!({}), |text| json!({ field: text }))
}

impl Create {
    fn body(&self) -> CreateBody<'_> {
        let holder = Holder {
            r#type: self.identity_type,
            name: self.identity.as_deref(),
            session_id: self.session.as_deref(),
        };
        CreateBody {
            credential_name: &self.credential,
            ttl: self.ttl.as_deref(),
            delivery: self.delivery,
            identity: (holder.name.is_some() || holder.session_id.is_some()).then_some(holder),
            purpose: self.purpose.as_deref(),
            reveal: self.reveal,
        }
    }
}

impl List {
    fn query(&self) -> Query {
        let version = self.version.map(|n| n.to_string());
        self.paging.query(&[
            ("credential_name", self.credential.as_deref()),
            ("identity", self.identity.as_deref()),
            ("session_id", self.session.as_deref()),
            ("state", self.state.as_deref()),
            ("version", version.as_deref()),
            ("since", self.since.as_deref()),
            ("until", self.until.as_deref()),
        ])
    }
}

impl Revoke {
    fn call(self) -> Result<Call, Failure> {
        if let Some(id) = &self.id {
            return Call::post(
                &["v1", "leases", id, "revoke"],
                &optional("reason", self.reason),
            );
        }
        Call::post(&["v1", "leases", "revoke"], &self.bulk_body())
    }

    fn bulk_body(&self) -> Value {
        let filter = Filter {
            credential_name: self.credential.as_deref(),
            identity: self.identity.as_deref(),
            version: self.version,
            session_id: self.session.as_deref(),
        };
        let mut body = json!({ "filter": filter });
        if let Some(body) = body.as_object_mut() {
            body.extend(self.all.then(|| ("all".to_owned(), json!(true))));
            body.extend(
                self.reason
                    .as_ref()
                    .map(|reason| ("reason".to_owned(), json!(reason))),
            );
        }
        body
    }
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;
