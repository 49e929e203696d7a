//! Access tokens: made, used, listed, ended; the keys that verify them; and what is refused.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde_json::{Value, json};

use super::{DELETE, GET, POST, isolation::Two, millis, text};
use crate::support::{Answer, Vault};

const JWKS: &str = "/.well-known/jwks.json";

async fn make(vault: &Vault, body: Value) -> Answer {
    vault.admin(POST, "/v1/tokens", Some(body)).await
}

async fn made(vault: &Vault, body: Value) -> Value {
    make(vault, body).await.data(201)
}

async fn whoami(vault: &Vault, token: &str) -> Answer {
    vault
        .request(GET, "/v1/auth/whoami", token, None, &[])
        .await
}

async fn keys(vault: &Vault) -> Value {
    let answer = vault.request(GET, JWKS, "", None, &[]).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.body["keys"].clone()
}

/// The part of a token, read.
fn read(token: &str, part: usize) -> Value {
    let part = token.split('.').nth(part).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_proves_its_maker_until_it_is_revoked() {
    let vault = Vault::dev();
    let token = made(&vault, json!({"name": "nightly"})).await;
    let (jti, jwt) = (text(&token, "jti"), text(&token, "token"));
    assert_eq!(token["name"], "nightly");
    assert_eq!(token["identity"]["name"], "admin");
    assert_eq!(
        (&token["workspace"], &token["state"]),
        (&json!("default"), &json!("active"))
    );
    assert_eq!(
        (&token["ttl_capped"], &token["revoked_at"]),
        (&json!(false), &Value::Null)
    );
    assert!(text(&token, "created_with").starts_with("key_"));
    let lives = millis(&token["expires_at"]) - millis(&token["created_at"]);
    assert!((3_599_000..=3_600_000).contains(&lives), "an hour: {lives}");

    let (header, claims) = (read(jwt, 0), read(jwt, 1));
    assert_eq!(
        (&header["typ"], &header["alg"]),
        (&json!("at+jwt"), &json!("EdDSA"))
    );
    assert_eq!(header["kid"], keys(&vault).await[0]["kid"]);
    assert_eq!(
        (&claims["iss"], &claims["aud"]),
        (&json!("leasehold"), &json!("leasehold"))
    );
    assert_eq!(
        (&claims["jti"], &claims["sub"]),
        (&token["jti"], &token["identity"]["id"])
    );
    assert_eq!(
        (&claims["workspace"], &claims["scopes"]),
        (&json!("default"), &token["scopes"])
    );
    assert_eq!(
        u128::from(claims["exp"].as_u64().unwrap()) * 1000,
        millis(&token["expires_at"])
    );
    assert_eq!(
        u128::from(claims["iat"].as_u64().unwrap()),
        millis(&token["created_at"]) / 1000
    );

    let me = whoami(&vault, jwt).await.data(200);
    assert_eq!(me["identity"]["name"], "admin");
    assert_eq!(me["token"], json!({"id": jti, "name": "nightly"}));
    assert!(me.get("key").is_none());
    // A token is no API key: the scheme of keys takes none.
    let scheme = [("authorization", format!("ApiKey {jwt}"))];
    let scheme = [(scheme[0].0, scheme[0].1.as_str())];
    vault
        .request(GET, "/v1/auth/whoami", "", None, &scheme)
        .await
        .fails(401, "UNAUTHORIZED");

    let path = format!("/v1/tokens/{jti}");
    let shown = vault.admin(GET, &path, None).await;
    assert!(!shown.text.contains(jwt), "its text is shown once");
    assert_eq!(shown.data(200)["jti"], jti);
    let ended = vault.request(DELETE, &path, jwt, None, &[]).await.data(200);
    assert_eq!(ended["state"], "revoked");
    whoami(&vault, jwt).await.fails(401, "UNAUTHORIZED");
    let again = vault.admin(DELETE, &path, None).await.data(200);
    assert_eq!(again["revoked_at"], ended["revoked_at"], "it ends once");
    assert_eq!(
        vault.admin(GET, &path, None).await.data(200)["state"],
        "revoked"
    );

    let events = vault
        .admin(GET, "/v1/audit?sort=time", None)
        .await
        .data(200);
    let events: Vec<_> = events
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| text(event, "event").starts_with("token."))
        .collect();
    let names: Vec<_> = events.iter().map(|event| text(event, "event")).collect();
    assert_eq!(names, ["token.created", "token.revoked", "token.refused"]);
    for event in &events {
        assert_eq!(event["object"], jti);
    }
    assert_eq!(events[1]["actor"]["token_id"], jti);
    assert_eq!(events[2]["code"], "UNAUTHORIZED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_never_holds_what_its_maker_lacks() {
    let vault = Vault::dev();
    let wanted = json!({"scopes": ["token:create", "lease:*"], "expires_in": "15m"});
    let token = made(&vault, wanted).await;
    let scopes = token["scopes"].as_array().unwrap();
    assert_eq!(scopes.len(), 6, "a family is all of its scopes: {scopes:?}");
    let jwt = text(&token, "token");
    vault
        .request(GET, "/v1/credentials", jwt, None, &[])
        .await
        .fails(403, "INSUFFICIENT_PERMISSIONS");
    vault
        .request(GET, "/v1/leases", jwt, None, &[])
        .await
        .data(200);
    let with = async |key: &str, body: Value| {
        vault
            .request(POST, "/v1/tokens", key, Some(body), &[])
            .await
    };
    for scopes in [json!(["lease:read", "handle:redeem"]), json!(["sys:*"])] {
        let refused = with(jwt, json!({"scopes": scopes})).await;
        let refused = refused.fails(403, "INSUFFICIENT_PERMISSIONS");
        let missing = refused["details"]["missing_scope"].as_str().unwrap();
        assert!(missing == "handle:redeem" || missing.starts_with("sys:"));
    }
    // A child is no broader and no longer than its parent, also where nobody says how it should be.
    let child = with(jwt, json!({"expires_in": "30d"})).await.data(201);
    assert_eq!(
        (&child["scopes"], &child["ttl_capped"]),
        (&token["scopes"], &json!(true))
    );
    assert_eq!(child["expires_at"], token["expires_at"]);
    assert_eq!(child["created_with"], token["jti"]);
    with(&vault.agent_key, json!({}))
        .await
        .fails(403, "INSUFFICIENT_PERMISSIONS");
    for (body, field) in [
        (json!({"expires_in": "59s"}), "expires_in"),
        (json!({"expires_in": "31d"}), "expires_in"),
        (json!({"expires_in": "0s"}), "expires_in"),
        (json!({"expires_in": 5}), "expires_in"),
        (json!({"scopes": []}), "scopes"),
        (json!({"scopes": ["lease:*", "*"]}), "scopes[1]"),
        (json!({"scopes": "lease:*"}), "scopes"),
        (json!({"workspace": "No Name"}), "workspace"),
        (json!({"name": ""}), "name"),
        (json!({"name": "a\u{7}"}), "name"),
        (json!({"identity": "somebody"}), "identity"),
    ] {
        let refused = make(&vault, body).await.fails(400, "INVALID_PARAMETER");
        assert_eq!(refused["details"]["field"], field);
    }
    // The child goes with its parent.
    let path = format!("/v1/tokens/{}", text(&token, "jti"));
    vault.admin(DELETE, &path, None).await.data(200);
    let child = text(&child, "token");
    whoami(&vault, child).await.fails(401, "UNAUTHORIZED");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_paged_filtered_and_of_ones_own() {
    let vault = Vault::dev();
    let mut ids = Vec::new();
    for expires_in in ["3h", "2h", "1h"] {
        let token = made(&vault, json!({"expires_in": expires_in})).await;
        ids.push(text(&token, "jti").to_owned());
    }
    let path = format!("/v1/tokens/{}", ids[0]);
    vault.admin(DELETE, &path, None).await.data(200);
    let list = async |key: &str, query: &str| {
        let path = format!("/v1/tokens?{query}");
        let answer = vault.request(GET, &path, key, None, &[]).await;
        let ids = answer.body["data"].as_array().unwrap().iter();
        let ids: Vec<_> = ids.map(|token| text(token, "jti").to_owned()).collect();
        (ids, answer.body["page"].clone())
    };
    let newest_first: Vec<_> = ids.iter().rev().cloned().collect();
    assert_eq!(list(&vault.admin_key, "").await.0, newest_first);
    assert_eq!(
        list(&vault.admin_key, "sort=expires_at").await.0,
        newest_first
    );
    assert_eq!(
        list(&vault.admin_key, "state=active&sort=created_at")
            .await
            .0,
        ids[1..]
    );
    assert_eq!(list(&vault.admin_key, "state=revoked").await.0, ids[..1]);
    assert_eq!(
        list(&vault.admin_key, "identity=nobody").await.1["total"],
        0
    );
    assert_eq!(list(&vault.admin_key, "identity=admin").await.1["total"], 3);
    let (first, page) = list(&vault.admin_key, "limit=2").await;
    assert_eq!((first.len(), &page["total"]), (2, &json!(3)));
    let cursor = format!("limit=2&cursor={}", text(&page, "next_cursor"));
    assert_eq!(list(&vault.admin_key, &cursor).await.0, ids[..1]);
    assert_eq!(list(&vault.agent_key, "").await.1["total"], 0);
    let path = format!("/v1/tokens/{}", ids[1]);
    vault
        .agent(GET, &path, None)
        .await
        .fails(403, "INSUFFICIENT_PERMISSIONS");
    vault
        .agent(DELETE, &path, None)
        .await
        .fails(403, "INSUFFICIENT_PERMISSIONS");
    for (path, code, status) in [
        ("/v1/tokens?state=open", "INVALID_PARAMETER", 400),
        ("/v1/tokens?sort=name", "INVALID_PARAMETER", 400),
        ("/v1/tokens?bogus=1", "INVALID_PARAMETER", 400),
        ("/v1/tokens/nope", "INVALID_PARAMETER", 400),
        (
            "/v1/tokens/tok_00000000000000000000000000000000",
            "NOT_FOUND",
            404,
        ),
    ] {
        vault.admin(GET, path, None).await.fails(status, code);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_token_is_refused_like_any_other() {
    let vault = Vault::dev();
    let token = made(&vault, json!({"scopes": ["lease:read"]})).await;
    let jwt = text(&token, "token");
    let [head, body, signature] = jwt.split('.').collect::<Vec<_>>()[..] else {
        panic!("three parts")
    };
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let mut more = read(jwt, 1);
    more["scopes"] = json!(["sys:write"]);
    let x = keys(&vault).await[0]["x"].as_str().unwrap().to_owned();
    let kid = read(jwt, 0)["kid"].clone();
    let mut forged = vec![
        format!("{head}.{}.{signature}", part(more)),
        format!("{head}.{body}.{}", URL_SAFE_NO_PAD.encode([0; 64])),
        format!("{head}.{body}."),
        format!("{head}.{body}"),
        format!("{jwt}.{signature}"),
        format!("{head}.{}.{signature}", "A".repeat(5000)),
        "..".to_owned(),
        ".".to_owned(),
    ];
    for alg in ["none", "HS256", "RS256", "ES256"] {
        let head = part(json!({"typ": "at+jwt", "alg": alg, "kid": kid}));
        forged.push(format!("{head}.{body}."));
        forged.push(format!("{head}.{body}.{signature}"));
    }
    for kid in ["../../etc/passwd", "%2e%2e", "", "1"] {
        let head = part(json!({"typ": "at+jwt", "alg": "EdDSA", "kid": kid}));
        forged.push(format!("{head}.{body}.{signature}"));
    }
    for secret in [URL_SAFE_NO_PAD.decode(&x).unwrap(), x.into_bytes()] {
        let header = jsonwebtoken::Header {
            typ: Some("at+jwt".to_owned()),
            kid: kid.as_str().map(str::to_owned),
            ..jsonwebtoken::Header::new(Algorithm::HS256)
        };
        let secret = jsonwebtoken::EncodingKey::from_secret(&secret);
        forged.push(jsonwebtoken::encode(&header, &read(jwt, 1), &secret).unwrap());
    }
    whoami(&vault, jwt).await.data(200);
    for forged in forged {
        let refused = whoami(&vault, &forged).await;
        assert!(!refused.text.contains(signature));
        refused.fails(401, "UNAUTHORIZED");
    }
    // One that another vault issued proves nothing here, and its maker learns nothing.
    let other = Vault::dev();
    let stranger = made(&other, json!({})).await;
    let stranger = text(&stranger, "token");
    whoami(&vault, stranger).await.fails(401, "UNAUTHORIZED");
    whoami(&vault, jwt).await.data(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_published_keys_verify_tokens_across_rotations_and_restarts() {
    let vault = Vault::dev();
    let before = made(&vault, json!({"expires_in": "30d"})).await;
    let published = vault.request(GET, JWKS, "", None, &[]).await;
    assert_eq!(published.headers["cache-control"], "public, max-age=300");
    let key = &published.body["keys"][0];
    let field = |name: &str| text(key, name);
    assert_eq!(
        (field("kty"), field("crv"), field("use"), field("alg")),
        ("OKP", "Ed25519", "sig", "EdDSA")
    );
    assert_eq!(published.body["keys"].as_array().unwrap().len(), 1);
    vault
        .agent(POST, "/v1/sys/signing-keys/rotate", None)
        .await
        .fails(403, "INSUFFICIENT_PERMISSIONS");
    let rotated = vault.admin(POST, "/v1/sys/signing-keys/rotate", None).await;
    let rotated = rotated.data(200);
    assert_eq!(
        (&rotated["number"], &rotated["verifying"]),
        (&json!(2), &json!(2))
    );
    let after = made(&vault, json!({})).await;
    let all = keys(&vault).await;
    assert_eq!((&all[0], &all[1]["kid"]), (key, &rotated["kid"]));
    for (token, key) in [(&before, &all[0]), (&after, &all[1])] {
        let jwt = text(token, "token");
        assert_eq!(read(jwt, 0)["kid"], key["kid"]);
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_audience(&["leasehold"]);
        let key = DecodingKey::from_ed_components(text(key, "x")).unwrap();
        let claims = decode::<Value>(jwt, &key, &validation).unwrap().claims;
        assert_eq!(claims["jti"], token["jti"]);
        whoami(&vault, jwt).await.data(200);
    }
    let revoked = made(&vault, json!({})).await;
    let path = format!("/v1/tokens/{}", text(&revoked, "jti"));
    vault.admin(DELETE, &path, None).await.data(200);

    let vault = vault.kill_and_reopen(&[]);
    assert_eq!(keys(&vault).await, all);
    whoami(&vault, text(&before, "token")).await.data(200);
    whoami(&vault, text(&after, "token")).await.data(200);
    let jwt = text(&revoked, "token");
    whoami(&vault, jwt).await.fails(401, "UNAUTHORIZED");
    let path = "/v1/audit?event=signing_key.rotated";
    // It concerns the vault as a whole; whoever rotated it finds it where the request was made.
    let events = vault.admin(GET, path, None).await.data(200);
    assert_eq!(events[0]["changes"][0]["after"], rotated["kid"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_gets_the_same_token() {
    let vault = Vault::dev();
    let retry = [("idempotency-key", "once")];
    let ask = async |body: Value| {
        let key = &vault.admin_key;
        vault
            .request(POST, "/v1/tokens", key, Some(body), &retry)
            .await
    };
    let first = ask(json!({"name": "a"})).await.data(201);
    assert_eq!(ask(json!({"name": "a"})).await.data(201), first);
    vault
        .admin(POST, "/v1/sys/signing-keys/rotate", None)
        .await
        .data(200);
    assert_eq!(ask(json!({"name": "a"})).await.data(201), first);
    ask(json!({"name": "b"}))
        .await
        .fails(409, "IDEMPOTENCY_CONFLICT");
    let path = format!("/v1/tokens/{}", text(&first, "jti"));
    vault.admin(DELETE, &path, None).await.data(200);
    ask(json!({"name": "a"})).await.fails(409, "INVALID_STATE");
    let all = vault.admin(GET, "/v1/tokens", None).await;
    assert_eq!(all.body["page"]["total"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_stays_in_its_workspace() {
    let two = Two::start();
    let ask = async |key: &str, workspace: Option<&str>, body: Value| {
        two.request(key, workspace, POST, "/v1/tokens", Some(body))
            .await
    };
    let of_b = ask(&two.admin, None, json!({"workspace": "b"}))
        .await
        .data(201);
    let everywhere = ask(&two.admin, None, json!({"workspace": "*"}))
        .await
        .data(201);
    assert_eq!(
        (&of_b["workspace"], &everywhere["workspace"]),
        (&json!("b"), &json!("*"))
    );
    let (b, all) = (text(&of_b, "token"), text(&everywhere, "token"));
    assert_eq!(two.whoami(b, None).await.data(200)["workspace"], "b");
    assert_eq!(two.whoami(b, Some("b")).await.data(200)["workspace"], "b");
    for elsewhere in ["default", "none"] {
        two.whoami(b, Some(elsewhere)).await.fails(404, "NOT_FOUND");
    }
    for workspace in ["default", "b"] {
        let me = two.whoami(all, Some(workspace)).await.data(200);
        assert_eq!(me["workspace"], workspace);
    }
    // What it makes stays there as well.
    for workspace in ["default", "none", "*"] {
        let refused = ask(b, None, json!({"workspace": workspace})).await;
        refused.fails(404, "NOT_FOUND");
    }
    let child = ask(b, None, json!({"workspace": "b"})).await.data(201);
    assert_eq!(child["workspace"], "b");
    two.request(b, None, POST, "/v1/sys/signing-keys/rotate", None)
        .await
        .fails(403, "INSUFFICIENT_PERMISSIONS");
    // Each is in one list, and nobody finds it from elsewhere.
    let at = |token: &Value| format!("/v1/tokens/{}", text(token, "jti"));
    for method in [GET, DELETE] {
        let answer = two
            .request(
                &two.admin,
                Some("default"),
                method.clone(),
                &at(&of_b),
                None,
            )
            .await;
        answer.fails(404, "NOT_FOUND");
        // Of the whole organisation, and so not for who reaches one workspace.
        let answer = two.request(b, None, method, &at(&everywhere), None).await;
        answer.fails(404, "NOT_FOUND");
    }
    let listed = async |key: &str, workspace: Option<&str>| {
        let answer = two.request(key, workspace, GET, "/v1/tokens", None).await;
        answer.body["page"]["total"].clone()
    };
    assert_eq!(listed(&two.admin, Some("b")).await, 2);
    assert_eq!(listed(b, None).await, 2);
    assert_eq!(listed(&two.admin, Some("default")).await, 1);
    two.request(&two.admin, Some("b"), DELETE, &at(&of_b), None)
        .await
        .data(200);
    two.whoami(text(&child, "token"), None)
        .await
        .fails(401, "UNAUTHORIZED");
    two.whoami(all, None).await.data(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_address_is_the_issuer_of_tokens() {
    let two = Two::start_with("[server]\npublic_url = \"https://vault.example.com\"\n");
    let token = two
        .request(&two.admin, None, POST, "/v1/tokens", Some(json!({})))
        .await
        .data(201);
    let jwt = text(&token, "token");
    assert_eq!(read(jwt, 1)["iss"], "https://vault.example.com");
    two.whoami(jwt, None).await.data(200);
}
