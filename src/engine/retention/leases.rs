//! Closed leases leave the hot store. The ids of leases are in the order of their issue, so a scan with a stored position
//! meets each lease once, when it is nearly always past its retention. What is still needed then gets a key that says
//! when to look again. A grant pays nothing for either.

use std::time::Duration;

use super::{
    super::{credential::change, expire::report},
    Engine,
};
use crate::{
    domain::{
        error::{Error, Result},
        event::{EventName, Object},
        id::{LeaseId, WorkspaceId},
        lease::Lease,
    },
    engine::{Note, Unit},
    store::{
        key::{self, LookAgain, Retained},
        port::Scan,
    },
};

/// Leases looked at in one transaction: bounds its size in a commit group that grants share.
const BATCH: usize = 256;
/// Leases looked at in one run. A run begins every ten seconds, so 30,000 a second can be removed.
const PER_RUN: usize = 300_000;
/// The longest rest between two batches.
const LONGEST_REST: Duration = Duration::from_millis(20);

/// What one transaction did.
#[derive(Default)]
struct Step {
    looked_at: usize,
    removed: Vec<LeaseId>,
}

impl Engine {
    /// Removes closed leases that are past their retention; gives back how many.
    pub(super) async fn remove_leases(&self) -> Result<u64> {
        let system = self.tables(WorkspaceId::SYSTEM)?;
        let (mut left, mut removed) = (PER_RUN, 0);
        for workspace in system.workspaces(&mut self.read()).await? {
            // One workspace's damage must not keep the leases of all others.
            match self.remove_leases_of(workspace.id, &mut left).await {
                Ok(some) => removed += some,
                Err(error) => report(&error, "closed leases of a workspace could not be removed"),
            }
        }
        Ok(removed)
    }

    async fn remove_leases_of(&self, workspace: WorkspaceId, left: &mut usize) -> Result<u64> {
        let mut removed = 0;
        for first in [false, true] {
            while *left > 0 {
                let begun = self.now();
                let Some(step) = self.look(workspace, first).await? else {
                    break;
                };
                *left = left.saturating_sub(step.looked_at);
                removed += step.removed.len() as u64;
                metrics::counter!("leasehold_retention_leases_removed_total")
                    .increment(step.removed.len() as u64);
                // The processors and the disk belong to grants.
                let took: Duration = self.now().since(begun).into();
                tokio::time::sleep((took / 2).min(LONGEST_REST)).await;
                tokio::task::yield_now().await;
            }
        }
        Ok(removed)
    }

    /// Looks at the next leases, those that are due a `first` look or a further one. None where there are none, or a
    /// legal hold is in force.
    async fn look(&self, workspace: WorkspaceId, first: bool) -> Result<Option<Step>> {
        let scan = self.looks(workspace, first).await?;
        // Usually there is nothing to do, and no lock is needed to see that.
        if self.read().scan(&scan).await?.is_empty() {
            return Ok(None);
        }
        let locks = [key::retention_lock()];
        let mut unit = self.begin_own("retention", workspace, &locks).await?;
        if unit.is_held().await? {
            return Ok(None);
        }
        let mut step = Step::default();
        let pairs = unit.txn.scan(&scan).await?;
        step.looked_at = pairs.len();
        let mut last = None;
        for (at, stored) in pairs {
            if first {
                let id =
                    key::parse_lease(&at).ok_or_else(|| Error::internal("malformed lease key"))?;
                last = Some(id);
                let lease = unit.tables.open_lease(id, &stored).map(Some);
                unit.let_go(id, lease, &mut step)?;
            } else {
                let Some(Retained::LookAgain(LookAgain { lease: id, .. })) =
                    key::parse_retained(&at)
                else {
                    return Err(Error::internal("malformed key of a lease to look at again"));
                };
                unit.txn.delete(at);
                let lease = unit.tables.lease(&mut unit.txn, id).await;
                unit.let_go(id, lease, &mut step)?;
            }
        }
        if let Some(last) = last {
            let tables = unit.tables.clone();
            tables.put_retention(&mut *unit.txn, key::first_look(workspace), &last)?;
        }
        if step.removed.is_empty() {
            unit.commit_housekeeping().await?;
        } else {
            unit.record(removal(&step.removed))?;
            unit.commit().await?;
        }
        Ok(Some(step))
    }

    /// The next leases to look at.
    async fn looks(&self, workspace: WorkspaceId, first: bool) -> Result<Scan> {
        let now = self.now();
        let mut scan = if first {
            let tables = self.tables(workspace)?;
            let after = tables.first_look(&mut self.read()).await?;
            key::leases_until(workspace, after, self.retention.first_look(now))
        } else {
            key::looks_due(workspace, now)
        };
        scan.limit = BATCH;
        Ok(scan)
    }
}

impl Unit<'_> {
    /// Removes a lease that may go, and notes when to look again at one that may not. One that cannot be read stays, and
    /// is not looked at again: the doctor tells of it.
    fn let_go(&mut self, id: LeaseId, lease: Result<Option<Lease>>, step: &mut Step) -> Result<()> {
        let lease = match lease {
            Ok(Some(lease)) => lease,
            Ok(None) => return Ok(()),
            Err(error) => {
                report(&error, "a lease cannot be read, and so is not removed");
                return Ok(());
            }
        };
        match self.engine.retention.look_again(&lease, self.now) {
            None => {
                self.tables.delete_lease(&mut *self.txn, id);
                step.removed.push(id);
                Ok(())
            }
            Some(due) => {
                let again = key::look_again(self.tables.workspace, due, id);
                self.txn.put(again, Vec::new())
            }
        }
    }
}

/// What history tells of leases that left the hot store.
fn removal(removed: &[LeaseId]) -> Note {
    let fact = |field: &str, what: String| change(field, Some(what), None);
    let ends = removed.iter().min().zip(removed.iter().max());
    let mut changes = vec![fact("leases", removed.len().to_string())];
    if let Some((oldest, newest)) = ends {
        changes.push(fact("oldest", oldest.to_string()));
        changes.push(fact("newest", newest.to_string()));
    }
    Note {
        reason: Some("past their retention".to_owned()),
        changes,
        ..Note::new(EventName::LeaseRemoved, Object::default())
    }
}
