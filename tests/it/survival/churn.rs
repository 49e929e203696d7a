//! `lease-cap` and `retire-on-last-close` while everything happens at once.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::kit::{Api, text};
use crate::support::Vault;

// INVARIANT (lease-cap)
#[tokio::test]
async fn leases_that_come_and_go_never_exceed_the_cap() {
    let vault = Vault::dev();
    vault.store("churned", "v", json!({"max_leases": 5})).await;
    let stop = Arc::new(AtomicBool::new(false));
    // From the answer to a grant until the release is asked for: never more than are really active.
    let held = Arc::new(AtomicI64::new(0));
    let grants = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for worker in 0..24_u64 {
        let (api, stop, held, grants) = (
            Api::agent(&vault),
            stop.clone(),
            held.clone(),
            grants.clone(),
        );
        tasks.spawn(async move {
            while !stop.load(Ordering::SeqCst) {
                match api.lease("churned", "5m").await {
                    Ok(lease) => {
                        let now = held.fetch_add(1, Ordering::SeqCst) + 1;
                        assert!(now <= 5, "{now} leases at once");
                        grants.fetch_add(1, Ordering::SeqCst);
                        tokio::time::sleep(Duration::from_millis(worker % 4)).await;
                        held.fetch_sub(1, Ordering::SeqCst);
                        assert_eq!(api.release(&text(&lease, "id")).await, "200");
                    }
                    Err(code) => assert_eq!(code, "409 LEASE_LIMIT_REACHED"),
                }
            }
        });
    }
    let admin = Api::admin(&vault);
    for _ in 0..20 {
        let counted = admin.credential("churned").await["active_leases"]
            .as_u64()
            .unwrap();
        assert!(counted <= 5, "{counted}");
        // Those that were seen active in the scan and are still when the answer is made: all at one instant.
        let listed = admin.active("churned").await;
        let active = listed.iter().filter(|lease| lease["state"] == "active");
        assert!(active.count() <= 5, "{listed:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    stop.store(true, Ordering::SeqCst);
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    assert!(
        grants.load(Ordering::SeqCst) > 20,
        "the churn did not happen"
    );
    assert_eq!(admin.credential("churned").await["active_leases"], 0);
    let vault = vault.kill_and_reopen(&[]);
    assert_eq!(
        Api::admin(&vault).credential("churned").await["active_leases"],
        0
    );
    let (granted, _) = super::cap::crowd(&vault, "churned", 12).await;
    assert_eq!(granted.len(), 5);
}

// A list is no snapshot; what it filters by must hold for what it shows all the same.
#[tokio::test]
async fn a_list_of_active_leases_shows_no_other() {
    let vault = Vault::dev();
    vault.store("listed", "v", json!({"max_leases": 5})).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let (api, stop) = (Api::agent(&vault), stop.clone());
        tasks.spawn(async move {
            while !stop.load(Ordering::SeqCst) {
                if let Ok(lease) = api.lease("listed", "5m").await {
                    api.release(&text(&lease, "id")).await;
                }
            }
        });
    }
    let admin = Api::admin(&vault);
    let mut wrong = Vec::new();
    for _ in 0..60 {
        let listed = admin.active("listed").await;
        wrong.extend(
            listed
                .into_iter()
                .filter(|lease| lease["state"] != "active"),
        );
    }
    stop.store(true, Ordering::SeqCst);
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    assert!(
        wrong.is_empty(),
        "{} times, such as {}",
        wrong.len(),
        wrong[0]
    );
}

/// Holds every version to its leases: the current one is current, another is retired if and only if nothing is open
/// on it.
fn assert_versions(versions: &[Value], active: &[Value], current: u64) {
    let mut open: HashMap<u64, u64> = HashMap::new();
    for lease in active {
        *open.entry(lease["version"].as_u64().unwrap()).or_default() += 1;
    }
    assert_eq!(versions.len() as u64, current);
    for version in versions {
        let number = version["number"].as_u64().unwrap();
        let leases = open.get(&number).copied().unwrap_or(0);
        let state = match (number == current, leases) {
            (true, _) => "current",
            (false, 0) => "retired",
            (false, _) => "rotated",
        };
        assert_eq!(
            (text(version, "state").as_str(), &version["active_leases"]),
            (state, &json!(leases)),
            "{version}"
        );
        assert_eq!(version["retired_at"].is_null(), state != "retired");
    }
}

// INVARIANT (retire-on-last-close)
#[tokio::test]
async fn grants_racing_rotations_pin_a_live_version_and_the_last_close_retires_it() {
    let vault = Vault::dev();
    vault
        .store("raced", "value-1", json!({"max_leases": 1000}))
        .await;
    let rotations = 12_u64;
    let (agent, admin) = (Api::agent(&vault), Api::admin(&vault));
    let done = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    for worker in 0..12_usize {
        let (api, done) = (agent.clone(), done.clone());
        tasks.spawn(async move {
            let mut kept = Vec::new();
            let mut turn = worker;
            while !done.load(Ordering::SeqCst) {
                let lease = api.lease("raced", "5m").await.unwrap();
                let value = api.redeem(&text(&lease, "handle")).await.unwrap();
                assert_eq!(value, format!("value-{}", lease["version"]));
                turn += 1;
                if turn.is_multiple_of(3) {
                    kept.push(lease);
                } else {
                    assert_eq!(api.release(&text(&lease, "id")).await, "200");
                }
            }
            kept
        });
    }
    for number in 2..rotations + 2 {
        let body = json!({"new_value": format!("value-{number}")});
        let (status, body) = admin
            .post("/v1/credentials/raced/rotate", body)
            .await
            .unwrap();
        assert_eq!(status, 200, "{body}");
        // Never seen in between: a retired version with leases, or one without that is not retired.
        for version in admin.versions("raced").await {
            let open = version["active_leases"].as_u64().unwrap();
            if text(&version, "state") == "retired" {
                assert_eq!(open, 0, "{version}");
            }
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    done.store(true, Ordering::SeqCst);
    let mut kept = Vec::new();
    while let Some(leases) = tasks.join_next().await {
        kept.extend(leases.unwrap());
    }
    let current = rotations + 1;
    assert!(kept.len() > 12, "only {} leases were kept", kept.len());
    assert_versions(&admin.versions("raced").await, &kept, current);

    // Every kept lease still has its own version's value; the last release of a version retires it.
    let mut open = kept.clone();
    for lease in &kept {
        let value = agent.redeem(&text(lease, "handle")).await.unwrap();
        assert_eq!(value, format!("value-{}", lease["version"]));
    }
    for (at, lease) in kept.iter().enumerate() {
        assert_eq!(agent.release(&text(lease, "id")).await, "200");
        open.remove(0);
        if at.is_multiple_of(8) || open.is_empty() {
            assert_versions(&admin.versions("raced").await, &open, current);
        }
    }
    let retired = admin
        .all("/v1/audit?event=credential.version_retired&credential_name=raced&sort=time")
        .await;
    let mut numbers: Vec<u64> = retired
        .iter()
        .map(|event| event["version"].as_u64().unwrap())
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..current).collect::<Vec<_>>(), "each once");
}

// INVARIANT (retire-on-last-close)
#[tokio::test]
async fn the_last_two_leases_of_a_version_released_at_once_retire_it_once() {
    let vault = Vault::dev();
    vault.store("last-two", "v1", json!({})).await;
    let (agent, admin) = (Api::agent(&vault), Api::admin(&vault));
    for number in 2..12_u64 {
        let first = agent.lease("last-two", "5m").await.unwrap();
        let second = agent.lease("last-two", "5m").await.unwrap();
        let body = json!({"new_value": format!("v{number}")});
        let rotated = async {
            // Rotation, and both releases, in any order.
            admin.post("/v1/credentials/last-two/rotate", body).await
        };
        let (first, second) = (text(&first, "id"), text(&second, "id"));
        let (one, two, rotated) =
            tokio::join!(agent.release(&first), agent.release(&second), rotated);
        assert_eq!((one.as_str(), two.as_str()), ("200", "200"));
        assert_eq!(rotated.unwrap().0, 200);
        assert_versions(&admin.versions("last-two").await, &[], number);
    }
    let retired = admin
        .all("/v1/audit?event=credential.version_retired&credential_name=last-two")
        .await;
    assert_eq!(retired.len(), 10);
}
