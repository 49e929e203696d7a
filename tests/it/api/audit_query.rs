//! Searching history: what each filter finds, pages, one record, and what is no filter.

use serde_json::{Value, json};

use super::{GET, PATCH, POST, audit::history, take, text};
use crate::support::Vault;

fn sequences(body: &Value) -> Vec<u64> {
    let records = body["data"].as_array().unwrap().iter();
    records
        .map(|one| one["sequence"].as_u64().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_filter_finds_what_it_says_and_nothing_else() {
    let vault = Vault::dev();
    for name in ["a", "b"] {
        vault.store(name, "v", json!({})).await;
    }
    let session = json!({"credential_name": "a", "identity": {"session_id": "s-1"}});
    let lease = vault.lease(session).await;
    take(&vault, "b").await;
    let credential = text(
        &vault.admin(GET, "/v1/credentials/a", None).await.data(200),
        "id",
    )
    .to_owned();
    let rotated = json!({"new_value": "w"});
    vault
        .admin(POST, "/v1/credentials/a/rotate", Some(rotated))
        .await
        .data(200);
    vault
        .agent(GET, "/v1/credentials", None)
        .await
        .fails(403, "INSUFFICIENT_PERMISSIONS");
    let suspended = json!({"description": "d"});
    vault
        .admin(PATCH, "/v1/credentials/b", Some(suspended))
        .await
        .data(200);
    let whoami = vault.agent(GET, "/v1/auth/whoami", None).await.data(200);
    let (key, identity) = (text(&whoami["key"], "id"), text(&whoami["identity"], "id"));
    let lease_id = text(&lease, "id");
    let all = history(&vault, "limit=200").await.body;
    let last = all["data"][0]["sequence"].as_u64().unwrap();

    let is = |field: &'static str, value: &str| {
        let value = value.to_owned();
        move |one: &Value| one[field] == value.as_str()
    };
    type Naive = Box<dyn Fn(&Value) -> bool>;
    let own = whoami["identity"]["name"].as_str().unwrap().to_owned();
    let held = own.clone();
    let cases: Vec<(String, Naive)> = vec![
        (
            "event=lease.issued".into(),
            Box::new(is("event", "lease.issued")),
        ),
        (
            "event=lease.issued,authz.denied".into(),
            Box::new(|one| ["lease.issued", "authz.denied"].contains(&text(one, "event"))),
        ),
        (
            format!("actor={own}"),
            Box::new(move |one| one["actor"]["name"] == own.as_str()),
        ),
        (
            format!("identity={held}"),
            Box::new(move |one| {
                one["actor"]["name"] == held.as_str() || one["holder"] == held.as_str()
            }),
        ),
        (
            format!("identity={identity}&event=lease.issued"),
            Box::new(is("event", "lease.issued")),
        ),
        (format!("key_id={key}"), {
            let key = key.to_owned();
            Box::new(move |one| one["actor"]["key_id"] == key.as_str())
        }),
        ("session_id=s-1".into(), Box::new(is("session_id", "s-1"))),
        (
            "credential_name=b".into(),
            Box::new(is("credential_name", "b")),
        ),
        (
            format!("credential_id={credential}"),
            Box::new(is("credential_id", &credential)),
        ),
        ("version=1".into(), Box::new(|one| one["version"] == 1)),
        (
            "credential_name=a&version=1".into(),
            Box::new(|one| one["credential_name"] == "a" && one["version"] == 1),
        ),
        (
            format!("lease_id={lease_id}"),
            Box::new(is("lease_id", lease_id)),
        ),
        ("outcome=refused".into(), Box::new(is("outcome", "refused"))),
        (
            "code=INSUFFICIENT_PERMISSIONS".into(),
            Box::new(is("code", "INSUFFICIENT_PERMISSIONS")),
        ),
        (
            "source_ip=127.0.0.1".into(),
            Box::new(is("source_ip", "127.0.0.1")),
        ),
        (
            "source_ip=127.0.0.0/9".into(),
            Box::new(is("source_ip", "127.0.0.1")),
        ),
        (
            "source_ip=::ffff:127.0.0.1".into(),
            Box::new(is("source_ip", "127.0.0.1")),
        ),
        ("source_ip=10.0.0.0/8".into(), Box::new(|_| false)),
        ("actor=nobody".into(), Box::new(|_| false)),
    ];
    for (query, naive) in cases {
        let mut expected: Vec<u64> = all["data"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|one| naive(one))
            .map(|one| one["sequence"].as_u64().unwrap())
            .collect();
        for sort in ["-time", "time"] {
            let found = history(&vault, &format!("{query}&limit=200&sort={sort}"))
                .await
                .body;
            // Reading history is part of it, behind what there was.
            let mut seen = sequences(&found);
            assert_eq!(found["page"]["total"], seen.len(), "{query}");
            seen.retain(|one| *one <= last);
            if sort == "time" {
                expected.reverse();
            }
            assert_eq!(seen, expected, "{query}");
        }
    }
    for query in [
        "event=lease.issued,nothing",
        "event=",
        "key_id=1",
        "token_id=key_1",
        "credential_id=a",
        "version=x",
        "source_ip=1.2.3",
        "source_ip=1.2.3.4/33",
        "actor=a&actor=b",
        "nonsense=1",
    ] {
        let refused = history(&vault, query).await;
        refused.fails(400, "INVALID_PARAMETER");
    }
    let token = format!("key_id={key}&token_id=tok_{}", "0".repeat(32));
    history(&vault, &token)
        .await
        .fails(400, "INVALID_PARAMETER");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_shown_by_number_and_by_id_and_showing_it_is_recorded() {
    let vault = Vault::dev();
    vault.store("a", "v", json!({})).await;
    let found = history(&vault, "event=credential.created&credential_name=a")
        .await
        .data(200);
    let (sequence, id) = (
        found[0]["sequence"].clone(),
        text(&found[0], "id").to_owned(),
    );
    for which in [sequence.to_string(), id.clone()] {
        let shown = vault.admin(GET, &format!("/v1/audit/{which}"), None).await;
        assert_eq!(shown.data(200), found[0]);
        let read = history(&vault, "event=audit.read&limit=2").await.data(200);
        let object = text(&read[1], "object");
        assert!(
            object == id || object == format!("record {sequence}"),
            "{object}"
        );
    }
    for none in ["0", "999999", &format!("evt_{}", "0".repeat(32))] {
        let missing = vault.admin(GET, &format!("/v1/audit/{none}"), None).await;
        missing.fails(404, "NOT_FOUND");
    }
    for bad in ["+1", "x", "lse_1", "-1"] {
        let refused = vault.admin(GET, &format!("/v1/audit/{bad}"), None).await;
        refused.fails(400, "INVALID_PARAMETER");
    }
    // INVARIANT (isolation): a record of another workspace is a missing one.
    let body = json!({"name": "other"});
    vault
        .admin(POST, "/v1/workspaces", Some(body))
        .await
        .data(201);
    for which in [sequence.to_string(), id] {
        let path = format!("/v1/audit/{which}");
        let headers = [("x-workspace", "other")];
        let foreign = vault
            .request(GET, &path, &vault.admin_key, None, &headers)
            .await;
        foreign.fails(404, "NOT_FOUND");
    }
    vault
        .agent(GET, &format!("/v1/audit/{sequence}"), None)
        .await
        .fails(403, "INSUFFICIENT_PERMISSIONS");
}

/// Records that are added between two pages move none: each of before is given once, in its order.
#[tokio::test(flavor = "multi_thread")]
async fn pages_stay_right_while_records_are_added() {
    let vault = Vault::dev();
    for number in 0..7 {
        vault.store(&format!("c-{number}"), "v", json!({})).await;
    }
    for sort in ["time", "-time"] {
        let query = format!("event=credential.created&sort={sort}");
        let before = history(&vault, &format!("{query}&limit=200")).await.body;
        let before = sequences(&before);
        assert!(before.is_sorted_by(|one, next| (one < next) == (sort == "time")));
        let (mut seen, mut cursor, mut added) = (Vec::new(), String::new(), 0);
        loop {
            let page = history(&vault, &format!("{query}&limit=2{cursor}"))
                .await
                .body;
            seen.extend(sequences(&page));
            let Some(next) = page["page"]["next_cursor"].as_str() else {
                break;
            };
            cursor = format!("&cursor={next}");
            if added < 3 {
                let name = format!("{}-{added}", sort.replace('-', "down-"));
                vault.store(&name, "v", json!({})).await;
                added += 1;
            }
        }
        assert_eq!(added, 3);
        // In the order of time what came meanwhile follows; against it, it lies before the first page.
        let after = history(&vault, &format!("{query}&limit=200")).await.body;
        let expected = if sort == "time" {
            sequences(&after)
        } else {
            before.clone()
        };
        assert_eq!(seen, expected, "{sort}");
        assert_eq!(sequences(&after).len(), before.len() + added);
        // A cursor goes on in its own order alone.
        let other = if sort == "time" { "-time" } else { "time" };
        let turned = format!("event=credential.created&sort={other}{cursor}");
        history(&vault, &turned)
            .await
            .fails(400, "INVALID_PARAMETER");
    }
    for sort in ["event", "created_at", "-sequence", "", "--time"] {
        let refused = history(&vault, &format!("sort={sort}")).await;
        let body = refused.body.clone();
        refused.fails(400, "INVALID_PARAMETER");
        assert_eq!(body["details"]["field"], "sort", "{body}");
        let told = "`sort` must be one of `time`, with `-` in front to reverse";
        assert_eq!(body["message"], told, "{body}");
    }
}
