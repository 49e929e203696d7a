//! `lease-cap`: never more than `max_leases`, however many ask at once, and after every restart.

use std::{collections::HashSet, sync::Arc};

use reqwest::Method;
use serde_json::json;
use tokio::{sync::Barrier, task::JoinSet};

use super::kit::{Api, text};
use crate::support::Vault;

/// Asks for a lease as many clients at once; gives back those granted and the refusals.
pub async fn crowd(vault: &Vault, credential: &str, clients: usize) -> (Vec<String>, Vec<String>) {
    let start = Arc::new(Barrier::new(clients));
    let mut tasks = JoinSet::new();
    let api = Api::agent(vault);
    for _ in 0..clients {
        let (api, start, credential) = (api.clone(), start.clone(), credential.to_owned());
        tasks.spawn(async move {
            start.wait().await;
            api.lease(&credential, "5m").await
        });
    }
    let (mut granted, mut refused) = (Vec::new(), Vec::new());
    while let Some(outcome) = tasks.join_next().await {
        match outcome.unwrap() {
            Ok(lease) => granted.push(text(&lease, "id")),
            Err(code) => refused.push(code),
        }
    }
    (granted, refused)
}

async fn assert_full(vault: &Vault, credential: &str, leases: &HashSet<String>) {
    let api = Api::admin(vault);
    let listed: HashSet<String> = api
        .active(credential)
        .await
        .iter()
        .map(|lease| text(lease, "id"))
        .collect();
    assert_eq!(listed, *leases);
    assert_eq!(
        api.credential(credential).await["active_leases"],
        leases.len()
    );
    let versions = api.versions(credential).await;
    let on_versions: u64 = versions
        .iter()
        .filter_map(|version| version["active_leases"].as_u64())
        .sum();
    assert_eq!(on_versions, leases.len() as u64);
    assert_eq!(
        Api::agent(vault).lease(credential, "5m").await.unwrap_err(),
        "409 LEASE_LIMIT_REACHED"
    );
}

// INVARIANT (lease-cap)
#[tokio::test]
async fn of_256_clients_exactly_max_leases_are_granted_and_restarts_do_not_forget_them() {
    let vault = Vault::dev();
    vault.store("crowded", "v", json!({"max_leases": 5})).await;
    let (granted, refused) = crowd(&vault, "crowded", 256).await;
    let mut open: HashSet<String> = granted.into_iter().collect();
    assert_eq!(open.len(), 5);
    assert_eq!(refused.len(), 251);
    assert!(
        refused.iter().all(|code| code == "409 LEASE_LIMIT_REACHED"),
        "{refused:?}"
    );
    assert_full(&vault, "crowded", &open).await;

    let vault = vault.restart(&[]);
    assert_full(&vault, "crowded", &open).await;
    let vault = vault.kill_and_reopen(&[]);
    assert_full(&vault, "crowded", &open).await;

    // Two places come free: of a crowd exactly two get them.
    let api = Api::agent(&vault);
    for lease in open.clone().into_iter().take(2) {
        assert_eq!(api.release(&lease).await, "200");
        open.remove(&lease);
    }
    let (granted, refused) = crowd(&vault, "crowded", 64).await;
    assert_eq!((granted.len(), refused.len()), (2, 62));
    open.extend(granted);
    let vault = vault.kill_and_reopen(&[]);
    assert_full(&vault, "crowded", &open).await;
}

// INVARIANT (lease-cap)
#[tokio::test]
async fn a_lowered_cap_grants_nothing_until_enough_leases_are_gone() {
    let vault = Vault::dev();
    vault
        .store("shrinking", "v", json!({"max_leases": 4}))
        .await;
    let (granted, _) = crowd(&vault, "shrinking", 4).await;
    assert_eq!(granted.len(), 4);
    let patch = json!({"policy": {"max_leases": 2}});
    vault
        .admin(Method::PATCH, "/v1/credentials/shrinking", Some(patch))
        .await
        .data(200);
    let api = Api::agent(&vault);
    for (at, lease) in granted.iter().enumerate() {
        let (crowded, _) = crowd(&vault, "shrinking", 16).await;
        assert_eq!(crowded.len(), usize::from(at == 3), "after {at} releases");
        assert_eq!(api.release(lease).await, "200");
    }
}

// INVARIANT (lease-cap)
#[tokio::test]
async fn one_request_sent_by_many_at_once_takes_one_place() {
    let vault = Vault::dev();
    vault.store("retried", "v", json!({"max_leases": 2})).await;
    let api = Api::agent(&vault);
    let mut tasks = JoinSet::new();
    for _ in 0..48 {
        let api = api.clone();
        tasks.spawn(async move {
            let body = json!({"credential_name": "retried", "ttl": "5m"});
            api.call_with(
                Method::POST,
                "/v1/leases",
                Some(body),
                &[("idempotency-key", "the-same-for-all")],
            )
            .await
            .unwrap()
        });
    }
    let mut handles = HashSet::new();
    while let Some(answer) = tasks.join_next().await {
        let (status, body) = answer.unwrap();
        assert_eq!(status, 201, "{body}");
        handles.insert(text(&body["data"], "handle"));
    }
    assert_eq!(handles.len(), 1);
    assert_eq!(api.active("retried").await.len(), 1);
    let vault = vault.kill_and_reopen(&[]);
    assert_eq!(
        Api::admin(&vault).credential("retried").await["active_leases"],
        1
    );
}
