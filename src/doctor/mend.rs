//! Mending what follows from the records. Each mend and the record of it are in one commit.

use std::sync::Arc;

use super::{Finding, Keys, exam::Open};
use crate::{
    audit::log,
    clock::Clock,
    domain::{
        credential::VersionState,
        error::{Error, Result},
        event::{Actor, AuditRecord, EventName, Object, Outcome},
        id::{CredentialId, EventId, WorkspaceId},
        time::Timestamp,
    },
    store::{
        key,
        port::{AuditEntry, Key, Store, Txn},
    },
    tables::Tables,
};

/// Mends in one commit.
const BATCH: usize = 64;

/// How something is mended.
#[derive(Debug)]
pub(super) enum Mend {
    /// An entry of an index, or none.
    Write(Key, Option<Vec<u8>>),
    /// A ledger's counters, and the retirements that follow.
    Recount {
        credential: CredentialId,
        open: Open,
    },
    /// A version that should have been retired.
    Retire {
        credential: CredentialId,
        number: u32,
    },
}

impl Mend {
    pub(super) fn put(key: Key, value: Vec<u8>) -> Self {
        Self::Write(key, Some(value))
    }

    pub(super) fn delete(key: impl Into<Key>) -> Self {
        Self::Write(key.into(), None)
    }
}

/// Nothing else works on the store meanwhile, so a mend needs no locks of its own.
pub(super) struct Mender {
    store: Arc<dyn Store>,
    keyring: Keys,
    clock: Arc<Clock>,
}

impl Mender {
    pub(super) fn new(store: Arc<dyn Store>, keyring: Keys, clock: Arc<Clock>) -> Self {
        Self {
            store,
            keyring,
            clock,
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Mends what can be among these.
    pub(super) async fn mend(&self, findings: &[Finding]) -> Result<()> {
        let mendable: Vec<_> = findings.iter().filter(|one| one.mendable).collect();
        for batch in mendable.chunks(BATCH) {
            let mut txn = self.store.begin(&[]).await?;
            let mut audit = Vec::new();
            for finding in batch {
                audit.push(self.note(
                    EventName::VaultRepaired,
                    finding.workspace,
                    finding.object.clone(),
                    format!("{}: {}", finding.object(), finding.what),
                )?);
                if let Some(mend) = &finding.mend {
                    self.carry_out(&mut txn, finding.workspace, mend, &mut audit)
                        .await?;
                }
            }
            txn.commit(audit).await?;
        }
        Ok(())
    }

    async fn carry_out(
        &self,
        txn: &mut Box<dyn Txn>,
        workspace: WorkspaceId,
        mend: &Mend,
        audit: &mut Vec<AuditEntry>,
    ) -> Result<()> {
        match mend {
            Mend::Write(key, Some(value)) => txn.put(key.clone(), value.clone()),
            Mend::Write(key, None) => {
                txn.delete(key.clone());
                Ok(())
            }
            Mend::Recount { credential, open } => {
                let tables = Tables::of(&self.keyring, workspace)?;
                let mut ledger = tables.ledger(txn, *credential).await?;
                let emptied =
                    ledger.recount(|number| open.get(&number).copied().unwrap_or_default());
                tables.put_ledger(&mut **txn, *credential, &ledger)?;
                for version in emptied.iter().filter(|version| version.retires) {
                    let which = (*credential, version.number, version.revealed_at);
                    self.retire(txn, &tables, which, audit).await?;
                }
                Ok(())
            }
            Mend::Retire { credential, number } => {
                let tables = Tables::of(&self.keyring, workspace)?;
                self.retire(txn, &tables, (*credential, *number, None), audit)
                    .await
            }
        }
    }

    async fn retire(
        &self,
        txn: &mut Box<dyn Txn>,
        tables: &Tables,
        (id, number, revealed_at): (CredentialId, u32, Option<Timestamp>),
        audit: &mut Vec<AuditEntry>,
    ) -> Result<()> {
        let missing = || Error::internal("a version that is due to retire has no record");
        let mut version = tables.version(txn, id, number).await?.ok_or_else(missing)?;
        if version.state.erased_at().is_none() {
            let at = self.now();
            let rotated_at = version.state.rotated_at().unwrap_or(at);
            version.state = VersionState::Retired { rotated_at, at };
            version.revealed_at = version.revealed_at.or(revealed_at);
            tables.put_version(&mut **txn, id, &version)?;
        }
        txn.delete(key::value(tables.workspace, id, number));
        let object = Object {
            credential: Some(id),
            version: Some(number),
            ..Object::default()
        };
        let event = EventName::CredentialVersionRetired;
        let why = "its last lease had closed".to_owned();
        audit.push(self.note(event, tables.workspace, object, why)?);
        Ok(())
    }

    fn note(
        &self,
        event: EventName,
        workspace: WorkspaceId,
        object: Object,
        reason: String,
    ) -> Result<AuditEntry> {
        let time = self.now();
        log::entry(&AuditRecord {
            id: EventId::new(time, &self.keyring.entropy().bytes()?),
            time,
            workspace,
            event,
            actor: Actor::vault("doctor"),
            object,
            outcome: Outcome::Success,
            policy: None,
            origin: None,
            purpose: None,
            reason: Some(reason),
            changes: Vec::new(),
            requests: Vec::new(),
        })
    }
}
