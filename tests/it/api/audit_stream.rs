//! The live stream of history: resumed without a gap, ended with its caller's rights, with its vault and its reader.

use std::time::Duration;

use serde_json::{Value, json};

use super::{GET, POST, audit::history, text};
use crate::support::Vault;

/// Longer than anything here takes, so that what hangs is a failure and not a wait.
const LONG: Duration = Duration::from_secs(60);

/// A stream, read event by event.
struct Stream {
    response: reqwest::Response,
    text: String,
}

/// The fields of an event.
#[derive(Debug, Default)]
struct Event {
    id: Option<u64>,
    kind: String,
    data: Option<Value>,
}

impl Stream {
    async fn open(vault: &Vault, key: &str, query: &str, last: Option<u64>) -> Self {
        let url = format!("{}/v1/audit/stream?{query}", vault.address);
        let mut request = crate::support::client().get(url).bearer_auth(key);
        if let Some(last) = last {
            request = request.header("last-event-id", last.to_string());
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let text = String::new();
        Self { response, text }
    }

    /// The next event; none at the end.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let mut found = Event::default();
                for line in event.lines() {
                    match line.split_once(": ") {
                        Some(("id", id)) => found.id = id.parse().ok(),
                        Some(("event", kind)) => found.kind = kind.to_owned(),
                        Some(("data", data)) => found.data = serde_json::from_str(data).ok(),
                        _ => {}
                    }
                }
                self.text = rest.to_owned();
                return Some(found);
            }
            let chunk = tokio::time::timeout(LONG, self.response.chunk()).await;
            let chunk = chunk.expect("the stream hangs").ok().flatten()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The next record.
    async fn record(&mut self) -> Value {
        loop {
            let event = self.next().await.expect("the stream ended");
            assert_eq!(event.kind, "", "{event:?}");
            if let Some(data) = event.data {
                assert_eq!(event.id, data["sequence"].as_u64());
                return data;
            }
        }
    }

    /// Why it ends, past whatever else is on its way.
    async fn end(&mut self) -> String {
        loop {
            let event = self.next().await.expect("no word of the end");
            if event.kind == "end" {
                let code = text(event.data.as_ref().unwrap(), "code").to_owned();
                assert!(self.next().await.is_none());
                return code;
            }
        }
    }
}

