//! History: every change and every refusal leaves a record, and none holds a secret.

use serde_json::{Value, json};

use super::{DELETE, GET, PATCH, POST, text};
use crate::support::{Answer, Vault};

pub(super) async fn history(vault: &Vault, query: &str) -> Answer {
    vault.admin(GET, &format!("/v1/audit?{query}"), None).await
}

/// A request under a request id of its own; gives back the answer.
async fn traced(
    vault: &Vault,
    key: &str,
    method: reqwest::Method,
    path: &str,
    body: Option<Value>,
    id: &str,
) -> Answer {
    let headers = [("x-request-id", id), ("user-agent", "audited/1.0")];
    vault.request(method, path, key, body, &headers).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_leaves_a_record_of_who_did_what_from_where() {
    let vault = Vault::dev();
    let (admin, agent) = (vault.admin_key.clone(), vault.agent_key.clone());
    vault.store("other", "v", json!({})).await;
    let body = json!({"name": "a", "type": "api-key", "value": "value-one-canary"});
    traced(
        &vault,
        &admin,
        POST,
        "/v1/credentials",
        Some(body),
        "create",
    )
    .await
    .data(201);
    let patch = json!({"description": "d", "policy": {"max_leases": 9}});
    traced(
        &vault,
        &admin,
        PATCH,
        "/v1/credentials/a",
        Some(patch),
        "update",
    )
    .await
    .data(200);
    let grant = json!({"credential_name": "a", "purpose": "for the record", "identity": {"session_id": "s-7"}});
    let lease = traced(&vault, &agent, POST, "/v1/leases", Some(grant), "issue")
        .await
        .data(201);
    let (id, handle) = (text(&lease, "id"), text(&lease, "handle"));
    let at = format!("/v1/leases/{id}");
    traced(
        &vault,
        &agent,
        POST,
        "/v1/handles/redeem",
        Some(json!({"handle": handle})),
        "redeem",
    )
    .await
    .data(200);
    traced(
        &vault,
        &agent,
        POST,
        &format!("{at}/renew"),
        Some(json!({"ttl": "5m"})),
        "renew",
    )
    .await
    .data(200);
    traced(
        &vault,
        &admin,
        POST,
        "/v1/credentials/a/rotate",
        Some(json!({"new_value": "value-two-canary"})),
        "rotate",
    )
    .await
    .data(200);
    traced(
        &vault,
        &agent,
        POST,
        &format!("{at}/release"),
        None,
        "release",
    )
    .await
    .data(200);
    let second = super::take(&vault, "a").await;
    let path = format!("/v1/leases/{}/revoke", text(&second, "id"));
    traced(
        &vault,
        &admin,
        POST,
        &path,
        Some(json!({"reason": "enough"})),
        "revoke",
    )
    .await
    .data(200);
    traced(
        &vault,
        &admin,
        POST,
        "/v1/leases/revoke",
        Some(json!({"all": true, "reason": "all"})),
        "bulk",
    )
    .await
    .data(200);
    traced(
        &vault,
        &admin,
        POST,
        "/v1/credentials/a/versions/2/revoke",
        Some(json!({"reason": "leak"})),
        "version",
    )
    .await
    .data(200);
    traced(
        &vault,
        &admin,
        PATCH,
        "/v1/credentials/other",
        Some(json!({"state": "revoked"})),
        "stop",
    )
    .await
    .data(200);
    traced(&vault, &admin, DELETE, "/v1/credentials/a", None, "delete")
        .await
        .data(200);
    for (request, event, actor, name) in [
        ("create", "credential.created", "admin", "a"),
        ("update", "credential.updated", "admin", "a"),
        ("issue", "lease.issued", "claude-code", "a"),
        ("redeem", "lease.redeemed", "claude-code", "a"),
        ("renew", "lease.renewed", "claude-code", "a"),
        ("rotate", "credential.rotated", "admin", "a"),
        ("release", "lease.released", "claude-code", "a"),
        ("revoke", "lease.revoked", "admin", "a"),
        ("bulk", "lease.bulk_revoked", "admin", ""),
        ("version", "credential.version_revoked", "admin", "a"),
        ("stop", "credential.revoked", "admin", "other"),
        ("delete", "credential.deleted", "admin", "a"),
    ] {
        let found = history(&vault, &format!("request_id={request}&event={event}"))
            .await
            .data(200);
        let record = &found[0];
        assert_eq!(found.as_array().unwrap().len(), 1, "{request} {found}");
        assert_eq!(
            (&record["actor"]["name"], &record["actor"]["type"]),
            (
                &json!(actor),
                &json!(if actor == "admin" { "human" } else { "agent" })
            )
        );
        assert_eq!(
            (&record["outcome"], &record["source_ip"]),
            (&json!("success"), &json!("127.0.0.1")),
            "{request}"
        );
        assert_eq!(
            (&record["request_id"], &record["user_agent"]),
            (&json!(request), &json!("audited/1.0"))
        );
        assert_eq!(
            record["credential_name"].as_str().unwrap_or_default(),
            name,
            "{request}"
        );
        assert!(
            record["id"].is_string()
                && record["sequence"].is_u64()
                && record["decided_by"].is_string(),
            "{record}"
        );
        assert!(record["actor"]["key_id"].is_string());
        if matches!(request, "issue" | "redeem" | "renew" | "release") {
            assert_eq!(
                (
                    &record["lease_id"],
                    &record["holder"],
                    &record["session_id"]
                ),
                (&json!(id), &json!("claude-code"), &json!("s-7"))
            );
        }
    }
    // The version that the last release retired is told by the request that did it.
    let retired = history(
        &vault,
        "request_id=release&event=credential.version_retired",
    )
    .await
    .data(200);
    assert_eq!(retired[0]["version"], 1);
    assert_eq!(
        history(&vault, "request_id=issue").await.data(200)[0]["purpose"],
        "for the record"
    );
    assert_eq!(
        history(&vault, "request_id=revoke&event=lease.revoked")
            .await
            .data(200)[0]["reason"],
        "enough"
    );
    let all = history(&vault, "limit=200").await.text;
    for secret in [
        "value-one-canary",
        "value-two-canary",
        handle,
        text(&second, "handle"),
        &vault.admin_key,
        &vault.agent_key,
    ] {
        assert!(!all.contains(secret), "history holds a secret");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_and_readings_are_recorded_too() {
    let vault = Vault::dev();
    let agent = vault.agent_key.clone();
    vault
        .store("a", "v", json!({"max_leases": 1, "max_uses": 1}))
        .await;
    let lease = super::take(&vault, "a").await;
    vault.redeem(text(&lease, "handle")).await.data(200);
    let redeem = json!({"handle": text(&lease, "handle")});
    let store = json!({"name": "b", "type": "api-key", "value": "v"});
    for (method, path, body, request, event, code) in [
        (
            GET,
            "/v1/audit",
            None,
            "no-1",
            "authz.denied",
            "INSUFFICIENT_PERMISSIONS",
        ),
        (
            POST,
            "/v1/credentials",
            Some(store),
            "no-2",
            "authz.denied",
            "INSUFFICIENT_PERMISSIONS",
        ),
        (
            POST,
            "/v1/leases/revoke",
            Some(json!({"all": true})),
            "no-3",
            "authz.denied",
            "INSUFFICIENT_PERMISSIONS",
        ),
        (
            POST,
            "/v1/leases",
            Some(json!({"credential_name": "a"})),
            "no-4",
            "lease.refused",
            "LEASE_LIMIT_REACHED",
        ),
        (
            POST,
            "/v1/handles/redeem",
            Some(redeem),
            "no-5",
            "lease.refused",
            "BUDGET_EXHAUSTED",
        ),
    ] {
        let answer = traced(&vault, &agent, method, path, body, request).await;
        assert_eq!(answer.body["code"], code, "{}", answer.text);
        let found = history(&vault, &format!("request_id={request}"))
            .await
            .data(200);
        let record = &found[0];
        assert_eq!(
            (&record["event"], &record["outcome"], &record["code"]),
            (&json!(event), &json!("refused"), &json!(code)),
            "{found}"
        );
        assert_eq!(
            (&record["actor"]["name"], &record["source_ip"]),
            (&json!("claude-code"), &json!("127.0.0.1"))
        );
    }
    // A key that is proven but may not go there leaves a trace; a guess leaves none.
    let headers = [("x-workspace", "elsewhere"), ("x-request-id", "astray")];
    let astray = vault
        .request(GET, "/v1/leases", &agent, None, &headers)
        .await;
    assert!(astray.status.is_client_error());
    assert_eq!(
        history(&vault, "request_id=astray").await.data(200)[0]["event"],
        "key.refused"
    );
    traced(&vault, "guess", GET, "/v1/leases", None, "guess")
        .await
        .fails(401, "UNAUTHORIZED");
    assert_eq!(
        history(&vault, "request_id=guess").await.body["page"]["total"],
        0
    );

    let admin = vault.admin_key.clone();
    traced(&vault, &admin, GET, "/v1/audit?limit=1", None, "reader").await;
    let read = history(&vault, "request_id=reader").await.data(200);
    assert_eq!(
        (&read[0]["event"], &read[0]["actor"]["name"]),
        (&json!("audit.read"), &json!("admin"))
    );
}
