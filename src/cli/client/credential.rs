//! `leasehold credential …`: arguments, request bodies and how the answers are shown.

use std::collections::BTreeMap;

use clap::{ValueEnum, builder::PossibleValuesParser};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{
    call::Call,
    failure::Failure,
    http::Vault,
    metadata,
    output::{Mode, Report},
    paging::{Paging, Query},
    policy::{self, OnOpenLeases, PolicyArgs},
    render::{self, Column},
    secret_input::ValueArgs,
};

const FIELDS: &[&str] = &[
    "name",
    "id",
    "type",
    "state",
    "description",
    "current_version",
    "fingerprint",
    "active_leases",
    "metadata",
    "policy",
    "created_at",
    "created_by",
    "last_leased_at",
    "last_rotated_at",
    "next_rotation_at",
];

const COLUMNS: &[Column] = &[
    Column("NAME", &["name"]),
    Column("TYPE", &["type"]),
    Column("STATE", &["state"]),
    Column("VERSION", &["current_version"]),
    Column("LEASES", &["active_leases"]),
    Column("LAST LEASED", &["last_leased_at"]),
    Column("LAST ROTATED", &["last_rotated_at"]),
    Column("NEXT ROTATION", &["next_rotation_at"]),
];

const VERSION_COLUMNS: &[Column] = &[
    Column("VERSION", &["number"]),
    Column("STATE", &["state"]),
    Column("LEASES", &["active_leases"]),
    Column("REVEALED", &["revealed"]),
    Column("FINGERPRINT", &["fingerprint"]),
    Column("CREATED", &["created_at"]),
    Column("ROTATED", &["rotated_at"]),
    Column("RETIRED", &["retired_at"]),
];

/// What can be done with credentials.
#[derive(Debug, clap::Subcommand)]
pub enum CredentialCommand {
    /// Store a new credential; its value comes from a file, stdin or a hidden prompt
    Create(Box<Create>),
    /// List credentials
    List(List),
    /// Show one credential, never its value
    Show {
        /// The credential
        name: String,
    },
    /// Change a credential's description, metadata, state or policy
    Update(Box<Update>),
    /// Give a credential a new value, from a file, stdin or a hidden prompt
    Rotate(Rotate),
    /// List a credential's versions
    Versions {
        /// The credential
        name: String,
        #[command(flatten)]
        paging: Paging,
    },
    /// In an emergency: destroy one version's value and revoke the leases on it
    RevokeVersion {
        /// The credential
        name: String,
        /// The version's number
        #[arg(value_name = "N")]
        number: u32,
    },
    /// Delete a credential; refused while leases are active
    Delete {
        /// The credential
        name: String,
        /// Revoke its active leases first
        #[arg(long)]
        force: bool,
    },
}

#[derive(Debug, clap::Args)]
pub struct Create {
    /// The new credential's name
    name: String,
    /// Its type: api-key, aws-access-key, basic-auth, oauth-token, ssh-key, tls-certificate, database-url or generic-secret
    #[arg(long = "type", value_name = "TYPE")]
    kind: String,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// A fact about it, never secret (service, environment, team, rotate_every, …); repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = metadata::parse_pair)]
    metadata: Vec<(String, String)>,
    /// Nobody has a reason to touch it: a lease of it raises the alarm
    #[arg(long)]
    canary: bool,
    #[command(flatten)]
    policy: PolicyArgs,
    #[command(flatten)]
    value: ValueArgs,
}

#[derive(Debug, clap::Args)]
pub struct List {
    /// Only this type
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Only this state
    #[arg(long, value_enum)]
    state: Option<CredentialState>,
    /// Only this name
    #[arg(long)]
    name: Option<String>,
    /// Only with this metadata; repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = metadata::parse_pair)]
    metadata: Vec<(String, String)>,
    #[command(flatten)]
    paging: Paging,
}

#[derive(Debug, clap::Args)]
pub struct Update {
    /// The credential
    name: String,
    /// What it is for; empty removes it
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Set a fact about it; repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = metadata::parse_pair)]
    metadata: Vec<(String, String)>,
    /// Remove a fact about it; repeatable
    #[arg(long, value_name = "KEY")]
    remove_metadata: Vec<String>,
    /// Allow its use, stop it for now, or stop it for good
    #[arg(long, value_enum)]
    state: Option<CredentialState>,
    /// Whether a lease of it raises the alarm
    #[arg(long, value_name = "BOOL")]
    canary: Option<bool>,
    #[command(flatten)]
    policy: PolicyArgs,
    /// Leave a field of the policy to the policy below it; repeatable
    #[arg(long, value_name = "FIELD", value_parser = PossibleValuesParser::new(policy::FIELDS))]
    unset_policy: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub struct Rotate {
    /// The credential
    name: String,
    /// A fact that changes with the value, such as access_key_id; repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = metadata::parse_pair)]
    metadata: Vec<(String, String)>,
    /// What to do with the leases on the old value, instead of what the policy says
    #[arg(long, value_enum, value_name = "WHAT")]
    on_open_leases: Option<OnOpenLeases>,
    /// Refuse unless this is the current version
    #[arg(long, value_name = "N")]
    expected_version: Option<u32>,
    #[command(flatten)]
    value: ValueArgs,
}

