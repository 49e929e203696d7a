//! INVARIANT (stop-is-complete), of what is given out for longer than a stop waits: backups, exports, live streams.

use leasehold::{
    audit::query::{AuditFilter, Window},
    domain::event::EventName,
    engine::{ExportHistory, Lasting},
};

use super::*;

impl House {
    /// An owner, and an admin that may lose its role.
    async fn two_admins(&self) -> (String, String) {
        let owner = self.person("owner", Role::Owner, Reach::Organisation).await;
        let admin = self.person("admin", Role::Admin, Reach::Organisation).await;
        (owner, admin)
    }

    async fn give_role(&self, owner: &str, role: Role) {
        let patch = UpdateIdentity {
            role: Some(role),
            ..UpdateIdentity::default()
        };
        self.update(owner, "admin", patch).await.unwrap();
    }

    async fn recorded(&self, owner: &str, event: EventName) -> usize {
        let call = self.call(owner).await;
        let filter = AuditFilter {
            events: vec![event],
            refused: Some(false),
            ..AuditFilter::default()
        };
        let window = Window {
            newest_first: true,
            after: None,
            offset: 0,
            limit: 10,
        };
        let page = self.engine.audit(&call, &filter, window).await;
        page.unwrap().records.len()
    }

    async fn may_go_on(&self, lasting: &Lasting, key: &str) -> Option<Code> {
        let call = self.call(key).await;
        code(self.engine.may_go_on(lasting, &call).await)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_ready_is_not_given_to_whom_was_stopped_meanwhile() {
    let house = House::build().await;
    let (owner, admin) = house.two_admins().await;
    let engine = &house.engine;
    let asked = ExportHistory::default;
    let refused = Some(Code::InsufficientPermissions);

    let call = house.call(&admin).await;
    let export = engine.prepare_export(&call, asked()).await.unwrap();
    let backup = engine.spool_backup(&call).await.unwrap();
    house.give_role(&owner, Role::Viewer).await;
    let call = house.call(&admin).await;
    assert_eq!(code(engine.export(&call, export).await), refused);
    assert_eq!(code(engine.back_up(&call, backup).await), refused);
    let exported = house.recorded(&owner, EventName::AuditExported).await;
    assert_eq!(exported, 0);
    drop(call);

    house.give_role(&owner, Role::Admin).await;
    let call = house.call(&admin).await;
    let export = engine.prepare_export(&call, asked()).await.unwrap();
    let backup = engine.spool_backup(&call).await.unwrap();
    let call = house.call(&admin).await;
    let export = engine.export(&call, export).await.unwrap();
    let backup = engine.back_up(&call, backup).await.unwrap();
    drop(call);
    let exported = house.recorded(&owner, EventName::AuditExported).await;
    assert_eq!(exported, 1);
    for lasting in [&export.lasting, &backup.lasting] {
        assert_eq!(house.may_go_on(lasting, &admin).await, None);
        let another = house.may_go_on(lasting, &owner).await;
        assert_eq!(another, Some(Code::Internal), "it is not theirs");
    }
    house.give_role(&owner, Role::Viewer).await;
    for lasting in [&export.lasting, &backup.lasting] {
        assert_eq!(house.may_go_on(lasting, &admin).await, refused);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_leaves_room_for_the_exports_of_others() {
    let house = House::build().await;
    let (owner, admin) = house.two_admins().await;
    let export = async |key: &str| {
        let call = house.call(key).await;
        let asked = ExportHistory::default();
        house.engine.prepare_export(&call, asked).await
    };
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(export(&admin).await.unwrap());
    }
    assert_eq!(code(export(&admin).await), Some(Code::QuotaExceeded));
    held.push(export(&owner).await.unwrap());
    drop(held);
    assert!(export(&admin).await.is_ok());
}
