//! What the store knows of leases: those that are open, and closed ones that it still has, whatever is left of them in
//! history; and how each stands now.

use std::collections::{HashMap, hash_map::Entry};

use super::{
    super::{Engine, cascade::open_lease_at},
    collect::Collected,
    model::Who,
    remedies,
    row::{End, Row, shown_session},
};
use crate::{
    domain::{
        error::{Error, Result},
        id::{CredentialId, IdentityId, LeaseId},
        lease::{Ending, Lease, LeaseState, LeaseStatus},
        ledger::Ledger,
        principal::Identity,
        time::Timestamp,
    },
    store::key,
    tables::Tables,
};

/// Reads the store, as of one instant.
pub(super) struct Stored<'a> {
    pub(super) engine: &'a Engine,
    pub(super) tables: &'a Tables,
    pub(super) now: Timestamp,
    /// When the last of those leases ended that time alone ended.
    pub(super) ended: Option<Timestamp>,
    ledgers: HashMap<CredentialId, Option<Ledger>>,
    identities: HashMap<IdentityId, Option<Identity>>,
}

impl<'a> Stored<'a> {
    pub(super) fn new(engine: &'a Engine, tables: &'a Tables, now: Timestamp) -> Self {
        Self {
            engine,
            tables,
            now,
            ended: None,
            ledgers: HashMap::new(),
            identities: HashMap::new(),
        }
    }

