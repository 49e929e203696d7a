//! Who is asked about: a caller with labels, a token, another identity.

use jsonwebtoken::Algorithm;

use super::*;
use crate::api::federation::provider::SigningKey;

/// What is a team's is leased by its own.
const TEAMS: &str = r#"
@id("own-team")
forbid (principal, action in [Action::"lease:create", Action::"handle:redeem"], resource)
when { resource.hasTag("team") && !(principal.hasTag("team") && principal.getTag("team") == resource.getTag("team")) };
"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_labels_of_the_caller_decide_at_once_in_a_question_and_in_a_dry_run() {
    let vault = Vault::dev();
    let sources = json!([{"name": "teams.cedar", "text": TEAMS}]);
    let set = json!({"scope": "workspace", "sources": sources});
    let body = json!({"name": "ledger", "type": "api-key", "value": "v", "metadata": {"team": "payments"}});
    let stored = vault.admin(POST, "/v1/credentials", Some(body)).await;
    stored.data(201);
    let agent = "/v1/identities/agent/claude-code";
    let label = async |team: Value| {
        let body = json!({"labels": {"team": team}});
        vault.admin(PATCH, agent, Some(body)).await.data(200);
    };
    let grant = async || {
        let body = json!({"credential_name": "ledger", "reveal": true});
        vault.agent(POST, "/v1/leases", Some(body)).await
    };
    grant().await.data(201);

    // Tried beforehand: the one grant would be denied, until the caller is of the team.
    let tried = async || {
        let path = "/v1/policies/dry-run";
        let tried = vault.admin(POST, path, Some(set.clone())).await.data(200);
        tried["changes"].as_array().unwrap().len()
    };
    assert_eq!(tried().await, 1);
    label(json!("payments")).await;
    assert_eq!(tried().await, 0);

    let path = "/v1/policies";
    let applied = vault.admin(reqwest::Method::PUT, path, Some(set.clone()));
    applied.await.data(200);
    for (team, allowed) in [
        (json!("payments"), true),
        (json!("search"), false),
        (json!("payments"), true),
        (json!(null), false),
    ] {
        label(team.clone()).await;
        let said = asked(
            &vault,
            &vault.agent_key,
            "lease:create",
            "credential/ledger",
            json!({}),
        )
        .await;
        assert_eq!(said["allowed"], allowed, "{team}: {said}");
        match allowed {
            true => drop(grant().await.data(201)),
            false => {
                let denied = grant().await.fails(403, "POLICY_DENIED");
                assert_eq!(denied["details"]["policy"], "workspace:own-team");
            }
        }
    }
    // Nobody labels itself into a team.
    let body = Some(json!({"labels": {"team": "payments"}}));
    vault
        .admin(PATCH, "/v1/identities/human/admin", body)
        .await
        .fails(403, "INSUFFICIENT_PERMISSIONS");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_asked_about_by_its_id() {
    let vault = Vault::dev();
    let made = vault.admin(POST, "/v1/tokens", Some(json!({}))).await;
    let token = format!("token/{}", text(&made.data(201), "jti"));
    let own = asked(&vault, &vault.admin_key, "token:revoke", &token, json!({})).await;
    assert_eq!(
        (&own["allowed"], &own["resource"]),
        (&json!(true), &json!(token))
    );
    let others = asked(&vault, &vault.agent_key, "token:revoke", &token, json!({})).await;
    assert_eq!(others["allowed"], false, "{others}");
    assert_eq!(others["missing_scope"], "token:revoke");
    let body = json!({"action": "key:read", "resource": token});
    let failure = vault.admin(POST, "/v1/auth/check", Some(body)).await;
    let failure = failure.fails(400, "INVALID_PARAMETER");
    assert_eq!(failure["details"]["field"], "resource");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_see_identities_and_policies_asks_in_anothers_place() {
    let vault = ruled().await;
    let ask = async |key: &str, body: Value| {
        vault
            .request(POST, "/v1/auth/check", key, Some(body), &[])
            .await
    };
    let agent = json!({"type": "agent", "name": "claude-code"});
    // What the other is told itself, on each fact of the question.
    for (action, resource, context) in [
        ("lease:create", "credential/a", json!({"purpose": "p"})),
        ("lease:create", "credential/a", json!({})),
        (
            "lease:create",
            "credential/a",
            json!({"purpose": "p", "ttl": "2h"}),
        ),
        ("credential:read", "credential/a", json!({})),
        ("identity:read", "identity/agent/claude-code", json!({})),
        ("workspace:create", "vault", json!({})),
    ] {
        let mut body = json!({"action": action, "resource": resource, "context": context});
        let own = ask(&vault.agent_key, body.clone()).await.data(200);
        body["as"] = agent.clone();
        let told = ask(&vault.admin_key, body.clone()).await.data(200);
        assert_eq!(told, own, "{body}");
    }
    let question = |name: &str| json!({"action": "lease:create", "resource": "credential/a", "as": {"name": name}});
    // Not everybody: and whoever may not learns nothing of who exists.
    for name in ["claude-code", "nobody"] {
        let refused = ask(&vault.agent_key, question(name)).await;
        refused.fails(403, "INSUFFICIENT_PERMISSIONS");
    }
    let missing = ask(&vault.admin_key, question("nobody")).await;
    missing.fails(404, "NOT_FOUND");
    let malformed = ask(&vault.admin_key, question("no body")).await;
    let malformed = malformed.fails(400, "INVALID_PARAMETER");
    assert_eq!(malformed["details"]["field"], "as.name");
    let suspend = "/v1/identities/agent/claude-code/suspend";
    vault.admin(POST, suspend, None).await.data(200);
    let suspended = ask(&vault.admin_key, question("claude-code")).await;
    suspended.fails(403, "IDENTITY_SUSPENDED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_about_a_role_binds_whoever_holds_little_of_it() {
    let vault = Vault::dev();
    vault.store("a", "v", json!({})).await;
    for (name, role) in [
        ("olga", "operator"),
        ("ada", "workspace_admin"),
        ("vera", "viewer"),
    ] {
        let body = json!({"name": name, "type": "human", "role": role});
        let made = vault.admin(POST, "/v1/identities", Some(body)).await;
        made.data(201);
    }
    let key = async |name: &str, scopes: Value| {
        let identity = json!({"name": name, "type": "human"});
        let body = json!({"name": name, "identity": identity, "scopes": scopes});
        let made = vault.admin(POST, "/v1/api-keys", Some(body)).await;
        text(&made.data(201), "key").to_owned()
    };
    let read = json!(["credential:read"]);
    let (olga, vera) = (
        key("olga", read.clone()).await,
        key("vera", read.clone()).await,
    );
    let ada = key("ada", json!(["credential:read", "token:create"])).await;
    let body = Some(json!({"scopes": read}));
    let token = vault.request(POST, "/v1/tokens", &ada, body, &[]).await;
    let token = text(&token.data(201), "token").to_owned();
    let signing = SigningKey::new("k", Algorithm::EdDSA);
    let issuer = json!({
        "name": "ci", "iss": "https://ci", "jwks": {"keys": [signing.public()]}, "audiences": ["vault"],
        "conditions": {"sub": "me"}, "identity": {"name": "ci", "role": "operator", "auto_create": true},
    });
    let made = vault.admin(POST, "/v1/issuers", Some(issuer)).await;
    made.data(201);
    let claims = json!({"iss": "https://ci", "sub": "me", "aud": "vault", "exp": 9_999_999_999u64});
    let body = Some(json!({"token": signing.sign(&claims)}));
    let federated = vault
        .request(POST, "/v1/auth/exchange", "", body, &[])
        .await;
    let federated = text(&federated.data(201), "token").to_owned();
    let callers = [&olga, &ada, &token, &federated];
    let reads = async |who: &str| {
        let path = "/v1/credentials/a";
        vault.request(GET, path, who, None, &[]).await
    };
    for who in callers {
        reads(who).await.data(200);
    }
    let rule = r#"@id("staff") forbid (principal, action == Action::"credential:read", resource)
        when { principal in Role::"operator" || principal in Role::"workspace_admin" };"#;
    let sources = json!([{"name": "staff.cedar", "text": rule}]);
    let set = json!({"scope": "workspace", "sources": sources});
    let put = reqwest::Method::PUT;
    let applied = vault.admin(put, "/v1/policies", Some(set)).await;
    applied.data(200);
    for who in callers {
        let denied = reads(who).await.fails(403, "POLICY_DENIED");
        assert_eq!(denied["details"]["policy"], "workspace:staff");
        let said = asked(&vault, who, "credential:read", "credential/a", json!({})).await;
        assert_eq!(said["decided_by"], "workspace:staff", "{said}");
    }
    reads(&vera).await.data(200);
}
