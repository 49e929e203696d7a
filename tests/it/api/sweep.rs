//! Every route of the OpenAPI document, fetched from the running vault so that a new one cannot be forgotten: who may
//! use it, what callers of other workspaces see, and that what changes something is in history.

mod canaries;
mod recorded;
mod records;
mod requests;
mod told;
mod updates;

use reqwest::Method;
use serde_json::{Value, json};

use self::requests::{Scene, Template};
use super::{GET, POST, text};
use crate::support::{Answer, Vault};

const ROLES: [&str; 6] = [
    "viewer",
    "agent",
    "operator",
    "auditor",
    "workspace_admin",
    "owner",
];

const TABLE: &str = include_str!("../../vectors/routes.txt");
const HEADER: &str = "\
# What each route answers to a caller of each role, with a fitting request; leases are the caller's own. Without a key it
# is 401, but for the routes that are `public`. Every role is of one workspace, but owner and auditor, which are of all.
# Recomputed by a test; after a deliberate change: LEASEHOLD_WRITE_MATRIX=1 cargo test --test it sweep

";

/// A route of the document.
pub(super) struct Route {
    method: Method,
    path: String,
    /// Whether it needs no key.
    public: bool,
}

/// Every route there is, in the order of paths.
async fn routes(vault: &Vault) -> Vec<Route> {
    let document = vault
        .request(GET, "/api-docs/openapi.json", "", None, &[])
        .await;
    let mut routes = Vec::new();
    for (path, operations) in document.body["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let free = |needs: &Value| {
                let mut needs = needs.as_array().unwrap().iter();
                needs.all(|need| need == &json!({}))
            };
            routes.push(Route {
                method: Method::from_bytes(method.to_uppercase().as_bytes()).unwrap(),
                path: path.clone(),
                public: operation.get("security").is_some_and(free),
            });
        }
    }
    assert!(routes.len() > 50, "{}", document.text);
    routes
}

/// Somebody's key, and the workspace that it asks for.
struct Client<'a> {
    vault: &'a Vault,
    key: String,
    workspace: Option<&'a str>,
}

impl<'a> Client<'a> {
    /// The administrator, in a workspace that is made for it.
    async fn admin_of(vault: &'a Vault, workspace: &'a str) -> Self {
        let body = json!({"name": workspace});
        let made = vault.admin(POST, "/v1/workspaces", Some(body)).await;
        made.data(201);
        Self {
            vault,
            key: vault.admin_key.clone(),
            workspace: Some(workspace),
        }
    }

    async fn asks(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let named = self.workspace.map(|name| ("x-workspace", name));
        let headers: Vec<_> = named.into_iter().collect();
        self.vault
            .request(method, path, &self.key, body, &headers)
            .await
    }

    async fn does(&self, method: Method, path: &str, body: Value, status: u16) -> Value {
        self.asks(method, path, Some(body)).await.data(status)
    }

    /// An identity of this workspace with this role, and a key of the role.
    async fn admits(&self, name: &str, role: &str) -> Client<'a> {
        let body = json!({"name": name, "type": "agent", "role": role});
        self.does(POST, "/v1/identities", body, 201).await;
        self.key_for(name, role).await
    }

    async fn key_for(&self, name: &str, role: &str) -> Client<'a> {
        let mut body = json!({"name": "k", "role": role, "identity": {"name": name}});
        let everywhere = matches!(role, "owner" | "auditor");
        if everywhere {
            body["workspace"] = json!("*");
        }
        let key = self.does(POST, "/v1/api-keys", body, 201).await;
        Client {
            vault: self.vault,
            key: text(&key, "key").to_owned(),
            workspace: self.workspace.filter(|_| everywhere),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_route_is_used_without_a_key_or_without_its_scope() {
    let vault = Vault::dev();
    let admin = Client::admin_of(&vault, "w").await;
    for role in ROLES {
        let body = json!({"name": role, "type": "agent", "role": role});
        admin.does(POST, "/v1/identities", body, 201).await;
    }
    let (mut table, mut number) = (HEADER.to_owned(), 0);
    for route in routes(&vault).await {
        let template = Template::of(&route);
        let what = format!("{} {}", route.method, route.path);
        if route.public {
            table.push_str(&format!("{what} = public\n"));
            if route.method == GET {
                let free = vault.request(GET, &route.path, "", None, &[]).await;
                assert_eq!(free.status, 200, "{what}: {}", free.text);
            }
            continue;
        }
        let mut cells = Vec::new();
        for role in ROLES {
            number += 1;
            let scene = Scene::set(&admin, &template, role, number).await;
            let (path, body) = template.fill(&scene);
            for key in ["", "lhk_none", "x.y.z", &"lhk_".repeat(100)] {
                let refused = vault.request(
                    route.method.clone(),
                    &path,
                    key,
                    body.clone(),
                    &[("x-workspace", "w")],
                );
                refused.await.fails(401, "UNAUTHORIZED");
            }
            // A stop may have ended the keys of the row before.
            let caller = admin.key_for(role, role).await;
            let answer = caller.asks(route.method.clone(), &path, body).await;
            let status = answer.status.as_u16();
            match status {
                200 | 201 => {}
                403 => drop(answer.fails(403, "INSUFFICIENT_PERMISSIONS")),
                404 => drop(answer.fails(404, "NOT_FOUND")),
                _ => panic!("{what} by {role}: {}", answer.text),
            }
            cells.push(format!("{role} {status}"));
        }
        table.push_str(&format!("{what} = {}\n", cells.join(", ")));
    }
    if std::env::var_os("LEASEHOLD_WRITE_MATRIX").is_some() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/routes.txt");
        std::fs::write(file, &table).unwrap();
        return;
    }
    for (seen, written) in table.lines().zip(TABLE.lines()) {
        assert_eq!(seen, written);
    }
    assert_eq!(table, TABLE);
}

