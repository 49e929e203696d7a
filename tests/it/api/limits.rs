//! Requests a minute for each key.

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::{
    GET, POST,
    federation::provider::{Provider, SigningKey},
    isolation::Two,
    text,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_key_over_its_limit_is_told_when_to_come_back_and_others_go_on() {
    let two = Two::start_with("[limits]\nrequests_per_minute = 3\n");
    let number = |answer: &crate::support::Answer, name: &str| -> u64 {
        answer.headers[name].to_str().unwrap().parse().unwrap()
    };
    for remaining in [2, 1, 0] {
        let answer = two.whoami(&two.a1, None).await;
        assert_eq!(number(&answer, "ratelimit-limit"), 3);
        assert_eq!(number(&answer, "ratelimit-remaining"), remaining);
        assert!((1..=60).contains(&number(&answer, "ratelimit-reset")));
        assert!(answer.headers.get("retry-after").is_none());
        answer.data(200);
    }
    let over = two.whoami(&two.a1, None).await;
    assert!(
        (1..=21).contains(&number(&over, "retry-after")),
        "{:?}",
        over.headers
    );
    assert_eq!(number(&over, "ratelimit-remaining"), 0);
    over.fails(429, "RATE_LIMITED");
    // Another key has its own count, and a refusal for another reason counts as well.
    let astray = two.whoami(&two.admin, Some("nothing")).await;
    assert!(matches!(
        text(&astray.body, "code"),
        "NOT_FOUND" | "INSUFFICIENT_PERMISSIONS"
    ));
    two.whoami(&two.admin, None).await.data(200);
}

const WHOAMI: &str = "/v1/auth/whoami";
const KEY_OF_NOBODY: &str = "lhk_nobody";

#[tokio::test(flavor = "multi_thread")]
async fn failed_authentications_are_limited_and_lock_nobody_out() {
    // One a minute: what follows has a minute before the next is allowed.
    let two = Two::start_with("[limits]\nfailed_authentications_per_minute = 1\n");
    two.whoami(KEY_OF_NOBODY, None)
        .await
        .fails(401, "UNAUTHORIZED");
    for _ in 0..5 {
        let over = two.whoami(KEY_OF_NOBODY, None).await;
        assert!(over.headers.get("retry-after").is_some());
        over.fails(429, "RATE_LIMITED");
        // The same address, with a key that proves itself.
        two.whoami(&two.a1, None).await.data(200);
    }
}

/// Records of that event and code: how many, and how many requests they tell of where they tell of several.
async fn recorded(two: &Two, event: &str, code: &str) -> (usize, u64) {
    let path = format!("/v1/audit?scope=organisation&event={event}&code={code}");
    let found = match event {
        "auth.failed" => two.request(&two.admin, None, GET, &path, None).await,
        _ => {
            let path = path.replace("scope=organisation&", "");
            two.admin("default", GET, &path, None).await
        }
    };
    let found = found.data(200);
    let found = found.as_array().unwrap();
    let count = |record: &Value| {
        let changes = record["changes"].as_array()?;
        let count = changes.iter().find(|change| change["field"] == "count")?;
        text(count, "after").parse::<u64>().ok()
    };
    (found.len(), found.iter().filter_map(count).sum())
}

/// Waits until history tells of so many requests together.
async fn told_together(two: &Two, code: &str, wanted: u64) {
    let begun = std::time::Instant::now();
    while recorded(two, "auth.failed", code).await.1 < wanted {
        assert!(begun.elapsed().as_secs() < 60, "{code}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

/// A key that leaked and was stopped costs history a few records, however often somebody tries it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_let_in_no_more_is_limited_and_told_of_together() {
    let two = Two::start_with("[limits]\nfailed_authentications_per_minute = 3\n");
    let me = two.whoami(&two.a1, None).await.data(200);
    let pause = format!("/v1/api-keys/{}/pause", text(&me["key"], "id"));
    two.admin("default", POST, &pause, None).await.data(200);
    for _ in 0..3 {
        two.whoami(&two.a1, None).await.fails(401, "KEY_PAUSED");
    }
    let mut over = 0;
    for _ in 0..20 {
        let answer = two.whoami(&two.a1, None).await;
        over += u64::from(answer.status == 429);
        two.whoami(&two.b1, None).await.data(200);
    }
    // The bucket refills by one in 20 seconds.
    assert!(over >= 5, "{over}");
    told_together(&two, "RATE_LIMITED", over).await;
    let (alone, _) = recorded(&two, "key.refused", "KEY_PAUSED").await;
    assert_eq!(alone as u64, 3 + 20 - over);
}

#[tokio::test(flavor = "multi_thread")]
async fn exchanges_that_prove_nothing_are_limited_and_told_of_together() {
    let two = Two::start_with("[limits]\nfailed_authentications_per_minute = 3\n");
    let key = SigningKey::new("k", Algorithm::EdDSA);
    let provider = Provider::publishing(&[&key]).await;
    let unknown = json!({"token": key.sign(&provider.claims(json!({})))});
    let malformed = json!({"token": "a.b"});
    let ask = async |body: &Value| {
        let path = "/v1/auth/exchange";
        let body = Some(body.clone());
        two.request(&two.a1, None, POST, path, body).await
    };
    ask(&unknown).await.fails(401, "ISSUER_UNKNOWN");
    ask(&malformed).await.fails(400, "INVALID_PARAMETER");
    ask(&unknown).await.fails(401, "ISSUER_UNKNOWN");
    let mut over = 0;
    for body in [&unknown, &malformed].repeat(6) {
        over += u64::from(ask(body).await.status == 429);
    }
    assert!(over >= 5, "{over}");
    told_together(&two, "RATE_LIMITED", over).await;
    told_together(&two, "ISSUER_UNKNOWN", 2).await;
    told_together(&two, "INVALID_PARAMETER", 1).await;
    let (alone, _) = recorded(&two, "auth.refused", "ISSUER_UNKNOWN").await;
    assert_eq!(alone, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_over_its_limit_is_refused_before_anyone_is_authenticated() {
    let two = Two::start_with("[limits]\nsource_requests_per_minute = 3\n");
    two.whoami(&two.a1, None).await.data(200);
    two.whoami(KEY_OF_NOBODY, None)
        .await
        .fails(401, "UNAUTHORIZED");
    let last = two.whoami(KEY_OF_NOBODY, None).await;
    assert_eq!(last.headers["ratelimit-remaining"], "0");
    last.fails(401, "UNAUTHORIZED");
    two.whoami(&two.a1, None).await.fails(429, "RATE_LIMITED");
    // Who claims to come from elsewhere is no proxy that is trusted.
    let spoofed = two.get_from("192.0.2.7", &two.a1, WHOAMI).await;
    spoofed.fails(429, "RATE_LIMITED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_speaks_for_its_clients_and_history_remembers_them() {
    let two = Two::start_with(
        "[limits]\nsource_requests_per_minute = 2\n[server]\ntrusted_proxies = \"127.0.0.0/8\"\n",
    );
    for client in ["192.0.2.1", "192.0.2.2", "203.0.113.9, 192.0.2.3"] {
        let from = || two.get_from(client, &two.a1, WHOAMI);
        from().await.data(200);
        from().await.data(200);
        from().await.fails(429, "RATE_LIMITED");
    }
    let denied = two.get_from("192.0.2.4", &two.a1, "/v1/audit").await;
    denied.fails(403, "INSUFFICIENT_PERMISSIONS");
    let path = "/v1/audit?event=authz.denied";
    let history = two.get_from("192.0.2.5", &two.admin, path).await.data(200);
    assert_eq!(history[0]["source_ip"], "192.0.2.4", "{history}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_says_what_is_left() {
    let two = Two::start();
    for answer in [
        two.whoami(&two.a1, None).await,
        two.whoami(KEY_OF_NOBODY, None).await,
    ] {
        for name in ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"] {
            let number = answer.headers[name].to_str().unwrap();
            assert!(number.parse::<u64>().is_ok(), "{name}: {number}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_that_exchanges_again_is_counted_on() {
    let two = Two::start_with("[limits]\nrequests_per_minute = 3\n");
    let key = SigningKey::new("k", Algorithm::EdDSA);
    let provider = Provider::publishing(&[&key]).await;
    let issuer = Some(provider.issuer(json!({})));
    two.request(&two.admin, None, POST, "/v1/issuers", issuer)
        .await
        .data(201);
    let exchange = async |id: u64| {
        let claims = provider.claims(json!({"repository_id": id.to_string()}));
        let body = Some(json!({"token": key.sign(&claims)}));
        let path = "/v1/auth/exchange";
        let token = two.request(&two.a1, None, POST, path, body).await.data(201);
        text(&token, "token").to_owned()
    };
    let first = exchange(42).await;
    for _ in 0..3 {
        two.whoami(&first, None).await.data(200);
    }
    for token in [&exchange(42).await, &first] {
        two.whoami(token, None).await.fails(429, "RATE_LIMITED");
    }
    // Somebody else has a count of its own.
    two.whoami(&exchange(43).await, None).await.data(200);
}
