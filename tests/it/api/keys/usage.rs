//! What a key was used for.

use super::*;
use crate::support::leasehold;

async fn usage(vault: &Vault, key: &Value, query: &str) -> Answer {
    let path = format!("/v1/api-keys/{}/usage?{query}", text(key, "id"));
    vault.admin(GET, &path, None).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_of_a_key_is_in_its_usage_history_and_stays_there() {
    let vault = Vault::dev();
    let key = agents(&vault, "a").await;
    let value = text(&key, "key").to_owned();
    let secret = "CaNaRy-path";
    let agent = [("user-agent", "probe/1"), ("x-request-id", "r-1")];
    whoami(&vault, &value).await.data(200);
    let path = format!("/v1/credentials/{secret}");
    vault
        .request(GET, &path, &value, None, &agent)
        .await
        .fails(400, "INVALID_PARAMETER");
    vault
        .request(
            GET,
            "/v1/credentials/x?force=CaNaRy-query",
            &value,
            None,
            &agent,
        )
        .await;
    vault
        .request(
            POST,
            "/v1/api-keys",
            &value,
            Some(json!({"name": "k", "role": "agent"})),
            &agent,
        )
        .await
        .fails(403, "INSUFFICIENT_PERMISSIONS");
    done(&vault, &key, "pause", json!({})).await.data(200);
    whoami(&vault, &value).await.fails(401, "KEY_PAUSED");
    // What is not the key leaves nothing.
    whoami(&vault, &format!("{}~", &value[..75]))
        .await
        .fails(401, "UNAUTHORIZED");

    let page = usage(&vault, &key, "").await;
    assert_eq!(page.body["page"]["total"], 5, "{}", page.text);
    assert!(!page.text.contains("CaNaRy"), "{}", page.text);
    let uses = page.data(200);
    let brief = |at: usize| {
        let one = &uses[at];
        let part = |name: &str| one[name].clone();
        json!([
            part("method"),
            part("path"),
            part("status"),
            part("outcome"),
            part("missing_scope")
        ])
    };
    assert_eq!(
        brief(0),
        json!(["GET", "/v1/auth/whoami", 401, "KEY_PAUSED", null])
    );
    assert_eq!(
        brief(1),
        json!([
            "POST",
            "/v1/api-keys",
            403,
            "INSUFFICIENT_PERMISSIONS",
            "key:create"
        ])
    );
    assert_eq!(uses[2]["path"], "/v1/credentials/{name}");
    assert_eq!(
        brief(4),
        json!(["GET", "/v1/auth/whoami", 200, "success", null])
    );
    assert_eq!(
        (&uses[1]["user_agent"], &uses[1]["source_ip"]),
        (&json!("probe/1"), &json!("127.0.0.1"))
    );
    assert!(millis(&uses[0]["time"]) >= millis(&uses[4]["time"]));
    let last = shown(&vault, &key).await["last_used_at"].clone();
    assert_eq!(last, uses[1]["time"], "one that was turned away is no use");

    // Written down at the stop, and read with what came since.
    let vault = vault.restart(&[]);
    assert_eq!(shown(&vault, &key).await["last_used_at"], last);
    assert_eq!(usage(&vault, &key, "").await.data(200), uses);
    done(&vault, &key, "resume", json!({})).await.data(200);
    whoami(&vault, &value).await.data(200);
    let page = usage(&vault, &key, "limit=2&sort=time").await;
    assert_eq!(page.body["page"]["total"], 6);
    assert_eq!(page.body["data"][0], uses[4]);
    let next = page.body["page"]["next_cursor"].as_str().unwrap();
    let page = usage(&vault, &key, &format!("limit=200&sort=time&cursor={next}")).await;
    assert_eq!(page.data(200).as_array().unwrap().len(), 4);
    let newest = usage(&vault, &key, "limit=1").await.data(200);
    assert_eq!(
        (&newest[0]["status"], &newest[0]["path"]),
        (&json!(200), &json!("/v1/auth/whoami"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_thousand_are_kept_and_go_with_the_key() {
    let vault = Vault::dev();
    let body = json!({"name": "busy", "identity": {"name": "claude-code"}, "role": "agent", "rate_limit": "unlimited"});
    let key = make(&vault, body).await;
    let value = text(&key, "key");
    for _ in 0..12 {
        let many = (0..100).map(|_| whoami(&vault, value));
        for answer in futures_util::future::join_all(many).await {
            answer.data(200);
        }
    }
    let last = vault.request(GET, "/v1/audit", value, None, &[]).await;
    last.fails(403, "INSUFFICIENT_PERMISSIONS");
    let vault = vault.restart(&[]);
    let page = usage(&vault, &key, "").await;
    assert_eq!(page.body["page"]["total"], 1_000);
    assert_eq!(page.body["data"][0]["path"], "/v1/audit");
    assert_eq!(page.body["data"][49]["path"], "/v1/auth/whoami");
    let path = format!("/v1/api-keys/{}", text(&key, "id"));
    vault.admin(DELETE, &path, None).await.data(200);
    usage(&vault, &key, "").await.fails(404, "NOT_FOUND");
    // Nothing of it is left behind: the doctor knows what belongs to no key.
    let (data, mut doctor) = (vault.data_dir.clone(), leasehold());
    let folder = vault.stop_and_keep();
    doctor.arg("doctor").arg("--data-dir").arg(&data);
    doctor.arg("--key-file").arg(data.join("root.key"));
    let found = doctor.output().unwrap();
    let said = String::from_utf8_lossy(&found.stdout);
    assert!(found.status.success(), "{said}");
    drop(folder);
}
