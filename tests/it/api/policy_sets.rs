//! Keeping policies: validated, replaced as a whole, rolled back, kept over a restart, and by whom.

use std::{path::Path, sync::Arc};

use leasehold::{
    clock::SystemTime,
    crypto::{entropy::OsEntropy, root::RootKey},
    domain::{
        id::WorkspaceId,
        name::{IdentityName, WorkspaceName},
        policy::NamedPolicies,
        policy_set::describe_digest,
        principal::{IdentityType, RateLimit, Reach},
        scope::Role,
    },
    engine::{NewIdentity, NewKey, Opened},
    store::sled::{Sled, SledOptions},
    tables::Tables,
};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{GET, POST, ask, text};
use crate::support::{Answer, DevOptions, TempDir, Vault, leasehold};

mod versions;

const PUT: Method = Method::PUT;
const POLICIES: &str = "/v1/policies";

/// Forbids leases without a purpose.
const PURPOSE: &str = r#"@id("purpose")
@message("say what the lease is for")
forbid (principal, action == Action::"lease:create", resource)
unless { context has purpose };
"#;
/// Nobody may replace the policies.
const LOCK: &str = r#"@id("lock")
forbid (principal, action == Action::"policy:write", resource);
"#;

fn sources(texts: &[(&str, &str)]) -> Value {
    let sources = texts
        .iter()
        .map(|(name, text)| json!({"name": name, "text": text}));
    sources.collect()
}

fn set(scope: &str, texts: &[(&str, &str)]) -> Value {
    json!({"scope": scope, "sources": sources(texts)})
}

async fn apply(vault: &Vault, body: Value) -> Answer {
    vault.admin(PUT, POLICIES, Some(body)).await
}

async fn post(vault: &Vault, path: &str, body: Value) -> Answer {
    vault
        .admin(POST, &format!("{POLICIES}/{path}"), Some(body))
        .await
}

async fn show(vault: &Vault, scope: &str) -> Value {
    let path = format!("{POLICIES}?scope={scope}");
    vault.admin(GET, &path, None).await.data(200)
}

async fn lease(vault: &Vault) -> Answer {
    ask(vault, json!({"credential_name": "a"})).await
}

/// A vault with the credential `a`.
async fn vault() -> Vault {
    let vault = Vault::dev();
    vault.store("a", "v", json!({})).await;
    vault
}

/// A vault with the credential `a`, and keys of these roles that reach the default workspace or, where said, all.
async fn staffed(roles: &[(Role, bool)]) -> (Vault, Vec<String>, TempDir) {
    let folder = TempDir::new();
    let data_dir = folder.path().join("data");
    let start = || {
        Vault::dev_with(DevOptions {
            data_dir: Some(data_dir.clone()),
            ..DevOptions::default()
        })
    };
    let first = start();
    first.store("a", "v", json!({})).await;
    let (admin, agent) = (first.admin_key.clone(), first.agent_key.clone());
    first.stop();
    let keys = make_keys(&data_dir, roles).await;
    let mut vault = start();
    (vault.admin_key, vault.agent_key) = (admin, agent);
    (vault, keys, folder)
}

fn opened(data_dir: &Path) -> Opened {
    let options = SledOptions {
        cache_bytes: 1 << 24,
        reserve_bytes: 0,
    };
    Opened::read(Sled::open(data_dir, &options).unwrap()).unwrap()
}

