//! Removing what is past its retention: closed leases from the hot store, and records from the log. Housekeeping by the
//! clock on the wall: no input, bounded for each run, and whatever a crash leaves over the next run goes on with.
//!
//! INVARIANT (legal-hold): while a legal hold is in force, nothing here removes anything. A hold is set under the lock
//! that every removal takes, so once it is acknowledged no removal is under way.

mod audit;
mod holds;
mod leases;

use super::{Call, Engine, Unit};
use crate::{
    audit::survey,
    authz::{Action, Resource},
    domain::{
        error::Result,
        id::WorkspaceId,
        retention::{CLASSES, Hold, Retention},
        time::Timestamp,
    },
};

/// What one run removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    pub leases: u64,
    pub records: u64,
}

/// What is kept, and what was removed.
#[derive(Debug)]
pub struct Kept {
    pub retention: Retention,
    /// The number that the log begins with.
    pub first: u64,
    /// The time of the oldest record, where it is among the first ones.
    pub oldest: Option<Timestamp>,
    /// Records that were removed, by class.
    pub removed: [u64; CLASSES],
    /// Legal holds in force.
    pub holds: usize,
}

/// Whose turn it is to remove: one run at a time.
pub(super) type RetentionTurn = tokio::sync::Mutex<()>;

impl Engine {
    /// The engine with what the configuration says of retention.
    #[must_use]
    pub fn retaining(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// Removes what is past its retention, as much as one run may. Does nothing while an earlier run is not done.
    pub async fn retain(&self) -> Result<Removed> {
        let Ok(_turn) = self.retention_turn.try_lock() else {
            return Ok(Removed::default());
        };
        let holds = self.holds_in_force().await?;
        metrics::gauge!("leasehold_legal_holds").set(holds.len() as f64);
        if !holds.is_empty() {
            return Ok(Removed::default());
        }
        let leases = self.remove_leases().await?;
        let records = self.remove_records().await?;
        Ok(Removed { leases, records })
    }

    /// What is kept, and what was removed.
    pub async fn retention(&self, call: &Call) -> Result<Kept> {
        self.authorize(call, Action::AuditHoldRead, Resource::Vault)
            .await?;
        let progress = survey::progress(&mut self.read(), &self.keyring).await?;
        let (first, oldest) = self.oldest_record().await?;
        Ok(Kept {
            retention: self.retention,
            first,
            oldest,
            removed: progress.removed,
            holds: self.holds_in_force().await?.len(),
        })
    }

    async fn holds_in_force(&self) -> Result<Vec<Hold>> {
        let system = self.tables(WorkspaceId::SYSTEM)?;
        system.holds(&mut self.read()).await
    }
}

impl Unit<'_> {
    /// Whether a legal hold is in force, under the lock of retention.
    async fn is_held(&mut self) -> Result<bool> {
        let system = self.engine.tables(WorkspaceId::SYSTEM)?;
        Ok(!system.holds(&mut self.txn).await?.is_empty())
    }
}

#[cfg(test)]
pub(super) mod tests;
