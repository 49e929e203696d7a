//! `ack-durable`: kill -9 in the middle of everything; what was acknowledged is there, and nothing else but what was
//! asked for.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use tokio::task::JoinSet;

use super::{
    history::{Book, LeaseFacts, compare},
    kit::{Api, millis, text},
};
use crate::support::{Vault, signal};

const CREDENTIALS: [&str; 3] = ["crash-a", "crash-b", "crash-c"];
const WORKERS: usize = 8;
const ROUNDS: u64 = 5;

fn value(credential: &str, number: u64) -> String {
    format!("{credential}-value-{number}")
}

/// A generator of our own, so that a failure can be run again with its seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) % sides
    }
}

/// One operation on the vault, noted in the book before it is asked for and when it is acknowledged.
async fn step(
    api: &Api,
    book: &Mutex<Book>,
    dice: &mut Dice,
    mine: &mut Vec<String>,
) -> Option<()> {
    let credential = CREDENTIALS[dice.roll(3) as usize];
    if mine.is_empty() || dice.roll(3) == 0 {
        book.lock().unwrap().of(credential).grants_asked += 1;
        let body = json!({"credential_name": credential, "ttl": "10m", "purpose": "to survive"});
        let (status, body) = api.post("/v1/leases", body).await?;
        let mut book = book.lock().unwrap();
        book.of(credential).grants_asked -= 1;
        if status != 201 {
            assert_eq!(body["code"], "LEASE_LIMIT_REACHED", "{body}");
            return Some(());
        }
        let lease = &body["data"];
        mine.push(text(lease, "id"));
        book.leases.insert(
            text(lease, "id"),
            LeaseFacts {
                credential: credential.to_owned(),
                version: lease["version"].as_u64().unwrap(),
                handle: text(lease, "handle"),
                expires: millis(lease, "expires_at"),
                ..LeaseFacts::default()
            },
        );
        return Some(());
    }
    let at = dice.roll(mine.len() as u64) as usize;
    let id = mine[at].clone();
    let note = |change: &dyn Fn(&mut LeaseFacts)| {
        change(book.lock().unwrap().leases.get_mut(&id).unwrap());
    };
    match dice.roll(3) {
        0 => {
            let (handle, expected) = {
                let book = book.lock().unwrap();
                let lease = &book.leases[&id];
                (
                    lease.handle.clone(),
                    value(&lease.credential, lease.version),
                )
            };
            note(&|lease| lease.redeems_asked += 1);
            let (status, body) = api
                .post("/v1/handles/redeem", json!({"handle": handle}))
                .await?;
            assert_eq!(status, 200, "{body}");
            assert_eq!(text(&body["data"], "value"), expected);
            note(&|lease| lease.redeems += 1);
        }
        1 => {
            note(&|lease| lease.renewals_asked += 1);
            let path = format!("/v1/leases/{id}/renew");
            let (status, body) = api.post(&path, json!({"ttl": "20m"})).await?;
            assert_eq!(status, 200, "{body}");
            let expires = millis(&body["data"], "expires_at");
            note(&|lease| {
                lease.renewals += 1;
                lease.expires = expires;
            });
        }
        _ => {
            mine.remove(at);
            note(&|lease| lease.release_asked = true);
            let (status, body) = api
                .post(&format!("/v1/leases/{id}/release"), json!({}))
                .await?;
            assert_eq!(status, 200, "{body}");
            note(&|lease| lease.released = true);
        }
    }
    Some(())
}

/// Rotates one credential again and again; nobody else does, so its numbers are known.
async fn rotate(api: &Api, book: &Mutex<Book>, credential: &str) -> Option<()> {
    let next = {
        let mut book = book.lock().unwrap();
        let facts = book.of(credential);
        facts.rotation_asked = true;
        facts.current + 1
    };
    let body = json!({"new_value": value(credential, next)});
    let path = format!("/v1/credentials/{credential}/rotate");
    let (status, body) = api.post(&path, body).await?;
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["data"]["current_version"], next);
    let mut book = book.lock().unwrap();
    let facts = book.of(credential);
    (facts.current, facts.rotation_asked) = (next, false);
    Some(())
}

// INVARIANT (ack-durable) INVARIANT (ack-audited) INVARIANT (lease-cap) INVARIANT (retire-on-last-close)
#[tokio::test]
async fn nothing_acknowledged_is_lost_by_kill_9() {
    let seed = u64::from(std::process::id()) << 16 | 1;
    println!("seed {seed}");
    let mut dice = Dice(seed);
    let mut vault = Vault::dev();
    let mut book = Book::default();
    for credential in CREDENTIALS {
        vault
            .store(credential, &value(credential, 1), json!({"max_leases": 8}))
            .await;
        book.of(credential).current = 1;
    }
    for round in 1..=ROUNDS {
        let done = Arc::new(AtomicUsize::new(0));
        let shared = Arc::new(Mutex::new(book));
        let mut tasks = JoinSet::new();
        for worker in 0..WORKERS {
            let (api, book, done) = (Api::agent(&vault), shared.clone(), done.clone());
            let mut dice = Dice(seed ^ (round << 8 | worker as u64) << 3 | 1);
            // Each worker goes on with leases of earlier rounds that are its own.
            let mut mine = book.lock().unwrap().share(worker, WORKERS);
            tasks.spawn(async move {
                while step(&api, &book, &mut dice, &mut mine).await.is_some() {
                    done.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for credential in CREDENTIALS {
            let (api, book, done) = (Api::admin(&vault), shared.clone(), done.clone());
            tasks.spawn(async move {
                while rotate(&api, &book, credential).await.is_some() {
                    done.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(25)).await;
                }
            });
        }
        // In the middle of a few dozen operations, at any moment of one.
        let enough = 30 + dice.roll(60) as usize;
        while done.load(Ordering::SeqCst) < enough {
            assert!(tasks.try_join_next().is_none(), "a worker gave up");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_micros(dice.roll(4000))).await;
        signal(vault.pid(), "KILL");
        while let Some(task) = tasks.join_next().await {
            task.unwrap();
        }
        book = Arc::into_inner(shared).unwrap().into_inner().unwrap();
        vault = vault.kill_and_reopen(&[]);
        compare(&vault, &mut book, round).await;
    }
    let (grants, rotations) = book.totals();
    println!("{grants} leases and {rotations} rotations over {ROUNDS} kills");
    assert!(grants + rotations >= 60, "{grants} + {rotations}");
}
