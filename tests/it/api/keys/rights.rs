//! Nobody gains a right by way of a key.

use super::*;

/// A key of the administrator's identity with these scopes.
async fn with(vault: &Vault, scopes: &[&str]) -> Value {
    make(vault, json!({"name": "some", "scopes": scopes})).await
}

async fn ask(vault: &Vault, key: &Value, body: Value) -> Answer {
    let key = text(key, "key");
    vault
        .request(POST, "/v1/api-keys", key, Some(body), &[])
        .await
}

/// Something done to a key by the holder of another.
async fn by(
    vault: &Vault,
    who: &Value,
    method: reqwest::Method,
    path: &str,
    body: Value,
) -> Answer {
    let path = format!("/v1/api-keys/{path}");
    vault
        .request(method, &path, text(who, "key"), Some(body), &[])
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_holds_no_more_than_its_maker_and_than_its_identitys_role() {
    let vault = Vault::dev();
    let maker = with(&vault, &["key:create", "lease:read"]).await;
    let less = json!({"name": "k", "scopes": ["lease:read"]});
    ask(&vault, &maker, less).await.data(201);
    for (body, missing) in [
        (
            json!({"name": "k", "scopes": ["lease:read", "lease:revoke", "sys:backup"]}),
            json!(["lease:revoke", "sys:backup"]),
        ),
        (
            json!({"name": "k", "scopes": ["lease:*"]}),
            json!([
                "lease:create",
                "lease:delegate",
                "lease:renew",
                "lease:revoke"
            ]),
        ),
        (
            json!({"name": "k", "role": "viewer"}),
            json!(["credential:read"]),
        ),
        (
            json!({"name": "k", "scopes": ["key:create"], "identity": {"name": "claude-code"}}),
            json!(["key:create"]),
        ),
    ] {
        let refused = ask(&vault, &maker, body.clone()).await;
        let refused = refused.fails(403, "INSUFFICIENT_PERMISSIONS");
        assert_eq!(refused["details"]["missing_scopes"], missing, "{body}");
        assert_eq!(refused["details"]["missing_scope"], missing[0], "{body}");
    }
    // The administrator holds everything; the agent's role does not.
    let beyond = json!({"name": "k", "identity": {"name": "claude-code"}, "role": "viewer"});
    let refused = vault.admin(POST, "/v1/api-keys", Some(beyond)).await;
    let refused = refused.fails(403, "INSUFFICIENT_PERMISSIONS");
    assert_eq!(
        refused["details"]["missing_scopes"],
        json!(["credential:read", "lease:read"])
    );
    let events = vault
        .admin(GET, "/v1/audit?event=directory.refused", None)
        .await;
    assert_eq!(events.body["page"]["total"], 5, "{}", events.text);
    // Whoever may not make keys makes none.
    vault
        .agent(
            POST,
            "/v1/api-keys",
            Some(json!({"name": "k", "role": "agent"})),
        )
        .await
        .fails(403, "INSUFFICIENT_PERMISSIONS");
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_and_reach_of_the_organisation_are_given_by_those_who_have_it() {
    let vault = Vault::dev();
    // Everything that a workspace's administrator may, in one workspace.
    let local = make(&vault, json!({"name": "local", "role": "workspace_admin"})).await;
    for body in [
        json!({"name": "k", "role": "auditor"}),
        json!({"name": "k", "role": "owner"}),
        json!({"name": "k", "role": "viewer", "workspace": "*"}),
        json!({"name": "k", "role": "viewer", "organisation": true}),
        json!({"name": "k", "scopes": ["sys:backup"]}),
    ] {
        ask(&vault, &local, body.clone())
            .await
            .fails(403, "INSUFFICIENT_PERMISSIONS");
    }
    let agents = json!({"name": "k", "role": "agent", "identity": {"name": "claude-code"}});
    ask(&vault, &local, agents).await.data(201);
    // Nor is a key that reaches every workspace changed, rotated or stopped from one of them.
    let owner = own(&vault, &vault.admin_key).await;
    let owner = text(&owner, "id");
    let wide = make(
        &vault,
        json!({"name": "wide", "role": "viewer", "workspace": "*"}),
    )
    .await;
    for id in [owner, text(&wide, "id")] {
        by(&vault, &local, GET, id, json!({})).await.data(200);
        by(&vault, &local, PATCH, id, json!({"name": "mine"}))
            .await
            .fails(403, "INSUFFICIENT_PERMISSIONS");
        by(&vault, &local, DELETE, id, json!({}))
            .await
            .fails(403, "INSUFFICIENT_PERMISSIONS");
        for verb in ["rotate", "pause", "resume"] {
            by(&vault, &local, POST, &format!("{id}/{verb}"), json!({}))
                .await
                .fails(403, "INSUFFICIENT_PERMISSIONS");
        }
    }
    whoami(&vault, &vault.admin_key).await.data(200);
    whoami(&vault, text(&wide, "key")).await.data(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_takes_over_a_stronger_key() {
    let vault = Vault::dev();
    let keeper = with(&vault, &["key:*", "lease:read"]).await;
    let stronger = with(&vault, &["key:*", "lease:read", "credential:delete"]).await;
    let weaker = with(&vault, &["lease:read"]).await;
    let id = text(&stronger, "id");
    for (method, path, body) in [
        (POST, format!("{id}/rotate"), json!({})),
        (POST, format!("{id}/pause"), json!({})),
        (POST, format!("{id}/resume"), json!({})),
        (PATCH, id.to_owned(), json!({"name": "x"})),
        (PATCH, id.to_owned(), json!({"scopes": ["lease:read"]})),
        (DELETE, id.to_owned(), json!({})),
    ] {
        let refused = by(&vault, &keeper, method, &path, body).await;
        let refused = refused.fails(403, "INSUFFICIENT_PERMISSIONS");
        assert_eq!(
            refused["details"]["missing_scopes"],
            json!(["credential:delete"]),
            "{path}"
        );
    }
    whoami(&vault, text(&stronger, "key")).await.data(200);
    // One that is no stronger may be changed, and not beyond the changer.
    let id = text(&weaker, "id");
    by(
        &vault,
        &keeper,
        PATCH,
        id,
        json!({"scopes": ["lease:read", "lease:revoke"]}),
    )
    .await
    .fails(403, "INSUFFICIENT_PERMISSIONS");
    by(
        &vault,
        &keeper,
        PATCH,
        id,
        json!({"scopes": ["key:read"], "name": "y"}),
    )
    .await
    .data(200);
    by(&vault, &keeper, POST, &format!("{id}/rotate"), json!({}))
        .await
        .data(200);
    by(&vault, &keeper, DELETE, id, json!({})).await.data(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_widens_the_key_that_it_is_using() {
    let vault = Vault::dev();
    let body = json!({"name": "own", "scopes": ["key:*", "lease:read"], "expires_in": "1h", "rate_limit": "free"});
    let mut key = make(&vault, body).await;
    let id = text(&key, "id").to_owned();
    for body in [
        json!({"scopes": ["key:*"]}),
        json!({"scopes": ["key:*", "lease:read", "lease:revoke"]}),
        json!({"role": "owner"}),
        json!({"rate_limit": "unlimited"}),
        json!({"name": "x", "rate_limit": null}),
    ] {
        by(&vault, &key, PATCH, &id, body)
            .await
            .fails(403, "INSUFFICIENT_PERMISSIONS");
    }
    by(&vault, &key, POST, &format!("{id}/resume"), json!({}))
        .await
        .fails(403, "INSUFFICIENT_PERMISSIONS");
    for body in [json!({"expires_in": "2h"}), json!({"expires_in": null})] {
        by(&vault, &key, POST, &format!("{id}/rotate"), body)
            .await
            .fails(403, "INSUFFICIENT_PERMISSIONS");
    }
    by(&vault, &key, PATCH, &id, json!({"name": "mine"}))
        .await
        .data(200);
    let rotated = by(
        &vault,
        &key,
        POST,
        &format!("{id}/rotate"),
        json!({"expires_in": "30m"}),
    )
    .await;
    key["key"] = rotated.data(200)["key"].clone();
    let shown = by(&vault, &key, GET, &id, json!({})).await.data(200);
    assert_eq!(
        (&shown["name"], &shown["rate_limit"]),
        (&json!("mine"), &json!("free"))
    );
    by(&vault, &key, DELETE, &id, json!({})).await.data(200);
    whoami(&vault, text(&key, "key"))
        .await
        .fails(401, "UNAUTHORIZED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_sees_its_own_key_and_no_other() {
    let vault = Vault::dev();
    let own = own(&vault, &vault.agent_key).await;
    let path = format!("/v1/api-keys/{}", text(&own, "id"));
    assert_eq!(
        vault.agent(GET, &path, None).await.data(200)["name"],
        own["name"]
    );
    let usage = format!("{path}/usage");
    vault.agent(GET, &usage, None).await.data(200);
    vault
        .agent(GET, "/v1/api-keys", None)
        .await
        .fails(403, "INSUFFICIENT_PERMISSIONS");
    let rotate = format!("{path}/rotate");
    vault
        .agent(POST, &rotate, None)
        .await
        .fails(403, "INSUFFICIENT_PERMISSIONS");
    let other = with(&vault, &["lease:read"]).await;
    let path = format!("/v1/api-keys/{}", text(&other, "id"));
    vault
        .agent(GET, &path, None)
        .await
        .fails(403, "INSUFFICIENT_PERMISSIONS");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_has_a_thousand_keys_and_no_more() {
    let vault = Vault::dev();
    let before = listed(&vault, "").await.len();
    let one = |n: usize| {
        let body = json!({"name": format!("k{n}"), "role": "viewer"});
        vault.admin(POST, "/v1/api-keys", Some(body))
    };
    for some in (before..1_000).collect::<Vec<_>>().chunks(100) {
        for answer in futures_util::future::join_all(some.iter().map(|n| one(*n))).await {
            answer.data(201);
        }
    }
    // However many ask at once.
    for answer in futures_util::future::join_all((0..8).map(one)).await {
        let refused = answer.fails(429, "QUOTA_EXCEEDED");
        let details = json!({"resource": "api_key", "limit": 1000, "used": 1000});
        assert_eq!(refused["details"], details);
    }
    let some = listed(&vault, "name=k7").await.pop().unwrap();
    let path = format!("/v1/api-keys/{some}");
    vault.admin(DELETE, &path, None).await.data(200);
    one(7).await.data(201);
    one(7).await.fails(429, "QUOTA_EXCEEDED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_of_a_permission_knows_whom_a_credential_admits() {
    let vault = Vault::dev();
    for (name, admits) in [("mine", "agent/claude-*"), ("theirs", "agent/other")] {
        vault
            .store(name, "v", json!({"allowed_identities": [admits]}))
            .await;
    }
    let keys = vault
        .admin(GET, "/v1/api-keys?identity=claude-code", None)
        .await;
    let path = format!("/v1/api-keys/{}/test", text(&keys.data(200)[0], "id"));
    let may = async |name: &str| {
        let body = json!({"action": "lease:create", "resource": format!("credential/{name}")});
        vault.admin(POST, &path, Some(body)).await.data(200)["permission"].clone()
    };
    assert_eq!(may("mine").await["allowed"], true);
    let denied = may("theirs").await;
    assert_eq!(
        (&denied["allowed"], &denied["decided_by"]),
        (&json!(false), &json!("credential:allowed_identities")),
        "{denied}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_borrows_the_name_of_a_stronger_identity() {
    let vault = Vault::dev();
    let boss = json!({"name": "boss", "type": "human", "role": "workspace_admin"});
    vault
        .admin(POST, "/v1/identities", Some(boss))
        .await
        .data(201);
    let weak = with(&vault, &["key:*", "lease:create"]).await;
    let body = json!({"name": "k", "scopes": ["lease:create"], "identity": {"type": "human", "name": "boss"}});
    let asked = vault.request(
        POST,
        "/v1/api-keys",
        text(&weak, "key"),
        Some(body.clone()),
        &[],
    );
    asked.await.fails(403, "INSUFFICIENT_PERMISSIONS");
    vault
        .admin(POST, "/v1/api-keys", Some(body))
        .await
        .data(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_and_no_issuer_makes_an_owner_of_an_administrator() {
    let vault = Vault::dev();
    let body = json!({"name": "deputy", "type": "human", "role": "admin"});
    let made = vault.admin(POST, "/v1/identities", Some(body)).await;
    made.data(201);
    let deputy = json!({"name": "deputy", "type": "human"});
    let body = json!({"name": "deputy", "identity": deputy, "role": "admin", "organisation": true});
    let deputy = make(&vault, body).await;
    let owner = json!({"name": "admin", "type": "human"});
    for body in [
        json!({"name": "k", "role": "owner"}),
        json!({"name": "k", "role": "owner", "identity": owner}),
        json!({"name": "k", "role": "admin", "identity": owner, "organisation": true}),
        json!({"name": "k", "scopes": ["lease:read"], "identity": owner}),
    ] {
        let refused = ask(&vault, &deputy, body).await;
        refused.fails(403, "INSUFFICIENT_PERMISSIONS");
    }
    let owners = own(&vault, &vault.admin_key).await;
    let rotate = format!("{}/rotate", text(&owners, "id"));
    by(&vault, &deputy, POST, &rotate, json!({}))
        .await
        .fails(403, "INSUFFICIENT_PERMISSIONS");
    let issuer = |name: &str, role: &str| {
        json!({
            "name": name, "organisation": true, "iss": format!("https://{name}"),
            "jwks_url": format!("https://{name}/jwks"), "audiences": ["vault"], "conditions": {"sub": "me"},
            "identity": {"name": "admin", "type": "human", "role": role},
        })
    };
    let key = text(&deputy, "key");
    let register = async |body: Value| {
        vault
            .request(POST, "/v1/issuers", key, Some(body), &[])
            .await
    };
    register(issuer("owners", "owner"))
        .await
        .fails(403, "INSUFFICIENT_PERMISSIONS");
    // One for administrators lets nobody in as an owner.
    register(issuer("admins", "admin")).await.data(201);
    // What an administrator is, it gives.
    ask(&vault, &deputy, json!({"name": "k", "role": "admin"}))
        .await
        .data(201);
}
