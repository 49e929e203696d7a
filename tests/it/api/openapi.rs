//! The OpenAPI document, the explorer, and who may use which route.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::json;

use super::{GET, take, text};
use crate::support::Vault;

/// Every route: method, path, and what an agent gets on a lease of its own or a
/// credential `a`. Routes that need no key have a zero.
const ROUTES: &[(&str, &str, u16)] = &[
    ("GET", "/v1/auth/whoami", 200),
    ("GET", "/v1/leases", 200),
    ("POST", "/v1/leases", 201),
    ("GET", "/v1/leases/{id}", 200),
    ("GET", "/v1/leases/{id}/events", 200),
    ("POST", "/v1/leases/{id}/renew", 200),
    ("POST", "/v1/handles/redeem", 200),
    ("POST", "/v1/leases/{id}/revoke", 403),
    ("POST", "/v1/leases/revoke", 403),
    ("POST", "/v1/leases/{id}/release", 200),
    ("POST", "/v1/credentials", 403),
    ("GET", "/v1/credentials", 403),
    ("GET", "/v1/credentials/{name}", 403),
    ("PATCH", "/v1/credentials/{name}", 403),
    ("GET", "/v1/credentials/{name}/versions", 403),
    ("POST", "/v1/credentials/{name}/rotate", 403),
    (
        "POST",
        "/v1/credentials/{name}/versions/{number}/revoke",
        403,
    ),
    ("DELETE", "/v1/credentials/{name}", 403),
    ("GET", "/v1/api-keys", 403),
    ("POST", "/v1/api-keys", 403),
    ("GET", "/v1/api-keys/{id}", 403),
    ("PATCH", "/v1/api-keys/{id}", 403),
    ("POST", "/v1/api-keys/{id}/pause", 403),
    ("POST", "/v1/api-keys/{id}/resume", 403),
    ("POST", "/v1/api-keys/{id}/rotate", 403),
    ("POST", "/v1/api-keys/{id}/test", 403),
    ("GET", "/v1/api-keys/{id}/usage", 403),
    ("DELETE", "/v1/api-keys/{id}", 403),
    ("GET", "/v1/audit", 403),
    ("GET", "/v1/audit/export", 403),
    ("POST", "/v1/tokens", 403),
    ("GET", "/v1/tokens", 200),
    ("GET", "/v1/tokens/{jti}", 404),
    ("DELETE", "/v1/tokens/{jti}", 404),
    ("POST", "/v1/sys/signing-keys/rotate", 403),
    ("POST", "/v1/issuers", 403),
    ("GET", "/v1/issuers", 403),
    ("GET", "/v1/issuers/{issuer}", 403),
    ("PATCH", "/v1/issuers/{issuer}", 403),
    ("DELETE", "/v1/issuers/{issuer}", 403),
    ("POST", "/v1/sys/backup", 403),
    ("POST", "/v1/identities", 403),
    ("GET", "/v1/identities", 403),
    ("GET", "/v1/identities/{type}/{name}", 403),
    ("PATCH", "/v1/identities/{type}/{name}", 403),
    ("POST", "/v1/identities/{type}/{name}/suspend", 403),
    ("POST", "/v1/identities/{type}/{name}/resume", 403),
    ("DELETE", "/v1/identities/{type}/{name}", 403),
    ("POST", "/v1/workspaces", 403),
    ("GET", "/v1/workspaces", 403),
    ("GET", "/v1/workspaces/{name}", 403),
    ("PATCH", "/v1/workspaces/{name}", 403),
    ("POST", "/v1/workspaces/{name}/revoke-all", 403),
    ("GET", "/.well-known/leasehold-keys.json", 0),
    ("POST", "/v1/auth/check", 200),
    ("GET", "/v1/policies", 403),
    ("PUT", "/v1/policies", 403),
    ("POST", "/v1/policies/validate", 403),
    ("POST", "/v1/policies/diff", 403),
    ("POST", "/v1/policies/dry-run", 403),
    ("GET", "/v1/policies/history", 403),
    ("POST", "/v1/policies/rollback", 403),
    ("GET", "/v1/policies/history/{version}", 403),
    ("GET", "/v1/reports/exposure", 403),
    ("GET", "/v1/reports/rotation-due", 403),
    ("GET", "/v1/reports/stale", 403),
    ("GET", "/v1/audit/retention", 403),
    ("GET", "/v1/audit/holds", 403),
    ("PUT", "/v1/audit/holds/{name}", 403),
    ("DELETE", "/v1/audit/holds/{name}", 403),
    ("GET", "/health", 0),
    ("GET", "/ready", 0),
    ("GET", "/.well-known/jwks.json", 0),
    ("GET", "/v1/audit/checkpoints", 403),
    ("GET", "/v1/audit/checkpoints/latest", 403),
    ("GET", "/v1/audit/proof", 403),
    ("GET", "/v1/audit/consistency", 403),
    ("GET", "/v1/audit/verify", 403),
    ("GET", "/v1/audit/stream", 403),
    ("GET", "/v1/audit/{sequence}", 403),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_document_names_every_route_and_every_route_holds_its_permission() {
    let vault = Vault::dev();
    vault.store("a", "v", json!({})).await;
    let answer = vault
        .request(GET, "/api-docs/openapi.json", "", None, &[])
        .await;
    assert_eq!(
        (
            answer.status.as_u16(),
            text(&answer.body, "openapi").starts_with("3.")
        ),
        (200, true)
    );
    let tags: BTreeSet<_> = answer.body["tags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tag| text(tag, "name").to_owned())
        .collect();
    let mut documented = BTreeSet::new();
    for (path, operations) in answer.body["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            assert!(
                operation["responses"].is_object() && operation["operationId"].is_string(),
                "{method} {path}"
            );
            // What the explorer shows of it: a line of its own, under a heading that is explained.
            let tag = operation["tags"][0].as_str().unwrap();
            assert!(
                !text(operation, "summary").is_empty() && tags.contains(tag),
                "{method} {path}"
            );
            documented.insert((method.to_uppercase(), path.clone()));
        }
    }
    let mut known: BTreeSet<_> = ROUTES
        .iter()
        .map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned()))
        .collect();
    known.insert(("GET".to_owned(), "/metrics".to_owned()));
    // Whoever exchanges an assertion has no key: `federation` tests it.
    known.insert(("POST".to_owned(), "/v1/auth/exchange".to_owned()));
    assert!(
        known.is_subset(&documented),
        "not documented: {:?}",
        known.difference(&documented)
    );
    // A route that is documented and not in the matrix below is one whose permission nobody tests.
    assert!(
        documented.is_subset(&known),
        "not tested: {:?}",
        documented.difference(&known)
    );
    assert!(answer.body["components"]["securitySchemes"].is_object());
    // Every request with a key may choose a workspace, and no other.
    for (path, operations) in answer.body["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let empty = vec![];
            let parameters = operation["parameters"].as_array().unwrap_or(&empty);
            let chooses = parameters.iter().any(|one| one["name"] == "X-Workspace");
            assert_eq!(chooses, operation["security"].is_null(), "{method} {path}");
        }
    }

    let lease = take(&vault, "a").await;
    let new_key = json!({"name": "k", "role": "viewer"});
    let key = vault
        .admin(Method::POST, "/v1/api-keys", Some(new_key.clone()))
        .await
        .data(201);
    for who in ["nobody", "agent", "admin"] {
        let newest = vault.admin(GET, "/v1/audit?limit=1", None).await.data(200);
        let record = newest[0]["sequence"].to_string();
        for &(method, path, expected) in ROUTES {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let body = match (&method, path) {
                (_, "/v1/handles/redeem") => Some(json!({"handle": lease["handle"]})),
                (&Method::POST, "/v1/tokens") => Some(json!({})),
                (&Method::POST, "/v1/issuers") => Some(json!({
                    "name": "ci", "iss": "https://ci", "jwks_url": "https://ci/jwks", "audiences": ["vault"],
                    "conditions": {"sub": "me"}, "identity": {"name": "ci"},
                })),
                (&Method::POST, "/v1/leases") => Some(json!({"credential_name": "a"})),
                (_, "/v1/leases/revoke") => Some(json!({"all": true})),
                (&Method::POST, "/v1/credentials") => {
                    Some(json!({"name": "b", "type": "api-key", "value": "v"}))
                }
                (&Method::POST, "/v1/api-keys") => Some(new_key.clone()),
                (&Method::POST, "/v1/identities") => {
                    Some(json!({"name": "i", "type": "agent", "role": "agent"}))
                }
                (&Method::POST, "/v1/workspaces") => Some(json!({"name": "w"})),
                (_, "/v1/credentials/{name}/rotate") => Some(json!({"new_value": "w"})),
                (&Method::PATCH, _) => Some(json!({})),
                (_, "/v1/auth/check") => {
                    Some(json!({"action": "audit:read", "resource": "workspace"}))
                }
                (_, "/v1/policies/validate" | "/v1/policies/diff" | "/v1/policies/dry-run") => {
                    Some(json!({"sources": []}))
                }
                (_, "/v1/policies/rollback") => Some(json!({"scope": "workspace", "version": 0})),
                (&Method::PUT, "/v1/audit/holds/{name}") => Some(json!({"reason": "r"})),
                (&Method::PUT, _) => Some(json!({"scope": "workspace", "sources": []})),
                _ => None,
            };
            let one = match path.starts_with("/v1/api-keys") {
                true => &key,
                false => &lease,
            };
            let name = match path.split('/').nth(2) {
                Some("identities") => "i",
                Some("workspaces") => "default",
                _ => "a",
            };
            let at = path
                .replace("{id}", text(one, "id"))
                .replace("{type}", "agent")
                .replace("{name}", name)
                .replace("{issuer}", "ci")
                .replace("{number}", "2")
                .replace("{version}", "1")
                .replace("{jti}", "tok_00000000000000000000000000000000")
                .replace("/audit/proof", "/audit/proof?sequence=1")
                .replace("/exposure", "/exposure?credential_name=a")
                .replace("{sequence}", &record)
                // One that follows has no end.
                .replace("/stream", "/stream?follow=false");
            let key = match who {
                "agent" => &vault.agent_key,
                "admin" => &vault.admin_key,
                _ => "",
            };
            let answer = vault.request(method.clone(), &at, key, body, &[]).await;
            let status = answer.status.as_u16();
            match (who, expected) {
                (_, 0) => assert_eq!(status, 200, "{path}"),
                ("nobody", _) => drop(answer.fails(401, "UNAUTHORIZED")),
                // What these name is nobody's.
                (_, 404) => drop(answer.fails(404, "NOT_FOUND")),
                ("agent", 403) => drop(answer.fails(403, "INSUFFICIENT_PERMISSIONS")),
                ("agent", _) => assert_eq!(status, expected, "{method} {path} {}", answer.text),
                // The first record is the vault's own.
                _ if path.ends_with("/proof") => drop(answer.fails(404, "NOT_FOUND")),
                // The agent's lease is released by then, and the administrator is not its holder.
                _ if path.contains("{id}/") || path.contains("redeem") => assert!(
                    matches!(status, 200 | 403 | 410),
                    "{method} {path} {}",
                    answer.text
                ),
                _ => assert!(
                    matches!(status, 200 | 201),
                    "{method} {path} {}",
                    answer.text
                ),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_explorer_and_the_operations_routes_need_neither_a_key_nor_the_internet() {
    let vault = Vault::dev();
    let get = |path: &str| {
        let (vault, path) = (&vault, path.to_owned());
        async move { vault.request(GET, &path, "", None, &[]).await }
    };
    let page = get("/api-docs/").await;
    assert_eq!(page.status, 200);
    assert!(
        page.headers["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/html")
    );
    assert!(
        !page.text.contains("http://")
            && !page.text.contains("https://")
            && !page.text.contains("src=\"//"),
        "{}",
        page.text
    );
    let mut assets = Vec::new();
    for attribute in ["src=\"", "href=\""] {
        assets.extend(
            page.text
                .split(attribute)
                .skip(1)
                .filter_map(|rest| rest.split('"').next()),
        );
    }
    assert!(assets.len() >= 4, "{}", page.text);
    for asset in assets {
        let path = format!(
            "/api-docs/{}",
            asset
                .trim_start_matches("./")
                .trim_start_matches("/api-docs/")
        );
        assert_eq!(get(&path).await.status, 200, "{path}");
    }
    let start = get("/api-docs/swagger-initializer.js").await.text;
    assert!(
        start.contains("/api-docs/openapi.json") && start.contains("requestSnippetsEnabled"),
        "{start}"
    );
    let short = get("/api-docs").await;
    assert_eq!(short.status, 200, "the redirect leads to the page");
    assert_eq!(get("/health").await.data(200)["state"], "alive");
    assert_eq!(get("/ready").await.data(200)["state"], "ready");
    vault.store("named-canary", "v", json!({})).await;
    take(&vault, "named-canary").await;
    let metrics = get("/metrics").await;
    assert!(
        metrics.headers["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/plain")
    );
    assert!(
        metrics.text.contains("leasehold_http_requests_total{") && metrics.text.contains("# TYPE")
    );
    assert!(!metrics.text.contains("named-canary") && !metrics.text.contains("claude-code"));
}
