//! Privilege gained by editing what is one's own, or by naming what is another's.

use reqwest::Method;
use serde_json::{Value, json};

use super::super::{GET, PATCH, POST, isolation::Two, raw, text};
use crate::support::{Answer, Vault};

/// Somebody with every scope that gives rights away, and few of those that are given: an administrator's identity by a
/// key with few scopes.
const CLIMBER: [&str; 5] = [
    "key:*",
    "identity:*",
    "token:*",
    "workspace:*",
    "lease:read",
];

struct Climber<'a> {
    vault: &'a Vault,
    made: Value,
}

impl<'a> Climber<'a> {
    async fn of(vault: &'a Vault, body: Value) -> Self {
        let made = vault.admin(POST, "/v1/api-keys", Some(body)).await;
        let made = made.data(201);
        Self { vault, made }
    }

    async fn asks(&self, method: Method, path: &str, body: Value) -> Answer {
        let key = text(&self.made, "key");
        self.vault.request(method, path, key, Some(body), &[]).await
    }

    async fn is(&self) -> Value {
        let key = text(&self.made, "key");
        let me = self.vault.request(GET, "/v1/auth/whoami", key, None, &[]);
        me.await.data(200)
    }

    /// Each of these is refused and recorded, and the caller is who it was.
    async fn gains_nothing_by(&self, attempts: Vec<(Method, String, Value)>) {
        let before = self.is().await;
        for (method, path, body) in attempts {
            let what = format!("{method} {path} {body}");
            let refused = self.asks(method, &path, body).await;
            assert_eq!(refused.status, 403, "{what}: {}", refused.text);
            assert!(
                !refused.text.contains("lhk_") && !refused.text.contains("eyJ"),
                "{what}: {}",
                refused.text
            );
            let request = refused.headers["x-request-id"].to_str().unwrap();
            let path = format!("/v1/audit?request_id={request}&outcome=refused");
            let told = self.vault.admin(GET, &path, None).await;
            assert_eq!(told.body["page"]["total"], 1, "{what}: {}", told.text);
            assert_eq!(self.is().await, before, "{what}");
        }
    }
}

