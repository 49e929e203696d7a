//! What becomes of leases: renewed, released, revoked, expired, and never opened again.

use serde_json::json;

use super::{GET, PAST_ONE_SECOND, POST, act, millis, shown, take, text};
use crate::support::Vault;

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_never_passes_the_maximum_lifetime() {
    let vault = Vault::dev();
    let policy = json!({"default_lease_ttl": "10m", "max_lease_ttl": "30m"});
    vault.store("bounded", "v", policy).await;
    let lease = take(&vault, "bounded").await;
    let max = millis(&lease["max_expires_at"]);
    assert_eq!(max - millis(&lease["issued_at"]), 30 * 60_000);
    let renewed = act(&vault, &lease, "renew", json!({"ttl": "20m"}))
        .await
        .data(200);
    assert!(millis(&renewed["expires_at"]) > millis(&lease["expires_at"]));
    assert_eq!(
        (&renewed["renewals"], &renewed["ttl_capped"]),
        (&json!(1), &json!(false))
    );
    assert!(renewed.get("handle").is_none() && renewed.get("value").is_none());
    tokio::time::sleep(std::time::Duration::from_millis(3)).await;
    for ttl in ["30m", "31m", "1000y"] {
        let renewed = act(&vault, &lease, "renew", json!({"ttl": ttl}))
            .await
            .data(200);
        assert_eq!(millis(&renewed["expires_at"]), max, "{ttl}");
        assert_eq!(renewed["ttl_capped"], true, "{ttl}");
    }
    // Without a TTL the default again, with or without a body.
    let path = format!("/v1/leases/{}/renew", text(&lease, "id"));
    let renewed = vault.agent(POST, &path, None).await.data(200);
    assert!(millis(&renewed["expires_at"]) < max && renewed["id"] == lease["id"]);
    for ttl in [
        json!("0s"),
        json!("-5m"),
        json!("forever"),
        json!("10000000000000y"),
        json!(600),
    ] {
        let answer = act(&vault, &lease, "renew", json!({"ttl": ttl})).await;
        let failure = answer.fails(400, "INVALID_PARAMETER");
        assert_eq!(failure["details"]["field"], "ttl");
    }
    act(&vault, &lease, "renew", json!({"tll": "5m"}))
        .await
        .fails(400, "INVALID_PARAMETER");

    vault.store("once", "v", json!({"renewable": false})).await;
    let lease = take(&vault, "once").await;
    assert_eq!(lease["renewable"], false);
    act(&vault, &lease, "renew", json!({"ttl": "1m"}))
        .await
        .fails(409, "INVALID_STATE");
    let path = format!("/v1/leases/{}", text(&lease, "id"));
    let seen = vault.agent(GET, &path, None).await.data(200);
    assert_eq!(seen["expires_at"], lease["expires_at"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_lease_says_how_it_closed_and_never_reopens() {
    let vault = Vault::dev();
    vault.store("a", "v", json!({"max_leases": 4})).await;
    let released = take(&vault, "a").await;
    let revoked = take(&vault, "a").await;
    let expired = vault
        .lease(json!({"credential_name": "a", "ttl": "1s"}))
        .await;
    let done = act(&vault, &released, "release", json!({})).await.data(200);
    assert_eq!(
        (&done["state"], &done["closed_by"]),
        (&json!("released"), &json!("claude-code"))
    );
    let path = format!("/v1/leases/{}/revoke", text(&revoked, "id"));
    let body = json!({"reason": "seen in a log"});
    let done = vault.admin(POST, &path, Some(body)).await.data(200);
    assert_eq!(
        (&done["state"], &done["close_reason"]),
        (&json!("revoked"), &json!("seen in a log"))
    );
    tokio::time::sleep(PAST_ONE_SECOND).await;
    for (lease, code, state) in [
        (&released, "LEASE_RELEASED", "released"),
        (&revoked, "LEASE_REVOKED", "revoked"),
        (&expired, "LEASE_EXPIRED", "expired"),
    ] {
        vault.redeem(text(lease, "handle")).await.fails(410, code);
        act(&vault, lease, "renew", json!({"ttl": "1h"}))
            .await
            .fails(410, code);
        act(&vault, lease, "release", json!({}))
            .await
            .fails(410, code);
        let at = format!("/v1/leases/{}", text(lease, "id"));
        vault
            .admin(POST, &format!("{at}/revoke"), Some(json!({})))
            .await
            .fails(410, code);
        let seen = vault.agent(GET, &at, None).await.data(200);
        assert_eq!(seen["state"], state);
        assert!(millis(&seen["closed_at"]) >= millis(&seen["issued_at"]));
    }
    assert_eq!(shown(&vault, "a").await["active_leases"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_events_of_a_lease_tell_its_whole_story_in_order() {
    let vault = Vault::dev();
    vault.store("a", "v", json!({})).await;
    let lease = vault
        .lease(json!({"credential_name": "a", "purpose": "tell"}))
        .await;
    take(&vault, "a").await;
    vault.redeem(text(&lease, "handle")).await.data(200);
    act(&vault, &lease, "renew", json!({"ttl": "5m"}))
        .await
        .data(200);
    act(&vault, &lease, "release", json!({})).await.data(200);
    vault
        .redeem(text(&lease, "handle"))
        .await
        .fails(410, "LEASE_RELEASED");
    let at = format!("/v1/leases/{}/events", text(&lease, "id"));
    let answer = vault.agent(GET, &at, None).await;
    assert!(!answer.text.contains(text(&lease, "handle")));
    let events = answer.data(200);
    let events = events.as_array().unwrap();
    let names: Vec<_> = events.iter().map(|event| text(event, "event")).collect();
    assert_eq!(
        names,
        [
            "lease.issued",
            "lease.redeemed",
            "lease.renewed",
            "lease.released",
            "lease.refused"
        ]
    );
    assert!(events.iter().all(|event| event["lease_id"] == lease["id"]));
    assert_eq!(events[0]["purpose"], "tell");
    assert_eq!(
        (&events[4]["outcome"], &events[4]["code"]),
        (&json!("refused"), &json!("LEASE_RELEASED"))
    );
    let page = vault
        .agent(GET, &format!("{at}?limit=2&sort=-time"), None)
        .await;
    assert_eq!(
        (&page.body["page"]["total"], &page.body["data"][0]["event"]),
        (&json!(5), &json!("lease.refused"))
    );
    let missing = "/v1/leases/lse_0199a1b2c3d47e8f9a0b1c2d3e4f5a6b/events";
    vault
        .agent(GET, missing, None)
        .await
        .fails(404, "NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn bulk_revocation_ends_what_matches_and_nothing_else() {
    let vault = Vault::dev();
    let revoke = |body| vault.admin(POST, "/v1/leases/revoke", Some(body));
    for (body, code) in [
        (json!({}), "MISSING_PARAMETER"),
        (json!({"filter": {}}), "MISSING_PARAMETER"),
        (
            json!({"filter": {"credential_name": null}}),
            "MISSING_PARAMETER",
        ),
        (json!({"filter": {}, "all": false}), "MISSING_PARAMETER"),
        (
            json!({"filter": {"credential_name": "a"}, "all": true}),
            "INVALID_PARAMETER",
        ),
        (json!({"filter": {"credential": "a"}}), "INVALID_PARAMETER"),
        // Nobody is named so: an answer of no leases would look like a stop.
        (
            json!({"filter": {"identity": "agent/claude-code"}}),
            "INVALID_PARAMETER",
        ),
        (json!({"filter": ["a"]}), "INVALID_PARAMETER"),
        (
            json!({"filter": {"credential_name": "a"}, "all": "yes"}),
            "INVALID_PARAMETER",
        ),
    ] {
        revoke(body).await.fails(400, code);
    }
    let forbidden = vault
        .agent(POST, "/v1/leases/revoke", Some(json!({"all": true})))
        .await;
    forbidden.fails(403, "INSUFFICIENT_PERMISSIONS");
    for name in ["a", "b"] {
        vault.store(name, &format!("{name}-1"), json!({})).await;
    }
    for (filter, expected) in [
        (json!({"filter": {"credential_name": "a"}}), 3),
        (
            json!({"filter": {"credential_name": "a", "session_id": "s-1"}}),
            1,
        ),
        (json!({"filter": {"credential_name": "a", "version": 1}}), 3),
        (json!({"filter": {"identity": "claude-code"}}), 3),
        (json!({"filter": {"session_id": "s-1"}}), 2),
        (json!({"filter": {"credential_name": "nothing"}}), 0),
        (json!({"filter": {"identity": "nobody"}}), 0),
        (json!({"all": true}), 4),
    ] {
        // Two of `a` and one of `b` for the agent, one of `a` for the administrator.
        let session =
            |name: &str| json!({"credential_name": name, "identity": {"session_id": "s-1"}});
        vault.lease(session("a")).await;
        take(&vault, "a").await;
        vault.lease(session("b")).await;
        let own = json!({"credential_name": "a"});
        vault.admin(POST, "/v1/leases", Some(own)).await.data(201);
        let done = revoke(filter.clone()).await.data(200);
        assert_eq!(done["revoked_leases"], expected, "{filter}");
        let open = vault.admin(GET, "/v1/leases?state=active", None).await;
        assert_eq!(open.body["page"]["total"], 4 - expected, "{filter}");
        let rest = revoke(json!({"all": true, "reason": "next"}))
            .await
            .data(200);
        assert_eq!(rest["revoked_leases"], 4 - expected);
    }
    assert_eq!(
        revoke(json!({"all": true})).await.data(200)["revoked_leases"],
        0
    );
}
