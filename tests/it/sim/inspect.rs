//! Looks at what a power cut would leave at this instant, and holds it to the model.

use std::{collections::BTreeSet, future::ready, sync::Arc};

use leasehold::{
    audit::{
        check::{self, Question},
        query::{AuditFilter, Numbered, Reader, Window},
    },
    crypto::keyring::Keyring,
    domain::{
        credential::VersionState,
        error::{Error, Result},
        event::EventName,
        id::WorkspaceId,
        lease::{Ending, LeaseState},
        ledger::Ledger,
        policy::Delivery,
    },
    store::{
        key,
        local::Backend,
        memory::Memory,
        port::{Boxed, Health, Key, LockKey, MAX_SCAN, Scan, Store, Txn, Value, Visit},
    },
    tables::{Tables, range_all},
};

use super::model::{Kept, Model, Stage, hold};

/// What was durable at an instant.
pub struct Snapshot {
    keyring: Arc<Keyring>,
    durable: Durable,
}

/// A store that only tells; of the log, only what begins at `from`.
struct Durable {
    memory: Memory,
    from: Key,
}

impl Store for Durable {
    fn begin<'a>(&'a self, _: &'a [LockKey]) -> Boxed<'a, Result<Box<dyn Txn>>> {
        Box::pin(ready(Err(Error::storage("a snapshot takes no writes"))))
    }

    fn get<'a>(&'a self, key: &'a [u8]) -> Boxed<'a, Result<Option<Value>>> {
        Box::pin(ready(self.memory.get(key)))
    }

    fn scan<'a>(&'a self, scan: &'a Scan) -> Boxed<'a, Result<Vec<(Key, Value)>>> {
        let mut scan = scan.clone();
        if key::parse_audit(&scan.start).is_some() {
            scan.start = scan.start.max(self.from.clone());
        }
        let pairs = if scan.start < scan.end {
            self.memory.scan(&scan, scan.limit.min(MAX_SCAN))
        } else {
            Ok(Vec::new())
        };
        Box::pin(ready(pairs))
    }

    fn snapshot(&self, _: Visit) -> Boxed<'_, Result<()>> {
        Box::pin(ready(Err(Error::storage("it is one already"))))
    }

    fn spool(&self) -> Result<std::fs::File> {
        Err(Error::storage("a snapshot has no disk"))
    }

    fn keep_time(&self) -> Boxed<'_, Result<()>> {
        Box::pin(ready(Err(Error::storage("a snapshot takes no writes"))))
    }

    fn health(&self) -> Health {
        Health::Closed
    }

    fn close(&self) -> Boxed<'_, Result<()>> {
        Box::pin(ready(Ok(())))
    }
}

impl Snapshot {
    /// With the whole log, or with what follows the records that the model has seen.
    pub fn of(memory: &Memory, keyring: Arc<Keyring>, model: &Model, whole: bool) -> Self {
        let from = key::audit(if whole { 0 } else { model.records + 1 });
        let memory = memory.after_power_cut();
        Self {
            keyring,
            durable: Durable { memory, from },
        }
    }

    /// The records that the model has not seen, in order, and how many were read.
    pub async fn records(&self, model: &Model, workspaces: &[WorkspaceId]) -> (Vec<Numbered>, u64) {
        let (mut records, mut total) = (Vec::new(), 0);
        for workspace in workspaces {
            let reader = Reader {
                store: &self.durable,
                keyring: &self.keyring,
                workspace: *workspace,
                index: None,
            };
            let window = Window {
                newest_first: false,
                after: Some(model.records),
                offset: 0,
                limit: usize::MAX,
            };
            let page = reader.query(&AuditFilter::default(), window).await.unwrap();
            total += page.total.expect("few records are always counted");
            records.extend(page.records);
        }
        records.sort_by_key(|found| found.sequence);
        (records, total)
    }

    /// Holds the whole log to its checkpoints. INVARIANT (audit-tamper): no crash leaves one that looks changed.
    pub async fn sealed(&self) -> Kept {
        let whole = Durable {
            memory: self.durable.memory.clone(),
            from: key::audit(0),
        };
        let key = self.keyring.audit_key().public_key();
        let read = &mut (&whole as &dyn Store);
        let report = check::log(read, key, Question::default()).await.unwrap();
        hold("audit-tamper", report.faults.is_empty(), || {
            format!("{:?}", report.faults)
        })
    }

    /// Compares every record with what the log says it must be.
    pub async fn compare(&self, model: &Model, workspaces: &[WorkspaceId]) -> Kept {
        for workspace in workspaces.iter().filter(|id| **id != WorkspaceId::SYSTEM) {
            let tables = Tables::of(&self.keyring, *workspace).unwrap();
            self.credentials(model, &tables).await?;
            self.leases(model, &tables).await?;
        }
        Ok(())
    }

