//! Revocations that reach many leases. The first transaction stops every use, by the stage of the version or
//! the state of the credential; when the leases are few it also closes them all. Else a stored sweep says what
//! is left, and is carried on in batches before the answer, or after a crash at the next start.

use serde::{Deserialize, Serialize};

use super::{Engine, Note, Unit, credential::change};
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
const BATCH: usize = 256;

/// A cascade that is not finished: closes every lease on versions that are cut or revoked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Sweep {
    pub(super) by: Option<Author>,
    pub(super) reason: Option<String>,
    /// Whether the credential is deleted when its last lease is closed.
    pub(super) delete: bool,
}

/// What one transaction of a cascade did.
pub(super) struct Step {
    pub(super) closed: u32,
    /// Where to go on, unless it is done.
    pub(super) next: Option<Scan>,
}

impl Unit<'_> {
    /// Closes the stopped leases among the next batch of open ones.
    pub(super) async fn sweep_step(
        &mut self,
        id: CredentialId,
        ledger: &mut Ledger,
        sweep: &Sweep,
        from: Option<Scan>,
    ) -> Result<Step> {
        let mut scan = from.unwrap_or_else(|| key::open_leases(self.tables.workspace, id));
        scan.limit = BATCH;
        let open = self.txn.scan(&scan).await?;
        let mut closed = 0;
        for (at, _) in &open {
            let lease = open_lease_at(at)?;
            let missing = || Error::internal("an open lease has no record");
            let lease = self
                .tables
                .lease(&mut self.txn, lease)
                .await?
                .ok_or_else(missing)?;
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
            Some((last, _)) if open.len() == BATCH => Some(scan.after(last)),
            _ => None,
        };
        Ok(Step { closed, next })
    }

    /// The first step of a cascade, and its sweep record if it cannot be the last. Writes the ledger.
    pub(super) async fn cascade(
        &mut self,
        credential: &Credential,
        ledger: &mut Ledger,
        sweep: &Sweep,
    ) -> Result<Step> {
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
        Ok(step)
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
        if ledger.active > 0 {
            return Err(Error::internal(
                "a credential with open leases was about to be erased",
            ));
        }
        let id = credential.id;
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
        let changes = vec![
            change("name", Some(credential.name.to_string()), None),
            change(
                "fingerprint",
                Some(credential.fingerprint.to_string()),
                None,
            ),
            change("versions", Some(ledger.newest.to_string()), None),
        ];
        self.record(Note {
            changes,
            ..Note::new(EventName::CredentialDeleted, object(credential))
        })
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
    /// Carries a stored sweep on until it is done; gives back how many leases it closed.
    pub(super) async fn finish_sweep(
        &self,
        workspace: WorkspaceId,
        id: CredentialId,
        mut from: Option<Scan>,
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
            let step = unit.sweep_step(id, &mut ledger, &sweep, from).await?;
            unit.tables.put_ledger(&mut *unit.txn, id, &ledger)?;
            if step.next.is_none() {
                unit.tables.delete_sweep(&mut *unit.txn, id);
                if sweep.delete {
                    unit.erase(&credential, &ledger).await?;
                }
            }
            unit.commit_housekeeping().await?;
            closed += step.closed;
            from = step.next;
            if from.is_none() {
                return Ok(closed);
            }
            tokio::task::yield_now().await;
        }
    }

    /// Carries on what an earlier run left unfinished.
    pub async fn finish_sweeps(&self) -> Result<u32> {
        let stopped = self.finish_stops().await;
        let mut closed = 0u32;
        for (at, _) in range_all(&mut self.read(), key::sweeps()).await? {
            let (workspace, id) =
                key::parse_credential(&at).ok_or_else(|| Error::internal("malformed sweep key"))?;
            closed = closed.saturating_add(self.finish_sweep(workspace, id, None).await?);
        }
        Ok(closed.saturating_add(u32::try_from(stopped?).unwrap_or(u32::MAX)))
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
