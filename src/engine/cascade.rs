//! Revocations that reach many leases. The first transaction stops every use, by the stage of the version or
//! the state of the credential; when the leases are few it also closes them all. Else a stored sweep says what
//! is left, and is carried on in batches before the answer. Where the request cannot do that, the vault does within
//! seconds, or after a crash at the next start.
//!
//! Cascades of one credential share its sweep, and whichever comes to the end of it has closed the leases of all.

use serde::{Deserialize, Serialize};

use super::{Engine, Note, Unit, credential::change, expire::report};
use crate::{
    domain::{
        credential::{Author, Credential, VersionState},
        error::{Error, Result},
        event::{EventName, Object},
        id::{CredentialId, WorkspaceId},
        lease::Ending,
        ledger::{Ledger, Stage},
    },
    store::{
        key,
        port::{Key, Scan},
    },
    tables::{Read, Tables, range_all},
};

/// Open leases looked at in one transaction: bounds how long a credential's lock is held.
pub(super) const BATCH: usize = 256;

/// Whose turn it is to carry on the cascades that were left behind: one run at a time.
pub(super) type SweepTurn = tokio::sync::Mutex<()>;

/// A cascade that is not finished: closes every lease on versions that are cut or revoked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Sweep {
    pub(super) by: Option<Author>,
    pub(super) reason: Option<String>,
    /// Whether the credential is deleted when its last lease is closed.
    pub(super) delete: bool,
}

/// A pass over the open leases of a credential that is not at its end.
pub(super) struct Pass {
    at: Scan,
    /// The versions that were stopped when it began. Their leases are not renewed, so none of them moves out of its way.
    stopped: Vec<u32>,
}

impl Pass {
    fn first(workspace: WorkspaceId, id: CredentialId, ledger: &Ledger) -> Self {
        Self {
            at: key::open_leases(workspace, id),
            stopped: ledger.stopped(),
        }
    }
}

/// What one transaction of a cascade did.
pub(super) struct Step {
    pub(super) closed: u32,
    /// Where to go on, unless it is done.
    pub(super) next: Option<Pass>,
}

impl Unit<'_> {
    /// Closes the stopped leases among the next batch of open ones.
    pub(super) async fn sweep_step(
        &mut self,
        id: CredentialId,
        ledger: &mut Ledger,
        sweep: &Sweep,
        pass: Option<Pass>,
    ) -> Result<Step> {
        let workspace = self.tables.workspace;
        let Pass { mut at, stopped } = pass.unwrap_or_else(|| Pass::first(workspace, id, ledger));
        at.limit = self.engine.sweep_batch;
        let open = self.txn.scan(&at).await?;
        let mut closed = 0;
        for (entry, _) in &open {
            let Some(lease) = self.indexed(entry).await?.open() else {
                continue;
            };
            let version = ledger.pinned(lease.version, lease.delivery);
            let stage = ledger.version(version).map(|open| open.stage);
            if matches!(stage, Some(Stage::Cut | Stage::Revoked)) {
                let ending = Ending::Revoked {
                    by: sweep.by.clone(),
                    reason: sweep.reason.clone(),
                };
                self.close_lease(ledger, lease, ending).await?;
                closed += 1;
            }
        }
        let next = match open.last() {
            Some((last, _)) if open.len() == at.limit => Some(Pass {
                at: at.after(last),
                stopped,
            }),
            // A cascade that began since may have stopped leases that this pass had gone by. What is left of the
            // versions that were stopped before does not open, and no further pass would close it.
            _ => {
                let since = |version: &u32| !stopped.contains(version);
                let again = ledger.stopped().iter().any(since);
                again.then(|| Pass::first(workspace, id, ledger))
            }
        };
        Ok(Step { closed, next })
    }

    /// The first step of a cascade, and its sweep record if it cannot be the last. Writes the ledger.
    pub(super) async fn cascade(
        &mut self,
        credential: &Credential,
        ledger: &mut Ledger,
        sweep: &Sweep,
    ) -> Result<Option<Pass>> {
        let step = self.sweep_step(credential.id, ledger, sweep, None).await?;
        self.tables
            .put_ledger(&mut *self.txn, credential.id, ledger)?;
        let pending = self
            .tables
            .sweep::<Sweep>(&mut self.txn, credential.id)
            .await?;
        let delete = sweep.delete || pending.as_ref().is_some_and(|pending| pending.delete);
        match step.next {
            Some(_) => self.tables.put_sweep(
                &mut *self.txn,
                credential.id,
                &Sweep {
                    delete,
                    ..sweep.clone()
                },
            )?,
            None => {
                if pending.is_some() {
                    self.tables.delete_sweep(&mut *self.txn, credential.id);
                }
                if delete {
                    self.erase(credential, ledger).await?;
                }
            }
        }
        Ok(step.next)
    }

    /// Marks versions as revoked and erases their values.
    pub(super) async fn erase_versions(
        &mut self,
        id: CredentialId,
        versions: &[crate::domain::ledger::OpenVersion],
    ) -> Result<()> {
        for open in versions {
            let missing = || Error::internal("a version in use has no record");
            let mut version = self
                .tables
                .version(&mut self.txn, id, open.number)
                .await?
                .ok_or_else(missing)?;
            version.state = VersionState::Revoked {
                rotated_at: version.state.rotated_at(),
                at: self.now,
            };
            version.revealed_at = open.revealed_at;
            self.tables.put_version(&mut *self.txn, id, &version)?;
            self.tables.erase_value(&mut *self.txn, id, open.number);
        }
        Ok(())
    }

    /// Removes a credential that has no open lease. Its history stays in the audit log and in its leases.
    async fn erase(&mut self, credential: &Credential, ledger: &Ledger) -> Result<()> {
        let id = credential.id;
        let left = match ledger.active {
            0 => 0,
            _ => self.forget_unreadable(id).await?,
        };
        for (at, _) in range_all(&mut self.txn, key::versions(self.tables.workspace, id)).await? {
            let number =
                key::parse_version(&at).ok_or_else(|| Error::internal("malformed version key"))?;
            self.tables.delete_version(&mut *self.txn, id, number);
            self.tables.erase_value(&mut *self.txn, id, number);
        }
        self.tables.delete_ledger(&mut *self.txn, id);
        self.delete_credential(id);
        self.tables
            .delete_credential_name(&mut *self.txn, &credential.name);
        let mut changes = vec![
            change("name", Some(credential.name.to_string()), None),
            change(
                "fingerprint",
                Some(credential.fingerprint.to_string()),
                None,
            ),
            change("versions", Some(ledger.newest.to_string()), None),
        ];
        if left > 0 {
            changes.push(change("unreadable_leases", Some(left.to_string()), None));
        }
        self.record(Note {
            changes,
            ..Note::new(EventName::CredentialDeleted, object(credential))
        })
    }
}

