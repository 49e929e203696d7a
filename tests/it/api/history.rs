//! History read back: filters, pages and orders.

use serde_json::json;

use super::{ask, audit::history, text};
use crate::support::Vault;

#[tokio::test(flavor = "multi_thread")]
async fn history_is_filtered_and_walked_in_either_order() {
    let vault = Vault::dev();
    for name in ["a", "b"] {
        vault.store(name, "v", json!({"max_leases": 3})).await;
    }
    let mut leases = Vec::new();
    for session in ["s-1", "s-2", "s-3"] {
        leases.push(
            vault
                .lease(json!({"credential_name": "a", "identity": {"session_id": session}}))
                .await,
        );
    }
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    ask(&vault, json!({"credential_name": "a"}))
        .await
        .fails(409, "LEASE_LIMIT_REACHED");
    let refused = history(&vault, "outcome=refused").await.data(200);
    let since = text(&refused[0], "time").to_owned();
    let id = text(&leases[1], "id");
    for (query, expected) in [
        ("credential_name=b".to_owned(), 1),
        ("credential_name=a".to_owned(), 5),
        ("credential_name=a&outcome=success".to_owned(), 4),
        ("outcome=refused".to_owned(), 1),
        ("event=lease.issued".to_owned(), 3),
        ("event=lease.issued&session_id=s-2".to_owned(), 1),
        (format!("lease_id={id}"), 1),
        ("identity=claude-code&event=lease.issued".to_owned(), 3),
        ("identity=nobody".to_owned(), 0),
        (format!("since={since}&credential_name=a"), 1),
        (format!("until={since}&credential_name=a"), 4),
        ("event=credential.deleted".to_owned(), 0),
    ] {
        let answer = history(&vault, &query).await;
        assert_eq!(
            answer.body["page"]["total"], expected,
            "{query} {}",
            answer.text
        );
        assert_eq!(
            answer.body["data"].as_array().unwrap().len(),
            expected,
            "{query}"
        );
    }
    for sort in ["time", "-time"] {
        let whole = history(&vault, &format!("credential_name=a&sort={sort}"))
            .await
            .data(200);
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = history(
                &vault,
                &format!("credential_name=a&limit=2&sort={sort}{cursor}"),
            )
            .await
            .body;
            seen.extend(page["data"].as_array().unwrap().clone());
            match page["page"]["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(json!(seen), whole);
        let order: Vec<_> = seen
            .iter()
            .map(|one| one["sequence"].as_u64().unwrap())
            .collect();
        assert!(
            order.windows(2).all(|pair| if sort == "time" {
                pair[0] < pair[1]
            } else {
                pair[0] > pair[1]
            }),
            "{order:?}"
        );
    }
    for query in [
        "event=lease",
        "outcome=failed",
        "lease_id=x",
        "since=now",
        "until=1",
        "who=x",
        "sort=event",
        "limit=0",
        "cursor=zz",
    ] {
        history(&vault, query).await.fails(400, "INVALID_PARAMETER");
    }
}
