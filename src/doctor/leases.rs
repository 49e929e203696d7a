//! Lease records: that each opens and has its credential, that none outlives a stop, and how many are open.

use super::{
    Kind,
    exam::{Exam, key_object},
};
use crate::{
    domain::{
        event::Object,
        id::{IdentityId, LeaseId, WorkspaceId},
        lease::Lease,
        policy::Delivery,
        principal::{IdentityState, Suspension},
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
        self.outlives(workspace, &lease).await;
        self.count(workspace, &lease);
        self.indexed(workspace, &lease).await;
    }

    /// INVARIANT (stop-is-complete): no lease is open whose holder or requester is stopped, or whose workspace was.
    async fn outlives(&mut self, workspace: WorkspaceId, lease: &Lease) {
        let object = of_lease(lease.id);
        for identity in [lease.holder.identity, lease.requested_by.by.identity] {
            if self.is_stopped(workspace, identity).await {
                let what = format!("is open, and the identity {identity} is suspended or deleted");
                return self.find(Kind::State, workspace, object, what);
            }
        }
        let stop = self.stops.get(&workspace);
        if stop.is_some_and(|stop| lease.issued_at <= stop.until) {
            let what = "is open, and everything in its workspace was stopped later";
            self.find(Kind::State, workspace, object, what);
        }
    }

    /// Whether an identity is gone, or suspended to the end. One that cannot be read is told of elsewhere.
    async fn is_stopped(&mut self, workspace: WorkspaceId, id: IdentityId) -> bool {
        if let Some(known) = self.stopped.get(&(workspace, id)) {
            return *known;
        }
        let Some(tables) = self.tables.get(&workspace).cloned() else {
            return false;
        };
        let stopped = match tables.identity(&mut self.read, id).await {
            Err(_) => false,
            Ok(None) => true,
            Ok(Some(identity)) => matches!(
                identity.state,
                IdentityState::Suspended(Suspension {
                    unfinished: None,
                    ..
                })
            ),
        };
        self.stopped.insert((workspace, id), stopped);
        stopped
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
