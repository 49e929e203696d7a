//! Canaries: they look real, and touching one raises the alarm.

use super::*;

async fn alarms(vault: &Vault) -> u64 {
    let metrics = vault.request(GET, "/metrics", "", None, &[]).await.text;
    metrics
        .lines()
        .find_map(|line| line.strip_prefix("leasehold_canary_alarms_total "))
        .map_or(0, |count| count.parse().unwrap())
}

async fn history(vault: &Vault, query: &str) -> Value {
    let path = format!("/v1/audit?{query}");
    vault.admin(GET, &path, None).await.data(200)
}

async fn canary(vault: &Vault, name: &str, policy: Value) -> Value {
    let body = json!({"name": name, "type": "api-key", "value": "sk-bait", "policy": policy, "canary": true});
    vault
        .admin(POST, "/v1/credentials", Some(body))
        .await
        .data(201)
}

fn fields(value: &Value) -> Vec<&String> {
    value.as_object().unwrap().keys().collect()
}

// INVARIANT (canary-hidden)
#[tokio::test(flavor = "multi_thread")]
async fn a_canary_looks_real_to_whoever_may_not_change_it() {
    let vault = Vault::dev();
    let agent = Agent::new(&vault, "alice").await;
    let made = canary(&vault, "bait", json!({"canary_suspends": false})).await;
    assert_eq!(made["canary"], true);
    let real = vault.store("real", "v", json!({})).await;
    assert_eq!(real["canary"], false);
    let (mine, other) = (
        agent.leases(json!({"credential_name": "bait"})).await,
        agent.leases(json!({"credential_name": "real"})).await,
    );
    assert_eq!(fields(&mine), fields(&other));
    let (mine_read, other_read) = (agent.redeems(&mine).await, agent.redeems(&other).await);
    assert_eq!(fields(&mine_read.data(200)), fields(&other_read.data(200)));
    // Its own history of the lease does not tell either.
    let path = format!("/v1/leases/{}/events", text(&mine, "id"));
    let events = vault.request(GET, &path, &agent.key, None, &[]).await;
    assert_eq!(events.body["page"]["total"], 2, "{}", events.text);
    assert!(!events.text.contains("canary"), "{}", events.text);

    let body = json!({"name": "viewer", "role": "viewer"});
    let made = vault
        .admin(POST, "/v1/api-keys", Some(body))
        .await
        .data(201);
    let viewer = text(&made, "key");
    for path in [
        "/v1/credentials/bait",
        "/v1/credentials",
        "/v1/credentials/bait/versions",
        "/v1/leases",
        "/v1/reports/rotation-due",
        "/v1/reports/stale?kind=credential&unused_for=1ms",
    ] {
        let answer = vault.request(GET, path, viewer, None, &[]).await;
        assert!(answer.status.is_success(), "{}", answer.text);
        assert!(!answer.text.contains("canary"), "{path}: {}", answer.text);
    }
    let seen = async |name: &str| {
        let path = format!("/v1/credentials/{name}");
        vault.request(GET, &path, viewer, None, &[]).await.data(200)
    };
    assert_eq!(fields(&seen("bait").await), fields(&seen("real").await));
    assert_eq!(
        fields(&seen("bait").await["policy"]),
        fields(&seen("real").await["policy"])
    );
}

