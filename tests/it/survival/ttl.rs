//! `ttl`: nothing works at or after `expires_at`: without the reaper, after a stop of the process, after a kill.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use super::kit::{Api, millis, now_millis, text};
use crate::support::{DevOptions, Vault, freeze, signal};

const NO_REAPER: &str = "--danger-disable-reaper";

fn without_reaper() -> Vault {
    Vault::dev_with(DevOptions {
        args: vec![NO_REAPER.to_owned()],
        ..DevOptions::default()
    })
}

/// Waits until a lease has expired.
async fn expiry(lease: &Value) {
    let left = millis(lease, "expires_at") + 5 - now_millis();
    tokio::time::sleep(Duration::from_millis(u64::try_from(left).unwrap_or(0))).await;
}

/// How far the clock of a test may be off the vault's, which never goes back when the machine's does.
const SLACK: i64 = 1_000;
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether what was answered until now was answered before the lease expired.
fn in_time(lease: &Value) -> bool {
    now_millis() < millis(lease, "expires_at")
}

/// Nothing can be done with the lease any more, and it counts for nothing.
async fn assert_expired(vault: &Vault, credential: &str, lease: &Value) {
    let (agent, id) = (Api::agent(vault), text(lease, "id"));
    let expired = "410 LEASE_EXPIRED";
    assert_eq!(
        agent.redeem(&text(lease, "handle")).await.unwrap_err(),
        expired
    );
    assert_eq!(agent.act(&format!("/v1/leases/{id}/renew")).await, expired);
    assert_eq!(agent.release(&id).await, expired);
    let revoke = Api::admin(vault)
        .act(&format!("/v1/leases/{id}/revoke"))
        .await;
    assert_eq!(revoke, expired);
    let shown = agent.get(&format!("/v1/leases/{id}")).await["data"].clone();
    assert_eq!(shown["state"], "expired");
    let listed = agent
        .all(&format!(
            "/v1/leases?credential_name={credential}&state=expired"
        ))
        .await;
    assert!(listed.iter().any(|lease| text(lease, "id") == id));
    assert!(agent.active(credential).await.is_empty());
    let admin = Api::admin(vault);
    assert_eq!(admin.credential(credential).await["active_leases"], 0);
}

// INVARIANT (ttl)
#[tokio::test]
async fn an_expired_lease_counts_neither_for_its_credential_nor_for_its_version() {
    let vault = without_reaper();
    vault.store("counted", "v1", json!({})).await;
    let admin = Api::admin(&vault);
    let mut counted = Vec::new();
    while counted != [1, 1] {
        let lease = vault
            .lease(json!({"credential_name": "counted", "ttl": "2s"}))
            .await;
        let of_credential = admin.credential("counted").await["active_leases"].clone();
        let of_version = admin.versions("counted").await[0]["active_leases"].clone();
        if in_time(&lease) {
            counted = vec![of_credential, of_version];
            assert_eq!(counted, [1, 1]);
        }
        expiry(&lease).await;
    }
    assert_eq!(admin.credential("counted").await["active_leases"], 0);
    assert_eq!(admin.versions("counted").await[0]["active_leases"], 0);
}

// INVARIANT (ttl)
#[tokio::test]
async fn an_expired_lease_is_dead_without_the_reaper_and_frees_its_place() {
    let vault = without_reaper();
    vault.store("short", "v1", json!({"max_leases": 1})).await;
    let agent = Api::agent(&vault);
    let (lease, handle) = loop {
        let lease = vault
            .lease(json!({"credential_name": "short", "ttl": "2s"}))
            .await;
        assert_eq!(
            millis(&lease, "expires_at") - millis(&lease, "issued_at"),
            2000
        );
        let handle = text(&lease, "handle");
        let redeemed = agent.redeem(&handle).await;
        let second = agent.lease("short", "1s").await;
        if in_time(&lease) {
            assert_eq!(redeemed.unwrap(), "v1");
            assert_eq!(second.unwrap_err(), "409 LEASE_LIMIT_REACHED");
            break (lease, handle);
        }
        if let Ok(second) = second {
            expiry(&second).await;
        }
        expiry(&lease).await;
    };
    // Up to the edge and over it: what is asked for at or after the expiry fails.
    let ends = millis(&lease, "expires_at");
    loop {
        let asked = now_millis();
        match agent.redeem(&handle).await {
            Ok(_) => assert!(asked < ends, "redeemed {} ms late", asked - ends),
            Err(code) => {
                assert_eq!(code, "410 LEASE_EXPIRED");
                assert!(now_millis() + SLACK >= ends, "too early");
                break;
            }
        }
    }
    assert_expired(&vault, "short", &lease).await;
    // A cap of 1 with an expired lease that nobody has closed: the place is free.
    let next = loop {
        let next = agent.lease("short", "2s").await.unwrap();
        let another = agent.lease("short", "1s").await;
        let late = !in_time(&next);
        expiry(&next).await;
        match another {
            Err(code) => {
                assert_eq!(code, "409 LEASE_LIMIT_REACHED");
                break next;
            }
            Ok(another) if late => expiry(&another).await,
            Ok(another) => panic!("a second one: {another}"),
        }
    };
    let vault = vault.restart(&[NO_REAPER]);
    assert_expired(&vault, "short", &next).await;
    let last = Api::agent(&vault).lease("short", "1s").await.unwrap();
    let vault = vault.kill_and_reopen(&[NO_REAPER]);
    expiry(&last).await;
    assert_expired(&vault, "short", &last).await;
}

