//! A key leaked: who could have used it?

use super::*;

/// What three agents did with a credential of two versions, and the window that the questions are about.
struct Story {
    vault: Vault,
    since: String,
    until: String,
    alices: Value,
    carols: Value,
    bobs: Value,
}

/// A purpose that would be markup, a link, a row or a heading of its own.
const HOSTILE: &str =
    "deploy | <script>alert(1)</script> [x](https://evil.example) `code`\n# heading\n| a | b |";

impl Story {
    async fn told() -> Self {
        let vault = Vault::dev();
        let (alice, bob, carol) = (
            Agent::new(&vault, "alice").await,
            Agent::new(&vault, "bob").await,
            Agent::new(&vault, "carol").await,
        );
        vault.store("leaked", "v-one", json!({})).await;
        vault.store("other", "v", json!({})).await;
        // Open over the whole window, and read before it.
        let body = json!({"credential_name": "leaked", "ttl": "1h", "purpose": HOSTILE,
            "identity": {"session_id": "s-1"}});
        let alices = alice.leases(body).await;
        alice.redeems(&alices).await.data(200);
        // Ended just before it.
        let first = bob.leases(json!({"credential_name": "leaked"})).await;
        bob.redeems(&first).await.data(200);
        let since = text(&bob.releases(&first).await, "closed_at").to_owned();
        tick().await;

        alice.redeems(&alices).await.data(200);
        alice.redeems(&alices).await.data(200);
        let rotate = json!({"new_value": "v-two", "on_open_leases": "drain"});
        vault
            .admin(POST, "/v1/credentials/leaked/rotate", Some(rotate))
            .await
            .data(200);
        // In another's name, and by way of the broker.
        let body = json!({"credential_name": "leaked", "ttl": "1h", "delivery": "broker", "purpose": "review",
            "identity": {"name": "carol", "session_id": "s-2"}});
        let carols = vault.admin(POST, "/v1/leases", Some(body)).await.data(201);
        carol
            .redeems(&carols)
            .await
            .fails(403, "INSUFFICIENT_PERMISSIONS");
        // Runs out within the window, and nobody asked for the value.
        let bobs = bob
            .leases(json!({"credential_name": "leaked", "ttl": "1s"}))
            .await;
        bob.leases(json!({"credential_name": "other", "purpose": "elsewhere"}))
            .await;
        tokio::time::sleep(super::super::PAST_ONE_SECOND).await;
        // Begun just after it.
        let late = bob.leases(json!({"credential_name": "leaked"})).await;
        let until = text(&late, "issued_at").to_owned();
        drop((alice, bob, carol));
        Self {
            vault,
            since,
            until,
            alices,
            carols,
            bobs,
        }
    }

