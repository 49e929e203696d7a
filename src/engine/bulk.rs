//! Revoking every lease that matches a filter, credential by credential, before the answer.

use std::collections::BTreeMap;

use super::{
    Call, Engine, Note, Unit, Witness,
    credential::{author, change},
    leases::LeaseFilter,
    stop::{Begun, Counts, Stopped, Target},
    unreadable::Indexed,
    update::check_reason,
};
use crate::{
    authz::{Action, Permit, Resource},
    domain::{
        credential::Author,
        error::{Code, Error, Result},
        event::{Actor, Change, EventName, Object, Origin},
        id::{CredentialId, LeaseId, WorkspaceId},
        lease::{Ending, Lease},
        name::{CredentialName, IdentityName, MAX_SESSION_BYTES, check_text},
        time::Timestamp,
    },
    store::{
        key,
        port::{LockKey, Scan, after_prefix},
    },
    tables::Tables,
};

/// Open leases looked at in one transaction.
const BATCH: usize = 256;
/// Leases that a failure names, at most.
const MAX_NAMED: usize = 20;

/// Which leases to revoke.
#[derive(Debug, Clone, Default)]
pub struct BulkFilter {
    pub credential_name: Option<CredentialName>,
    pub identity: Option<IdentityName>,
    pub version: Option<u32>,
    pub session: Option<String>,
    /// Required in place of an empty filter.
    pub all: bool,
}

/// Whether a lease, which uses that version, is to be revoked.
pub(super) type Wanted<'a> = dyn Fn(&Lease, u32, Timestamp) -> bool + Sync + 'a;

/// What a search for leases came to.
#[derive(Default)]
struct Found {
    revoked: u64,
    /// Those that do not open: nobody can use them, and nothing says whether they are wanted.
    unreadable: Vec<LeaseId>,
}

impl Found {
    /// How many leases were revoked; where the search cannot be complete it fails, once all others are.
    fn complete(self) -> Result<u64> {
        if self.unreadable.is_empty() {
            return Ok(self.revoked);
        }
        let named = self.unreadable.iter().take(MAX_NAMED);
        let named: Vec<_> = named.map(ToString::to_string).collect();
        Err(Error::new(
            Code::Internal,
            "leases whose records do not open could not be looked at; all others are revoked",
        )
        .with("revoked_leases", self.revoked)
        .with("unreadable_leases", named))
    }
}

/// Who revokes and why, for the leases' records and for history.
pub(super) struct Revoker {
    pub(super) actor: Actor,
    pub(super) origin: Option<Origin>,
    pub(super) decided_by: Option<String>,
    pub(super) by: Option<Author>,
    pub(super) reason: Option<String>,
    /// Who is told of the records, where a request revokes.
    pub(super) witness: Option<Witness>,
}

impl Revoker {
    pub(super) fn of(call: &Call, permit: &Permit, reason: Option<String>) -> Self {
        Self {
            actor: Actor::of(&call.principal),
            origin: Some(call.origin.clone()),
            decided_by: Some(permit.decided_by().to_owned()),
            by: Some(author(&call.principal)),
            reason,
            witness: Some(call.entered.witness().clone()),
        }
    }

    pub(super) async fn begin<'a>(
        &self,
        engine: &'a Engine,
        workspace: WorkspaceId,
        locks: &[LockKey],
    ) -> Result<Unit<'a>> {
        let (origin, decided_by) = (self.origin.clone(), self.decided_by.clone());
        let actor = self.actor.clone();
        let unit = Unit::begin(engine, workspace, actor, origin, decided_by, locks);
        Ok(unit.await?.witnessed_by(self.witness.as_ref()))
    }
}

impl BulkFilter {
    fn is_empty(&self) -> bool {
        self.credential_name.is_none()
            && self.identity.is_none()
            && self.version.is_none()
            && self.session.is_none()
    }

    /// What it names, by the fields' names.
    fn named(&self) -> BTreeMap<&'static str, String> {
        let version = self.version.map(|version| version.to_string());
        let name = self.credential_name.as_ref().map(ToString::to_string);
        [
            ("credential_name", name),
            ("identity", self.identity.as_ref().map(ToString::to_string)),
            ("session_id", self.session.clone()),
            ("version", version),
        ]
        .into_iter()
        .filter_map(|(field, value)| Some((field, value?)))
        .collect()
    }

    fn describe(&self) -> Vec<Change> {
        let named = self.named().into_iter();
        named
            .map(|(field, value)| change(&format!("filter.{field}"), None, Some(value)))
            .collect()
    }
}

