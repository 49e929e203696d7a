//! API keys: their life, what they may hold, and that whatever is stopped stops at once.

use serde_json::{Value, json};

use super::{DELETE, GET, PATCH, POST, millis, text};
use crate::support::{Answer, Vault};

mod life;
mod offspring;
mod retries;
mod rights;
mod secrecy;
mod shown;
mod usage;

/// Makes a key with the administrator's.
async fn make(vault: &Vault, body: Value) -> Value {
    vault
        .admin(POST, "/v1/api-keys", Some(body))
        .await
        .data(201)
}

/// A key of the agent `claude-code` with its role.
async fn agents(vault: &Vault, name: &str) -> Value {
    let body = json!({"name": name, "identity": {"name": "claude-code"}, "role": "agent"});
    make(vault, body).await
}

/// What is said to whoever comes with this key.
async fn whoami(vault: &Vault, key: &str) -> Answer {
    vault.request(GET, "/v1/auth/whoami", key, None, &[]).await
}

/// Something done to a key with the administrator's.
async fn done(vault: &Vault, key: &Value, verb: &str, body: Value) -> Answer {
    let path = format!("/v1/api-keys/{}/{verb}", text(key, "id"));
    vault.admin(POST, &path, Some(body)).await
}

async fn patch(vault: &Vault, key: &Value, body: Value) -> Answer {
    let path = format!("/v1/api-keys/{}", text(key, "id"));
    vault.admin(PATCH, &path, Some(body)).await
}

async fn shown(vault: &Vault, key: &Value) -> Value {
    let path = format!("/v1/api-keys/{}", text(key, "id"));
    vault.admin(GET, &path, None).await.data(200)
}

/// The ids that a list gives, in its order.
async fn listed(vault: &Vault, query: &str) -> Vec<String> {
    let path = format!("/v1/api-keys?{query}");
    let all = vault.admin(GET, &path, None).await.data(200);
    let ids = all.as_array().unwrap().iter();
    ids.map(|key| text(key, "id").to_owned()).collect()
}

/// The key that a key is.
async fn own(vault: &Vault, key: &str) -> Value {
    whoami(vault, key).await.data(200)["key"].clone()
}
