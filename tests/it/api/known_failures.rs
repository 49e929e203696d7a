//! Failures that systems of this kind have had, each a test by its name.

mod offspring;
mod policies;
mod privilege;

use serde_json::{Value, json};

use super::{GET, POST, create, isolation::Two, raw, shown, text};
use crate::support::Vault;

/// Stores a credential of one name in both workspaces, each with its own value, and leases it in `b`.
async fn twins(two: &Two) -> Value {
    for workspace in ["default", "b"] {
        let body =
            json!({"name": "twin", "type": "api-key", "value": format!("value-of-{workspace}")});
        let stored = two.admin(workspace, POST, "/v1/credentials", Some(body));
        stored.await.data(201);
    }
    let lease = json!({"credential_name": "twin", "identity": {"session_id": "s-1"}});
    let lease = two.agent(&two.b1, POST, "/v1/leases", Some(lease));
    lease.await.data(201)
}

async fn still_open(two: &Two, lease: &Value) {
    let path = format!("/v1/leases/{}", text(lease, "id"));
    let seen = two.agent(&two.b1, GET, &path, None).await.data(200);
    assert_eq!(
        (&seen["state"], &seen["renewals"], &seen["uses"]),
        (&json!("active"), &json!(0), &json!(0))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_lease_verb_crosses_workspaces_by_id() {
    let two = Two::start();
    let lease = twins(&two).await;
    for verb in ["renew", "release", "revoke"] {
        let path = format!("/v1/leases/{}/{verb}", text(&lease, "id"));
        for key in [&two.a1, &two.admin] {
            let answer = two.agent(key, POST, &path, Some(json!({}))).await;
            answer.fails(404, "NOT_FOUND");
        }
        // Naming the workspace opens it to nobody whose key is bound to another.
        let named = two.request(&two.a1, Some("b"), POST, &path, Some(json!({})));
        named.await.fails(404, "NOT_FOUND");
    }
    still_open(&two, &lease).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_lease_verb_crosses_workspaces_by_handle() {
    let two = Two::start();
    let lease = twins(&two).await;
    let body = json!({"handle": lease["handle"]});
    for key in [&two.a1, &two.admin] {
        let redeemed = two.agent(key, POST, "/v1/handles/redeem", Some(body.clone()));
        redeemed.await.fails(404, "NOT_FOUND");
    }
    still_open(&two, &lease).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_two_workspaces_share_means_each_ones_own() {
    let two = Two::start();
    let lease = twins(&two).await;
    let reveal = json!({"credential_name": "twin", "delivery": "reveal", "reveal": true});
    let own = two.agent(&two.a1, POST, "/v1/leases", Some(reveal)).await;
    assert_eq!(own.data(201)["value"], "value-of-default");
    let rotate = json!({"new_value": "another", "on_open_leases": "cut"});
    let rotated = two.admin("default", POST, "/v1/credentials/twin/rotate", Some(rotate));
    rotated.await.data(200);
    still_open(&two, &lease).await;
    let theirs = json!({"handle": lease["handle"]});
    let theirs = two.agent(&two.b1, POST, "/v1/handles/redeem", Some(theirs));
    assert_eq!(theirs.await.data(200)["value"], "value-of-b");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_bulk_filter_reaches_into_another_workspace() {
    let two = Two::start();
    let lease = twins(&two).await;
    for filter in [
        json!({"filter": {"credential_name": "twin"}}),
        json!({"filter": {"identity": "b1"}}),
        json!({"filter": {"session_id": "s-1"}}),
        json!({"filter": {"credential_name": "twin", "version": 1}}),
        json!({"all": true}),
    ] {
        let revoked = two.admin("default", POST, "/v1/leases/revoke", Some(filter.clone()));
        assert_eq!(revoked.await.data(200)["revoked_leases"], 0, "{filter}");
    }
    still_open(&two, &lease).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_renewed_by_nobody_but_its_holder() {
    let vault = Vault::dev();
    vault.store("a", "v", json!({})).await;
    let lease = super::take(&vault, "a").await;
    let path = format!("/v1/leases/{}/renew", text(&lease, "id"));
    // The owner holds every scope; the lease is another's.
    let owner = vault.admin(POST, &path, Some(json!({"ttl": "2h"}))).await;
    owner.fails(403, "INSUFFICIENT_PERMISSIONS");
    let mine = super::take(&vault, "a").await;
    assert_eq!(mine["identity"]["name"], lease["identity"]["name"]);
    let seen = vault
        .agent(GET, &path.replace("/renew", ""), None)
        .await
        .data(200);
    assert_eq!(
        (&seen["expires_at"], &seen["renewals"]),
        (&lease["expires_at"], &json!(0))
    );
    vault
        .agent(POST, &path, Some(json!({"ttl": "2m"})))
        .await
        .data(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_in_other_letters_case_or_spaces_is_no_other_spelling_of_it() {
    let vault = Vault::dev();
    vault.store("stripe", "v", json!({})).await;
    for alike in [
        "Stripe",
        "STRIPE",
        " stripe",
        "stripe ",
        "stripe\t",
        "stripe\n",
        "stripe\u{0}",
        "stri\u{200b}pe",
        "\u{feff}stripe",
        "stripe\u{2028}",
        "\u{455}tripe",
        "str\u{131}pe",
        "\u{ff53}tripe",
        "stripe\u{301}",
        "\u{202e}epirts",
        "./stripe",
        "../stripe",
        ".stripe",
        "stripe/.",
        "stripe%20",
        "stripe*",
    ] {
        let body = json!({"name": alike, "type": "api-key", "value": "w"});
        create(&vault, body).await.fails(400, "INVALID_PARAMETER");
        let body = json!({"credential_name": alike});
        let leased = super::ask(&vault, body).await;
        leased.fails(400, "INVALID_PARAMETER");
        let body =
            json!({"credential_name": "stripe", "identity": {"type": "agent", "name": alike}});
        let delegated = vault.admin(POST, "/v1/leases", Some(body)).await;
        delegated.fails(400, "INVALID_PARAMETER");
    }
    assert_eq!(shown(&vault, "stripe").await["active_leases"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn dots_and_encoded_slashes_lead_past_no_permission() {
    let vault = Vault::dev();
    vault.store("a", "v", json!({})).await;
    let auth = format!("Bearer {}", vault.agent_key);
    let headers = [("authorization", auth.as_str())];
    for path in [
        "/v1/leases/../credentials/a",
        "/v1/leases/%2e%2e/credentials/a",
        "/v1/leases/..%2fcredentials%2fa",
        "/v1/leases/%2e%2e%2fcredentials",
        "/v1/./credentials/a",
        "/v1/leases/.%2e/credentials",
        "/v1//credentials/a",
        "/v1/leases/lse_/../../credentials",
        "/v1/auth/whoami/..%2f..%2faudit",
    ] {
        let answer = raw::send(&vault, &format!("GET {path}"), &headers, b"");
        answer.refuses(&[400, 403, 404], path);
        assert!(!answer.text.contains("fingerprint"), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_parsed_for_a_caller_that_is_not_proven() {
    let vault = Vault::dev();
    let deep = [vec![b'['; 3_000], vec![b']'; 3_000]].concat();
    let twice = br#"{"credential_name":"a","credential_name":"b"}"#.to_vec();
    for body in [deep, twice] {
        for path in ["/v1/leases", "/v1/credentials", "/v1/handles/redeem"] {
            let unknown = vault.raw(POST, path, "lhk_none", "application/json", body.clone());
            unknown.await.fails(401, "UNAUTHORIZED");
            let proven = vault.raw(
                POST,
                path,
                &vault.admin_key,
                "application/json",
                body.clone(),
            );
            let proven = proven.await;
            assert_eq!(proven.status, 400, "{path}: {}", proven.text);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_leaves_no_grant_behind() {
    let vault = Vault::dev();
    let policy = json!({"max_leases": 3, "delivery": ["reveal"], "require_purpose": true, "max_lease_ttl": "1h"});
    vault.store("a", "v", policy).await;
    for body in [
        json!({"credential_name": "a"}),
        json!({"credential_name": "a", "purpose": "p", "delivery": "broker"}),
        json!({"credential_name": "a", "purpose": "p", "ttl": "0s"}),
        json!({"credential_name": "a", "purpose": "p", "reveal": "yes"}),
        json!({"credential_name": "a", "purpose": "p", "identity": {"type": "agent", "name": "nobody"}}),
        json!({"credential_name": "a", "purpose": "p", "identity": {"session_id": "\u{0}"}}),
        json!({"credential_name": "a", "purpose": "p".repeat(2000)}),
        json!({"credential_name": "a", "purpose": "p", "surprise": 1}),
    ] {
        let answer = super::ask(&vault, body.clone()).await;
        assert!(answer.status.is_client_error(), "{body}: {}", answer.text);
        assert!(!answer.text.contains("lhh_") && !answer.text.contains("lse_"));
    }
    assert_eq!(shown(&vault, "a").await["active_leases"], 0);
    let leases = vault.admin(GET, "/v1/leases", None).await;
    assert_eq!(leases.data(200), json!([]));
    let issued = vault.admin(GET, "/v1/audit?event=lease.issued", None).await;
    assert_eq!(issued.data(200), json!([]));
    // Every place is still free.
    for _ in 0..3 {
        vault
            .lease(json!({"credential_name": "a", "purpose": "p"}))
            .await;
    }
}
