//! The text of a key is in its answer, and nowhere else.

use std::path::Path;

use super::*;

fn holds(folder: &Path, texts: &[&str]) -> Option<String> {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if let Some(found) = holds(&path, texts) {
                return Some(found);
            }
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let within = |text: &str| {
            bytes
                .windows(text.len())
                .any(|part| part == text.as_bytes())
        };
        if let Some(text) = texts.iter().find(|text| within(text)) {
            return Some(format!("{text} in {}", path.display()));
        }
    }
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn the_text_of_a_key_is_in_no_log_and_in_no_file() {
    let vault = Vault::dev();
    let body =
        json!({"name": "planted-name", "identity": {"name": "claude-code"}, "role": "agent"});
    let retry = [("idempotency-key", "planted-retry")];
    let admin = &vault.admin_key;
    let made = vault
        .request(POST, "/v1/api-keys", admin, Some(body), &retry)
        .await
        .data(201);
    let first = text(&made, "key").to_owned();
    whoami(&vault, &first).await.data(200);
    let path = format!("/v1/api-keys/{}/rotate", text(&made, "id"));
    let body = Some(json!({"grace": "1h"}));
    let rotated = vault
        .request(POST, &path, admin, body, &retry)
        .await
        .data(200);
    let second = text(&rotated, "key").to_owned();
    let mistyped = format!("{}~", &second[..75]);
    for key in [&first, &second] {
        whoami(&vault, key).await.data(200);
        // Wherever it is put by mistake, it comes back nowhere.
        for (method, path, body) in [
            (GET, format!("/v1/api-keys/{key}"), json!({})),
            (GET, format!("/v1/api-keys?name={key}"), json!({})),
            (GET, format!("/v1/api-keys?state={key}"), json!({})),
            (
                POST,
                "/v1/api-keys".to_owned(),
                json!({"name": "k", "role": key}),
            ),
            (
                POST,
                "/v1/api-keys".to_owned(),
                json!({"name": "k", "scopes": [key]}),
            ),
            (
                POST,
                "/v1/api-keys".to_owned(),
                json!({"name": "k", "role": "viewer", "rate_limit": key}),
            ),
            (
                POST,
                "/v1/api-keys".to_owned(),
                json!({"name": "k", "role": "viewer", "workspace": key}),
            ),
            (
                POST,
                "/v1/api-keys".to_owned(),
                json!({"name": "k", "role": "viewer", "expires_in": key}),
            ),
            (
                POST,
                "/v1/api-keys".to_owned(),
                json!({"name": "k", "role": "viewer", "identity": {"name": key}}),
            ),
        ] {
            let answer = vault.admin(method, &path, Some(body)).await;
            assert!(
                !answer.text.contains(key.as_str()),
                "{path} {}",
                answer.text
            );
        }
    }
    whoami(&vault, &mistyped).await.fails(401, "UNAUTHORIZED");
    let log = vault.log();
    assert!(
        log.contains("/v1/api-keys/{id}/rotate"),
        "the log says nothing"
    );
    // All but the part that the id makes, and nothing that a reader could make of the rest.
    let texts = [&first[26..], &second[26..], "planted-name", "planted-retry"];
    assert_eq!(texts.iter().find(|text| log.contains(**text)), None);
    let data = vault.data_dir.clone();
    let folder = vault.stop_and_keep();
    assert_eq!(holds(&data, &texts), None);
    drop(folder);
}

/// The one pattern in the README that says what a key looks like.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_looks_as_the_readme_tells_secret_scanners() {
    let readme = include_str!("../../../../README.md");
    let pattern = "lhk_[0-9A-Za-z]{72}";
    assert!(readme.contains(&format!("`{pattern}`")));
    let vault = Vault::dev();
    let made = agents(&vault, "a").await;
    for key in [text(&made, "key"), &vault.admin_key, &vault.agent_key] {
        let digits = key.strip_prefix("lhk_").unwrap();
        assert_eq!(digits.len(), 72);
        assert!(digits.bytes().all(|b| b.is_ascii_alphanumeric()), "{key}");
        // The checksum as the README words it: the last four bytes, of all that stands before them.
        let body = decoded(digits);
        let (payload, crc) = body.split_at(48);
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(b"lhk_");
        hasher.update(payload);
        assert_eq!(crc, hasher.finalize().to_be_bytes());
    }
}

/// Each 11 digits are 8 bytes, and the last 6 are 4: big-endian numbers in base 62, digits before letters and
/// capitals before small ones.
fn decoded(digits: &str) -> Vec<u8> {
    let alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let number = |block: &[u8]| {
        let value = |b: &u8| alphabet.find(char::from(*b)).unwrap() as u64;
        block.iter().fold(0u64, |number, b| number * 62 + value(b))
    };
    let blocks = digits.as_bytes().chunks(11);
    blocks
        .flat_map(|block| {
            let bytes = number(block).to_be_bytes();
            let used = if block.len() == 11 { 8 } else { 4 };
            bytes[8 - used..].to_vec()
        })
        .collect()
}
