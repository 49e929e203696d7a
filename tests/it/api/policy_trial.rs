//! Policies tried before they are in force: what they would change, how they differ, and the command line.

use serde_json::{Value, json};

use super::{GET, POST, act, ask, text};
use crate::support::{TempDir, Vault, leasehold};

async fn post(vault: &Vault, path: &str, texts: &[(&str, &str)], more: Value) -> Value {
    let sources: Vec<_> = texts
        .iter()
        .map(|(name, text)| json!({"name": name, "text": text}))
        .collect();
    let mut body = json!({"scope": "workspace", "sources": sources});
    let fields = more.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(fields);
    let (method, path) = match path {
        "" => (reqwest::Method::PUT, "/v1/policies".to_owned()),
        path => (POST, format!("/v1/policies/{path}")),
    };
    vault.admin(method, &path, Some(body)).await.data(200)
}

/// `resource: action was -> would be`, in the order of the log.
fn changes(replayed: &Value) -> Vec<String> {
    let one = |change: &Value| {
        format!(
            "{} {} {} -> {} by {}",
            text(&change["actor"], "name"),
            text(change, "action"),
            text(change, "was"),
            text(change, "would_be"),
            change["policy"][0].as_str().unwrap()
        )
    };
    replayed["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(one)
        .collect()
}

const PURPOSE: &str = r#"@id("purpose")
forbid (principal, action == Action::"lease:create", resource) unless { context has purpose };"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_lists_what_would_change_and_nothing_else() {
    let vault = Vault::dev();
    let both = json!({"delivery": ["reveal", "broker"]});
    vault.store("a", "v", both.clone()).await;
    vault.store("b", "v", both).await;
    let first = vault
        .lease(json!({"credential_name": "a", "ttl": "30m"}))
        .await;
    let meant = vault
        .lease(json!({"credential_name": "a", "purpose": "p", "ttl": "2h"}))
        .await;
    vault
        .lease(json!({"credential_name": "b", "delivery": "broker", "purpose": "p"}))
        .await;
    vault
        .lease(json!({"credential_name": "a", "purpose": "p", "reveal": true}))
        .await;
    vault.redeem(text(&first, "handle")).await.data(200);
    act(&vault, &first, "renew", json!({"ttl": "3h"}))
        .await
        .data(200);
    act(&vault, &meant, "release", json!({})).await.data(200);
    let one = json!({"credential_name": "a", "purpose": "p", "identity": {"name": "claude-code"}});
    vault.admin(POST, "/v1/leases", Some(one)).await.data(201);

    let run = async |policy: &str, more: Value| {
        post(&vault, "dry-run", &[("a.cedar", policy)], more).await
    };
    let none = run("", json!({})).await;
    assert_eq!(none["changes"], json!([]), "{none}");
    assert_eq!(none["counts"]["unknown"], 0);
    let decisions = none["counts"]["decisions"].as_u64().unwrap();
    // Three credentials stored (one by `dev`), five grants, a redemption, a renewal and a release.
    assert_eq!(decisions, 11, "{none}");

    let grant = "claude-code lease:create allowed -> denied by workspace:";
    let found = run(PURPOSE, json!({})).await;
    assert_eq!(changes(&found), [format!("{grant}purpose")], "{found}");
    assert_eq!(found["changes"][0]["resource"], "credential/a");
    let audit = vault
        .admin(GET, "/v1/audit?event=lease.issued&sort=time", None)
        .await
        .data(200);
    assert_eq!(found["changes"][0]["sequence"], audit[0]["sequence"]);
    assert_eq!(found["changes"][0]["time"], audit[0]["time"]);

    let cases = [
        (
            r#"@id("x") forbid (principal, action in [Action::"lease:create", Action::"lease:renew"], resource)
            when { context.ttl_seconds > 3600 };"#,
            vec![
                format!("{grant}x"),
                "claude-code lease:renew allowed -> denied by workspace:x".to_owned(),
            ],
        ),
        (
            r#"@id("x") forbid (principal, action == Action::"lease:create", resource) when { context.reveal };"#,
            vec![format!("{grant}x")],
        ),
        (
            r#"@id("x") forbid (principal, action == Action::"lease:create", resource) when { context.delivery == "broker" };"#,
            vec![format!("{grant}x")],
        ),
        (
            r#"@id("x") forbid (principal, action == Action::"lease:delegate", resource);"#,
            vec!["admin lease:create allowed -> denied by workspace:x".to_owned()],
        ),
        (
            r#"@id("x") forbid (principal, action in [Action::"handle:redeem", Action::"lease:release"], resource);"#,
            vec![
                "claude-code handle:redeem allowed -> denied by workspace:x".to_owned(),
                "claude-code lease:release allowed -> denied by workspace:x".to_owned(),
            ],
        ),
    ];
    for (policy, expected) in cases {
        let found = run(policy, json!({})).await;
        assert_eq!(changes(&found), expected, "{policy}: {found}");
    }
    // What looks at a value cannot be told: nobody kept it.
    let value = r#"forbid (principal, action == Action::"credential:create", resource) when { context.value.length < 9 };"#;
    let found = run(value, json!({})).await;
    assert_eq!(
        (&found["counts"]["unknown"], &found["changes"]),
        (&json!(3), &json!([]))
    );

    // In steps, and by time.
    let all = r#"@id("x") forbid (principal, action, resource) unless { principal has role && principal.role == Role::"owner" };"#;
    let (mut seen, mut more) = (Vec::new(), json!({"limit": 2}));
    loop {
        let step = run(all, more).await;
        assert!(step["counts"]["records"].as_u64().unwrap() <= 2);
        seen.extend(changes(&step));
        let Some(cursor) = step["next_cursor"].as_str() else {
            break;
        };
        more = json!({"limit": 2, "cursor": cursor});
    }
    let whole = run(all, json!({})).await;
    assert_eq!(seen, changes(&whole));
    assert_eq!(seen.len(), 7, "{seen:?}");
    let later = json!({"since": "2100-01-01T00:00:00Z"});
    assert_eq!(run(all, later).await["counts"]["records"], 0);

    // Nothing came into force, and what is in force is what `was` says: taking it away allows what it denied.
    ask(&vault, json!({"credential_name": "a"})).await.data(201);
    post(&vault, "", &[("a.cedar", PURPOSE)], json!({})).await;
    ask(&vault, json!({"credential_name": "a"}))
        .await
        .fails(403, "POLICY_DENIED");
    let found = run("", json!({})).await;
    let back = "claude-code lease:create denied -> allowed by workspace:purpose";
    assert_eq!(changes(&found), [back; 3], "{found}");
    for (body, status) in [
        (json!({"limit": 0}), 400),
        (json!({"limit": 100_001}), 400),
        (json!({"cursor": "!"}), 400),
    ] {
        let mut body = body;
        body["sources"] = json!([]);
        let answer = vault.admin(POST, "/v1/policies/dry-run", Some(body)).await;
        assert_eq!(answer.status.as_u16(), status, "{}", answer.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_difference_is_told_text_by_text() {
    let vault = Vault::dev();
    post(
        &vault,
        "",
        &[("a.cedar", "// one\n"), ("b.cedar", "// two\n")],
        json!({}),
    )
    .await;
    let texts = [("b.cedar", "// 2\n"), ("c.cedar", "// three\n")];
    let found = post(&vault, "diff", &texts, json!({})).await;
    assert_eq!(
        (&found["version"], &found["changed"]),
        (&json!(1), &json!(true))
    );
    let told: Vec<_> = found["sources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (text(one, "name"), text(one, "change"), text(one, "diff")))
        .collect();
    assert_eq!(
        told,
        [
            (
                "a.cedar",
                "removed",
                "--- a/a.cedar\n+++ /dev/null\n@@ -1 +0,0 @@\n-// one\n"
            ),
            (
                "b.cedar",
                "changed",
                "--- a/b.cedar\n+++ b/b.cedar\n@@ -1 +1 @@\n-// two\n+// 2\n"
            ),
            (
                "c.cedar",
                "added",
                "--- /dev/null\n+++ b/c.cedar\n@@ -0,0 +1 @@\n+// three\n"
            ),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_are_kept_from_the_command_line() {
    let vault = Vault::dev();
    vault.store("a", "v", json!({})).await;
    vault.lease(json!({"credential_name": "a"})).await;
    let folder = TempDir::new();
    let file = folder.path().join("purpose.cedar");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    let run = |args: &[&str]| {
        let mut command = leasehold();
        command
            .env_remove("RUST_LOG")
            .env("LEASEHOLD_ADDR", &vault.address)
            .env("LEASEHOLD_KEY", &vault.admin_key);
        command.arg("policy").args(args);
        let done = tokio::task::block_in_place(|| command.output().unwrap());
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (
            done.status.code().unwrap(),
            text(done.stdout),
            text(done.stderr),
        )
    };
    let dir = folder.path().to_str().unwrap();

    write("forbid (principal, action, resource)\nunles { true };\n");
    let (code, out, _) = run(&["validate", dir]);
    assert_eq!(code, 1);
    assert!(out.contains("purpose.cedar:2:"), "{out}");
    let (code, _, error) = run(&["apply", dir]);
    assert_eq!(code, 1);
    assert!(error.contains("purpose.cedar:2:"), "{error}");

    write(PURPOSE);
    let (code, out, _) = run(&["validate", dir]);
    assert_eq!((code, out.trim()), (0, "1 policies are valid"));
    let (code, out, _) = run(&["diff", dir]);
    assert_eq!(code, 1);
    assert!(out.contains("+++ b/purpose.cedar"), "{out}");
    let (code, out, notes) = run(&["dry-run", dir]);
    assert_eq!(code, 0, "{notes}");
    assert!(
        out.contains("credential/a") && notes.contains("1 would change"),
        "{out}{notes}"
    );
    let (code, out, error) = run(&[
        "apply",
        dir,
        "--comment",
        "as agreed",
        "--expected-version",
        "0",
    ]);
    assert_eq!(code, 0, "{error}");
    assert!(out.contains("as agreed"), "{out}");
    ask(&vault, json!({"credential_name": "a"}))
        .await
        .fails(403, "POLICY_DENIED");
    assert_eq!(run(&["diff", dir]).0, 0);
    let (_, out, note) = run(&["show"]);
    assert!(
        out.contains("unless { context has purpose }") && note.contains("version 1"),
        "{out}{note}"
    );
    assert_eq!(run(&["rollback", "0"]).0, 0);
    ask(&vault, json!({"credential_name": "a"})).await.data(201);
    let (_, out, _) = run(&["history"]);
    assert!(out.contains("as agreed") && out.contains("admin"), "{out}");
    let (_, out, _) = run(&["show", "--version", "1", "--json"]);
    let shown: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(shown["data"]["sources"][0]["text"], PURPOSE);
}

#[test]
fn the_example_cases_hold_and_a_case_that_does_not_fails() {
    let at = |path: &str| format!("{}/policies/examples{path}", env!("CARGO_MANIFEST_DIR"));
    let test = |cases: &str, json: &[&str]| {
        let mut command = leasehold();
        command.args(["policy", "test", &at(""), "--cases", cases]);
        command.args(json).output().unwrap()
    };
    let done = test(&at("/tests"), &[]);
    let out = String::from_utf8(done.stdout).unwrap();
    assert!(
        done.status.success() && out.ends_with(" passed, 0 failed\n"),
        "{out}"
    );

    let folder = TempDir::new();
    let file = folder.path().join("wrong.json");
    let on = |resource: &str, expect: &str, policy: Value| {
        json!({"name": expect, "principal": {"identity": "agent/claude-code", "role": "agent"}, "action": "lease:create",
            "resource": resource, "expect": expect, "policy": policy})
    };
    let case = |expect: &str, policy: Value| on("credential/a", expect, policy);
    let cases = [
        case("deny", json!("require-purpose")),
        case("deny", json!("workspace:source-ranges")),
        case("deny", json!("office-hours")),
        case("allow", Value::Null),
    ];
    std::fs::write(&file, json!({"case": cases}).to_string()).unwrap();
    let done = test(file.to_str().unwrap(), &["--json"]);
    assert_eq!(done.status.code(), Some(1));
    let told: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(
        (&told["data"]["passed"], &told["data"]["failed"]),
        (&json!(2), &json!(2))
    );
    let fault = text(&told["data"]["cases"][3], "fault");
    assert!(
        fault.starts_with("expected allowed, found denied by workspace:require-purpose"),
        "{fault}"
    );
    // A case that cannot be read is no case that passes, nor is one of what never happens.
    let never = json!({"case": [on("lease/a", "deny", Value::Null)]}).to_string();
    for (text, told) in [
        ("{\"case\": [{\"name\": \"x\"}]}", "missing field"),
        (
            &never,
            "`lease:create` is done to `credential/…`, not to `lease/…`",
        ),
    ] {
        std::fs::write(&file, text).unwrap();
        let done = test(file.to_str().unwrap(), &[]);
        assert_eq!((done.status.code(), done.stdout.len()), (Some(1), 0));
        let error = String::from_utf8(done.stderr).unwrap();
        assert!(error.contains(told), "{error}");
    }
    let keys = |holder: &str, expect: &str| {
        json!({"name": holder, "principal": {"identity": "agent/claude-code", "role": "agent"}, "action": "key:read",
            "resource": format!("api-key/{holder}"), "expect": expect})
    };
    let cases = [
        keys("agent/claude-code", "allow"),
        keys("agent/other", "deny"),
    ];
    std::fs::write(&file, json!({"case": cases}).to_string()).unwrap();
    let done = test(file.to_str().unwrap(), &[]);
    assert!(done.status.success(), "{done:?}");
}
