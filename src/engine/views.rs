//! What the engine answers: records and counters brought together as of one instant. No secrets.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{Call, Engine, canary::knows_canaries, cascade::open_lease_at};
use crate::{
    domain::{
        credential::{Credential, Version},
        error::{Code, Error, Result},
        id::CredentialId,
        lease::{Lease, LeaseStatus},
        ledger::{CredentialState, Ledger},
        name::Metadata,
        policy::Terms,
        time::Timestamp,
        workspace::Settings,
    },
    store::key,
    tables::{Read, Tables},
};

/// A credential as of an instant.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CredentialView {
    pub credential: Credential,
    pub state: CredentialState,
    pub current_version: u32,
    pub active_leases: u32,
    pub last_leased_at: Option<Timestamp>,
    /// What its policy resolves to; none where the policy that it extends does not exist.
    pub terms: Option<Terms>,
    /// When it should be rotated: what `rotate_every` says, or at once where a lease that had shown its value closed
    /// and the policy asks for it.
    pub next_rotation_at: Option<Timestamp>,
    /// Whether it is a canary; none for whoever may not know.
    pub canary: Option<bool>,
}

/// A version as of an instant.
#[derive(Debug, Clone)]
pub struct VersionView {
    pub version: Version,
    pub active_leases: u32,
    /// When a lease first showed the value to its holder.
    pub revealed_at: Option<Timestamp>,
}

/// A lease as of an instant.
#[derive(Debug, Clone)]
pub struct LeaseView {
    pub lease: Lease,
    pub status: LeaseStatus,
    /// The version it uses: the pinned one, or the one it followed.
    pub version: u32,
    pub metadata: Metadata,
}

/// When a credential should be rotated.
pub(super) fn rotation_due(
    credential: &Credential,
    terms: Option<&Terms>,
    ledger: &Ledger,
) -> Option<Timestamp> {
    let outlived = outlived_at(terms, ledger);
    let every = credential.next_rotation_at();
    outlived.into_iter().chain(every).min()
}

/// Since when somebody has known the current value without a lease, where the policy wants it rotated then.
pub(super) fn outlived_at(terms: Option<&Terms>, ledger: &Ledger) -> Option<Timestamp> {
    let wanted = terms.is_some_and(|terms| terms.rotate_after_reveal);
    ledger
        .current()
        .filter(|_| wanted)
        .and_then(|current| current.outlived_at)
}

impl Engine {
    /// The view of a credential whose ledger is at hand. `due` leases have expired and are not closed yet.
    pub(super) fn credential_view(
        &self,
        call: &Call,
        mut credential: Credential,
        workspace: &Settings,
        ledger: &Ledger,
        due: u32,
    ) -> CredentialView {
        let mut terms = self.policies.resolve(&credential.policy, workspace).ok();
        let next_rotation_at = rotation_due(&credential, terms.as_ref(), ledger);
        // INVARIANT (canary-hidden)
        let canary = knows_canaries(&call.principal).then_some(credential.canary);
        if canary.is_none() {
            credential.canary = false;
            credential.policy.canary_suspends = None;
            if let Some(terms) = &mut terms {
                terms.canary_suspends = false;
            }
        }
        CredentialView {
            next_rotation_at,
            canary,
            state: ledger.state,
            current_version: ledger.newest,
            active_leases: ledger.active.saturating_sub(due),
            last_leased_at: ledger.last_leased_at,
            terms,
            credential,
        }
    }

    /// Open leases of a credential that have expired and that the reaper has not closed yet, for an answer to tell.
    pub(super) async fn due(
        &self,
        tables: &Tables,
        id: CredentialId,
        ledger: &Ledger,
    ) -> Result<u32> {
        let (due, ended) = self.count_due(tables, &mut self.read(), id, ledger).await?;
        self.stays_over(ended).await?;
        Ok(due)
    }

