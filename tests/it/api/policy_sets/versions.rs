//! Versions of a set: seen, brought back, and put by several at once.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn every_version_can_be_seen_and_brought_back() {
    let vault = vault().await;
    let texts = [PURPOSE, "", "// nothing yet"];
    for text in texts {
        apply(&vault, set("workspace", &[("a.cedar", text)]))
            .await
            .data(200);
    }
    lease(&vault).await.data(201);
    let back =
        json!({"scope": "workspace", "version": 1, "comment": "too early", "expected_version": 3});
    let restored = post(&vault, "rollback", back.clone()).await.data(200);
    assert_eq!(
        (&restored["version"], &restored["restores"]),
        (&json!(4), &json!(1))
    );
    lease(&vault).await.fails(403, "POLICY_DENIED");
    post(&vault, "rollback", back)
        .await
        .fails(409, "VERSION_CONFLICT");
    let at = |version: u32| format!("{POLICIES}/history/{version}");
    for (version, text) in (1..).zip(texts.into_iter().chain([PURPOSE])) {
        let found = vault.admin(GET, &at(version), None).await.data(200);
        assert_eq!(found["sources"], sources(&[("a.cedar", text)]));
    }
    vault.admin(GET, &at(5), None).await.fails(404, "NOT_FOUND");
    vault
        .admin(GET, &at(0), None)
        .await
        .fails(400, "INVALID_PARAMETER");
    let missing = json!({"scope": "workspace", "version": 9});
    post(&vault, "rollback", missing)
        .await
        .fails(404, "NOT_FOUND");

    let page = vault
        .admin(GET, &format!("{POLICIES}/history?limit=3"), None)
        .await;
    assert_eq!(page.body["page"]["total"], 4);
    let versions = |page: &Value| -> Vec<u64> {
        let items = page["data"].as_array().unwrap().iter();
        items
            .map(|item| item["version"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(versions(&page.body), [4, 3, 2]);
    assert_eq!(page.body["data"][0]["sources"], json!(["a.cedar"]));
    let cursor = text(&page.body["page"], "next_cursor");
    let path = format!("{POLICIES}/history?limit=3&cursor={cursor}");
    let rest = vault.admin(GET, &path, None).await;
    assert_eq!(versions(&rest.body), [1]);
    let history = vault
        .admin(GET, "/v1/audit?event=policy.rolled_back", None)
        .await
        .data(200);
    assert_eq!(
        history[0]["changes"][2],
        json!({"field": "restores", "before": null, "after": "1"})
    );
    assert_eq!(history[0]["changes"][3]["field"], "source.a.cedar");
    // Version 0 is the beginning.
    let none = post(
        &vault,
        "rollback",
        json!({"scope": "workspace", "version": 0}),
    );
    assert_eq!(none.await.data(200)["sources"], json!([]));
    lease(&vault).await.data(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retried_rollback_is_done_once() {
    let vault = vault().await;
    for text in [PURPOSE, ""] {
        let body = set("workspace", &[("a.cedar", text)]);
        apply(&vault, body).await.data(200);
    }
    let roll = async |version: u32, key: &str| {
        let body = json!({"scope": "workspace", "version": version});
        let path = format!("{POLICIES}/rollback");
        let headers = [("Idempotency-Key", key)];
        vault
            .request(POST, &path, &vault.admin_key, Some(body), &headers)
            .await
    };
    let first = roll(1, "once").await.data(200);
    assert_eq!(first["version"], 3);
    apply(&vault, set("workspace", &[])).await.data(200);
    assert_eq!(roll(1, "once").await.data(200), first);
    roll(2, "once").await.fails(409, "IDEMPOTENCY_CONFLICT");
    assert_eq!(show(&vault, "workspace").await["version"], 4);
    let again = roll(1, "twice").await.data(200);
    assert_eq!(
        (&again["version"], &again["restores"]),
        (&json!(5), &json!(1))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sets_that_are_put_at_once_come_into_force_one_after_another() {
    const WRITERS: usize = 8;
    let vault = Arc::new(vault().await);
    let put = |writer: usize, expected: Option<u64>| {
        let vault = vault.clone();
        tokio::spawn(async move {
            let text = format!(
                r#"@id("w{writer}") forbid (principal, action, resource) when {{ context.hour > {} }};"#,
                24 + writer
            );
            let mut body = set("workspace", &[("a.cedar", &text)]);
            if let Some(expected) = expected {
                body["expected_version"] = json!(expected);
            }
            (text, apply(&vault, body).await)
        })
    };
    // Whoever says what it replaces: one wins, and the others are told.
    for current in 0..3_u64 {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| put(writer, Some(current)))
            .collect();
        let mut won = Vec::new();
        for writer in writers {
            let (text, answer) = writer.await.unwrap();
            match answer.status.as_u16() {
                200 => won.push((text, answer.data(200))),
                _ => {
                    let failure = answer.fails(409, "VERSION_CONFLICT");
                    assert_eq!(failure["details"]["current_version"], current + 1);
                }
            }
        }
        let [(text, answer)] = &won[..] else {
            panic!("{} won", won.len())
        };
        assert_eq!(answer["version"], current + 1);
        let now = show(&vault, "workspace").await;
        assert_eq!(now["sources"], sources(&[("a.cedar", text)]));
    }
    // Whoever does not say is put in order: each is a version of its own, and the last one holds.
    let writers: Vec<_> = (0..WRITERS).map(|writer| put(writer, None)).collect();
    let mut versions = std::collections::BTreeMap::new();
    for writer in writers {
        let (text, answer) = writer.await.unwrap();
        versions.insert(answer.data(200)["version"].as_u64().unwrap(), text);
    }
    let numbers: Vec<_> = versions.keys().copied().collect();
    assert_eq!(numbers, (4..4 + WRITERS as u64).collect::<Vec<_>>());
    for (version, text) in &versions {
        let path = format!("{POLICIES}/history/{version}");
        let found = vault.admin(GET, &path, None).await.data(200);
        assert_eq!(found["sources"], sources(&[("a.cedar", text)]));
    }
    let (last, text) = versions.last_key_value().unwrap();
    let now = show(&vault, "workspace").await;
    assert_eq!(
        (&now["version"], &now["sources"]),
        (&json!(last), &sources(&[("a.cedar", text)]))
    );
    let query = "/v1/audit?event=policy.applied&limit=1";
    let told = vault.admin(GET, query, None).await;
    assert_eq!(told.body["page"]["total"], 3 + WRITERS);
}