impl Unit<'_> {
    /// Takes what is left in the index of a credential that goes, which is no lease that opens: with the values erased
    /// nobody could use one even if it did. Gives back how many those were; the records stay, for the doctor.
    async fn forget_unreadable(&mut self, id: CredentialId) -> Result<u32> {
        let mut left = 0;
        let open = key::open_leases(self.tables.workspace, id);
        for (entry, _) in range_all(&mut self.txn, open).await? {
            if self.indexed(&entry).await?.open().is_some() {
                return Err(Error::internal(
                    "a credential with open leases was about to be erased",
                ));
            }
            self.txn.delete(entry);
            left += 1;
        }
        Ok(left)
    }
}

/// The credential as an audit object.
pub(super) fn object(credential: &Credential) -> Object {
    Object {
        credential: Some(credential.id),
        credential_name: Some(credential.name.clone()),
        ..Object::default()
    }
}

pub(super) fn open_lease_at(at: &Key) -> Result<crate::domain::id::LeaseId> {
    key::parse_open_lease(at)
        .map(|open| open.lease)
        .ok_or_else(|| Error::internal("malformed open-lease key"))
}

impl Engine {
    /// The engine with cascades that look at so many leases in one transaction.
    #[must_use]
    pub fn sweeping_at_once(mut self, leases: usize) -> Self {
        self.sweep_batch = leases;
        self
    }

    /// Carries a stored sweep on until it is done; gives back how many leases it closed.
    pub(super) async fn finish_sweep(
        &self,
        workspace: WorkspaceId,
        id: CredentialId,
        mut pass: Option<Pass>,
    ) -> Result<u32> {
        let mut closed = 0;
        loop {
            let mut unit = self
                .begin_own("cascade", workspace, &[key::credential_lock(id)])
                .await?;
            let Some(sweep) = unit.tables.sweep::<Sweep>(&mut unit.txn, id).await? else {
                return Ok(closed);
            };
            let missing = || Error::internal("a sweep without its credential");
            let credential = unit
                .tables
                .credential(&mut unit.txn, id)
                .await?
                .ok_or_else(missing)?;
            let mut ledger = unit.tables.ledger(&mut unit.txn, id).await?;
            let step = unit.sweep_step(id, &mut ledger, &sweep, pass).await?;
            unit.tables.put_ledger(&mut *unit.txn, id, &ledger)?;
            if step.next.is_none() {
                unit.tables.delete_sweep(&mut *unit.txn, id);
                if sweep.delete {
                    unit.erase(&credential, &ledger).await?;
                }
            }
            unit.commit_housekeeping().await?;
            closed += step.closed;
            pass = step.next;
            if pass.is_none() {
                return Ok(closed);
            }
            tokio::task::yield_now().await;
        }
    }

    /// Carries on what an earlier run left unfinished; gives back how many leases that closed.
    pub async fn finish_sweeps(&self) -> Result<u32> {
        let stops = self.finish_stops().await;
        // One that fails does not stop the others.
        let cascades = self.finish_cascades().await?;
        let stops = u32::try_from(stops?).unwrap_or(u32::MAX);
        Ok(stops.saturating_add(cascades))
    }

    /// Carries on every cascade that is not finished; gives back how many leases that closed. One that fails does not
    /// stop the others, and is tried again the next time. Does nothing while an earlier run is not done.
    pub async fn finish_cascades(&self) -> Result<u32> {
        let Ok(_turn) = self.sweep_turn.try_lock() else {
            return Ok(0);
        };
        let mut closed: u32 = 0;
        for (at, _) in range_all(&mut self.read(), key::sweeps()).await? {
            let malformed = || Error::internal("malformed sweep key");
            let swept = match key::parse_credential(&at).ok_or_else(malformed) {
                Ok((workspace, id)) => self.finish_sweep(workspace, id, None).await,
                Err(error) => Err(error),
            };
            match swept {
                Ok(some) => closed = closed.saturating_add(some),
                Err(error) => {
                    metrics::counter!("leasehold_cascade_failures_total").increment(1);
                    report(
                        &error,
                        "a cascade could not be finished; trying again later",
                    );
                }
            }
        }
        Ok(closed)
    }
}

/// Whether the sweep of a credential can be read.
pub async fn check_sweep(
    tables: &Tables,
    read: &mut impl Read,
    credential: CredentialId,
) -> Result<()> {
    tables.sweep::<Sweep>(read, credential).await.map(drop)
}

#[cfg(test)]
mod tests;
