//! INVARIANT (no-side-door) and INVARIANT (sealed-at-rest): canaries in everything that a caller can say, and then a
//! search of everything that the vault leaves behind.

use std::fs;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use reqwest::{Method, StatusCode};
use serde_json::json;

use super::kit::{files, text};
use crate::support::{Answer, TempDir, Vault, leasehold};

/// A text to search for, and what it is.
pub struct Canary {
    what: &'static str,
    text: String,
}

#[derive(Default)]
pub struct Canaries(Vec<Canary>);

impl Canaries {
    pub fn plant(&mut self, what: &'static str, text: impl Into<String>) -> String {
        let text = text.into();
        self.0.push(Canary {
            what,
            text: text.clone(),
        });
        text
    }

    /// No canary is in `bytes`, as it is or in another coding.
    #[track_caller]
    pub fn assert_absent(&self, bytes: &[u8], place: &str) {
        let found = self.found(bytes);
        assert!(found.is_none(), "{found:?} is in {place}");
    }

    pub fn is_absent(&self, bytes: &[u8]) -> bool {
        self.found(bytes).is_none()
    }

    fn found(&self, bytes: &[u8]) -> Option<(&'static str, &'static str)> {
        // What is no UTF-8 is in no needle; the search in text is the faster one by far.
        let text = String::from_utf8_lossy(bytes);
        let lower = text.to_ascii_lowercase();
        self.0.iter().find_map(|canary| {
            let mut codings = codings(&canary.text).into_iter();
            let found = codings.find(|(coding, needle)| {
                let hay = if *coding == "hex" { &*lower } else { &*text };
                hay.contains(std::str::from_utf8(needle).unwrap())
            });
            found.map(|(coding, _)| (canary.what, coding))
        })
    }
}

/// Texts that a search for `text` must try. Of base64, the part that holds at each of the three alignments.
fn codings(text: &str) -> Vec<(&'static str, Vec<u8>)> {
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut codings = vec![
        ("text", text.as_bytes().to_vec()),
        ("hex", hex.into_bytes()),
        ("UTF-16", utf16),
        ("reversed", text.bytes().rev().collect()),
    ];
    for skip in 0..3 {
        let whole = (text.len() - skip) / 3 * 3;
        let part = &text.as_bytes()[skip..skip + whole];
        codings.push(("base64", STANDARD_NO_PAD.encode(part).into_bytes()));
        codings.push(("base64url", URL_SAFE_NO_PAD.encode(part).into_bytes()));
    }
    codings
}

fn contains(hay: &[u8], needle: &[u8]) -> bool {
    let first = needle[0];
    let mut at = 0;
    while let Some(found) = hay[at..].iter().position(|byte| *byte == first) {
        at += found;
        if hay[at..].starts_with(needle) {
            return true;
        }
        at += 1;
    }
    false
}

