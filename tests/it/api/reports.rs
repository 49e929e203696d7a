//! Reports: who could have used a key, what should be rotated, what nobody uses, and the alarm of a canary.

use reqwest::Method;
use serde_json::{Value, json};

use super::{GET, PATCH, POST, text};
use crate::support::{Answer, Vault};

mod canaries;
mod due;
mod exposure;
mod signed;

/// An agent with a key of its own.
struct Agent<'a> {
    vault: &'a Vault,
    key: String,
}

impl<'a> Agent<'a> {
    async fn new(vault: &'a Vault, name: &str) -> Self {
        let body = json!({"name": name, "type": "agent", "role": "agent"});
        vault
            .admin(POST, "/v1/identities", Some(body))
            .await
            .data(201);
        let body = json!({"name": name, "identity": {"name": name}, "role": "agent"});
        let made = vault.admin(POST, "/v1/api-keys", Some(body)).await;
        let key = text(&made.data(201), "key").to_owned();
        Self { vault, key }
    }

    async fn asks(&self, method: Method, path: &str, body: Value) -> Answer {
        let headers = [("user-agent", "agent/1.0")];
        self.vault
            .request(method, path, &self.key, Some(body), &headers)
            .await
    }

    async fn leases(&self, body: Value) -> Value {
        self.asks(POST, "/v1/leases", body).await.data(201)
    }

    async fn redeems(&self, lease: &Value) -> Answer {
        let body = json!({"handle": text(lease, "handle")});
        self.asks(POST, "/v1/handles/redeem", body).await
    }

    async fn releases(&self, lease: &Value) -> Value {
        let path = format!("/v1/leases/{}/release", text(lease, "id"));
        self.asks(POST, &path, json!({})).await.data(200)
    }
}

/// A report as the administrator gets it.
async fn report(vault: &Vault, query: &str) -> Value {
    let path = format!("/v1/reports/{query}");
    vault.admin(GET, &path, None).await.data(200)
}

/// The next millisecond: what happens after it is later than what happened before.
async fn tick() {
    tokio::time::sleep(std::time::Duration::from_millis(3)).await;
}

fn ids(rows: &Value) -> Vec<&str> {
    let rows = rows.as_array().unwrap().iter();
    rows.map(|row| text(row, "id")).collect()
}
