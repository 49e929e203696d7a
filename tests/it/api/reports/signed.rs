//! A signed report, checked by anybody.

use std::process::Output;

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{super::stop::receipt::openssl_verifies, *};
use crate::support::{TempDir, leasehold};

fn verify(file: &std::path::Path, key: &str, more: &[&str]) -> Output {
    let mut command = leasehold();
    command.args(["report", "verify"]).arg(file);
    command.args(["--public-key", key]).args(more);
    command.output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_report_holds_without_the_vault_and_any_change_shows() {
    let vault = Vault::dev();
    vault.store("a", "v", json!({})).await;
    super::super::take(&vault, "a").await;
    let answer = vault
        .admin(
            GET,
            "/v1/reports/exposure?credential_name=a&format=signed",
            None,
        )
        .await;
    let answered = answer.text.clone();
    let signed = answer.data(200);
    let statement = text(&signed, "statement");
    let bytes = |field: &str| STANDARD.decode(text(&signed, field)).unwrap();
    let (key, signature) = (bytes("public_key"), bytes("signature"));
    assert!(openssl_verifies(&key, statement.as_bytes(), &signature));
    let keys = vault
        .request(GET, "/.well-known/leasehold-keys.json", "", None, &[])
        .await;
    let published = keys.text.clone();
    assert_eq!(
        keys.data(200)["keys"][0]["public_key"],
        signed["public_key"]
    );
    let said: Value = serde_json::from_str(statement).unwrap();
    assert_eq!(
        (&said["format"], &said["summary"]["leases"]),
        (&json!("leasehold/v1/exposure-report"), &json!(1))
    );
    // Canonical: written again it is the same bytes.
    assert_eq!(said.to_string(), statement);

    let folder = TempDir::new();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let (bare, whole) = (
        file("bare.json", &signed.to_string()),
        file("whole.json", &answered),
    );
    let key = text(&signed, "public_key");
    let keys = file("keys.json", &published);
    for (document, key) in [
        (&bare, key),
        (&whole, key),
        (&whole, keys.to_str().unwrap()),
    ] {
        let output = verify(document, key, &[]);
        assert!(output.status.success(), "{output:?}");
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert!(stdout.starts_with("signed by this key\n"), "{stdout}");
        assert!(stdout.contains("1, 1 open"), "{stdout}");
    }
    let output = verify(&bare, key, &["--json"]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["data"]["statement"], said);

    let mut forged = signed.clone();
    forged["statement"] = json!(statement.replace("\"leases\":1", "\"leases\":0"));
    assert_ne!(forged, signed);
    let forged = file("forged.json", &forged.to_string());
    let other = STANDARD.encode([7; 32]);
    // A receipt is signed by the same key, and is no report.
    let stopped = vault
        .admin(POST, "/v1/identities/agent/claude-code/suspend", None)
        .await
        .data(200);
    let receipt = file("receipt.json", &stopped["receipt"].to_string());
    let nothing = file("nothing.json", "{}");
    for (document, key, why) in [
        (&forged, key, "was changed since"),
        (&bare, other.as_str(), "not signed by this key"),
        (&receipt, key, "is not an exposure report"),
        (&nothing, key, "not a signed report"),
        (&bare, "nowhere", "cannot read"),
    ] {
        let output = verify(document, key, &[]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(why), "{stderr}");
    }
}
