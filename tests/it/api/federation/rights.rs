//! INVARIANT (no-escalation): nobody gains a right, or a name, by way of an issuer.

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::{exchange, newest_refusal, provider::SigningKey, whoami};
use crate::{
    api::{DELETE, GET, PATCH, POST, text},
    support::{Answer, Vault},
};

/// An issuer whose key the test has, so that whoever registers it signs what it likes.
pub(super) fn rules(key: &SigningKey, name: &str, identity: Value) -> Value {
    json!({
        "name": name, "iss": format!("https://{name}"), "jwks": {"keys": [key.public()]}, "audiences": ["vault"],
        "conditions": {"sub": "me"}, "identity": identity,
    })
}

/// An assertion of the issuer of that name.
pub(super) fn assertion(key: &SigningKey, name: &str) -> String {
    let iss = format!("https://{name}");
    key.sign(&json!({"iss": iss, "sub": "me", "aud": "vault", "exp": 9_999_999_999u64}))
}

pub(super) async fn register(vault: &Vault, with: &str, rules: Value) -> Answer {
    vault
        .request(POST, "/v1/issuers", with, Some(rules), &[])
        .await
}

async fn identity(vault: &Vault, body: Value) {
    let made = vault.admin(POST, "/v1/identities", Some(body)).await;
    made.data(201);
}

