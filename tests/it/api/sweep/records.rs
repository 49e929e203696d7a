//! INVARIANT (ack-audited): whatever changes something leaves a record that names the caller.

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    super::federation::provider::{Provider, SigningKey},
    *,
};

/// The records that history has of a request.
async fn of_request(admin: &Client<'_>, id: &str) -> Vec<Value> {
    let path = format!("/v1/audit?limit=200&request_id={id}");
    let found = admin.asks(GET, &path, None).await.data(200);
    found.as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_that_changes_something_leaves_a_record_of_its_caller() {
    let vault = Vault::dev();
    let admin = Client::admin_of(&vault, "w").await;
    let keeper = admin.admits("keeper", "owner").await;
    let signing = SigningKey::new("k", jsonwebtoken::Algorithm::EdDSA);
    let provider = Provider::publishing(&[&signing]).await;
    let registered = provider.issuer(json!({}));
    admin.does(POST, "/v1/issuers", registered, 201).await;
    let mut driven = 0;
    for (number, route) in routes(&vault).await.into_iter().enumerate() {
        if route.method == GET || route.method == Method::HEAD {
            continue;
        }
        let template = Template::of(&route);
        let what = format!("{} {}", route.method, route.path);
        let mut scene = Scene::set(&admin, &template, "keeper", number).await;
        let assertion = signing.sign(&provider.claims(json!({})));
        scene.0.insert("assertion", assertion);
        let (path, body) = template.fill(&scene);
        // An id that nothing before has: whatever history has of it came with this request.
        let id = format!("driven-{number}");
        assert_eq!(of_request(&admin, &id).await, Vec::<Value>::new());
        let key = if route.public { "" } else { &keeper.key };
        let headers = [("x-workspace", "w"), ("x-request-id", id.as_str())];
        let answer = vault
            .request(route.method, &path, key, body, &headers)
            .await;
        assert!(answer.status.is_success(), "{what}: {}", answer.text);
        let records = of_request(&admin, &id).await;
        let Some(event) = template.event else {
            // It changes nothing: history has it among what was read.
            let events: Vec<_> = records.iter().map(|record| text(record, "event")).collect();
            assert_eq!(events, ["request.read"], "{what}");
            continue;
        };
        let caller = if route.public { "ci-42" } else { "keeper" };
        for record in &records {
            // The vault itself makes the identity of a first exchange.
            if !(route.public && record["event"] == "identity.created") {
                assert_eq!(record["actor"]["name"], caller, "{what}: {record}");
            }
            assert_eq!(record["outcome"], "success", "{what}: {record}");
        }
        let events: Vec<_> = records.iter().map(|record| text(record, "event")).collect();
        let at = events.iter().position(|found| *found == event);
        let record = &records[at.unwrap_or_else(|| panic!("{what}: {events:?}"))];
        assert_eq!(
            (text(record, "request_id"), text(record, "source_ip")),
            (id.as_str(), "127.0.0.1"),
            "{what}"
        );
        assert!(record["decided_by"].is_string(), "{what}: {record}");
        told::assert_tells(event, record);
        driven += 1;
    }
    assert!(driven > 30, "{driven} routes were driven");
}
