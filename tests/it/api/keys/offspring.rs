//! INVARIANT (offspring): what a key or a token makes for its own identity ends no later, and is let through no more
//! often.

use super::*;

const SCOPES: [&str; 4] = ["key:*", "token:create", "lease:*", "handle:redeem"];

/// A key of the administrator's that ends in an hour.
async fn brief(vault: &Vault) -> Value {
    let body =
        json!({"name": "brief", "scopes": SCOPES, "expires_in": "1h", "rate_limit": "starter"});
    make(vault, body).await
}

async fn by(vault: &Vault, who: &str, method: reqwest::Method, path: &str, body: Value) -> Answer {
    vault.request(method, path, who, Some(body), &[]).await
}

async fn token_of(vault: &Vault, key: &Value) -> Value {
    let body = json!({"expires_in": "15m"});
    let made = by(vault, text(key, "key"), POST, "/v1/tokens", body).await;
    made.data(201)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_somebody_makes_for_itself_ends_with_what_made_it() {
    let vault = Vault::dev();
    let brief = brief(&vault).await;
    let token = token_of(&vault, &brief).await;
    let (key, jwt) = (text(&brief, "key"), text(&token, "token"));
    for (who, ends) in [(key, &brief["expires_at"]), (jwt, &token["expires_at"])] {
        let wide = json!({"name": "w", "scopes": ["lease:read"], "rate_limit": "unlimited"});
        let made = by(&vault, who, POST, "/v1/api-keys", wide).await;
        let made = made.data(201);
        assert_eq!(millis(&made["expires_at"]), millis(ends));
        assert_eq!(made["rate_limit"], "starter");
        let long = json!({"name": "l", "scopes": ["lease:read"], "expires_in": "90d"});
        let made = by(&vault, who, POST, "/v1/api-keys", long).await;
        let made = made.data(201);
        assert_eq!(millis(&made["expires_at"]), millis(ends));
        let less = json!({
            "name": "s", "scopes": ["lease:read"], "expires_in": "1m", "rate_limit": "free",
        });
        let made = by(&vault, who, POST, "/v1/api-keys", less).await;
        let made = made.data(201);
        assert!(millis(&made["expires_at"]) < millis(ends));
        assert_eq!(made["rate_limit"], "free");
    }
    // A key of another's is as long as was asked.
    let agents = json!({
        "name": "a", "role": "agent", "identity": {"name": "claude-code"}, "rate_limit": "unlimited",
    });
    let made = by(&vault, jwt, POST, "/v1/api-keys", agents).await;
    let made = made.data(201);
    assert_eq!(
        (&made["expires_at"], &made["rate_limit"]),
        (&Value::Null, &json!("unlimited"))
    );
    // And so is one of the administrator's own, made with a key that stays.
    let own = json!({"name": "o", "scopes": ["lease:read"]});
    assert_eq!(make(&vault, own).await["expires_at"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_widens_neither_the_key_that_made_it_nor_another_of_its_identity() {
    let vault = Vault::dev();
    let brief = brief(&vault).await;
    let token = token_of(&vault, &brief).await;
    let (key, jwt) = (text(&brief, "key"), text(&token, "token"));
    let at = format!("/v1/api-keys/{}", text(&brief, "id"));
    let body = json!({"name": "stays", "scopes": ["lease:read"], "rate_limit": "free"});
    let stays = make(&vault, body).await;
    let stays = format!("/v1/api-keys/{}", text(&stays, "id"));
    let refused = async |who: &str, method, path: &str, body: Value| {
        let told = body.to_string();
        let answer = by(&vault, who, method, path, body).await;
        assert_eq!(answer.status, 403, "{path} {told}: {}", answer.text);
        answer.fails(403, "INSUFFICIENT_PERMISSIONS");
    };
    let rotate = |at: &str| format!("{at}/rotate");
    refused(jwt, PATCH, &at, json!({"rate_limit": "unlimited"})).await;
    refused(jwt, PATCH, &at, json!({"scopes": ["lease:read"]})).await;
    refused(jwt, POST, &format!("{at}/resume"), json!({})).await;
    for expires_in in [json!(null), json!("2h"), json!("1h")] {
        let body = json!({"expires_in": expires_in});
        refused(jwt, POST, &rotate(&at), body.clone()).await;
        refused(jwt, POST, &rotate(&stays), body).await;
    }
    // It has no end: its value would stay with whoever has the token, or the brief key.
    refused(jwt, POST, &rotate(&stays), json!({})).await;
    refused(key, POST, &rotate(&stays), json!({})).await;
    refused(key, POST, &rotate(&stays), json!({"expires_in": "2h"})).await;
    // Nor does a key live longer by rotating itself.
    refused(key, POST, &rotate(&at), json!({"expires_in": "1h"})).await;
    for limit in [json!("unlimited"), json!("pro"), json!(null)] {
        refused(key, PATCH, &stays, json!({"rate_limit": limit})).await;
    }
    let shown = vault.admin(GET, &stays, None).await.data(200);
    assert_eq!(
        (&shown["rate_limit"], &shown["last_rotated_at"]),
        (&json!("free"), &Value::Null)
    );
    // What goes no further is done.
    for (who, method, path, body) in [
        (jwt, PATCH, at.clone(), json!({"name": "renamed"})),
        (key, PATCH, stays.clone(), json!({"rate_limit": "starter"})),
        (key, POST, rotate(&stays), json!({"expires_in": "10m"})),
        (
            jwt,
            POST,
            rotate(&at),
            json!({"expires_in": "10m", "grace": "1h"}),
        ),
    ] {
        let answer = by(&vault, who, method, &path, body).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    }
    // A key that rotates itself has a new value until the same end.
    let before = vault.admin(GET, &at, None).await.data(200);
    let rotated = by(&vault, key, POST, &rotate(&at), json!({})).await;
    assert_eq!(rotated.data(200)["expires_at"], before["expires_at"]);
}

/// Else whoever has the value that was rotated away would keep the identity, by taking the key itself or another.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_value_makes_and_rotates_nothing_that_outlives_its_grace() {
    let vault = Vault::dev();
    let own = |name: &str| json!({"name": name, "scopes": SCOPES});
    let (key, sibling) = (make(&vault, own("k")).await, make(&vault, own("s")).await);
    let at = |key: &Value| format!("/v1/api-keys/{}", text(key, "id"));
    let rotate = |key: &Value| format!("{}/rotate", at(key));
    let graced = Some(json!({"grace": "1h"}));
    let new = vault.admin(POST, &rotate(&key), graced).await.data(200);
    let until = millis(&new["previous_valid_until"]);
    let old = text(&key, "key");
    let body = json!({"expires_in": "30d"});
    let token = by(&vault, old, POST, "/v1/tokens", body).await.data(201);
    assert!(millis(&token["expires_at"]) <= until);
    assert_eq!(token["ttl_capped"], true);
    for wanted in [json!(null), json!("90d")] {
        let body = json!({"name": "x", "scopes": ["lease:read"], "expires_in": wanted});
        let made = by(&vault, old, POST, "/v1/api-keys", body).await;
        assert_eq!(millis(&made.data(201)["expires_at"]), until);
    }
    for key in [&key, &sibling] {
        for body in [
            json!({}),
            json!({"expires_in": "2h"}),
            json!({"grace": "1h"}),
        ] {
            let refused = by(&vault, old, POST, &rotate(key), body).await;
            refused.fails(403, "INSUFFICIENT_PERMISSIONS");
        }
    }
    // The new value is the key's own.
    let newest = by(&vault, text(&new, "key"), POST, &rotate(&key), json!({})).await;
    newest.data(200);
    let made = by(
        &vault,
        text(&sibling, "key"),
        POST,
        "/v1/api-keys",
        own("y"),
    )
    .await;
    assert_eq!(made.data(201)["expires_at"], Value::Null);
}
