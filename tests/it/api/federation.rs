//! Assertions of other issuers, exchanged for access tokens: a provider of the test's own publishes real keys on
//! loopback, and signs.

mod certificates;
pub(super) mod provider;
mod registered;
mod rights;
mod site;
mod stopped;

use std::sync::atomic::Ordering;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use self::provider::{Provider, SigningKey};
use super::{GET, PATCH, POST, text};
use crate::support::{Answer, Vault, leasehold};

async fn register(vault: &Vault, issuer: Value) -> Answer {
    vault.admin(POST, "/v1/issuers", Some(issuer)).await
}

async fn exchange(vault: &Vault, token: &str) -> Answer {
    let body = json!({"token": token});
    vault
        .request(POST, "/v1/auth/exchange", "", Some(body), &[])
        .await
}

async fn whoami(vault: &Vault, token: &str) -> Answer {
    vault
        .request(GET, "/v1/auth/whoami", token, None, &[])
        .await
}

/// The newest record of a refused exchange.
async fn newest_refusal(vault: &Vault) -> Value {
    let path = "/v1/audit?event=auth.refused&limit=1";
    vault.admin(GET, path, None).await.data(200)[0].clone()
}

/// The newest record of what nobody proved, once as many requests as that are told of in all such.
async fn told_together(vault: &Vault, code: &str, wanted: u64) -> Value {
    let path = format!("/v1/audit?scope=organisation&event=auth.failed&code={code}");
    let begun = std::time::Instant::now();
    loop {
        let found = vault.admin(GET, &path, None).await.data(200);
        let counts = found.as_array().unwrap().iter().map(|record| {
            let changes = record["changes"].as_array().unwrap();
            let count = changes.iter().find(|change| change["field"] == "count");
            text(count.unwrap(), "after").parse::<u64>().unwrap()
        });
        if counts.sum::<u64>() >= wanted {
            return found[0].clone();
        }
        let patience = std::time::Duration::from_secs(60);
        assert!(begun.elapsed() < patience, "{found}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assertion_of_a_registered_issuer_becomes_a_short_token() {
    let vault = Vault::dev();
    vault.store("a", "v", json!({})).await;
    let keys = [
        SigningKey::new("rsa", Algorithm::RS256),
        SigningKey::new("ec", Algorithm::ES256),
        SigningKey::new("ed", Algorithm::EdDSA),
    ];
    let provider = Provider::publishing(&[&keys[0], &keys[1], &keys[2]]).await;
    let issuer = register(&vault, provider.issuer(json!({}))).await.data(201);
    assert_eq!(issuer["algorithms"], json!(["RS256", "ES256", "EdDSA"]));
    assert_eq!(
        (&issuer["token_ttl"], &issuer["leeway"]),
        (&json!("15m"), &json!("30s"))
    );
    for key in &keys {
        let assertion = key.sign(&provider.claims(json!({})));
        let token = exchange(&vault, &assertion).await.data(201);
        assert_eq!(token["created_with"], issuer["id"]);
        let jwt = text(&token, "token");
        let me = whoami(&vault, jwt).await.data(200);
        assert_eq!(me["identity"]["name"], "ci-42");
        assert_eq!(me["identity"]["type"], "service");
        assert_eq!(me["scopes"], issuer["identity"]["scopes"]);
        let body = json!({"credential_name": "a"});
        let lease = vault
            .request(POST, "/v1/leases", jwt, Some(body), &[])
            .await;
        assert_eq!(lease.data(201)["identity"]["name"], "ci-42");
        assert!(!vault.log().contains(&assertion) && !vault.log().contains(jwt));
    }
    assert_eq!(provider.asked.load(Ordering::SeqCst), 1, "keys are kept");
    let path = "/v1/audit?event=auth.exchanged&sort=time";
    let events = vault.admin(GET, path, None).await;
    let events = events.data(200);
    assert_eq!(events.as_array().unwrap().len(), 3);
    assert_eq!(events[0]["actor"]["name"], "ci-42");
    assert_eq!(events[0]["decided_by"], "issuer:ci");
    let subject = json!({"field": "subject", "before": null, "after": "repo:acme/app"});
    assert!(events[0]["changes"].as_array().unwrap().contains(&subject));
    let made = vault
        .admin(GET, "/v1/audit?event=identity.created", None)
        .await;
    let made = made.data(200);
    let made = made.as_array().unwrap().iter();
    assert_eq!(made.filter(|event| event["object"] == "ci-42").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_registered_is_issuer_unknown() {
    let vault = Vault::dev();
    let key = SigningKey::new("k", Algorithm::EdDSA);
    let provider = Provider::publishing(&[&key]).await;
    let assertion = key.sign(&provider.claims(json!({})));
    exchange(&vault, &assertion)
        .await
        .fails(401, "ISSUER_UNKNOWN");
    let told = told_together(&vault, "ISSUER_UNKNOWN", 1).await;
    assert_eq!(told["outcome"], "refused");
    register(&vault, provider.issuer(json!({}))).await.data(201);
    for body in [
        json!({"token": assertion, "issuer": "other"}),
        json!({"token": assertion, "workspace": "none"}),
        json!({"token": assertion, "issuer": "iss_00000000000000000000000000000000"}),
    ] {
        let answer = vault
            .request(POST, "/v1/auth/exchange", "", Some(body), &[])
            .await;
        answer.fails(401, "ISSUER_UNKNOWN");
    }
    for (body, code) in [
        (json!({}), "MISSING_PARAMETER"),
        (json!({"token": "a.b"}), "INVALID_PARAMETER"),
        (json!({"token": "x".repeat(20_000)}), "INVALID_PARAMETER"),
        (
            json!({"token": assertion, "workspace": "A"}),
            "INVALID_PARAMETER",
        ),
        (
            json!({"token": assertion, "audience": "x"}),
            "INVALID_PARAMETER",
        ),
    ] {
        let answer = vault
            .request(POST, "/v1/auth/exchange", "", Some(body), &[])
            .await;
        assert!(!answer.text.contains(&assertion));
        answer.fails(400, code);
    }
    // Two of one `iss`: the caller says which.
    register(&vault, provider.issuer(json!({"name": "ci-2"})))
        .await
        .data(201);
    exchange(&vault, &assertion)
        .await
        .fails(400, "INVALID_PARAMETER");
    let body = json!({"token": assertion, "issuer": "ci-2"});
    vault
        .request(POST, "/v1/auth/exchange", "", Some(body), &[])
        .await
        .data(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_issuer_did_not_sign_is_signature_invalid() {
    let vault = Vault::dev();
    let key = SigningKey::new("k", Algorithm::EdDSA);
    let rsa = SigningKey::new("r", Algorithm::RS256);
    let provider = Provider::publishing(&[&key, &rsa]).await;
    let only = json!({"algorithms": ["EdDSA"]});
    register(&vault, provider.issuer(only)).await.data(201);
    // What is wrong with its claims as well is not told to who did not prove it.
    let claims = provider.claims(json!({"aud": "other", "exp": 1}));
    let good = key.sign(&claims);
    let [head, body, signature] = good.split('.').collect::<Vec<_>>()[..] else {
        panic!("three parts")
    };
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let public = URL_SAFE_NO_PAD.decode(text(&key.public(), "x")).unwrap();
    let hs256 = Header {
        kid: Some("k".to_owned()),
        ..Header::new(Algorithm::HS256)
    };
    let hs256 = encode(&hs256, &claims, &EncodingKey::from_secret(&public)).unwrap();
    let crit = part(json!({"alg": "EdDSA", "kid": "k", "crit": ["x"], "x": 1}));
    for forged in [
        SigningKey::new("k", Algorithm::EdDSA).sign(&claims),
        SigningKey::new("unknown", Algorithm::EdDSA).sign(&claims),
        SigningKey::new("../k", Algorithm::EdDSA).sign(&claims),
        rsa.sign(&claims),
        hs256,
        format!("{}.{body}.", part(json!({"alg": "none", "kid": "k"}))),
        format!("{}.{body}.{signature}", part(json!({"alg": "none"}))),
        format!(
            "{}.{body}.{signature}",
            part(json!({"alg": "ES256", "kid": "k"}))
        ),
        format!("{crit}.{body}.{signature}"),
        format!("{head}.{}.{signature}", part(provider.claims(json!({})))),
        format!("{head}.{body}.{}", URL_SAFE_NO_PAD.encode([0; 64])),
    ] {
        exchange(&vault, &forged)
            .await
            .fails(401, "SIGNATURE_INVALID");
    }
    let told = told_together(&vault, "SIGNATURE_INVALID", 11).await;
    assert!(!told.to_string().contains("acme"), "{told}");
    exchange(&vault, &good)
        .await
        .fails(401, "ASSERTION_EXPIRED");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_meant_so_is_refused_with_a_code_of_its_own() {
    let vault = Vault::dev();
    let key = SigningKey::new("k", Algorithm::EdDSA);
    let provider = Provider::publishing(&[&key]).await;
    let issuer =
        json!({"conditions": {"repository": ["acme/app", "acme/lib"], "ref": "refs/heads/*"}});
    register(&vault, provider.issuer(issuer)).await.data(201);
    let ask = async |changes: Value| {
        let mut claims = provider.claims(json!({"ref": "refs/heads/main"}));
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        exchange(&vault, &key.sign(&claims)).await
    };
    ask(json!({})).await.data(201);
    ask(json!({"aud": ["x", "vault"]})).await.data(201);
    for (changes, code, claim) in [
        (json!({"exp": 1_700_000_000}), "ASSERTION_EXPIRED", ""),
        (json!({"aud": "https://vault"}), "AUDIENCE_MISMATCH", ""),
        (json!({"aud": null}), "AUDIENCE_MISMATCH", ""),
        (
            json!({"repository": "acme/app2"}),
            "CLAIM_MISMATCH",
            "repository",
        ),
        (
            json!({"repository": "Acme/app"}),
            "CLAIM_MISMATCH",
            "repository",
        ),
        (json!({"ref": "refs/tags/v1"}), "CLAIM_MISMATCH", "ref"),
        (json!({"nbf": 99_999_999_999u64}), "CLAIM_MISMATCH", "nbf"),
        (
            json!({"repository_id": "../42"}),
            "CLAIM_MISMATCH",
            "repository_id",
        ),
        (
            json!({"repository_id": "a b"}),
            "CLAIM_MISMATCH",
            "repository_id",
        ),
    ] {
        let refused = ask(changes).await.fails(401, code);
        if code == "CLAIM_MISMATCH" {
            assert_eq!(refused["details"]["claim"], claim);
        }
        let recorded = newest_refusal(&vault).await;
        assert_eq!(recorded["code"], code);
        assert!(text(&recorded, "object").starts_with("iss_"));
    }
    // Nobody is made where the issuer does not say so.
    let mapped = json!({"identity": {"name": "nobody-{repository_id}"}});
    vault
        .admin(PATCH, "/v1/issuers/ci", Some(mapped))
        .await
        .data(200);
    ask(json!({})).await.fails(401, "CLAIM_MISMATCH");
    // The agent that exists may come in by an assertion, with no more than its own role.
    let agent = json!({"identity": {"name": "claude-code", "type": "agent", "role": "owner"}});
    vault
        .admin(PATCH, "/v1/issuers/ci", Some(agent))
        .await
        .data(200);
    let token = ask(json!({})).await.data(201);
    assert_eq!(
        token["scopes"],
        json!(["lease:create", "lease:renew", "handle:redeem"])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_cannot_be_had_are_upstream_failed() {
    let vault = Vault::dev();
    let key = SigningKey::new("k", Algorithm::EdDSA);
    let long = format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(300 * 1024));
    for (at, (status, body)) in [
        (500, "{}"),
        (404, ""),
        (302, ""),
        (200, "<html>"),
        (200, "{}"),
        (200, &long),
    ]
    .into_iter()
    .enumerate()
    {
        let provider = Provider::publishing(&[&key]).await;
        provider.answers(status, body);
        let named = json!({"name": format!("ci-{at}")});
        register(&vault, provider.issuer(named)).await.data(201);
        let assertion = key.sign(&provider.claims(json!({})));
        exchange(&vault, &assertion)
            .await
            .fails(502, "UPSTREAM_FAILED");
        assert_eq!(newest_refusal(&vault).await["code"], "UPSTREAM_FAILED");
    }
    // Nobody listens.
    let gone = json!({"name": "gone", "iss": "http://gone", "jwks_url": "http://127.0.0.1:1/jwks"});
    let provider = Provider::publishing(&[&key]).await;
    register(&vault, provider.issuer(gone)).await.data(201);
    let assertion = key.sign(&provider.claims(json!({"iss": "http://gone"})));
    exchange(&vault, &assertion)
        .await
        .fails(502, "UPSTREAM_FAILED");
}

// INVARIANT (once)
#[tokio::test(flavor = "multi_thread")]
async fn an_assertion_that_may_be_taken_once_is_taken_once() {
    let vault = Vault::dev();
    let key = SigningKey::new("k", Algorithm::EdDSA);
    let provider = Provider::publishing(&[&key]).await;
    register(&vault, provider.issuer(json!({"require_jti": true})))
        .await
        .data(201);
    let without = key.sign(&provider.claims(json!({})));
    let refused = exchange(&vault, &without)
        .await
        .fails(401, "CLAIM_MISMATCH");
    assert_eq!(refused["details"]["claim"], "jti");
    let assertion = key.sign(&provider.claims(json!({"jti": "one"})));
    let all = (0..8).map(|_| exchange(&vault, &assertion));
    let answers = futures_util::future::join_all(all).await;
    let taken = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(taken, 1, "by one of them");
    for answer in answers.into_iter().filter(|answer| answer.status != 201) {
        answer.fails(401, "ASSERTION_REPLAYED");
    }
    let vault = vault.kill_and_reopen(&[]);
    exchange(&vault, &assertion)
        .await
        .fails(401, "ASSERTION_REPLAYED");
    assert_eq!(newest_refusal(&vault).await["code"], "ASSERTION_REPLAYED");
    let other = key.sign(&provider.claims(json!({"jti": "two"})));
    exchange(&vault, &other).await.data(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_the_issuer_publishes_later_is_found() {
    let vault = Vault::dev();
    let (old, new) = (
        SigningKey::new("old", Algorithm::ES256),
        SigningKey::new("new", Algorithm::ES256),
    );
    let provider = Provider::publishing(&[&old]).await;
    register(&vault, provider.issuer(json!({}))).await.data(201);
    let claims = provider.claims(json!({}));
    exchange(&vault, &old.sign(&claims)).await.data(201);
    provider.publish(&[&old, &new]);
    exchange(&vault, &new.sign(&claims)).await.data(201);
    let unknown = SigningKey::new("unknown", Algorithm::ES256);
    for _ in 0..3 {
        let forged = unknown.sign(&claims);
        exchange(&vault, &forged)
            .await
            .fails(401, "SIGNATURE_INVALID");
    }
    assert_eq!(
        provider.asked.load(Ordering::SeqCst),
        2,
        "once, and once for a new key"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_source_may_exchange_so_much_and_no_more() {
    let vault = Vault::dev();
    let ask = || {
        vault.request(
            POST,
            "/v1/auth/exchange",
            "",
            Some(json!({"token": "x"})),
            &[],
        )
    };
    for _ in 0..600 {
        ask().await.fails(400, "INVALID_PARAMETER");
    }
    // The bucket has refilled by a few since the first.
    let mut refused = ask().await;
    while refused.status == 400 {
        refused = ask().await;
    }
    assert!(refused.headers.contains_key("retry-after"));
    refused.fails(429, "RATE_LIMITED");
    vault.admin(GET, "/v1/auth/whoami", None).await.data(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assertion_is_exchanged_from_the_command_line_without_a_key() {
    let vault = Vault::dev();
    let key = SigningKey::new("k", Algorithm::ES256);
    let provider = Provider::publishing(&[&key]).await;
    let folder = crate::support::TempDir::new();
    let (rules, assertion) = (folder.path().join("ci.json"), folder.path().join("a.jwt"));
    std::fs::write(&rules, provider.issuer(json!({})).to_string()).unwrap();
    let run = |key: &str, line: &[&str]| {
        let mut command = leasehold();
        command.env_remove("RUST_LOG").args(line);
        command.env("LEASEHOLD_ADDR", &vault.address);
        command.env("LEASEHOLD_KEY", key).output().unwrap()
    };
    let (rules, file) = (rules.to_str().unwrap(), assertion.to_str().unwrap());
    let made = run(&vault.admin_key, &["issuer", "create", "--file", rules]);
    assert!(made.status.success(), "{made:?}");
    std::fs::write(&assertion, key.sign(&provider.claims(json!({})))).unwrap();
    let line = [
        "token",
        "exchange",
        "--issuer",
        "ci",
        "--assertion-file",
        file,
    ];
    let exchanged = run("", &line);
    let token = String::from_utf8(exchanged.stdout).unwrap();
    let listed = run(token.trim(), &["lease", "list", "--json"]);
    assert!(listed.status.success(), "{listed:?}");
    let gone = run(&vault.admin_key, &["issuer", "delete", "ci"]);
    assert!(gone.status.success(), "{gone:?}");
    assert_eq!(run(token.trim(), &["lease", "list"]).status.code(), Some(1));
    assert_eq!(run("", &line).status.code(), Some(1));
}
