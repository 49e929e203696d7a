//! Assertions of other issuers, exchanged for access tokens: a provider of the test's own publishes real keys on
//! loopback, and signs.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rand::SystemRandom,
    rsa::KeySize,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair},
};
use axum::{Router, http::StatusCode, response::IntoResponse, routing::get};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, jwk::Jwk};
use serde_json::{Value, json};

use super::{DELETE, GET, PATCH, POST, isolation::Two, text};
use crate::support::{Answer, Vault};

struct SigningKey {
    kid: &'static str,
    algorithm: Algorithm,
    secret: EncodingKey,
    public: Value,
}

impl SigningKey {
    fn new(kid: &'static str, algorithm: Algorithm) -> Self {
        let random = SystemRandom::new();
        let published = |secret: &EncodingKey| {
            let jwk = Jwk::from_encoding_key(secret, algorithm).unwrap();
            serde_json::to_value(jwk).unwrap()
        };
        let (secret, mut public) = match algorithm {
            Algorithm::EdDSA => {
                let der = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
                let pair = Ed25519KeyPair::from_pkcs8(der.as_ref()).unwrap();
                let x = URL_SAFE_NO_PAD.encode(pair.public_key());
                let public = json!({"kty": "OKP", "crv": "Ed25519", "x": x});
                (EncodingKey::from_ed_der(der.as_ref()), public)
            }
            Algorithm::ES256 => {
                let kind = &ECDSA_P256_SHA256_FIXED_SIGNING;
                let pair = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
                let secret = EncodingKey::from_ec_der(pair.as_ref());
                let public = published(&secret);
                (secret, public)
            }
            _ => {
                let pair = aws_lc_rs::rsa::KeyPair::generate(KeySize::Rsa2048).unwrap();
                let wrapped = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
                // The PKCS #1 key lies behind a header of 26 bytes.
                let secret = EncodingKey::from_rsa_der(&wrapped.as_ref()[26..]);
                let public = published(&secret);
                (secret, public)
            }
        };
        public["kid"] = json!(kid);
        Self {
            kid,
            algorithm,
            secret,
            public,
        }
    }

    fn public(&self) -> Value {
        self.public.clone()
    }

    fn sign(&self, claims: &Value) -> String {
        let header = Header {
            kid: Some(self.kid.to_owned()),
            ..Header::new(self.algorithm)
        };
        encode(&header, claims, &self.secret).unwrap()
    }
}

/// An issuer with a JWKS endpoint.
struct Provider {
    iss: String,
    answer: Arc<Mutex<(u16, String)>>,
    asked: Arc<AtomicUsize>,
}

impl Provider {
    async fn publishing(keys: &[&SigningKey]) -> Self {
        let answer = Arc::new(Mutex::new((200, String::new())));
        let asked = Arc::new(AtomicUsize::new(0));
        let (told, count) = (answer.clone(), asked.clone());
        let jwks = move || {
            count.fetch_add(1, Ordering::SeqCst);
            let (status, body) = told.lock().unwrap().clone();
            let status = StatusCode::from_u16(status).unwrap();
            async move { (status, [("location", "/elsewhere")], body).into_response() }
        };
        let elsewhere = || async { json!({"keys": []}).to_string() };
        let router = Router::new()
            .route("/jwks", get(jwks))
            .route("/elsewhere", get(elsewhere));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let iss = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let provider = Self { iss, answer, asked };
        provider.publish(keys);
        provider
    }

    fn publish(&self, keys: &[&SigningKey]) {
        let mut keys: Vec<_> = keys.iter().map(|key| key.public()).collect();
        keys.push(json!({"kty": "of the future", "kid": "x"}));
        self.answers(200, &json!({"keys": keys}).to_string());
    }

    fn answers(&self, status: u16, body: &str) {
        *self.answer.lock().unwrap() = (status, body.to_owned());
    }

    /// What is registered at the vault, some of it replaced.
    fn issuer(&self, changes: Value) -> Value {
        let mut issuer = json!({
            "name": "ci", "iss": self.iss, "jwks_url": format!("{}/jwks", self.iss), "audiences": ["vault"],
            "conditions": {"repository": "acme/*"},
            "identity": {"name": "ci-{repository_id}", "auto_create": true},
        });
        for (name, value) in changes.as_object().unwrap() {
            issuer[name] = value.clone();
        }
        issuer
    }