    /// Adds the leases that the store has and history does not: every open one, and closed ones where history may lack
    /// those that were made before `lacking`.
    pub(super) async fn add(
        &mut self,
        collected: &mut Collected,
        credential: Option<CredentialId>,
        lacking: Option<Timestamp>,
    ) -> Result<()> {
        let workspace = self.tables.workspace;
        let mut scan = match credential {
            Some(id) => key::open_leases(workspace, id),
            None => key::open_leases_of(workspace),
        };
        loop {
            let page = self.engine.read().scan(&scan).await?;
            let Some((last, _)) = page.last() else { break };
            scan = scan.after(last);
            for (at, _) in &page {
                let id = open_lease_at(at)?;
                if !collected.admits(id) || collected.rows.contains_key(&id) {
                    continue;
                }
                // Closed since the scan, and past its retention.
                if let Some(lease) = self.tables.lease(&mut self.engine.read(), id).await? {
                    self.put(collected, &lease, lacking).await?;
                }
            }
            tokio::task::yield_now().await;
        }
        let Some(lacking) = lacking else {
            return Ok(());
        };
        let first = LeaseId::from_bytes([0; 16]);
        let mut scan = key::leases_until(workspace, first, lacking);
        loop {
            let page = self.engine.read().scan(&scan).await?;
            let Some((last, _)) = page.last() else {
                return Ok(());
            };
            scan = scan.after(last);
            for (at, stored) in &page {
                let id =
                    key::parse_lease(at).ok_or_else(|| Error::internal("malformed lease key"))?;
                if collected.admits(id) && !collected.rows.contains_key(&id) {
                    let lease = self.tables.open_lease(id, stored)?;
                    self.put(collected, &lease, Some(lacking)).await?;
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// Puts a stored lease into the report, if it is wanted.
    async fn put(
        &mut self,
        collected: &mut Collected,
        lease: &Lease,
        lacking: Option<Timestamp>,
    ) -> Result<()> {
        let wanted = &collected.wanted;
        let about = wanted.is_of_credential(Some(lease.credential), Some(&lease.credential_name))
            && wanted.is_of_session(shown_session(lease).as_ref());
        if !about {
            return Ok(());
        }
        let version = self.pinned(lease).await?;
        let row = Row::stored(lease, wanted, version);
        let apart = wanted.names_somebody() && !wanted.is_wanted(&row.holder);
        // History has the end of it, so it was in the report, and left it as one that ended before the window.
        let told = match (&lease.state, lacking) {
            (LeaseState::Closed { at, .. }, Some(lacking)) => *at >= lacking,
            _ => false,
        };
        if wanted.is_of_somebody(&row) && (apart || !told) {
            collected.put(row, apart);
        }
        Ok(())
    }

    pub(super) async fn ledger(&mut self, id: CredentialId) -> Result<Option<&Ledger>> {
        if let Entry::Vacant(entry) = self.ledgers.entry(id) {
            let read = &mut self.engine.read();
            entry.insert(self.tables.find_ledger(read, id).await?);
        }
        Ok(self.ledgers.get(&id).and_then(Option::as_ref))
    }

    /// The version that a lease uses, or used last.
    async fn pinned(&mut self, lease: &Lease) -> Result<u32> {
        let ledger = self.ledger(lease.credential).await?;
        Ok(match ledger {
            Some(ledger) if lease.counted() => ledger.pinned(lease.version, lease.delivery),
            _ => lease.version,
        })
    }

    pub(super) async fn identity(&mut self, id: IdentityId) -> Result<Option<&Identity>> {
        if let Entry::Vacant(entry) = self.identities.entry(id) {
            let read = &mut self.engine.read();
            entry.insert(self.tables.identity(read, id).await?);
        }
        Ok(self.identities.get(&id).and_then(Option::as_ref))
    }

    /// Adds what the directory knows of somebody.
    pub(super) async fn name(&mut self, who: &mut Who) -> Result<()> {
        if who.r#type.is_none()
            && let Some(identity) = self.identity(who.id).await?
        {
            who.r#type = remedies::kind(identity.kind);
        }
        Ok(())
    }

    /// What became of the leases that no record ends, and what no record told of the others.
    pub(super) async fn settle(&mut self, collected: &mut Collected) -> Result<()> {
        let ids: Vec<LeaseId> = collected.rows.keys().copied().collect();
        for id in ids {
            let Some(row) = collected.rows.get(&id) else {
                continue;
            };
            if row.end.is_some() && row.told {
                continue;
            }
            let lease = self.tables.lease(&mut self.engine.read(), id).await?;
            let version = match &lease {
                Some(lease) => Some(self.pinned(lease).await?),
                None => None,
            };
            let Some(row) = collected.rows.get_mut(&id) else {
                continue;
            };
            match (lease, version) {
                (Some(lease), Some(version)) => {
                    row.learn(&lease, &collected.wanted, version);
                    self.ended = self.ended.max(lease.ran_out(self.now));
                    row.end = row.end.take().or_else(|| ending(&lease, self.now));
                }
                // Neither ended in history nor in the store: it can be no longer open, and nobody knows since when.
                _ if row.end.is_none() => {
                    row.end = Some(End {
                        at: row.expired_at(self.now),
                        state: "unknown",
                        by: None,
                        reason: None,
                    });
                }
                _ => {}
            }
            if row.is_before(collected.wanted.since) {
                collected.leave(id);
            }
        }
        Ok(())
    }

    /// Takes out what turned out not to be wanted, once all is known.
    pub(super) async fn sift(&mut self, collected: &mut Collected) -> Result<()> {
        for row in collected.rows.values_mut() {
            self.name(&mut row.holder).await?;
        }
        let wanted = &collected.wanted;
        collected.rows.retain(|_, row| wanted.is_met(row));
        Ok(())
    }
}

/// How a stored lease ended; none where it is open.
fn ending(lease: &Lease, now: Timestamp) -> Option<End> {
    match (lease.status(now), &lease.state) {
        (LeaseStatus::Active, _) => None,
        (_, LeaseState::Active) => Some(End {
            at: lease.expires_at,
            state: "expired",
            by: None,
            reason: None,
        }),
        (status, LeaseState::Closed { at, ending }) => Some(End {
            at: *at,
            state: status.as_str(),
            by: match ending {
                Ending::Released { by } => Some(by.name.to_string()),
                Ending::Revoked { by, .. } => by.as_ref().map(|by| by.name.to_string()),
                Ending::Expired => None,
            },
            reason: match ending {
                Ending::Revoked { reason, .. } => reason.clone(),
                _ => None,
            },
        }),
    }
}