impl Engine {
    /// Revokes every open lease that matches, complete before the answer: grants that began before it are waited for,
    /// and so are uses that began while a lease was open. Whoever comes later is served: this stops leases, not callers.
    /// INVARIANT (stop-is-complete).
    pub async fn revoke_leases(
        &self,
        call: &Call,
        filter: &BulkFilter,
        reason: Option<String>,
    ) -> Result<Stopped> {
        let at = self.now();
        check_reason(reason.as_deref())?;
        if filter.is_empty() != filter.all {
            return Err(if filter.all {
                Error::invalid("all", "`all` and a filter exclude each other")
            } else {
                Error::new(
                    Code::MissingParameter,
                    "`filter` is empty; name what to revoke, or send `\"all\": true`",
                )
                .with("field", "filter")
            });
        }
        if let Some(session) = &filter.session {
            check_text(session, "filter.session_id", MAX_SESSION_BYTES)?;
        }
        if filter.version.is_some() && filter.credential_name.is_none() {
            return Err(Error::missing("filter.credential_name"));
        }
        let permit = self
            .authorize(call, Action::LeaseRevokeMany, Resource::Workspace)
            .await?;
        let tables = self.tables(call.principal.workspace)?;
        let revoker = Revoker::of(call, &permit, reason.clone());
        let wanted = LeaseFilter {
            identity: filter.identity.as_ref().map(ToString::to_string),
            session: filter.session.clone(),
            ..LeaseFilter::default()
        };
        let matches = |lease: &Lease, version: u32, now: Timestamp| {
            wanted.matches(lease, now) && filter.version.is_none_or(|wanted| wanted == version)
        };
        // A grant that was let in before may not have its lease yet.
        self.drained(call).await;
        // One that its client gave up may have left a lease behind that is queued and not durable yet, which the search
        // would pass over. What is written after it is durable after it.
        self.mark_clock().await?;
        let mut found = Found::default();
        match &filter.credential_name {
            None => {
                self.search_all(&tables, &revoker, &matches, &mut found)
                    .await?;
            }
            // A name that does not exist has no leases, and the count says so.
            Some(name) => {
                if let Some(id) = tables.credential_id(&mut self.read(), name).await? {
                    self.search_in(&tables, id, &revoker, &matches, &mut found)
                        .await?;
                }
            }
        }
        // Who found a lease open has its answer by then.
        self.drained(call).await;
        let mut unit = self.begin(call, &permit, &[]).await?;
        let mut changes = filter.describe();
        changes.push(change("revoked", None, Some(found.revoked.to_string())));
        if !found.unreadable.is_empty() {
            let count = Some(found.unreadable.len().to_string());
            changes.push(change("unreadable_leases", None, count));
        }
        let event = unit.record_as(Note {
            reason: reason.clone(),
            changes,
            ..Note::new(EventName::LeaseBulkRevoked, Object::default())
        })?;
        unit.commit().await?;
        let leases = found.complete()?;
        let begun = Begun { at, event, permit };
        let target = Target::leases(&call.principal, filter.named());
        let counts = Counts {
            leases,
            ..Counts::default()
        };
        self.stopped(call, &begun, target, reason, counts)
    }

    /// Revokes every open lease of a workspace that is wanted, credential by credential. Fails where some do not open,
    /// once all others are revoked.
    pub(super) async fn revoke_open(
        &self,
        tables: &Tables,
        revoker: &Revoker,
        wanted: &Wanted<'_>,
    ) -> Result<u64> {
        let mut found = Found::default();
        self.search_all(tables, revoker, wanted, &mut found).await?;
        found.complete()
    }

    async fn search_all(
        &self,
        tables: &Tables,
        revoker: &Revoker,
        wanted: &Wanted<'_>,
        found: &mut Found,
    ) -> Result<()> {
        let mut scan = key::open_leases_of(tables.workspace);
        scan.limit = 1;
        while let Some((at, _)) = self.read().scan(&scan).await?.pop() {
            let open = key::parse_open_lease(&at)
                .ok_or_else(|| Error::internal("malformed open-lease key"))?;
            self.search_in(tables, open.credential, revoker, wanted, found)
                .await?;
            scan.start = after_prefix(&key::open_leases(tables.workspace, open.credential).start);
        }
        Ok(())
    }

    async fn search_in(
        &self,
        tables: &Tables,
        id: CredentialId,
        revoker: &Revoker,
        wanted: &Wanted<'_>,
        found: &mut Found,
    ) -> Result<()> {
        let mut scan = Scan {
            limit: BATCH,
            ..key::open_leases(tables.workspace, id)
        };
        loop {
            let locks = [key::credential_lock(id)];
            let mut unit = revoker.begin(self, tables.workspace, &locks).await?;
            let open = unit.txn.scan(&scan).await?;
            let Some((last, _)) = open.last() else {
                return Ok(());
            };
            scan = scan.after(last);
            let mut ledger = unit.tables.ledger(&mut unit.txn, id).await?;
            let mut closed = false;
            for (entry, _) in &open {
                let lease = match unit.indexed(entry).await? {
                    Indexed::Open(lease) => *lease,
                    Indexed::Stray => continue,
                    Indexed::Unreadable(lease) => {
                        found.unreadable.push(lease);
                        continue;
                    }
                };
                let version = ledger.pinned(lease.version, lease.delivery);
                if !wanted(&lease, version, unit.now) {
                    continue;
                }
                // One that the reaper has not come to yet is closed as it would be, and is no revocation.
                let ending = match lease.check_open(unit.now) {
                    Err(_) => Ending::Expired,
                    Ok(()) => {
                        found.revoked += 1;
                        Ending::Revoked {
                            by: revoker.by.clone(),
                            reason: revoker.reason.clone(),
                        }
                    }
                };
                unit.close_lease(&mut ledger, lease, ending).await?;
                closed = true;
            }
            if closed {
                unit.tables.put_ledger(&mut *unit.txn, id, &ledger)?;
                unit.commit().await?;
            }
            tokio::task::yield_now().await;
        }
    }
}