/// Everything that can be said to a vault, with canaries, and much that is refused.
async fn say_everything(vault: &Vault, canaries: &mut Canaries) {
    let (admin, agent) = (vault.admin_key.clone(), vault.agent_key.clone());
    let session = canaries.plant("session id", "canary-session-5f1e8a");
    let purpose = canaries.plant("purpose", "canary purpose 71c2d9");
    let reason = canaries.plant("reason", "canary reason 0b9d4e");
    let name = canaries.plant("name", "canary-name-d81f30");
    let first = canaries.plant("value", "canary-value-one-9a33c1");
    let second = canaries.plant("second value", "canary-value-two-44be70");
    let long = canaries.plant("long value", "canary-value-long-b2".repeat(1500));
    let headers = [
        (
            "idempotency-key",
            canaries.plant("idempotency key", "canary-idempotency-6dd0a2"),
        ),
        (
            "x-request-id",
            canaries.plant("request id", "canary-request-id-e7710c"),
        ),
        (
            "user-agent",
            canaries.plant("user agent", "canary-user-agent-38a9f4"),
        ),
    ];
    let headers: Vec<(&str, &str)> = headers
        .iter()
        .map(|(header, value)| (*header, value.as_str()))
        .collect();
    let ask = async |method: Method, path: &str, key: &str, body| -> Answer {
        vault.request(method, path, key, body, &headers).await
    };
    let body = json!({
        "name": name, "type": "api-key", "value": first,
        "description": canaries.plant("description", "canary description 2290fe"),
        "metadata": {
            canaries.plant("metadata key", "canary_meta_key_ab12"): canaries.plant("metadata value", "canary meta value 8812cd"),
        },
        "policy": {"max_leases": 2, "max_uses": 2, "egress": {"hosts": [canaries.plant("egress host", "canary-host-55aa.example.com")], "methods": ["GET"], "paths": ["/*"]}},
    });
    ask(Method::POST, "/v1/credentials", &admin, Some(body))
        .await
        .data(201);
    let path = format!("/v1/credentials/{name}");
    let lease = json!({"credential_name": name, "ttl": "5m", "delivery": "reveal", "purpose": purpose,
        "identity": {"session_id": session}});
    let granted = ask(Method::POST, "/v1/leases", &agent, Some(lease.clone())).await;
    let granted = granted.data(201);
    let handle = canaries.plant("handle", text(&granted, "handle"));
    let id = text(&granted, "id");
    let redeem = json!({"handle": handle});
    for _ in 0..3 {
        // The third is over `max_uses`.
        let redeemed = vault.redeem(&handle).await;
        assert!(
            matches!(redeemed.status.as_u16(), 200 | 429),
            "{redeemed:?}"
        );
    }
    let rotate = json!({"new_value": second, "metadata": {"canary_meta_key_ab12": canaries.plant("new metadata value", "canary meta new 4410aa")}});
    let rotate_path = format!("{path}/rotate");
    ask(Method::POST, &rotate_path, &admin, Some(rotate))
        .await
        .data(200);
    ask(
        Method::POST,
        &format!("/v1/leases/{id}/renew"),
        &agent,
        Some(json!({})),
    )
    .await
    .data(200);
    let revealing = json!({"credential_name": name, "ttl": "5m", "delivery": "reveal", "reveal": true, "purpose": purpose});
    let shown = vault
        .agent(Method::POST, "/v1/leases", Some(revealing))
        .await;
    let shown = shown.data(201);
    canaries.plant("second handle", text(&shown, "handle"));
    assert_eq!(text(&shown, "value"), second);
    // A third is over the cap.
    vault
        .agent(
            Method::POST,
            "/v1/leases",
            Some(json!({"credential_name": name, "purpose": purpose})),
        )
        .await
        .fails(409, "LEASE_LIMIT_REACHED");
    let revoke = json!({"reason": reason});
    ask(
        Method::POST,
        &format!("/v1/leases/{id}/revoke"),
        &admin,
        Some(revoke),
    )
    .await
    .data(200);
    let patch = json!({"description": canaries.plant("new description", "canary description new 9911"), "metadata": {"more": "canary meta value 8812cd"}});
    ask(Method::PATCH, &path, &admin, Some(patch))
        .await
        .data(200);
    let rotate = json!({"new_value": long, "on_open_leases": "cut"});
    vault
        .admin(Method::POST, &rotate_path, Some(rotate))
        .await
        .data(200);
    for query in [
        format!("/v1/credentials?name={name}"),
        "/v1/credentials?metadata.canary_meta_key_ab12=canary%20meta%20new%204410aa".to_owned(),
        format!("/v1/leases?session_id={session}"),
        format!("/v1/audit?session_id={session}"),
        format!("/v1/leases/{id}/events"),
        format!("{path}/versions"),
    ] {
        ask(Method::GET, &query, &admin, None).await.data(200);
    }
    refused(vault, canaries, &name, &headers).await;
    let bulk = json!({"filter": {"credential_name": name}, "reason": reason});
    ask(Method::POST, "/v1/leases/revoke", &admin, Some(bulk))
        .await
        .data(200);
    ask(Method::POST, "/v1/handles/redeem", &agent, Some(redeem))
        .await
        .fails(410, "LEASE_REVOKED");
    ask(Method::DELETE, &format!("{path}?force=true"), &admin, None).await;
}

