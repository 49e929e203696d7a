//! Issuers: who may register what, what ends with them, and whom they serve.

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::{
    exchange,
    provider::{Provider, SigningKey},
    register, whoami,
};
use crate::{
    api::{DELETE, GET, PATCH, POST, isolation::Two, text},
    support::Vault,
};

#[tokio::test(flavor = "multi_thread")]
async fn static_keys_need_nobody_and_tokens_end_with_their_issuer() {
    let vault = Vault::dev();
    let key = SigningKey::new("k", Algorithm::ES256);
    let iss = "https://issuer.example.com";
    let rules = json!({
        "name": "static", "iss": iss, "jwks": {"keys": [key.public()]}, "audiences": ["vault"],
        "conditions": {"sub": "spiffe://acme.example/billing"}, "token_ttl": "1h",
        "identity": {"name": "billing", "type": "service", "role": "operator", "auto_create": true},
    });
    let issuer = register(&vault, rules.clone()).await.data(201);
    assert_eq!(issuer["jwks"]["keys"][0]["kid"], "k");
    register(&vault, rules).await.fails(409, "ALREADY_EXISTS");
    let claims = json!({
        "iss": iss, "sub": "spiffe://acme.example/billing", "aud": ["vault"], "exp": 9_999_999_999u64,
    });
    let token = exchange(&vault, &key.sign(&claims)).await.data(201);
    let jwt = text(&token, "token");
    let scopes = whoami(&vault, jwt).await.data(200)["scopes"].clone();
    assert!(scopes.as_array().unwrap().len() > 3);
    // What the issuer may give out shrinks, and so does what it gave out.
    let path = "/v1/issuers/static";
    let less = json!({"identity": {
        "name": "billing", "type": "service", "role": "operator", "scopes": ["lease:read"], "auto_create": true,
    }});
    vault.admin(PATCH, path, Some(less)).await.data(200);
    assert_eq!(
        whoami(&vault, jwt).await.data(200)["scopes"],
        json!(["lease:read"])
    );
    assert_eq!(vault.admin(GET, path, None).await.data(200)["iss"], iss);
    let listed = vault.admin(GET, "/v1/issuers", None).await;
    assert_eq!(listed.body["page"]["total"], 1);
    let by_id = format!("/v1/issuers/{}", text(&issuer, "id"));
    vault.admin(DELETE, &by_id, None).await.data(200);
    whoami(&vault, jwt).await.fails(401, "UNAUTHORIZED");
    vault.admin(GET, path, None).await.fails(404, "NOT_FOUND");
    exchange(&vault, &key.sign(&claims))
        .await
        .fails(401, "ISSUER_UNKNOWN");
    let events = vault
        .admin(GET, "/v1/audit?sort=time&limit=200", None)
        .await
        .data(200);
    let events = events
        .as_array()
        .unwrap()
        .iter()
        .map(|event| text(event, "event"));
    let events: Vec<_> = events.filter(|name| name.starts_with("issuer.")).collect();
    assert_eq!(
        events,
        ["issuer.created", "issuer.updated", "issuer.deleted"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_registers_an_issuer_that_gives_out_more_than_they_hold() {
    let vault = Vault::dev();
    let wanted = json!({"scopes": ["identity:*", "lease:*", "handle:redeem"]});
    let token = vault
        .admin(POST, "/v1/tokens", Some(wanted))
        .await
        .data(201);
    let jwt = text(&token, "token");
    let rules = |changes: Value| {
        let mut rules = json!({
            "name": "ci", "iss": "https://ci", "jwks_url": "https://ci/jwks", "audiences": ["vault"],
            "conditions": {"sub": "me"}, "identity": {"name": "ci"},
        });
        for (name, value) in changes.as_object().unwrap() {
            rules[name] = value.clone();
        }
        rules
    };
    let ask = async |key: &str, changes: Value| {
        let body = Some(rules(changes));
        vault.request(POST, "/v1/issuers", key, body, &[]).await
    };
    ask(&vault.agent_key, json!({}))
        .await
        .fails(403, "INSUFFICIENT_PERMISSIONS");
    for (beyond, lacks) in [
        (
            json!({"identity": {"name": "ci", "role": "operator"}}),
            true,
        ),
        (
            json!({"identity": {"name": "ci", "role": "owner", "scopes": ["lease:read"]}}),
            false,
        ),
        (
            json!({"identity": {"name": "ci", "role": "operator", "scopes": ["lease:read"], "auto_create": true}}),
            true,
        ),
        (json!({"organisation": true}), false),
    ] {
        let refused = ask(jwt, beyond)
            .await
            .fails(403, "INSUFFICIENT_PERMISSIONS");
        // No scope would let it do what only callers that reach every workspace do.
        assert_eq!(refused["details"]["missing_scope"].is_string(), lacks);
    }
    ask(jwt, json!({})).await.data(201);
    let more = json!({"identity": {"name": "ci", "role": "operator"}});
    vault
        .request(PATCH, "/v1/issuers/ci", jwt, Some(more), &[])
        .await
        .fails(403, "INSUFFICIENT_PERMISSIONS");
    for (changes, field) in [
        (json!({"conditions": {}}), "conditions"),
        (json!({"conditions": {"sub": "*"}}), "conditions"),
        (json!({"conditions": {"sub": 5}}), "conditions.sub"),
        (json!({"audiences": []}), "audiences"),
        (json!({"algorithms": ["HS256"]}), "algorithms"),
        (json!({"algorithms": ["none"]}), "algorithms"),
        (json!({"jwks_url": "http://ci/jwks"}), "jwks_url"),
        (json!({"jwks": {"keys": []}}), "jwks_url"),
        (json!({"jwks_url": null, "jwks": {"keys": []}}), "jwks"),
        (
            json!({"jwks_url": null, "jwks": {"keys": [{"kty": "oct", "k": "AAAA"}]}}),
            "jwks",
        ),
        (
            json!({"jwks_url": null, "public_keys": ["-----BEGIN"]}),
            "public_keys",
        ),
        (json!({"token_ttl": "61m"}), "token_ttl"),
        (json!({"leeway": "3m"}), "leeway"),
        (json!({"identity": {"name": "{a}-{b}"}}), "identity.name"),
        (
            json!({"organisation": true, "identity": {"name": "ci", "auto_create": true}}),
            "identity.auto_create",
        ),
        (json!({"kind": "saml"}), "kind"),
        (json!({"url": "x"}), "url"),
    ] {
        let refused = ask(&vault.admin_key, changes).await;
        let refused = refused.fails(400, "INVALID_PARAMETER");
        assert_eq!(refused["details"]["field"], field, "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_of_the_organisation_serves_every_workspace_and_others_their_own() {
    let two = Two::start();
    let key = SigningKey::new("k", Algorithm::EdDSA);
    let provider = Provider::publishing(&[&key]).await;
    let everywhere = provider.issuer(json!({
        "name": "all", "organisation": true,
        "identity": {"name": "{who}", "type": "agent"},
    }));
    let answer = two
        .request(&two.admin, None, POST, "/v1/issuers", Some(everywhere))
        .await;
    assert_eq!(answer.data(201)["organisation"], true);
    let assertion = key.sign(&provider.claims(json!({"who": "b1"})));
    let ask = async |issuer: &str, workspace: &str| {
        let body = json!({"token": assertion, "issuer": issuer, "workspace": workspace});
        two.request("", None, POST, "/v1/auth/exchange", Some(body))
            .await
    };
    let token = ask("all", "b").await.data(201);
    let jwt = text(&token, "token");
    assert_eq!(two.whoami(jwt, None).await.data(200)["workspace"], "b");
    two.whoami(jwt, Some("default"))
        .await
        .fails(404, "NOT_FOUND");
    // The agent of that name lives in the other workspace alone.
    ask("all", "default").await.fails(401, "CLAIM_MISMATCH");
    let own = provider.issuer(json!({"name": "own"}));
    two.request(&two.admin, Some("b"), POST, "/v1/issuers", Some(own))
        .await
        .data(201);
    ask("own", "b").await.data(201);
    ask("own", "default").await.fails(401, "ISSUER_UNKNOWN");
    let elsewhere = two
        .request(&two.admin, Some("default"), GET, "/v1/issuers/own", None)
        .await;
    elsewhere.fails(404, "NOT_FOUND");
}
