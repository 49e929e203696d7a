//! Client certificates, exchanged for access tokens over real TLS.

use std::{fs, time::SystemTime};

use jsonwebtoken::Algorithm;
use rcgen::date_time_ymd;
use serde_json::{Value, json};

use super::{
    provider::SigningKey,
    site::{Ca, Site, exchange, named, write},
};
use crate::{
    api::{DELETE, GET, PATCH, POST, text},
    support::{TempDir, leasehold},
    survival::kit::{Production, Server},
};

const BILLING: &str = "spiffe://acme.example/agents/billing";

fn rules(changes: Value) -> Value {
    let mut rules = json!({
        "name": "mesh", "kind": "certificate", "conditions": {"san_uri": "spiffe://acme.example/agents/*"},
        "identity": {"name": "{san_uri_path_last}", "type": "service", "auto_create": true}, "token_ttl": "1h",
    });
    for (name, value) in changes.as_object().unwrap() {
        rules[name] = value.clone();
    }
    rules
}

fn sha256(pem: &str) -> String {
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(der(pem));
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn base64_of(pem: &str) -> String {
    let lines = pem.lines().filter(|line| !line.starts_with("-----"));
    lines.collect()
}

fn der(pem: &str) -> Vec<u8> {
    use base64::Engine as _;
    let standard = base64::engine::general_purpose::STANDARD;
    standard.decode(base64_of(pem)).unwrap()
}

fn shown(certificate: &(String, String)) -> Value {
    json!({"field": "certificate_sha256", "before": null, "after": sha256(&certificate.0)})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_becomes_a_short_token_that_ends_with_it() {
    let site = Site::start();
    let made = site
        .admin(POST, "/v1/issuers", Some(rules(json!({}))))
        .await;
    let issuer = made.data(201);
    assert_eq!(issuer["kind"], "certificate");
    for field in ["iss", "audiences", "algorithms", "require_jti", "leeway"] {
        assert!(issuer.get(field).is_none(), "{issuer}");
    }
    let certificate = site.ca.client(&[BILLING]);
    let body = json!({"issuer": "mesh"});
    let token = site.exchange(Some(&certificate), body.clone()).await;
    let token = token.data(201);
    assert_eq!(
        (&token["created_with"], &token["ttl_capped"]),
        (&issuer["id"], &json!(false))
    );
    let jwt = text(&token, "token");
    // The token is of use without the certificate, and the server serves who has none.
    let me = site.ask(GET, "/v1/auth/whoami", jwt, None).await.data(200);
    assert_eq!(me["identity"]["name"], "billing");
    assert_eq!(me["scopes"], issuer["identity"]["scopes"]);
    let path = "/v1/audit?event=auth.exchanged";
    let history = site.admin(GET, path, None).await;
    assert!(!history.text.contains(&base64_of(&certificate.0)[..80]));
    let event = history.data(200)[0].clone();
    assert_eq!(event["decided_by"], "issuer:mesh");
    assert_eq!(event["actor"]["name"], "billing");
    let changes = event["changes"].as_array().unwrap();
    assert!(changes.contains(&shown(&certificate)), "{event}");
    let subject = json!({"field": "subject", "before": null, "after": BILLING});
    assert!(changes.contains(&subject), "{event}");

    // A certificate that ends soon gives a token that ends then.
    let mut brief = named(&[BILLING]);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let end = now.unwrap().as_secs() + 600;
    brief.not_after = date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(end);
    let brief = site.ca.sign(brief);
    let token = site.exchange(Some(&brief), body.clone()).await.data(201);
    assert_eq!(token["ttl_capped"], true);
    assert_eq!(
        crate::api::millis(&token["expires_at"]),
        u128::from(end) * 1000
    );

    // Narrowed, it lets in others alone; gone, nobody, and its tokens end.
    let path = "/v1/issuers/mesh";
    let narrower = json!({"conditions": {"san_uri": "spiffe://acme.example/agents/build"}});
    site.admin(PATCH, path, Some(narrower)).await.data(200);
    let refused = site.exchange(Some(&certificate), body.clone()).await;
    refused.fails(401, "CLAIM_MISMATCH");
    site.admin(DELETE, path, None).await.data(200);
    let refused = site.exchange(Some(&certificate), body).await;
    refused.fails(401, "ISSUER_UNKNOWN");
    site.ask(GET, "/v1/auth/whoami", jwt, None)
        .await
        .fails(401, "UNAUTHORIZED");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_certificate_of_the_issuer_is_refused_and_recorded() {
    let site = Site::start();
    let made = site
        .admin(POST, "/v1/issuers", Some(rules(json!({}))))
        .await;
    let issuer = made.data(201);
    let key = SigningKey::new("k", Algorithm::EdDSA);
    let oidc = json!({
        "name": "ci", "iss": "https://ci", "jwks": {"keys": [key.public()]}, "audiences": ["vault"],
        "conditions": {"sub": "me"}, "identity": {"name": "me", "auto_create": true},
    });
    site.admin(POST, "/v1/issuers", Some(oidc)).await.data(201);
    let jwt = key
        .sign(&json!({"iss": "https://ci", "sub": "me", "aud": "vault", "exp": 9_999_999_999u64}));
    let good = site.ca.client(&[BILLING]);
    let cases = [
        // Its name is another's, or none, or one of two.
        (
            &["spiffe://other.example/agents/billing"][..],
            "mesh",
            "CLAIM_MISMATCH",
            "san_uri",
        ),
        (&[], "mesh", "CLAIM_MISMATCH", "san_uri"),
        (
            &[BILLING, "urn:x:y"],
            "mesh",
            "CLAIM_MISMATCH",
            "san_uri_path_last",
        ),
        (
            &["spiffe://acme.example/agents/"],
            "mesh",
            "CLAIM_MISMATCH",
            "san_uri_path_last",
        ),
        (
            &["spiffe://acme.example/agents/Billing"],
            "mesh",
            "CLAIM_MISMATCH",
            "san_uri_path_last",
        ),
        (&[BILLING], "ci", "ISSUER_UNKNOWN", ""),
        (&[BILLING], "none", "ISSUER_UNKNOWN", ""),
    ];
    for (uris, named, code, claim) in cases {
        let certificate = site.ca.client(uris);
        let refused = site
            .exchange(Some(&certificate), json!({"issuer": named}))
            .await;
        let refused = refused.fails(401, code);
        let recorded = site.refusal().await;
        assert_eq!(recorded["code"], code);
        assert_eq!(recorded["changes"], json!([shown(&certificate)]));
        assert!(
            !recorded
                .to_string()
                .contains(&base64_of(&certificate.0)[..80])
        );
        if code == "CLAIM_MISMATCH" {
            assert_eq!(refused["details"]["claim"], claim, "{uris:?}");
            assert_eq!(recorded["object"], issuer["id"]);
        }
    }
    // An assertion is no certificate's, whatever the connection has.
    let body = json!({"issuer": "mesh", "token": jwt});
    site.exchange(Some(&good), body)
        .await
        .fails(401, "ISSUER_UNKNOWN");
    let body = json!({"token": jwt});
    site.exchange(Some(&good), body).await.data(201);
    site.exchange(Some(&good), json!({}))
        .await
        .fails(400, "MISSING_PARAMETER");

    // Nobody's header is a certificate: not without one, and not beside another's.
    let inline = good.0.replace('\n', "%0A");
    let dense = base64_of(&good.0);
    let forwarded = format!("Hash={};Cert=\"{inline}\";URI={BILLING}", sha256(&good.0));
    let headers = [
        ("X-SSL-Client-Cert", inline.as_str()),
        ("X-SSL-Client-Verify", "SUCCESS"),
        ("X-SSL-CERT", &inline),
        ("X-Client-Cert", &dense),
        ("X-ARR-ClientCert", &dense),
        ("Client-Cert", &format!(":{dense}:")),
        ("ssl-client-cert", &inline),
        ("X-Forwarded-Client-Cert", &forwarded),
        ("X-Forwarded-Tls-Client-Cert", &dense),
    ];
    let body = json!({"issuer": "mesh"});
    let nobody = exchange(&site.client(None), &site.server, body.clone(), &headers).await;
    nobody.fails(401, "UNAUTHORIZED");
    let recorded = site.refusal().await;
    assert_eq!(
        (&recorded["code"], &recorded["outcome"]),
        (&json!("UNAUTHORIZED"), &json!("refused"))
    );
    assert!(recorded["changes"].as_array().is_none_or(Vec::is_empty));
    let other = site.ca.client(&["spiffe://other.example/agents/x"]);
    let refused = exchange(
        &site.client(Some(&other)),
        &site.server,
        body.clone(),
        &headers,
    )
    .await;
    refused.fails(401, "CLAIM_MISMATCH");
    assert_eq!(site.refusal().await["changes"], json!([shown(&other)]));

    // Those of others, and those whose time is over, end the handshake.
    let mut over = named(&[BILLING]);
    over.not_after = date_time_ymd(2020, 1, 1);
    let mut early = named(&[BILLING]);
    early.not_before = date_time_ymd(4000, 1, 1);
    for turned_away in [
        Ca::new("clients").client(&[BILLING]),
        site.ca.sign(over),
        site.ca.sign(early),
    ] {
        let health = format!("{}/health", site.server.address);
        let answer = site.client(Some(&turned_away)).get(health).send().await;
        assert!(answer.is_err(), "{answer:?}");
    }
    site.exchange(Some(&good), body).await.data(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_on_certificates_that_mean_nothing_are_refused() {
    let site = Site::start();
    for (changes, field) in [
        (json!({"iss": "https://ci"}), "iss"),
        (json!({"jwks_url": "https://ci/jwks"}), "jwks_url"),
        (json!({"audiences": ["vault"]}), "audiences"),
        (json!({"leeway": "10s"}), "leeway"),
        (json!({"require_jti": false}), "require_jti"),
        (json!({"conditions": {}}), "conditions"),
        (json!({"conditions": {"san_uri": "*"}}), "conditions"),
        (json!({"conditions": {"san_uri": []}}), "conditions"),
        (json!({"conditions": {"san_ip": "127.0.0.1"}}), "conditions"),
        (json!({"conditions": {"sub": "x"}}), "conditions"),
        (
            json!({"conditions": {"subject_cn": "billing"}}),
            "identity.name",
        ),
        (json!({"identity": {"name": "{san_dns}"}}), "identity.name"),
        (json!({"identity": {"name": "{san_uri}"}}), "identity.name"),
        (json!({"identity": {"name": "{sub}"}}), "identity.name"),
        (json!({"token_ttl": "61m"}), "token_ttl"),
    ] {
        let refused = site
            .admin(POST, "/v1/issuers", Some(rules(changes.clone())))
            .await;
        let refused = refused.fails(400, "INVALID_PARAMETER");
        assert_eq!(refused["details"]["field"], field, "{changes}");
    }
    let fixed =
        json!({"conditions": {"subject_cn": ["billing", "b*"]}, "identity": {"name": "billing"}});
    site.admin(POST, "/v1/issuers", Some(rules(fixed)))
        .await
        .data(201);
    for changes in [
        json!({"iss": "x"}),
        json!({"jwks": {"keys": []}}),
        json!({"leeway": "1s"}),
    ] {
        let refused = site.admin(PATCH, "/v1/issuers/mesh", Some(changes)).await;
        refused.fails(400, "INVALID_PARAMETER");
    }
    // What every issuer needs, those of assertions alone are asked for.
    for missing in ["iss", "audiences", "jwks_url"] {
        let mut oidc = json!({
            "name": "ci", "iss": "https://ci", "jwks_url": "https://ci/k", "audiences": ["v"],
            "conditions": {"sub": "me"}, "identity": {"name": "me"},
        });
        oidc.as_object_mut().unwrap().remove(missing);
        let refused = site.admin(POST, "/v1/issuers", Some(oidc)).await;
        let refused = refused.fails(400, "MISSING_PARAMETER");
        assert_eq!(refused["details"]["field"], missing);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_exchanged_from_the_command_line() {
    let site = Site::start();
    site.admin(POST, "/v1/issuers", Some(rules(json!({}))))
        .await
        .data(201);
    let (certificate, key) = site.ca.client(&[BILLING]);
    let certificate = write(&site.folder, "billing.crt", &certificate);
    let key = write(&site.folder, "billing.key", &key);
    let roots = write(&site.folder, "roots.pem", &site.ca.pem);
    let run = |address: &str, key: &str, line: &[&str]| {
        let mut command = leasehold();
        command.env_remove("RUST_LOG").args(line);
        command
            .env("SSL_CERT_FILE", &roots)
            .env_remove("SSL_CERT_DIR");
        command
            .env("LEASEHOLD_ADDR", address)
            .env("LEASEHOLD_KEY", key);
        command.output().unwrap()
    };
    let (certificate, key) = (certificate.to_str().unwrap(), key.to_str().unwrap());
    let line = [
        "token",
        "exchange",
        "--issuer",
        "mesh",
        "--client-cert",
        certificate,
        "--client-key",
        key,
    ];
    let exchanged = run(&site.server.address, "", &line);
    assert!(exchanged.status.success(), "{exchanged:?}");
    let token = String::from_utf8(exchanged.stdout).unwrap();
    let listed = run(
        &site.server.address,
        token.trim(),
        &["lease", "list", "--json"],
    );
    assert!(listed.status.success(), "{listed:?}");
    // In clear text nobody is shown it.
    let plain = run("http://127.0.0.1:1", "", &line);
    assert_eq!(plain.status.code(), Some(2), "{plain:?}");
    assert!(String::from_utf8_lossy(&plain.stderr).contains("https"));
}

#[tokio::test]
async fn a_file_of_cas_that_cannot_be_used_is_refused_at_the_start() {
    let folder = TempDir::new();
    let vault = Production::init(folder.path());
    let ca = Ca::new("clients");
    let (cert, key) = ca.client(&[]);
    let (cert, key) = (
        write(&folder, "s.crt", &cert),
        write(&folder, "s.key", &key),
    );
    let broken = ca.pem.replacen('M', "!", 1);
    for text in [
        "",
        "no PEM",
        broken.as_str(),
        &fs::read_to_string(&key).unwrap(),
    ] {
        let roots = write(&folder, "ca.pem", text);
        let environment = [
            ("LEASEHOLD__SERVER__TLS__CERT", cert.to_str().unwrap()),
            ("LEASEHOLD__SERVER__TLS__KEY", key.to_str().unwrap()),
            ("LEASEHOLD__SERVER__TLS__CLIENT_CA", roots.to_str().unwrap()),
        ];
        let config = vault.config.to_str().unwrap();
        let refused = Server::start(&["--config", config], &environment);
        refused
            .err()
            .unwrap()
            .refused(&["server.tls.client_ca", "ca.pem"]);
    }
}
