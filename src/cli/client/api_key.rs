//! `leasehold api-key …`: arguments, request bodies and how the answers are shown.

use clap::ValueEnum;
use serde_json::{Map, Value, json};

use super::{
    call::Call,
    failure::Failure,
    http::Vault,
    lease::IdentityType,
    new_key::Destination,
    output::{Mode, Report},
    paging::{Paging, Query},
    render::{self, Column},
};

const FIELDS: &[&str] = &[
    "id",
    "name",
    "key",
    "state",
    "description",
    "identity",
    "workspace",
    "role",
    "scopes",
    "rate_limit",
    "requests_per_minute",
    "created_at",
    "created_by",
    "updated_at",
    "last_rotated_at",
    "previous_valid_until",
    "expires_at",
    "last_used_at",
];

const COLUMNS: &[Column] = &[
    Column("ID", &["id"]),
    Column("NAME", &["name"]),
    Column("IDENTITY", &["identity.name"]),
    Column("STATE", &["state"]),
    Column("ROLE", &["role"]),
    Column("EXPIRES", &["expires_at"]),
    Column("LAST USED", &["last_used_at"]),
];

const USAGE_COLUMNS: &[Column] = &[
    Column("TIME", &["time"]),
    Column("METHOD", &["method"]),
    Column("PATH", &["path"]),
    Column("STATUS", &["status"]),
    Column("OUTCOME", &["outcome"]),
    Column("MISSING SCOPE", &["missing_scope"]),
    Column("SOURCE", &["source_ip"]),
    Column("USER AGENT", &["user_agent"]),
];

/// What can be done with API keys.
#[derive(Debug, clap::Subcommand)]
pub enum ApiKeyCommand {
    /// Make a key; its value is shown this once
    Create(Box<Create>),
    /// List keys
    List(List),
    /// Show one key, never its value
    Show {
        /// The key's id, `key_…`
        id: String,
    },
    /// Change a key's name, description, scopes or role, or rate limit
    Update(Box<Update>),
    /// Take a key out of use until it is resumed
    #[command(visible_alias = "disable")]
    Pause {
        /// The key's id, `key_…`
        id: String,
    },
    /// Put a paused key into use again
    #[command(visible_alias = "enable")]
    Resume {
        /// The key's id, `key_…`
        id: String,
    },
    /// Give a key a new value, shown this once; one that has expired lives again
    Rotate(Rotate),
    /// Delete a key: it stops at once
    Delete {
        /// The key's id, `key_…`
        id: String,
    },
    /// Say whether a key would be let in now, and whether it may do one thing
    Test {
        /// The key's id, `key_…`
        id: String,
        /// One permission, such as lease:create
        #[arg(long)]
        action: Option<String>,
        /// On what, such as credential/stripe-key; the workspace where it is not given
        #[arg(long, requires = "action")]
        resource: Option<String>,
    },
    /// List the newest requests that a key made
    Usage {
        /// The key's id, `key_…`
        id: String,
        #[command(flatten)]
        paging: Paging,
    },
}

#[derive(Debug, clap::Args)]
pub struct Create {
    /// The new key's name
    name: String,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Whom it proves; your own identity where it is not given
    #[arg(long, value_name = "NAME")]
    identity: Option<String>,
    /// What kind of identity that is
    #[arg(long, value_enum, value_name = "TYPE", requires = "identity")]
    identity_type: Option<IdentityType>,
    /// What it may do, by a role
    #[arg(long, required_unless_present = "scope", conflicts_with = "scope")]
    role: Option<String>,
    /// What it may do: a scope, or a family such as lease:*; repeatable
    #[arg(long)]
    scope: Vec<String>,
    /// Reach every workspace, not only this one
    #[arg(long)]
    organisation: bool,
    /// How long it lives (30d, 90d, 1y, …); for ever where it is not given
    #[arg(long, value_name = "DURATION")]
    expires_in: Option<String>,
    /// free, starter, pro, unlimited, or requests a minute
    #[arg(long, value_name = "LIMIT")]
    rate_limit: Option<String>,
    #[command(flatten)]
    destination: Destination,
}

#[derive(Debug, clap::Args)]
pub struct List {
    /// Only keys of this name
    #[arg(long)]
    name: Option<String>,
    /// Only keys of this identity
    #[arg(long, value_name = "NAME")]
    identity: Option<String>,
    /// Only this state
    #[arg(long, value_enum)]
    state: Option<KeyState>,
    /// Only this role
    #[arg(long)]
    role: Option<String>,
    /// Only keys that were not used for so long, or never (30d, …)
    #[arg(long, value_name = "DURATION")]
    unused_for: Option<String>,
    #[command(flatten)]
    paging: Paging,
}

#[derive(Debug, clap::Args)]
pub struct Update {
    /// The key's id, `key_…`
    id: String,
    /// A new name
    #[arg(long)]
    name: Option<String>,
    /// What it is for; empty removes it
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// What it may do from now on, by a role
    #[arg(long, conflicts_with = "scope")]
    role: Option<String>,
    /// What it may do from now on: a scope, or a family such as lease:*; repeatable
    #[arg(long)]
    scope: Vec<String>,
    /// free, starter, pro, unlimited, default, or requests a minute
    #[arg(long, value_name = "LIMIT")]
    rate_limit: Option<String>,
}

#[derive(Debug, clap::Args)]
pub struct Rotate {
    /// The key's id, `key_…`
    id: String,
    /// How long the old value is good for as well, at most 7d; it stops at once where this is not given
    #[arg(long, value_name = "DURATION")]
    grace: Option<String>,
    /// The new lifetime, or `never`; the old one again where it is not given
    #[arg(long, value_name = "DURATION")]
    expires_in: Option<String>,
    #[command(flatten)]
    destination: Destination,
}