/// Requests that fail, with secrets in all the wrong places.
async fn refused(vault: &Vault, canaries: &mut Canaries, name: &str, headers: &[(&str, &str)]) {
    let astray = canaries.plant("value astray", "canary-astray-7c55b1");
    let (admin, agent) = (vault.admin_key.clone(), vault.agent_key.clone());
    let mut foreign = agent.clone();
    let last = if foreign.ends_with('a') { 'b' } else { 'a' };
    foreign.pop();
    foreign.push(last);
    let post = |path: &str, body: serde_json::Value| (Method::POST, path.to_owned(), Some(body));
    let cases = [
        post("/v1/handles/redeem", json!({"handle": astray})),
        post("/v1/handles/redeem", json!({"handle": agent})),
        post("/v1/handles/redeem", json!({"handle": {"x": astray}})),
        post(
            "/v1/credentials",
            json!({"name": "x", "type": "api-key", "value": [astray]}),
        ),
        post(
            "/v1/credentials",
            json!({"name": "x", "type": astray, "value": astray}),
        ),
        post(
            "/v1/credentials",
            json!({"name": "x", "type": "tls-certificate", "value": astray}),
        ),
        post(
            "/v1/credentials",
            json!({"name": "x", "type": "oauth-client", "value": astray}),
        ),
        post(
            "/v1/credentials",
            json!({"name": "X y", "type": "api-key", "value": astray}),
        ),
        post(
            "/v1/credentials",
            json!({"name": name, "type": "api-key", "value": astray}),
        ),
        post(
            "/v1/leases",
            json!({"credential_name": name, "ttl": astray}),
        ),
        post(
            "/v1/leases",
            json!({"credential_name": astray, "purpose": "p"}),
        ),
        post(
            &format!("/v1/credentials/{name}/rotate"),
            json!({"new_value": ""}),
        ),
        (Method::GET, format!("/v1/{astray}"), None),
        (Method::GET, format!("/v1/leases/{astray}"), None),
        (Method::GET, format!("/v1/credentials/{astray}"), None),
        (Method::GET, format!("/v1/credentials?limit={astray}"), None),
        (Method::GET, format!("/v1/credentials?sort={astray}"), None),
        (Method::GET, format!("/v1/audit?cursor={astray}"), None),
        (Method::GET, format!("/v1/audit?lease_id={astray}"), None),
    ];
    for (method, path, body) in cases {
        for key in [&admin, &agent, &foreign, &astray, &String::new()] {
            let answer = vault
                .request(method.clone(), &path, key, body.clone(), headers)
                .await;
            assert!(
                answer.status.is_client_error(),
                "{path}: {} {}",
                answer.status,
                answer.text
            );
            for secret in [&admin, &agent] {
                assert!(!answer.text.contains(secret.as_str()), "{path} shows a key");
            }
            assert!(!answer.text.contains(&astray), "{path}: {}", answer.text);
        }
    }
    let broken = format!("{{\"name\":\"{astray}\",\"value\":\"{astray}");
    let answer = vault
        .raw(
            Method::POST,
            "/v1/credentials",
            &admin,
            "application/json",
            broken.into_bytes(),
        )
        .await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(!answer.text.contains(&astray));
}

fn search_process(vault: &Vault, canaries: &Canaries) {
    // The environment can only be read by a caller with more rights than the vault's own user: the process is not
    // dumpable. As root it can, and must hold nothing.
    for file in ["cmdline", "environ"] {
        if let Ok(bytes) = fs::read(format!("/proc/{}/{file}", vault.pid())) {
            canaries.assert_absent(&bytes, file);
        }
    }
    let limits = fs::read_to_string(format!("/proc/{}/limits", vault.pid()));
    if let Ok(limits) = limits {
        let core = limits
            .lines()
            .find(|line| line.contains("core file size"))
            .unwrap();
        assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    }
}