/// Waits until history has so many records that match.
async fn recorded(vault: &Vault, query: &str, expected: usize) -> Vec<Value> {
    let begun = std::time::Instant::now();
    loop {
        let found = history(vault, query).await.data(200);
        let found = found.as_array().unwrap().clone();
        if found.len() >= expected {
            return found;
        }
        assert!(begun.elapsed() < LONG, "{query}: {found:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_come_as_they_are_made_and_a_break_loses_and_repeats_none() {
    let vault = Vault::dev();
    let query = "event=credential.created";
    let mut stream = Stream::open(&vault, &vault.admin_key, query, None).await;
    // Where it begins is told at once.
    let begins = stream.next().await.unwrap().id.unwrap();
    for name in ["a", "b", "c"] {
        vault.store(name, "v", json!({})).await;
    }
    let first = stream.record().await;
    assert_eq!(first["credential_name"], "a");
    assert!(first["sequence"].as_u64().unwrap() > begins);
    let shown = vault
        .admin(GET, &format!("/v1/audit/{}", first["sequence"]), None)
        .await;
    assert_eq!(shown.data(200), first);
    // It breaks after the first, more happens, and it goes on behind that one.
    drop(stream);
    vault.store("d", "v", json!({})).await;
    let last = first["sequence"].as_u64();
    let mut stream = Stream::open(&vault, &vault.admin_key, query, last).await;
    vault.store("e", "v", json!({})).await;
    for expected in ["b", "c", "d", "e"] {
        assert_eq!(stream.record().await["credential_name"], expected);
    }
    drop(stream);
    // All of it from the beginning, to the end.
    let mut whole = Stream::open(&vault, &vault.admin_key, "follow=false", Some(0)).await;
    let mut sequences = Vec::new();
    let code = loop {
        let event = whole.next().await.unwrap();
        match (event.kind.as_str(), event.data) {
            ("end", data) => break text(&data.unwrap(), "code").to_owned(),
            (_, Some(_)) => sequences.extend(event.id),
            (_, None) => {}
        }
    };
    assert_eq!(code, "caught_up");
    let listed = history(&vault, "sort=time&limit=200").await.data(200);
    let listed: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["sequence"].as_u64().unwrap())
        .collect();
    assert!(
        listed.starts_with(&sequences) && sequences.len() > 10,
        "{sequences:?}"
    );
    // Each beginning and each end is in history.
    let read = recorded(
        &vault,
        "event=audit.read&object=a%20live%20stream&limit=200",
        6,
    )
    .await;
    let reasons: Vec<_> = read.iter().map(|one| text(one, "reason")).collect();
    assert!(
        reasons.iter().filter(|one| one.contains("begins")).count() == 3,
        "{reasons:?}"
    );
    assert!(
        reasons
            .iter()
            .filter(|one| one.contains("ends: its reader went away"))
            .count()
            == 2,
        "{reasons:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_the_rights_of_its_caller_and_shows_nothing_that_came_after() {
    let vault = Vault::dev();
    let body = json!({"name": "watcher", "type": "service", "role": "auditor"});
    let other = vault.admin(POST, "/v1/identities", Some(body)).await;
    // Roles of the organisation are for its own identities.
    let role = match other.status.as_u16() {
        201 => "auditor",
        _ => panic!("{}", other.text),
    };
    let body =
        json!({"name": "k", "role": role, "identity": {"name": "watcher", "type": "service"}});
    let key = vault
        .admin(POST, "/v1/api-keys", Some(body))
        .await
        .data(201);
    let mut stream =
        Stream::open(&vault, text(&key, "key"), "event=credential.created", None).await;
    vault.store("before", "v", json!({})).await;
    assert_eq!(stream.record().await["credential_name"], "before");
    let path = format!("/v1/api-keys/{}/pause", text(&key, "id"));
    vault.admin(POST, &path, None).await.data(200);
    vault.store("after", "v", json!({})).await;
    let mut seen = Vec::new();
    let end = loop {
        let event = stream.next().await.expect("no word of the end");
        if event.kind == "end" {
            break event.data.unwrap();
        }
        seen.extend(event.data);
    };
    assert_eq!((text(&end, "code"), seen.len()), ("refused", 0), "{seen:?}");
    assert!(text(&end, "reason").contains("KEY_PAUSED"), "{end}");
    let ends = recorded(&vault, "event=audit.read&actor=watcher", 2).await;
    assert!(text(&ends[0], "reason").contains("KEY_PAUSED"));
    assert_eq!(ends[0]["actor"]["name"], "watcher");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_streams_at_once_and_records_it() {
    let vault = Vault::dev();
    let mut stream = Stream::open(&vault, &vault.admin_key, "", None).await;
    stream.next().await.unwrap();
    let ending = tokio::spawn(async move { stream.end().await });
    let vault = tokio::task::spawn_blocking(|| vault.restart(&[]))
        .await
        .unwrap();
    assert_eq!(ending.await.unwrap(), "stopping");
    let ends = recorded(&vault, "event=audit.read&object=a%20live%20stream", 2).await;
    assert!(
        text(&ends[0], "reason").contains("the vault is stopping"),
        "{ends:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_counted_and_refused_like_anything_else() {
    let vault = Vault::dev();
    let mut open = Vec::new();
    for _ in 0..8 {
        open.push(Stream::open(&vault, &vault.admin_key, "", None).await);
    }
    let refused = vault.admin(GET, "/v1/audit/stream", None).await;
    refused.fails(429, "QUOTA_EXCEEDED");
    open.pop();
    let begun = std::time::Instant::now();
    // The place is free once the stream noticed.
    while vault
        .admin(GET, "/v1/audit/stream?follow=false", None)
        .await
        .status
        != 200
    {
        assert!(begun.elapsed() < LONG);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    vault
        .agent(GET, "/v1/audit/stream", None)
        .await
        .fails(403, "INSUFFICIENT_PERMISSIONS");
    for query in [
        "limit=3",
        "until=2026-06-13T10:30:00Z",
        "sort=time",
        "follow=maybe",
        "event=x",
    ] {
        let path = format!("/v1/audit/stream?{query}");
        vault
            .admin(GET, &path, None)
            .await
            .fails(400, "INVALID_PARAMETER");
    }
    // One that history never reached too: else all would be passed over until it is.
    for last in ["x", "1000000"] {
        let headers = [("last-event-id", last)];
        let path = "/v1/audit/stream?follow=false";
        let refused = vault
            .request(GET, path, &vault.admin_key, None, &headers)
            .await;
        let body = refused.fails(400, "INVALID_PARAMETER");
        assert!(text(&body, "message").contains(match last {
            "x" => "sequence number",
            _ => "never reached 1000000",
        }));
    }
    let tail = crate::support::leasehold()
        .args(["audit", "tail", "--after", "1000000"])
        .env("LEASEHOLD_ADDR", &vault.address)
        .env("LEASEHOLD_KEY", &vault.admin_key)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&tail.stderr).into_owned();
    assert!(
        !tail.status.success() && said.contains("never reached"),
        "{said}"
    );
}
