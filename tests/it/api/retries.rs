//! `Idempotency-Key`: a retry gets the first answer and creates nothing.

use serde_json::json;

use super::{GET, POST, act, ask, shown, text, versions};
use crate::support::{Answer, Vault};

async fn keyed(vault: &Vault, who: &str, path: &str, key: &str, body: serde_json::Value) -> Answer {
    vault
        .request(POST, path, who, Some(body), &[("idempotency-key", key)])
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_gets_the_first_answer_with_handle_and_value_and_creates_nothing() {
    let vault = Vault::dev();
    let admin = vault.admin_key.clone();
    let agent = vault.agent_key.clone();
    let body = json!({"name": "a", "type": "api-key", "value": "the-value"});
    let first = keyed(&vault, &admin, "/v1/credentials", "k-1", body.clone())
        .await
        .data(201);
    assert_eq!(
        keyed(&vault, &admin, "/v1/credentials", "k-1", body.clone())
            .await
            .data(201),
        first
    );
    keyed(&vault, &admin, "/v1/credentials", "k-2", body)
        .await
        .fails(409, "ALREADY_EXISTS");

    let body = json!({"credential_name": "a", "reveal": true, "purpose": "p"});
    let first = keyed(&vault, &agent, "/v1/leases", "k-1", body.clone())
        .await
        .data(201);
    assert_eq!(first["value"], "the-value");
    for _ in 0..2 {
        assert_eq!(
            keyed(&vault, &agent, "/v1/leases", "k-1", body.clone())
                .await
                .data(201),
            first
        );
    }
    assert_eq!(shown(&vault, "a").await["active_leases"], 1);
    vault.redeem(text(&first, "handle")).await.data(200);
    let failure = keyed(
        &vault,
        &agent,
        "/v1/leases",
        "k-1",
        json!({"credential_name": "a"}),
    )
    .await
    .fails(409, "IDEMPOTENCY_CONFLICT");
    assert!(!failure.to_string().contains("the-value"));
    // Another caller's key is another key.
    let other = keyed(
        &vault,
        &admin,
        "/v1/leases",
        "k-1",
        json!({"credential_name": "a"}),
    )
    .await
    .data(201);
    assert_ne!(other["id"], first["id"]);
    // A closed lease shows its value no more, whatever is sent again.
    act(&vault, &first, "release", json!({})).await.data(200);
    let again = keyed(&vault, &agent, "/v1/leases", "k-1", body).await;
    assert!(!again.text.contains("the-value"), "{}", again.text);

    let body = json!({"new_value": "second-value"});
    let path = "/v1/credentials/a/rotate";
    let first = keyed(&vault, &admin, path, "r-1", body.clone())
        .await
        .data(200);
    assert_eq!(
        keyed(&vault, &admin, path, "r-1", body).await.data(200),
        first
    );
    keyed(&vault, &admin, path, "r-1", json!({"new_value": "third"}))
        .await
        .fails(409, "IDEMPOTENCY_CONFLICT");
    assert_eq!(versions(&vault, "a").await.as_array().unwrap().len(), 2);

    // What was refused was not created: the same key may try again.
    let body = json!({"credential_name": "later"});
    keyed(&vault, &agent, "/v1/leases", "k-3", body.clone())
        .await
        .fails(404, "NOT_FOUND");
    vault.store("later", "v", json!({})).await;
    keyed(&vault, &agent, "/v1/leases", "k-3", body.clone())
        .await
        .data(201);
    for key in ["", &"k".repeat(256), "k\u{e9}"] {
        let answer = vault
            .request(
                POST,
                "/v1/leases",
                &agent,
                Some(body.clone()),
                &[("idempotency-key", key)],
            )
            .await;
        answer.fails(400, "INVALID_PARAMETER");
    }
    keyed(&vault, &agent, "/v1/leases", &"k".repeat(255), body)
        .await
        .data(201);
    ask(&vault, json!({"credential_name": "later"}))
        .await
        .data(201);
}

/// What a retry shows counts like any other use, and it shows nothing over the budget.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_does_not_show_a_value_more_often_than_max_uses() {
    let vault = Vault::dev();
    let agent = vault.agent_key.clone();
    for (name, max_uses) in [("one", json!(1)), ("two", json!(2)), ("any", json!(null))] {
        vault
            .store(name, "the-value", json!({"max_uses": max_uses}))
            .await;
        let body = json!({"credential_name": name, "reveal": true});
        let send = async || {
            keyed(&vault, &agent, "/v1/leases", name, body.clone())
                .await
                .data(201)
        };
        let first = send().await;
        assert_eq!(first["value"], "the-value");
        for uses in 2..=3 {
            let again = send().await;
            assert_eq!(
                (&again["id"], &again["handle"]),
                (&first["id"], &first["handle"])
            );
            let within = max_uses.as_u64().is_none_or(|max| uses <= max);
            let expected = match within {
                true => (json!("the-value"), json!(null)),
                false => (json!(null), json!("max_uses")),
            };
            let told = (again["value"].clone(), again["value_withheld"].clone());
            assert_eq!(told, expected, "{name}: {uses}");
        }
        let path = format!("/v1/leases/{}", text(&first, "id"));
        let lease = vault.admin(GET, &path, None).await.data(200);
        let counted = max_uses.as_u64().unwrap_or(3);
        assert_eq!(lease["uses"], json!(counted), "{name}");
        let redeemed = vault.redeem(text(&first, "handle")).await;
        match max_uses.is_null() {
            true => drop(redeemed.data(200)),
            false => drop(redeemed.fails(429, "BUDGET_EXHAUSTED")),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_retries_create_one() {
    let vault = std::sync::Arc::new(Vault::dev());
    vault.store("a", "v", json!({})).await;
    let send = |path: &'static str, body: serde_json::Value, who: String| {
        let tasks: Vec<_> = (0..24)
            .map(|_| {
                let (vault, body, who) = (vault.clone(), body.clone(), who.clone());
                tokio::spawn(async move { keyed(&vault, &who, path, "same", body).await })
            })
            .collect();
        async move {
            let mut answers = Vec::new();
            for task in tasks {
                answers.push(task.await.unwrap());
            }
            answers
        }
    };
    let leases = send(
        "/v1/leases",
        json!({"credential_name": "a", "reveal": true}),
        vault.agent_key.clone(),
    )
    .await;
    let stored = send(
        "/v1/credentials",
        json!({"name": "b", "type": "api-key", "value": "v"}),
        vault.admin_key.clone(),
    )
    .await;
    let rotated = send(
        "/v1/credentials/a/rotate",
        json!({"new_value": "w"}),
        vault.admin_key.clone(),
    )
    .await;
    for answers in [leases, stored, rotated] {
        let first = answers[0].body["data"].clone();
        for answer in answers {
            assert!(answer.status.is_success(), "{}", answer.text);
            assert_eq!(answer.body["data"], first);
        }
    }
    assert_eq!(shown(&vault, "a").await["active_leases"], 1);
    assert_eq!(shown(&vault, "a").await["current_version"], 2);
    let listed = vault.admin(GET, "/v1/credentials?name=b", None).await;
    assert_eq!(listed.body["page"]["total"], 1);
    // The same key at the same instant with different bodies: one wins, the other is told.
    let one = keyed(
        &vault,
        &vault.agent_key,
        "/v1/leases",
        "race",
        json!({"credential_name": "a", "ttl": "1m"}),
    );
    let two = keyed(
        &vault,
        &vault.agent_key,
        "/v1/leases",
        "race",
        json!({"credential_name": "a", "ttl": "2m"}),
    );
    let (one, two) = tokio::join!(one, two);
    let mut statuses = [one.status.as_u16(), two.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409]);
}