async fn search(level: &str) {
    let folder = TempDir::new();
    let data_dir = folder.path().join("data");
    let mut command = leasehold();
    command.env("RUST_LOG", level);
    command
        .args(["dev", "--listen", "127.0.0.1:0", "--output", "json"])
        .args([
            "--log-format",
            if level == "trace" { "json" } else { "human" },
        ])
        .arg("--data-dir")
        .arg(&data_dir);
    let vault = Vault::started_by(command, data_dir.clone());
    let mut canaries = Canaries::default();
    canaries.plant("admin key", vault.admin_key.clone());
    canaries.plant("agent key", vault.agent_key.clone());
    let made = vault
        .admin(Method::POST, "/v1/tokens", Some(json!({})))
        .await
        .data(201);
    let token = canaries.plant("access token", made["token"].as_str().unwrap());
    let signature = token.rsplit('.').next().unwrap();
    canaries.plant("an access token's signature", signature);
    let whoami = "/v1/auth/whoami";
    vault
        .request(Method::GET, whoami, &token, None, &[])
        .await
        .data(200);
    let path = format!("/v1/tokens/{}", made["jti"].as_str().unwrap());
    vault.admin(Method::DELETE, &path, None).await.data(200);
    vault
        .request(Method::GET, whoami, &token, None, &[])
        .await
        .fails(401, "UNAUTHORIZED");
    say_everything(&vault, &mut canaries).await;
    search_process(&vault, &canaries);
    let metrics = vault.admin(Method::GET, "/metrics", None).await.text;
    assert!(metrics.contains("leasehold_events_total"));
    canaries.assert_absent(metrics.as_bytes(), "the metrics");
    let before = vault.log();
    assert!(
        before.lines().count() > 50,
        "the log is too quiet to be searched"
    );

    let vault = vault.restart(&[]);
    let (log, root) = (
        vault.log(),
        fs::read_to_string(data_dir.join("root.key")).unwrap(),
    );
    canaries.plant("agent's name", "claude-code");
    canaries.plant("sample credential's name", "sample-api-key");
    let (code, _) = vault.stop();
    assert_eq!(code, Some(0));
    // A request id is in the log on purpose: it is how a caller's trouble is found there.
    let mut logged = Canaries(canaries.0.drain(..).collect());
    for file in files(&data_dir) {
        let bytes = fs::read(&file).unwrap();
        logged.assert_absent(&bytes, &file.display().to_string());
        if !file.ends_with("root.key") {
            let key = root.trim().rsplit(':').next().unwrap();
            assert!(!contains(&bytes, key.as_bytes()), "{}", file.display());
        }
    }
    logged.0.retain(|canary| canary.what != "request id");
    logged.0.push(Canary {
        what: "root key",
        text: root.trim().rsplit(':').next().unwrap().to_owned(),
    });
    logged.assert_absent(before.as_bytes(), "the log");
    logged.assert_absent(log.as_bytes(), "the log after the restart");
}

// INVARIANT (no-side-door) INVARIANT (sealed-at-rest)
#[tokio::test]
async fn nothing_that_was_said_is_in_the_folder_the_debug_log_or_the_metrics() {
    search("debug").await;
}

// INVARIANT (no-side-door) INVARIANT (sealed-at-rest)
#[tokio::test]
async fn not_even_a_trace_log_tells_a_secret() {
    search("trace").await;
}

#[test]
fn the_search_finds_what_is_there() {
    let mut canaries = Canaries::default();
    canaries.plant("canary", "canary-value-one");
    for (coding, coded) in codings("canary-value-one") {
        let hay = [b"xx", &coded[..], b"yy"].concat();
        assert!(canaries.found(&hay).is_some(), "{coding}");
    }
    assert_eq!(canaries.found(b"canary-value-on"), None);
}
