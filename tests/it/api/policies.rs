//! Cedar policies of the folder, and whom a credential's own policy admits.

use std::path::Path;

use serde_json::{Value, json};

use super::{GET, PATCH, POST, act, ask, text};
use crate::support::{Answer, DevOptions, TempDir, Vault};

/// A vault that holds these Cedar policies.
struct Ruled {
    vault: Vault,
    _folder: TempDir,
}

impl std::ops::Deref for Ruled {
    type Target = Vault;

    fn deref(&self) -> &Vault {
        &self.vault
    }
}

fn ruled(policies: &[(&str, &str)]) -> Ruled {
    let folder = TempDir::new();
    for (name, content) in policies {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    let args = vec!["--policies".to_owned(), folder.path().display().to_string()];
    let options = DevOptions {
        args,
        ..DevOptions::default()
    };
    Ruled {
        vault: Vault::dev_with(options),
        _folder: folder,
    }
}

fn example(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/examples");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

async fn put(vault: &Vault, name: &str, environment: &str) {
    let body = json!({"name": name, "type": "api-key", "value": format!("value-of-{name}"),
        "metadata": {"environment": environment}});
    vault
        .admin(POST, "/v1/credentials", Some(body))
        .await
        .data(201);
}

#[track_caller]
fn denied(answer: Answer, policy: &str) -> Value {
    let failure = answer.fails(403, "POLICY_DENIED");
    assert_eq!(failure["details"]["policy"], policy, "{failure}");
    failure
}

/// Both environments, and a lease of each by these fields besides the name.
async fn two(example_name: &str) -> Ruled {
    let vault = ruled(&[(example_name, &example(example_name))]);
    put(&vault, "live", "production").await;
    put(&vault, "test", "staging").await;
    vault
}

#[tokio::test(flavor = "multi_thread")]
async fn production_keys_are_for_named_agents() {
    let vault = two("production-agents.cedar").await;
    let failure = denied(
        ask(&vault, json!({"credential_name": "live"})).await,
        "file:production-agents",
    );
    assert!(text(&failure, "message").contains("ask the platform team"));
    ask(&vault, json!({"credential_name": "test"}))
        .await
        .data(201);
    // The same rule with this agent's name in it lets it in, to the value as well.
    let named = example("production-agents.cedar").replace("\"deployer\"", "\"claude-code\"");
    let vault = ruled(&[("production-agents.cedar", &named)]);
    put(&vault, "live", "production").await;
    let lease = vault.lease(json!({"credential_name": "live"})).await;
    assert_eq!(
        vault.redeem(text(&lease, "handle")).await.data(200)["value"],
        "value-of-live"
    );
    act(&vault, &lease, "renew", json!({"ttl": "1h"}))
        .await
        .data(200);
    // The metadata decides as it is at the moment of each use.
    put(&vault, "moved", "staging").await;
    let metadata = json!({"metadata": {"environment": "production"}});
    let named = named.replace("\"claude-code\"", "\"somebody-else\"");
    drop(vault);
    let vault = ruled(&[("production-agents.cedar", &named)]);
    put(&vault, "moved", "staging").await;
    let lease = vault.lease(json!({"credential_name": "moved"})).await;
    vault
        .admin(PATCH, "/v1/credentials/moved", Some(metadata))
        .await
        .data(200);
    denied(
        vault.redeem(text(&lease, "handle")).await,
        "file:production-agents",
    );
    denied(
        act(&vault, &lease, "renew", json!({})).await,
        "file:production-agents",
    );
    denied(
        ask(&vault, json!({"credential_name": "moved"})).await,
        "file:production-agents",
    );
    act(&vault, &lease, "release", json!({})).await.data(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_needs_a_purpose() {
    let vault = two("require-purpose.cedar").await;
    for purpose in [json!(null), json!("tidy up"), json!("ops-1")] {
        let body = json!({"credential_name": "test", "purpose": purpose});
        denied(ask(&vault, body).await, "file:require-purpose");
    }
    vault
        .lease(json!({"credential_name": "test", "purpose": "OPS-7: tidy up"}))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ttl_is_capped_by_environment() {
    let vault = two("ttl-by-environment.cedar").await;
    let lease = |name: &str, ttl: &str| ask(&vault, json!({"credential_name": name, "ttl": ttl}));
    let live = lease("live", "1h").await.data(201);
    denied(lease("live", "61m").await, "file:ttl-production");
    lease("test", "8h").await.data(201);
    denied(lease("test", "9h").await, "file:ttl-staging");
    act(&vault, &live, "renew", json!({"ttl": "1h"}))
        .await
        .data(200);
    denied(
        act(&vault, &live, "renew", json!({"ttl": "2h"})).await,
        "file:ttl-production",
    );
    // The credential's own maximum comes first: what would be granted is what is judged.
    let policy = json!({"policy": {"max_lease_ttl": "30m", "default_lease_ttl": "30m"}});
    vault
        .admin(PATCH, "/v1/credentials/live", Some(policy))
        .await
        .data(200);
    assert_eq!(lease("live", "9h").await.data(201)["ttl"], "30m");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_revealed_in_production() {
    let vault = two("no-reveal-in-production.cedar").await;
    let with = |name: &str, delivery: &str| {
        ask(
            &vault,
            json!({"credential_name": name, "delivery": delivery}),
        )
    };
    denied(with("live", "reveal").await, "file:no-reveal-in-production");
    with("live", "broker").await.data(201);
    let shown = json!({"credential_name": "test", "delivery": "reveal", "reveal": true});
    assert_eq!(vault.lease(shown).await["value"], "value-of-test");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_source_of_a_request_decides() {
    let vault = two("source-ranges.cedar").await;
    vault.lease(json!({"credential_name": "live"})).await;
    let elsewhere =
        example("source-ranges.cedar").replace("context.source_ip.isLoopback()", "false");
    let vault = ruled(&[("source-ranges.cedar", &elsewhere)]);
    put(&vault, "live", "production").await;
    denied(
        ask(&vault, json!({"credential_name": "live"})).await,
        "file:source-ranges",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_stripe_key_must_look_like_one() {
    let vault = two("stripe-keys.cedar").await;
    let good = "sk_live_0123456789abcdefghijKLMNOPQR";
    let store = |name: &str, value: &str, service: &str| {
        let body = json!({"name": name, "type": "api-key", "value": value,
            "metadata": {"service": service}});
        vault.admin(POST, "/v1/credentials", Some(body))
    };
    for bad in [
        "sk_test_0123456789abcdefghijKLMNOPQR",
        "sk_live_0123456789",
        &format!("sk_live_{}", "a".repeat(40)),
    ] {
        let answer = store("pay", bad, "stripe").await;
        assert!(!answer.text.contains(bad), "{}", answer.text);
        let failure = answer.fails(422, "VALIDATION_FAILED");
        assert!(text(&failure, "message").starts_with("a Stripe key begins with `sk_live_`"));
        assert_eq!(failure["details"]["policy"], "file:stripe-keys");
    }
    store("pay", good, "stripe").await.data(201);
    store("other", "anything", "openai").await.data(201);
    let rotate = |name: &str, body: Value| {
        let path = format!("/v1/credentials/{name}/rotate");
        let vault = &vault;
        async move { vault.admin(POST, &path, Some(body)).await }
    };
    rotate("pay", json!({"new_value": "short"}))
        .await
        .fails(422, "VALIDATION_FAILED");
    // The metadata that the value would have counts.
    let into = json!({"new_value": "other", "metadata": {"service": "stripe"}});
    rotate("other", into).await.fails(422, "VALIDATION_FAILED");
    let shown = vault
        .admin(GET, "/v1/credentials/pay", None)
        .await
        .data(200);
    assert_eq!(shown["current_version"], 1);
    rotate("pay", json!({"new_value": good.replace('0', "9")}))
        .await
        .data(200);
    let query = "/v1/audit?event=authz.denied&limit=200";
    let audit = vault.admin(GET, query, None).await.data(200);
    let last = &audit[0];
    assert_eq!(last["decided_by"], "file:stripe-keys", "{last}");
    assert!(!audit.to_string().contains("sk_test_0123456789"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_policy_hides_is_in_no_list() {
    let hidden = r#"@id("hidden")
        forbid (principal, action in [Action::"credential:read", Action::"lease:read"], resource)
        when { resource.hasTag("environment") && resource.getTag("environment") == "production" };"#;
    let vault = ruled(&[("hidden.cedar", hidden)]);
    put(&vault, "live", "production").await;
    put(&vault, "test", "staging").await;
    let live = vault.lease(json!({"credential_name": "live"})).await;
    vault.lease(json!({"credential_name": "test"})).await;
    for path in [
        "/v1/credentials/live".to_owned(),
        "/v1/credentials/live/versions".to_owned(),
        format!("/v1/leases/{}", text(&live, "id")),
        format!("/v1/leases/{}/events", text(&live, "id")),
    ] {
        denied(vault.admin(GET, &path, None).await, "file:hidden");
    }
    let listed = vault.admin(GET, "/v1/credentials", None).await;
    assert!(listed.text.contains("\"test\"") && !listed.text.contains("\"live\""));
    let listed = vault.admin(GET, "/v1/leases", None).await.data(200);
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    // A policy speaks of what exists; what does not is missing, as ever.
    vault
        .admin(GET, "/v1/credentials/none", None)
        .await
        .fails(404, "NOT_FOUND");
    // Whoever lacks the scope is told the same of both.
    for name in ["live", "none"] {
        let path = format!("/v1/credentials/{name}");
        let failure = vault
            .agent(GET, &path, None)
            .await
            .fails(403, "INSUFFICIENT_PERMISSIONS");
        assert_eq!(failure["details"]["missing_scope"], "credential:read");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credentials_own_policy_admits_whom_it_names() {
    let only = "credential:allowed_identities";
    let named = "allowed_identities = [\"human/*\"]\n";
    let vault = ruled(&[("people.toml", named)]);
    let lease = || ask(&vault, json!({"credential_name": "c"}));
    let made = vault
        .store(
            "c",
            "v",
            json!({"allowed_identities": ["agent/claude-*", "ci-*"]}),
        )
        .await;
    assert_eq!(
        made["policy"]["allowed_identities"],
        json!(["agent/claude-*", "ci-*"])
    );
    assert_eq!(
        made["effective_policy"]["allowed_identities"],
        json!(["agent/claude-*", "ci-*"])
    );
    let held = lease().await.data(201);
    let patch = |policy: Value| {
        let body = json!({"policy": policy});
        vault.admin(PATCH, "/v1/credentials/c", Some(body))
    };
    patch(json!({"allowed_identities": ["service/*", "claude"]}))
        .await
        .data(200);
    denied(lease().await, only);
    denied(vault.redeem(text(&held, "handle")).await, only);
    denied(act(&vault, &held, "renew", json!({})).await, only);
    let audit = vault
        .admin(GET, "/v1/audit?event=authz.denied", None)
        .await
        .data(200);
    assert_eq!(audit[0]["decided_by"], only, "{audit}");
    // A lease for another is a matter of that other one.
    let other =
        json!({"credential_name": "c", "identity": {"type": "agent", "name": "claude-code"}});
    denied(
        vault.admin(POST, "/v1/leases", Some(other.clone())).await,
        only,
    );
    patch(json!({"allowed_identities": ["claude-code"]}))
        .await
        .data(200);
    vault.redeem(text(&held, "handle")).await.data(200);
    vault.admin(POST, "/v1/leases", Some(other)).await.data(201);
    let own = json!({"credential_name": "c"});
    denied(vault.admin(POST, "/v1/leases", Some(own)).await, only);
    patch(json!({"allowed_identities": null, "extends": "people"}))
        .await
        .data(200);
    denied(lease().await, only);
    act(&vault, &held, "release", json!({})).await.data(200);
    patch(json!({"extends": null})).await.data(200);
    lease().await.data(201);
    for (bad, field) in [
        (json!([]), "policy.allowed_identities"),
        (json!(["ok", "Not Ok"]), "policy.allowed_identities[1]"),
        (json!(["robot/x"]), "policy.allowed_identities[0]"),
        (json!(vec!["a"; 65]), "policy.allowed_identities"),
    ] {
        let failure = patch(json!({"allowed_identities": bad}))
            .await
            .fails(400, "INVALID_PARAMETER");
        assert_eq!(failure["details"]["field"], field, "{failure}");
    }
}
