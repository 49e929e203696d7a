//! The HTTP contract, held to the real server.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Vault};

mod audit;
mod audit_query;
mod audit_stream;
mod canary;
mod check;
mod cli;
mod conventions;
mod credentials;
mod directory;
mod export;
mod federation;
mod history;
mod isolation;
mod keys;
mod known_failures;
mod leases;
mod lifecycle;
mod limits;
mod misuse;
mod openapi;
mod paths;
mod policies;
mod policy_sets;
mod policy_trial;
mod raw;
mod reports;
mod retries;
mod rotation;
mod samples;
mod seals;
mod stop;
mod sweep;
mod tokens;
mod transparency;
mod values;
mod vault_history;

const POST: Method = Method::POST;
const GET: Method = Method::GET;
const PATCH: Method = Method::PATCH;
const DELETE: Method = Method::DELETE;

/// After this, a lease of one second is over.
const PAST_ONE_SECOND: std::time::Duration = std::time::Duration::from_millis(1200);

/// An RFC 3339 instant, as milliseconds since 1970.
#[track_caller]
fn millis(timestamp: &Value) -> u128 {
    let text = timestamp.as_str().unwrap();
    assert!(text.ends_with('Z'), "{text} is not UTC");
    let time = humantime::parse_rfc3339(text).unwrap();
    time.duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_millis()
}

/// Asks for a lease as the agent.
async fn ask(vault: &Vault, body: Value) -> Answer {
    vault.agent(POST, "/v1/leases", Some(body)).await
}

/// A plain lease of this credential for the agent.
async fn take(vault: &Vault, name: &str) -> Value {
    vault.lease(json!({"credential_name": name})).await
}

/// What the administrator is shown of a credential.
async fn shown(vault: &Vault, name: &str) -> Value {
    let path = format!("/v1/credentials/{name}");
    vault.admin(GET, &path, None).await.data(200)
}

/// The versions of a credential, newest first.
async fn versions(vault: &Vault, name: &str) -> Value {
    let path = format!("/v1/credentials/{name}/versions");
    vault.admin(GET, &path, None).await.data(200)
}

/// Something done to a lease as the agent: `renew`, `release`.
async fn act(vault: &Vault, lease: &Value, action: &str, body: Value) -> Answer {
    let path = format!("/v1/leases/{}/{action}", text(lease, "id"));
    vault.agent(POST, &path, Some(body)).await
}

/// A field that must be text.
#[track_caller]
fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field]
        .as_str()
        .unwrap_or_else(|| panic!("no text `{field}` in {value}"))
}

/// Stores a credential as the administrator.
async fn create(vault: &Vault, body: Value) -> Answer {
    vault.admin(POST, "/v1/credentials", Some(body)).await
}