/// A key of an administrator of the one workspace.
pub(super) async fn local(vault: &Vault) -> String {
    let body = json!({"name": "local", "type": "human", "role": "workspace_admin"});
    identity(vault, body).await;
    let body = json!({
        "name": "local", "role": "workspace_admin", "identity": {"name": "local", "type": "human"},
    });
    let made = vault.admin(POST, "/v1/api-keys", Some(body)).await;
    text(&made.data(201), "key").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_let_in_by_the_name_of_who_is_stronger_than_the_issuer() {
    let vault = Vault::dev();
    let key = SigningKey::new("k", Algorithm::EdDSA);
    let local = local(&vault).await;
    let boss = json!({"name": "boss", "type": "human", "role": "operator"});
    identity(&vault, boss).await;
    // The home of an owner is a workspace like any other, and its administrator may register issuers.
    let owner = json!({"name": "admin", "type": "human", "role": "workspace_admin"});
    let weak = json!({"name": "boss", "type": "human", "role": "agent"});
    let all = json!({"name": "admin", "type": "human", "role": "owner"});
    for (name, with, identity) in [
        ("climber", &local, owner),
        ("weak", &local, weak),
        // Whoever registers it holds all of it, and whoever changes it later need not.
        ("of-one", &vault.admin_key, all.clone()),
    ] {
        let answer = register(&vault, with, rules(&key, name, identity)).await;
        answer.data(201);
        let refused = exchange(&vault, &assertion(&key, name)).await;
        refused.fails(403, "INSUFFICIENT_PERMISSIONS");
        let recorded = newest_refusal(&vault).await;
        assert_eq!(recorded["code"], "INSUFFICIENT_PERMISSIONS", "{name}");
        assert!(text(&recorded, "object").starts_with("iss_"), "{recorded}");
    }
    let mut everywhere = rules(&key, "of-all", all);
    everywhere["organisation"] = json!(true);
    register(&vault, &vault.admin_key, everywhere)
        .await
        .data(201);
    let token = exchange(&vault, &assertion(&key, "of-all")).await;
    let jwt = text(&token.data(201), "token").to_owned();
    let me = whoami(&vault, &jwt).await.data(200);
    assert_eq!(me["identity"]["name"], "admin");

    // Few scopes are enough for none of the roles, whatever the issuer would leave of one.
    let body = json!({"name": "few", "scopes": ["identity:federate", "lease:create"]});
    let few = vault.admin(POST, "/v1/api-keys", Some(body)).await;
    let few = text(&few.data(201), "key").to_owned();
    for role in ["workspace_admin", "agent"] {
        let mapped =
            json!({"name": "local", "type": "human", "role": role, "scopes": ["lease:create"]});
        let refused = register(&vault, &few, rules(&key, "few", mapped)).await;
        refused.fails(403, "INSUFFICIENT_PERMISSIONS");
    }
    // Nor is anybody made who could not be let in.
    let made = json!({"name": "new", "role": "auditor", "auto_create": true});
    let refused = register(&vault, &vault.admin_key, rules(&key, "new", made)).await;
    let refused = refused.fails(400, "INVALID_PARAMETER");
    assert_eq!(refused["details"]["field"], "identity.role");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_of_no_use_while_its_identity_is_stronger_than_its_issuer() {
    let vault = Vault::dev();
    let key = SigningKey::new("k", Algorithm::EdDSA);
    let mapped = json!({"name": "ci", "role": "agent", "auto_create": true});
    register(&vault, &vault.admin_key, rules(&key, "ci", mapped))
        .await
        .data(201);
    let token = exchange(&vault, &assertion(&key, "ci")).await.data(201);
    let jwt = text(&token, "token");
    let at = format!("/v1/tokens/{}", text(&token, "jti"));
    let has = async |role: &str| {
        let body = json!({"role": role});
        let path = "/v1/identities/service/ci";
        vault.admin(PATCH, path, Some(body)).await.data(200);
        vault.admin(GET, &at, None).await.data(200)["state"].clone()
    };
    whoami(&vault, jwt).await.data(200);
    for role in ["operator", "owner"] {
        assert_eq!(has(role).await, "suspended");
        whoami(&vault, jwt).await.fails(401, "UNAUTHORIZED");
        let refused = exchange(&vault, &assertion(&key, "ci")).await;
        refused.fails(403, "INSUFFICIENT_PERMISSIONS");
    }
    assert_eq!(has("agent").await, "active");
    whoami(&vault, jwt).await.data(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_changes_or_deletes_an_issuer_that_is_stronger() {
    let vault = Vault::dev();
    let key = SigningKey::new("k", Algorithm::EdDSA);
    let body = json!({
        "name": "weak", "scopes": ["identity:federate", "lease:create", "lease:renew", "handle:redeem"],
    });
    let weak = vault.admin(POST, "/v1/api-keys", Some(body)).await;
    let weak = text(&weak.data(201), "key").to_owned();
    let local = local(&vault).await;
    let mapped = |role: &str| json!({"name": "local", "type": "human", "role": role});
    for role in ["agent", "operator", "owner"] {
        let rules = rules(&key, role, mapped(role));
        register(&vault, &vault.admin_key, rules).await.data(201);
    }
    for (who, stronger) in [(&weak, "operator"), (&weak, "owner"), (&local, "owner")] {
        let path = format!("/v1/issuers/{stronger}");
        for (method, body) in [
            (PATCH, Some(json!({"conditions": {"sub": "nobody"}}))),
            (PATCH, Some(json!({"identity": mapped("agent")}))),
            (PATCH, Some(json!({}))),
            (DELETE, None),
        ] {
            let refused = vault.request(method, &path, who, body, &[]).await;
            refused.fails(403, "INSUFFICIENT_PERMISSIONS");
        }
        let shown = vault.admin(GET, &path, None).await.data(200);
        assert_eq!(shown["conditions"], json!({"sub": ["me"]}));
        assert_eq!(shown["identity"]["role"], stronger);
    }
    for (who, own) in [(&weak, "agent"), (&local, "operator")] {
        let path = format!("/v1/issuers/{own}");
        let body = Some(json!({"conditions": {"sub": "nobody"}}));
        let changed = vault.request(PATCH, &path, who, body, &[]).await;
        changed.data(200);
        let gone = vault.request(DELETE, &path, who, None, &[]).await;
        gone.data(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_vaults_own_machine_is_asked_for_keys_where_the_organisation_says_so() {
    let vault = Vault::dev();
    let local = local(&vault).await;
    let rules = |name: &str, url: &str| {
        json!({
            "name": name, "iss": "https://ci", "jwks_url": url, "audiences": ["vault"],
            "conditions": {"sub": "me"}, "identity": {"name": "ci"},
        })
    };
    let here = [
        "http://127.0.0.1:1/anything",
        "http://localhost:1/jwks",
        "http://[::1]:1/jwks",
        "https://127.0.0.1:1/jwks",
        "https://localhost/jwks",
    ];
    let elsewhere = rules("elsewhere", "https://ci.example.com/jwks");
    register(&vault, &local, elsewhere).await.data(201);
    for (number, url) in here.into_iter().enumerate() {
        let name = format!("here-{number}");
        let refused = register(&vault, &local, rules(&name, url)).await;
        refused.fails(403, "INSUFFICIENT_PERMISSIONS");
        let moved = Some(json!({"jwks_url": url}));
        let path = "/v1/issuers/elsewhere";
        let refused = vault.request(PATCH, path, &local, moved, &[]).await;
        refused.fails(403, "INSUFFICIENT_PERMISSIONS");
        register(&vault, &vault.admin_key, rules(&name, url))
            .await
            .data(201);
    }
}