/// An answer as bytes, without what differs from one request to the next and the names that were asked for.
fn alike(answer: &Answer, scene: &Scene) -> (u16, Vec<(String, String)>, String) {
    let id = answer.headers["x-request-id"].to_str().unwrap();
    let mut headers: Vec<_> = answer
        .headers
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "x-request-id" | "date"))
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    headers.sort();
    let mut text = answer.text.replace(id, "…");
    // A receipt says when it was, and repeats what it was asked about.
    if answer.body["data"].get("receipt").is_some() {
        let mut body = answer.body.clone();
        for field in ["receipt", "took_ms"] {
            body["data"][field] = Value::Null;
        }
        text = body.to_string();
        headers.retain(|(name, _)| name != "content-length");
    }
    for (name, value) in &scene.0 {
        text = text.replace(&format!("`{value}`"), name);
    }
    (answer.status.as_u16(), headers, text)
}

/// What nobody has, of the same form and length as what a scene has.
fn missing(scene: &Scene, handle: &str) -> Scene {
    let none = scene.0.iter().map(|(name, value)| {
        let value = match (*name, value.split_once('_')) {
            ("fresh", _) => value.clone(),
            ("handle", _) => handle.to_owned(),
            (_, Some((prefix, id))) => format!("{prefix}_{}", id.chars().rev().collect::<String>()),
            _ => value.replace(|c: char| c.is_ascii_alphabetic(), "n"),
        };
        (*name, value)
    });
    Scene(none.collect())
}

/// What a request can name that is of one workspace.
const OBJECTS: [&str; 9] = [
    "credential",
    "lease",
    "handle",
    "key",
    "token",
    "issuer",
    "identity",
    "workspace",
    "record",
];

// INVARIANT (isolation)
#[tokio::test(flavor = "multi_thread")]
async fn to_another_workspace_everything_of_ours_is_missing_to_the_byte() {
    let vault = Vault::dev();
    let ours = Client::admin_of(&vault, "ours").await;
    let theirs = Client::admin_of(&vault, "theirs").await;
    ours.admits("holder", "agent").await;
    let mut strangers = Vec::new();
    for role in ["workspace_admin", "operator", "agent", "viewer"] {
        strangers.push((role, theirs.admits(role, role).await));
    }
    // Whoever reaches both is in one of them at a time.
    strangers.push(("owner", theirs));
    // A handle that is well formed, of a vault that is not this one.
    let elsewhere = Vault::dev();
    elsewhere.store("x", "v", json!({})).await;
    let handle = super::take(&elsewhere, "x").await;
    let mut number = 0;
    for route in routes(&vault).await {
        let template = Template::of(&route);
        if route.public || !OBJECTS.iter().any(|object| template.names(object)) {
            continue;
        }
        number += 1;
        let named = Scene::set(&ours, &template, "holder", number).await;
        for scene in [named.by_id(), Some(named)].into_iter().flatten() {
            let nothing = missing(&scene, text(&handle, "handle"));
            for (role, stranger) in &strangers {
                let what = format!("{} {} by {role}", route.method, route.path);
                // Whoever reaches the organisation finds a workspace by its name.
                if *role == "owner" && template.names("workspace") {
                    continue;
                }
                let ask = |scene: &Scene| {
                    let (path, body) = template.fill(scene);
                    let method = route.method.clone();
                    async move { stranger.asks(method, &path, body).await }
                };
                let (foreign, none) = (ask(&scene).await, ask(&nothing).await);
                assert_eq!(alike(&foreign, &scene), alike(&none, &nothing), "{what}");
                let all_scopes = matches!(*role, "owner" | "workspace_admin");
                match foreign.status.as_u16() {
                    // What a body names is a field of it, or a filter that finds nothing.
                    status if !template.path.contains('$') => assert!(status < 500, "{what}"),
                    _ if all_scopes => drop(foreign.fails(404, "NOT_FOUND")),
                    status => assert!(matches!(status, 403 | 404), "{what}: {}", foreign.text),
                }
            }
        }
    }
    assert!(number > 30, "{number} routes name something");
}
