//! A retry gets the same key, and never an old one.

use super::*;

async fn create(vault: &Vault, body: Value, idempotency: &str) -> Answer {
    let headers = [("idempotency-key", idempotency)];
    let key = &vault.admin_key;
    vault
        .request(POST, "/v1/api-keys", key, Some(body), &headers)
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_gets_the_same_key_again_and_makes_none() {
    let vault = Vault::dev();
    let body = json!({"name": "a", "role": "viewer"});
    let first = create(&vault, body.clone(), "one").await.data(201);
    let again = create(&vault, body.clone(), "one").await.data(201);
    assert_eq!(again, first);
    let vault = vault.kill_and_reopen(&[]);
    assert_eq!(create(&vault, body.clone(), "one").await.data(201), first);
    assert_eq!(listed(&vault, "name=a").await.len(), 1);
    whoami(&vault, text(&first, "key")).await.data(200);
    create(&vault, json!({"name": "b", "role": "viewer"}), "one")
        .await
        .fails(409, "IDEMPOTENCY_CONFLICT");
    let other = create(&vault, body, "two").await.data(201);
    assert_ne!(other["key"], first["key"]);
    let many = (0..8).map(|_| create(&vault, json!({"name": "m", "role": "viewer"}), "many"));
    let mut values = Vec::new();
    for answer in futures_util::future::join_all(many).await {
        values.push(text(&answer.data(201), "key").to_owned());
    }
    values.dedup();
    assert_eq!((values.len(), listed(&vault, "name=m").await.len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retried_rotation_gets_its_value_again_and_never_that_of_the_making() {
    let vault = Vault::dev();
    let made = create(&vault, json!({"name": "a", "role": "viewer"}), "same")
        .await
        .data(201);
    let path = format!("/v1/api-keys/{}/rotate", text(&made, "id"));
    let rotate = async || {
        let headers = [("idempotency-key", "same")];
        let key = &vault.admin_key;
        vault
            .request(POST, &path, key, None, &headers)
            .await
            .data(200)
    };
    let first = rotate().await;
    assert_ne!(first["key"], made["key"]);
    assert_eq!(rotate().await, first);
    whoami(&vault, text(&first, "key")).await.data(200);
    whoami(&vault, text(&made, "key"))
        .await
        .fails(401, "UNAUTHORIZED");
    // Only one rotation is in history.
    let events = vault.admin(GET, "/v1/audit?event=key.rotated", None).await;
    assert_eq!(events.body["page"]["total"], 1);
}

/// What a key is told again, by a retry, to a caller that could not make it any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_shows_no_key_to_a_caller_that_lost_what_it_holds() {
    let vault = Vault::dev();
    let maker = json!({"name": "m", "scopes": ["key:create", "key:rotate", "lease:read"]});
    let maker = make(&vault, maker).await;
    let wide = json!({"name": "w", "scopes": ["lease:read"]});
    let retried = async |path: &str, body: &Value| {
        let headers = [("idempotency-key", "one")];
        let body = Some(body.clone());
        let key = text(&maker, "key");
        vault.request(POST, path, key, body, &headers).await
    };
    let made = retried("/v1/api-keys", &wide).await.data(201);
    let rotate = format!("/v1/api-keys/{}/rotate", text(&made, "id"));
    let rotated = retried(&rotate, &json!({})).await.data(200);
    assert_eq!(retried(&rotate, &json!({})).await.data(200), rotated);
    let less = json!({"scopes": ["key:create", "key:rotate"]});
    patch(&vault, &maker, less).await.data(200);
    for (path, body) in [("/v1/api-keys", &wide), (&*rotate, &json!({}))] {
        let refused = retried(path, body).await;
        let refused = refused.fails(403, "INSUFFICIENT_PERMISSIONS");
        assert_eq!(refused["details"]["missing_scope"], "lease:read");
    }
    let recorded = vault
        .admin(GET, "/v1/audit?event=directory.refused", None)
        .await;
    assert_eq!(recorded.body["page"]["total"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_shows_no_key_of_every_workspace_to_a_caller_that_reaches_one() {
    let vault = Vault::dev();
    let chief = json!({"name": "chief", "type": "human", "role": "admin"});
    vault
        .admin(POST, "/v1/identities", Some(chief))
        .await
        .data(201);
    let whose = json!({"type": "human", "name": "chief"});
    let key = json!({"name": "k", "identity": whose, "role": "admin", "workspace": "*"});
    let key = make(&vault, key).await;
    let retried = async || {
        let body = json!({"name": "w", "scopes": ["lease:read"], "workspace": "*"});
        let headers = [("idempotency-key", "one")];
        let key = text(&key, "key");
        vault
            .request(POST, "/v1/api-keys", key, Some(body), &headers)
            .await
    };
    let made = retried().await.data(201);
    assert_eq!(retried().await.data(201), made);
    let lower = json!({"role": "workspace_admin"});
    vault
        .admin(PATCH, "/v1/identities/human/chief", Some(lower))
        .await
        .data(200);
    retried().await.fails(403, "INSUFFICIENT_PERMISSIONS");
}
