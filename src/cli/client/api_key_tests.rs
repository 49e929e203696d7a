use std::{os::unix::fs::PermissionsExt, path::Path};

use super::super::test_vault::{JSON, PEOPLE, TempFile, TestVault};
use super::*;

const MADE: &str =
    r#"{"status":"success","data":{"id":"key_1","name":"ci","key":"lhk_s3cret","state":"active"}}"#;

fn rotate(output: Option<&Path>, force: bool) -> ApiKeyCommand {
    ApiKeyCommand::Rotate(Rotate {
        id: "key_1".to_owned(),
        grace: Some("24h".to_owned()),
        expires_in: Some("never".to_owned()),
        destination: Destination {
            output: output.map(Path::to_owned),
            force,
        },
    })
}

#[tokio::test]
async fn a_new_value_is_printed_once_and_a_rotation_may_be_repeated() {
    let vault = TestVault::answering(&[(200, MADE)]);
    let report = run(&vault.client(), rotate(None, false), PEOPLE)
        .await
        .unwrap();
    assert_eq!(report.out.matches("lhk_s3cret").count(), 1);
    assert!(!report.notes.contains("lhk_"));
    let request = &vault.requests()[0];
    assert_eq!(request.line, "POST /v1/api-keys/key_1/rotate HTTP/1.1");
    assert_eq!(request.body, r#"{"grace":"24h","expires_in":null}"#);
    assert!(request.header("idempotency-key").is_some());
}

#[tokio::test]
async fn a_new_value_that_goes_into_a_file_is_printed_nowhere() {
    let file = TempFile::new(b"the old one");
    for mode in [PEOPLE, JSON] {
        let vault = TestVault::answering(&[(200, MADE)]);
        // What exists is replaced on request only, and nothing is asked for before.
        let refused = run(&vault.client(), rotate(Some(file.path()), false), mode).await;
        assert!(refused.unwrap_err().text().contains("exists"));
        assert!(vault.requests().is_empty());
        let command = rotate(Some(file.path()), true);
        let report = run(&vault.client(), command, mode).await.unwrap();
        assert!(report.out.contains("key_1") && !report.out.contains("lhk_"));
        assert!(!report.notes.contains("lhk_"));
        let kept = std::fs::read_to_string(file.path()).unwrap();
        assert_eq!(kept, "lhk_s3cret\n");
        let mode = std::fs::metadata(file.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    // A rotation that is refused leaves the old file as it is.
    let vault = TestVault::answering(&[(403, r#"{"code":"X","message":"no"}"#)]);
    let command = rotate(Some(file.path()), true);
    assert!(run(&vault.client(), command, PEOPLE).await.is_err());
    let kept = std::fs::read_to_string(file.path()).unwrap();
    assert_eq!(kept, "lhk_s3cret\n");
}

#[test]
fn a_rate_limit_is_a_number_or_a_name() {
    assert_eq!(limit("250"), json!(250));
    assert_eq!(limit("pro"), json!("pro"));
    let update = |rate: &str| Update {
        id: "key_1".to_owned(),
        name: None,
        description: Some(String::new()),
        role: None,
        scope: vec!["lease:*".to_owned()],
        rate_limit: Some(rate.to_owned()),
    };
    let body = Value::Object(update("default").body().unwrap());
    let expected = json!({"description": null, "scopes": ["lease:*"], "rate_limit": null});
    assert_eq!(body, expected);
}
