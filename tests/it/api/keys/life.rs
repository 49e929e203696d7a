//! From its making to its end.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_shown_once_and_proves_whom_it_was_made_for() {
    let vault = Vault::dev();
    let body = json!({"name": "nightly", "description": "builds", "identity": {"type": "agent", "name": "claude-code"},
        "scopes": ["lease:create", "lease:renew"], "expires_in": "90d", "rate_limit": "starter"});
    let made = make(&vault, body).await;
    let key = text(&made, "key");
    assert!(key.len() == 76 && key.starts_with("lhk_"));
    let expected = json!({
        "name": "nightly", "description": "builds", "workspace": "default", "role": null,
        "scopes": ["lease:create", "lease:renew"], "state": "active", "rate_limit": "starter",
        "requests_per_minute": 500, "created_by": "admin", "last_rotated_at": null,
        "previous_valid_until": null, "last_used_at": null,
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&made[field], value, "{field}");
    }
    assert_eq!(made["identity"]["type"], "agent");
    assert_eq!(made["identity"]["name"], "claude-code");
    let lived = millis(&made["expires_at"]) - millis(&made["created_at"]);
    assert_eq!(lived, 90 * 86_400_000);

    let who = whoami(&vault, key).await;
    assert_eq!(who.headers["ratelimit-limit"], "500");
    let who = who.data(200);
    assert_eq!(who["identity"]["name"], "claude-code");
    assert_eq!(who["key"]["name"], "nightly");
    assert_eq!(who["scopes"], json!(["lease:create", "lease:renew"]));

    let again = vault
        .admin(GET, &format!("/v1/api-keys/{}", text(&made, "id")), None)
        .await;
    assert!(!again.text.contains("lhk_"), "{}", again.text);
    assert!(again.data(200)["last_used_at"].is_string());
    let all = vault.admin(GET, "/v1/api-keys", None).await;
    assert!(!all.text.contains("lhk_"), "{}", all.text);
    // The administrator's, the agent's, and this one.
    assert_eq!(all.body["page"]["total"], 3);
    // The default is the caller's own identity, for ever, at the server's rate.
    let own = make(&vault, json!({"name": "mine", "role": "viewer"})).await;
    assert_eq!(own["identity"]["name"], "admin");
    assert_eq!(own["role"], "viewer");
    assert!(own["expires_at"].is_null() && own["rate_limit"].is_null());
    let wide =
        json!({"name": "wide", "role": "viewer", "workspace": "*", "rate_limit": "unlimited"});
    let wide = make(&vault, wide).await;
    assert_eq!(
        (&wide["workspace"], &wide["rate_limit"]),
        (&json!("*"), &json!("unlimited"))
    );
    let number = json!({"name": "n", "role": "viewer", "organisation": true, "rate_limit": 250});
    let number = make(&vault, number).await;
    assert_eq!(
        (&number["workspace"], &number["rate_limit"]),
        (&json!("*"), &json!(250))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_a_key_that_makes_no_sense_names_its_field() {
    let vault = Vault::dev();
    for (body, field) in [
        (json!({"role": "viewer"}), "name"),
        (json!({"name": "", "role": "viewer"}), "name"),
        (json!({"name": "x".repeat(129), "role": "viewer"}), "name"),
        (json!({"name": "k"}), "scopes"),
        (json!({"name": "k", "scopes": []}), "scopes"),
        (
            json!({"name": "k", "scopes": ["lease:*", "lease"]}),
            "scopes[1]",
        ),
        (json!({"name": "k", "scopes": ["*"]}), "scopes[0]"),
        (json!({"name": "k", "role": "king"}), "role"),
        (
            json!({"name": "k", "role": "viewer", "scopes": ["lease:read"]}),
            "scopes",
        ),
        (
            json!({"name": "k", "role": "viewer", "expires_in": "0s"}),
            "expires_in",
        ),
        (
            json!({"name": "k", "role": "viewer", "expires_in": "soon"}),
            "expires_in",
        ),
        (
            json!({"name": "k", "role": "viewer", "rate_limit": "golden"}),
            "rate_limit",
        ),
        (
            json!({"name": "k", "role": "viewer", "rate_limit": 0}),
            "rate_limit",
        ),
        (
            json!({"name": "k", "role": "viewer", "rate_limit": 1.5}),
            "rate_limit",
        ),
        (
            json!({"name": "k", "role": "viewer", "workspace": "other"}),
            "workspace",
        ),
        (
            json!({"name": "k", "role": "viewer", "workspace": "default", "organisation": true}),
            "workspace",
        ),
        (
            json!({"name": "k", "role": "viewer", "identity": {"name": "nobody"}}),
            "identity.name",
        ),
        (
            json!({"name": "k", "role": "viewer", "identity": {"type": "agent"}}),
            "identity.name",
        ),
        (
            json!({"name": "k", "role": "viewer", "identity": "admin"}),
            "identity",
        ),
        (
            json!({"name": "k", "role": "viewer", "key": "lhk_mine"}),
            "key",
        ),
    ] {
        let answer = vault.admin(POST, "/v1/api-keys", Some(body.clone())).await;
        assert_eq!(answer.status, 400, "{body} {}", answer.text);
        assert_eq!(
            answer.body["details"]["field"], field,
            "{body} {}",
            answer.text
        );
    }
    assert_eq!(listed(&vault, "").await.len(), 2);
    for path in ["/v1/api-keys/none", "/v1/api-keys/lse_0"] {
        vault
            .admin(GET, path, None)
            .await
            .fails(400, "INVALID_PARAMETER");
    }
    let missing = format!("/v1/api-keys/key_{}", "0".repeat(32));
    vault
        .admin(GET, &missing, None)
        .await
        .fails(404, "NOT_FOUND");
    for query in [
        "state=asleep",
        "role=king",
        "unused_for=ever",
        "sort=scopes",
        "limit=0",
        "x=1",
    ] {
        let path = format!("/v1/api-keys?{query}");
        vault
            .admin(GET, &path, None)
            .await
            .fails(400, "INVALID_PARAMETER");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_of_a_key_is_told_to_its_holder_alone() {
    let vault = Vault::dev();
    let soon = json!({"name": "short", "identity": {"name": "claude-code"}, "role": "agent", "expires_in": "1ms"});
    let expired = make(&vault, soon).await;
    let paused = agents(&vault, "paused").await;
    done(&vault, &paused, "pause", json!({})).await.data(200);
    let deleted = agents(&vault, "deleted").await;
    let path = format!("/v1/api-keys/{}", text(&deleted, "id"));
    let gone = vault.admin(DELETE, &path, None).await.data(200);
    assert_eq!(gone, json!({"id": deleted["id"], "deleted": true}));
    let rotated = agents(&vault, "rotated").await;
    done(&vault, &rotated, "rotate", json!({})).await.data(200);

    let last = |key: &Value, with: char| {
        let key = text(key, "key");
        format!("{}{with}", &key[..75])
    };
    // Another's secret behind a key's id: the checksum is right, and the key is not.
    let (one, other) = (
        text(&paused, "key").to_owned(),
        text(&expired, "key").to_owned(),
    );
    let table = [
        (
            "a paused key",
            one.clone(),
            "KEY_PAUSED",
            "the API key is paused",
        ),
        (
            "an expired key",
            other.clone(),
            "KEY_EXPIRED",
            "the API key has expired",
        ),
        (
            "a deleted key",
            text(&deleted, "key").to_owned(),
            "UNAUTHORIZED",
            "the API key is not valid",
        ),
        (
            "a rotated value",
            text(&rotated, "key").to_owned(),
            "UNAUTHORIZED",
            "the API key is not valid",
        ),
        (
            "a typo of a paused key",
            last(&paused, '~'),
            "UNAUTHORIZED",
            "the API key is mistyped",
        ),
        (
            "a typo of a deleted key",
            last(&deleted, '~'),
            "UNAUTHORIZED",
            "the API key is mistyped",
        ),
        (
            "half of a key",
            one[..40].to_owned(),
            "UNAUTHORIZED",
            "the API key is mistyped",
        ),
        (
            "a handle",
            "lhh_0".to_owned(),
            "UNAUTHORIZED",
            "the API key is not valid",
        ),
        (
            "no key",
            String::new(),
            "UNAUTHORIZED",
            "an API key is required: `Authorization: Bearer lhk_…`",
        ),
    ];
    for (what, key, code, message) in table {
        let body = whoami(&vault, &key).await.fails(401, code);
        assert_eq!(body["message"], message, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_holds_at_once_and_across_a_restart_until_it_is_lifted() {
    let vault = Vault::dev();
    let key = agents(&vault, "a").await;
    let value = text(&key, "key").to_owned();
    whoami(&vault, &value).await.data(200);
    let paused = done(&vault, &key, "pause", json!({})).await.data(200);
    assert_eq!(paused["state"], "paused");
    whoami(&vault, &value).await.fails(401, "KEY_PAUSED");
    // Twice is once.
    done(&vault, &key, "pause", json!({})).await.data(200);
    let vault = vault.kill_and_reopen(&[]);
    whoami(&vault, &value).await.fails(401, "KEY_PAUSED");
    assert_eq!(listed(&vault, "state=paused").await, [text(&key, "id")]);
    done(&vault, &key, "resume", json!({})).await.data(200);
    whoami(&vault, &value).await.data(200);
    let events = vault
        .admin(GET, "/v1/audit?event=key.paused", None)
        .await
        .data(200);
    assert_eq!(events.as_array().unwrap().len(), 1, "{events}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_stops_the_old_value_at_once_or_after_its_grace() {
    let vault = Vault::dev();
    let key = agents(&vault, "a").await;
    let first = text(&key, "key").to_owned();
    whoami(&vault, &first).await.data(200);
    let second = done(&vault, &key, "rotate", json!({})).await.data(200);
    assert_eq!((&second["id"], &second["name"]), (&key["id"], &key["name"]));
    assert!(second["last_rotated_at"].is_string() && second["previous_valid_until"].is_null());
    whoami(&vault, &first).await.fails(401, "UNAUTHORIZED");
    whoami(&vault, text(&second, "key")).await.data(200);

    let graced = json!({"grace": "3s"});
    let third = done(&vault, &key, "rotate", graced).await.data(200);
    let until = millis(&third["previous_valid_until"]);
    assert_eq!(until - millis(&third["last_rotated_at"]), 3_000);
    // Both prove the key, across a restart too, until the grace ends; an older one never again.
    let vault = vault.kill_and_reopen(&[]);
    whoami(&vault, text(&third, "key")).await.data(200);
    let now = || {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.unwrap().as_millis()
    };
    loop {
        let asked = now();
        let answer = whoami(&vault, text(&second, "key")).await;
        // Clocks that are told apart by some milliseconds do not decide it.
        if now() + 1_000 < until {
            answer.data(200);
        } else if asked >= until + 1_000 {
            answer.fails(401, "UNAUTHORIZED");
            break;
        }
        whoami(&vault, &first).await.fails(401, "UNAUTHORIZED");
    }
    assert!(shown(&vault, &key).await["previous_valid_until"].is_null());
    whoami(&vault, text(&third, "key")).await.data(200);
    for body in [
        json!({"grace": "8d"}),
        json!({"grace": "0s"}),
        json!({"expires_in": "0s"}),
        json!({"x": 1}),
    ] {
        done(&vault, &key, "rotate", body)
            .await
            .fails(400, "INVALID_PARAMETER");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_revives_an_expired_key_with_its_old_lifetime() {
    let vault = Vault::dev();
    let body = json!({"name": "short", "identity": {"name": "claude-code"}, "role": "agent", "expires_in": "1s"});
    let key = make(&vault, body).await;
    let value = text(&key, "key").to_owned();
    let vault = vault.restart(&[]);
    while whoami(&vault, &value).await.status == 200 {}
    whoami(&vault, &value).await.fails(401, "KEY_EXPIRED");
    assert_eq!(shown(&vault, &key).await["state"], "expired");
    assert_eq!(listed(&vault, "state=expired").await, [text(&key, "id")]);
    // The grace of an expired value is over before it begins.
    let revived = done(&vault, &key, "rotate", json!({"grace": "1h"}))
        .await
        .data(200);
    assert_eq!(revived["state"], "active");
    assert!(revived["previous_valid_until"].is_null());
    let lives = millis(&revived["expires_at"]) - millis(&revived["last_rotated_at"]);
    assert_eq!(lives, 1_000);
    whoami(&vault, &value).await.fails(401, "UNAUTHORIZED");
    let longer = done(&vault, &key, "rotate", json!({"expires_in": "90d"}))
        .await
        .data(200);
    whoami(&vault, text(&longer, "key")).await.data(200);
    let for_ever = done(&vault, &key, "rotate", json!({"expires_in": null}))
        .await
        .data(200);
    assert!(for_ever["expires_at"].is_null());
    let again = done(&vault, &key, "rotate", json!({})).await.data(200);
    assert!(again["expires_at"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_shows_before_and_after_in_history_and_holds_at_once() {
    let vault = Vault::dev();
    let key = agents(&vault, "a").await;
    let value = text(&key, "key").to_owned();
    whoami(&vault, &value).await.data(200);
    let body =
        json!({"name": "b", "description": "d", "scopes": ["handle:redeem"], "rate_limit": "free"});
    let changed = patch(&vault, &key, body).await.data(200);
    assert_eq!(
        (&changed["name"], &changed["role"]),
        (&json!("b"), &json!(null))
    );
    let who = whoami(&vault, &value).await;
    assert_eq!(who.headers["ratelimit-limit"], "100");
    assert_eq!(who.data(200)["scopes"], json!(["handle:redeem"]));
    let denied = vault
        .request(
            POST,
            "/v1/leases",
            &value,
            Some(json!({"credential_name": "x"})),
            &[],
        )
        .await;
    denied.fails(403, "INSUFFICIENT_PERMISSIONS");
    let back = json!({"role": "agent", "description": null, "rate_limit": null});
    let back = patch(&vault, &key, back).await.data(200);
    assert_eq!(
        (&back["role"], &back["rate_limit"]),
        (&json!("agent"), &json!(null))
    );
    assert!(back["description"].is_null());
    patch(&vault, &key, json!({"expires_in": "1y"}))
        .await
        .fails(400, "INVALID_PARAMETER");
    let events = vault
        .admin(GET, "/v1/audit?event=key.updated&sort=time", None)
        .await
        .data(200);
    let change = &events[0]["changes"];
    let of = |field: &str| {
        let all = change.as_array().unwrap();
        all.iter()
            .find(|change| change["field"] == field)
            .unwrap()
            .clone()
    };
    assert_eq!(
        (&of("name")["before"], &of("name")["after"]),
        (&json!("a"), &json!("b"))
    );
    assert_eq!(of("scopes")["after"], "handle:redeem");
    assert_eq!(of("rate_limit")["after"], "100 a minute");
    for event in [
        "key.created",
        "key.rotated",
        "key.paused",
        "key.resumed",
        "key.deleted",
    ] {
        match event {
            "key.rotated" => drop(done(&vault, &key, "rotate", json!({})).await.data(200)),
            "key.paused" => drop(done(&vault, &key, "pause", json!({})).await.data(200)),
            "key.resumed" => drop(done(&vault, &key, "resume", json!({})).await.data(200)),
            "key.deleted" => {
                let path = format!("/v1/api-keys/{}", text(&key, "id"));
                vault.admin(DELETE, &path, None).await.data(200);
            }
            _ => {}
        }
        let path = format!("/v1/audit?event={event}&limit=1");
        let events = vault.admin(GET, &path, None).await.data(200);
        assert_eq!(events[0]["object"], key["id"], "{event} {events}");
        assert_eq!(events[0]["actor"]["name"], "admin", "{event}");
    }
}