// INVARIANT (ttl)
#[tokio::test]
async fn the_reaper_records_the_expiry_and_retires_the_version() {
    let vault = Vault::dev();
    let admin = Api::admin(&vault);
    // The rotation has to come before the expiry: a later one retires the version itself.
    let (name, lease) = loop {
        let name = format!("reaped-{}", now_millis());
        vault.store(&name, "v1", json!({})).await;
        let lease = vault
            .lease(json!({"credential_name": name, "ttl": "3s", "purpose": "to be reaped"}))
            .await;
        vault
            .admin(
                Method::POST,
                &format!("/v1/credentials/{name}/rotate"),
                Some(json!({"new_value": "v2"})),
            )
            .await
            .data(200);
        if now_millis() + SLACK < millis(&lease, "expires_at") {
            break (name, lease);
        }
    };
    assert_eq!(admin.versions(&name).await.len(), 2);
    let begun = Instant::now();
    let events = loop {
        let path = format!("/v1/leases/{}/events", text(&lease, "id"));
        let events = admin.all(&path).await;
        if events.iter().any(|event| event["event"] == "lease.expired") {
            break events;
        }
        assert!(begun.elapsed() < PATIENCE, "never reaped");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let expired = events.last().unwrap();
    assert_eq!(expired["actor"]["type"], "vault");
    assert_eq!(expired["purpose"], "to be reaped");
    assert!(millis(expired, "time") >= millis(&lease, "expires_at"));
    for version in admin.versions(&name).await {
        let state = if version["number"] == 1 {
            "retired"
        } else {
            "current"
        };
        assert_eq!(version["state"], state);
    }
    assert_expired(&vault, &name, &lease).await;
    let retired = admin
        .all(&format!(
            "/v1/audit?event=credential.version_retired&credential_name={name}"
        ))
        .await;
    assert_eq!(retired.len(), 1);
    assert_eq!(
        retired[0]["sequence"].as_u64().unwrap(),
        expired["sequence"].as_u64().unwrap() + 1,
        "in the same commit"
    );
}

// INVARIANT (ttl)
#[tokio::test]
async fn leases_that_expired_while_the_vault_was_dead_are_reaped_when_it_is_back() {
    let vault = without_reaper();
    vault
        .store("while-dead", "v1", json!({"max_leases": 40}))
        .await;
    let mut last = Value::Null;
    for _ in 0..20 {
        last = vault
            .lease(json!({"credential_name": "while-dead", "ttl": "1s"}))
            .await;
    }
    expiry(&last).await;
    let vault = vault.kill_and_reopen(&[]);
    assert_expired(&vault, "while-dead", &last).await;
    let admin = Api::admin(&vault);
    let begun = Instant::now();
    loop {
        let expired = admin.all("/v1/audit?event=lease.expired").await;
        if expired.len() == 20 {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{} of 20", expired.len());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

// INVARIANT (ttl)
#[tokio::test]
async fn a_process_stopped_over_the_expiry_and_resumed_gives_nothing() {
    for args in [&[NO_REAPER][..], &[]] {
        let vault = Vault::dev_with(DevOptions {
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            ..DevOptions::default()
        });
        vault.store("frozen", "v1", json!({})).await;
        let agent = Api::agent(&vault);
        // Asked for in time, served too late.
        let (lease, redeem, renew) = loop {
            let lease = agent.lease("frozen", "2s").await.unwrap();
            let (handle, id) = (text(&lease, "handle"), text(&lease, "id"));
            freeze(vault.pid());
            let redeem = tokio::spawn({
                let agent = agent.clone();
                async move { agent.redeem(&handle).await }
            });
            let renew = tokio::spawn({
                let agent = agent.clone();
                async move { agent.act(&format!("/v1/leases/{id}/renew")).await }
            });
            tokio::time::sleep(Duration::from_millis(100)).await;
            if in_time(&lease) {
                break (lease, redeem, renew);
            }
            signal(vault.pid(), "CONT");
            let _ = (redeem.await, renew.await);
        };
        expiry(&lease).await;
        signal(vault.pid(), "CONT");
        assert_eq!(redeem.await.unwrap().unwrap_err(), "410 LEASE_EXPIRED");
        assert_eq!(renew.await.unwrap(), "410 LEASE_EXPIRED");
        assert_expired(&vault, "frozen", &lease).await;
    }
}

// INVARIANT (ttl)
#[tokio::test]
async fn renewals_never_pass_the_maximum_lifetime() {
    let vault = without_reaper();
    let policy = json!({"max_lease_ttl": "2s", "default_lease_ttl": "1s"});
    vault.store("bounded", "v1", policy).await;
    let agent = Api::agent(&vault);
    let lease = agent.lease("bounded", "1h").await.unwrap();
    assert_eq!(lease["ttl_capped"], true);
    let most = millis(&lease, "issued_at") + 2000;
    assert_eq!(millis(&lease, "max_expires_at"), most);
    let path = format!("/v1/leases/{}/renew", text(&lease, "id"));
    loop {
        let (status, body) = agent.post(&path, json!({"ttl": "1h"})).await.unwrap();
        if status == 200 {
            assert!(millis(&body["data"], "expires_at") <= most, "{body}");
        } else if status == 410 {
            assert!(now_millis() + SLACK >= most, "{body}");
            break;
        } else {
            // Nothing to be gained by a renewal any more.
            assert_eq!(status, 409, "{body}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_expired(&vault, "bounded", &lease).await;
}