/// Whether a credential may be leased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum CredentialState {
    Active,
    Disabled,
    Revoked,
}

impl CredentialState {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
            Self::Revoked => "revoked",
        }
    }
}

type Pairs<'a> = BTreeMap<&'a str, Option<&'a str>>;

#[derive(Serialize)]
struct CreateBody<'a> {
    name: &'a str,
    r#type: &'a str,
    value: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Pairs<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    canary: bool,
}

#[derive(Serialize)]
struct RotateBody<'a> {
    new_value: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Pairs<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_open_leases: Option<OnOpenLeases>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_version: Option<u32>,
}

/// Runs one command.
pub(super) async fn run(
    vault: &Vault,
    command: CredentialCommand,
    mode: Mode,
) -> Result<Report, Failure> {
    let path = |name: &str, rest: &[&str]| -> Vec<String> {
        ["v1", "credentials", name]
            .iter()
            .chain(rest)
            .map(|part| (*part).to_owned())
            .collect()
    };
    let call = match command {
        CredentialCommand::Create(arguments) => arguments.call()?,
        CredentialCommand::List(arguments) => {
            let answer = vault
                .call(Call::get(&["v1", "credentials"]).query(arguments.query()))
                .await?;
            return Ok(render::list(&answer, mode, COLUMNS, "credentials"));
        }
        CredentialCommand::Show { name } => Call::get(&path(&name, &[])),
        CredentialCommand::Update(arguments) => {
            Call::patch(&path(&arguments.name, &[]), &arguments.body()?)?
        }
        CredentialCommand::Rotate(arguments) => {
            arguments.call(&path(&arguments.name, &["rotate"]))?
        }
        CredentialCommand::Versions { name, paging } => {
            let call = Call::get(&path(&name, &["versions"])).query(paging.query(&[]));
            return Ok(render::list(
                &vault.call(call).await?,
                mode,
                VERSION_COLUMNS,
                "versions",
            ));
        }
        CredentialCommand::RevokeVersion { name, number } => Call::post(
            &path(&name, &["versions", &number.to_string(), "revoke"]),
            &json!({}),
        )?,
        CredentialCommand::Delete { name, force } => {
            let force = force.then(|| ("force".to_owned(), "true".to_owned()));
            let call = Call::delete(&path(&name, &[])).query(force.into_iter().collect());
            let report = render::object(&vault.call(call).await?, mode, FIELDS);
            return Ok(match mode.json {
                true => report,
                false => report.with_note(&format!("deleted {}", render::clean(&name))),
            });
        }
    };
    Ok(render::object(&vault.call(call).await?, mode, FIELDS))
}

impl Create {
    fn call(&self) -> Result<Call, Failure> {
        // What can be refused without the value is, before anybody types it.
        let (metadata, policy) = (metadata::pairs(&self.metadata)?, self.policy.to_json()?);
        let value = self.value.read(&self.name)?;
        let body = CreateBody {
            name: &self.name,
            r#type: &self.kind,
            value: &value,
            description: self.description.as_deref(),
            metadata,
            policy,
            canary: self.canary,
        };
        Call::create(&["v1", "credentials"], &body)
    }
}

impl Rotate {
    fn call(&self, path: &[String]) -> Result<Call, Failure> {
        let metadata = metadata::pairs(&self.metadata)?;
        let value = self.value.read(&self.name)?;
        let body = RotateBody {
            new_value: &value,
            metadata,
            on_open_leases: self.on_open_leases,
            expected_version: self.expected_version,
        };
        Call::create(path, &body)
    }
}

impl List {
    fn query(&self) -> Query {
        let mut query = self.paging.query(&[
            ("name", self.name.as_deref()),
            ("type", self.kind.as_deref()),
            ("state", self.state.map(CredentialState::as_str)),
        ]);
        query.extend(
            self.metadata
                .iter()
                .map(|(key, value)| (format!("metadata.{key}"), value.clone())),
        );
        query
    }
}

impl Update {
    /// The merge patch (RFC 7396).
    fn body(&self) -> Result<Map<String, Value>, Failure> {
        let mut body = Map::new();
        if let Some(text) = &self.description {
            let description = if text.is_empty() {
                Value::Null
            } else {
                json!(text)
            };
            body.insert("description".to_owned(), description);
        }
        if let Some(metadata) = metadata::patch(&self.metadata, &self.remove_metadata)? {
            body.insert("metadata".to_owned(), json!(metadata));
        }
        if let Some(state) = self.state {
            body.insert("state".to_owned(), json!(state));
        }
        if let Some(canary) = self.canary {
            body.insert("canary".to_owned(), json!(canary));
        }
        let mut policy = self.policy.to_json()?;
        for field in &self.unset_policy {
            let before = policy
                .get_or_insert_default()
                .insert(field.clone(), Value::Null);
            if before.is_some_and(|value| !value.is_null()) {
                return Err(Failure::Usage(format!(
                    "the policy's `{field}` is both set and unset"
                )));
            }
        }
        if let Some(policy) = policy {
            body.insert("policy".to_owned(), Value::Object(policy));
        }
        if body.is_empty() {
            return Err(Failure::Usage(
                "nothing to change was given; see --help".to_owned(),
            ));
        }
        Ok(body)
    }
}

#[cfg(test)]
#[path = "credential_tests.rs"]
mod tests;