    /// Claims that are accepted, some of them replaced; null takes away.
    fn claims(&self, changes: Value) -> Value {
        let now = std::time::SystemTime::now();
        let now = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let mut claims = json!({
            "iss": self.iss, "sub": "repo:acme/app", "aud": "vault", "iat": now, "exp": now + 300,
            "repository": "acme/app", "repository_id": "42",
        });
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
                value => claims[name] = value.clone(),
            }
        }
        claims
    }
}

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
    let recorded = newest_refusal(&vault).await;
    assert_eq!(
        (&recorded["code"], &recorded["outcome"]),
        (&json!("ISSUER_UNKNOWN"), &json!("refused"))
    );
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
        let recorded = newest_refusal(&vault).await;
        assert_eq!(recorded["code"], "SIGNATURE_INVALID");
        assert!(!recorded.to_string().contains("acme"), "{recorded}");
    }
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
async fn static_keys_need_nobody_and_tokens_end_with_their_issuer() {
    let vault = Vault::dev();
    let key = SigningKey::new("k", Algorithm::ES256);
    let iss = "https://issuer.example.com";
    let rules = json!({
        "name": "static", "iss": iss, "jwks": {"keys": [key.public()]}, "audiences": ["vault"],
        "conditions": {"sub": "spiffe://acme.example/billing"}, "token_ttl": "1h",
        "identity": {"name": "billing", "type": "service", "role": "operator", "auto_create": true},
    });
    let issuer = register(&vault, rules.clone()).await.data(201);
    assert_eq!(issuer["jwks"]["keys"][0]["kid"], "k");
    register(&vault, rules).await.fails(409, "ALREADY_EXISTS");
    let claims = json!({
        "iss": iss, "sub": "spiffe://acme.example/billing", "aud": ["vault"], "exp": 9_999_999_999u64,
    });
    let token = exchange(&vault, &key.sign(&claims)).await.data(201);
    let jwt = text(&token, "token");
    let scopes = whoami(&vault, jwt).await.data(200)["scopes"].clone();
    assert!(scopes.as_array().unwrap().len() > 3);
    // What the issuer may give out shrinks, and so does what it gave out.
    let path = "/v1/issuers/static";
    let less = json!({"identity": {
        "name": "billing", "type": "service", "role": "operator", "scopes": ["lease:read"], "auto_create": true,
    }});
    vault.admin(PATCH, path, Some(less)).await.data(200);
    assert_eq!(
        whoami(&vault, jwt).await.data(200)["scopes"],
        json!(["lease:read"])
    );
    assert_eq!(vault.admin(GET, path, None).await.data(200)["iss"], iss);
    let listed = vault.admin(GET, "/v1/issuers", None).await;
    assert_eq!(listed.body["page"]["total"], 1);
    let by_id = format!("/v1/issuers/{}", text(&issuer, "id"));
    vault.admin(DELETE, &by_id, None).await.data(200);
    whoami(&vault, jwt).await.fails(401, "UNAUTHORIZED");
    vault.admin(GET, path, None).await.fails(404, "NOT_FOUND");
    exchange(&vault, &key.sign(&claims))
        .await
        .fails(401, "ISSUER_UNKNOWN");
    let events = vault
        .admin(GET, "/v1/audit?sort=time&limit=200", None)
        .await
        .data(200);
    let events = events
        .as_array()
        .unwrap()
        .iter()
        .map(|event| text(event, "event"));
    let events: Vec<_> = events.filter(|name| name.starts_with("issuer.")).collect();
    assert_eq!(
        events,
        ["issuer.created", "issuer.updated", "issuer.deleted"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_registers_an_issuer_that_gives_out_more_than_they_hold() {
    let vault = Vault::dev();
    let wanted = json!({"scopes": ["identity:*", "lease:*", "handle:redeem"]});
    let token = vault
        .admin(POST, "/v1/tokens", Some(wanted))
        .await
        .data(201);
    let jwt = text(&token, "token");
    let rules = |changes: Value| {
        let mut rules = json!({
            "name": "ci", "iss": "https://ci", "jwks_url": "https://ci/jwks", "audiences": ["vault"],
            "conditions": {"sub": "me"}, "identity": {"name": "ci"},
        });
        for (name, value) in changes.as_object().unwrap() {
            rules[name] = value.clone();
        }
        rules
    };
    let ask = async |key: &str, changes: Value| {
        let body = Some(rules(changes));
        vault.request(POST, "/v1/issuers", key, body, &[]).await
    };
    ask(&vault.agent_key, json!({}))
        .await
        .fails(403, "INSUFFICIENT_PERMISSIONS");
    for beyond in [
        json!({"identity": {"name": "ci", "role": "operator"}}),
        json!({"identity": {"name": "ci", "role": "owner", "scopes": ["lease:read"]}}),
        json!({"identity": {"name": "ci", "role": "operator", "scopes": ["lease:read"], "auto_create": true}}),
        json!({"organisation": true}),
    ] {
        let refused = ask(jwt, beyond)
            .await
            .fails(403, "INSUFFICIENT_PERMISSIONS");
        assert!(refused["details"]["missing_scope"].is_string());
    }
    ask(jwt, json!({})).await.data(201);
    let more = json!({"identity": {"name": "ci", "role": "operator"}});
    vault
        .request(PATCH, "/v1/issuers/ci", jwt, Some(more), &[])
        .await
        .fails(403, "INSUFFICIENT_PERMISSIONS");
    for (changes, field) in [
        (json!({"conditions": {}}), "conditions"),
        (json!({"conditions": {"sub": "*"}}), "conditions"),
        (json!({"conditions": {"sub": 5}}), "conditions.sub"),
        (json!({"audiences": []}), "audiences"),
        (json!({"algorithms": ["HS256"]}), "algorithms"),
        (json!({"algorithms": ["none"]}), "algorithms"),
        (json!({"jwks_url": "http://ci/jwks"}), "jwks_url"),
        (json!({"jwks": {"keys": []}}), "jwks_url"),
        (json!({"jwks_url": null, "jwks": {"keys": []}}), "jwks"),
        (
            json!({"jwks_url": null, "jwks": {"keys": [{"kty": "oct", "k": "AAAA"}]}}),
            "jwks",
        ),
        (
            json!({"jwks_url": null, "public_keys": ["-----BEGIN"]}),
            "public_keys",
        ),
        (json!({"token_ttl": "61m"}), "token_ttl"),
        (json!({"leeway": "3m"}), "leeway"),
        (json!({"identity": {"name": "{a}-{b}"}}), "identity.name"),
        (
            json!({"organisation": true, "identity": {"name": "ci", "auto_create": true}}),
            "identity.auto_create",
        ),
        (json!({"kind": "saml"}), "kind"),
        (json!({"url": "x"}), "url"),
    ] {
        let refused = ask(&vault.admin_key, changes).await;
        let refused = refused.fails(400, "INVALID_PARAMETER");
        assert_eq!(refused["details"]["field"], field, "{refused}");
    }
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
async fn an_issuer_of_the_organisation_serves_every_workspace_and_others_their_own() {
    let two = Two::start();
    let key = SigningKey::new("k", Algorithm::EdDSA);
    let provider = Provider::publishing(&[&key]).await;
    let everywhere = provider.issuer(json!({
        "name": "all", "organisation": true,
        "identity": {"name": "{who}", "type": "agent"},
    }));
    let answer = two
        .request(&two.admin, None, POST, "/v1/issuers", Some(everywhere))
        .await;
    assert_eq!(answer.data(201)["organisation"], true);
    let assertion = key.sign(&provider.claims(json!({"who": "b1"})));
    let ask = async |issuer: &str, workspace: &str| {
        let body = json!({"token": assertion, "issuer": issuer, "workspace": workspace});
        two.request("", None, POST, "/v1/auth/exchange", Some(body))
            .await
    };
    let token = ask("all", "b").await.data(201);
    let jwt = text(&token, "token");
    assert_eq!(two.whoami(jwt, None).await.data(200)["workspace"], "b");
    two.whoami(jwt, Some("default"))
        .await
        .fails(404, "NOT_FOUND");
    // The agent of that name lives in the other workspace alone.
    ask("all", "default").await.fails(401, "CLAIM_MISMATCH");
    let own = provider.issuer(json!({"name": "own"}));
    two.request(&two.admin, Some("b"), POST, "/v1/issuers", Some(own))
        .await
        .data(201);
    ask("own", "b").await.data(201);
    ask("own", "default").await.fails(401, "ISSUER_UNKNOWN");
    let elsewhere = two
        .request(&two.admin, Some("default"), GET, "/v1/issuers/own", None)
        .await;
    elsewhere.fails(404, "NOT_FOUND");
}
