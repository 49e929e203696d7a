//! Renewing, releasing and revoking leases.

use super::{
    Call, Engine, Note, Unit,
    close::object,
    credential::{author, change},
    update::check_reason,
    views::{LeaseView, lease_view},
};
use crate::{
    authz::{self, Action, Resource},
    domain::{
        error::{Error, Result},
        event::{Actor, EventName},
        id::LeaseId,
        lease::{Ending, Lease, LeaseStatus},
        ledger::Ledger,
        name::Metadata,
        time::Ttl,
    },
    store::{key, port::LockKey},
};

impl Engine {
    /// Extends a lease.
    pub async fn renew_lease(
        &self,
        call: &Call,
        id: LeaseId,
        ttl: Option<Ttl>,
    ) -> Result<LeaseView> {
        let (mut unit, mut lease) = self.lock_lease(call, Action::LeaseRenew, id, ttl).await?;
        let metadata = match unit.renew(&mut lease, ttl).await {
            Ok(metadata) => metadata,
            Err(error) => {
                drop(unit);
                return self
                    .recorded(call, EventName::LeaseRefused, object(&lease), Err(error))
                    .await;
            }
        };
        self.schedule
            .add((unit.tables.workspace, lease.credential), lease.expires_at);
        unit.commit().await?;
        let (version, metadata) = metadata;
        Ok(LeaseView {
            status: LeaseStatus::Active,
            version,
            metadata,
            lease,
        })
    }

    /// Gives a lease back: its holder is done.
    pub async fn release_lease(&self, call: &Call, id: LeaseId) -> Result<LeaseView> {
        let ending = Ending::Released {
            by: author(&call.principal),
        };
        self.end_lease(call, Action::LeaseRelease, id, ending).await
    }

    /// Ends somebody's lease.
    pub async fn revoke_lease(
        &self,
        call: &Call,
        id: LeaseId,
        reason: Option<String>,
    ) -> Result<LeaseView> {
        check_reason(reason.as_deref())?;
        let ending = Ending::Revoked {
            by: Some(author(&call.principal)),
            reason,
        };
        self.end_lease(call, Action::LeaseRevoke, id, ending).await
    }

    async fn end_lease(
        &self,
        call: &Call,
        action: Action,
        id: LeaseId,
        ending: Ending,
    ) -> Result<LeaseView> {
        let (mut unit, lease) = self.lock_lease(call, action, id, None).await?;
        if let Err(error) = lease.check_open(unit.now) {
            drop(unit);
            return self
                .recorded(call, EventName::LeaseRefused, object(&lease), Err(error))
                .await;
        }
        let mut ledger = unit.tables.ledger(&mut unit.txn, lease.credential).await?;
        let lease = unit.close_lease(&mut ledger, lease, ending).await?;
        unit.tables
            .put_ledger(&mut *unit.txn, lease.credential, &ledger)?;
        let view = lease_view(&unit.tables, unit.now, &mut unit.txn, lease).await?;
        unit.commit().await?;
        Ok(view)
    }

    /// A lease under its credential's lock, once the caller may act on it.
    async fn lock_lease<'a>(
        &'a self,
        call: &Call,
        action: Action,
        id: LeaseId,
        ttl: Option<Ttl>,
    ) -> Result<(Unit<'a>, Lease)> {
        let tables = self.tables(call.principal.workspace)?;
        let credential = tables
            .lease_credential(&mut self.read(), id)
            .await?
            .ok_or_else(no_lease)?;
        let locks = [key::credential_lock(credential)];
        let mut unit = self.begin_undecided(call, &locks).await?;
        let lease = tables
            .lease(&mut unit.txn, id)
            .await?
            .ok_or_else(no_lease)?;
        if let Err(denial) = unit.decide_lease(call, action, &lease, ttl).await? {
            drop(unit);
            return Err(self.deny(call, denial).await?);
        }
        Ok((unit, lease))
    }

    /// A unit whose caller is known and whose permission is decided once what it acts on is read.
    pub(super) async fn begin_undecided<'a>(
        &'a self,
        call: &Call,
        locks: &[LockKey],
    ) -> Result<Unit<'a>> {
        let actor = Actor::of(&call.principal);
        let unit = Unit::begin(
            self,
            call.principal.workspace,
            actor,
            Some(call.origin.clone()),
            None,
            locks,
        );
        Ok(unit.await?.witnessed_by(Some(call.entered.witness())))
    }
}

impl Unit<'_> {
    async fn renew(&mut self, lease: &mut Lease, ttl: Option<Ttl>) -> Result<(u32, Metadata)> {
        let tables = self.tables.clone();
        lease.check_open(self.now)?;
        let resolved = self.resolved(lease.credential).await?;
        let ledger = tables.ledger(&mut self.txn, lease.credential).await?;
        let version = ledger.pinned(lease.version, lease.delivery);
        ledger.check_use(version)?;
        let before = lease.clone();
        let mut renewed = before.clone();
        renewed.renew(ttl, &resolved.terms, self.now)?;
        tables.delete_open(&mut *self.txn, &before);
        tables.put_open(&mut *self.txn, &renewed)?;
        tables.put_lease(&mut *self.txn, &renewed)?;
        let changes = vec![change(
            "expires_at",
            Some(before.expires_at.to_string()),
            Some(renewed.expires_at.to_string()),
        )];
        self.record(Note {
            purpose: renewed.purpose.clone(),
            changes,
            ..Note::new(EventName::LeaseRenewed, object(&renewed))
        })?;
        let metadata = self.metadata(&ledger, &renewed).await?;
        *lease = renewed;
        Ok((version, metadata))
    }

    /// The metadata of the version that a lease uses.
    pub(super) async fn metadata(&mut self, ledger: &Ledger, lease: &Lease) -> Result<Metadata> {
        let version = ledger.pinned(lease.version, lease.delivery);
        let found = self
            .tables
            .version_metadata(&mut self.txn, lease.credential, version)
            .await?;
        found.ok_or_else(|| Error::internal("a version in use has no record"))
    }

    /// Notes what decided that this unit may act.
    pub(super) fn decided(&mut self, permit: &authz::Permit) {
        self.set_decided_by(permit.decided_by());
    }
}

/// The lease as what a decision is about.
pub(super) fn resource(lease: &Lease) -> Resource {
    Resource::Lease {
        id: lease.id,
        credential: lease.credential_name.clone(),
        holder: lease.holder.identity,
        requested_by: lease.requested_by.by.identity,
    }
}

pub(super) fn no_lease() -> Error {
    Error::not_found("lease")
}
