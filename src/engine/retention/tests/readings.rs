//! Readings of history that may take long: whoever stops somebody does not wait for them.

use std::time::Duration;

use super::*;
use crate::{
    audit::query::{AuditFilter, Window},
    domain::error::Result as Answer,
    engine::{ChosenCredential, ExposureQuery},
};

/// Far longer than a stop takes; what hangs is a failure and not a wait.
const LONG: Duration = Duration::from_secs(60);

// INVARIANT (stop-is-complete): it is proven once more before it is answered.
#[tokio::test]
async fn an_emergency_stop_waits_for_no_reading_of_history() {
    let world = World::new(Retention::default()).await;
    let name = world.store("a").await;
    world.lease(&name, 60).await;
    while world.engine.seal_next().await.unwrap() {}
    let engine = &world.engine;
    let window = Window {
        newest_first: true,
        after: None,
        offset: 0,
        limit: 5,
    };
    let filter = AuditFilter::default();
    let exposed = ExposureQuery {
        credential: Some(ChosenCredential::Name(name)),
        ..ExposureQuery::default()
    };
    // Each is read, and its caller not done with it yet, when the stop comes.
    let freed = async |what: &str, call: Call, read: Answer<()>| {
        read.unwrap();
        let stop = tokio::time::timeout(LONG, engine.epochs.drain()).await;
        assert!(stop.is_ok(), "a stop waits for {what}");
        drop(call);
    };
    let call = world.call();
    let read = engine.audit(&call, &filter, window).await.map(drop);
    freed("a query", call, read).await;
    let call = world.call();
    let read = engine.vault_audit(&call, &filter, window).await.map(drop);
    freed("a query of the vault", call, read).await;
    let call = world.call();
    let read = engine.verify_log(&call, None, None).await.map(drop);
    freed("a verification", call, read).await;
    let call = world.call();
    let read = engine.exposure(&call, &exposed).await.map(drop);
    freed("a report", call, read).await;
}
