//! The emergency stop of a workspace, and those who would come back in by its issuers.

use jsonwebtoken::Algorithm;
use serde_json::json;

use super::{
    exchange, newest_refusal,
    provider::SigningKey,
    rights::{assertion, local, register, rules},
    whoami,
};
use crate::{
    api::{DELETE, PATCH, POST, text},
    support::Vault,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_keeps_out_whoever_comes_by_the_workspaces_issuers_until_somebody_lets_them_go_on() {
    let vault = Vault::dev();
    let key = SigningKey::new("k", Algorithm::EdDSA);
    let local = local(&vault).await;
    let own = json!({"name": "ci", "role": "workspace_admin", "auto_create": true});
    let theirs = json!({"name": "claude-code", "type": "agent"});
    let mut everywhere = rules(&key, "all", theirs);
    everywhere["organisation"] = json!(true);
    for (with, rules) in [
        (&local, rules(&key, "hidden", own.clone())),
        (&local, rules(&key, "ours", own.clone())),
        (&vault.admin_key, everywhere),
    ] {
        register(&vault, with, rules).await.data(201);
    }
    let mut jwts = Vec::new();
    for name in ["hidden", "ours", "all"] {
        let token = exchange(&vault, &assertion(&key, name)).await.data(201);
        jwts.push(text(&token, "token").to_owned());
    }
    let path = "/v1/workspaces/default/revoke-all";
    let body = Some(json!({"reason": "a key of an administrator was posted"}));
    vault.admin(POST, path, body).await.data(200);
    for jwt in &jwts {
        whoami(&vault, jwt).await.fails(401, "UNAUTHORIZED");
    }
    let stopped = async |name: &str| {
        let refused = exchange(&vault, &assertion(&key, name)).await;
        let refused = refused.fails(403, "ISSUER_STOPPED");
        assert!(refused["details"]["stopped_until"].is_string(), "{refused}");
        assert_eq!(newest_refusal(&vault).await["code"], "ISSUER_STOPPED");
    };
    stopped("hidden").await;
    stopped("ours").await;
    // Those who were stopped let nothing go on.
    for who in jwts.iter().chain([&local]) {
        let path = "/v1/issuers/hidden";
        let refused = vault.request(PATCH, path, who, Some(json!({})), &[]).await;
        refused.fails(401, "UNAUTHORIZED");
    }
    // What serves every workspace goes on, and so does what is registered later.
    exchange(&vault, &assertion(&key, "all")).await.data(201);
    register(&vault, &vault.admin_key, rules(&key, "later", own))
        .await
        .data(201);
    exchange(&vault, &assertion(&key, "later")).await.data(201);

    // Somebody looks at each.
    let gone = vault.admin(DELETE, "/v1/issuers/hidden", None).await;
    gone.data(200);
    let goes_on = vault.admin(PATCH, "/v1/issuers/ours", Some(json!({})));
    goes_on.await.data(200);
    exchange(&vault, &assertion(&key, "hidden"))
        .await
        .fails(401, "ISSUER_UNKNOWN");
    exchange(&vault, &assertion(&key, "ours")).await.data(201);
    // A stop is one until the next.
    let vault = vault.kill_and_reopen(&[]);
    exchange(&vault, &assertion(&key, "ours")).await.data(201);
    vault.admin(POST, path, None).await.data(200);
    let refused = exchange(&vault, &assertion(&key, "ours")).await;
    refused.fails(403, "ISSUER_STOPPED");
}
