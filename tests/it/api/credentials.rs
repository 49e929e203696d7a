//! Credentials after they are stored: policies, states, versions, filters and ends.

use serde_json::{Value, json};

use super::{DELETE, GET, PATCH, POST, ask, create, shown, take, text, versions};
use crate::support::{Answer, Vault};

const AWS_SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYTESTONLY0=";

async fn patch(vault: &Vault, name: &str, body: Value) -> Answer {
    let path = format!("/v1/credentials/{name}");
    vault.admin(PATCH, &path, Some(body)).await
}

async fn post(vault: &Vault, path: &str, body: Value) -> Answer {
    let path = format!("/v1/credentials/{path}");
    vault.admin(POST, &path, Some(body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_merges_and_null_removes() {
    let vault = Vault::dev();
    let body = json!({"name": "a", "type": "api-key", "value": "v", "description": "d", "metadata": {"team": "ml", "rotate_every": "90d"},
        "policy": {"max_leases": 5, "default_lease_ttl": "30m", "egress": {"hosts": ["api.openai.com"], "methods": ["GET"], "paths": ["/v1/*"]}}});
    let before = create(&vault, body).await.data(201);
    assert!(before["next_rotation_at"].is_string());
    let after = patch(&vault, "a", json!({"metadata": {"env": "prod", "rotate_every": null}, "policy": {"max_leases": 7, "default_lease_ttl": null}})).await.data(200);
    assert_eq!(after["metadata"], json!({"team": "ml", "env": "prod"}));
    assert_eq!(
        (&after["policy"]["max_leases"], &after["description"]),
        (&json!(7), &json!("d"))
    );
    assert!(
        after["policy"].get("default_lease_ttl").is_none() && after["next_rotation_at"].is_null()
    );
    assert_eq!(after["policy"]["egress"], before["policy"]["egress"]);
    assert_eq!(
        (
            &after["effective_policy"]["default_lease_ttl"],
            &after["effective_policy"]["max_leases"]
        ),
        (&json!("1h"), &json!(7))
    );
    let after = patch(
        &vault,
        "a",
        json!({"description": null, "policy": {"egress": null}}),
    )
    .await
    .data(200);
    assert!(after["description"].is_null() && after["policy"].get("egress").is_none());
    assert_eq!(
        patch(&vault, "a", json!({})).await.data(200)["metadata"],
        after["metadata"]
    );
    for body in [
        json!({"value": "w"}),
        json!({"name": "b"}),
        json!({"type": "api-key"}),
        json!({"state": "paused"}),
        json!({"metadata": {"k": 1}}),
        json!({"policy": {"max_leases": 0}}),
        json!({"policy": {"default_lease_ttl": "0s"}}),
        json!({"policy": {"max_lease_ttl": "1s", "default_lease_ttl": "2s"}}),
        json!({"policy": {"require_approval": "no"}}),
    ] {
        patch(&vault, "a", body)
            .await
            .fails(400, "INVALID_PARAMETER");
    }
    assert_eq!(shown(&vault, "a").await["policy"], after["policy"]);
    patch(&vault, "none", json!({}))
        .await
        .fails(404, "NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_builds_on_a_named_one_and_shows_both() {
    let vault = Vault::dev();
    let policy = json!({"extends": "production", "max_leases": 3});
    let stored = vault.store("a", "v", policy.clone()).await;
    assert_eq!(stored["policy"], policy);
    let effective = &stored["effective_policy"];
    assert_eq!(
        (&effective["max_leases"], &effective["max_lease_ttl"]),
        (&json!(3), &json!("1h"))
    );
    assert_eq!(
        (&effective["require_purpose"], &effective["delivery"]),
        (&json!(true), &json!(["broker", "reveal"]))
    );
    ask(&vault, json!({"credential_name": "a"}))
        .await
        .fails(400, "MISSING_PARAMETER");
    let lease = vault
        .lease(json!({"credential_name": "a", "purpose": "p"}))
        .await;
    assert_eq!(
        (&lease["ttl"], &lease["delivery"]),
        (&json!("15m"), &json!("broker"))
    );
    patch(&vault, "a", json!({"policy": {"extends": "nothing"}}))
        .await
        .fails(400, "INVALID_PARAMETER");
    let after = patch(&vault, "a", json!({"policy": {"extends": null}}))
        .await
        .data(200);
    assert_eq!(
        (
            &after["effective_policy"]["require_purpose"],
            &after["policy"]
        ),
        (&json!(false), &json!({"max_leases": 3}))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_credential_grants_nothing_and_a_revoked_one_never_again() {
    let vault = Vault::dev();
    vault.store("a", "v", json!({})).await;
    let lease = take(&vault, "a").await;
    assert_eq!(
        patch(&vault, "a", json!({"state": "disabled"}))
            .await
            .data(200)["state"],
        "disabled"
    );
    ask(&vault, json!({"credential_name": "a"}))
        .await
        .fails(409, "INVALID_STATE");
    patch(&vault, "a", json!({"state": "active"}))
        .await
        .data(200);
    vault.redeem(text(&lease, "handle")).await.data(200);
    let revoked = patch(&vault, "a", json!({"state": "revoked"}))
        .await
        .data(200);
    assert_eq!(
        (&revoked["state"], &revoked["active_leases"]),
        (&json!("revoked"), &json!(0))
    );
    vault
        .redeem(text(&lease, "handle"))
        .await
        .fails(410, "LEASE_REVOKED");
    ask(&vault, json!({"credential_name": "a"}))
        .await
        .fails(410, "CREDENTIAL_REVOKED");
    patch(&vault, "a", json!({"state": "active"}))
        .await
        .fails(410, "CREDENTIAL_REVOKED");
    post(&vault, "a/rotate", json!({"new_value": "w"}))
        .await
        .fails(410, "CREDENTIAL_REVOKED");
    assert_eq!(versions(&vault, "a").await[0]["state"], "revoked");
    for (state, total) in [("revoked", 1), ("disabled", 0)] {
        let listed = vault
            .admin(GET, &format!("/v1/credentials?state={state}&name=a"), None)
            .await;
        assert_eq!(listed.body["page"]["total"], total);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deletion_waits_for_leases_unless_it_is_forced() {
    let vault = Vault::dev();
    vault.store("a", "v", json!({})).await;
    let lease = take(&vault, "a").await;
    let failure = vault
        .admin(DELETE, "/v1/credentials/a", None)
        .await
        .fails(409, "INVALID_STATE");
    assert_eq!(failure["details"]["active_leases"], 1);
    vault
        .admin(DELETE, "/v1/credentials/a?force=yes", None)
        .await
        .fails(400, "INVALID_PARAMETER");
    vault.redeem(text(&lease, "handle")).await.data(200);
    let done = vault
        .admin(DELETE, "/v1/credentials/a?force=true", None)
        .await
        .data(200);
    assert_eq!(done["revoked_leases"], 1);
    let refused = vault.redeem(text(&lease, "handle")).await;
    assert!(
        [404, 410].contains(&refused.status.as_u16()),
        "{}",
        refused.text
    );
    for path in ["/v1/credentials/a", "/v1/credentials/a/versions"] {
        vault.admin(GET, path, None).await.fails(404, "NOT_FOUND");
    }
    ask(&vault, json!({"credential_name": "a"}))
        .await
        .fails(404, "NOT_FOUND");
    // The name is free again, and nothing of the old one comes back.
    let again = vault.store("a", "w", json!({})).await;
    assert_eq!(
        (&again["current_version"], &again["active_leases"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(versions(&vault, "a").await.as_array().unwrap().len(), 1);
    vault
        .admin(DELETE, "/v1/credentials/a", None)
        .await
        .data(200);
    vault
        .admin(DELETE, "/v1/credentials/a", None)
        .await
        .fails(404, "NOT_FOUND");
}

/// Grants remember which credential a name stood for last.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_was_given_away_stands_for_its_new_credential_at_once() {
    let vault = Vault::dev();
    for value in ["first", "second", "third"] {
        let stored = vault.store("a", value, json!({"max_leases": 2})).await;
        assert_eq!(stored["active_leases"], 0);
        for _ in 0..2 {
            let lease = take(&vault, "a").await;
            let redeemed = vault.redeem(text(&lease, "handle")).await.data(200);
            assert_eq!(redeemed["value"], value);
        }
        let done = vault
            .admin(DELETE, "/v1/credentials/a?force=true", None)
            .await
            .data(200);
        assert_eq!(done["revoked_leases"], 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_keep_their_own_metadata_and_can_be_revoked_alone() {
    let vault = Vault::dev();
    let id = |n: u32| format!("AKIATESTONLY000{n}");
    let secret = |n: u32| format!("{}{n}", &AWS_SECRET[..39]);
    let body = json!({"name": "aws", "type": "aws-access-key", "value": secret(1), "metadata": {"access_key_id": id(1), "team": "ml"}});
    let first = create(&vault, body).await.data(201);
    let old = take(&vault, "aws").await;
    let body = json!({"new_value": secret(2), "metadata": {"access_key_id": id(2)}, "expected_version": 1});
    let rotated = post(&vault, "aws/rotate", body.clone()).await.data(200);
    assert_eq!(
        rotated["metadata"],
        json!({"access_key_id": id(2), "team": "ml"})
    );
    assert_ne!(rotated["fingerprint"], first["fingerprint"]);
    let mut late = body;
    late["new_value"] = json!(secret(3));
    let conflict = post(&vault, "aws/rotate", late)
        .await
        .fails(409, "VERSION_CONFLICT");
    assert_eq!(conflict["details"]["current_version"], 2);
    let new = take(&vault, "aws").await;
    for (lease, n) in [(&old, 1), (&new, 2)] {
        assert_eq!(lease["metadata"]["access_key_id"], id(n));
        let redeemed = vault.redeem(text(lease, "handle")).await.data(200);
        assert_eq!(
            (&redeemed["metadata"]["access_key_id"], &redeemed["value"]),
            (&json!(id(n)), &json!(secret(n)))
        );
        let at = format!("/v1/leases/{}", text(lease, "id"));
        assert_eq!(
            vault.agent(GET, &at, None).await.data(200)["metadata"]["access_key_id"],
            id(n)
        );
    }
    let seen = versions(&vault, "aws").await;
    assert_eq!(
        (
            &seen[0]["facts"]["access_key_id"],
            &seen[1]["facts"]["access_key_id"]
        ),
        (&json!(id(2)), &json!(id(1)))
    );
    assert_eq!(
        (&seen[1]["fingerprint"], &seen[1]["revealed"]),
        (&first["fingerprint"], &json!(true))
    );

    let done = post(&vault, "aws/versions/1/revoke", json!({"reason": "leaked"}))
        .await
        .data(200);
    assert_eq!(done["revoked_leases"], 1);
    vault
        .redeem(text(&old, "handle"))
        .await
        .fails(410, "LEASE_REVOKED");
    vault.redeem(text(&new, "handle")).await.data(200);
    assert_eq!(versions(&vault, "aws").await[1]["state"], "revoked");
    post(&vault, "aws/versions/1/revoke", json!({}))
        .await
        .fails(409, "INVALID_STATE");
    post(&vault, "aws/versions/9/revoke", json!({}))
        .await
        .fails(404, "NOT_FOUND");
    post(&vault, "aws/versions/one/revoke", json!({}))
        .await
        .fails(400, "INVALID_PARAMETER");
    // The current one too: nothing is granted until there is a new value.
    post(&vault, "aws/versions/2/revoke", json!({}))
        .await
        .data(200);
    vault
        .redeem(text(&new, "handle"))
        .await
        .fails(410, "LEASE_REVOKED");
    assert!(
        ask(&vault, json!({"credential_name": "aws"}))
            .await
            .status
            .is_client_error()
    );
    post(
        &vault,
        "aws/rotate",
        json!({"new_value": secret(4), "metadata": {"access_key_id": id(4)}}),
    )
    .await
    .data(200);
    assert_eq!(take(&vault, "aws").await["version"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_values_have_equal_fingerprints_and_credentials_are_found_by_their_filters() {
    let vault = Vault::dev();
    let mut prints = Vec::new();
    for (name, kind, value) in [
        ("a", "api-key", "same"),
        ("b", "generic-secret", "same"),
        ("c", "api-key", "other"),
    ] {
        let body = json!({"name": name, "type": kind, "value": value, "metadata": {"team": name, "a b": "ü"}});
        prints.push(create(&vault, body).await.data(201)["fingerprint"].clone());
    }
    assert!(
        prints[0] == prints[1] && prints[1] != prints[2] && !prints[0].to_string().contains("same")
    );
    for (query, expected) in [
        ("name=b", vec!["b"]),
        ("metadata.team=c", vec!["c"]),
        ("metadata.team=c&metadata.a+b=%C3%BC", vec!["c"]),
        ("metadata.team=", vec![]),
        (
            "type=api-key&metadata.a%20b=%C3%BC&sort=name",
            vec!["a", "c"],
        ),
        ("metadata.a+b=%C3%BC&sort=-name", vec!["c", "b", "a"]),
        ("metadata.a+b=%C3%BC&sort=-created_at", vec!["c", "b", "a"]),
        ("type=ssh-key", vec![]),
    ] {
        let found = vault
            .admin(GET, &format!("/v1/credentials?{query}"), None)
            .await
            .data(200);
        let found: Vec<_> = found
            .as_array()
            .unwrap()
            .iter()
            .map(|one| text(one, "name"))
            .collect();
        assert_eq!(found, expected, "{query}");
    }
    for query in [
        "type=password",
        "state=open",
        "nam=a",
        "force=true",
        "name=a&name=b",
    ] {
        vault
            .admin(GET, &format!("/v1/credentials?{query}"), None)
            .await
            .fails(400, "INVALID_PARAMETER");
    }
}
