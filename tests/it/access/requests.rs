//! INVARIANT (ack-audited): the requests that leave no record of their own, and what becomes of them while the store
//! takes no writes.

use std::time::Duration;

use leasehold::{
    audit::query::{AuditFilter, Numbered, Window},
    domain::{
        event::{Actor, AnsweredRequest, EventName},
        time::Timestamp,
    },
    engine::Served,
};

use super::*;

fn request(actor: &Actor, workspace: WorkspaceId, id: &str) -> Served {
    Served {
        workspace,
        actor: actor.clone(),
        source_ip: "192.0.2.1".parse().ok(),
        user_agent: Some("agent/1".to_owned()),
        code: None,
        essential: false,
        request: AnsweredRequest {
            time: Timestamp::from_millis(1),
            id: id.to_owned(),
            method: "GET".into(),
            route: "/v1/leases".to_owned(),
            about: None,
            status: 200,
        },
    }
}

/// What history has of an event, oldest first.
async fn history(house: &House, key: &str, event: EventName, vault: bool) -> Vec<Numbered> {
    let call = house.call(key).await;
    let filter = AuditFilter {
        events: vec![event],
        ..AuditFilter::default()
    };
    let window = Window {
        newest_first: false,
        after: None,
        offset: 0,
        limit: 10_000,
    };
    let page = match vault {
        true => house.engine.vault_audit(&call, &filter, window).await,
        false => house.engine.audit(&call, &filter, window).await,
    };
    page.unwrap().records
}

fn ids(records: &[Numbered]) -> Vec<&str> {
    let ids = records.iter().flat_map(|one| one.record.request_ids());
    ids.collect()
}

async fn admin(house: &House) -> (String, Actor) {
    let key = house
        .person("admin", Role::Owner, Reach::Organisation)
        .await;
    let actor = Actor::of(&house.prove(&key, None).await.unwrap());
    (key, actor)
}

#[tokio::test]
async fn requests_that_wait_together_are_in_history_together_before_any_is_answered() {
    let house = House::build().await;
    let (key, actor) = admin(&house).await;
    let names: Vec<_> = (0..100).map(|number| format!("r-{number:03}")).collect();
    let all = names.iter().map(|id| {
        house
            .engine
            .record_request(request(&actor, house.default, id))
    });
    for recorded in futures_util::future::join_all(all).await {
        recorded.unwrap();
    }
    let other = request(&actor, house.other, "elsewhere");
    house.engine.record_request(other).await.unwrap();
    let found = history(&house, &key, EventName::RequestRead, false).await;
    assert_eq!(ids(&found), names, "each once, in their order");
    assert!(found.len() < 20, "{} records", found.len());
    assert!(found.iter().all(|one| one.record.requests.len() <= 32));
    assert_eq!(found[0].record.actor, actor);
}

#[tokio::test]
async fn what_is_answered_while_the_disk_is_full_is_written_down_later() {
    let house = House::build().await;
    let (key, actor) = admin(&house).await;
    house.memory.set_disk_low(true);
    let refused = loop {
        let request = request(&actor, house.default, "found-out");
        match house.engine.record_request(request).await {
            Err(error) => break error,
            // The store looks at its disk now and then.
            Ok(()) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    assert_eq!(refused.code(), Code::StorageUnavailable);
    for number in 0..5_000 {
        let request = request(&actor, house.default, &format!("late-{number:04}"));
        let refused = house.engine.record_request(request).await;
        assert_eq!(code(refused), Some(Code::StorageUnavailable));
    }
    let essential = Served {
        essential: true,
        ..request(&actor, house.default, "essential")
    };
    let refused = house.engine.record_request(essential).await;
    assert_eq!(code(refused), Some(Code::StorageUnavailable));
    assert!(house.engine.record_late().await.is_err());
    house.memory.set_disk_low(false);
    while house.engine.record_late().await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let found = history(&house, &key, EventName::RequestRead, false).await;
    let found = ids(&found);
    let late: Vec<_> = found.iter().filter(|id| id.starts_with("late-")).collect();
    assert!(found.contains(&"found-out") && !found.contains(&"essential"));
    assert!(late.len() > 4_000, "{} were remembered", late.len());
    let lost = history(&house, &key, EventName::RequestUnrecorded, true).await;
    let [lost] = &lost[..] else {
        panic!("{} records", lost.len())
    };
    let count = lost.record.changes[0].after.as_deref();
    assert_eq!(count, Some((5_000 - late.len()).to_string().as_str()));
    // All of it once: nothing is left to write down.
    let before = history(&house, &key, EventName::RequestRead, false)
        .await
        .len();
    house.engine.record_late().await.unwrap();
    let after = history(&house, &key, EventName::RequestRead, false)
        .await
        .len();
    assert_eq!(before, after);
}
