//! A fitting request for every route: what it must name, made anew for each request, its body, and the event that
//! history then has.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use super::{super::text, Client, GET, POST, Route};

/// Method, path, body and event of every route that may change something. `$name` stands for what a scene has; a route
/// without an event changes nothing, and says why.
const CHANGING: &[(&str, &str, &str, Option<&str>)] = &[
    (
        "POST",
        "/v1/credentials",
        r#"{"name":"$fresh","type":"api-key","value":"v"}"#,
        Some("credential.created"),
    ),
    (
        "PATCH",
        "/v1/credentials/{name}",
        r#"{"description":"d"}"#,
        Some("credential.updated"),
    ),
    (
        "POST",
        "/v1/credentials/{name}/rotate",
        r#"{"new_value":"w"}"#,
        Some("credential.rotated"),
    ),
    (
        "POST",
        "/v1/credentials/{name}/versions/{number}/revoke",
        "{}",
        Some("credential.version_revoked"),
    ),
    (
        "DELETE",
        "/v1/credentials/{name}",
        "",
        Some("credential.deleted"),
    ),
    (
        "POST",
        "/v1/leases",
        r#"{"credential_name":"$credential"}"#,
        Some("lease.issued"),
    ),
    (
        "POST",
        "/v1/leases/revoke",
        r#"{"filter":{"credential_name":"$credential"}}"#,
        Some("lease.bulk_revoked"),
    ),
    (
        "POST",
        "/v1/leases/{id}/renew",
        r#"{"ttl":"2h"}"#,
        Some("lease.renewed"),
    ),
    (
        "POST",
        "/v1/leases/{id}/release",
        "{}",
        Some("lease.released"),
    ),
    (
        "POST",
        "/v1/leases/{id}/revoke",
        r#"{"reason":"r"}"#,
        Some("lease.revoked"),
    ),
    (
        "POST",
        "/v1/handles/redeem",
        r#"{"handle":"$handle"}"#,
        Some("lease.redeemed"),
    ),
    (
        "POST",
        "/v1/api-keys",
        r#"{"name":"k","role":"viewer","identity":{"name":"$identity"}}"#,
        Some("key.created"),
    ),
    (
        "PATCH",
        "/v1/api-keys/{id}",
        r#"{"description":"d"}"#,
        Some("key.updated"),
    ),
    ("DELETE", "/v1/api-keys/{id}", "", Some("key.deleted")),
    ("POST", "/v1/api-keys/{id}/pause", "{}", Some("key.paused")),
    (
        "POST",
        "/v1/api-keys/{id}/resume",
        "{}",
        Some("key.resumed"),
    ),
    (
        "POST",
        "/v1/api-keys/{id}/rotate",
        "{}",
        Some("key.rotated"),
    ),
    // Tells what a key may do; nothing is done.
    (
        "POST",
        "/v1/api-keys/{id}/test",
        r#"{"action":"lease:create","resource":"credential/x"}"#,
        None,
    ),
    ("POST", "/v1/tokens", "{}", Some("token.created")),
    ("DELETE", "/v1/tokens/{jti}", "", Some("token.revoked")),
    (
        "POST",
        "/v1/sys/signing-keys/rotate",
        "{}",
        Some("signing_key.rotated"),
    ),
    ("POST", "/v1/sys/backup", "{}", Some("vault.backed_up")),
    (
        "POST",
        "/v1/issuers",
        r#"{"name":"$fresh","iss":"https://$fresh","jwks_url":"https://$fresh/jwks","audiences":["vault"],
            "conditions":{"sub":"me"},"identity":{"name":"ci"}}"#,
        Some("issuer.created"),
    ),
    (
        "PATCH",
        "/v1/issuers/{issuer}",
        r#"{"audiences":["other"]}"#,
        Some("issuer.updated"),
    ),
    ("DELETE", "/v1/issuers/{issuer}", "", Some("issuer.deleted")),
    // Whoever exchanges has no key yet: the identity that the assertion is mapped to acts.
    (
        "POST",
        "/v1/auth/exchange",
        r#"{"token":"$assertion","workspace":"$workspace"}"#,
        Some("auth.exchanged"),
    ),
    (
        "POST",
        "/v1/identities",
        r#"{"name":"$fresh","type":"agent","role":"viewer"}"#,
        Some("identity.created"),
    ),
    (
        "PATCH",
        "/v1/identities/{type}/{name}",
        r#"{"description":"d"}"#,
        Some("identity.updated"),
    ),
    (
        "DELETE",
        "/v1/identities/{type}/{name}",
        "",
        Some("identity.deleted"),
    ),
    (
        "POST",
        "/v1/identities/{type}/{name}/suspend",
        "{}",
        Some("identity.suspended"),
    ),
    (
        "POST",
        "/v1/identities/{type}/{name}/resume",
        "{}",
        Some("identity.resumed"),
    ),
    (
        "POST",
        "/v1/workspaces",
        r#"{"name":"$fresh"}"#,
        Some("workspace.created"),
    ),
    (
        "PATCH",
        "/v1/workspaces/{name}",
        r#"{"description":"$fresh"}"#,
        Some("workspace.updated"),
    ),
    (
        "POST",
        "/v1/workspaces/{name}/revoke-all",
        "{}",
        Some("workspace.revoked_all"),
    ),
    (
        "PUT",
        "/v1/policies",
        r#"{"scope":"workspace","sources":[]}"#,
        Some("policy.applied"),
    ),
    (
        "POST",
        "/v1/policies/rollback",
        r#"{"scope":"workspace","version":0}"#,
        Some("policy.rolled_back"),
    ),
    // They tell what a set would be and do; nothing is kept.
    ("POST", "/v1/policies/validate", r#"{"sources":[]}"#, None),
    ("POST", "/v1/policies/diff", r#"{"sources":[]}"#, None),
    // Reads the log.
    (
        "POST",
        "/v1/policies/dry-run",
        r#"{"sources":[]}"#,
        Some("audit.read"),
    ),
    (
        "PUT",
        "/v1/audit/holds/{name}",
        r#"{"reason":"$fresh"}"#,
        Some("audit.hold_set"),
    ),
    (
        "DELETE",
        "/v1/audit/holds/{name}",
        "",
        Some("audit.hold_released"),
    ),
    // Tells what a decision would be.
    (
        "POST",
        "/v1/auth/check",
        r#"{"action":"audit:read","resource":"workspace"}"#,
        None,
    ),
];

/// A request for a route, before it is known what it names.
pub(super) struct Template {
    pub(super) path: String,
    body: String,
    pub(super) event: Option<&'static str>,
}

impl Template {
    /// The fitting request. A route that may change something and is not in the table fails the test here.
    pub(super) fn of(route: &Route) -> Self {
        let (method, path) = (route.method.as_str(), route.path.as_str());
        let known = CHANGING
            .iter()
            .find(|known| (known.0, known.1) == (method, path));
        let (body, event) = match known {
            Some((_, _, body, event)) => (*body, *event),
            None => {
                assert!(
                    route.method == GET,
                    "`{method} {path}` has no request in sweep/requests.rs: nobody tests who may use it, nor that it \
                     leaves an audit record"
                );
                ("", None)
            }
        };
        let family = path.split('/').nth(2).unwrap_or_default();
        let (id, name) = match family {
            "api-keys" => ("$key", ""),
            "leases" => ("$lease", ""),
            "identities" => ("", "$identity"),
            "workspaces" => ("", "$workspace"),
            "audit" => ("", "$hold"),
            _ => ("", "$credential"),
        };
        let path = path
            .replace("{id}", id)
            .replace("{name}", name)
            .replace("{type}", "agent")
            .replace("{number}", "1")
            .replace("{issuer}", "$issuer")
            .replace("{version}", "1")
            .replace("{jti}", "$token")
            // The vault's own, and so nobody's.
            .replace("/audit/proof", "/audit/proof?sequence=1")
            // A report is about something.
            .replace("/exposure", "/exposure?credential_name=any")
            .replace("{sequence}", "$record");
        // A stream that follows has no end.
        let path = match path.ends_with("/stream") {
            true => format!("{path}?follow=false"),
            false => path,
        };
        assert!(!path.contains('{'), "what is to be named in `{path}`?");
        Self {
            path,
            body: body.to_owned(),
            event,
        }
    }

    /// Whether the request names something that exists before it.
    pub(super) fn names(&self, what: &str) -> bool {
        [&self.path, &self.body]
            .iter()
            .any(|text| text.contains(&format!("${what}")))
    }

    /// The path and the body, naming what the scene has.
    pub(super) fn fill(&self, scene: &Scene) -> (String, Option<Value>) {
        let fill = |text: &str| {
            let mut text = text.to_owned();
            for (name, value) in &scene.0 {
                text = text.replace(&format!("${name}"), value);
            }
            assert!(!text.contains('$'), "the scene lacks what `{text}` names");
            text
        };
        let body = (!self.body.is_empty()).then(|| serde_json::from_str(&fill(&self.body)));
        (fill(&self.path), body.map(Result::unwrap))
    }
}

/// What requests can name, by `$name`.
pub(super) struct Scene(pub(super) BTreeMap<&'static str, String>);

impl Scene {
    /// Everything that the template names, new, in the administrator's workspace; a lease is held by `holder`.
    pub(super) async fn set(
        admin: &Client<'_>,
        template: &Template,
        holder: &str,
        number: usize,
    ) -> Self {
        let fresh = format!("fresh-{number}");
        let mut scene = BTreeMap::from([
            ("fresh", fresh),
            ("workspace", admin.workspace.unwrap_or("default").to_owned()),
        ]);
        if template.path == "/v1/policies/history/1" {
            let body = json!({"scope": "workspace", "sources": []});
            admin.does(Method::PUT, "/v1/policies", body, 200).await;
        }
        let leased = template.names("lease") || template.names("handle");
        if leased || template.names("credential") {
            let name = format!("c-{number}");
            let body = json!({"name": name, "type": "api-key", "value": "v"});
            admin.does(POST, "/v1/credentials", body, 201).await;
            scene.insert("credential", name);
        }
        if leased {
            let body = json!({"credential_name": scene["credential"], "ttl": "1h",
                "identity": {"type": "agent", "name": holder}});
            let lease = admin.does(POST, "/v1/leases", body, 201).await;
            scene.insert("lease", text(&lease, "id").to_owned());
            scene.insert("handle", text(&lease, "handle").to_owned());
        }
        let resumed = template.path.ends_with("/resume");
        if template.names("identity") || template.names("key") {
            let name = format!("i-{number}");
            let body = json!({"name": name, "type": "agent", "role": "viewer"});
            admin.does(POST, "/v1/identities", body, 201).await;
            if resumed && template.names("identity") {
                let path = format!("/v1/identities/agent/{name}/suspend");
                admin.does(POST, &path, json!({}), 200).await;
            }
            scene.insert("identity", name);
        }
        if template.names("key") {
            let body =
                json!({"name": "k", "role": "viewer", "identity": {"name": scene["identity"]}});
            let key = admin.does(POST, "/v1/api-keys", body, 201).await;
            if resumed {
                let path = format!("/v1/api-keys/{}/pause", text(&key, "id"));
                admin.does(POST, &path, json!({}), 200).await;
            }
            scene.insert("key", text(&key, "id").to_owned());
        }
        if template.names("record") {
            let found = admin.asks(Method::GET, "/v1/audit?limit=1", None).await;
            let record = text(&found.data(200)[0], "id").to_owned();
            scene.insert("record", record);
        }
        if template.names("token") {
            let token = admin.does(POST, "/v1/tokens", json!({}), 201).await;
            scene.insert("token", text(&token, "jti").to_owned());
        }
        if template.names("hold") {
            // One for all: only so many may be in force.
            let path = "/v1/audit/holds/swept";
            let body = json!({"reason": format!("sweep {number}")});
            admin.does(Method::PUT, path, body, 200).await;
            scene.insert("hold", "swept".to_owned());
        }
        if template.names("issuer") {
            let name = format!("iss-{number}");
            let body = json!({"name": name, "iss": format!("https://{name}"), "audiences": ["vault"],
                "jwks_url": format!("https://{name}/jwks"), "conditions": {"sub": "me"}, "identity": {"name": "ci"}});
            let issuer = admin.does(POST, "/v1/issuers", body, 201).await;
            scene.insert("issuer", name);
            scene.insert("issuer_id", text(&issuer, "id").to_owned());
        }
        Self(scene)
    }

    /// The same, where it names something by its id that has a name as well.
    pub(super) fn by_id(&self) -> Option<Self> {
        let mut scene = self.0.clone();
        let id = scene.remove("issuer_id")?;
        scene.insert("issuer", id);
        Some(Self(scene))
    }
}
