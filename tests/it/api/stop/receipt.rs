//! Receipts: signed, over what was done, for anybody to check.

use std::process::Command;

use base64::{Engine, engine::general_purpose::STANDARD};

use super::*;
use crate::support::TempDir;

/// Checks a signature as anybody would: with openssl and the public key.
pub(in crate::api) fn openssl_verifies(
    public_key: &[u8],
    statement: &[u8],
    signature: &[u8],
) -> bool {
    // A public key of RFC 8410: the algorithm's identifier, then the key.
    let prefix = [
        0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
    ];
    let folder = TempDir::new();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let output = Command::new("openssl")
        .args(["pkeyutl", "-verify", "-rawin", "-pubin", "-keyform", "DER"])
        .arg("-inkey")
        .arg(file("key", &[&prefix[..], public_key].concat()))
        .arg("-in")
        .arg(file("statement", statement))
        .arg("-sigfile")
        .arg(file("signature", signature))
        .output()
        .unwrap();
    output.status.success()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_is_signed_by_the_vault_and_any_changed_byte_shows() {
    let vault = Vault::dev();
    vault.store("a", "v", json!({})).await;
    take(&vault, "a").await;
    let stopped = suspend(&vault).await;
    let receipt = &stopped["receipt"];
    let bytes = |field: &str| STANDARD.decode(text(receipt, field)).unwrap();
    let (statement, key) = (text(receipt, "statement").as_bytes(), bytes("public_key"));
    let signature = bytes("signature");
    assert!(openssl_verifies(&key, statement, &signature));
    let verifies = |key: &[u8], statement: &[u8], signature: &[u8]| {
        leasehold::crypto::sign::verifies(key, statement, signature)
    };
    assert!(verifies(&key, statement, &signature));
    for at in 0..statement.len() {
        let mut forged = statement.to_vec();
        forged[at] ^= 1;
        assert!(!verifies(&key, &forged, &signature), "byte {at}");
    }
    let mut forged = statement.to_vec();
    forged[0] ^= 1;
    assert!(!openssl_verifies(&key, &forged, &signature));
    // It is the vault's own key, which anybody may read, before and after a restart.
    let keys = "/.well-known/leasehold-keys.json";
    let vault = vault.restart(&[]);
    let published = vault.request(GET, keys, "", None, &[]).await.data(200);
    assert_eq!(published["keys"][0]["public_key"], receipt["public_key"]);

    let said: Value = serde_json::from_slice(statement).unwrap();
    assert_eq!(
        said["stopped"],
        json!({"keys": 1, "leases": 1, "tokens": 0})
    );
    assert_eq!(
        (&said["format"], &said["action"], &said["target"]),
        (
            &json!("leasehold/v1/receipt"),
            &json!("identity:suspend"),
            &json!("identity/agent/claude-code")
        )
    );
    assert_eq!(
        (&said["took_ms"], &said["reason"], &said["actor"]["name"]),
        (&stopped["took_ms"], &json!("leaked"), &json!("admin"))
    );
    let event = vault
        .admin(GET, "/v1/audit?event=identity.suspended", None)
        .await
        .data(200);
    assert_eq!(said["audit_event"], event[0]["id"]);
    // Its fields are in the order of their names, so that equal facts are equal bytes.
    let sorted: std::collections::BTreeMap<String, Value> =
        serde_json::from_slice(statement).unwrap();
    assert_eq!(
        serde_json::to_string(&sorted).unwrap().as_bytes(),
        statement
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_by_session_or_identity_is_told_by_a_receipt_too() {
    let vault = Vault::dev();
    vault.store("a", "v", json!({})).await;
    let mut handles = Vec::new();
    for session in ["s-1", "s-1", "s-2"] {
        let body = json!({"credential_name": "a", "identity": {"session_id": session}});
        handles.push(vault.lease(body).await["handle"].clone());
    }
    for (filter, named, leases, gone) in [
        (
            json!({"filter": {"session_id": "s-1"}}),
            json!({"session_id": "s-1"}),
            2,
            2,
        ),
        (
            json!({"filter": {"identity": "claude-code", "credential_name": "a"}}),
            json!({"credential_name": "a", "identity": "claude-code"}),
            1,
            3,
        ),
        (json!({"all": true}), Value::Null, 0, 3),
    ] {
        let mut body = filter;
        body["reason"] = json!("a session that ran away");
        let answer = vault.admin(POST, "/v1/leases/revoke", Some(body)).await;
        let stopped = answer.data(200);
        let receipt = &stopped["receipt"];
        let bytes = |field: &str| STANDARD.decode(text(receipt, field)).unwrap();
        let statement = text(receipt, "statement").as_bytes();
        let (key, signature) = (bytes("public_key"), bytes("signature"));
        assert!(leasehold::crypto::sign::verifies(
            &key, statement, &signature
        ));
        let said: Value = serde_json::from_slice(statement).unwrap();
        let counts = json!({"keys": 0, "leases": leases, "tokens": 0});
        assert_eq!((&said["stopped"], &said["filter"]), (&counts, &named));
        assert_eq!(stopped["revoked_leases"], leases);
        assert_eq!(
            (&said["took_ms"], &said["action"], &said["target"]),
            (
                &stopped["took_ms"],
                &json!("lease:revoke_many"),
                &json!("workspace/default")
            )
        );
        let query = "/v1/audit?event=lease.bulk_revoked&limit=1&sort=-time";
        let event = vault.admin(GET, query, None).await.data(200);
        assert_eq!(said["audit_event"], event[0]["id"]);
        let sorted: std::collections::BTreeMap<String, Value> =
            serde_json::from_slice(statement).unwrap();
        assert_eq!(serde_json::to_vec(&sorted).unwrap(), statement);
        for handle in &handles[..gone] {
            let used = vault.redeem(handle.as_str().unwrap()).await;
            used.fails(410, "LEASE_REVOKED");
        }
    }
}
