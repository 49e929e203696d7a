//! Workspaces: what belongs to another one looks exactly like what is missing.

use std::{
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    process::{Child, Stdio},
    time::Duration,
};

use reqwest::Method;
use serde_json::{Value, json};

use super::{DELETE, GET, PATCH, POST, text};
use crate::support::{Answer, TempDir, Vault, client, leasehold};

pub(super) struct Two {
    server: Child,
    http: reqwest::Client,
    address: String,
    pub(super) admin: String,
    pub(super) a1: String,
    pub(super) b1: String,
    _folder: TempDir,
}

impl Drop for Two {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Two {
    /// A production vault with the workspaces `default` and `b`, and one agent in each.
    pub(super) fn start() -> Self {
        Self::start_with("")
    }

    /// The same, with more in its configuration file.
    pub(super) fn start_with(configured: &str) -> Self {
        let folder = TempDir::new();
        let at = |name: &str| folder.path().join(name);
        let (data, key, config) = (at("data"), at("root.key"), at("leasehold.toml"));
        std::fs::write(&key, format!("leasehold-root-v1:{}\n", "5a".repeat(32))).unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
        let mut init = leasehold();
        init.args([
            "init",
            "--workspace-name",
            "b",
            "--agent",
            "a1",
            "--agent",
            "b/b1",
            "--output",
            "json",
        ]);
        let made = init
            .arg("--data-dir")
            .arg(&data)
            .arg("--key-file")
            .arg(&key)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        let made: Value = serde_json::from_slice(&made.stdout).unwrap();
        assert_eq!(made["workspaces"], json!(["default", "b"]));
        std::fs::write(&config, format!("[root]\nkey_file = {key:?}\n{configured}")).unwrap();
        let mut server = leasehold();
        server
            .args(["server", "--listen", "127.0.0.1:0"])
            .arg("--config")
            .arg(&config);
        server
            .arg("--data-dir")
            .arg(&data)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let agent = |name: &str| {
            let all = made["agents"].as_array().unwrap();
            text(
                all.iter().find(|agent| agent["name"] == name).unwrap(),
                "key",
            )
            .to_owned()
        };
        let mut server = server.spawn().unwrap();
        let log = BufReader::new(server.stderr.take().unwrap());
        let mut two = Self {
            server,
            http: client(),
            address: String::new(),
            admin: text(&made, "admin_key").to_owned(),
            a1: agent("a1"),
            b1: agent("b1"),
            _folder: folder,
        };
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            // Read to its end, so that the server never waits for a reader.
            for line in log.lines().map_while(Result::ok) {
                let address = line
                    .split("address=")
                    .nth(1)
                    .filter(|_| line.contains("serving"));
                if let Some(address) = address.and_then(|rest| rest.split(' ').next()) {
                    let _ = tell.send(address.to_owned());
                }
            }
        });
        let address = told.recv_timeout(Duration::from_secs(60)).unwrap();
        two.address = format!("http://{address}");
        two
    }

    /// A GET that says where it comes from.
    pub(super) async fn get_from(&self, source: &str, key: &str, path: &str) -> Answer {
        let request = self.http.get(format!("{}{path}", self.address));
        let request = request.bearer_auth(key).header("x-forwarded-for", source);
        Answer::of(request.send().await.unwrap()).await
    }

    pub(super) async fn request(
        &self,
        key: &str,
        workspace: Option<&str>,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Answer {
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.address))
            .bearer_auth(key);
        if let Some(workspace) = workspace {
            request = request.header("x-workspace", workspace);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        Answer::of(request.send().await.unwrap()).await
    }

    /// The administrator's request in a workspace.
    pub(super) async fn admin(
        &self,
        workspace: &str,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Answer {
        self.request(&self.admin, Some(workspace), method, path, body)
            .await
    }

    pub(super) async fn agent(
        &self,
        key: &str,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Answer {
        self.request(key, None, method, path, body).await
    }

    pub(super) async fn whoami(&self, key: &str, workspace: Option<&str>) -> Answer {
        self.request(key, workspace, GET, "/v1/auth/whoami", None)
            .await
    }
}

/// The answer without what differs from one request to the next.
fn blank(answer: Answer) -> (u16, Value) {
    let mut body = answer.body;
    body["request_id"] = json!("");
    (answer.status.as_u16(), body)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_workspace_holds_looks_exactly_like_what_is_missing() {
    let two = Two::start();
    let stored = json!({"name": "only-b", "type": "api-key", "value": "b-value", "metadata": {"team": "b-team"}});
    let in_b = two
        .admin("b", POST, "/v1/credentials", Some(stored.clone()))
        .await
        .data(201);
    let lease = two
        .agent(
            &two.b1,
            POST,
            "/v1/leases",
            Some(json!({"credential_name": "only-b"})),
        )
        .await
        .data(201);
    let (id, handle) = (text(&lease, "id"), text(&lease, "handle"));
    let absent = "lse_0199a1b2c3d47e8f9a0b1c2d3e4f5a6b";
    for (method, path, body) in [
        (GET, "/v1/leases/{}", None),
        (GET, "/v1/leases/{}/events", None),
        (POST, "/v1/leases/{}/renew", Some(json!({"ttl": "1m"}))),
        (POST, "/v1/leases/{}/release", None),
        (POST, "/v1/leases/{}/revoke", Some(json!({"reason": "x"}))),
    ] {
        let (foreign, missing) = (path.replace("{}", id), path.replace("{}", absent));
        for key in [&two.a1, &two.admin] {
            let there = blank(two.agent(key, method.clone(), &foreign, body.clone()).await);
            assert_eq!(
                there,
                blank(two.agent(key, method.clone(), &missing, body.clone()).await),
                "{method} {path}"
            );
            assert_eq!(there.0, 404, "{method} {path}: {}", there.1);
        }
    }
    for (method, path, body) in [
        (GET, "/v1/credentials/{}", None),
        (GET, "/v1/credentials/{}/versions", None),
        (
            PATCH,
            "/v1/credentials/{}",
            Some(json!({"description": "x"})),
        ),
        (
            POST,
            "/v1/credentials/{}/rotate",
            Some(json!({"new_value": "x"})),
        ),
        (POST, "/v1/credentials/{}/versions/1/revoke", None),
        (DELETE, "/v1/credentials/{}?force=true", None),
    ] {
        let (foreign, missing) = (path.replace("{}", "only-b"), path.replace("{}", "no-one"));
        let there = blank(
            two.admin("default", method.clone(), &foreign, body.clone())
                .await,
        );
        assert_eq!(
            there,
            blank(two.admin("default", method.clone(), &missing, body).await),
            "{method} {path}"
        );
        assert_eq!(there.0, 404, "{method} {path}: {}", there.1);
    }
    let ask = |name: &str| {
        two.agent(
            &two.a1,
            POST,
            "/v1/leases",
            Some(json!({"credential_name": name})),
        )
    };
    assert_eq!(blank(ask("only-b").await), blank(ask("no-one").await));
    // A handle of the other workspace, and a well-formed one of a vault of its own, which nobody here issued.
    let elsewhere = Vault::dev();
    elsewhere.store("x", "v", json!({})).await;
    let unknown = super::take(&elsewhere, "x").await;
    let redeem = |key: &str, handle: &str| {
        let (key, body) = (key.to_owned(), json!({"handle": handle}));
        let two = &two;
        async move {
            blank(
                two.agent(&key, POST, "/v1/handles/redeem", Some(body))
                    .await,
            )
        }
    };
    for key in [&two.a1, &two.admin] {
        let there = redeem(key, handle).await;
        assert_eq!(there, redeem(key, text(&unknown, "handle")).await);
        assert_eq!(there.0, 404, "{}", there.1);
    }
    let identity = |name: &str| json!({"credential_name": "here", "identity": {"type": "agent", "name": name}});
    let here = json!({"name": "here", "type": "api-key", "value": "b-value"});
    let in_a = two
        .admin("default", POST, "/v1/credentials", Some(here))
        .await
        .data(201);
    let b1 = two
        .admin("default", POST, "/v1/leases", Some(identity("b1")))
        .await;
    let no = two
        .admin("default", POST, "/v1/leases", Some(identity("no")))
        .await;
    assert_eq!((b1.status, &b1.body["code"]), (no.status, &no.body["code"]));
    assert_eq!(b1.status, 400);
    // Equal values of two workspaces cannot be told to be equal.
    assert_ne!(in_a["fingerprint"], in_b["fingerprint"]);
    for path in [
        "/v1/credentials",
        "/v1/leases",
        "/v1/audit",
        "/v1/leases?credential_name=only-b",
        "/v1/audit?credential_name=only-b",
        "/v1/credentials?metadata.team=b-team",
    ] {
        let listed = two.admin("default", GET, path, None).await;
        assert_eq!(listed.status, 200);
        let page: Vec<_> = listed.body["data"]
            .as_array()
            .unwrap()
            .iter()
            // What the caller itself asked for is in its own history, whether or not there is any such thing.
            .filter(|one| one["event"] != "audit.read" && one["event"] != "request.read")
            .collect();
        let page = serde_json::to_string(&page).unwrap();
        assert!(
            !page.contains(id) && !page.contains("b-team") && !page.contains(text(&in_b, "id")),
            "{path} {page}"
        );
    }
    let bulk = two
        .admin(
            "default",
            POST,
            "/v1/leases/revoke",
            Some(json!({"all": true})),
        )
        .await
        .data(200);
    assert_eq!(bulk["revoked_leases"], 0);
    // Nothing of all this has touched `b`; its own name is free in the other workspace.
    let after = two
        .agent(&two.b1, GET, &format!("/v1/leases/{id}"), None)
        .await
        .data(200);
    assert_eq!(
        (&after["state"], &after["renewals"], &after["uses"]),
        (&json!("active"), &json!(0), &json!(0))
    );
    assert_eq!(redeem(&two.b1, handle).await.1["data"]["value"], "b-value");
    let b = two
        .admin("b", GET, "/v1/credentials/only-b", None)
        .await
        .data(200);
    assert_eq!(
        (&b["current_version"], &b["description"]),
        (&json!(1), &Value::Null)
    );
    two.admin("default", POST, "/v1/credentials", Some(stored))
        .await
        .data(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_one_workspace_opens_no_other() {
    let two = Two::start();
    for (key, asked, workspace) in [
        (&two.a1, None, "default"),
        (&two.b1, None, "b"),
        (&two.b1, Some("b"), "b"),
        (&two.a1, Some("default"), "default"),
        (&two.admin, None, "default"),
        (&two.admin, Some("b"), "b"),
    ] {
        assert_eq!(
            two.whoami(key, asked).await.data(200)["workspace"],
            workspace
        );
    }
    for key in [&two.a1, &two.b1, &two.admin] {
        let missing = two.whoami(key, Some("nothing")).await;
        assert!(
            matches!(missing.status.as_u16(), 403 | 404),
            "{}",
            missing.text
        );
    }
    for (key, other) in [(&two.a1, "b"), (&two.b1, "default")] {
        assert_eq!(
            blank(two.whoami(key, Some(other)).await),
            blank(two.whoami(key, Some("nothing")).await)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_another_workspace_looks_exactly_like_none() {
    let two = Two::start();
    let mine =
        json!({"name": "k", "role": "agent", "identity": {"name": "b1"}, "expires_in": "1d"});
    let made = two
        .admin("b", POST, "/v1/api-keys", Some(mine.clone()))
        .await
        .data(201);
    assert_eq!(made["workspace"], "b");
    let (id, absent) = (text(&made, "id"), format!("key_{}", "0".repeat(32)));
    for (method, rest, body) in [
        (GET, "", None),
        (PATCH, "", Some(json!({"name": "x"}))),
        (DELETE, "", None),
        (POST, "/pause", None),
        (POST, "/resume", None),
        (POST, "/rotate", Some(json!({"grace": "1h"}))),
        (POST, "/test", Some(json!({"action": "lease:create"}))),
        (GET, "/usage", None),
    ] {
        let there = format!("/v1/api-keys/{id}{rest}");
        let nowhere = format!("/v1/api-keys/{absent}{rest}");
        let there = two
            .admin("default", method.clone(), &there, body.clone())
            .await;
        let nowhere = two.admin("default", method.clone(), &nowhere, body).await;
        assert_eq!(blank(there), blank(nowhere), "{method} {rest}");
    }
    let of = async |workspace: &str| {
        let list = two
            .admin(workspace, GET, "/v1/api-keys?role=agent", None)
            .await
            .data(200);
        list.as_array().unwrap().len()
    };
    assert_eq!((of("default").await, of("b").await), (1, 2));
    // An identity is found in its own workspace only, the caller's own too.
    for body in [mine, json!({"name": "k", "role": "viewer"})] {
        let (workspace, field) = match body.get("identity") {
            Some(_) => ("default", "identity.name"),
            None => ("b", "identity"),
        };
        let refused = two
            .admin(workspace, POST, "/v1/api-keys", Some(body))
            .await
            .fails(400, "INVALID_PARAMETER");
        assert_eq!(refused["details"]["field"], field);
    }
    // The key works where it was made for, and nowhere else.
    let key = text(&made, "key");
    two.whoami(key, Some("default"))
        .await
        .fails(404, "NOT_FOUND");
    assert_eq!(two.whoami(key, None).await.data(200)["workspace"], "b");
}