    async fn credentials(&self, model: &Model, tables: &Tables) -> Kept {
        let read = &mut (&self.durable as &dyn Store);
        let stored = tables.credentials(read).await.unwrap();
        let ids: BTreeSet<_> = stored.iter().map(|credential| credential.id).collect();
        let of = model
            .credentials
            .iter()
            .filter(|(_, credential)| credential.workspace == tables.workspace);
        let known: BTreeSet<_> = of.map(|(id, _)| *id).collect();
        hold("ack-audited", ids == known, || {
            format!("credentials {ids:?} are stored, {known:?} in history")
        })?;
        for credential in stored {
            let (id, known) = (credential.id, &model.credentials[&credential.id]);
            let max = credential.policy.max_leases;
            hold("ack-audited", max == Some(known.policy.max_leases), || {
                format!("{credential:?} is {known:?}")
            })?;
            let ledger = tables.ledger(read, id).await.unwrap();
            hold(
                "ack-audited",
                (ledger.state, ledger.newest) == (known.state, known.newest()),
                || format!("{ledger:?} is {known:?}"),
            )?;
            counted(model, id, &ledger)?;
            let versions = tables.versions(read, id).await.unwrap();
            hold(
                "ack-audited",
                versions.len() == known.versions.len(),
                || format!("{versions:?} are {known:?}"),
            )?;
            for version in versions {
                let stage = known.versions[&version.number];
                // INVARIANT (reveal-taint): whatever was cut off, the taint is there with the record that tells of it.
                let open = ledger.version(version.number);
                let shown = version
                    .revealed_at
                    .or(open.and_then(|open| open.revealed_at));
                let told = known.shown.get(&version.number).copied();
                hold("reveal-taint", shown == told, || {
                    format!("{version:?} of {id} was shown at {told:?}, and says {shown:?}")
                })?;
                let same = match version.state {
                    VersionState::Current => stage == Stage::Current,
                    VersionState::Rotated { .. } => matches!(stage, Stage::Rotated | Stage::Cut),
                    VersionState::Retired { .. } => stage == Stage::Retired,
                    VersionState::Revoked { .. } => stage == Stage::Revoked,
                };
                let at = key::value(tables.workspace, id, version.number);
                let held = self.durable.get(&at).await.unwrap().is_some();
                let needed = matches!(stage, Stage::Current | Stage::Rotated | Stage::Cut);
                hold("retire-on-last-close", same && held == needed, || {
                    format!("{version:?} of {id} is {stage:?}; value held: {held}")
                })?;
            }
        }
        Ok(())
    }

    async fn leases(&self, model: &Model, tables: &Tables) -> Kept {
        let read = &mut (&self.durable as &dyn Store);
        let mut open = BTreeSet::new();
        let mut seen = 0;
        for (at, stored) in range_all(read, key::leases(tables.workspace))
            .await
            .unwrap()
        {
            let id = key::parse_lease(&at).unwrap();
            let lease = tables.open_lease(id, &stored).unwrap();
            let known = model.leases.get(&id);
            let same = known.is_some_and(|known| {
                let closed = match &lease.state {
                    LeaseState::Active => None,
                    LeaseState::Closed {
                        ending: Ending::Expired,
                        ..
                    } => Some(EventName::LeaseExpired),
                    LeaseState::Closed {
                        ending: Ending::Released { .. },
                        ..
                    } => Some(EventName::LeaseReleased),
                    LeaseState::Closed {
                        ending: Ending::Revoked { .. },
                        ..
                    } => Some(EventName::LeaseRevoked),
                };
                // An open broker lease keeps the version of its grant: the ledger says that it followed.
                let version = lease.version == known.version
                    || (closed.is_none() && lease.delivery == Delivery::Broker);
                let ends = (lease.expires_at, lease.max_expires_at)
                    == (known.expires_at, known.max_expires_at);
                version
                    && ends
                    && closed == known.closed
                    && (lease.uses, lease.renewals) == (known.uses, known.renewals)
                    && known.workspace == tables.workspace
            });
            hold("ack-audited", same, || {
                format!("{lease:?} is stored, {known:?} in history")
            })?;
            let limit = lease
                .issued_at
                .plus(leasehold::domain::policy::WORKSPACE_MAX_TTL.span());
            hold(
                "ttl",
                lease.expires_at <= lease.max_expires_at && lease.max_expires_at <= limit,
                || format!("{lease:?}"),
            )?;
            if lease.counted() {
                open.insert(key::open_lease(
                    tables.workspace,
                    lease.credential,
                    lease.expires_at,
                    id,
                ));
            }
            seen += 1;
        }
        let known = model
            .leases
            .values()
            .filter(|lease| lease.workspace == tables.workspace)
            .count();
        hold("ack-durable", seen == known, || {
            format!("{seen} leases are stored, {known} in history")
        })?;
        let indexed = range_all(read, key::open_leases_of(tables.workspace))
            .await
            .unwrap();
        let indexed: BTreeSet<_> = indexed.into_iter().map(|(at, _)| at).collect();
        hold("lease-cap", indexed == open, || {
            format!("{} leases are indexed, {} open", indexed.len(), open.len())
        })
    }
}

/// INVARIANT (lease-cap): the counter equals the count of records.
fn counted(model: &Model, id: leasehold::domain::id::CredentialId, ledger: &Ledger) -> Kept {
    let open = model.open(id).count();
    let sum: u32 = ledger.versions.iter().map(|version| version.leases()).sum();
    let counts = (ledger.active as usize, sum as usize);
    hold("lease-cap", counts == (open, open), || {
        format!("{open} leases of {id} are open, counted as {ledger:?}")
    })?;
    for version in &ledger.versions {
        let of = |delivery| {
            let on = model
                .open(id)
                .filter(|lease| lease.version == version.number);
            on.filter(|lease| lease.delivery == delivery).count()
        };
        let counts = (version.reveal as usize, version.broker as usize);
        let open = (of(Delivery::Reveal), of(Delivery::Broker));
        hold("lease-cap", counts == open, || {
            format!("{open:?} leases are open on {version:?} of {id}")
        })?;
    }
    Ok(())
}
