//! Rotation while leases are open, and the retirement of old versions.

use serde_json::{Value, json};

use super::{GET, POST, act, shown, take, text, versions};
use crate::support::{Answer, Vault};

async fn rotate(vault: &Vault, name: &str, value: &str, mode: Option<&str>) -> Answer {
    let mut body = json!({"new_value": value});
    if let Some(mode) = mode {
        body["on_open_leases"] = json!(mode);
    }
    let path = format!("/v1/credentials/{name}/rotate");
    vault.admin(POST, &path, Some(body)).await
}

async fn lease(vault: &Vault, lease: &Value) -> Value {
    let path = format!("/v1/leases/{}", text(lease, "id"));
    vault.admin(GET, &path, None).await.data(200)
}

#[tokio::test(flavor = "multi_thread")]
async fn drained_leases_keep_the_old_value_and_the_last_one_to_close_retires_it() {
    let vault = Vault::dev();
    vault.store("a", "old-value", json!({})).await;
    let (one, two) = (take(&vault, "a").await, take(&vault, "a").await);
    let answer = rotate(&vault, "a", "new-value", None).await;
    assert!(!answer.text.contains("-value"), "{}", answer.text);
    let rotated = answer.data(200);
    assert_eq!(
        (&rotated["current_version"], &rotated["previous_version"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(
        (&rotated["on_open_leases"], &rotated["previous_retired"]),
        (&json!("drain"), &json!(false))
    );
    let three = take(&vault, "a").await;
    for (lease, version, value) in [
        (&one, 1, "old-value"),
        (&two, 1, "old-value"),
        (&three, 2, "new-value"),
    ] {
        let redeemed = vault.redeem(text(lease, "handle")).await.data(200);
        assert_eq!(
            (&redeemed["value"], &redeemed["version"]),
            (&json!(value), &json!(version))
        );
    }
    act(&vault, &one, "release", json!({})).await.data(200);
    let seen = versions(&vault, "a").await;
    assert_eq!(
        (&seen[0]["number"], &seen[0]["state"]),
        (&json!(2), &json!("current"))
    );
    assert_eq!(
        (&seen[1]["state"], &seen[1]["active_leases"]),
        (&json!("rotated"), &json!(1))
    );
    assert!(seen[1]["rotated_at"].is_string() && seen[1]["retired_at"].is_null());
    act(&vault, &two, "release", json!({})).await.data(200);
    let seen = versions(&vault, "a").await;
    assert_eq!(
        (&seen[1]["state"], &seen[1]["active_leases"]),
        (&json!("retired"), &json!(0))
    );
    assert!(seen[1]["retired_at"].is_string() && seen[1]["revealed"] == true);
    assert!(seen[1]["fingerprint"].is_string() && seen[1]["metadata"].is_object());
    vault.redeem(text(&three, "handle")).await.data(200);
    // Nothing open on the old version: it goes at once, and its value is not accepted as a new one unchanged.
    act(&vault, &three, "release", json!({})).await.data(200);
    rotate(&vault, "a", "new-value", None)
        .await
        .fails(400, "INVALID_PARAMETER");
    let rotated = rotate(&vault, "a", "third-value", None).await.data(200);
    assert_eq!(rotated["previous_retired"], true);
    assert!(rotated["last_rotated_at"].is_string());
    assert_eq!(versions(&vault, "a").await[1]["state"], "retired");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_retires_with_its_last_lease_however_that_ends() {
    let vault = Vault::dev();
    for ending in ["revoke", "bulk", "expire"] {
        let value = |n: u32| format!("{ending}-{n}");
        vault.store(ending, &value(1), json!({})).await;
        let lease = vault.lease(json!({"credential_name": ending, "ttl": if ending == "expire" { "1s" } else { "1h" }})).await;
        rotate(&vault, ending, &value(2), Some("drain"))
            .await
            .data(200);
        match ending {
            "revoke" => {
                let path = format!("/v1/leases/{}/revoke", text(&lease, "id"));
                vault.admin(POST, &path, None).await.data(200);
            }
            "bulk" => {
                let body = json!({"filter": {"credential_name": ending, "version": 1}});
                let done = vault
                    .admin(POST, "/v1/leases/revoke", Some(body))
                    .await
                    .data(200);
                assert_eq!(done["revoked_leases"], 1);
            }
            _ => {
                let begun = std::time::Instant::now();
                while versions(&vault, ending).await[1]["state"] != "retired" {
                    assert!(begun.elapsed().as_secs() < 60, "never retired");
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
            }
        }
        assert_eq!(
            versions(&vault, ending).await[1]["state"],
            "retired",
            "{ending}"
        );
        assert_eq!(shown(&vault, ending).await["active_leases"], 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn broker_leases_follow_and_reveal_leases_refuse_to() {
    let vault = Vault::dev();
    vault
        .store("a", "v1", json!({"delivery": ["broker", "reveal"]}))
        .await;
    let broker = take(&vault, "a").await;
    let reveal = vault
        .lease(json!({"credential_name": "a", "delivery": "reveal"}))
        .await;
    rotate(&vault, "a", "v2", Some("follow"))
        .await
        .fails(409, "INVALID_STATE");
    assert_eq!(
        shown(&vault, "a").await["current_version"],
        1,
        "a refusal changes nothing"
    );
    act(&vault, &reveal, "release", json!({})).await.data(200);
    let rotated = rotate(&vault, "a", "v2", Some("follow")).await.data(200);
    assert_eq!(
        (&rotated["on_open_leases"], &rotated["previous_retired"]),
        (&json!("follow"), &json!(true))
    );
    let moved = lease(&vault, &broker).await;
    assert_eq!(
        (&moved["version"], &moved["state"]),
        (&json!(2), &json!("active"))
    );
    let seen = versions(&vault, "a").await;
    assert_eq!(
        (&seen[0]["active_leases"], &seen[1]["state"]),
        (&json!(1), &json!("retired"))
    );
    act(&vault, &broker, "release", json!({})).await.data(200);
    assert_eq!(shown(&vault, "a").await["active_leases"], 0);
    assert_eq!(versions(&vault, "a").await[0]["state"], "current");
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_revokes_the_old_versions_leases_in_the_same_answer() {
    let vault = Vault::dev();
    vault
        .store(
            "a",
            "v1",
            json!({"on_rotate": "cut", "delivery": ["reveal", "broker"]}),
        )
        .await;
    let reveal = take(&vault, "a").await;
    let broker = vault
        .lease(json!({"credential_name": "a", "delivery": "broker"}))
        .await;
    // The policy says `cut`; the request need not.
    let rotated = rotate(&vault, "a", "v2", None).await.data(200);
    assert_eq!(
        (&rotated["on_open_leases"], &rotated["revoked_leases"]),
        (&json!("cut"), &json!(2))
    );
    assert_eq!(
        (&rotated["active_leases"], &rotated["current_version"]),
        (&json!(0), &json!(2))
    );
    vault
        .redeem(text(&reveal, "handle"))
        .await
        .fails(410, "LEASE_REVOKED");
    act(&vault, &broker, "renew", json!({}))
        .await
        .fails(410, "LEASE_REVOKED");
    assert_eq!(lease(&vault, &broker).await["state"], "revoked");
    assert_eq!(versions(&vault, "a").await[1]["state"], "retired");
    // The request's word holds over the policy's.
    let kept = take(&vault, "a").await;
    let rotated = rotate(&vault, "a", "v3", Some("drain")).await.data(200);
    assert_eq!(
        (&rotated["on_open_leases"], &rotated["revoked_leases"]),
        (&json!("drain"), &json!(0))
    );
    assert_eq!(
        vault.redeem(text(&kept, "handle")).await.data(200)["value"],
        "v2"
    );
    rotate(&vault, "a", "v4", Some("wait"))
        .await
        .fails(400, "INVALID_PARAMETER");
}

/// A request that is given up in the middle of a cascade, and one that was only sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_goes_on_when_its_client_hangs_up() {
    let vault = Vault::dev();
    vault.store("many", "v1", json!({"max_leases": 1000})).await;
    for _ in 0..600 {
        take(&vault, "many").await;
    }
    let rotated = async { while shown(&vault, "many").await["current_version"] != 2 {} };
    tokio::select! {
        _ = rotate(&vault, "many", "v2", Some("cut")) => {}
        () = rotated => {}
    }
    let begun = std::time::Instant::now();
    while versions(&vault, "many").await[1]["state"] != "retired" {
        assert!(begun.elapsed().as_secs() < 60, "the cascade was given up");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(shown(&vault, "many").await["active_leases"], 0);
}

/// More leases than one transaction closes: the cascade goes on in batches, all before the answer.
#[tokio::test]
async fn a_cut_that_reaches_many_leases_is_over_before_its_answer() {
    const LEASES: usize = 300;
    let vault = Vault::dev();
    vault.store("many", "v1", json!({"max_leases": 1000})).await;
    for _ in 0..LEASES {
        take(&vault, "many").await;
    }
    let rotated = rotate(&vault, "many", "v2", Some("cut")).await.data(200);
    assert_eq!(rotated["revoked_leases"], json!(LEASES));
    assert_eq!(rotated["active_leases"], json!(0));
    assert_eq!(rotated["previous_retired"], json!(true));
    assert_eq!(versions(&vault, "many").await[1]["state"], "retired");
    for _ in 0..LEASES {
        take(&vault, "many").await;
    }
    let gone = vault
        .admin(crate::api::DELETE, "/v1/credentials/many?force=true", None)
        .await
        .data(200);
    assert_eq!(gone["revoked_leases"], json!(LEASES));
    vault
        .admin(GET, "/v1/credentials/many", None)
        .await
        .fails(404, "NOT_FOUND");
    let open = vault
        .admin(GET, "/v1/leases?state=active&credential_name=many", None)
        .await;
    assert_eq!(open.body["page"]["total"], json!(0));
}
