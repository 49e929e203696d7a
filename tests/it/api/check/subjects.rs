//! What an action is done to: policies about it apply, and what is said of them is what happens.

use super::*;

const RULES: &str = r#"
@id("not-theirs")
forbid (principal, action == Action::"key:create", resource == Identity::"agent/claude-code");
@id("nobody-everywhere")
forbid (principal, action == Action::"issuer:write", resource == Vault::"vault");
"#;

async fn set(vault: &Vault, text: &str) -> crate::support::Answer {
    let sources = json!([{"name": "rules.cedar", "text": text}]);
    let body = json!({"scope": "workspace", "sources": sources});
    let put = reqwest::Method::PUT;
    vault.admin(put, "/v1/policies", Some(body)).await
}

async fn said(vault: &Vault, action: &str, resource: &str) -> (bool, Value) {
    let said = asked(vault, &vault.admin_key, action, resource, json!({})).await;
    assert_eq!(said["resource"], resource);
    let allowed = said["allowed"].as_bool().unwrap();
    (allowed, said["decided_by"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_decided_on_whom_it_is_for_and_an_issuer_on_whom_it_serves() {
    let vault = Vault::dev();
    let issuer = |name: &str, organisation: bool| {
        json!({
            "name": name, "organisation": organisation, "iss": format!("https://{name}"),
            "jwks_url": format!("https://{name}/jwks"), "audiences": ["vault"],
            "conditions": {"sub": "me"}, "identity": {"name": "ci"},
        })
    };
    let post = async |path: &str, body: Value| vault.admin(POST, path, Some(body)).await;
    post("/v1/issuers", issuer("all", true)).await.data(201);
    set(&vault, RULES).await.data(200);

    let theirs = json!({"name": "k", "role": "agent", "identity": {"name": "claude-code"}});
    let denied = post("/v1/api-keys", theirs).await;
    let denied = denied.fails(403, "POLICY_DENIED");
    assert_eq!(denied["details"]["policy"], "workspace:not-theirs");
    let recorded = vault.admin(GET, "/v1/audit?event=authz.denied", None).await;
    assert_eq!(
        recorded.data(200)[0]["object"],
        "key:create on identity/agent/claude-code"
    );
    let own = json!({"name": "k", "role": "viewer"});
    post("/v1/api-keys", own).await.data(201);
    for (resource, expected) in [
        ("identity/agent/claude-code", "workspace:not-theirs"),
        ("identity/human/admin", "role:owner"),
        ("workspace", "role:owner"),
    ] {
        let expected = (expected == "role:owner", json!(expected));
        assert_eq!(said(&vault, "key:create", resource).await, expected);
    }

    let everywhere = json!("workspace:nobody-everywhere");
    for denied in [
        post("/v1/issuers", issuer("more", true)).await,
        vault
            .admin(PATCH, "/v1/issuers/all", Some(json!({"token_ttl": "5m"})))
            .await,
        vault.admin(DELETE, "/v1/issuers/all", None).await,
    ] {
        let denied = denied.fails(403, "POLICY_DENIED");
        assert_eq!(denied["details"]["policy"], everywhere);
    }
    post("/v1/issuers", issuer("own", false)).await.data(201);
    assert_eq!(
        said(&vault, "issuer:write", "vault").await,
        (false, everywhere)
    );
    assert!(said(&vault, "issuer:write", "workspace").await.0);
    vault.admin(DELETE, "/v1/issuers/own", None).await.data(200);

    // Whoever reaches one workspace is told the same as it would be by trying.
    let local = json!({"name": "local", "role": "workspace_admin"});
    let local = post("/v1/api-keys", local).await.data(201);
    let said_local = asked(
        &vault,
        text(&local, "key"),
        "issuer:write",
        "vault",
        json!({}),
    )
    .await;
    assert_eq!(said_local["decided_by"], "organisation:only");

    // What forbids it in the workspace forbids it for each identity there.
    let none = r#"@id("none") forbid (principal, action == Action::"key:create", resource == Workspace::"default");"#;
    set(&vault, none).await.data(200);
    for resource in ["identity/human/admin", "workspace"] {
        let expected = (false, json!("workspace:none"));
        assert_eq!(said(&vault, "key:create", resource).await, expected);
    }
    let own = json!({"name": "k", "role": "viewer"});
    post("/v1/api-keys", own).await.fails(403, "POLICY_DENIED");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_policy_is_taken_on_what_is_never_asked_about() {
    let vault = Vault::dev();
    for (action, kind, asked) in [
        ("token:create", "Identity", "identity/human/admin"),
        ("token:revoke", "Identity", "identity/human/admin"),
        ("key:rotate", "Identity", "identity/human/admin"),
        ("key:update", "Workspace", "workspace"),
        ("identity:create", "Workspace", "workspace"),
        ("issuer:read", "Vault", "vault"),
        ("signing_key:rotate", "Workspace", "workspace"),
        ("workspace:update", "Vault", "vault"),
        ("workspace:create", "Workspace", "workspace"),
    ] {
        let rule =
            format!(r#"forbid (principal, action == Action::"{action}", resource is {kind});"#);
        let refused = set(&vault, &rule).await;
        assert_eq!(refused.status, 422, "{rule}: {}", refused.text);
        let body = json!({"action": action, "resource": asked});
        let refused = vault.admin(POST, "/v1/auth/check", Some(body)).await;
        let refused = refused.fails(400, "INVALID_PARAMETER");
        assert_eq!(refused["details"]["field"], "resource", "{action} {asked}");
    }
}