// INVARIANT (no-escalation)
#[tokio::test(flavor = "multi_thread")]
async fn nobody_climbs_by_a_key_a_token_a_role_or_an_issuer() {
    let vault = Vault::dev();
    let climber = Climber::of(&vault, json!({"name": "climber", "scopes": CLIMBER})).await;
    let own = format!("/v1/api-keys/{}", text(&climber.made, "id"));
    let admins = vault.admin(GET, "/v1/auth/whoami", None).await.data(200);
    let admins = format!("/v1/api-keys/{}", text(&admins["key"], "id"));
    let keys = || "/v1/api-keys".to_owned();
    let me = || "/v1/identities/human/admin".to_owned();
    let agent = || "/v1/identities/agent/claude-code".to_owned();
    climber
        .gains_nothing_by(vec![
            // Its own key, or a stronger one of the same identity.
            (PATCH, own.clone(), json!({"scopes": ["credential:read", "lease:read"]})),
            (PATCH, own.clone(), json!({"role": "owner"})),
            (POST, format!("{admins}/rotate"), json!({})),
            (POST, format!("{admins}/rotate"), json!({"grace": "1h"})),
            (PATCH, admins.clone(), json!({"scopes": ["lease:read"]})),
            // A new one, for itself or for another.
            (POST, keys(), json!({"name": "k", "role": "owner"})),
            (POST, keys(), json!({"name": "k", "scopes": ["key:*", "credential:read"]})),
            (POST, keys(), json!({"name": "k", "role": "agent", "identity": {"name": "claude-code"}})),
            (POST, "/v1/tokens".to_owned(), json!({"scopes": ["credential:read"]})),
            // Its own role, or another's.
            (PATCH, me(), json!({"role": "owner"})),
            (PATCH, me(), json!({"labels": {"team": "platform"}})),
            (PATCH, agent(), json!({"role": "workspace_admin"})),
            (
                POST,
                "/v1/identities".to_owned(),
                json!({"name": "puppet", "type": "agent", "role": "owner"}),
            ),
            (
                POST,
                "/v1/identities".to_owned(),
                json!({"name": "puppet", "type": "agent", "role": "viewer"}),
            ),
            // An issuer whose assertions would be believed.
            (
                POST,
                "/v1/issuers".to_owned(),
                json!({"name": "mine", "iss": "https://mine", "jwks_url": "https://mine/jwks", "audiences": ["v"],
                    "conditions": {"sub": "me"}, "identity": {"name": "x", "role": "owner", "auto_create": true}}),
            ),
        ])
        .await;
    // Nor by a token of that key, which is no more than the key.
    let token = climber.asks(POST, "/v1/tokens", json!({})).await.data(201);
    let by_token = Climber {
        vault: &vault,
        made: json!({"key": token["token"]}),
    };
    by_token
        .gains_nothing_by(vec![
            (PATCH, own.clone(), json!({"scopes": ["credential:read"]})),
            (PATCH, own, json!({"role": "owner"})),
            (POST, format!("{admins}/rotate"), json!({})),
            (POST, keys(), json!({"name": "k", "role": "owner"})),
            (
                POST,
                "/v1/tokens".to_owned(),
                json!({"scopes": ["credential:read"]}),
            ),
            (PATCH, me(), json!({"role": "owner"})),
        ])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspaces_administrator_makes_nothing_of_the_organisation() {
    let vault = Vault::dev();
    let body = json!({"name": "local", "type": "agent", "role": "workspace_admin"});
    let made = vault.admin(POST, "/v1/identities", Some(body)).await;
    made.data(201);
    let body = json!({"name": "local", "role": "workspace_admin", "identity": {"name": "local"}});
    let local = Climber::of(&vault, body).await;
    let keys = || "/v1/api-keys".to_owned();
    let issuer = |with: Value| {
        let mut body = json!({"name": "mine", "iss": "https://mine", "jwks_url": "https://mine/jwks", "audiences": ["v"],
            "conditions": {"sub": "me"}, "identity": {"name": "x", "auto_create": true}});
        for (name, value) in with.as_object().unwrap() {
            body[name] = value.clone();
        }
        ("/v1/issuers".to_owned(), body)
    };
    let (everywhere, organisation) =
        issuer(json!({"organisation": true, "identity": {"name": "x"}}));
    let (mapped, owner) =
        issuer(json!({"identity": {"name": "x", "role": "owner", "auto_create": true}}));
    local
        .gains_nothing_by(vec![
            (POST, keys(), json!({"name": "k", "role": "agent", "organisation": true})),
            (POST, keys(), json!({"name": "k", "role": "workspace_admin", "workspace": "*"})),
            (POST, keys(), json!({"name": "k", "role": "admin"})),
            (POST, keys(), json!({"name": "k", "role": "auditor"})),
            (POST, keys(), json!({"name": "k", "scopes": ["workspace:create"]})),
            (
                POST,
                keys(),
                json!({"name": "k", "role": "viewer", "identity": {"type": "human", "name": "admin"}, "organisation": true}),
            ),
            (
                POST,
                "/v1/identities".to_owned(),
                json!({"name": "up", "type": "agent", "role": "admin"}),
            ),
            (
                PATCH,
                "/v1/identities/agent/claude-code".to_owned(),
                json!({"role": "auditor"}),
            ),
            (
                PATCH,
                "/v1/identities/human/admin".to_owned(),
                json!({"role": "viewer"}),
            ),
            (POST, "/v1/identities/human/admin/suspend".to_owned(), json!({})),
            (POST, "/v1/workspaces".to_owned(), json!({"name": "mine"})),
            (POST, everywhere, organisation),
            (POST, mapped, owner),
        ])
        .await;
    // Nor does it come by a value that proves an owner, however little that key may do.
    let body = json!({"name": "weak", "scopes": ["lease:read"]});
    let weak = vault.admin(POST, "/v1/api-keys", Some(body)).await;
    let weak = format!("/v1/api-keys/{}", text(&weak.data(201), "id"));
    let admins = json!({"type": "human", "name": "admin"});
    local
        .gains_nothing_by(vec![
            (POST, format!("{weak}/rotate"), json!({})),
            (
                POST,
                keys(),
                json!({"name": "k", "scopes": ["lease:read"], "identity": admins}),
            ),
        ])
        .await;
    // It may take such a key out of use, which gives nothing.
    let paused = local.asks(POST, &format!("{weak}/pause"), json!({})).await;
    paused.data(200);
}

// INVARIANT (isolation)
#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_x_workspace_takes_a_key_to_another_workspace() {
    let vault = Vault::dev();
    let body = json!({"name": "b"});
    vault
        .admin(POST, "/v1/workspaces", Some(body))
        .await
        .data(201);
    let secret = json!({"name": "secret-of-b", "type": "api-key", "value": "v"});
    let there = [("x-workspace", "b")];
    let stored = vault.request(
        POST,
        "/v1/credentials",
        &vault.admin_key,
        Some(secret),
        &there,
    );
    stored.await.data(201);
    let body = json!({"name": "bound", "role": "workspace_admin"});
    let bound = vault
        .admin(POST, "/v1/api-keys", Some(body))
        .await
        .data(201);
    let auth = format!("Bearer {}", text(&bound, "key"));
    let asked = |headers: &[&str]| {
        let mut all = vec![("authorization", auth.as_str())];
        all.extend(headers.iter().map(|value| ("x-workspace", *value)));
        raw::send(&vault, "GET /v1/credentials", &all, b"")
    };
    for spelling in [
        "b",
        "B",
        "b,default",
        "default,b",
        "default, b",
        "b;default",
        "*",
        "",
        "../b",
        "./b",
        "default/../b",
        "%62",
        "b%00",
        "b\u{0}",
        "b\u{a0}",
        "\u{2}b",
        "\"b\"",
        "wsp_b",
        "system",
        "b.",
        "null",
    ] {
        let answer = asked(&[spelling]);
        assert!(
            matches!(answer.status, 400 | 404) && !answer.text.contains("secret-of-b"),
            "{spelling:?}: {}",
            answer.text
        );
    }
    // White space around a header's value is no part of it.
    assert_eq!(asked(&["b "]).status, 404);
    for two in [["default", "b"], ["b", "default"]] {
        let answer = asked(&two);
        assert_eq!(answer.status, 400, "{two:?}: {}", answer.text);
        assert!(!answer.text.contains("secret-of-b"));
    }
    assert_eq!(asked(&["default"]).status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_body_of_a_bound_key_reaches_another_workspace() {
    let two = Two::start();
    let body = json!({"name": "bound", "role": "workspace_admin"});
    let bound = two.admin("default", POST, "/v1/api-keys", Some(body)).await;
    let bound = bound.data(201);
    let key = text(&bound, "key");
    for (path, body) in [
        (
            "/v1/api-keys",
            json!({"name": "k", "role": "viewer", "workspace": "b"}),
        ),
        (
            "/v1/api-keys",
            json!({"name": "k", "role": "viewer", "workspace": "*"}),
        ),
        ("/v1/tokens", json!({"workspace": "b"})),
        ("/v1/tokens", json!({"workspace": "*"})),
    ] {
        let refused = two.agent(key, POST, path, Some(body.clone())).await;
        assert!(
            matches!(refused.status.as_u16(), 400 | 403 | 404),
            "{path} {body}: {}",
            refused.text
        );
        // What is not there looks the same.
        if body["workspace"] == "b" {
            let mut nowhere = body;
            nowhere["workspace"] = json!("n");
            let nowhere = two.agent(key, POST, path, Some(nowhere)).await;
            assert_eq!(
                (
                    refused.status,
                    &refused.body["code"],
                    &refused.body["details"]
                ),
                (
                    nowhere.status,
                    &nowhere.body["code"],
                    &nowhere.body["details"]
                )
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_headers_that_say_who_asks_or_for_what_neither_counts() {
    let vault = Vault::dev();
    let admin = format!("Bearer {}", vault.admin_key);
    let agent = format!("Bearer {}", vault.agent_key);
    let (admin, agent) = (admin.as_str(), agent.as_str());
    let asked = |headers: &[(&str, &str)]| raw::send(&vault, "GET /v1/credentials", headers, b"");
    for two in [
        [admin, agent],
        [agent, admin],
        [admin, "x"],
        ["x", admin],
        [admin, admin],
    ] {
        let answer = asked(&two.map(|value| ("authorization", value)));
        assert_eq!(answer.status, 401, "{}", answer.text);
    }
    let body = br#"{"name":"twice","type":"api-key","value":"v"}"#;
    let headers = [
        ("authorization", admin),
        ("content-type", "application/json"),
        ("idempotency-key", "one"),
        ("idempotency-key", "two"),
    ];
    let answer = raw::send(&vault, "POST /v1/credentials", &headers, body);
    assert_eq!(answer.status, 400, "{}", answer.text);
    let shown = vault.admin(GET, "/v1/credentials/twice", None).await;
    assert_eq!(shown.status, 404);
}
