//! What was stopped is shown as what it is: as whoever comes with it is told.

use super::*;

/// What is shown of each key and token, and what is said to whoever comes with it.
struct Shown<'a> {
    vault: &'a Vault,
    keys: Vec<(String, String)>,
    tokens: Vec<(String, String)>,
}

impl Shown<'_> {
    /// Holds what is shown, alone and in lists, to this state and code.
    async fn are(&self, key: &str, token: &str, code: Option<&str>) {
        let kinds = [
            ("api-keys", "id", key, &self.keys),
            ("tokens", "jti", token, &self.tokens),
        ];
        for (kind, field, state, all) in kinds {
            for (id, proof) in all {
                let came = self
                    .vault
                    .request(GET, "/v1/auth/whoami", proof, None, &[])
                    .await;
                assert_eq!(came.body["code"].as_str(), code, "{kind}: {}", came.text);
                let one = self
                    .vault
                    .admin(GET, &format!("/v1/{kind}/{id}"), None)
                    .await;
                assert_eq!(one.data(200)["state"], state, "{kind}");
                for asked in ["active", "suspended", "revoked"] {
                    let path = format!("/v1/{kind}?state={asked}");
                    let listed = self.vault.admin(GET, &path, None).await.data(200);
                    let among = listed
                        .as_array()
                        .unwrap()
                        .iter()
                        .any(|one| one[field] == **id);
                    assert_eq!(among, asked == state, "{kind}: {asked}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stop_ended_is_not_shown_as_active() {
    let vault = Vault::dev();
    let person = json!({"name": "ops", "type": "human", "role": "workspace_admin"});
    let added = vault.admin(POST, "/v1/identities", Some(person)).await;
    added.data(201);
    let body = json!({"name": "ops", "identity": {"type": "human", "name": "ops"}, "role": "workspace_admin"});
    let key = vault
        .admin(POST, "/v1/api-keys", Some(body))
        .await
        .data(201);
    let (id, key) = (text(&key, "id").to_owned(), text(&key, "key").to_owned());
    let make = async |proof: &str| {
        let made = vault
            .request(POST, "/v1/tokens", proof, Some(json!({})), &[])
            .await;
        let made = made.data(201);
        (
            text(&made, "jti").to_owned(),
            text(&made, "token").to_owned(),
        )
    };
    let parent = make(&key).await;
    let child = make(&parent.1).await;
    let shown = Shown {
        vault: &vault,
        keys: vec![(id.clone(), key)],
        tokens: vec![parent, child],
    };
    shown.are("active", "active", None).await;
    let person = |verb: &str| {
        let path = format!("/v1/identities/human/ops/{verb}");
        async { vault.admin(POST, &{ path }, None).await.data(200) }
    };
    person("suspend").await;
    shown
        .are("suspended", "suspended", Some("IDENTITY_SUSPENDED"))
        .await;
    person("resume").await;
    shown.are("active", "active", None).await;
    for (verb, key, token, code) in [
        ("pause", "paused", "suspended", Some("KEY_PAUSED")),
        ("resume", "active", "active", None),
    ] {
        let path = format!("/v1/api-keys/{id}/{verb}");
        vault.admin(POST, &path, None).await.data(200);
        shown.are(key, token, code).await;
    }
    let all = "/v1/workspaces/default/revoke-all";
    vault.admin(POST, all, Some(json!({}))).await.data(200);
    shown.are("revoked", "revoked", Some("UNAUTHORIZED")).await;
}
