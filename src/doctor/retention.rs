//! What retention remembers: each record opens under its own key, and a lease to look at again is there.

use super::{
    Kind, Mend,
    exam::{Exam, key_object},
    leases::of_lease,
};
use crate::{
    audit::{
        removal::{self, first_of},
        survey::{Progress, Survey},
    },
    domain::{
        id::{LeaseId, WorkspaceId},
        retention::Hold,
    },
    store::{
        key::{self, LookAgain, Retained, Table},
        port::Value,
    },
};

impl Exam<'_> {
    pub(super) async fn retained(&mut self, at: &[u8], stored: &Value) {
        let object = key_object(Table::Retention, at);
        let Some(system) = self.system() else { return };
        match key::parse_retained(at) {
            None => self.malformed(Table::Retention, at),
            Some(Retained::Hold(_)) => {
                let hold = system.open_hold(at, stored);
                self.seen::<Hold>(WorkspaceId::SYSTEM, object, hold);
            }
            Some(Retained::FirstLook(workspace)) => {
                let Some(tables) = self.home(workspace, &object) else {
                    return;
                };
                let place = tables.retention::<LeaseId>(&mut self.read, at).await;
                self.seen(workspace, object, place);
            }
            Some(Retained::LookAgain(LookAgain {
                workspace, lease, ..
            })) => {
                let object = of_lease(lease);
                if self.exists(&object, &key::lease(workspace, lease)).await == Some(false) {
                    let what = "is to be looked at again, and has no record";
                    let mend = Some(Mend::delete(at));
                    self.find_mendable(Kind::Index, WorkspaceId::SYSTEM, object, what, mend);
                }
            }
            Some(Retained::Survey(_)) => {
                let survey = system.retention::<Survey>(&mut self.read, at).await;
                self.seen(WorkspaceId::SYSTEM, object, survey);
            }
            Some(Retained::AuditState) => {
                let progress = system.retention::<Progress>(&mut self.read, at).await;
                let progress = self.seen(WorkspaceId::SYSTEM, object.clone(), progress);
                let key = self.keyring.audit_key().public_key();
                // One that is of no use is told of with the log.
                let front = removal::front(&mut self.read, key).await;
                if let (Some(Some(progress)), Ok(front)) = (progress, front)
                    && front.map_or(1, |front| front.first) != first_of(progress.front())
                {
                    let what = "the log does not begin where retention says that it got to";
                    self.find(Kind::Audit, WorkspaceId::SYSTEM, object, what);
                }
            }
            // Looked at with the log.
            Some(Retained::Front | Retained::Removed(_)) => {}
        }
    }
}
