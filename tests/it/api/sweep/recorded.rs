//! INVARIANT (ack-audited): every request of an authenticated caller is in history by its id once it is answered,
//! whatever became of it.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;
use serde_json::{Value, json};

use super::*;

/// All records of a workspace's history, or of the vault's own, oldest first.
pub(super) async fn whole_history(admin: &Client<'_>, filter: &str) -> Vec<Value> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/audit?limit=200&sort=time{filter}{cursor}");
        let page = admin.asks(GET, &path, None).await;
        assert_eq!(page.status, 200, "{}", page.text);
        all.extend(page.body["data"].as_array().unwrap().clone());
        match page.body["page"]["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

/// The events that name a request, and the answer's code or status, by request id.
fn by_request(records: &[Value]) -> BTreeMap<String, BTreeSet<(String, String)>> {
    let mut found: BTreeMap<String, BTreeSet<(String, String)>> = BTreeMap::new();
    for record in records {
        let event = text(record, "event").to_owned();
        let code = record["code"].as_str().unwrap_or("success").to_owned();
        let own = record["request_id"].as_str();
        let batched = record["requests"].as_array().into_iter().flatten();
        let batched = batched.map(|request| text(request, "request_id"));
        for id in own.into_iter().chain(batched) {
            let told = (event.clone(), code.clone());
            found.entry(id.to_owned()).or_default().insert(told);
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_with_a_key_is_in_history_by_its_id() {
    let vault = Vault::dev();
    let admin = Client::admin_of(&vault, "w").await;
    admin.admits("keeper", "owner").await;
    admin.admits("watcher", "viewer").await;
    // What each request was answered.
    let mut asked: BTreeMap<String, (String, u16, String)> = BTreeMap::new();
    for (number, route) in routes(&vault).await.into_iter().enumerate() {
        if route.public {
            continue;
        }
        let template = Template::of(&route);
        let what = format!("{} {}", route.method, route.path);
        let scene = Scene::set(&admin, &template, "keeper", number).await;
        let missing = Scene(
            scene
                .0
                .iter()
                .map(|(name, value)| (*name, value.replace(|c: char| c.is_ascii_digit(), "0")))
                .collect(),
        );
        let (path, body) = template.fill(&scene);
        let (nowhere, _) = template.fill(&missing);
        let reads = route.method == GET;
        let variants = [
            (
                "unknown parameter",
                format!("{path}?nothing=x"),
                body.clone(),
                "keeper",
            ),
            (
                "unknown field",
                path.clone(),
                (!reads).then(|| json!({"nothing": 1})),
                "keeper",
            ),
            ("nowhere", nowhere, body.clone(), "keeper"),
            ("denied", path.clone(), body.clone(), "watcher"),
            ("fitting", path.clone(), body.clone(), "keeper"),
            ("again", path, body, "keeper"),
        ];
        for (variant, path, body, who) in variants {
            let role = if who == "keeper" { "owner" } else { "viewer" };
            let caller = admin.key_for(who, role).await;
            let id = format!("{number}-{}", variant.replace(' ', "-"));
            let headers = [("x-workspace", "w"), ("x-request-id", id.as_str())];
            let answer = vault
                .request(route.method.clone(), &path, &caller.key, body, &headers)
                .await;
            let status = answer.status.as_u16();
            assert!(status < 500, "{what}, {variant}: {}", answer.text);
            let code = answer.body["code"].as_str().unwrap_or("success").to_owned();
            asked.insert(id, (format!("{what}, {variant}"), status, code));
        }
    }
    let records = whole_history(&admin, "").await;
    let found_denials: Vec<_> = records
        .iter()
        .filter(|record| record["event"] == "authz.denied")
        .collect();
    let mut found = by_request(&records);
    let system = whole_history(&admin, "&scope=organisation").await;
    for (id, told) in by_request(&system) {
        found.entry(id).or_default().extend(told);
    }
    for denied in &found_denials {
        let (reason, policy) = (&denied["reason"], &denied["decided_by"]);
        assert!(reason.is_string() && policy.is_string(), "{denied}");
    }
    assert!(found_denials.len() > 40, "{} denials", found_denials.len());
    assert!(asked.len() > 250, "{} requests", asked.len());
    for (id, (what, status, code)) in &asked {
        let told = found.get(id);
        let told = told.unwrap_or_else(|| panic!("{what}: {status} {code} left no record"));
        let with_code = told.iter().any(|(_, told)| told == code);
        assert!(
            with_code,
            "{what}: {status} {code}, and history has {told:?}"
        );
        if *status == 403 {
            let denial = told.iter().any(|(event, _)| event != "request.read");
            assert!(
                denial,
                "{what}: a denial is in a commit of its own: {told:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_names_caller_source_route_object_and_outcome() {
    let vault = Vault::dev();
    vault.store("shown", "v", json!({})).await;
    let ask = async |path: &str, key: &str, id: &str| {
        let headers = [("x-request-id", id), ("user-agent", "reader/1")];
        vault.request(GET, path, key, None, &headers).await
    };
    let (admin, agent) = (vault.admin_key.clone(), vault.agent_key.clone());
    ask("/v1/credentials/shown?", &admin, "read")
        .await
        .data(200);
    ask("/v1/credentials/none", &admin, "missing")
        .await
        .fails(404, "NOT_FOUND");
    ask("/v1/leases?limit=x", &agent, "wrong")
        .await
        .fails(400, "INVALID_PARAMETER");
    ask("/v1/auth/whoami", &agent, "who").await.data(200);
    let cases = [
        (
            "read",
            "human",
            "admin",
            "success",
            json!("shown"),
            "/v1/credentials/{name}",
            200,
        ),
        (
            "missing",
            "human",
            "admin",
            "refused",
            json!("none"),
            "/v1/credentials/{name}",
            404,
        ),
        (
            "wrong",
            "agent",
            "claude-code",
            "refused",
            Value::Null,
            "/v1/leases",
            400,
        ),
        (
            "who",
            "agent",
            "claude-code",
            "success",
            Value::Null,
            "/v1/auth/whoami",
            200,
        ),
    ];
    for (id, kind, name, outcome, object, route, status) in cases {
        let path = format!("/v1/audit?request_id={id}");
        let found = vault.admin(GET, &path, None).await.data(200);
        let [record] = &found.as_array().unwrap()[..] else {
            panic!("{id}: {found}")
        };
        assert_eq!(record["event"], "request.read");
        assert_eq!(
            (&record["actor"]["type"], &record["actor"]["name"]),
            (&json!(kind), &json!(name))
        );
        assert!(record["actor"]["key_id"].is_string());
        assert_eq!(record["outcome"], outcome);
        assert_eq!(
            (&record["source_ip"], &record["user_agent"]),
            (&json!("127.0.0.1"), &json!("reader/1"))
        );
        let [request] = &record["requests"].as_array().unwrap()[..] else {
            panic!("{record}")
        };
        assert_eq!(request["request_id"], id);
        assert_eq!(
            (&request["method"], &request["route"]),
            (&json!("GET"), &json!(route))
        );
        assert_eq!(
            (&request["object"], &request["status"]),
            (&object, &json!(status))
        );
        assert!(request["time"].is_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_readers_is_recorded_each_once_in_few_records() {
    let vault = Vault::dev();
    let asked = (0..400).map(|number| {
        let (vault, id) = (&vault, format!("crowd-{number}"));
        async move {
            let headers = [("x-request-id", id.as_str())];
            let key = &vault.agent_key;
            vault
                .request(GET, "/v1/auth/whoami", key, None, &headers)
                .await
                .data(200);
        }
    });
    futures_util::future::join_all(asked).await;
    let admin = Client {
        vault: &vault,
        key: vault.admin_key.clone(),
        workspace: None,
    };
    let records = whole_history(&admin, "&event=request.read").await;
    let ids: Vec<_> = records
        .iter()
        .flat_map(|record| record["requests"].as_array().unwrap())
        .map(|request| text(request, "request_id"))
        .filter(|id| id.starts_with("crowd-"))
        .collect();
    let distinct: BTreeSet<_> = ids.iter().collect();
    assert_eq!((ids.len(), distinct.len()), (400, 400));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_the_limit_of_a_key_is_in_history_too() {
    let vault = Vault::dev();
    let admin = Client {
        vault: &vault,
        key: vault.admin_key.clone(),
        workspace: None,
    };
    let body = json!({"name": "slow", "role": "agent", "rate_limit": 1, "identity": {"name": "claude-code"}});
    let key = admin.does(POST, "/v1/api-keys", body, 201).await;
    let mut limited = Vec::new();
    for number in 0..4 {
        let id = format!("fast-{number}");
        let headers = [("x-request-id", id.as_str())];
        let answer = vault
            .request(GET, "/v1/auth/whoami", text(&key, "key"), None, &headers)
            .await;
        if answer.status == 429 {
            limited.push(id);
        }
    }
    assert!(!limited.is_empty());
    for id in limited {
        let path = format!("/v1/audit?request_id={id}");
        let found = vault.admin(GET, &path, None).await.data(200);
        assert_eq!(found[0]["code"], "RATE_LIMITED", "{id}: {found}");
        assert_eq!(found[0]["requests"][0]["status"], 429);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_vaults_own_history_tells_of_starts_configuration_and_strangers() {
    let vault = Vault::dev();
    let guess = vault
        .request(
            GET,
            "/v1/leases",
            "guess",
            None,
            &[("x-request-id", "guess-1")],
        )
        .await;
    guess.fails(401, "UNAUTHORIZED");
    let vault = vault.restart(&["--log-format", "json"]);
    let admin = Client {
        vault: &vault,
        key: vault.admin_key.clone(),
        workspace: None,
    };
    let records = whole_history(&admin, "&scope=organisation").await;
    let of = |event: &str| -> Vec<&Value> {
        let found = records.iter().filter(|record| record["event"] == event);
        found.collect()
    };
    assert_eq!(of("vault.started").len(), 2);
    assert_eq!(of("vault.stopped").len(), 1);
    let unsealed = of("vault.unsealed");
    assert_eq!(unsealed.len(), 2);
    assert_eq!(
        unsealed[0]["changes"],
        json!([{"field": "unsealed_by", "before": null, "after": "key_file"}])
    );
    let configured = of("vault.configured");
    assert_eq!(configured.len(), 2, "at first, and where it changed");
    let change = |field: &str, at: usize| {
        let changes = configured[at]["changes"].as_array().unwrap();
        changes
            .iter()
            .find(|change| change["field"] == field)
            .cloned()
    };
    assert_eq!(change("log.format", 0).unwrap()["after"], "human");
    assert_eq!(
        change("log.format", 1).unwrap(),
        json!({"field": "log.format", "before": "human", "after": "json"})
    );
    assert!(change("server.listen", 0).is_some());
    let failed = of("auth.failed");
    let [failed] = &failed[..] else {
        panic!("{failed:?}")
    };
    assert_eq!(
        (&failed["code"], &failed["source_ip"]),
        (&json!("UNAUTHORIZED"), &json!("127.0.0.1"))
    );
    assert_eq!(failed["requests"][0]["request_id"], "guess-1");
    // Whoever reaches one workspace sees nothing of it, and its asking is a denial.
    let auditor = json!({"name": "eye", "type": "human", "role": "workspace_admin"});
    admin.does(POST, "/v1/identities", auditor, 201).await;
    let body = json!({"name": "k", "role": "workspace_admin", "identity": {"name": "eye", "type": "human"}});
    let key = admin.does(POST, "/v1/api-keys", body, 201).await;
    let path = "/v1/audit?scope=organisation";
    let refused = vault
        .request(
            GET,
            path,
            text(&key, "key"),
            None,
            &[("x-request-id", "peek")],
        )
        .await;
    refused.fails(403, "INSUFFICIENT_PERMISSIONS");
    let denied = vault
        .admin(Method::GET, "/v1/audit?request_id=peek", None)
        .await
        .data(200);
    assert_eq!(denied[0]["event"], "authz.denied");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_that_is_answered_again_is_in_history_by_its_own_id() {
    let vault = Vault::dev();
    let body = json!({"name": "once", "type": "api-key", "value": "v"});
    for (id, event) in [("first", "credential.created"), ("retry", "request.read")] {
        let headers = [("x-request-id", id), ("idempotency-key", "one")];
        let (key, body) = (&vault.admin_key, Some(body.clone()));
        let answer = vault
            .request(POST, "/v1/credentials", key, body, &headers)
            .await;
        answer.data(201);
        let path = format!("/v1/audit?request_id={id}");
        let found = vault.admin(GET, &path, None).await.data(200);
        assert_eq!(
            (&found[0]["event"], found.as_array().unwrap().len()),
            (&json!(event), 1)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_end_of_a_lease_and_of_a_version_says_why() {
    let vault = Vault::dev();
    // The rotation has to come before the expiry: a later one retires the version itself.
    let mut names = (0..).map(|number| format!("a{number}"));
    let (lease, name) = loop {
        let begun = std::time::Instant::now();
        let name = names.next().unwrap();
        vault.store(&name, "v", json!({})).await;
        let lease = json!({"credential_name": name, "ttl": "3s", "purpose": "p"});
        let lease = crate::api::ask(&vault, lease).await.data(201);
        let rotate = json!({"new_value": "w"});
        let path = format!("/v1/credentials/{name}/rotate");
        vault.admin(POST, &path, Some(rotate)).await.data(200);
        if begun.elapsed().as_secs() < 3 {
            break (lease, name);
        }
    };
    let begun = std::time::Instant::now();
    let find = async |query: String| loop {
        assert!(begun.elapsed().as_secs() < 120, "{query}");
        let found = vault
            .admin(GET, &format!("/v1/audit?{query}"), None)
            .await
            .data(200);
        if let Some(record) = found.get(0) {
            return record.clone();
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    let expired = find(format!(
        "event=lease.expired&lease_id={}",
        text(&lease, "id")
    ))
    .await;
    assert_eq!(expired["actor"], json!({"type": "vault", "name": "reaper"}));
    assert_eq!(
        expired["changes"],
        json!([{"field": "state", "before": "active", "after": "expired"}])
    );
    let retired = find(format!(
        "event=credential.version_retired&credential_name={name}"
    ))
    .await;
    assert_eq!(
        (&retired["version"], &retired["credential_name"]),
        (&json!(1), &json!(name))
    );
    assert_eq!(
        retired["reason"],
        "it was rotated, and its last lease closed"
    );
    // What a deletion ends, version by version.
    let held = crate::api::take(&vault, &name).await;
    let path = format!("/v1/credentials/{name}?force=true");
    vault.admin(Method::DELETE, &path, None).await.data(200);
    let revoked = find(format!(
        "event=lease.revoked&lease_id={}",
        text(&held, "id")
    ))
    .await;
    assert_eq!(revoked["reason"], "the credential was deleted");
}
