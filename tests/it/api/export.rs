//! Exports of a running vault: what is in them, what they prove without it, and how one that broke off goes on.

mod files;

use std::{fs, path::Path, process::Output};

use serde_json::{Value, json};

use super::{GET, POST, audit::history, raw, text};
use crate::support::{TempDir, Vault, leasehold};

const HOSTILE: &str =
    "=cmd|'/c calc'!A1;=1, \"quoted\"\nand \u{2028}\u{202e}\u{1f600}\t{\"type\":\"end\"}";

async fn export(vault: &Vault, query: &str) -> String {
    let answer = vault
        .admin(GET, &format!("/v1/audit/export?{query}"), None)
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.text
}

fn lines(text: &str, kind: &str) -> Vec<Value> {
    let all = text.lines().map(|line| serde_json::from_str(line).unwrap());
    all.filter(|line: &Value| line["type"] == kind).collect()
}

fn cli(vault: Option<&Vault>, arguments: &[&str]) -> Output {
    let mut command = leasehold();
    command.env_remove("RUST_LOG").args(arguments);
    if let Some(vault) = vault {
        command
            .env("LEASEHOLD_ADDR", &vault.address)
            .env("LEASEHOLD_KEY", &vault.admin_key);
    }
    command.output().unwrap()
}

#[track_caller]
fn said(vault: &Vault, arguments: &[&str]) -> String {
    let output = cli(Some(vault), arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

async fn public_key(vault: &Vault) -> String {
    let keys = "/.well-known/leasehold-keys.json";
    let keys = vault.request(GET, keys, "", None, &[]).await.data(200);
    let keys = keys["keys"].as_array().unwrap();
    let key = keys.iter().find(|key| key["usage"] == "audit").unwrap();
    text(key, "public_key").to_owned()
}

fn verify(file: &Path, key: &str, more: &[&str]) -> Output {
    let file = file.to_str().unwrap();
    let arguments = ["audit", "verify", "--export", file, "--public-key", key];
    cli(None, &[&arguments, more].concat())
}

fn python(file: &Path, key: &str) -> (bool, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/verify_export.py");
    let output = std::process::Command::new("python3")
        .arg(script)
        .arg(file)
        .arg(key)
        .output()
        .expect(
            "`python3` and `openssl` are needed to run this example; `tests/run` installs them",
        );
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    (output.status.success(), said)
}

/// History in two workspaces, with texts that files have to keep apart from their own signs.
async fn lived() -> Vault {
    let vault = Vault::dev();
    vault.store("ours", "value-canary", json!({})).await;
    let lease =
        json!({"credential_name": "ours", "purpose": HOSTILE, "identity": {"session_id": "s-42"}});
    let lease = vault.lease(lease).await;
    vault.redeem(text(&lease, "handle")).await.data(200);
    vault
        .admin(POST, "/v1/workspaces", Some(json!({"name": "theirs"})))
        .await
        .data(201);
    let body = json!({"name": "not-for-our-eyes", "type": "api-key", "value": "v"});
    let theirs = [("x-workspace", "theirs")];
    let made = vault
        .request(
            POST,
            "/v1/credentials",
            &vault.admin_key,
            Some(body),
            &theirs,
        )
        .await;
    made.data(201);
    vault.store("later", "v", json!({})).await;
    vault
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_the_history_and_proves_itself_without_the_vault() {
    let vault = lived().await;
    let folder = TempDir::new();
    let file = |name: &str| folder.path().join(name);
    let (out, kept) = (file("a.ndjson"), file("kept.json"));
    let key = public_key(&vault).await;
    said(
        &vault,
        &[
            "audit",
            "checkpoint",
            "save",
            kept.to_str().unwrap(),
            "--public-key",
            &key,
        ],
    );
    vault.store("last", "v", json!({})).await;
    let told = said(
        &vault,
        &[
            "audit",
            "export",
            "--out",
            out.to_str().unwrap(),
            "--against",
            kept.to_str().unwrap(),
        ],
    );
    assert!(told.contains("records"), "{told}");
    let whole = fs::read_to_string(&out).unwrap();

    // The records of answers, oldest first, each at its place.
    let answered = history(&vault, "sort=time&limit=200").await.data(200);
    let records = lines(&whole, "record");
    assert!(records.len() > 8);
    for (line, record) in records.iter().zip(answered.as_array().unwrap()) {
        assert_eq!(&line["record"], record);
        assert_eq!(line["sequence"], record["sequence"]);
    }
    assert_eq!(records.last().unwrap()["record"]["credential_name"], "last");
    let gaps = lines(&whole, "gap");
    assert!(!gaps.is_empty() && !whole.contains("not-for-our-eyes"));
    assert!(whole.contains("calc") && !whole.contains("value-canary"));
    let end = &lines(&whole, "end")[0];
    assert_eq!(end["records"], records.len());
    assert_eq!(
        lines(&whole, "header")[0]["checkpoint"]["size"],
        end["through"]
    );

    // No vault is needed.
    let agrees = |file: &Path| {
        let ours = verify(file, &key, &[]);
        let (theirs, said) = python(file, &key);
        assert_eq!(ours.status.success(), theirs, "{said}");
        (ours.status.code(), String::from_utf8(ours.stdout).unwrap())
    };
    let (code, told) = agrees(&out);
    assert_eq!(code, Some(0), "{told}");
    assert!(
        told.contains(&format!("intact: {} records", records.len())),
        "{told}"
    );
    let held = verify(&out, &key, &["--against", kept.to_str().unwrap()]);
    assert!(
        held.status.success(),
        "{}",
        String::from_utf8_lossy(&held.stdout)
    );

    // Each change is found, here and by the script, and the record named.
    let all: Vec<&str> = whole.split_inclusive('\n').collect();
    let at = all.iter().position(|line| line.contains("calc")).unwrap();
    let sequence = &serde_json::from_str::<Value>(all[at]).unwrap()["sequence"];
    let tampered = file("tampered.ndjson");
    let changed = |change: &dyn Fn(&mut Vec<String>)| {
        let mut lines = all.iter().map(ToString::to_string).collect();
        change(&mut lines);
        fs::write(&tampered, lines.concat()).unwrap();
        let (code, told) = agrees(&tampered);
        assert_eq!(code, Some(1), "{told}");
        told
    };
    let edited = changed(&|lines| lines[at] = lines[at].replace("calc", "nothing"));
    assert!(
        edited.contains(&format!("`purpose` of record {sequence}")),
        "{edited}"
    );
    let encoded =
        changed(&|lines| lines[at] = lines[at].replacen("\"encoded\":\"A", "\"encoded\":\"B", 1));
    assert!(encoded.contains(&format!("record {sequence}")), "{encoded}");
    let missing = changed(&|lines| drop(lines.remove(at)));
    assert!(
        missing.contains(&format!("records {sequence} to {sequence} are missing")),
        "{missing}"
    );
    changed(&|lines| lines.swap(at, at + 1));
    changed(&|lines| lines.insert(at, all[at].to_owned()));
    changed(&|lines| lines[0] = lines[0].replace("default", "another"));
    assert!(changed(&|lines| drop(lines.pop())).contains("no end"));
    let cut = changed(&|lines| _ = lines.last_mut().unwrap().pop());
    assert!(cut.contains("breaks off"), "{cut}");
    // One that cannot be looked at is neither intact nor not.
    assert_eq!(verify(&file("none"), &key, &[]).status.code(), Some(2));

    // A log that was rolled back since is shorter than what was kept.
    let (young, elder) = (Vault::dev(), file("b.ndjson"));
    fs::write(&elder, export(&young, "").await).unwrap();
    assert!(agrees(&elder).1.contains("another vault"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_format_takes_the_filters_and_says_how_it_ended() {
    let vault = lived().await;
    let all = export(&vault, "").await;
    let total = lines(&all, "record").len();
    for (filter, least) in [
        ("event=lease.issued", 1),
        ("identity=claude-code", 2),
        ("credential_name=ours", 3),
        ("session_id=s-42", 2),
        ("outcome=refused", 0),
        ("since=2000-01-01T00:00:00Z&until=2100-01-01T00:00:00Z", 5),
        ("until=2000-01-01T00:00:00Z", 0),
    ] {
        let found = lines(&export(&vault, filter).await, "record");
        assert!(
            (least..total + 20).contains(&found.len()),
            "{filter}: {}",
            found.len()
        );
        let listed = history(&vault, &format!("{filter}&sort=time&limit=200"))
            .await
            .data(200);
        for (line, record) in found.iter().zip(listed.as_array().unwrap()) {
            assert_eq!(&line["record"], record, "{filter}");
        }
    }
    let csv = export(&vault, "format=csv&credential_name=ours").await;
    assert!(csv.starts_with("sequence,id,time,event,"), "{csv}");
    assert!(
        csv.contains("\"'=cmd|'/c calc'!A1;'=1, \"\"quoted\"\"\nand "),
        "{csv}"
    );
    let without = export(&vault, "format=csv&credential_name=ours&proofs=false").await;
    assert_eq!(without.lines().next(), csv.lines().next());
    let ocsf = export(&vault, "format=ocsf&event=lease.issued").await;
    let event: Value = serde_json::from_str(ocsf.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&event["class_uid"], &event["unmapped"]["purpose"]),
        (&json!(6003), &json!(HOSTILE))
    );
    assert!(!csv.contains("not-for-our-eyes") && !ocsf.contains("not-for-our-eyes"));

    // The name of the file, the end in a header, the count behind the last byte.
    let bearer = format!("Bearer {}", vault.admin_key);
    let headers = [("Authorization", bearer.as_str()), ("TE", "trailers")];
    let line = "GET /v1/audit/export?format=csv&credential_name=ours";
    let answer = raw::send(&vault, line, &headers, b"");
    assert_eq!(answer.status, 200);
    for said in [
        "content-disposition: attachment; filename=\"leasehold-audit-default-",
        ".csv\"",
        "content-type: text/csv; charset=utf-8; header=present",
        "leasehold-export-end: ",
    ] {
        assert!(answer.head.contains(said), "{}", answer.head);
    }
    // The answer's last piece of no length, and behind it the count.
    let rows = csv.matches("\r\n").count() - 1;
    let end = format!("\r\n0\r\nleasehold-export-records: {rows}\r\n\r\n");
    assert!(answer.text.ends_with(&end), "{}", answer.text);

    for (query, parameter) in [
        ("format=xml", "format"),
        ("format=csv&proofs=yes", "proofs"),
        ("after=-1", "after"),
        ("after=1000000", "after"),
        ("against=x", "against"),
        ("limit=5", "limit"),
        ("event=none", "event"),
        (&format!("session_id={}", "x".repeat(257)), "session_id"),
    ] {
        let refused = vault
            .admin(GET, &format!("/v1/audit/export?{query}"), None)
            .await;
        let body = refused.fails(400, "INVALID_PARAMETER");
        assert!(text(&body, "message").contains(parameter), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_part_of_history_and_needs_its_own_scope() {
    let vault = lived().await;
    let ndjson = export(&vault, "credential_name=ours&after=3").await;
    let records = lines(&ndjson, "record").len();
    let begun = history(&vault, "event=audit.exported").await.data(200)[0].clone();
    let after = |record: &Value, field: &str| {
        let changes = record["changes"].as_array().unwrap();
        let change = changes.iter().find(|change| change["field"] == field);
        change.unwrap()["after"].as_str().unwrap().to_owned()
    };
    assert_eq!(after(&begun, "credential_name"), "ours");
    assert_eq!(
        (after(&begun, "format"), after(&begun, "after")),
        ("ndjson".into(), "3".into())
    );
    let ended = history(&vault, "event=audit.export_ended").await.data(200)[0].clone();
    assert_eq!(after(&ended, "records"), records.to_string());
    assert_eq!(after(&ended, "end"), after(&begun, "end"));
    assert_eq!(ended["request_id"], begun["request_id"]);
    assert_eq!(
        lines(&ndjson, "header")[0]["checkpoint"]["size"].to_string(),
        after(&begun, "end")
    );

    let refused = vault.agent(GET, "/v1/audit/export", None).await;
    let body = refused.fails(403, "INSUFFICIENT_PERMISSIONS");
    assert_eq!(body["details"]["missing_scope"], "audit:export");
    let reader = json!({"name": "r", "scopes": ["audit:read"]});
    let reader = vault
        .admin(POST, "/v1/api-keys", Some(reader))
        .await
        .data(201);
    let refused = vault
        .request(GET, "/v1/audit/export", text(&reader, "key"), None, &[])
        .await;
    refused.fails(403, "INSUFFICIENT_PERMISSIONS");
    let exporter = json!({"name": "x", "scopes": ["audit:export"]});
    let exporter = vault
        .admin(POST, "/v1/api-keys", Some(exporter))
        .await
        .data(201);
    let given = vault
        .request(GET, "/v1/audit/export", text(&exporter, "key"), None, &[])
        .await;
    assert_eq!(given.status, 200);

    // A workspace's own records, for whoever may reach it.
    let theirs = [("x-workspace", "theirs")];
    let answer = vault
        .request(GET, "/v1/audit/export", &vault.admin_key, None, &theirs)
        .await;
    assert!(
        answer.text.contains("not-for-our-eyes")
            && !answer.text.contains("\"credential_name\":\"ours\"")
    );
}
