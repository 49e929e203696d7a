//! The index of open leases against the lease records, both ways. All that is known here of its layout is that
//! an open lease has one key, which names its credential, its expiry and itself.

use super::{
    Kind, Mend,
    exam::{Exam, key_object},
    leases::of_lease,
};
use crate::{
    domain::{id::WorkspaceId, lease::Lease},
    store::{
        key::{self, OpenLease, Table},
        port::Value,
    },
};

impl Exam<'_> {
    /// An open lease has its entry.
    pub(super) async fn indexed(&mut self, workspace: WorkspaceId, lease: &Lease) {
        let at = key::open_lease(workspace, lease.credential, lease.expires_at, lease.id);
        let object = of_lease(lease.id);
        if self.exists(&object, &at).await == Some(false) {
            let what = "is open, and the index of open leases does not have it";
            let mend = Mend::put(at, Vec::new());
            self.find_mendable(Kind::Index, workspace, object, what, Some(mend));
        }
    }

    /// An entry has its open lease.
    pub(super) async fn open_lease(&mut self, at: &[u8], _: &Value) {
        let Some(entry) = key::parse_open_lease(at) else {
            let object = key_object(Table::OpenLease, at);
            let what = "an entry of the index of open leases is malformed";
            let mend = Some(Mend::delete(at));
            return self.find_mendable(Kind::Index, WorkspaceId::SYSTEM, object, what, mend);
        };
        let OpenLease {
            workspace,
            credential,
            expiry,
            lease: id,
        } = entry;
        let object = of_lease(id);
        let Some(tables) = self.home(workspace, &object) else {
            return;
        };
        // A lease that cannot be read is told of where its table is looked at.
        let Ok(lease) = tables.lease(&mut self.read, id).await else {
            return;
        };
        let what = match lease {
            None => "is in the index of open leases, and has no record",
            Some(lease) if !lease.counted() => "is in the index of open leases, and is closed",
            Some(lease) if lease.credential != credential || lease.expires_at != expiry => {
                "is in the index of open leases with another credential or expiry"
            }
            Some(_) => return,
        };
        let mend = Mend::delete(at);
        self.find_mendable(Kind::Index, workspace, object, what, Some(mend));
    }
}