    /// The same for an answer that a commit comes before; with the end of the last one.
    pub(super) async fn count_due(
        &self,
        tables: &Tables,
        read: &mut impl Read,
        id: CredentialId,
        ledger: &Ledger,
    ) -> Result<(u32, Option<Timestamp>)> {
        let (mut due, mut ended) = (0u32, None);
        if ledger.active == 0 {
            return Ok((due, ended));
        }
        let mut scan = key::due_leases(tables.workspace, id, self.now());
        loop {
            let page = read.range(&scan).await?;
            let Some((last, _)) = page.last() else {
                return Ok((due, ended));
            };
            scan = scan.after(last);
            due = due.saturating_add(u32::try_from(page.len()).unwrap_or(u32::MAX));
            ended = key::parse_open_lease(last).map(|open| open.expiry);
        }
    }

    /// As [`Self::due`], for each version.
    pub(super) async fn due_by_version(
        &self,
        tables: &Tables,
        read: &mut impl Read,
        id: CredentialId,
        ledger: &Ledger,
    ) -> Result<HashMap<u32, u32>> {
        let (mut due, mut ended) = (HashMap::new(), None);
        if ledger.active == 0 {
            return Ok(due);
        }
        let mut scan = key::due_leases(tables.workspace, id, self.now());
        loop {
            let page = read.range(&scan).await?;
            let Some((last, _)) = page.last() else {
                self.stays_over(ended).await?;
                return Ok(due);
            };
            scan = scan.after(last);
            ended = key::parse_open_lease(last).map(|open| open.expiry);
            for (at, _) in &page {
                let id = open_lease_at(at)?;
                let lease = match tables.lease(read, id).await {
                    Err(error) if error.code() != Code::StorageUnavailable => {
                        self.unreadable.tell(id, &error);
                        continue;
                    }
                    read => read?,
                };
                if let Some(lease) = lease.filter(Lease::counted) {
                    let version = ledger.pinned(lease.version, lease.delivery);
                    *due.entry(version).or_default() += 1;
                }
            }
        }
    }
}

/// The view of one lease.
pub(super) async fn lease_view(
    tables: &Tables,
    now: Timestamp,
    read: &mut impl Read,
    lease: Lease,
) -> Result<LeaseView> {
    let pinned = match lease.counted() {
        true => {
            let pinned = |ledger: &Ledger| ledger.pinned(lease.version, lease.delivery);
            tables.of_ledger(read, lease.credential, pinned).await?
        }
        false => None,
    };
    let version = pinned.unwrap_or(lease.version);
    let metadata = tables.version_metadata(read, lease.credential, version);
    Ok(LeaseView {
        // A deleted credential leaves its leases behind without their metadata.
        metadata: metadata.await?.unwrap_or_default(),
        status: lease.status(now),
        version,
        lease,
    })
}

/// Builds lease views, reading each ledger and each version's metadata once.
pub(super) struct LeaseViews<'a> {
    tables: &'a Tables,
    now: Timestamp,
    ledgers: HashMap<CredentialId, Option<Ledger>>,
    metadata: HashMap<(CredentialId, u32), Metadata>,
}

impl<'a> LeaseViews<'a> {
    pub(super) fn new(tables: &'a Tables, now: Timestamp) -> Self {
        Self {
            tables,
            now,
            ledgers: HashMap::new(),
            metadata: HashMap::new(),
        }
    }

    pub(super) async fn view(&mut self, read: &mut impl Read, lease: Lease) -> Result<LeaseView> {
        let id = lease.credential;
        let version = if lease.counted() {
            if !self.ledgers.contains_key(&id) {
                let ledger = self.tables.find_ledger(read, id).await?;
                self.ledgers.insert(id, ledger);
            }
            let ledger = self.ledgers.get(&id).and_then(Option::as_ref);
            ledger.map_or(lease.version, |ledger| {
                ledger.pinned(lease.version, lease.delivery)
            })
        } else {
            lease.version
        };
        if !self.metadata.contains_key(&(id, version)) {
            // A deleted credential leaves its leases behind without their metadata.
            let found = self.tables.version_metadata(read, id, version).await?;
            self.metadata
                .insert((id, version), found.unwrap_or_default());
        }
        let metadata = self.metadata.get(&(id, version)).cloned();
        let metadata = metadata.ok_or_else(|| Error::internal("a view lost its metadata"))?;
        Ok(LeaseView {
            status: lease.status(self.now),
            version,
            metadata,
            lease,
        })
    }
}