/// Whether a key may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum KeyState {
    Active,
    Paused,
    Expired,
    Suspended,
    Revoked,
}

impl KeyState {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Expired => "expired",
            Self::Suspended => "suspended",
            Self::Revoked => "revoked",
        }
    }
}

fn path(rest: &[&str]) -> Vec<String> {
    let base = ["v1", "api-keys"].iter().chain(rest);
    base.map(|part| (*part).to_owned()).collect()
}

/// Runs one command.
pub(super) async fn run(
    vault: &Vault,
    command: ApiKeyCommand,
    mode: Mode,
) -> Result<Report, Failure> {
    let act = |id: &str, verb: &str| Call::post(&path(&[id, verb]), &json!({}));
    let call = match command {
        ApiKeyCommand::Create(arguments) => {
            let call = Call::create(&path(&[]), &arguments.body())?;
            return arguments
                .destination
                .deliver(vault, call, mode, FIELDS)
                .await;
        }
        ApiKeyCommand::Rotate(arguments) => {
            let call = Call::create(&path(&[&arguments.id, "rotate"]), &arguments.body())?;
            return arguments
                .destination
                .deliver(vault, call, mode, FIELDS)
                .await;
        }
        ApiKeyCommand::List(arguments) => {
            let call = Call::get(&path(&[])).query(arguments.query());
            return Ok(render::list(
                &vault.call(call).await?,
                mode,
                COLUMNS,
                "API keys",
            ));
        }
        ApiKeyCommand::Usage { id, paging } => {
            let call = Call::get(&path(&[&id, "usage"])).query(paging.query(&[]));
            return Ok(render::list(
                &vault.call(call).await?,
                mode,
                USAGE_COLUMNS,
                "requests",
            ));
        }
        ApiKeyCommand::Show { id } => Call::get(&path(&[&id])),
        ApiKeyCommand::Update(arguments) => {
            Call::patch(&path(&[&arguments.id]), &arguments.body()?)?
        }
        ApiKeyCommand::Pause { id } => act(&id, "pause")?,
        ApiKeyCommand::Resume { id } => act(&id, "resume")?,
        ApiKeyCommand::Delete { id } => Call::delete(&path(&[&id])),
        ApiKeyCommand::Test {
            id,
            action,
            resource,
        } => {
            let mut body = Map::new();
            put(&mut body, "action", action.as_deref());
            put(&mut body, "resource", resource.as_deref());
            Call::post(&path(&[&id, "test"]), &body)?
        }
    };
    Ok(render::object(&vault.call(call).await?, mode, FIELDS))
}

fn put(body: &mut Map<String, Value>, field: &str, text: Option<&str>) {
    body.extend(text.map(|text| (field.to_owned(), json!(text))));
}

/// A rate limit as the vault takes it: a number as one, anything else as a name.
fn limit(text: &str) -> Value {
    match text.parse::<u64>() {
        Ok(number) => json!(number),
        Err(_) => json!(text),
    }
}

impl Create {
    fn body(&self) -> Map<String, Value> {
        let mut body = Map::new();
        put(&mut body, "name", Some(&self.name));
        put(&mut body, "description", self.description.as_deref());
        put(&mut body, "role", self.role.as_deref());
        put(&mut body, "expires_in", self.expires_in.as_deref());
        if let Some(name) = &self.identity {
            let mut identity = Map::new();
            put(&mut identity, "name", Some(name));
            if let Some(kind) = self.identity_type {
                identity.insert("type".to_owned(), json!(kind));
            }
            body.insert("identity".to_owned(), Value::Object(identity));
        }
        if !self.scope.is_empty() {
            body.insert("scopes".to_owned(), json!(self.scope));
        }
        if self.organisation {
            body.insert("organisation".to_owned(), json!(true));
        }
        if let Some(text) = &self.rate_limit {
            body.insert("rate_limit".to_owned(), limit(text));
        }
        body
    }
}

impl List {
    fn query(&self) -> Query {
        self.paging.query(&[
            ("name", self.name.as_deref()),
            ("identity", self.identity.as_deref()),
            ("state", self.state.map(KeyState::as_str)),
            ("role", self.role.as_deref()),
            ("unused_for", self.unused_for.as_deref()),
        ])
    }
}

impl Update {
    /// The merge patch (RFC 7396).
    fn body(&self) -> Result<Map<String, Value>, Failure> {
        let mut body = Map::new();
        put(&mut body, "name", self.name.as_deref());
        if let Some(text) = &self.description {
            let description = match text.is_empty() {
                true => Value::Null,
                false => json!(text),
            };
            body.insert("description".to_owned(), description);
        }
        put(&mut body, "role", self.role.as_deref());
        if !self.scope.is_empty() {
            body.insert("scopes".to_owned(), json!(self.scope));
        }
        if let Some(text) = &self.rate_limit {
            let limit = match text.as_str() {
                "default" => Value::Null,
                text => limit(text),
            };
            body.insert("rate_limit".to_owned(), limit);
        }
        if body.is_empty() {
            return Err(Failure::Usage(
                "nothing to change was given; see --help".to_owned(),
            ));
        }
        Ok(body)
    }
}

impl Rotate {
    fn body(&self) -> Map<String, Value> {
        let mut body = Map::new();
        put(&mut body, "grace", self.grace.as_deref());
        match self.expires_in.as_deref() {
            Some("never") => drop(body.insert("expires_in".to_owned(), Value::Null)),
            other => put(&mut body, "expires_in", other),
        }
        body
    }
}

#[cfg(test)]
#[path = "api_key_tests.rs"]
mod tests;