async fn make_keys(data_dir: &Path, roles: &[(Role, bool)]) -> Vec<String> {
    let Opened::Sealed(sealed) = opened(data_dir) else {
        panic!("no vault")
    };
    let root = RootKey::read_file(&data_dir.join("root.key")).unwrap();
    let engine = sealed
        .serve(
            &root,
            Arc::new(OsEntropy),
            Arc::new(SystemTime),
            NamedPolicies::default(),
        )
        .await
        .unwrap();
    let name = WorkspaceName::parse("default", "").unwrap();
    let home = engine.find_workspace(&name).await.unwrap().unwrap();
    let mut keys = Vec::new();
    for (at, (role, everywhere)) in roles.iter().enumerate() {
        let identity = NewIdentity {
            name: IdentityName::parse(&format!("somebody-{at}"), "").unwrap(),
            kind: IdentityType::Human,
            role: *role,
        };
        let key = NewKey {
            name: "a key".to_owned(),
            identity: engine.create_identity(home, identity).await.unwrap(),
            home,
            role: *role,
            reach: match everywhere {
                true => Reach::Organisation,
                false => Reach::Workspace(home),
            },
            rate_limit: RateLimit::Unlimited,
            expires_in: None,
        };
        keys.push(engine.create_key(key).await.unwrap().expose().to_owned());
    }
    engine.shut_down().await.unwrap();
    keys
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_is_in_force_before_the_answer_and_after_a_restart() {
    let vault = vault().await;
    let nothing = show(&vault, "workspace").await;
    assert_eq!(
        (
            &nothing["version"],
            &nothing["sources"],
            &nothing["applied_at"]
        ),
        (&json!(0), &json!([]), &Value::Null)
    );
    lease(&vault).await.data(201);
    let mut body = set("workspace", &[("10-purpose.cedar", PURPOSE)]);
    body["comment"] = json!("as agreed");
    body["expected_version"] = json!(0);
    let applied = apply(&vault, body.clone()).await.data(200);
    assert_eq!(
        (
            &applied["version"],
            &applied["comment"],
            &applied["applied_by"]
        ),
        (&json!(1), &json!("as agreed"), &json!("admin"))
    );
    let failure = lease(&vault).await.fails(403, "POLICY_DENIED");
    assert_eq!(failure["details"]["policy"], "workspace:purpose");
    assert_eq!(failure["message"], "say what the lease is for");
    assert_eq!(show(&vault, "workspace").await, applied);
    assert_eq!(show(&vault, "organisation").await["version"], 0);
    // Somebody replaced it meanwhile.
    let conflict = apply(&vault, body).await.fails(409, "VERSION_CONFLICT");
    assert_eq!(conflict["details"]["current_version"], 1);
    let history = vault
        .admin(GET, "/v1/audit?event=policy.applied", None)
        .await
        .data(200);
    assert_eq!(history.as_array().unwrap().len(), 1, "{history}");
    assert_eq!(
        history[0]["changes"],
        json!([{"field": "version", "before": null, "after": "1"},
            {"field": "digest", "before": null, "after": applied["digest"]},
            {"field": "source.10-purpose.cedar", "before": null, "after": describe_digest(&Sha256::digest(PURPOSE).into())}])
    );
    assert_eq!(history[0]["object"], "policies of the workspace");
    assert_eq!(history[0]["reason"], "as agreed");

    // A set of the organisation holds beside it, and both after a kill.
    let organisation = PURPOSE.replace("purpose\")\n", "everywhere\")\n");
    apply(
        &vault,
        set("organisation", &[("10-purpose.cedar", &organisation)]),
    )
    .await
    .data(200);
    let vault = vault.kill_and_reopen(&[]);
    let failure = lease(&vault).await.fails(403, "POLICY_DENIED");
    assert_eq!(
        failure["details"]["policy"],
        "organisation:everywhere, workspace:purpose"
    );
    assert_eq!(show(&vault, "workspace").await, applied);
    // The empty set takes everything back.
    for scope in ["workspace", "organisation"] {
        apply(&vault, set(scope, &[])).await.data(200);
    }
    lease(&vault).await.data(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_with_a_fault_changes_nothing_and_the_fault_is_told_with_its_place() {
    let vault = vault().await;
    apply(&vault, set("workspace", &[("a.cedar", PURPOSE)]))
        .await
        .data(200);
    let other = PURPOSE.replace("(\"purpose\")", "(\"other\")");
    let misspelt = other.replace("context has purpose", "context.porpoise == \"p\"");
    let named = |id: &str| PURPOSE.replace("(\"purpose\")", &format!("(\"{id}\")"));
    let cases = [
        ("unless", &other.replace("unless", "unles"), Some(4)),
        ("porpoise", &misspelt, Some(4)),
        ("role:owner", &named("role:owner"), None),
        ("scope:missing", &named("scope:missing"), None),
        ("used twice", &named("purpose"), Some(1)),
    ];
    for (what, bad, line) in cases {
        let texts = [("a.cedar", PURPOSE), ("b.cedar", bad)];
        let tried = post(&vault, "validate", json!({"sources": sources(&texts)}))
            .await
            .data(200);
        assert_eq!(tried["valid"], false, "{what}: {tried}");
        let failure = apply(&vault, set("workspace", &texts))
            .await
            .fails(422, "VALIDATION_FAILED");
        let told = &failure["details"]["errors"][0];
        assert_eq!(told["file"], "b.cedar", "{failure}");
        assert!(told["column"].is_u64() || line.is_none(), "{failure}");
        assert_eq!(told["reason"], tried["errors"][0]["reason"]);
        let reason = text(told, "reason");
        match line {
            Some(line) => {
                assert_eq!(told["line"], line, "{failure}");
                assert!(reason.contains(what) || what == "unless", "{failure}");
            }
            None => assert!(reason.contains("none may shadow one"), "{failure}"),
        }
    }
    let good = post(
        &vault,
        "validate",
        set("organisation", &[("a.cedar", PURPOSE)]),
    )
    .await
    .data(200);
    assert_eq!(good, json!({"valid": true, "errors": [], "warnings": []}));
    let permit = "permit (principal, action, resource);";
    let warned = post(
        &vault,
        "validate",
        json!({"sources": sources(&[("p.cedar", permit)])}),
    )
    .await
    .data(200);
    assert_eq!(
        (&warned["valid"], &warned["warnings"][0]["line"]),
        (&json!(true), &json!(1))
    );

    // Bounds: the set, its policies, its texts and their names.
    let long = format!("// {}", "x".repeat(256 * 1024));
    let many = "forbid (principal, action, resource is Vault);".repeat(1_001);
    for (bad, what) in [(&long, "bytes"), (&many, "1000 policies")] {
        let failure = apply(&vault, set("workspace", &[("a.cedar", bad)]))
            .await
            .fails(422, "VALIDATION_FAILED");
        assert!(text(&failure, "message").contains(what), "{failure}");
    }
    for name in ["a", "../a.cedar", "A.cedar"] {
        let failure = apply(&vault, set("workspace", &[(name, "")]))
            .await
            .fails(400, "INVALID_PARAMETER");
        assert_eq!(failure["details"]["field"], "sources[0].name");
    }
    let failure = apply(&vault, set("vault", &[])).await;
    failure.fails(400, "INVALID_PARAMETER");
    assert_eq!(show(&vault, "workspace").await["version"], 1);
    lease(&vault).await.fails(403, "POLICY_DENIED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_set_that_is_no_longer_valid_refuses_the_start() {
    let folder = TempDir::new();
    let data_dir = folder.path().join("data");
    let vault = Vault::dev_with(DevOptions {
        data_dir: Some(data_dir.clone()),
        ..DevOptions::default()
    });
    apply(&vault, set("organisation", &[("a.cedar", PURPOSE)]))
        .await
        .data(200);
    assert_eq!(vault.stop().0, Some(0));
    // As a release does whose schema knows other names.
    let Opened::Sealed(sealed) = opened(&data_dir) else {
        panic!("no vault")
    };
    let root = RootKey::read_file(&data_dir.join("root.key")).unwrap();
    let closed = sealed
        .unlock(&root, Arc::new(OsEntropy), Arc::new(SystemTime))
        .unwrap();
    let tables = Tables::of(&closed.keyring, WorkspaceId::SYSTEM).unwrap();
    let store = closed.serve().unwrap();
    let mut stored = tables
        .newest_policy_set(&mut &*store)
        .await
        .unwrap()
        .unwrap();
    stored.version = 2;
    stored.sources[0].text = PURPOSE.replace("context has purpose", "context.porpoise == \"p\"");
    let mut txn = store.begin(&[]).await.unwrap();
    tables.put_policy_set(&mut *txn, &stored).unwrap();
    txn.commit(Vec::new()).await.unwrap();
    store.close().await.unwrap();
    drop((store, tables));
    let ended = leasehold()
        .args(["dev", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(&data_dir)
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(1));
    let error = String::from_utf8(ended.stderr).unwrap();
    assert!(
        error.contains("version 2 of the policies of the organisation is not valid")
            && error.contains("a.cedar:"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_locks_everybody_out_by_mistake_and_an_owner_finds_back() {
    let (vault, keys, _folder) = staffed(&[(Role::Admin, true)]).await;
    for scope in ["workspace", "organisation"] {
        let body = set(scope, &[("lock.cedar", LOCK)]);
        let failure = apply(&vault, body.clone())
            .await
            .fails(409, "INVALID_STATE");
        assert!(text(&failure, "message").contains("allow_lockout"));
        assert_eq!(failure["details"]["policy"], format!("{scope}:lock"));
        assert_eq!(show(&vault, scope).await["version"], 0);
        let mut meant = body;
        meant["allow_lockout"] = json!(true);
        apply(&vault, meant).await.data(200);
        // Not even its author replaces it now, and no administrator rolls it back.
        let replaced = apply(&vault, set(scope, &[])).await;
        replaced.fails(403, "POLICY_DENIED");
        let back = json!({"scope": scope, "version": 0});
        let path = format!("{POLICIES}/rollback");
        let admin = vault.request(POST, &path, &keys[0], Some(back.clone()), &[]);
        admin.await.fails(403, "POLICY_DENIED");
        post(&vault, "rollback", back).await.data(200);
        apply(&vault, set(scope, &[])).await.data(200);
    }
    let refused = "/v1/audit?event=policy.applied&outcome=refused";
    let refused = vault.admin(GET, refused, None).await.data(200);
    assert_eq!(refused.as_array().unwrap().len(), 2, "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspaces_administrator_keeps_its_own_set_and_no_other() {
    let roles = [(Role::WorkspaceAdmin, false), (Role::Auditor, true)];
    let (vault, keys, _folder) = staffed(&roles).await;
    let request = |key: usize, method: Method, path: &str, body: Option<Value>| {
        let (vault, key, path) = (&vault, &keys[key], format!("{POLICIES}{path}"));
        async move { vault.request(method, &path, key, body, &[]).await }
    };
    let own = set("workspace", &[("a.cedar", PURPOSE)]);
    let other = set("organisation", &[("a.cedar", PURPOSE)]);
    let back = json!({"scope": "organisation", "version": 0});
    request(0, PUT, "", Some(own.clone())).await.data(200);
    for (method, path, body) in [
        (PUT, "", Some(other.clone())),
        (POST, "/rollback", Some(back)),
        (GET, "?scope=organisation", None),
        (GET, "/history?scope=organisation", None),
        (GET, "/history/1?scope=organisation", None),
        (POST, "/validate", Some(other)),
    ] {
        let failure = request(0, method, path, body).await;
        let failure = failure.fails(403, "INSUFFICIENT_PERMISSIONS");
        assert_eq!(failure["details"]["decided_by"], "organisation:only");
    }
    assert_eq!(show(&vault, "organisation").await["version"], 0);
    // An auditor reads both and changes neither.
    for scope in ["workspace", "organisation"] {
        let path = format!("?scope={scope}");
        request(1, GET, &path, None).await.data(200);
        let body = set(scope, &[]);
        let failure = request(1, PUT, "", Some(body)).await;
        failure.fails(403, "INSUFFICIENT_PERMISSIONS");
    }
    let agent = vault.agent(GET, POLICIES, None).await;
    agent.fails(403, "INSUFFICIENT_PERMISSIONS");
}
