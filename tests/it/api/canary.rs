//! No error repeats a secret: what a caller sends in the wrong place never comes back.

use serde_json::json;

use super::{DELETE, GET, PATCH, POST, take, text};
use crate::support::{Answer, Vault};

/// Holds an answer to be a refusal of the caller's own doing, without any of these.
#[track_caller]
fn silent(answer: &Answer, secrets: &[&str], what: &str) {
    assert!(
        answer.status.is_client_error(),
        "{what}: {} {}",
        answer.status,
        answer.text
    );
    for secret in secrets {
        assert!(!answer.text.contains(secret), "{what}: {}", answer.text);
        for value in answer.headers.values() {
            assert!(
                !String::from_utf8_lossy(value.as_bytes()).contains(secret),
                "{what}: {value:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_error_and_no_log_line_repeats_what_was_sent_as_a_secret() {
    let vault = Vault::dev();
    vault.store("a", "v", json!({"max_uses": 1})).await;
    let lease = take(&vault, "a").await;
    let handle = text(&lease, "handle");
    let id = text(&lease, "id");
    vault.redeem(handle).await.data(200);
    let secrets = ["CaNaRy-5f1e", handle, &vault.agent_key, &vault.admin_key];
    for secret in secrets {
        let spaced = format!("{secret} {secret}");
        let bodies = [
            (
                POST,
                "/v1/credentials".to_owned(),
                json!({"name": secret, "type": "api-key", "value": secret}),
            ),
            (
                POST,
                "/v1/credentials".to_owned(),
                json!({"name": "b", "type": secret, "value": "v"}),
            ),
            (
                POST,
                "/v1/credentials".to_owned(),
                json!({"name": "b", "type": "api-key", "value": spaced}),
            ),
            (
                POST,
                "/v1/credentials".to_owned(),
                json!({"name": "b", "type": "api-key", "value": [secret]}),
            ),
            (
                POST,
                "/v1/credentials".to_owned(),
                json!({"name": "b", "type": "api-key", "value": {"k": secret}}),
            ),
            (
                POST,
                "/v1/credentials".to_owned(),
                json!({"name": "b", "type": "ssh-key", "value": secret}),
            ),
            (
                POST,
                "/v1/credentials".to_owned(),
                json!({"name": "b", "type": "tls-certificate", "value": secret}),
            ),
            (
                POST,
                "/v1/credentials".to_owned(),
                json!({"name": "b", "type": "database-url", "value": format!("x://u:{secret}@:99999999/")}),
            ),
            (
                POST,
                "/v1/credentials".to_owned(),
                json!({"name": "b", "type": "oauth-token", "value": format!("{{\"access_token\":\"{secret}\"")}),
            ),
            (
                POST,
                "/v1/credentials".to_owned(),
                json!({"name": "b", "type": "aws-access-key", "value": secret}),
            ),
            (
                POST,
                "/v1/credentials".to_owned(),
                json!({"name": "b", "type": "api-key", "value": secret, "description": format!("it is {secret}")}),
            ),
            (
                POST,
                "/v1/credentials".to_owned(),
                json!({"name": "b", "type": "api-key", "value": secret, "metadata": {"note": secret}}),
            ),
            (
                POST,
                "/v1/credentials".to_owned(),
                json!({"name": "b", "type": "api-key", "value": "v", "metadata": secret}),
            ),
            (
                POST,
                "/v1/credentials".to_owned(),
                json!({"name": "b", "type": "api-key", "value": "v", "metadata": {"rotate_every": secret}}),
            ),
            (
                POST,
                "/v1/credentials".to_owned(),
                json!({"name": "b", "type": "api-key", "value": "v", "policy": {"extends": secret}}),
            ),
            (
                POST,
                "/v1/credentials".to_owned(),
                json!({"name": "b", "type": "api-key", "value": "v", "policy": {"max_leases": secret}}),
            ),
            (
                POST,
                "/v1/credentials".to_owned(),
                json!({"name": "b", "type": "api-key", "value": "v", "policy": {"max_lease_ttl": secret}}),
            ),
            (
                POST,
                "/v1/credentials".to_owned(),
                json!({"name": "b", "type": "api-key", "value": "v", "policy": {"delivery": [secret]}}),
            ),
            (
                POST,
                "/v1/credentials".to_owned(),
                json!({"name": "b", "type": "api-key", "value": "v", "policy": {"egress": {"hosts": [spaced]}}}),
            ),
            (
                PATCH,
                "/v1/credentials/a".to_owned(),
                json!({"state": secret}),
            ),
            (
                PATCH,
                "/v1/credentials/a".to_owned(),
                json!({"value": secret}),
            ),
            (
                POST,
                "/v1/credentials/a/rotate".to_owned(),
                json!({"new_value": spaced}),
            ),
            (
                POST,
                "/v1/credentials/a/rotate".to_owned(),
                json!({"new_value": secret, "on_open_leases": secret}),
            ),
            (
                POST,
                "/v1/credentials/a/rotate".to_owned(),
                json!({"new_value": secret, "expected_version": secret}),
            ),
            (
                POST,
                "/v1/credentials/a/rotate".to_owned(),
                json!({"new_value": secret, "expected_version": 9}),
            ),
            (
                POST,
                "/v1/leases".to_owned(),
                json!({"credential_name": secret}),
            ),
            (
                POST,
                "/v1/leases".to_owned(),
                json!({"credential_name": "a", "ttl": secret}),
            ),
            (
                POST,
                "/v1/leases".to_owned(),
                json!({"credential_name": "a", "identity": {"name": secret}}),
            ),
            (
                POST,
                "/v1/leases".to_owned(),
                json!({"credential_name": "a", "identity": {"type": secret}}),
            ),
            (
                POST,
                "/v1/leases".to_owned(),
                json!({"credential_name": "a", "reveal": secret}),
            ),
            (
                POST,
                "/v1/leases".to_owned(),
                json!({"credential_name": "a", "purpose": [secret]}),
            ),
            (
                POST,
                format!("/v1/leases/{id}/renew"),
                json!({"ttl": secret}),
            ),
            (
                POST,
                format!("/v1/leases/{id}/revoke"),
                json!({"reason": [secret]}),
            ),
            (POST, format!("/v1/leases/{secret}/release"), json!({})),
            (
                POST,
                "/v1/leases/revoke".to_owned(),
                json!({"filter": {"credential_name": secret}}),
            ),
            (
                POST,
                "/v1/leases/revoke".to_owned(),
                json!({"filter": secret}),
            ),
            (
                POST,
                "/v1/handles/redeem".to_owned(),
                json!({"handle": secret, "value": secret}),
            ),
            (
                POST,
                "/v1/handles/redeem".to_owned(),
                json!({"handle": format!("{secret}x")}),
            ),
            (
                POST,
                "/v1/handles/redeem".to_owned(),
                json!({"handle": [secret]}),
            ),
            (DELETE, format!("/v1/credentials/{secret}"), json!(null)),
            (
                POST,
                format!("/v1/credentials/a/versions/{secret}/revoke"),
                json!({}),
            ),
        ];
        for (method, path, body) in bodies {
            let what = format!("{method} {path} {body}");
            let answer = vault.admin(method, &path, Some(body)).await;
            silent(&answer, &secrets, &what);
        }
        for path in [
            format!("/v1/credentials/{secret}"),
            format!("/v1/leases/{secret}"),
            format!("/v1/leases/{secret}/events"),
            format!("/{secret}"),
            format!("/v1/credentials?limit={secret}"),
            format!("/v1/credentials?sort={secret}"),
            format!("/v1/credentials?cursor={secret}"),
            format!("/v1/credentials?state={secret}"),
            format!("/v1/credentials?type={secret}"),
            format!("/v1/leases?since={secret}"),
            format!("/v1/leases?version={secret}"),
            format!("/v1/audit?event={secret}"),
            format!("/v1/audit?lease_id={secret}"),
            format!("/v1/audit?outcome={secret}"),
            format!("/v1/audit?bogus={secret}"),
        ] {
            silent(&vault.admin(GET, &path, None).await, &secrets, &path);
        }
        for body in [
            format!("{{\"handle\":\"{secret}"),
            format!("\"{secret}\""),
            format!("{{\"handle\":\"x\"}} {secret}"),
            format!("[\"{secret}\"]"),
            secret.to_owned(),
            format!("handle={secret}"),
            format!("{{\"handle\":\"{secret}\",\"handle\":\"{secret}\"}}"),
            format!("{{\"handle\":\"\\u{secret}\"}}"),
        ] {
            let answer = vault
                .raw(
                    POST,
                    "/v1/handles/redeem",
                    &vault.agent_key,
                    "application/json",
                    body.clone().into_bytes(),
                )
                .await;
            silent(&answer, &secrets, &body);
            silent(
                &vault
                    .raw(
                        POST,
                        "/v1/handles/redeem",
                        &vault.agent_key,
                        secret,
                        body.into_bytes(),
                    )
                    .await,
                &secrets,
                "type",
            );
        }
        for name in [
            "x-workspace",
            "x-request-id",
            "idempotency-key",
            "accept",
            "cookie",
        ] {
            // A request id is returned by contract; one that holds a bearer string is not taken.
            if name == "x-request-id" && !secret.starts_with("lh") {
                continue;
            }
            let answer = vault
                .request(
                    POST,
                    "/v1/leases",
                    &vault.admin_key,
                    Some(json!({"credential_name": "none"})),
                    &[(name, secret)],
                )
                .await;
            silent(&answer, &secrets, name);
        }
        silent(
            &vault
                .request(GET, "/v1/leases", &format!("{secret}x"), None, &[])
                .await,
            &secrets,
            "key",
        );
    }
    // The handle that is used up is refused without a word of it; so is one that nobody issued.
    silent(&vault.redeem(handle).await, &secrets, "used up");
    let metrics = vault.request(GET, "/metrics", "", None, &[]).await.text;
    let log = vault.log();
    assert!(
        log.contains("request_id"),
        "the log says nothing: {log:.200}"
    );
    for secret in secrets {
        assert!(!metrics.contains(secret));
        let line = log.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "{line:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_an_error_repeats_is_short_printable_and_no_bearer_string() {
    let vault = Vault::dev();
    let key = &vault.agent_key;
    let long = "x".repeat(100_000);
    for name in [
        key,
        &format!("a.{key}"),
        &long,
        &"y.".repeat(50_000),
        "a\u{1b}[31m\u{202e}b",
    ] {
        for body in [json!({name: 1}), json!({"filter": {name: 1}})] {
            let answer = vault.admin(POST, "/v1/leases/revoke", Some(body)).await;
            silent(&answer, &[&key[..40], "\u{1b}", "\u{202e}"], "a field");
            assert!(answer.text.len() < 2_000, "{:.200}", answer.text);
            answer.fails(400, "INVALID_PARAMETER");
        }
        let mut query = url::form_urlencoded::Serializer::new("/v1/leases?".to_owned());
        if name.len() < 10_000 {
            let path = query.append_key_only(name).finish();
            let answer = vault.admin(GET, &path, None).await;
            silent(&answer, &[&key[..40], "\u{1b}", "\u{202e}"], "a parameter");
            assert!(answer.text.len() < 2_000, "{:.200}", answer.text);
        }
    }
}
