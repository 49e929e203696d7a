//! `leasehold workspace …`: arguments, request bodies and how the answers are shown.

use serde_json::{Map, Value, json};

use super::{
    call::Call,
    failure::Failure,
    http::Vault,
    identity::{STOPPED_FIELDS, reason_body},
    output::{Mode, Report},
    paging::Paging,
    render::{self, Column},
};

const FIELDS: &[&str] = &[
    "name",
    "id",
    "description",
    "settings",
    "created_at",
    "created_by",
    "updated_at",
    "stopped_until",
];

const COLUMNS: &[Column] = &[
    Column("NAME", &["name"]),
    Column("DEFAULT TTL", &["settings.default_lease_ttl"]),
    Column("MAX TTL", &["settings.max_lease_ttl"]),
    Column("MAX KEYS", &["settings.max_api_keys"]),
    Column("DESCRIPTION", &["description"]),
    Column("CREATED", &["created_at"]),
];

/// What stands for the vault's own default.
const DEFAULT: &str = "default";

/// What can be done with workspaces.
#[derive(Debug, clap::Subcommand)]
pub enum WorkspaceCommand {
    /// Make a workspace
    Create(Change),
    /// List the workspaces that the key reaches
    List {
        /// Only this name
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        paging: Paging,
    },
    /// Show one workspace
    Show {
        /// The workspace
        name: String,
    },
    /// Change a workspace's description or settings
    Update(Change),
    /// Stop everything in a workspace at once: each lease, and each API key and token but the caller's own, for good;
    /// the answer holds a signed receipt
    RevokeAll {
        /// The workspace
        name: String,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
}

/// What can be said of a workspace.
#[derive(Debug, clap::Args)]
pub struct Change {
    /// The workspace
    name: String,
    /// What it is for; empty removes it
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// The TTL of leases where neither request nor policy names one, or `default`
    #[arg(long, value_name = "DURATION")]
    default_lease_ttl: Option<String>,
    /// The ceiling on every lease's lifetime, renewals included, or `default`
    #[arg(long, value_name = "DURATION")]
    max_lease_ttl: Option<String>,
    /// How many API keys it may have, or `default`
    #[arg(long, value_name = "N|default", value_parser = parse_count)]
    max_api_keys: Option<Count>,
}

/// A number, or none for the default.
#[derive(Debug, Clone, Copy)]
struct Count(Option<u32>);

fn parse_count(text: &str) -> Result<Count, String> {
    match text {
        DEFAULT => Ok(Count(None)),
        text => text
            .parse()
            .map(|count| Count(Some(count)))
            .map_err(|_| "expected a number or `default`".to_owned()),
    }
}

impl Change {
    fn body(&self) -> Map<String, Value> {
        let mut settings = Map::new();
        let ttls = [
            ("default_lease_ttl", &self.default_lease_ttl),
            ("max_lease_ttl", &self.max_lease_ttl),
        ];
        for (field, ttl) in ttls {
            if let Some(ttl) = ttl {
                let ttl = Some(ttl).filter(|ttl| *ttl != DEFAULT);
                settings.insert(field.to_owned(), json!(ttl));
            }
        }
        if let Some(Count(max)) = self.max_api_keys {
            settings.insert("max_api_keys".to_owned(), json!(max));
        }
        let mut body = Map::new();
        if let Some(text) = &self.description {
            let description = Some(text).filter(|text| !text.is_empty());
            body.insert("description".to_owned(), json!(description));
        }
        if !settings.is_empty() {
            body.insert("settings".to_owned(), Value::Object(settings));
        }
        body
    }
}

/// Runs one command.
pub(super) async fn run(
    vault: &Vault,
    command: WorkspaceCommand,
    mode: Mode,
) -> Result<Report, Failure> {
    let all = ["v1", "workspaces"];
    let (call, fields) = match command {
        WorkspaceCommand::Create(change) => {
            let mut body = change.body();
            body.insert("name".to_owned(), json!(change.name));
            (Call::create(&all, &body)?, FIELDS)
        }
        WorkspaceCommand::List { name, paging } => {
            let call = Call::get(&all).query(paging.query(&[("name", name.as_deref())]));
            let answer = vault.call(call).await?;
            return Ok(render::list(&answer, mode, COLUMNS, "workspaces"));
        }
        WorkspaceCommand::Show { name } => (Call::get(&["v1", "workspaces", &name]), FIELDS),
        WorkspaceCommand::Update(change) => {
            let body = change.body();
            if body.is_empty() {
                return Err(Failure::Usage(
                    "nothing to change was given; see --help".to_owned(),
                ));
            }
            let path = ["v1", "workspaces", &change.name];
            (Call::patch(&path, &body)?, FIELDS)
        }
        WorkspaceCommand::RevokeAll { name, reason } => {
            let path = ["v1", "workspaces", &name, "revoke-all"];
            let body = reason_body(reason.as_deref());
            (Call::post(&path, &body)?, STOPPED_FIELDS)
        }
    };
    Ok(render::object(&vault.call(call).await?, mode, fields))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::test_vault::{PEOPLE, TestVault};
    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(subcommand)]
        command: WorkspaceCommand,
    }

    fn parse(line: &str) -> WorkspaceCommand {
        Cli::parse_from(std::iter::once("x").chain(line.split_whitespace())).command
    }

    #[tokio::test]
    async fn every_command_has_its_route_and_sends_only_what_was_given() {
        for (line, route, body) in [
            (
                "create w --description d --default-lease-ttl 5m --max-api-keys 3",
                "POST /v1/workspaces",
                json!({"name": "w", "description": "d",
                    "settings": {"default_lease_ttl": "5m", "max_api_keys": 3}}),
            ),
            ("create w", "POST /v1/workspaces", json!({"name": "w"})),
            (
                "update w --max-lease-ttl default --max-api-keys default",
                "PATCH /v1/workspaces/w",
                json!({"settings": {"max_lease_ttl": null, "max_api_keys": null}}),
            ),
            (
                "revoke-all w --reason leaked",
                "POST /v1/workspaces/w/revoke-all",
                json!({"reason": "leaked"}),
            ),
            ("show w", "GET /v1/workspaces/w", Value::Null),
            (
                "list --name w --sort -name",
                "GET /v1/workspaces?name=w&sort=-name",
                Value::Null,
            ),
        ] {
            let vault =
                TestVault::answering(&[(200, r#"{"status":"success","data":{"name":"a"}}"#)]);
            run(&vault.client(), parse(line), PEOPLE).await.unwrap();
            let request = vault.requests().remove(0);
            assert_eq!(request.line, format!("{route} HTTP/1.1"));
            let sent = serde_json::from_str(&request.body).unwrap_or(Value::Null);
            assert_eq!(sent, body, "{line}");
        }
        let vault = TestVault::answering(&[]);
        let outcome = run(&vault.client(), parse("update w"), PEOPLE).await;
        assert!(matches!(outcome, Err(Failure::Usage(_))));
    }
}
