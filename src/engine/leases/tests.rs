//! Lists over the real engine in memory: their pages, their bound, and whose turn it is.

use std::time::Duration;

use super::*;
use crate::{
    domain::{error::Code, retention::Retention},
    engine::retention::tests::World,
};

async fn listed(world: &World, request: &PageRequest) -> Result<Page<LeaseView>> {
    let filter = LeaseFilter::default();
    world.engine.leases(&world.call(), &filter, request).await
}

#[tokio::test]
async fn offsets_and_cursors_walk_every_lease_once_and_an_offset_is_bounded() {
    const LEASES: usize = 2 * OPENED_AT_ONCE + 5;
    let world = World::new(Retention::default()).await;
    let name = world.store("a").await;
    for _ in 0..LEASES {
        world.lease(&name, 600).await;
        world.pass(1);
    }
    let (mut by_offset, mut by_cursor) = (Vec::new(), Vec::new());
    let mut cursor = None;
    loop {
        let request = PageRequest {
            limit: Some(100),
            offset: cursor.is_none().then_some(0),
            cursor: cursor.take(),
            ..PageRequest::default()
        };
        let page = listed(&world, &request).await.unwrap();
        assert_eq!(page.total, LEASES as u64);
        by_cursor.extend(page.items.iter().map(|view| view.lease.id));
        let request = PageRequest {
            limit: Some(100),
            offset: Some(by_offset.len() as u64),
            ..PageRequest::default()
        };
        let same = listed(&world, &request).await.unwrap();
        by_offset.extend(same.items.iter().map(|view| view.lease.id));
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(by_cursor, by_offset);
    by_cursor.sort();
    by_cursor.dedup();
    assert_eq!(by_cursor.len(), LEASES);
    for (offset, refused) in [(MAX_OFFSET, false), (MAX_OFFSET + 1, true)] {
        let request = PageRequest {
            offset: Some(offset),
            ..PageRequest::default()
        };
        let code = listed(&world, &request)
            .await
            .err()
            .map(|error| error.code());
        assert_eq!(code, refused.then_some(Code::InvalidParameter));
    }
}

#[tokio::test]
async fn a_list_waits_for_its_turn() {
    let world = World::new(Retention::default()).await;
    let turns = world
        .engine
        .lists
        .acquire_many(AT_ONCE as u32)
        .await
        .unwrap();
    let request = PageRequest::default();
    let mut list = std::pin::pin!(listed(&world, &request));
    let early = tokio::time::timeout(Duration::from_millis(50), list.as_mut()).await;
    assert!(early.is_err(), "nobody waited");
    drop(turns);
    assert_eq!(list.await.unwrap().total, 0);
}
