//! `leasehold identity …`: arguments, request bodies and how the answers are shown.

use clap::ValueEnum;
use serde_json::{Map, Value, json};

use super::{
    call::Call,
    failure::Failure,
    http::Vault,
    metadata,
    output::{Mode, Report},
    paging::{Paging, Query},
    render::{self, Column},
};

const FIELDS: &[&str] = &[
    "name",
    "type",
    "id",
    "role",
    "state",
    "suspension",
    "description",
    "labels",
    "created_at",
    "created_by",
    "updated_at",
];

/// The fields of a stop that people look for first; the receipt is for keeping.
pub(super) const STOPPED_FIELDS: &[&str] = &[
    "revoked_leases",
    "stopped_keys",
    "stopped_tokens",
    "took_ms",
    "identity",
    "receipt",
];

const COLUMNS: &[Column] = &[
    Column("TYPE", &["type"]),
    Column("NAME", &["name"]),
    Column("ROLE", &["role"]),
    Column("STATE", &["state"]),
    Column("DESCRIPTION", &["description"]),
    Column("CREATED", &["created_at"]),
];

/// What can be done with identities.
#[derive(Debug, clap::Subcommand)]
pub enum IdentityCommand {
    /// Make an agent, a human or a service; it proves itself with API keys and tokens that are made for it
    Create(Create),
    /// List identities
    List(List),
    /// Show one identity
    Show {
        /// The identity
        #[arg(value_name = "TYPE/NAME", value_parser = parse_at)]
        identity: At,
    },
    /// Change an identity's role, description or labels
    Update(Update),
    /// Stop an identity at once: its keys, tokens and leases; the answer holds a signed receipt
    Suspend {
        /// The identity
        #[arg(value_name = "TYPE/NAME", value_parser = parse_at)]
        identity: At,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Let a suspended identity act again; its leases stay revoked
    Resume {
        /// The identity
        #[arg(value_name = "TYPE/NAME", value_parser = parse_at)]
        identity: At,
    },
    /// Stop an identity at once and remove it with its keys
    Delete {
        /// The identity
        #[arg(value_name = "TYPE/NAME", value_parser = parse_at)]
        identity: At,
    },
}

#[derive(Debug, clap::Args)]
pub struct Create {
    /// The new identity
    #[arg(value_name = "TYPE/NAME", value_parser = parse_at)]
    identity: At,
    /// What it may do: workspace_admin, operator, agent or viewer; of the organisation owner, admin or auditor
    #[arg(long)]
    role: String,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// A label, by which lists are filtered; repeatable
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = metadata::parse_pair)]
    labels: Vec<(String, String)>,
}

#[derive(Debug, clap::Args)]
pub struct List {
    /// Only this type
    #[arg(long = "type", value_enum)]
    kind: Option<IdentityKind>,
    /// Only this name
    #[arg(long)]
    name: Option<String>,
    /// Only this role
    #[arg(long)]
    role: Option<String>,
    /// Only this state
    #[arg(long, value_enum)]
    state: Option<IdentityState>,
    /// Only with this label; repeatable
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = metadata::parse_pair)]
    labels: Vec<(String, String)>,
    #[command(flatten)]
    paging: Paging,
}

#[derive(Debug, clap::Args)]
pub struct Update {
    /// The identity
    #[arg(value_name = "TYPE/NAME", value_parser = parse_at)]
    identity: At,
    /// What it may do from now on, with every key and token that it has
    #[arg(long)]
    role: Option<String>,
    /// What it is for; empty removes it
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Set a label; repeatable
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = metadata::parse_pair)]
    labels: Vec<(String, String)>,
    /// Remove a label; repeatable
    #[arg(long, value_name = "KEY")]
    remove_label: Vec<String>,
}

/// What kind of actor an identity is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum IdentityKind {
    Agent,
    Human,
    Service,
}

impl IdentityKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Human => "human",
            Self::Service => "service",
        }
    }
}

/// Whether an identity may act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum IdentityState {
    Active,
    Suspended,
}

impl IdentityState {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
        }
    }
}

/// An identity by its type and name, which together are unique in a workspace.
#[derive(Debug, Clone)]
pub struct At {
    kind: IdentityKind,
    name: String,
}

fn parse_at(text: &str) -> Result<At, String> {
    let expected = || "expected TYPE/NAME, such as agent/claude-code".to_owned();
    let (kind, name) = text.split_once('/').ok_or_else(expected)?;
    let kind = IdentityKind::from_str(kind, false).map_err(|_| expected())?;
    let name = name.to_owned();
    Ok(At { kind, name })
}

impl At {
    fn path(&self, rest: &[&str]) -> Vec<String> {
        ["v1", "identities", self.kind.as_str(), self.name.as_str()]
            .iter()
            .chain(rest)
            .map(|part| (*part).to_owned())
            .collect()
    }
}

/// A reason as a request's body.
pub(super) fn reason_body(reason: Option<&str>) -> Value {
    reason.map_or_else(|| json!({}), |reason| json!({ "reason": reason }))
}

