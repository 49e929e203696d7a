//! Odd paths and queries, and walks through lists.

use serde_json::{Value, json};

use super::{GET, PATCH, POST, millis, raw, take, text};
use crate::support::Vault;

#[tokio::test(flavor = "multi_thread")]
async fn odd_paths_reach_nothing_and_break_nothing() {
    let vault = Vault::dev();
    vault.store("a", "v", json!({})).await;
    let auth = format!("Bearer {}", vault.admin_key);
    let headers = [("authorization", auth.as_str())];
    let ok = raw::send(&vault, "GET /v1/credentials/%61", &headers, b"");
    assert_eq!((ok.status, &ok.body["data"]["name"]), (200, &json!("a")));
    for path in [
        "/v1/credentials/..",
        "/v1/credentials/../credentials/a",
        "/v1/credentials/%2e%2e",
        "/v1/credentials/%2e%2e/credentials/a",
        "/v1/credentials/%2E",
        "/v1//credentials",
        "//v1/credentials",
        "/v1/credentials//a",
        "/v1/credentials/a/",
        "/v1/credentials/a%2Fversions",
        "/v1/credentials/a%00",
        "/v1/credentials/%00",
        "/v1/credentials/%",
        "/v1/credentials/%zz",
        "/v1/credentials/%ff",
        "/v1/credentials/%c0%ae",
        "/v1/credentials/%E2%80%AEa",
        "/v1/credentials/a%CC%81",
        "/v1/credentials/%EF%BD%81",
        "/v1/credentials/a%0d%0aX-Evil:%201",
        "/v1/credentials/a;b",
        "/v1/leases/..%2f..%2fhealth",
        "/v1/leases/%00",
        "/v1/leases/lse_%2e%2e",
        "/v1/leases/lse_",
        "/V1/credentials/a",
        "/v1/credentials/A",
        "/v1/credentials/a/versions/..",
    ] {
        let answer = raw::send(&vault, &format!("GET {path}"), &headers, b"");
        answer.refuses(&[400, 404, 405], path);
        assert!(!answer.head.contains("x-evil"), "{}", answer.head);
    }
    for line in [
        "GET /v1/credentials/\u{e9}",
        "GET v1/credentials",
        "GET  /health",
        "G\u{0}T /health",
        "GET /v1/credentials/a\u{0}",
    ] {
        let bytes = format!(
            "{line} HTTP/1.1\r\nHost: v\r\nConnection: close\r\nAuthorization: {auth}\r\n\r\n"
        )
        .into_bytes();
        let answer = raw::exchange(&vault, &bytes);
        assert!(
            (400..500).contains(&answer.status),
            "{line:?} {} {}",
            answer.status,
            answer.text
        );
    }
    for query in ["limit=%zz", "name=%ff", "name=%00", "=", "&&", "name=..%2f"] {
        let answer = raw::send(
            &vault,
            &format!("GET /v1/credentials?{query}"),
            &headers,
            b"",
        );
        assert!(answer.status < 500, "{query} {}", answer.text);
    }
    for path in [
        "/api-docs/../v1/none",
        "/api-docs/%2e%2e/Cargo.toml",
        "/api-docs/..%2f..%2fetc%2fpasswd",
    ] {
        let answer = raw::send(&vault, &format!("GET {path}"), &headers, b"");
        assert_eq!(answer.status, 404, "{path}");
    }
    // A version is revoked for good: its number is digits and nothing else.
    for number in ["+1", "%2B1", "-1", "1.0", "1e0", "4294967297"] {
        let path = format!("/v1/credentials/a/versions/{number}/revoke");
        vault
            .admin(POST, &path, None)
            .await
            .fails(400, "INVALID_PARAMETER");
    }
    let versions = vault.admin(GET, "/v1/credentials/a/versions", None).await;
    assert_eq!(versions.data(200)[0]["state"], "current");
    vault.admin(GET, "/ready", None).await.data(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_walked_whole_by_cursor_and_by_offset() {
    let vault = Vault::dev();
    for n in 0..7 {
        vault.store(&format!("walk-{n}"), "v", json!({})).await;
    }
    let page = |query: String| {
        let vault = &vault;
        async move {
            vault
                .admin(GET, &format!("/v1/credentials?{query}"), None)
                .await
        }
    };
    let names = |body: &Value| -> Vec<String> {
        body["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| text(one, "name").to_owned())
            .collect()
    };
    let total = page("limit=1".into()).await.body["page"]["total"]
        .as_u64()
        .unwrap();
    for sort in [
        "created_at",
        "-created_at",
        "name",
        "-name",
        "updated_at",
        "-updated_at",
    ] {
        let whole = names(&page(format!("limit=200&sort={sort}")).await.body);
        assert_eq!(whole.len() as u64, total);
        let (mut seen, mut cursor, mut offset) = (vec![], String::new(), 0);
        loop {
            let answer = page(format!("limit=3&sort={sort}{cursor}")).await.body;
            assert_eq!(
                (&answer["page"]["total"], &answer["page"]["limit"]),
                (&json!(total), &json!(3))
            );
            let by_offset = page(format!("limit=3&sort={sort}&offset={offset}"))
                .await
                .body;
            assert_eq!(names(&by_offset), names(&answer), "{sort} {offset}");
            seen.extend(names(&answer));
            offset += 3;
            match answer["page"]["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(seen, whole, "{sort}");
    }
    let cursor = page("limit=1&sort=name".into()).await.body["page"]["next_cursor"]
        .as_str()
        .unwrap()
        .to_owned();
    for query in [
        "limit=0",
        "limit=201",
        "limit=-1",
        "limit=+1",
        "limit=1.5",
        "limit=many",
        "limit=",
        "offset=-1",
        "offset=99999999999999999999",
        "cursor=",
        "cursor=AAAA",
        "cursor=%00",
        "sort=",
        "sort=--name",
        "sort=value",
        "limit=1&limit=2",
        &format!("cursor={cursor}&sort=-name"),
        &format!("cursor={cursor}&offset=1&sort=name"),
    ] {
        page(query.to_owned()).await.fails(400, "INVALID_PARAMETER");
    }
    assert_eq!(names(&page("offset=1000".into()).await.body).len(), 0);
    for path in ["/v1/leases", "/v1/audit", "/v1/credentials/walk-0/versions"] {
        for query in ["limit=0", "limit=201", "cursor=AAAA", "sort=x", "offset=-1"] {
            vault
                .admin(GET, &format!("{path}?{query}"), None)
                .await
                .fails(400, "INVALID_PARAMETER");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_behind_a_question_mark_is_read_or_refused() {
    let vault = Vault::dev();
    vault.store("a", "v", json!({})).await;
    // A request with a body takes no parameters: what was meant to narrow a change must not be passed over.
    for (method, path, body) in [
        (
            POST,
            "/v1/credentials",
            json!({"name": "c", "type": "api-key", "value": "v"}),
        ),
        (PATCH, "/v1/credentials/a", json!({"state": "revoked"})),
        (
            POST,
            "/v1/credentials/a/versions/1/revoke",
            json!({"reason": "r"}),
        ),
        (POST, "/v1/leases/revoke", json!({"all": true})),
    ] {
        let failure = vault
            .admin(method, &format!("{path}?dry_run=true"), Some(body))
            .await
            .fails(400, "INVALID_PARAMETER");
        assert_eq!(failure["details"]["field"], "dry_run", "{path}");
    }
    let list = |path| vault.admin(GET, path, None);
    let made = list("/v1/credentials?name=c").await;
    assert_eq!(made.body["page"]["total"], 0);
    let kept = list("/v1/credentials/a").await.data(200);
    assert_eq!(
        (&kept["state"], &kept["current_version"]),
        (&json!("active"), &json!(1))
    );
    for query in ["name=%ff", "name=a%c3", "%fe=a"] {
        vault
            .admin(GET, &format!("/v1/credentials?{query}"), None)
            .await
            .fails(400, "INVALID_PARAMETER");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_narrowed_to_when_things_were_made() {
    let vault = Vault::dev();
    vault.store("a", "v", json!({})).await;
    let issuer = json!({
        "name": "ci", "iss": "https://ci", "jwks_url": "https://ci/jwks", "audiences": ["vault"],
        "conditions": {"sub": "me"}, "identity": {"name": "ci"},
    });
    for (path, body) in [
        ("/v1/issuers", issuer),
        ("/v1/tokens", json!({"expires_in": "1h"})),
    ] {
        vault.admin(POST, path, Some(body)).await.data(201);
    }
    let whoami = vault.admin(GET, "/v1/auth/whoami", None).await.data(200);
    let usage = format!("/v1/api-keys/{}/usage", text(&whoami["key"], "id"));
    for path in [
        "/v1/credentials",
        "/v1/credentials/a/versions",
        "/v1/identities",
        "/v1/api-keys",
        &usage,
        "/v1/tokens",
        "/v1/workspaces",
        "/v1/issuers",
        "/v1/leases",
        "/v1/audit",
    ] {
        if path == "/v1/leases" {
            take(&vault, "a").await;
        }
        let list = async |query: &str| vault.admin(GET, &format!("{path}?{query}"), None).await;
        let first = list("limit=1").await.data(200);
        let at = ["created_at", "issued_at", "time"]
            .iter()
            .find_map(|field| first[0][field].as_str());
        let at = at
            .unwrap_or_else(|| panic!("{path} has no time"))
            .to_owned();
        let times = async |query: String| {
            let listed = list(&format!("limit=200&{query}")).await.data(200);
            let of = |one: &Value| {
                let fields = ["created_at", "issued_at", "time"];
                fields.iter().find_map(|field| one.get(field)).map(millis)
            };
            let items = listed.as_array().unwrap().iter();
            items.map(|one| of(one).unwrap()).collect::<Vec<_>>()
        };
        let limit = millis(&json!(at));
        let from = times(format!("since={at}")).await;
        assert!(
            !from.is_empty() && from.iter().all(|time| *time >= limit),
            "{path}"
        );
        let before = times(format!("until={at}")).await;
        assert!(before.iter().all(|time| *time < limit), "{path}");
        let never = times("since=2999-01-01T00:00:00Z".into()).await;
        assert_eq!(never.len(), 0, "{path}");
        list("since=yesterday")
            .await
            .fails(400, "INVALID_PARAMETER");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_narrowed_to_a_state() {
    let vault = Vault::dev();
    vault.store("a", "v", json!({})).await;
    take(&vault, "a").await;
    for value in ["w", "x"] {
        let body = json!({"new_value": value, "on_open_leases": "drain"});
        vault
            .admin(POST, "/v1/credentials/a/rotate", Some(body))
            .await
            .data(200);
    }
    let numbers = async |query: &str| {
        let path = format!("/v1/credentials/a/versions?{query}");
        let listed = vault.admin(GET, &path, None).await.data(200);
        let items = listed.as_array().unwrap().iter();
        items
            .map(|one| one["number"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(numbers("state=current").await, [3]);
    assert_eq!(numbers("state=rotated").await, [1]);
    assert_eq!(numbers("state=retired").await, [2]);
    assert_eq!(numbers("state=revoked").await, [0; 0]);
    assert_eq!(numbers("sort=created_at").await, [1, 2, 3]);
    assert_eq!(numbers("sort=-created_at").await, [3, 2, 1]);
    let wrong = "/v1/credentials/a/versions?state=old";
    vault
        .admin(GET, wrong, None)
        .await
        .fails(400, "INVALID_PARAMETER");
}
