//! Requests that race a stop: over when it is answered, or refused.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use super::*;

/// What the agent got of a request that it began at some time.
struct Use {
    begun_after: bool,
    granted: bool,
}

/// Grants and redemptions without a pause, until they are refused.
async fn hammer(
    vault: &Vault,
    name: &str,
    answered: &AtomicBool,
    grants: &AtomicUsize,
    uses: &mut Vec<Use>,
) {
    let mut refused_after = 0;
    let mut handle: Option<Value> = None;
    while refused_after < 3 {
        let begun_after = answered.load(Ordering::SeqCst);
        let answer = match handle.take() {
            Some(handle) => vault.redeem(handle.as_str().unwrap()).await,
            None => ask(vault, json!({"credential_name": name})).await,
        };
        let granted = answer.status.is_success();
        if granted && answer.status == 201 {
            grants.fetch_add(1, Ordering::SeqCst);
            handle = Some(answer.body["data"]["handle"].clone());
        }
        refused_after += usize::from(begun_after && !granted);
        uses.push(Use {
            begun_after,
            granted,
        });
    }
}

// INVARIANT (stop-is-complete)
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_races_a_suspension_is_over_or_refused_when_it_is_answered() {
    const CLIENTS: usize = 24;
    const CREDENTIALS: usize = 6;
    const ROUNDS: usize = 8;
    let vault = Arc::new(Vault::dev());
    for number in 0..CREDENTIALS {
        let name = format!("c{number}");
        vault
            .store(&name, "v", json!({"max_leases": 100_000}))
            .await;
    }
    for round in 0..ROUNDS {
        let answered = Arc::new(AtomicBool::new(false));
        let grants = Arc::new(AtomicUsize::new(0));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (vault, answered) = (vault.clone(), answered.clone());
                let grants = grants.clone();
                tokio::spawn(async move {
                    let mut uses = Vec::new();
                    let name = format!("c{}", client % CREDENTIALS);
                    hammer(&vault, &name, &answered, &grants, &mut uses).await;
                    uses
                })
            })
            .collect();
        // In full swing.
        while grants.load(Ordering::SeqCst) < 2 * CLIENTS {
            tokio::task::yield_now().await;
        }
        let stopped = suspend(&vault).await;
        let open = active(&vault).await;
        answered.store(true, Ordering::SeqCst);
        assert_eq!(open, 0, "round {round}: open when it was answered");
        for client in clients {
            let uses = client.await.unwrap();
            let late = uses.iter().filter(|one| one.begun_after && one.granted);
            assert_eq!(late.count(), 0, "round {round}: used after the answer");
        }
        assert_eq!(active(&vault).await, 0, "round {round}: granted later");
        assert!(stopped["revoked_leases"].as_u64().unwrap() >= CLIENTS as u64);
        resume(&vault).await.data(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_dawdles_does_not_hold_up_a_stop() {
    let vault = Vault::dev();
    vault.store("a", "v", json!({})).await;
    let address = vault.address.strip_prefix("http://").unwrap();
    let mut slow = TcpStream::connect(address).unwrap();
    let body = r#"{"credential_name": "a"}"#;
    let head = format!(
        "POST /v1/leases HTTP/1.1\r\nHost: vault\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        vault.agent_key,
        body.len()
    );
    slow.write_all(head.as_bytes()).unwrap();
    // The vault asks for the body once it reads it: the caller is proven by then.
    let mut told = [0; 25];
    slow.read_exact(&mut told).unwrap();
    assert!(told.starts_with(b"HTTP/1.1 100"), "{told:?}");
    suspend(&vault).await;
    let _ = slow.write_all(body.as_bytes());
    let mut answer = String::new();
    let _ = slow.read_to_string(&mut answer);
    // Had the stop waited for the body, the lease would have been granted before it.
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert_eq!(active(&vault).await, 0);
}

/// A policy that takes a while to read, because there are so many.
fn slow_set(version: usize) -> String {
    let policy = |number: usize| {
        format!(
            r#"@id("p{version}-{number}") forbid (principal == Identity::"agent/nobody-{number}", action, resource) when {{ context.hour > 25 }};"#
        )
    };
    (0..150).map(policy).collect::<Vec<_>>().join("\n")
}

/// Without the barrier the suspension is answered while the vault still reads the policies, and they come into force
/// after it, in the name of somebody who is suspended.
// INVARIANT (stop-is-complete)
#[tokio::test(flavor = "multi_thread")]
async fn what_was_begun_before_a_suspension_is_done_before_it_is_answered() {
    let vault = Arc::new(Vault::dev());
    let person = json!({"name": "ops", "type": "human", "role": "workspace_admin"});
    vault
        .admin(POST, "/v1/identities", Some(person))
        .await
        .data(201);
    let key = json!({"name": "ops", "identity": {"type": "human", "name": "ops"}, "role": "workspace_admin"});
    let key = vault.admin(POST, "/v1/api-keys", Some(key)).await.data(201);
    let address = vault.address.strip_prefix("http://").unwrap().to_owned();
    let mut begun = 0;
    for round in 1..=8 {
        let body = json!({"scope": "workspace", "sources": [{"name": "slow.cedar", "text": slow_set(round)}]});
        let body = body.to_string();
        let head = format!(
            "PUT /v1/policies HTTP/1.1\r\nHost: vault\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
            text(&key, "key"),
            body.len()
        );
        let mut slow = TcpStream::connect(&address).unwrap();
        slow.write_all(head.as_bytes()).unwrap();
        let mut told = [0; 25];
        slow.read_exact(&mut told).unwrap();
        slow.write_all(body.as_bytes()).unwrap();
        // A body that is still on its way then is refused, which proves nothing: a later round waits for longer.
        tokio::time::sleep(std::time::Duration::from_millis(10 << round)).await;
        let suspended = vault
            .admin(POST, "/v1/identities/human/ops/suspend", None)
            .await;
        suspended.data(200);
        let path = "/v1/policies?scope=workspace";
        let in_force = vault.admin(GET, path, None).await;
        let answer = tokio::task::spawn_blocking(move || {
            let mut answer = String::new();
            slow.read_to_string(&mut answer).unwrap();
            answer
        });
        let answer = answer.await.unwrap();
        if answer.starts_with("HTTP/1.1 200") {
            begun += 1;
            let own = format!("p{round}-0");
            assert!(
                in_force.text.contains(&own),
                "round {round}: in force after the answer"
            );
        } else {
            assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        }
        vault
            .admin(POST, "/v1/identities/human/ops/resume", None)
            .await
            .data(200);
        if begun >= 2 {
            return;
        }
    }
    panic!("no request was under way when its caller was suspended");
}
