//! Checkpoints and proofs in the eyes of another implementation: a port of Go's transparency log, which backs its module
//! mirror (golang.org/x/mod/sumdb/tlog), with its parser of checkpoints.

use std::time::{Duration, Instant};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use tlog_tiles::{Checkpoint, Hash, check_record, check_tree, record_hash};

use super::{GET, text};
use crate::support::Vault;

async fn get(vault: &Vault, path: &str) -> Value {
    vault.admin(GET, path, None).await.data(200)
}

fn bytes(hex: &Value) -> Vec<u8> {
    let hex = hex.as_str().unwrap();
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

fn path(proof: &Value) -> Vec<Hash> {
    let steps = proof["path"].as_array().unwrap().iter();
    steps
        .map(|step| Hash(bytes(step).try_into().unwrap()))
        .collect()
}

/// What a note states, its signature aside.
fn stated(checkpoint: &Value) -> Checkpoint {
    let (text, _) = text(checkpoint, "note").split_once("\n\n").unwrap();
    Checkpoint::from_bytes(format!("{text}\n").as_bytes()).unwrap()
}

/// The newest checkpoint, once every record of now is below it.
async fn sealed(vault: &Vault) -> Value {
    let newest = get(vault, "/v1/audit?limit=1").await[0]["sequence"]
        .as_u64()
        .unwrap();
    let begun = Instant::now();
    loop {
        let latest = get(vault, "/v1/audit/checkpoints/latest").await;
        if latest["size"].as_u64().unwrap() >= newest {
            return latest;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{latest}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_implementation_reads_the_checkpoints_and_finds_every_proof_good() {
    let vault = Vault::dev();
    let mut kept = Vec::new();
    for round in 0..3 {
        for number in 0..=round * 2 {
            vault
                .store(&format!("c-{round}-{number}"), "v", json!({}))
                .await;
        }
        kept.push(sealed(&vault).await);
    }
    let latest = stated(&kept[2]);
    assert!(latest.origin().starts_with("leasehold/v1/checkpoint/"));
    assert_eq!(kept[2]["size"].as_u64().unwrap(), latest.size());
    for checkpoint in &kept[..2] {
        let old = stated(checkpoint);
        let query = format!(
            "/v1/audit/consistency?from={}&to={}",
            old.size(),
            latest.size()
        );
        let steps = path(&get(&vault, &query).await);
        check_tree(
            &steps,
            latest.size(),
            *latest.hash(),
            old.size(),
            *old.hash(),
        )
        .unwrap();
        let other = Hash([1; 32]);
        check_tree(&steps, latest.size(), *latest.hash(), old.size(), other).unwrap_err();
    }
    let records = get(&vault, "/v1/audit?limit=200").await;
    let mut checked = 0;
    for record in records.as_array().unwrap() {
        let sequence = record["sequence"].as_u64().unwrap();
        if sequence > latest.size() {
            continue;
        }
        let query = format!("/v1/audit/proof?sequence={sequence}&size={}", latest.size());
        let proof = get(&vault, &query).await;
        let leaf = &proof["leaf"];
        let content = bytes(&leaf["content"]);
        let encoded = BASE64_STANDARD.decode(text(&proof, "record")).unwrap();
        use sha2::Digest;
        assert_eq!(sha2::Sha256::digest(&encoded)[..], content[..]);
        let parts = [
            sequence.to_be_bytes().to_vec(),
            bytes(&leaf["workspace"]),
            content,
            bytes(&leaf["sealed"]),
        ];
        let hash = record_hash(&parts.concat());
        let steps = path(&proof);
        let place = |sequence: u64| sequence - 1;
        check_record(&steps, latest.size(), *latest.hash(), place(sequence), hash).unwrap();
        let moved = place(sequence) ^ 1;
        check_record(&steps, latest.size(), *latest.hash(), moved, hash).unwrap_err();
        checked += 1;
    }
    assert!(checked > 9, "{checked} of {records}");
}
