//! The emergency stop: complete when it is answered, whatever raced it, and told of by a receipt that anybody can
//! check.

use serde_json::{Value, json};

use super::{DELETE, GET, PATCH, POST, ask, isolation::Two, take, text};
use crate::support::{Answer, Vault};

mod race;
pub(super) mod receipt;
mod shown;

const AGENT: &str = "/v1/identities/agent/claude-code";

async fn suspend(vault: &Vault) -> Value {
    let body = json!({"reason": "leaked"});
    let path = format!("{AGENT}/suspend");
    vault.admin(POST, &path, Some(body)).await.data(200)
}

async fn resume(vault: &Vault) -> Answer {
    vault.admin(POST, &format!("{AGENT}/resume"), None).await
}

async fn active(vault: &Vault) -> u64 {
    let listed = vault
        .admin(GET, "/v1/leases?state=active&limit=1", None)
        .await;
    listed.body["page"]["total"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspension_ends_the_keys_and_leases_of_an_identity_and_of_no_other() {
    let vault = Vault::dev();
    vault.store("a", "v", json!({})).await;
    vault.store("b", "v", json!({})).await;
    let mut mine = Vec::new();
    for name in ["a", "a", "b"] {
        mine.push(take(&vault, name).await);
    }
    let own = json!({"credential_name": "a"});
    let others = vault.admin(POST, "/v1/leases", Some(own)).await.data(201);
    let body = json!({"credential_name": "a", "identity": {"name": "claude-code"}});
    let given = vault.admin(POST, "/v1/leases", Some(body)).await.data(201);
    let stopped = suspend(&vault).await;
    assert_eq!(
        (
            &stopped["revoked_leases"],
            &stopped["stopped_keys"],
            &stopped["stopped_tokens"]
        ),
        (&json!(4), &json!(1), &json!(0)),
        "{stopped}"
    );
    let identity = &stopped["identity"];
    assert_eq!(
        (&identity["state"], &identity["suspension"]["reason"]),
        (&json!("suspended"), &json!("leaked"))
    );
    let refused = ask(&vault, json!({"credential_name": "a"})).await;
    refused.fails(403, "IDENTITY_SUSPENDED");
    let body = json!({"credential_name": "a", "identity": {"name": "claude-code"}});
    let delegated = vault.admin(POST, "/v1/leases", Some(body)).await;
    delegated.fails(403, "IDENTITY_SUSPENDED");
    assert_eq!(active(&vault).await, 1, "the administrator's own is open");
    // The lease that was asked for in its name, by its requester.
    let handle = json!({"handle": given["handle"]});
    let used = vault.admin(POST, "/v1/handles/redeem", Some(handle)).await;
    used.fails(410, "LEASE_REVOKED");
    let handle = json!({"handle": others["handle"]});
    let used = vault.admin(POST, "/v1/handles/redeem", Some(handle)).await;
    used.data(200);

    // Again: nothing is left to revoke, and that is told.
    assert_eq!(suspend(&vault).await["revoked_leases"], 0);
    resume(&vault).await.data(200);
    resume(&vault).await.fails(409, "INVALID_STATE");
    take(&vault, "a").await;
    let used = vault.redeem(text(&mine[0], "handle")).await;
    used.fails(410, "LEASE_REVOKED");
    let query = "/v1/audit?event=lease.revoked&limit=1";
    let revoked = vault.admin(GET, query, None).await.data(200);
    assert_eq!(
        (&revoked[0]["reason"], &revoked[0]["actor"]["name"]),
        (
            &json!("the identity was suspended: leaked"),
            &json!("admin")
        )
    );
    for event in ["identity.suspended", "identity.resumed", "key.refused"] {
        let query = format!("/v1/audit?event={event}");
        let found = vault.admin(GET, &query, None).await.data(200);
        assert!(!found.as_array().unwrap().is_empty(), "{event}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_identity_leaves_nothing_that_works() {
    let vault = Vault::dev();
    vault.store("a", "v", json!({})).await;
    let lease = take(&vault, "a").await;
    let gone = vault.admin(DELETE, AGENT, None).await.data(200);
    assert_eq!(
        (&gone["revoked_leases"], &gone["stopped_keys"]),
        (&json!(1), &json!(1))
    );
    ask(&vault, json!({"credential_name": "a"}))
        .await
        .fails(401, "UNAUTHORIZED");
    let body = json!({"name": "claude-code", "type": "agent", "role": "agent"});
    let again = vault.admin(POST, "/v1/identities", Some(body)).await;
    again.data(201);
    ask(&vault, json!({"credential_name": "a"}))
        .await
        .fails(401, "UNAUTHORIZED");
    let at = format!("/v1/leases/{}", text(&lease, "id"));
    let lease = vault.admin(GET, &at, None).await.data(200);
    assert_eq!(lease["state"], "revoked");
    for event in ["identity.deleted", "key.deleted"] {
        let query = format!("/v1/audit?event={event}");
        let found = vault.admin(GET, &query, None).await.data(200);
        assert_eq!(found.as_array().unwrap().len(), 1, "{event}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_in_a_workspace_stops_but_the_callers_own_key_and_other_workspaces() {
    let two = Two::start();
    for workspace in ["default", "b"] {
        let body = json!({"name": "c", "type": "api-key", "value": "v"});
        two.admin(workspace, POST, "/v1/credentials", Some(body))
            .await
            .data(201);
    }
    let lease = |key: &str| {
        let (two, key) = (&two, key.to_owned());
        async move {
            let body = json!({"credential_name": "c"});
            two.agent(&key, POST, "/v1/leases", Some(body)).await
        }
    };
    let in_a = lease(&two.a1).await.data(201);
    lease(&two.b1).await.data(201);
    let all = "/v1/workspaces/default/revoke-all";
    let body = Some(json!({"reason": "breach"}));
    let stopped = two.admin("b", POST, all, body).await.data(200);
    assert_eq!(
        (&stopped["revoked_leases"], &stopped["stopped_keys"]),
        (&json!(1), &json!(1)),
        "{stopped}"
    );
    lease(&two.a1).await.fails(401, "UNAUTHORIZED");
    lease(&two.b1).await.data(201);
    let at = format!("/v1/leases/{}", text(&in_a, "id"));
    let seen = two.admin("default", GET, &at, None).await.data(200);
    assert_eq!(seen["state"], "revoked");
    // It is in the history of the workspace that was stopped, whichever the caller was in.
    let query = "/v1/audit?event=workspace.revoked_all";
    let told = two.admin("default", GET, query, None).await.data(200);
    assert_eq!(told[0]["reason"], "breach");
    let told = two.admin("b", GET, query, None).await.data(200);
    assert_eq!(told, json!([]));
    let shown = two
        .admin("default", GET, "/v1/workspaces/default", None)
        .await
        .data(200);
    assert!(shown["stopped_until"].is_string());
    // A second stop finds nothing that still counts.
    let again = two.admin("b", POST, all, None).await.data(200);
    assert_eq!(
        (&again["revoked_leases"], &again["stopped_keys"]),
        (&json!(0), &json!(0))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_of_a_session_or_an_identity_are_revoked_by_filter() {
    let vault = Vault::dev();
    vault.store("a", "v", json!({})).await;
    let of = |session: &str| json!({"credential_name": "a", "identity": {"session_id": session}});
    for session in ["s-1", "s-1", "s-2"] {
        vault.lease(of(session)).await;
    }
    let own = json!({"credential_name": "a"});
    vault.admin(POST, "/v1/leases", Some(own)).await.data(201);
    for (filter, revoked) in [
        (json!({"session_id": "s-1"}), 2),
        (json!({"identity": "claude-code"}), 1),
        (json!({"identity": "claude-code"}), 0),
    ] {
        let body = json!({"filter": filter, "reason": "leaked"});
        let answer = vault.admin(POST, "/v1/leases/revoke", Some(body)).await;
        assert_eq!(answer.data(200)["revoked_leases"], revoked);
    }
    assert_eq!(active(&vault).await, 1);
}

/// A token of the caller whose key this is.
async fn token(vault: &Vault, key: &str) -> String {
    let made = vault.request(POST, "/v1/tokens", key, Some(json!({})), &[]);
    text(&made.await.data(201), "token").to_owned()
}

async fn works(vault: &Vault, proof: &str) -> bool {
    let answer = vault
        .request(GET, "/v1/auth/whoami", proof, None, &[])
        .await;
    if !answer.status.is_success() {
        answer.fails(401, "UNAUTHORIZED");
        return false;
    }
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_of_a_workspace_ends_its_tokens_but_the_one_that_asked_for_it() {
    let vault = Vault::dev();
    let body = json!({"name": "second", "role": "owner", "workspace": "*"});
    let second = vault
        .admin(POST, "/v1/api-keys", Some(body))
        .await
        .data(201);
    let second = text(&second, "key");
    let (mine, another, theirs) = (
        token(&vault, &vault.admin_key).await,
        token(&vault, &vault.admin_key).await,
        token(&vault, second).await,
    );
    let path = "/v1/workspaces/default/revoke-all";
    let stopped = vault
        .request(POST, path, &mine, Some(json!({})), &[])
        .await
        .data(200);
    // Two others' tokens, and the agent's key. The second key reaches every workspace, which this token does not.
    assert_eq!(
        (&stopped["stopped_tokens"], &stopped["stopped_keys"]),
        (&json!(2), &json!(1)),
        "{stopped}"
    );
    for stopped in [another.as_str(), &theirs, &vault.agent_key] {
        assert!(!works(&vault, stopped).await);
    }
    for spared in [mine.as_str(), second, &vault.admin_key] {
        assert!(works(&vault, spared).await);
    }
    let later = token(&vault, &mine).await;
    assert!(works(&vault, &later).await);
    let vault = vault.restart(&[]);
    assert!(!works(&vault, &theirs).await && works(&vault, &mine).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_identity_takes_its_tokens_with_it() {
    let vault = Vault::dev();
    let person = json!({"name": "ops", "type": "human", "role": "workspace_admin"});
    vault
        .admin(POST, "/v1/identities", Some(person))
        .await
        .data(201);
    let key = json!({"name": "ops", "identity": {"type": "human", "name": "ops"}, "role": "workspace_admin"});
    let key = vault.admin(POST, "/v1/api-keys", Some(key)).await.data(201);
    let token = token(&vault, text(&key, "key")).await;
    assert!(works(&vault, &token).await);
    let path = "/v1/identities/human/ops";
    let suspended = vault
        .admin(POST, &format!("{path}/suspend"), Some(json!({})))
        .await
        .data(200);
    assert_eq!(suspended["stopped_tokens"], 1);
    let refused = vault
        .request(GET, "/v1/auth/whoami", &token, None, &[])
        .await;
    refused.fails(403, "IDENTITY_SUSPENDED");
    vault.admin(DELETE, path, None).await.data(200);
    assert!(!works(&vault, &token).await);
    let listed = vault.admin(GET, "/v1/tokens", None).await.data(200);
    assert_eq!(listed, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_sets_how_many_keys_it_has() {
    let vault = Vault::dev();
    let make = || {
        vault.admin(
            POST,
            "/v1/api-keys",
            Some(json!({"name": "k", "role": "viewer"})),
        )
    };
    let settings = json!({"settings": {"max_api_keys": 3}});
    vault
        .admin(PATCH, "/v1/workspaces/default", Some(settings))
        .await
        .data(200);
    make().await.data(201);
    let full = make().await.fails(429, "QUOTA_EXCEEDED");
    assert_eq!(full["details"]["limit"], 3, "{full}");
}
