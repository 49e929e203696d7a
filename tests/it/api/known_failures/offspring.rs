//! A child that outlives its parent: tokens and leases after what made them was stopped.

use serde_json::{Value, json};

use super::super::{DELETE, GET, PATCH, POST, text};
use crate::support::{Answer, Vault};

const AGENT: &str = "/v1/identities/agent/claude-code";

/// A key of the administrator's identity that may make tokens.
async fn maker(vault: &Vault) -> Value {
    let body = json!({"name": "maker", "scopes": ["token:*", "lease:read"]});
    let key = vault.admin(POST, "/v1/api-keys", Some(body)).await;
    key.data(201)
}

async fn token(vault: &Vault, with: &str) -> Value {
    let made = vault.request(POST, "/v1/tokens", with, Some(json!({})), &[]);
    made.await.data(201)
}

/// Three tokens, each made with the one before it, the first with this key. All were used.
async fn line(vault: &Vault, key: &Value) -> Vec<Value> {
    let mut line: Vec<Value> = Vec::new();
    for _ in 0..3 {
        let with = match line.last() {
            Some(token) => text(token, "token"),
            None => text(key, "key"),
        };
        let made = token(vault, with).await;
        whoami(vault, &made).await.data(200);
        line.push(made);
    }
    line
}

async fn whoami(vault: &Vault, token: &Value) -> Answer {
    let token = text(token, "token");
    vault
        .request(GET, "/v1/auth/whoami", token, None, &[])
        .await
}

// INVARIANT (offspring)
#[tokio::test(flavor = "multi_thread")]
async fn no_token_outlives_the_token_or_the_key_that_made_it() {
    let vault = Vault::dev();
    let key = maker(&vault).await;
    let first = line(&vault, &key).await;
    let revoked = format!("/v1/tokens/{}", text(&first[1], "jti"));
    vault.admin(DELETE, &revoked, None).await.data(200);
    whoami(&vault, &first[0]).await.data(200);
    for gone in &first[1..] {
        whoami(&vault, gone).await.fails(401, "UNAUTHORIZED");
    }
    let at = format!("/v1/api-keys/{}", text(&key, "id"));
    let second = line(&vault, &key).await;
    // What the key loses, every token of its line loses.
    let less = json!({"scopes": ["token:create"]});
    vault.admin(PATCH, &at, Some(less)).await.data(200);
    for less in &second {
        let me = whoami(&vault, less).await.data(200);
        assert_eq!(me["scopes"], json!(["token:create"]));
    }
    let pause = format!("{at}/pause");
    vault.admin(POST, &pause, None).await.data(200);
    for paused in second.iter().chain(&first[..1]) {
        whoami(&vault, paused).await.fails(401, "KEY_PAUSED");
    }
    vault.admin(DELETE, &at, None).await.data(200);
    let vault = vault.kill_and_reopen(&[]);
    for gone in first.iter().chain(&second) {
        whoami(&vault, gone).await.fails(401, "UNAUTHORIZED");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_outlives_the_suspension_of_its_identity() {
    let vault = Vault::dev();
    let body = json!({"name": "k", "type": "service", "role": "workspace_admin"});
    let made = vault.admin(POST, "/v1/identities", Some(body)).await;
    made.data(201);
    let body = json!({"name": "k", "role": "workspace_admin", "identity": {"type": "service", "name": "k"}});
    let key = vault.admin(POST, "/v1/api-keys", Some(body)).await;
    let line = line(&vault, &key.data(201)).await;
    let stopped = vault.admin(POST, "/v1/identities/service/k/suspend", None);
    stopped.await.data(200);
    for token in &line {
        let refused = whoami(&vault, token).await;
        refused.fails(403, "IDENTITY_SUSPENDED");
    }
    let gone = vault.admin(DELETE, "/v1/identities/service/k", None).await;
    gone.data(200);
    for token in &line {
        whoami(&vault, token).await.fails(401, "UNAUTHORIZED");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_lease_outlives_the_suspension_of_its_holder_or_of_who_asked_for_it() {
    let vault = Vault::dev();
    vault.store("a", "v", json!({})).await;
    let body = json!({"name": "boss", "type": "agent", "role": "workspace_admin"});
    let made = vault.admin(POST, "/v1/identities", Some(body)).await;
    made.data(201);
    let body = json!({"name": "k", "role": "workspace_admin", "identity": {"name": "boss"}});
    let boss = vault.admin(POST, "/v1/api-keys", Some(body)).await;
    let boss = boss.data(201);
    let held = super::super::take(&vault, "a").await;
    let asked = json!({"credential_name": "a", "identity": {"name": "claude-code"}});
    let asked = vault.request(POST, "/v1/leases", text(&boss, "key"), Some(asked), &[]);
    let asked = asked.await.data(201);
    for who in ["boss", "claude-code"] {
        let suspend = format!("/v1/identities/agent/{who}/suspend");
        let stopped = vault.admin(POST, &suspend, None).await.data(200);
        assert_eq!(stopped["revoked_leases"], 1, "{who}: {stopped}");
    }
    // Whoever comes back finds none of them open.
    let resumed = vault.admin(POST, &format!("{AGENT}/resume"), None).await;
    resumed.data(200);
    for lease in [&held, &asked] {
        let used = vault.redeem(text(lease, "handle")).await;
        used.fails(410, "LEASE_REVOKED");
        let renewed = super::super::act(&vault, lease, "renew", json!({})).await;
        renewed.fails(410, "LEASE_REVOKED");
    }
}

/// A lease is its holder's and not the key's: deleting a key ends what the key may do, and ends no lease.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_of_no_use_to_a_deleted_key_or_a_lowered_role() {
    let vault = Vault::dev();
    vault.store("a", "v", json!({})).await;
    let body = json!({"name": "second", "role": "agent", "identity": {"name": "claude-code"}});
    let second = vault.admin(POST, "/v1/api-keys", Some(body)).await;
    let second = second.data(201);
    let key = text(&second, "key");
    let body = json!({"credential_name": "a"});
    let lease = vault
        .request(POST, "/v1/leases", key, Some(body), &[])
        .await;
    let lease = lease.data(201);
    let handle = Some(json!({"handle": lease["handle"]}));
    let redeem = |key: &str| {
        let (vault, key, body) = (&vault, key.to_owned(), handle.clone());
        async move {
            vault
                .request(POST, "/v1/handles/redeem", &key, body, &[])
                .await
        }
    };
    redeem(key).await.data(200);
    let gone = format!("/v1/api-keys/{}", text(&second, "id"));
    vault.admin(DELETE, &gone, None).await.data(200);
    redeem(key).await.fails(401, "UNAUTHORIZED");
    redeem(&vault.agent_key).await.data(200);
    let lower = json!({"role": "viewer"});
    vault.admin(PATCH, AGENT, Some(lower)).await.data(200);
    let refused = redeem(&vault.agent_key).await;
    refused.fails(403, "INSUFFICIENT_PERMISSIONS");
    let renewed = super::super::act(&vault, &lease, "renew", json!({})).await;
    renewed.fails(403, "INSUFFICIENT_PERMISSIONS");
}