    async fn asked(&self, about: &str) -> Value {
        let (since, until) = (&self.since, &self.until);
        report(
            &self.vault,
            &format!("exposure?{about}&since={since}&until={until}"),
        )
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_tells_who_could_have_used_a_credential_in_a_window() {
    let story = Story::told().await;
    let (alices, carols, bobs) = (
        text(&story.alices, "id"),
        text(&story.carols, "id"),
        text(&story.bobs, "id"),
    );
    let report = story.asked("credential_name=leaked").await;
    // Neither the one that ended just before the window nor the one that began just after it.
    assert_eq!(ids(&report["leases"]), [alices, carols, bobs], "{report}");
    let [a, c, b] = &report["leases"].as_array().unwrap()[..] else {
        panic!("{report}");
    };
    assert_eq!(
        (&a["handed"], &a["open"], &a["state"], &a["redemptions"]),
        (
            &json!("revealed"),
            &json!(true),
            &json!("active"),
            &json!(2)
        ),
        "the redemption before the window is no use within it: {a}"
    );
    assert_eq!(
        (&a["versions"], &a["session_id"], &a["purpose"]),
        (&json!([1]), &json!("s-1"), &json!(HOSTILE))
    );
    assert_eq!(
        (&a["holder"]["name"], &a["holder"]["type"], &a["on_behalf"]),
        (&json!("alice"), &json!("agent"), &json!(false))
    );
    let places = a["used_from"].as_array().unwrap();
    assert_eq!(places.len(), 2, "{a}");
    // The redemption before the window is told apart, from where and with what it was.
    assert_eq!(
        (&places[0]["earlier"], &places[1]["earlier"]),
        (&json!(0), &json!(1))
    );
    for (place, how, count) in [(&places[0], "issued", 1), (&places[1], "redeemed", 2)] {
        assert_eq!(
            (
                &place["how"],
                &place["count"],
                &place["source_ip"],
                &place["user_agent"]
            ),
            (
                &json!(how),
                &json!(count),
                &json!("127.0.0.1"),
                &json!("agent/1.0")
            )
        );
        assert!(text(place, "proof").starts_with("key_"));
    }
    assert_eq!(a["remedy"]["path"], format!("/v1/leases/{alices}/revoke"));
    assert_eq!(
        a["remedy"]["command"],
        format!("leasehold lease revoke {alices} --reason 'exposure report'")
    );
    assert_eq!(
        (&c["handed"], &c["open"], &c["versions"], &c["on_behalf"]),
        (&json!("brokered"), &json!(true), &json!([2]), &json!(true))
    );
    assert_eq!(
        (
            &c["holder"]["name"],
            &c["holder"]["type"],
            &c["requested_by"]["name"]
        ),
        (&json!("carol"), &json!("agent"), &json!("admin"))
    );
    assert_eq!(
        (&b["handed"], &b["state"], &b["open"], &b["ended_at"]),
        (
            &json!("redeemable"),
            &json!("expired"),
            &json!(false),
            &b["expires_at"]
        )
    );
    assert!(b["remedy"].is_null());

    assert_eq!(
        report["summary"],
        json!({"agents": 4, "sessions": 2, "leases": 3, "open_leases": 2, "revealing_leases": 1, "redemptions": 2,
            "tainted_versions": 1, "earlier_readers": 1, "denied_attempts": 1, "canary_alarms": 0})
    );
    let versions = &report["credentials"][0]["versions"];
    assert_eq!(
        (
            &versions[0]["number"],
            &versions[0]["state"],
            &versions[0]["revealed"]
        ),
        (&json!(1), &json!("rotated"), &json!(true))
    );
    assert_eq!(
        versions[0]["remedy"]["path"],
        "/v1/credentials/leaked/versions/1/revoke"
    );
    assert_eq!(
        (&versions[1]["state"], &versions[1]["revealed"]),
        (&json!("current"), &json!(false))
    );
    let earlier = report["earlier_readers"].as_array().unwrap();
    assert_eq!(
        (
            earlier.len(),
            &earlier[0]["who"]["name"],
            &earlier[0]["last_lease_ended_at"]
        ),
        (1, &json!("bob"), &json!(story.since))
    );
    let denied = &report["denied"][0];
    assert_eq!(
        (&denied["who"]["name"], &denied["code"], &denied["lease_id"]),
        (
            &json!("carol"),
            &json!("INSUFFICIENT_PERMISSIONS"),
            &json!(carols)
        )
    );
    let names: Vec<_> = report["agents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|agent| text(agent, "name"))
        .collect();
    assert_eq!(names, ["admin", "alice", "bob", "carol"]);
    let roles = |agent: usize| report["agents"][agent]["roles"].clone();
    assert_eq!(
        (roles(0), roles(1), roles(3)),
        (
            json!(["requester"]),
            json!(["holder", "redeemer"]),
            json!(["holder"])
        )
    );
    let rests = &report["rests_on"];
    assert!(
        rests["first_sequence"].as_u64() < rests["last_sequence"].as_u64(),
        "{rests}"
    );
    let sealed = rests["checkpoint"]["size"].as_u64();
    assert!(sealed >= rests["last_sequence"].as_u64(), "{rests}");
    assert!(report["made_at"].is_string() && report["truncated"] == false);
    // Most urgent first: what is open, then the value that is known.
    let actions: Vec<_> = report["actions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| text(one, "path"))
        .collect();
    assert_eq!(
        actions,
        [
            "/v1/credentials/leaked/versions/1/revoke",
            "/v1/leases/revoke"
        ]
    );

    for (about, expected) in [
        ("credential_name=leaked&version=1", vec![alices]),
        ("credential_name=leaked&version=2", vec![carols, bobs]),
        ("credential_name=leaked&version=3", vec![]),
        ("credential_name=leaked&identity=alice", vec![alices]),
        ("credential_name=leaked&identity=agent/bob", vec![bobs]),
        ("credential_name=leaked&identity=human/bob", vec![]),
        ("credential_name=leaked&identity=admin", vec![carols]),
        ("session_id=s-2", vec![carols]),
        (
            "credential_name=leaked&source=127.0.0.0/8",
            vec![alices, carols, bobs],
        ),
        (
            "credential_name=leaked&source=127.0.0.1",
            vec![alices, carols, bobs],
        ),
        ("source=10.0.0.0/8", vec![]),
        ("credential_name=none-such", vec![]),
    ] {
        let report = story.asked(about).await;
        assert_eq!(ids(&report["leases"]), expected, "{about}");
    }
    let id = text(&report["credentials"][0], "id");
    let same = story.asked(&format!("credential_id={id}")).await;
    assert_eq!(same["leases"], report["leases"]);
    let carol = text(&report["agents"][3], "id");
    let same = story.asked(&format!("identity={carol}")).await;
    assert_eq!(ids(&same["leases"]), [carols]);
    // All of history, where no time is named.
    let whole = super::report(&story.vault, "exposure?credential_name=leaked").await;
    assert_eq!(whole["summary"]["leases"], 5);
    assert_eq!(whole["earlier_readers"], json!([]));

    // What the report rests on is there after a crash, and so is the taint.
    let before = report;
    let vault = story.vault.kill_and_reopen(&[]);
    let path = format!(
        "/v1/reports/exposure?credential_name=leaked&since={}&until={}",
        story.since, story.until
    );
    let after = vault.admin(GET, &path, None).await.data(200);
    for field in ["leases", "credentials", "earlier_readers", "denied"] {
        assert_eq!(after[field], before[field], "{field}");
    }
    // What ends it ends it, and the report says so.
    for action in before["actions"].as_array().unwrap() {
        vault
            .admin(POST, text(action, "path"), Some(action["body"].clone()))
            .await
            .data(200);
    }
    let ended = vault.admin(GET, &path, None).await.data(200);
    assert_eq!(
        (&ended["summary"]["open_leases"], &ended["actions"]),
        (&json!(0), &json!([])),
        "{ended}"
    );
    assert_eq!(ended["leases"][0]["end_reason"], "exposure report");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_followed_rotation_exposes_both_versions() {
    let vault = Vault::dev();
    vault.store("a", "v-one", json!({})).await;
    let body = json!({"credential_name": "a", "delivery": "broker"});
    let lease = super::super::ask(&vault, body).await.data(201);
    let rotate = json!({"new_value": "v-two", "on_open_leases": "follow"});
    vault
        .admin(POST, "/v1/credentials/a/rotate", Some(rotate))
        .await
        .data(200);
    for version in [1, 2] {
        let report = report(
            &vault,
            &format!("exposure?credential_name=a&version={version}"),
        )
        .await;
        assert_eq!(ids(&report["leases"]), [text(&lease, "id")]);
        assert_eq!(report["leases"][0]["versions"], json!([1, 2]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_looks_like_a_token_is_found_and_ended_as_history_shows_it() {
    let vault = Vault::dev();
    vault.store("a", "v", json!({})).await;
    let session = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJtZSJ9.c2lnbmF0dXJl";
    let body = json!({"credential_name": "a", "ttl": "1h", "identity": {"session_id": session}});
    let lease = super::super::ask(&vault, body).await.data(201);
    let asked =
        async |session: &str| report(&vault, &format!("exposure?session_id={session}")).await;
    let found = asked(session).await;
    assert_eq!(ids(&found["leases"]), [text(&lease, "id")]);
    assert!(!found.to_string().contains(session), "{found}");
    assert_eq!(asked("eyJ%E2%80%A6").await["leases"], found["leases"]);
    let action = &found["actions"][0];
    assert_eq!(action["path"], "/v1/leases/revoke");
    let body = Some(action["body"].clone());
    vault
        .admin(POST, text(action, "path"), body)
        .await
        .data(200);
    assert_eq!(asked(session).await["summary"]["open_leases"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_readable_and_what_callers_wrote_is_inert() {
    let story = Story::told().await;
    let path = "/v1/reports/exposure?credential_name=leaked";
    let accept = [("accept", "text/markdown, */*;q=0.1")];
    let admin = story.vault.admin_key.clone();
    let page = story.vault.request(GET, path, &admin, None, &accept).await;
    assert_eq!(page.headers["content-type"], "text/markdown; charset=utf-8");
    let same = story
        .vault
        .admin(GET, &format!("{path}&format=markdown"), None)
        .await;
    let head = |text: &str| text.lines().next().unwrap().to_owned();
    assert_eq!(head(&same.text), head(&page.text));
    let text = page.text;
    assert!(text.starts_with("# Exposure report\n"), "{text}");
    let at = |heading: &str| {
        text.find(heading)
            .unwrap_or_else(|| panic!("no {heading}: {text}"))
    };
    assert!(at("## Summary") < at("## What to do now"));
    assert!(at("## What to do now") < at("## Leases"));
    assert!(
        !text.contains("<script") && !text.contains("](http"),
        "{text}"
    );
    assert!(
        !text.lines().any(|line| line.starts_with("# heading")),
        "{text}"
    );
    // Each row of the leases has as many cells as the table has titles.
    let cells = |line: &str| line.replace("\\|", "").matches('|').count();
    let rows: Vec<_> = text[at("## Leases")..]
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .collect();
    assert_eq!(rows.len(), 2 + 5, "{text}");
    assert!(
        rows.iter().all(|row| cells(row) == cells(rows[0])),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_for_its_workspace_its_readers_and_itself_in_history() {
    let story = Story::told().await;
    let vault = &story.vault;
    let path = "/v1/reports/exposure?credential_name=leaked";
    vault
        .agent(GET, path, None)
        .await
        .fails(403, "INSUFFICIENT_PERMISSIONS");
    vault
        .admin(POST, "/v1/workspaces", Some(json!({"name": "elsewhere"})))
        .await
        .data(201);
    let headers = [("x-workspace", "elsewhere"), ("x-request-id", "other")];
    let other = vault
        .request(GET, path, &vault.admin_key, None, &headers)
        .await
        .data(200);
    assert_eq!(
        (&other["leases"], &other["denied"], &other["credentials"]),
        (&json!([]), &json!([]), &json!([]))
    );
    let headers = [("x-request-id", "reader")];
    for report in ["exposure?session_id=s-1", "stale", "rotation-due"] {
        let path = format!("/v1/reports/{report}");
        vault
            .request(GET, &path, &vault.admin_key, None, &headers)
            .await;
    }
    let found = vault
        .admin(GET, "/v1/audit?request_id=reader", None)
        .await
        .data(200);
    let names: Vec<_> = found
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (text(one, "event"), text(one, "object")))
        .collect();
    assert_eq!(
        names,
        [
            ("report.read", "report/rotation-due"),
            ("report.read", "report/stale"),
            ("report.read", "report/exposure")
        ]
    );
    assert_eq!(found[2]["changes"][0]["after"], "s-1");
    for (record, field, asked) in [
        (&found[0], "filter.within", "30d"),
        (&found[1], "filter.unused_for", "90d"),
    ] {
        let change = json!({"field": field, "before": null, "after": asked});
        assert_eq!(record["changes"][0], change);
    }
    for (query, code) in [
        ("", "MISSING_PARAMETER"),
        ("?version=1", "MISSING_PARAMETER"),
        ("?session_id=s&version=1", "MISSING_PARAMETER"),
        (
            "?session_id=s&since=2027-01-01T00:00:00Z&until=2026-01-01T00:00:00Z",
            "INVALID_PARAMETER",
        ),
        ("?session_id=s&source=here", "INVALID_PARAMETER"),
        ("?session_id=s&format=pdf", "INVALID_PARAMETER"),
        ("?session_id=s&cursor=x", "INVALID_PARAMETER"),
        ("?session_id=s&unknown=1", "INVALID_PARAMETER"),
        (
            "?credential_name=a&credential_id=crd_00000000000000000000000000000000",
            "INVALID_PARAMETER",
        ),
    ] {
        let path = format!("/v1/reports/exposure{query}");
        vault.admin(GET, &path, None).await.fails(400, code);
    }
}