// INVARIANT (canary-hidden): history tells, and nothing else does.
#[tokio::test(flavor = "multi_thread")]
async fn an_auditor_learns_from_history_alone_what_is_a_canary() {
    let vault = Vault::dev();
    canary(&vault, "bait", json!({"canary_suspends": false})).await;
    vault.store("real", "v", json!({})).await;
    let body = json!({"name": "auditor", "role": "auditor"});
    let made = vault.admin(POST, "/v1/api-keys", Some(body)).await;
    let made = made.data(201);
    let auditor = text(&made, "key");
    let asked = async |path: &str| vault.request(GET, path, auditor, None, &[]).await;
    for path in [
        "/v1/credentials/bait",
        "/v1/credentials",
        "/v1/credentials/bait/versions",
        "/v1/leases",
        "/v1/reports/rotation-due",
        "/v1/reports/stale?kind=credential&unused_for=1ms",
    ] {
        let answer = asked(path).await;
        let known = [200, 403].contains(&answer.status.as_u16());
        assert!(known, "{path}: {}", answer.text);
        assert!(!answer.text.contains("canary"), "{path}: {}", answer.text);
    }
    let created = asked("/v1/audit?event=credential.created").await.data(200);
    let told: Vec<_> = created
        .as_array()
        .unwrap()
        .iter()
        .filter(|record| record["changes"].to_string().contains("canary"))
        .map(|record| text(record, "credential_name"))
        .collect();
    assert_eq!(told, ["bait"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_and_a_redemption_of_a_canary_raise_the_alarm_in_their_own_commit() {
    let vault = Vault::dev();
    let agent = Agent::new(&vault, "alice").await;
    canary(&vault, "bait", json!({})).await;
    assert_eq!(alarms(&vault).await, 0);
    let body = json!({"credential_name": "bait", "purpose": "look around", "identity": {"session_id": "s-9"}});
    let lease = agent.leases(body).await;
    agent.redeems(&lease).await.data(200);
    assert_eq!(alarms(&vault).await, 2);
    let found = history(&vault, "event=canary.touched&sort=time").await;
    for (record, event, reason) in [
        (&found[0], "lease.issued", "a lease of it was issued"),
        (&found[1], "lease.redeemed", "its value was redeemed"),
    ] {
        assert_eq!(
            (&record["severity"], &record["reason"], &record["purpose"]),
            (&json!("high"), &json!(reason), &json!("look around"))
        );
        assert_eq!(
            (
                &record["actor"]["name"],
                &record["object"],
                &record["session_id"]
            ),
            (&json!("alice"), &lease["id"], &json!("s-9"))
        );
        // One commit numbers its records one after the other.
        let of = format!("event={event}&request_id={}", text(record, "request_id"));
        let beside = history(&vault, &of).await;
        assert_eq!(
            record["sequence"].as_u64().unwrap(),
            beside[0]["sequence"].as_u64().unwrap() + 1
        );
        assert_eq!(
            (&beside[0]["severity"], &beside[0]["time"]),
            (&json!("info"), &record["time"])
        );
    }
    let begun = std::time::Instant::now();
    let log = loop {
        let log = vault.log();
        if log.contains("canary.touched") || begun.elapsed().as_secs() > 60 {
            break log;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert!(
        log.contains("canary.touched") && log.contains("WARN"),
        "{log}"
    );
    assert!(
        !log.contains("look around") && !log.contains("bait"),
        "{log}"
    );
    // The agent goes on: nobody asked for its end.
    agent.redeems(&lease).await.data(200);

    let report = report(&vault, "exposure?credential_name=bait").await;
    assert_eq!(
        (
            &report["summary"]["canary_alarms"],
            &report["leases"][0]["canary_alarm"]
        ),
        (&json!(3), &json!(true))
    );
    // It is one no more.
    let patch = json!({"canary": false});
    vault
        .admin(PATCH, "/v1/credentials/bait", Some(patch))
        .await
        .data(200);
    agent.redeems(&lease).await.data(200);
    assert_eq!(alarms(&vault).await, 3);
    let changed = history(&vault, "event=credential.updated&credential_name=bait").await;
    assert_eq!(
        changed[0]["changes"][0],
        json!({"field": "canary", "before": "true", "after": "false"})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_touches_a_canary_is_stopped_before_the_answer_where_the_policy_says_so() {
    let vault = Vault::dev();
    let (alice, bob) = (
        Agent::new(&vault, "alice").await,
        Agent::new(&vault, "bob").await,
    );
    vault.store("real", "v", json!({})).await;
    canary(&vault, "bait", json!({"canary_suspends": true})).await;
    let real = alice.leases(json!({"credential_name": "real"})).await;
    let lease = alice
        .leases(json!({"credential_name": "bait", "reveal": true}))
        .await;
    // The answer looks real; it is the last one.
    assert_eq!(text(&lease, "value"), "sk-bait");
    alice.redeems(&real).await.fails(403, "IDENTITY_SUSPENDED");
    let shown = vault
        .admin(GET, "/v1/identities/agent/alice", None)
        .await
        .data(200);
    assert_eq!(
        (
            &shown["state"],
            &shown["suspension"]["by"],
            &shown["suspension"]["reason"]
        ),
        (
            &json!("suspended"),
            &Value::Null,
            &json!("it touched a canary")
        )
    );
    for lease in [&real, &lease] {
        let path = format!("/v1/leases/{}", text(lease, "id"));
        let now = vault.admin(GET, &path, None).await.data(200);
        assert_eq!(
            (&now["state"], &now["close_reason"]),
            (&json!("revoked"), &json!("the identity was suspended"))
        );
    }
    let stopped = history(&vault, "event=identity.suspended").await;
    assert_eq!(
        stopped[0]["actor"],
        json!({"type": "vault", "name": "canary"})
    );
    assert_eq!(alarms(&vault).await, 1);
    // Nobody else is touched.
    bob.leases(json!({"credential_name": "real"})).await;

    // Whoever keeps credentials knows what it is and tries the alarm.
    let tried = json!({"credential_name": "bait"});
    vault.admin(POST, "/v1/leases", Some(tried)).await.data(201);
    assert_eq!(alarms(&vault).await, 2);
    assert_eq!(
        vault.admin(GET, "/v1/auth/whoami", None).await.data(200)["role"],
        "owner"
    );

    // A retry of the same request, as after a crash that came between the commit and the stop, stops it as well.
    let headers = [("idempotency-key", "again")];
    let body = Some(json!({"credential_name": "bait"}));
    let patch = json!({"policy": {"canary_suspends": null}});
    vault
        .admin(PATCH, "/v1/credentials/bait", Some(patch))
        .await
        .data(200);
    let first = vault
        .request(POST, "/v1/leases", &bob.key, body.clone(), &headers)
        .await
        .data(201);
    let patch = json!({"policy": {"canary_suspends": true}});
    vault
        .admin(PATCH, "/v1/credentials/bait", Some(patch))
        .await
        .data(200);
    let again = vault
        .request(POST, "/v1/leases", &bob.key, body, &headers)
        .await
        .data(201);
    assert_eq!(first["id"], again["id"]);
    bob.asks(GET, "/v1/leases", json!({}))
        .await
        .fails(403, "IDENTITY_SUSPENDED");
    // It is resumed as any other.
    vault
        .admin(POST, "/v1/identities/agent/bob/resume", None)
        .await
        .data(200);
}
