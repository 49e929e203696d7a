//! Workspaces and identities: what they hold, who may change them, and what that changes.

use serde_json::{Value, json};

use super::{DELETE, GET, PATCH, POST, isolation::Two, text};
use crate::support::{Answer, Vault};

const AGENT: &str = "/v1/identities/agent/claude-code";

async fn make(vault: &Vault, body: Value) -> Answer {
    vault.admin(POST, "/v1/identities", Some(body)).await
}

fn names(listed: &Value) -> Vec<&str> {
    let listed = listed.as_array().unwrap();
    listed.iter().map(|one| text(one, "name")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_is_made_found_changed_and_deleted() {
    let vault = Vault::dev();
    let body = json!({"name": "ci", "type": "service", "role": "operator", "description": "builds",
        "labels": {"team": "ml", "tier": "1"}});
    let made = make(&vault, body.clone()).await.data(201);
    assert!(text(&made, "id").starts_with("idn_"));
    assert_eq!(
        (&made["state"], &made["created_by"], &made["suspension"]),
        (&json!("active"), &json!("admin"), &Value::Null)
    );
    make(&vault, body).await.fails(409, "ALREADY_EXISTS");
    // One name may stand for an agent, a human and a service.
    make(
        &vault,
        json!({"name": "ci", "type": "agent", "role": "agent"}),
    )
    .await
    .data(201);
    let at = "/v1/identities/service/ci";
    let patch =
        json!({"labels": {"tier": null, "env": "prod"}, "description": null, "role": "viewer"});
    let changed = vault.admin(PATCH, at, Some(patch)).await.data(200);
    assert_eq!(
        (
            &changed["labels"],
            &changed["description"],
            &changed["role"]
        ),
        (
            &json!({"team": "ml", "env": "prod"}),
            &Value::Null,
            &json!("viewer")
        )
    );
    assert_eq!(vault.admin(GET, at, None).await.data(200), changed);
    for (query, found) in [
        ("name=ci&sort=created_at", vec!["ci", "ci"]),
        ("type=service", vec!["ci"]),
        ("role=viewer", vec!["ci"]),
        ("labels.env=prod&labels.team=ml", vec!["ci"]),
        ("labels.env=dev", vec![]),
        ("state=suspended", vec![]),
        ("state=active&sort=name&limit=2", vec!["admin", "ci"]),
    ] {
        let path = format!("/v1/identities?{query}");
        let listed = vault.admin(GET, &path, None).await.data(200);
        assert_eq!(names(&listed), found, "{query}");
    }
    let history = vault
        .admin(GET, "/v1/audit?event=identity.updated", None)
        .await
        .data(200);
    let changes = history[0]["changes"].as_array().unwrap();
    let change = |field: &str| changes.iter().find(|change| change["field"] == field);
    assert_eq!(
        change("role"),
        Some(&json!({"field": "role", "before": "operator", "after": "viewer"}))
    );
    assert!(change("labels.tier").is_some() && change("labels.env").is_some());
    assert_eq!(history[0]["object"], "service/ci");

    vault.admin(DELETE, at, None).await.data(200);
    vault.admin(GET, at, None).await.fails(404, "NOT_FOUND");
    let body = json!({"name": "ci", "type": "service", "role": "viewer"});
    let again = make(&vault, body).await.data(201);
    assert_ne!(again["id"], made["id"], "its id is never used again");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_an_identity_or_a_workspace_is_refused_by_its_field() {
    let vault = Vault::dev();
    let long = "x".repeat(513);
    let value = "v".repeat(1024);
    for (body, field) in [
        (
            json!({"name": "A", "type": "agent", "role": "agent"}),
            "name",
        ),
        (
            json!({"name": "a ", "type": "agent", "role": "agent"}),
            "name",
        ),
        (
            json!({"name": "..", "type": "agent", "role": "agent"}),
            "name",
        ),
        (
            json!({"name": "аgent", "type": "agent", "role": "agent"}),
            "name",
        ),
        (
            json!({"name": "a", "type": "robot", "role": "agent"}),
            "type",
        ),
        (
            json!({"name": "a", "type": "agent", "role": "root"}),
            "role",
        ),
        (
            json!({"name": "a", "type": "agent", "role": "agent", "x": 1}),
            "x",
        ),
        (
            json!({"name": "a", "type": "agent", "role": "agent", "description": long}),
            "description",
        ),
        (
            json!({"name": "a", "type": "agent", "role": "agent", "labels": {"": "x"}}),
            "labels",
        ),
        (
            json!({"name": "a", "type": "agent", "role": "agent", "labels": {"a": value, "b": value}}),
            "labels",
        ),
    ] {
        let refused = make(&vault, body).await.fails(400, "INVALID_PARAMETER");
        assert_eq!(refused["details"]["field"], field, "{refused}");
    }
    for (body, field) in [
        (json!({"name": "B"}), "name"),
        (
            json!({"name": "b", "settings": {"max_lease_ttl": "367d"}}),
            "settings.max_lease_ttl",
        ),
        (
            json!({"name": "b", "settings": {"max_lease_ttl": "30m"}}),
            "settings.default_lease_ttl",
        ),
        (
            json!({"name": "b", "settings": {"default_lease_ttl": "0s"}}),
            "settings.default_lease_ttl",
        ),
        (json!({"name": "b", "settings": {"x": 1}}), "settings.x"),
    ] {
        let refused = vault.admin(POST, "/v1/workspaces", Some(body)).await;
        let refused = refused.fails(400, "INVALID_PARAMETER");
        assert_eq!(refused["details"]["field"], field, "{refused}");
    }
    let odd = vault.admin(GET, "/v1/identities/robot/a", None).await;
    odd.fails(400, "INVALID_PARAMETER");
    let full: serde_json::Map<_, _> = (0..32)
        .map(|n| (format!("k{n:02}"), json!("v".repeat(61))))
        .collect();
    // The largest record that may be: it is stored, and changed.
    let body = json!({"name": "n".repeat(128), "type": "agent", "role": "agent", "labels": full,
        "description": "d".repeat(512)});
    make(&vault, body).await.data(201);
    let at = format!("/v1/identities/agent/{}", "n".repeat(128));
    let reason = json!({"reason": "r".repeat(512)});
    let path = format!("{at}/suspend");
    vault.admin(POST, &path, Some(reason)).await.data(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retried_creation_makes_one() {
    let vault = Vault::dev();
    for (path, body) in [
        (
            "/v1/identities",
            json!({"name": "a", "type": "agent", "role": "agent"}),
        ),
        ("/v1/workspaces", json!({"name": "w"})),
    ] {
        let again = || {
            let headers = [("idempotency-key", "k")];
            let (vault, body) = (&vault, body.clone());
            async move {
                vault
                    .request(POST, path, &vault.admin_key, Some(body), &headers)
                    .await
                    .data(201)
            }
        };
        assert_eq!(again().await, again().await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lower_role_counts_at_once_for_the_keys_there_are() {
    let vault = Vault::dev();
    vault.store("a", "v", json!({})).await;
    let lease = super::take(&vault, "a").await;
    let role = |role: &str| {
        let (vault, body) = (&vault, json!({"role": role}));
        async move { vault.admin(PATCH, AGENT, Some(body)).await.data(200) }
    };
    role("viewer").await;
    let refused = super::ask(&vault, json!({"credential_name": "a"})).await;
    let refused = refused.fails(403, "INSUFFICIENT_PERMISSIONS");
    assert_eq!(refused["details"]["missing_scope"], "lease:create");
    vault
        .redeem(text(&lease, "handle"))
        .await
        .fails(403, "INSUFFICIENT_PERMISSIONS");
    // Nor does the key gain what it was not given.
    let seen = vault.agent(GET, "/v1/credentials/a", None).await;
    seen.fails(403, "INSUFFICIENT_PERMISSIONS");
    let who = vault.agent(GET, "/v1/auth/whoami", None).await.data(200);
    assert_eq!((&who["scopes"], &who["role"]), (&json!([]), &Value::Null));
    role("owner").await;
    let who = vault.agent(GET, "/v1/auth/whoami", None).await.data(200);
    assert_eq!(who["role"], "agent", "a higher role gives a key nothing");
    role("agent").await;
    super::take(&vault, "a").await;
    // What is recorded is what happened.
    let refused = vault
        .admin(GET, "/v1/audit?event=authz.denied", None)
        .await
        .data(200);
    assert!(refused.as_array().unwrap().len() >= 3, "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_changes_its_own_role_or_labels_nor_stops_itself() {
    let vault = Vault::dev();
    let own = "/v1/identities/human/admin";
    for (method, path, body) in [
        (PATCH, own.to_owned(), Some(json!({"role": "viewer"}))),
        (PATCH, own.to_owned(), Some(json!({"role": "owner"}))),
        (
            PATCH,
            own.to_owned(),
            Some(json!({"labels": {"team": "ml"}})),
        ),
        (POST, format!("{own}/suspend"), None),
        (POST, format!("{own}/resume"), None),
        (DELETE, own.to_owned(), None),
    ] {
        let what = format!("{method} {path}");
        let refused = vault.admin(method, &path, body).await;
        let refused = refused.fails(403, "INSUFFICIENT_PERMISSIONS");
        assert!(text(&refused, "message").contains("own role"), "{what}");
    }
    let patch = json!({"description": "me"});
    vault.admin(PATCH, own, Some(patch)).await.data(200);
    let refused = "/v1/audit?event=directory.refused";
    let refused = vault.admin(GET, refused, None).await.data(200);
    assert_eq!(refused.as_array().unwrap().len(), 6);
    assert_eq!(refused[0]["code"], "INSUFFICIENT_PERMISSIONS");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspaces_settings_are_the_lowest_level_of_every_leases_terms() {
    let vault = Vault::dev();
    let at = "/v1/workspaces/default";
    vault.store("plain", "v", json!({})).await;
    let own = json!({"default_lease_ttl": "2h", "max_lease_ttl": "4h"});
    vault.store("own", "v", own).await;
    let granted = |name: &str| {
        let (vault, body) = (&vault, json!({"credential_name": name}));
        async move { text(&vault.lease(body).await, "ttl").to_owned() }
    };
    assert_eq!(
        (granted("plain").await, granted("own").await),
        ("1h".to_owned(), "2h".to_owned())
    );
    let settings = |settings: Value| {
        let (vault, body) = (&vault, json!({"settings": settings}));
        async move { vault.admin(PATCH, at, Some(body)).await.data(200) }
    };
    let changed = settings(json!({"default_lease_ttl": "5m", "max_lease_ttl": "3h"})).await;
    assert_eq!(
        changed["settings"],
        json!({"default_lease_ttl": "5m", "max_lease_ttl": "3h", "max_api_keys": 1000})
    );
    assert_eq!(
        (granted("plain").await, granted("own").await),
        ("5m".to_owned(), "2h".to_owned()),
        "remembered terms are forgotten"
    );
    let long = vault
        .lease(json!({"credential_name": "own", "ttl": "10h"}))
        .await;
    assert_eq!(
        (&long["ttl"], &long["ttl_capped"]),
        (&json!("3h"), &json!(true))
    );
    let shown = super::shown(&vault, "own").await;
    assert_eq!(shown["effective_policy"]["max_lease_ttl"], "3h", "{shown}");
    settings(json!({"max_lease_ttl": "1m", "default_lease_ttl": "1m"})).await;
    let renewed = super::act(&vault, &long, "renew", json!({"ttl": "2h"})).await;
    let renewed = renewed.data(200);
    assert_eq!(renewed["ttl_capped"], true, "renewals too: {renewed}");
    settings(json!({"max_lease_ttl": null, "default_lease_ttl": null})).await;
    assert_eq!(granted("plain").await, "1h");
    let history = vault
        .admin(GET, "/v1/audit?event=workspace.updated", None)
        .await
        .data(200);
    assert_eq!(
        history[0]["changes"][0],
        json!({"field": "settings.default_lease_ttl", "before": "1m", "after": "1h"})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_that_was_made_is_one_of_its_own() {
    let vault = Vault::dev();
    let body =
        json!({"name": "payments", "description": "all teams", "settings": {"max_api_keys": 3}});
    let made = vault
        .admin(POST, "/v1/workspaces", Some(body.clone()))
        .await;
    let made = made.data(201);
    assert_eq!(made["settings"]["max_api_keys"], 3);
    let twice = vault.admin(POST, "/v1/workspaces", Some(body)).await;
    twice.fails(409, "ALREADY_EXISTS");
    let there = |method, path: &str, body| {
        let (vault, path) = (&vault, path.to_owned());
        async move {
            let headers = [("x-workspace", "payments")];
            vault
                .request(method, &path, &vault.admin_key, body, &headers)
                .await
        }
    };
    let body = json!({"name": "a", "type": "api-key", "value": "v"});
    there(POST, "/v1/credentials", Some(body)).await.data(201);
    let here = vault.admin(GET, "/v1/credentials/a", None).await;
    here.fails(404, "NOT_FOUND");
    assert_eq!(
        there(GET, "/v1/identities", None).await.data(200),
        json!([])
    );
    // It is there after a restart, with its key.
    let vault = vault.kill_and_reopen(&[]);
    let headers = [("x-workspace", "payments")];
    let key = vault.admin_key.clone();
    let found = vault
        .request(GET, "/v1/credentials/a", &key, None, &headers)
        .await;
    assert_eq!(found.data(200)["name"], "a");
    let listed = vault.admin(GET, "/v1/workspaces", None).await.data(200);
    assert_eq!(names(&listed), ["default", "payments"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn identities_and_workspaces_of_others_look_missing() {
    let two = Two::start();
    let foreign = two
        .admin("default", GET, "/v1/identities/agent/b1", None)
        .await;
    let missing = two
        .admin("default", GET, "/v1/identities/agent/no", None)
        .await;
    assert_eq!(
        (foreign.status, &foreign.body["message"]),
        (missing.status, &missing.body["message"])
    );
    foreign.fails(404, "NOT_FOUND");
    for (method, path) in [
        (PATCH, "/v1/identities/agent/b1"),
        (DELETE, "/v1/identities/agent/b1"),
        (POST, "/v1/identities/agent/b1/suspend"),
        (POST, "/v1/identities/agent/b1/resume"),
    ] {
        let body = (method == PATCH).then(|| json!({"role": "viewer"}));
        let answer = two.admin("default", method, path, body).await;
        answer.fails(404, "NOT_FOUND");
    }
    assert_eq!(two.whoami(&two.b1, None).await.data(200)["role"], "agent");
    for (method, path) in [
        (GET, "/v1/workspaces/{}"),
        (PATCH, "/v1/workspaces/{}"),
        (POST, "/v1/workspaces/{}/revoke-all"),
    ] {
        let asked = |name: &str| {
            let (two, path) = (&two, path.replace("{}", name));
            let method = method.clone();
            async move {
                let body = (method == PATCH).then(|| json!({}));
                two.agent(&two.a1, method, &path, body).await
            }
        };
        let (foreign, missing) = (asked("b").await, asked("no").await);
        assert_eq!(
            (foreign.status, &foreign.body["message"]),
            (missing.status, &missing.body["message"])
        );
        foreign.fails(404, "NOT_FOUND");
        asked("default")
            .await
            .fails(403, "INSUFFICIENT_PERMISSIONS");
    }
    // A caller of the organisation reaches each by its name.
    let b = two.admin("default", GET, "/v1/workspaces/b", None).await;
    assert_eq!(b.data(200)["name"], "b");
}
