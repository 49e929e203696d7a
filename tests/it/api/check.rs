//! Asking what would be decided: what is said is what then happens, and asking leaves no trace.

use serde_json::{Value, json};

use super::{DELETE, GET, PATCH, POST, act, text};
use crate::support::Vault;

mod callers;
mod subjects;

async fn asked(vault: &Vault, key: &str, action: &str, resource: &str, context: Value) -> Value {
    let body = json!({"action": action, "resource": resource, "context": context});
    vault
        .request(POST, "/v1/auth/check", key, Some(body), &[])
        .await
        .data(200)
}

/// Policies that look at each fact of a lease.
const RULES: &str = r#"
@id("short")
@message("an hour is enough")
forbid (principal, action in [Action::"lease:create", Action::"lease:renew"], resource)
when { context.ttl_seconds > 3600 };
@id("purpose")
forbid (principal, action == Action::"lease:create", resource) unless { context has purpose };
@id("hidden")
forbid (principal, action == Action::"lease:create", resource) when { context.reveal };
@id("brokered")
forbid (principal, action == Action::"lease:create", resource) when { context.delivery == "broker" };
@id("own")
forbid (principal, action == Action::"lease:create", resource) unless { context.holder.name == principal.name };
@id("unused")
forbid (principal, action == Action::"handle:redeem", resource is Lease)
when { resource.hasTag("environment") };
@id("stays")
forbid (principal, action == Action::"credential:delete", resource == Credential::"kept");
@id("long")
forbid (principal, action == Action::"credential:create", resource) when { context.value.length < 4 };
"#;

