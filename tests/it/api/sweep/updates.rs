//! Each field that can be changed, before and after, in the record of its change.

use reqwest::Method;
use serde_json::{Value, json};

use super::{super::PATCH, *};

/// The changes in the record of a request, as `field`, before, after.
async fn changes(admin: &Client<'_>, id: &str) -> Vec<(String, Value, Value)> {
    let path = format!("/v1/audit?request_id={id}&outcome=success");
    let found = admin.asks(GET, &path, None).await.data(200);
    let [record] = &found.as_array().unwrap()[..] else {
        panic!("{id}: {found}")
    };
    let changes = record["changes"].as_array().unwrap().iter();
    let told = changes.map(|one| {
        let field = text(one, "field").to_owned();
        (field, one["before"].clone(), one["after"].clone())
    });
    told.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_that_is_changed_is_told_before_and_after() {
    let vault = Vault::dev();
    let admin = Client::admin_of(&vault, "w").await;
    let make = json!({"name": "c", "type": "api-key", "value": "v", "description": "old",
        "metadata": {"team": "a", "gone": "x"}, "policy": {"max_leases": 3, "default_lease_ttl": "5m"}});
    admin.does(POST, "/v1/credentials", make, 201).await;
    let make = json!({"name": "i", "type": "agent", "role": "agent", "description": "old", "labels": {"team": "a"}});
    admin.does(POST, "/v1/identities", make, 201).await;
    let make =
        json!({"name": "old", "role": "agent", "identity": {"name": "i"}, "rate_limit": 100});
    let key = admin.does(POST, "/v1/api-keys", make, 201).await;
    let make = json!({"name": "iss", "iss": "https://a", "jwks_url": "https://me:CaNaRy@a/jwks?t=CaNaRy", "audiences": ["a"],
        "conditions": {"sub": "me"}, "identity": {"name": "ci", "role": "agent"}, "token_ttl": "15m"});
    let registered = admin.asks(POST, "/v1/issuers", Some(make.clone())).await;
    // Whether such a URL is taken is not the matter here.
    if !registered.status.is_success() {
        let mut make = make;
        make["jwks_url"] = json!("https://a/jwks");
        admin.does(POST, "/v1/issuers", make, 201).await;
    }
    let policy =
        |text: &str| json!({"scope": "workspace", "sources": [{"name": "a.cedar", "text": text}]});
    admin
        .does(Method::PUT, "/v1/policies", policy("// one"), 200)
        .await;
    let key_path = format!("/v1/api-keys/{}", text(&key, "id"));
    let cases = [
        (
            PATCH,
            "/v1/credentials/c",
            json!({"description": "new", "metadata": {"team": "b", "gone": null, "more": "y"},
                "policy": {"max_leases": 9, "default_lease_ttl": null}, "state": "disabled"}),
            vec![
                ("metadata.gone", json!("x"), Value::Null),
                ("metadata.more", Value::Null, json!("y")),
                ("metadata.team", json!("a"), json!("b")),
                ("description", json!("old"), json!("new")),
                ("policy.default_lease_ttl", json!("5m"), Value::Null),
                ("policy.max_leases", json!("3"), json!("9")),
                ("state", json!("active"), json!("disabled")),
            ],
        ),
        (
            PATCH,
            "/v1/identities/agent/i",
            json!({"role": "viewer", "description": null, "labels": {"team": "b"}}),
            vec![
                ("labels.team", json!("a"), json!("b")),
                ("role", json!("agent"), json!("viewer")),
                ("description", json!("old"), Value::Null),
            ],
        ),
        (
            PATCH,
            "/v1/workspaces/w",
            json!({"settings": {"default_lease_ttl": "30m", "max_lease_ttl": "8h", "max_api_keys": 50}, "description": "new"}),
            vec![
                ("settings.default_lease_ttl", json!("1h"), json!("30m")),
                ("settings.max_lease_ttl", json!("32d"), json!("8h")),
                ("settings.max_api_keys", json!("1000"), json!("50")),
                ("description", Value::Null, json!("new")),
            ],
        ),
        (
            PATCH,
            key_path.as_str(),
            json!({"name": "new", "scopes": ["credential:read"], "rate_limit": "unlimited"}),
            vec![
                ("name", json!("old"), json!("new")),
                ("role", json!("agent"), Value::Null),
                (
                    "scopes",
                    json!("lease:create lease:renew handle:redeem"),
                    json!("credential:read"),
                ),
                ("rate_limit", json!("100 a minute"), json!("unlimited")),
            ],
        ),
        (
            PATCH,
            "/v1/issuers/iss",
            json!({"iss": "https://b", "jwks_url": "https://b/jwks", "audiences": ["b"], "conditions": {"sub": "you"},
                "identity": {"name": "ci", "role": "viewer", "auto_create": true}, "token_ttl": "10m"}),
            vec![
                ("conditions", json!("sub=me"), json!("sub=you")),
                ("role", json!("agent"), json!("viewer")),
                ("auto_create", json!("false"), json!("true")),
                ("token_ttl", json!("15m"), json!("10m")),
                ("iss", json!("https://a"), json!("https://b")),
                ("keys", json!("https://a/jwks"), json!("https://b/jwks")),
                ("audiences", json!("a"), json!("b")),
            ],
        ),
        (
            Method::PUT,
            "/v1/policies",
            policy("// two"),
            vec![("version", json!("1"), json!("2"))],
        ),
    ];
    for (number, (method, path, body, expected)) in cases.into_iter().enumerate() {
        let id = format!("update-{number}");
        let headers = [("x-workspace", "w"), ("x-request-id", id.as_str())];
        let answer = vault
            .request(method, path, &admin.key, Some(body), &headers)
            .await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        let told = changes(&admin, &id).await;
        for (field, before, after) in expected {
            let wanted = (field.to_owned(), before, after);
            assert!(
                told.contains(&wanted),
                "{path}: {wanted:?} is not among {told:#?}"
            );
        }
    }
    let all = admin.asks(GET, "/v1/audit?limit=200", None).await.text;
    assert!(!all.contains("CaNaRy"), "{all}");
}
