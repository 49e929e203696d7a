//! What should be rotated, and what nobody uses.

use super::{super::samples, *};

async fn due(vault: &Vault, query: &str) -> Vec<(String, Vec<String>)> {
    let found = report(vault, &format!("rotation-due?{query}")).await;
    let rows = found.as_array().unwrap().iter();
    rows.map(|row| {
        let whys = row["reasons"].as_array().unwrap().iter();
        let whys = whys.map(|reason| text(reason, "why").to_owned());
        (text(row, "name").to_owned(), whys.collect())
    })
    .collect()
}

fn row(name: &str, whys: &[&str]) -> (String, Vec<String>) {
    (
        name.to_owned(),
        whys.iter().map(|why| (*why).to_owned()).collect(),
    )
}

// INVARIANT (reveal-taint)
#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_was_shown_says_so_for_good_and_is_due_once_that_lease_closes() {
    let vault = Vault::dev();
    let agent = Agent::new(&vault, "alice").await;
    let policy = json!({"rotate_after_reveal": true});
    vault.store("a", "v-one", policy).await;
    vault.store("plain", "v-one", json!({})).await;
    let versions = async |name: &str| super::super::versions(&vault, name).await;
    let untouched = agent.leases(json!({"credential_name": "a"})).await;
    agent.releases(&untouched).await;
    assert_eq!(
        (
            &versions("a").await[0]["revealed"],
            &versions("a").await[0]["revealed_at"]
        ),
        (&json!(false), &Value::Null)
    );
    assert_eq!(due(&vault, "").await, [], "nobody has seen the value");

    let lease = agent.leases(json!({"credential_name": "a"})).await;
    agent.redeems(&lease).await.data(200);
    let first = versions("a").await[0]["revealed_at"].clone();
    assert!(first.is_string());
    tick().await;
    agent.redeems(&lease).await.data(200);
    assert_eq!(
        versions("a").await[0]["revealed_at"],
        first,
        "the first time"
    );
    assert_eq!(due(&vault, "").await, [], "its lease is open still");
    let plain = agent
        .leases(json!({"credential_name": "plain", "reveal": true}))
        .await;
    agent.releases(&plain).await;
    let closed = agent.releases(&lease).await;
    assert_eq!(due(&vault, "").await, [row("a", &["revealed"])]);
    let shown = super::super::shown(&vault, "a").await;
    assert_eq!(shown["next_rotation_at"], closed["closed_at"]);
    // `plain` is tainted as well, and its policy does not ask for more.
    assert_eq!(versions("plain").await[0]["revealed"], true);

    let agent_key = agent.key.clone();
    let vault = vault.kill_and_reopen(&[]);
    assert_eq!(due(&vault, "").await, [row("a", &["revealed"])]);
    let rotate = json!({"new_value": "v-two"});
    vault
        .admin(POST, "/v1/credentials/a/rotate", Some(rotate))
        .await
        .data(200);
    assert_eq!(due(&vault, "").await, []);
    let all = super::super::versions(&vault, "a").await;
    assert_eq!(
        (
            &all[1]["state"],
            &all[1]["revealed_at"],
            &all[0]["revealed"]
        ),
        (&json!("retired"), &first, &json!(false)),
        "the taint outlives the value"
    );
    // A lease that its policy ends by itself counts as well.
    let agent = Agent {
        vault: &vault,
        key: agent_key,
    };
    let body = json!({"credential_name": "a", "ttl": "1s", "reveal": true});
    agent.leases(body).await;
    tokio::time::sleep(super::super::PAST_ONE_SECOND).await;
    vault.admin(GET, "/v1/credentials/a", None).await.data(200);
    let begun = std::time::Instant::now();
    while due(&vault, "").await.is_empty() {
        assert!(begun.elapsed().as_secs() < 60, "the reaper never came");
        tick().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_past_its_time_or_near_its_upstream_end_is_due() {
    let vault = Vault::dev();
    let store = async |name: &str, kind: &str, value: &str, metadata: Value| {
        let body = json!({"name": name, "type": kind, "value": value, "metadata": metadata});
        vault
            .admin(POST, "/v1/credentials", Some(body))
            .await
            .data(201);
    };
    store("old", "api-key", "v", json!({"rotate_every": "1s"})).await;
    store("young", "api-key", "v", json!({"rotate_every": "90d"})).await;
    store("tls", "tls-certificate", samples::CERTIFICATE, json!({})).await;
    tokio::time::sleep(super::super::PAST_ONE_SECOND).await;
    assert_eq!(due(&vault, "").await, [row("old", &["rotate_every"])]);
    assert_eq!(
        due(&vault, "within=10000d").await,
        [
            row("old", &["rotate_every"]),
            row("tls", &["upstream_expiry"])
        ]
    );
    assert_eq!(
        due(&vault, "within=10000d&sort=-name&limit=1").await,
        [row("tls", &["upstream_expiry"])]
    );
    let rows = report(&vault, "rotation-due?within=10000d").await;
    assert_eq!(
        (&rows[0]["overdue"], &rows[1]["overdue"], &rows[1]["due_at"]),
        (&json!(true), &json!(false), &json!("2036-01-01T00:00:00Z"))
    );
    vault
        .agent(GET, "/v1/reports/rotation-due", None)
        .await
        .fails(403, "INSUFFICIENT_PERMISSIONS");
    vault
        .admin(GET, "/v1/reports/rotation-due?within=soon", None)
        .await
        .fails(400, "INVALID_PARAMETER");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_uses_is_listed_by_kind() {
    let vault = Vault::dev();
    let busy = Agent::new(&vault, "busy").await;
    Agent::new(&vault, "idle").await;
    vault.store("leased", "v", json!({})).await;
    vault.store("unused", "v", json!({})).await;
    let body = json!({"name": "spare", "expires_in": "1h"});
    vault.admin(POST, "/v1/tokens", Some(body)).await.data(201);
    let old = busy
        .leases(json!({"credential_name": "leased", "ttl": "1h"}))
        .await;
    const UNUSED_FOR: std::time::Duration = std::time::Duration::from_secs(4);
    tokio::time::sleep(UNUSED_FOR + super::super::PAST_ONE_SECOND).await;
    let stale = async |query: &str| -> Vec<(String, String)> {
        let found = loop {
            // Leased long ago, and used now: less long ago than is asked for, whatever the machine does meanwhile.
            let begun = std::time::Instant::now();
            busy.redeems(&old).await.data(200);
            let found = report(&vault, &format!("stale?unused_for=4s&{query}")).await;
            if begun.elapsed() < UNUSED_FOR {
                break found;
            }
        };
        let rows = found.as_array().unwrap().iter();
        let mut rows: Vec<_> = rows
            .map(|row| (text(row, "kind").to_owned(), text(row, "name").to_owned()))
            .collect();
        rows.sort();
        rows
    };
    let is = |kind: &str, names: &[&str]| -> Vec<(String, String)> {
        names
            .iter()
            .map(|name| (kind.to_owned(), (*name).to_owned()))
            .collect()
    };
    let credentials = stale("kind=credential").await;
    assert!(credentials.contains(&("credential".into(), "unused".into())));
    assert!(
        !credentials.contains(&("credential".into(), "leased".into())),
        "{credentials:?}"
    );
    let identities = stale("kind=identity").await;
    assert!(identities.contains(&("identity".into(), "agent/idle".into())));
    assert!(
        !identities.contains(&("identity".into(), "agent/busy".into())),
        "{identities:?}"
    );
    let keys = stale("kind=api-key").await;
    assert!(keys.contains(&("api-key".into(), "idle".into())));
    assert!(
        !keys.contains(&("api-key".into(), "busy".into())),
        "{keys:?}"
    );
    assert_eq!(stale("kind=token").await, is("token", &["spare"]));
    let all = stale("").await;
    for some in [credentials, identities, keys] {
        assert!(some.iter().all(|one| all.contains(one)), "{all:?}");
    }
    assert_eq!(
        report(&vault, "stale").await,
        json!([]),
        "nothing for 90 days"
    );

    // Each kind takes the scope to read it.
    let body = json!({"name": "k", "scopes": ["credential:read"]});
    let made = vault
        .admin(POST, "/v1/api-keys", Some(body))
        .await
        .data(201);
    let key = text(&made, "key");
    let ask = async |kind: &str| {
        let path = format!("/v1/reports/stale?{kind}");
        vault.request(GET, &path, key, None, &[]).await
    };
    ask("kind=credential").await.data(200);
    for other in ["kind=identity", "kind=api-key", "kind=token", ""] {
        ask(other).await.fails(403, "INSUFFICIENT_PERMISSIONS");
    }

    // What an identity did is known after a restart.
    let vault = vault.restart(&[]);
    let found = report(&vault, "stale?unused_for=1s&kind=identity").await;
    let used = found
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| text(row, "name") == "agent/busy");
    assert!(
        used.into_iter().all(|row| row["last_used_at"].is_string()),
        "{found}"
    );
}