/// Runs one command.
pub(super) async fn run(
    vault: &Vault,
    command: IdentityCommand,
    mode: Mode,
) -> Result<Report, Failure> {
    let (call, fields) = match command {
        IdentityCommand::Create(arguments) => (arguments.call()?, FIELDS),
        IdentityCommand::List(arguments) => {
            let call = Call::get(&["v1", "identities"]).query(arguments.query());
            let answer = vault.call(call).await?;
            return Ok(render::list(&answer, mode, COLUMNS, "identities"));
        }
        IdentityCommand::Show { identity } => (Call::get(&identity.path(&[])), FIELDS),
        IdentityCommand::Update(arguments) => {
            let path = arguments.identity.path(&[]);
            (Call::patch(&path, &arguments.body()?)?, FIELDS)
        }
        IdentityCommand::Suspend { identity, reason } => {
            let body = reason_body(reason.as_deref());
            (
                Call::post(&identity.path(&["suspend"]), &body)?,
                STOPPED_FIELDS,
            )
        }
        IdentityCommand::Resume { identity } => {
            (Call::post(&identity.path(&["resume"]), &json!({}))?, FIELDS)
        }
        IdentityCommand::Delete { identity } => (Call::delete(&identity.path(&[])), STOPPED_FIELDS),
    };
    Ok(render::object(&vault.call(call).await?, mode, fields))
}

impl Create {
    fn call(&self) -> Result<Call, Failure> {
        let mut body = Map::new();
        body.insert("type".to_owned(), json!(self.identity.kind.as_str()));
        body.insert("name".to_owned(), json!(self.identity.name));
        body.insert("role".to_owned(), json!(self.role));
        if let Some(description) = &self.description {
            body.insert("description".to_owned(), json!(description));
        }
        if let Some(labels) = metadata::pairs(&self.labels)? {
            body.insert("labels".to_owned(), json!(labels));
        }
        Call::create(&["v1", "identities"], &body)
    }
}

impl List {
    fn query(&self) -> Query {
        let mut query = self.paging.query(&[
            ("name", self.name.as_deref()),
            ("type", self.kind.map(IdentityKind::as_str)),
            ("role", self.role.as_deref()),
            ("state", self.state.map(IdentityState::as_str)),
        ]);
        let labels = self.labels.iter();
        query.extend(labels.map(|(key, value)| (format!("labels.{key}"), value.clone())));
        query
    }
}

impl Update {
    /// The merge patch (RFC 7396).
    fn body(&self) -> Result<Map<String, Value>, Failure> {
        let mut body = Map::new();
        if let Some(role) = &self.role {
            body.insert("role".to_owned(), json!(role));
        }
        if let Some(text) = &self.description {
            let description = Some(text).filter(|text| !text.is_empty());
            body.insert("description".to_owned(), json!(description));
        }
        if let Some(labels) = metadata::patch(&self.labels, &self.remove_label)? {
            body.insert("labels".to_owned(), json!(labels));
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
mod tests {
    use clap::Parser;

    use super::super::test_vault::{PEOPLE, Request, TestVault};
    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(subcommand)]
        command: IdentityCommand,
    }

    fn parse(line: &str) -> Result<IdentityCommand, clap::Error> {
        let cli = Cli::try_parse_from(std::iter::once("x").chain(line.split_whitespace()));
        cli.map(|cli| cli.command)
    }

    async fn sent(line: &str) -> Request {
        let vault = TestVault::answering(&[(200, r#"{"status":"success","data":{"name":"a"}}"#)]);
        run(&vault.client(), parse(line).unwrap(), PEOPLE)
            .await
            .unwrap();
        vault.requests().remove(0)
    }

    #[tokio::test]
    async fn every_command_has_its_route_and_sends_only_what_was_given() {
        for (line, route, body) in [
            (
                "create agent/a --role agent --description d --label team=ml --label x=a=b",
                "POST /v1/identities",
                json!({"type": "agent", "name": "a", "role": "agent", "description": "d",
                    "labels": {"team": "ml", "x": "a=b"}}),
            ),
            (
                "create human/ada --role owner",
                "POST /v1/identities",
                json!({"type": "human", "name": "ada", "role": "owner"}),
            ),
            (
                "update service/s --role viewer --label a=1 --remove-label b --description x",
                "PATCH /v1/identities/service/s",
                json!({"role": "viewer", "description": "x", "labels": {"a": "1", "b": null}}),
            ),
            (
                "suspend agent/a --reason leaked",
                "POST /v1/identities/agent/a/suspend",
                json!({"reason": "leaked"}),
            ),
            (
                "suspend agent/a",
                "POST /v1/identities/agent/a/suspend",
                json!({}),
            ),
            (
                "resume agent/a",
                "POST /v1/identities/agent/a/resume",
                json!({}),
            ),
            ("show agent/a", "GET /v1/identities/agent/a", Value::Null),
            (
                "delete agent/a",
                "DELETE /v1/identities/agent/a",
                Value::Null,
            ),
            (
                "list --type agent --role viewer --state suspended --label team=ml --limit 3",
                "GET /v1/identities?type=agent&role=viewer&state=suspended&limit=3&labels.team=ml",
                Value::Null,
            ),
        ] {
            let request = sent(line).await;
            assert_eq!(request.line, format!("{route} HTTP/1.1"));
            let sent = serde_json::from_str(&request.body).unwrap_or(Value::Null);
            assert_eq!(sent, body, "{line}");
            let creates = request.header("idempotency-key").is_some();
            assert_eq!(creates, line.starts_with("create"), "{line}");
        }
    }

    #[tokio::test]
    async fn misuse_is_refused_before_any_request() {
        for line in [
            "show claude-code",
            "show robot/a",
            "create agent/a",
            "suspend",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
        for line in ["update agent/a", "show agent/.."] {
            let vault = TestVault::answering(&[]);
            let outcome = run(&vault.client(), parse(line).unwrap(), PEOPLE).await;
            assert!(matches!(outcome, Err(Failure::Usage(_))), "{line}");
        }
    }
}