async fn ruled() -> Vault {
    let vault = Vault::dev();
    for name in ["a", "kept"] {
        let policy = json!({"delivery": ["reveal", "broker"], "max_lease_ttl": "4h"});
        vault.store(name, "v", policy).await;
    }
    let sources = json!([{"name": "rules.cedar", "text": RULES}]);
    let body = json!({"scope": "workspace", "sources": sources});
    vault
        .admin(reqwest::Method::PUT, "/v1/policies", Some(body))
        .await
        .data(200);
    vault
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_of_a_grant_is_what_happens() {
    let vault = ruled().await;
    let own = json!({"name": "claude-code", "type": "agent"});
    for (context, policy) in [
        (json!({"purpose": "p"}), None),
        (
            json!({"purpose": "p", "ttl": "1h", "delivery": "reveal"}),
            None,
        ),
        (json!({"purpose": "p", "identity": own}), None),
        (
            json!({"purpose": "p", "ttl": "61m"}),
            Some("workspace:short"),
        ),
        // The credential's own maximum comes first.
        (
            json!({"purpose": "p", "ttl": "9h"}),
            Some("workspace:short"),
        ),
        (json!({}), Some("workspace:purpose")),
        (
            json!({"purpose": "p", "reveal": true}),
            Some("workspace:hidden"),
        ),
        (
            json!({"purpose": "p", "delivery": "broker"}),
            Some("workspace:brokered"),
        ),
        (
            json!({"ttl": "2h"}),
            Some("workspace:purpose, workspace:short"),
        ),
    ] {
        let said = asked(
            &vault,
            &vault.agent_key,
            "lease:create",
            "credential/a",
            context.clone(),
        )
        .await;
        let mut body = context;
        body["credential_name"] = json!("a");
        let done = vault.agent(POST, "/v1/leases", Some(body.clone())).await;
        match policy {
            None => {
                assert_eq!(said["allowed"], true, "{body}: {said}");
                assert_eq!(said["decided_by"], "role:agent");
                done.data(201);
            }
            Some(policy) => {
                assert_eq!(said["allowed"], false, "{body}: {said}");
                assert_eq!(said["decided_by"], policy, "{body}: {said}");
                let failure = done.fails(403, "POLICY_DENIED");
                assert_eq!(failure["details"]["policy"], policy);
            }
        }
    }
    // On another's behalf.
    let context = json!({"purpose": "p", "identity": own});
    let said = asked(
        &vault,
        &vault.admin_key,
        "lease:create",
        "credential/a",
        context,
    )
    .await;
    assert_eq!(said["decided_by"], "workspace:own", "{said}");
    let admin = json!({"purpose": "p", "identity": {"type": "human", "name": "admin"}});
    let said = asked(
        &vault,
        &vault.agent_key,
        "lease:create",
        "credential/a",
        admin,
    )
    .await;
    assert_eq!(said["missing_scope"], "lease:delegate", "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_of_everything_else_is_what_happens() {
    let vault = ruled().await;
    let (agent, admin) = (&vault.agent_key, &vault.admin_key);
    let lease = vault
        .lease(json!({"credential_name": "a", "purpose": "p", "ttl": "30m"}))
        .await;
    let at = format!("lease/{}", text(&lease, "id"));
    let none = json!({});
    let is = async |key: &str, action: &str, resource: &str| {
        let said = asked(&vault, key, action, resource, json!({})).await;
        assert_eq!(
            (text(&said, "action"), text(&said, "resource")),
            (action, resource)
        );
        (
            said["allowed"].as_bool().unwrap(),
            said["decided_by"].clone(),
        )
    };
    assert_eq!(
        is(agent, "lease:renew", &at).await,
        (true, json!("role:agent"))
    );
    let longer = asked(&vault, agent, "lease:renew", &at, json!({"ttl": "2h"})).await;
    assert_eq!(longer["reason"], "a policy forbids it: an hour is enough");
    act(&vault, &lease, "renew", json!({"ttl": "2h"}))
        .await
        .fails(403, "POLICY_DENIED");
    assert_eq!(
        is(agent, "handle:redeem", &at).await,
        (true, json!("role:agent"))
    );
    assert_eq!(
        is(admin, "handle:redeem", &at).await,
        (false, json!("holder:only"))
    );
    let metadata = json!({"metadata": {"environment": "production"}});
    vault
        .admin(PATCH, "/v1/credentials/a", Some(metadata))
        .await
        .data(200);
    assert_eq!(
        is(agent, "handle:redeem", &at).await,
        (false, json!("workspace:unused"))
    );
    vault
        .redeem(text(&lease, "handle"))
        .await
        .fails(403, "POLICY_DENIED");

    let said = asked(&vault, agent, "audit:read", "workspace", none.clone()).await;
    assert_eq!(
        (&said["missing_scope"], &said["decided_by"]),
        (&json!("audit:read"), &json!("scope:missing"))
    );
    assert_eq!(
        is(admin, "policy:write", "vault").await,
        (true, json!("role:owner"))
    );
    assert!(!is(agent, "policy:write", "vault").await.0);
    assert!(
        is(admin, "identity:suspend", "identity/agent/claude-code")
            .await
            .0
    );
    assert_eq!(
        is(admin, "credential:delete", "credential/kept").await,
        (false, json!("workspace:stays"))
    );
    // The value is not part of the question, and the policy that looks at it denies until it is.
    let storing = asked(&vault, admin, "credential:create", "credential/new", none).await;
    assert_eq!(storing["allowed"], false);
    assert!(
        text(&storing, "reason").contains("looks at the value"),
        "{storing}"
    );
    assert!(is(admin, "credential:delete", "credential/a").await.0);
    vault
        .admin(DELETE, "/v1/credentials/a?force=true", None)
        .await
        .data(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_tells_nothing_of_what_exists_and_leaves_no_trace() {
    let vault = ruled().await;
    let records = async || {
        let audit = vault.admin(GET, "/v1/audit?event=authz.denied", None).await;
        audit.body["page"]["total"].as_u64().unwrap()
    };
    let before = records().await;
    // Whoever lacks the scope is told the same of both.
    let [a, none] = ["credential/a", "credential/none"]
        .map(|at| asked(&vault, &vault.agent_key, "credential:read", at, json!({})));
    let (mut a, mut none) = (a.await, none.await);
    assert_eq!(a["missing_scope"], "credential:read");
    (a["resource"], none["resource"]) = (Value::Null, Value::Null);
    assert_eq!(a, none);
    // Whoever has it is told what the action itself would tell.
    let missing = "lse_0198c0de0000700080000000000000ff";
    for (action, resource) in [
        ("credential:read", "credential/none".to_owned()),
        ("lease:read", format!("lease/{missing}")),
        (
            "key:read",
            "api-key/key_0198c0de0000700080000000000000ff".to_owned(),
        ),
        (
            "token:revoke",
            "token/tok_0198c0de0000700080000000000000ff".to_owned(),
        ),
    ] {
        let body = json!({"action": action, "resource": resource});
        let answer = vault.admin(POST, "/v1/auth/check", Some(body)).await;
        answer.fails(404, "NOT_FOUND");
    }
    for (body, field) in [
        (
            json!({"action": "lease:steal", "resource": "workspace"}),
            "action",
        ),
        (
            json!({"action": "lease:create", "resource": "workspace"}),
            "resource",
        ),
        (
            json!({"action": "lease:renew", "resource": "credential/a"}),
            "resource",
        ),
        (
            json!({"action": "audit:read", "resource": "credential/a"}),
            "resource",
        ),
        (
            json!({"action": "audit:read", "resource": "safe"}),
            "resource",
        ),
        (
            json!({"action": "lease:create", "resource": "credential/a", "context": {"ttl": "1x"}}),
            "context.ttl",
        ),
    ] {
        let failure = vault.agent(POST, "/v1/auth/check", Some(body)).await;
        let failure = failure.fails(400, "INVALID_PARAMETER");
        assert_eq!(failure["details"]["field"], field, "{failure}");
    }
    assert_eq!(records().await, before);
}
