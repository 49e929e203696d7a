//! What is told of keys: a test of one, and the list of all.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_test_says_whether_a_key_is_let_in_and_what_it_may() {
    let vault = Vault::dev();
    let key = agents(&vault, "a").await;
    let body = json!({"action": "lease:create", "resource": "credential/x"});
    let found = done(&vault, &key, "test", body.clone()).await.data(200);
    assert_eq!(found["authenticates"], true);
    assert_eq!(
        found["permission"],
        json!({"action": "lease:create", "resource": "credential/x", "allowed": true,
            "decided_by": "role:agent", "missing_scope": null, "reason": null})
    );
    let denied = json!({"action": "credential:delete", "resource": "credential/x"});
    let found = done(&vault, &key, "test", denied).await.data(200);
    assert_eq!(found["permission"]["allowed"], false);
    assert_eq!(found["permission"]["missing_scope"], "credential:delete");
    assert!(found["permission"]["reason"].is_string());
    let found = done(&vault, &key, "test", json!({})).await.data(200);
    assert!(found["permission"].is_null());
    // A test is no use and no denial.
    let shown = shown(&vault, &key).await;
    assert!(shown["last_used_at"].is_null());
    let denials = vault
        .admin(GET, "/v1/audit?event=authz.denied", None)
        .await
        .data(200);
    assert_eq!(denials, json!([]));
    done(&vault, &key, "pause", json!({})).await.data(200);
    let found = done(&vault, &key, "test", body).await.data(200);
    assert_eq!(
        (
            &found["authenticates"],
            &found["code"],
            &found["permission"]
        ),
        (&json!(false), &json!("KEY_PAUSED"), &json!(null))
    );
    for body in [
        json!({"action": "lease:steal"}),
        json!({"resource": "vault"}),
        json!({"action": "lease:create", "resource": "credential"}),
        json!({"action": "lease:create", "resource": "planet/mars"}),
        json!({"action": "lease:create", "resource": "identity/agent"}),
    ] {
        assert_eq!(done(&vault, &key, "test", body).await.status, 400);
    }
    // What is never done to such a thing has no answer.
    for (action, resource, possible) in [
        ("lease:create", None, "`credential/…`, not to `workspace`"),
        (
            "lease:renew",
            Some("credential/x"),
            "`lease/…`, not to `credential/…`",
        ),
        (
            "key:read",
            Some("vault"),
            "`workspace` or `api-key/…`, not to `vault`",
        ),
    ] {
        let body = json!({"action": action, "resource": resource});
        let refused = done(&vault, &key, "test", body).await;
        let refused = refused.fails(400, "INVALID_PARAMETER");
        assert_eq!(refused["details"], json!({"field": "resource"}));
        let told = format!("`{action}` is done to {possible}");
        assert_eq!(refused["message"], told);
        let asked = json!({"action": action, "resource": resource.unwrap_or("workspace")});
        let refused = vault.admin(POST, "/v1/auth/check", Some(asked)).await;
        assert_eq!(refused.fails(400, "INVALID_PARAMETER")["message"], told);
    }
    done(&vault, &key, "resume", json!({})).await.data(200);
    let foreign =
        json!({"action": "lease:read", "resource": format!("lease/lse_{}", "0".repeat(32))});
    done(&vault, &key, "test", foreign)
        .await
        .fails(404, "NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_filtered_sorted_and_paged() {
    let vault = Vault::dev();
    let mut ids = Vec::new();
    for (name, lifetime) in [("b", json!("2d")), ("a", json!("1d")), ("c", json!(null))] {
        let body = json!({"name": name, "identity": {"name": "claude-code"}, "role": "agent", "expires_in": lifetime});
        ids.push(text(&make(&vault, body).await, "id").to_owned());
    }
    let [b, a, c] = &ids[..] else { panic!() };
    assert_eq!(listed(&vault, "name=b").await, [b.as_str()]);
    assert_eq!(
        listed(&vault, "identity=claude-code&sort=name&limit=1").await,
        [a.as_str()]
    );
    let by_expiry = listed(&vault, "identity=claude-code&sort=expires_at").await;
    assert_eq!(by_expiry[..3], [a.clone(), b.clone(), by_expiry[2].clone()]);
    assert!(by_expiry[2..].contains(c));
    assert_eq!(listed(&vault, "role=owner").await.len(), 1);
    assert_eq!(
        listed(&vault, "sort=-created_at&limit=1").await,
        [c.as_str()]
    );
    let mut cursor = String::new();
    let mut seen = Vec::new();
    loop {
        let path = format!("/v1/api-keys?sort=created_at&limit=2{cursor}");
        let page = vault.admin(GET, &path, None).await;
        assert_eq!(page.body["page"]["total"], 5);
        for key in page.body["data"].as_array().unwrap() {
            seen.push(text(key, "id").to_owned());
        }
        match page.body["page"]["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!((seen.len(), &seen[2..]), (5, &ids[..]));
    // Stale: never used, or not for so long.
    let value = {
        let path = format!("/v1/api-keys/{a}/rotate");
        vault.admin(POST, &path, None).await.data(200)
    };
    whoami(&vault, text(&value, "key")).await.data(200);
    let stale = listed(&vault, "unused_for=30d").await;
    assert!(
        stale.contains(b) && stale.contains(c) && !stale.contains(a),
        "{stale:?}"
    );
    assert_eq!(listed(&vault, "unused_for=1ms&name=a").await, [a.as_str()]);
    assert_eq!(
        listed(&vault, "sort=-last_used_at&name=a").await,
        [a.as_str()]
    );
}
