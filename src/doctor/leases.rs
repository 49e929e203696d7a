//! Lease records: that each opens and has its credential, and how many are open.

use super::{
    Kind,
    exam::{Exam, key_object},
};
use crate::{
    domain::{
        event::Object,
        id::{LeaseId, WorkspaceId},
        lease::Lease,
        policy::Delivery,
    },
    store::{
        key::{self, Table},
        port::Value,
    },
};

pub(super) fn of_lease(id: LeaseId) -> Object {
    Object {
        lease: Some(id),
        ..Object::default()
    }
}

impl Exam<'_> {
    pub(super) async fn lease(&mut self, at: &[u8], stored: &Value) {
        let parsed = key::parse_workspace(at).zip(key::parse_lease(at));
        let Some(((workspace, _), id)) = parsed.filter(|_| at.len() == 33) else {
            let object = key_object(Table::Lease, at);
            self.unsure = true;
            return self.find(
                Kind::Unreadable,
                WorkspaceId::SYSTEM,
                object,
                "its key is malformed",
            );
        };
        self.report.leases += 1;
        let object = of_lease(id);
        let Some(tables) = self.home(workspace, &object) else {
            return;
        };
        let lease = tables.open_lease(id, stored);
        self.unsure |= lease.is_err();
        let Some(lease) = self.seen(workspace, object.clone(), lease) else {
            return;
        };
        // A closed lease outlives its credential, for history.
        if !lease.counted() {
            return;
        }
        let credential = key::credential(workspace, lease.credential);
        if self.exists(&object, &credential).await == Some(false) {
            let what = format!(
                "is open, and its credential {} is not there",
                lease.credential
            );
            return self.find(Kind::Orphan, workspace, object, what);
        }
        self.count(workspace, &lease);
        self.indexed(workspace, &lease).await;
    }

    fn count(&mut self, workspace: WorkspaceId, lease: &Lease) {
        let open = self.open.entry((workspace, lease.credential)).or_default();
        let (reveal, broker) = open.entry(lease.version).or_default();
        let count = match lease.delivery {
            Delivery::Reveal => reveal,
            Delivery::Broker => broker,
        };
        *count = count.saturating_add(1);
    }
}
