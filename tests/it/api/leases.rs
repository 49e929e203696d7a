//! Asking for leases: terms, refusals, whom a lease is for and who sees it.

use serde_json::{Value, json};

use super::{GET, POST, ask, millis, shown, take, text};
use crate::support::Vault;

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_gets_the_requested_ttl_or_a_default_and_never_more_than_the_maximum() {
    let vault = Vault::dev();
    vault.store("plain", "v", json!({})).await;
    let policy = json!({"default_lease_ttl": "30m", "max_lease_ttl": "4h"});
    vault.store("bounded", "v", policy).await;
    for (name, ttl, seconds, capped, max) in [
        ("plain", None, 3600, false, 32 * 86_400),
        ("bounded", None, 1800, false, 4 * 3600),
        ("bounded", Some("90s"), 90, false, 4 * 3600),
        ("bounded", Some("4h"), 4 * 3600, false, 4 * 3600),
        ("bounded", Some("4h 1s"), 4 * 3600, true, 4 * 3600),
        ("plain", Some("1000y"), 32 * 86_400, true, 32 * 86_400),
    ] {
        let mut body = json!({"credential_name": name});
        if let Some(ttl) = ttl {
            body["ttl"] = json!(ttl);
        }
        let lease = vault.lease(body).await;
        let issued = millis(&lease["issued_at"]);
        assert_eq!(millis(&lease["expires_at"]) - issued, seconds * 1000);
        assert_eq!(millis(&lease["max_expires_at"]) - issued, max * 1000);
        assert_eq!(lease["ttl_capped"], capped, "{name} {ttl:?}");
        let granted = humantime::parse_duration(text(&lease, "ttl")).unwrap();
        assert_eq!(granted.as_millis(), seconds * 1000);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_request_for_a_lease_is_refused_by_field_and_takes_no_place() {
    let vault = Vault::dev();
    let policy = json!({"max_leases": 1, "delivery": ["reveal"]});
    vault.store("one", "v", policy).await;
    for ttl in [
        json!("0s"),
        json!("0"),
        json!("-5m"),
        json!("forever"),
        json!("10000000000000y"),
        json!(""),
        json!("30"),
        json!("5 m m"),
        json!("٣m"),
        json!("1h\u{0}"),
        json!(1800),
        json!(true),
        json!(["30m"]),
        json!({"secs": 5}),
    ] {
        let answer = ask(&vault, json!({"credential_name": "one", "ttl": ttl})).await;
        let failure = answer.fails(400, "INVALID_PARAMETER");
        assert_eq!(failure["details"]["field"], "ttl", "{ttl} {failure}");
    }
    for (body, code, field) in [
        (json!({}), "MISSING_PARAMETER", "credential_name"),
        (
            json!({"credential_name": "A"}),
            "INVALID_PARAMETER",
            "credential_name",
        ),
        (
            json!({"credential_name": "one", "delivery": "post"}),
            "INVALID_PARAMETER",
            "delivery",
        ),
        (
            json!({"credential_name": "one", "delivery": "broker"}),
            "INVALID_PARAMETER",
            "delivery",
        ),
        (
            json!({"credential_name": "one", "reveal": "yes"}),
            "INVALID_PARAMETER",
            "reveal",
        ),
        (
            json!({"credential_name": "one", "value": "x"}),
            "INVALID_PARAMETER",
            "value",
        ),
        (
            json!({"credential_name": "one", "identity": {"nam": "x"}}),
            "INVALID_PARAMETER",
            "identity.nam",
        ),
        (
            json!({"credential_name": "one", "identity": []}),
            "INVALID_PARAMETER",
            "identity",
        ),
        (
            json!({"credential_name": "one", "purpose": "x".repeat(65_537)}),
            "INVALID_PARAMETER",
            "purpose",
        ),
        (
            json!({"credential_name": "one", "identity": {"session_id": "s".repeat(70_000)}}),
            "INVALID_PARAMETER",
            "identity.session_id",
        ),
    ] {
        let failure = ask(&vault, body).await.fails(400, code);
        assert_eq!(failure["details"]["field"], field, "{failure}");
    }
    ask(&vault, json!({"credential_name": "missing"}))
        .await
        .fails(404, "NOT_FOUND");
    assert_eq!(shown(&vault, "one").await["active_leases"], 0);
    take(&vault, "one").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_decides_on_purpose_and_delivery() {
    let vault = Vault::dev();
    vault
        .store("asked", "v", json!({"require_purpose": true}))
        .await;
    for body in [
        json!({"credential_name": "asked"}),
        json!({"credential_name": "asked", "purpose": null}),
        json!({"credential_name": "asked", "purpose": ""}),
        json!({"credential_name": "asked", "purpose": " \t "}),
    ] {
        let failure = ask(&vault, body).await.fails(400, "MISSING_PARAMETER");
        assert_eq!(failure["details"]["field"], "purpose");
    }
    let lease = vault
        .lease(json!({"credential_name": "asked", "purpose": "tidy up"}))
        .await;
    assert_eq!(lease["purpose"], "tidy up");

    vault
        .store(
            "first",
            "the-value",
            json!({"delivery": ["broker", "reveal"]}),
        )
        .await;
    let broker = take(&vault, "first").await;
    assert_eq!(broker["delivery"], "broker");
    assert!(
        broker["broker"]["base_url"].is_string() && broker["broker"]["environment"].is_object()
    );
    assert!(broker.get("value").is_none());
    let refused = vault.redeem(text(&broker, "handle")).await;
    assert!(
        !refused.text.contains("the-value") && refused.status == 403,
        "{}",
        refused.text
    );
    let shown_broker = json!({"credential_name": "first", "delivery": "broker", "reveal": true});
    ask(&vault, shown_broker)
        .await
        .fails(400, "INVALID_PARAMETER");

    let reveal = vault
        .lease(json!({"credential_name": "first", "delivery": "reveal"}))
        .await;
    assert!(reveal.get("value").is_none() && reveal.get("broker").is_none());
    assert_eq!(
        vault.redeem(text(&reveal, "handle")).await.data(200)["value"],
        "the-value"
    );
    let at_once = json!({"credential_name": "first", "delivery": "reveal", "reveal": true});
    assert_eq!(vault.lease(at_once).await["value"], "the-value");

    vault
        .store("brokered", "v", json!({"delivery": ["broker"]}))
        .await;
    let refused = ask(
        &vault,
        json!({"credential_name": "brokered", "delivery": "reveal"}),
    )
    .await;
    refused.fails(400, "INVALID_PARAMETER");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_credential_says_when_to_come_back_and_a_used_up_lease_says_so() {
    let vault = Vault::dev();
    vault
        .store(
            "full",
            "v",
            json!({"max_leases": 2, "default_lease_ttl": "20m"}),
        )
        .await;
    let first = take(&vault, "full").await;
    vault
        .lease(json!({"credential_name": "full", "ttl": "1h"}))
        .await;
    let failure = ask(&vault, json!({"credential_name": "full"}))
        .await
        .fails(409, "LEASE_LIMIT_REACHED");
    assert_eq!(
        millis(&failure["details"]["retry_at"]),
        millis(&first["expires_at"])
    );
    super::act(&vault, &first, "release", json!({}))
        .await
        .data(200);
    take(&vault, "full").await;

    vault.store("thrice", "v", json!({"max_uses": 2})).await;
    let lease = take(&vault, "thrice").await;
    assert_eq!((&lease["max_uses"], &lease["uses"]), (&json!(2), &json!(0)));
    let handle = text(&lease, "handle");
    for uses in 1..=2 {
        assert_eq!(vault.redeem(handle).await.data(200)["uses"], uses);
    }
    vault.redeem(handle).await.fails(429, "BUDGET_EXHAUSTED");
    let path = format!("/v1/leases/{}", text(&lease, "id"));
    let seen = vault.agent(GET, &path, None).await.data(200);
    assert_eq!(
        (&seen["uses"], &seen["state"]),
        (&json!(2), &json!("active"))
    );
    assert!(seen["last_used_at"].is_string() && seen.get("handle").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_the_callers_own_unless_the_caller_may_delegate() {
    let vault = Vault::dev();
    vault.store("shared", "v", json!({})).await;
    let own = json!({"credential_name": "shared", "identity": {"type": "agent", "name": "claude-code", "session_id": "s-1"}});
    let own = vault.lease(own).await;
    assert_eq!(
        own["identity"],
        json!({"type": "agent", "name": "claude-code", "session_id": "s-1"})
    );
    assert_eq!(own["requested_by"]["name"], "claude-code");

    let who = vault.admin(GET, "/v1/auth/whoami", None).await.data(200);
    let admin = &who["identity"];
    for (kind, name) in [
        (admin["type"].clone(), admin["name"].clone()),
        (json!("agent"), json!("nobody")),
        (json!("human"), json!("claude-code")),
    ] {
        let body = json!({"credential_name": "shared", "identity": {"type": kind, "name": name}});
        ask(&vault, body)
            .await
            .fails(403, "INSUFFICIENT_PERMISSIONS");
    }
    let body =
        json!({"credential_name": "shared", "identity": {"type": "agent", "name": "claude-code"}});
    let delegated = vault.admin(POST, "/v1/leases", Some(body)).await.data(201);
    assert_eq!(delegated["identity"]["name"], "claude-code");
    assert_eq!(delegated["requested_by"]["name"], admin["name"]);
    vault.redeem(text(&delegated, "handle")).await.data(200);
    let unknown =
        json!({"credential_name": "shared", "identity": {"type": "agent", "name": "nobody"}});
    let failure = vault
        .admin(POST, "/v1/leases", Some(unknown))
        .await
        .fails(400, "INVALID_PARAMETER");
    assert_eq!(failure["details"]["field"], "identity.name");

    // What belongs to the administrator, the agent neither sees nor touches.
    let foreign = vault
        .admin(
            POST,
            "/v1/leases",
            Some(json!({"credential_name": "shared"})),
        )
        .await
        .data(201);
    let at = format!("/v1/leases/{}", text(&foreign, "id"));
    vault
        .agent(GET, &at, None)
        .await
        .fails(403, "INSUFFICIENT_PERMISSIONS");
    vault
        .agent(GET, &format!("{at}/events"), None)
        .await
        .fails(403, "INSUFFICIENT_PERMISSIONS");
    for action in ["renew", "release", "revoke"] {
        let answer = vault
            .agent(POST, &format!("{at}/{action}"), Some(json!({})))
            .await;
        answer.fails(403, "INSUFFICIENT_PERMISSIONS");
    }
    vault
        .redeem(text(&foreign, "handle"))
        .await
        .fails(403, "INSUFFICIENT_PERMISSIONS");
    let listed = vault.agent(GET, "/v1/leases", None).await;
    assert_eq!(listed.body["page"]["total"], 2);
    assert!(
        !listed.text.contains(text(&foreign, "id")),
        "{}",
        listed.text
    );
    assert_eq!(
        vault.admin(GET, &at, None).await.data(200)["state"],
        "active"
    );
    assert_eq!(
        vault.admin(GET, "/v1/leases", None).await.body["page"]["total"],
        3
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_are_listed_by_every_filter() {
    let vault = Vault::dev();
    vault.store("a", "v1", json!({})).await;
    vault.store("b", "v", json!({})).await;
    let ours = json!({"credential_name": "a", "identity": {"session_id": "s-9"}});
    let first = vault.lease(ours).await;
    let body = json!({"new_value": "v2"});
    vault
        .admin(POST, "/v1/credentials/a/rotate", Some(body))
        .await
        .data(200);
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    let second = take(&vault, "a").await;
    let third = vault
        .admin(POST, "/v1/leases", Some(json!({"credential_name": "b"})))
        .await
        .data(201);
    super::act(&vault, &second, "release", json!({}))
        .await
        .data(200);
    let ids = |list: &[&Value]| -> Vec<String> {
        list.iter().map(|one| text(one, "id").to_owned()).collect()
    };
    let since = text(&second, "issued_at");
    let admin = text(&third["identity"], "name");
    for (query, expected) in [
        (
            "sort=created_at".to_owned(),
            ids(&[&first, &second, &third]),
        ),
        (
            "sort=-created_at".to_owned(),
            ids(&[&third, &second, &first]),
        ),
        (
            "credential_name=a&sort=created_at".to_owned(),
            ids(&[&first, &second]),
        ),
        (
            "identity=claude-code&sort=created_at".to_owned(),
            ids(&[&first, &second]),
        ),
        (format!("identity={admin}"), ids(&[&third])),
        ("session_id=s-9".to_owned(), ids(&[&first])),
        ("session_id=s-8".to_owned(), vec![]),
        ("state=released".to_owned(), ids(&[&second])),
        (
            "state=active&sort=created_at".to_owned(),
            ids(&[&first, &third]),
        ),
        ("credential_name=a&version=2".to_owned(), ids(&[&second])),
        ("credential_name=a&version=1".to_owned(), ids(&[&first])),
        (
            format!("since={since}&sort=created_at"),
            ids(&[&second, &third]),
        ),
        (format!("until={since}"), ids(&[&first])),
        (
            "state=active&credential_name=a&session_id=s-9".to_owned(),
            ids(&[&first]),
        ),
    ] {
        let found = vault
            .admin(GET, &format!("/v1/leases?{query}"), None)
            .await
            .data(200);
        let found: Vec<String> = found
            .as_array()
            .unwrap()
            .iter()
            .map(|one| text(one, "id").to_owned())
            .collect();
        assert_eq!(found, expected, "{query}");
    }
    for query in [
        "state=open",
        "version=one",
        "version=-1",
        "since=yesterday",
        "until=1",
        "handle=x",
        "sort=purpose",
    ] {
        vault
            .admin(GET, &format!("/v1/leases?{query}"), None)
            .await
            .fails(400, "INVALID_PARAMETER");
    }
}
