//! What every route shares: the envelope, ids of requests, proof of the caller, bodies, paths and retries.

use serde_json::json;

use super::{DELETE, GET, PATCH, POST, raw, shown, text};
use crate::support::Vault;

fn bearer(key: &str) -> String {
    format!("Bearer {key}")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_the_envelope_and_a_request_id() {
    let vault = Vault::dev();
    let answer = vault.admin(GET, "/v1/credentials", None).await;
    assert_eq!(answer.body["page"]["limit"], 50);
    assert!(answer.body["page"]["next_cursor"].is_null() && answer.body["page"]["total"].is_u64());
    for (name, value) in [
        ("content-type", "application/json"),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(answer.headers[name], value);
    }
    let given = [("x-request-id", "trace-1.a:b_C")];
    for (path, key) in [
        ("/v1/credentials", &vault.admin_key),
        ("/v1/none", &vault.admin_key),
        ("/v1/leases", &String::new()),
        ("/health", &String::new()),
    ] {
        let answer = vault.request(GET, path, key, None, &given).await;
        assert_eq!(answer.headers["x-request-id"], "trace-1.a:b_C", "{path}");
        if !answer.status.is_success() {
            assert_eq!(answer.body["request_id"], "trace-1.a:b_C", "{path}");
        }
    }
    let long = "a".repeat(129);
    for bad in ["", "a b", "a/b", "<script>", &long, &vault.admin_key] {
        let answer = vault
            .request(
                GET,
                "/v1/none",
                &vault.admin_key,
                None,
                &[("x-request-id", bad)],
            )
            .await;
        let id = answer.headers["x-request-id"].to_str().unwrap();
        assert!(
            !id.is_empty() && id != bad && answer.body["request_id"] == id,
            "{bad:?} {id}"
        );
    }
    let first = vault.admin(GET, "/health", None).await;
    let second = vault.admin(GET, "/health", None).await;
    assert_ne!(
        first.headers["x-request-id"],
        second.headers["x-request-id"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_is_proven_before_anything_of_the_request_is_read() {
    let vault = Vault::dev();
    let key = vault.admin_key.clone();
    for scheme in ["Bearer", "ApiKey", "bearer", "APIKEY"] {
        let answer = vault
            .request(
                GET,
                "/v1/auth/whoami",
                "",
                None,
                &[("authorization", &format!("{scheme} {key}"))],
            )
            .await;
        assert_eq!(answer.data(200)["workspace"], "default", "{scheme}");
    }
    let mut wrong = key.clone();
    let last = if wrong.pop() == Some('0') { '1' } else { '0' };
    wrong.push(last);
    let handle = "lhh_0000000000000000000000000000000000000000000000000000000000000000000000";
    for given in [
        "",
        "Bearer",
        "Bearer ",
        "Basic YTpi",
        &key,
        &format!("Token {key}"),
        &bearer(&wrong),
        &bearer(&key[..key.len() - 1]),
        &bearer("x"),
        &bearer(handle),
        &format!("Bearer {key} {key}"),
        &format!("Bearer {}", key.to_uppercase()),
    ] {
        let headers = if given.is_empty() {
            vec![]
        } else {
            vec![("authorization", given)]
        };
        for (method, path, body) in [
            (GET, "/v1/auth/whoami", None),
            (GET, "/v1/credentials?bogus=1", None),
            (POST, "/v1/leases", Some(json!({"bogus": [1]}))),
            (GET, "/v1/leases/not-an-id", None),
            (DELETE, "/v1/credentials/NOPE", None),
            (PATCH, "/v1/credentials/%00", Some(json!([]))),
        ] {
            let answer = vault.request(method, path, "", body, &headers).await;
            assert!(
                given.len() < 8 || !answer.text.contains(&given[7..]),
                "{}",
                answer.text
            );
            answer.fails(401, "UNAUTHORIZED");
        }
    }
    let big = vault.raw(
        POST,
        "/v1/leases",
        &wrong,
        "text/plain",
        vec![b'{'; 2_000_000],
    );
    big.await.fails(401, "UNAUTHORIZED");
    let twice = raw::send(
        &vault,
        "GET /v1/auth/whoami",
        &[
            ("authorization", &bearer(&wrong)),
            ("authorization", &bearer(&key)),
        ],
        b"",
    );
    assert_eq!(twice.status, 401);
    let whoami = |workspace: &'static str| {
        let headers = [("x-workspace", workspace)];
        let (vault, key) = (&vault, &key);
        async move {
            vault
                .request(GET, "/v1/auth/whoami", key, None, &headers)
                .await
        }
    };
    whoami("default").await.data(200);
    for workspace in ["nothing", "DEFAULT", "", "../default", "a b"] {
        let answer = whoami(workspace).await;
        assert!(
            matches!(answer.status.as_u16(), 400 | 403 | 404) && answer.body["code"].is_string(),
            "{workspace:?} {}",
            answer.text
        );
    }
    let foreign = vault
        .request(
            GET,
            "/v1/auth/whoami",
            &vault.agent_key,
            None,
            &[("x-workspace", "nothing")],
        )
        .await;
    assert!(
        matches!(foreign.status.as_u16(), 403 | 404),
        "{}",
        foreign.text
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_routes_methods_types_fields_and_parameters_have_their_own_refusals() {
    let vault = Vault::dev();
    for path in ["/v1", "/v1/", "/v2/leases", "/v1/lease", "/v1/credentials/"] {
        vault.admin(GET, path, None).await.fails(404, "NOT_FOUND");
    }
    for (method, path) in [
        (DELETE, "/v1/leases"),
        (reqwest::Method::PUT, "/v1/credentials/a"),
        (POST, "/v1/credentials/a"),
        (GET, "/v1/handles/redeem"),
    ] {
        vault
            .admin(method, path, None)
            .await
            .fails(405, "METHOD_NOT_ALLOWED");
    }
    let key = vault.admin_key.clone();
    let body = br#"{"name":"a","type":"api-key","value":"v"}"#.to_vec();
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonx",
        "",
        "json",
    ] {
        let answer = vault
            .raw(POST, "/v1/credentials", &key, kind, body.clone())
            .await;
        answer.fails(415, "UNSUPPORTED_MEDIA_TYPE");
    }
    for kind in ["application/json; charset=utf-8", "Application/JSON"] {
        let answer = vault
            .raw(POST, "/v1/credentials", &key, kind, body.clone())
            .await;
        assert!(
            matches!(answer.status.as_u16(), 201 | 409),
            "{}",
            answer.text
        );
    }
    let over = format!(
        r#"{{"name":"b","type":"api-key","value":"{}"}}"#,
        "x".repeat(1024 * 1024)
    );
    let answer = vault
        .raw(
            POST,
            "/v1/credentials",
            &key,
            "application/json",
            over.into_bytes(),
        )
        .await;
    answer.fails(413, "PAYLOAD_TOO_LARGE");
    for (method, path, body, field) in [
        (
            POST,
            "/v1/credentials",
            json!({"name": "c", "type": "api-key", "value": "v", "valeu": 1}),
            "valeu",
        ),
        (
            POST,
            "/v1/credentials",
            json!({"name": "c", "type": "api-key", "value": "v", "policy": {"ttl": "1h"}}),
            "policy.ttl",
        ),
        (
            POST,
            "/v1/credentials",
            json!({"name": "c", "type": "api-key", "value": "v", "policy": {"egress": {"host": []}}}),
            "policy.egress.host",
        ),
        (
            PATCH,
            "/v1/credentials/a",
            json!({"stat": "active"}),
            "stat",
        ),
        (
            POST,
            "/v1/credentials/a/rotate",
            json!({"new_value": "w", "mode": "cut"}),
            "mode",
        ),
        (
            POST,
            "/v1/credentials/a/versions/1/revoke",
            json!({"why": "x"}),
            "why",
        ),
        (
            POST,
            "/v1/leases",
            json!({"credential_name": "a", "identity": {"id": "x"}}),
            "identity.id",
        ),
        (
            POST,
            "/v1/leases/revoke",
            json!({"filter": {"name": "a"}}),
            "filter.name",
        ),
        (
            POST,
            "/v1/leases/lse_0199a1b2c3d47e8f9a0b1c2d3e4f5a6b/release",
            json!({"now": true}),
            "now",
        ),
        (
            POST,
            "/v1/handles/redeem",
            json!({"handle": "x", "reveal": true}),
            "reveal",
        ),
    ] {
        let failure = vault
            .admin(method, path, Some(body))
            .await
            .fails(400, "INVALID_PARAMETER");
        assert_eq!(failure["details"]["field"], field, "{failure}");
    }
    for path in [
        "/v1/credentials",
        "/v1/credentials/a",
        "/v1/credentials/a/versions",
        "/v1/leases",
        "/v1/audit",
        "/v1/auth/whoami",
    ] {
        let failure = vault
            .admin(GET, &format!("{path}?bogus=1"), None)
            .await
            .fails(400, "INVALID_PARAMETER");
        assert_eq!(failure["details"]["field"], "bogus");
    }
    assert_eq!(shown(&vault, "a").await["state"], "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_one_proper_json_object_is_refused() {
    let vault = Vault::dev();
    let key = vault.admin_key.clone();
    let deep = |open: &str, close: &str| [open.repeat(10_000), close.repeat(10_000)].concat();
    let total = vault.admin(GET, "/v1/credentials", None).await.body["page"]["total"].clone();
    for body in [
        "".into(),
        " ".into(),
        "null".into(),
        "5".into(),
        "\"text\"".into(),
        "[]".into(),
        "[{}]".into(),
        "{".into(),
        "{}{}".into(),
        r#"{"name":"a","type":"api-key","value":"v"} x"#.into(),
        r#"{"name":"a","type":"api-key","value":"v"}{}"#.into(),
        r#"{"name":"a","type":"api-key","value":"v",}"#.into(),
        r#"{'name':'a'}"#.into(),
        r#"{name:"a"}"#.into(),
        r#"["a","api-key","v"]"#.into(),
        r#"{"name":"a","type":"api-key","value":"v","value":"w"}"#.into(),
        r#"{"name":"a","name":"a","type":"api-key","value":"v"}"#.into(),
        r#"{"name":"a","type":"api-key","value":"v","metadata":{"k":"1","k":"2"}}"#.into(),
        r#"{"name":"a","type":"api-key","value":"v","policy":{"max_leases":1,"max_leases":2}}"#
            .into(),
        r#"{"name":"a","type":"api-key","value":"\ud800"}"#.into(),
        r#"{"name":"a","type":"api-key","value":NaN}"#.into(),
        deep("[", "]"),
        deep("{\"a\":", "}"),
        format!(
            r#"{{"name":"a","type":"api-key","value":{}}}"#,
            deep("[", "]")
        ),
        format!(
            r#"{{"name":"a","type":"api-key","value":"v","metadata":{}1{}}}"#,
            "{\"a\":".repeat(10_000),
            "}".repeat(10_000)
        ),
        "[".repeat(100_000),
        "\u{feff}{\"name\":\"a\",\"type\":\"api-key\",\"value\":\"v\"}".into(),
    ] as [String; 27]
    {
        let answer = vault
            .raw(
                POST,
                "/v1/credentials",
                &key,
                "application/json",
                body.clone().into_bytes(),
            )
            .await;
        assert_eq!(answer.status, 400, "{body:.60}: {}", answer.text);
        assert!(
            ["INVALID_REQUEST", "INVALID_PARAMETER", "MISSING_PARAMETER"]
                .contains(&text(&answer.body, "code")),
            "{}",
            answer.text
        );
    }
    let missing = vault
        .raw(POST, "/v1/credentials", &key, "application/json", vec![])
        .await
        .fails(400, "INVALID_REQUEST");
    assert_eq!(missing["message"], "a JSON body is required");
    for bytes in [
        &b"{\"name\":\"a\",\"type\":\"api-key\",\"value\":\"\xff\xfe\"}"[..],
        b"\xff\xfe{\x00}\x00",
        b"{\"name\":\"a\",\"type\":\"api-key\",\"value\":\"\xed\xa0\x80\"}",
        b"\x00",
    ] {
        vault
            .raw(
                POST,
                "/v1/credentials",
                &key,
                "application/json",
                bytes.to_vec(),
            )
            .await
            .fails(400, "INVALID_REQUEST");
    }
    assert_eq!(
        vault.admin(GET, "/v1/credentials", None).await.body["page"]["total"],
        total
    );
}
