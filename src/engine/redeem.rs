//! Redeeming handles.

use super::{
    Call, Engine, Note, Unit, canary::Touch, close::object, credential::change, views::LeaseView,
};
use crate::{
    authz::Action,
    crypto::bearer::{Bearer, Digest, Presented},
    domain::{
        error::{Error, Result},
        event::EventName,
        lease::{Lease, LeaseStatus},
        name::Metadata,
        secret::SecretText,
    },
    store::key,
};

/// A value, shown to the holder of its lease.
pub struct Redeemed {
    pub view: LeaseView,
    pub value: SecretText,
}

impl Engine {
    /// Exchanges a handle for its value. INVARIANT (ack-audited): the record is durable before the value leaves.
    pub async fn redeem(&self, call: &Call, handle: &SecretText) -> Result<Redeemed> {
        // Parsing must see the handle.
        let presented = Presented::parse(Bearer::Handle, handle.expose()).ok_or_else(|| {
            Error::invalid("handle", "`handle` is not a lease handle, or is mistyped")
        })?;
        let unknown = || Error::not_found("handle");
        let tables = self.tables(call.principal.workspace)?;
        let id = presented.lease();
        let credential = tables
            .lease_credential(&mut self.read(), id)
            .await?
            .ok_or_else(unknown)?;
        let locks = [key::credential_lock(credential)];
        let mut unit = self.begin_undecided(call, &locks).await?;
        let mut lease = tables.lease(&mut unit.txn, id).await?.ok_or_else(unknown)?;
        if !Digest::from_stored(lease.handle).proves(&self.keyring, &presented) {
            return Err(unknown());
        }
        let decided = unit.decide_lease(call, Action::HandleRedeem, &lease, None);
        if let Err(denial) = decided.await? {
            drop(unit);
            return Err(self.deny(call, denial).await?);
        }
        let (value, metadata, touch) = match unit.redeem(&mut lease).await {
            Ok(found) => found,
            Err(error) => {
                drop(unit);
                return self
                    .recorded(call, EventName::LeaseRefused, object(&lease), Err(error))
                    .await;
            }
        };
        unit.commit_touched(call, touch).await?;
        // INVARIANT (ttl): the process may have been stopped since the check.
        let now = self.now();
        self.stays_over(lease.ran_out(now)).await?;
        lease.check_open(now)?;
        let view = LeaseView {
            status: LeaseStatus::Active,
            version: lease.version,
            metadata,
            lease,
        };
        Ok(Redeemed { view, value })
    }
}

impl Unit<'_> {
    async fn redeem(&mut self, lease: &mut Lease) -> Result<(SecretText, Metadata, Option<Touch>)> {
        let tables = self.tables.clone();
        let mut used = lease.clone();
        used.redeem(self.now)?;
        let mut ledger = tables.ledger(&mut self.txn, lease.credential).await?;
        ledger.check_use(lease.version)?;
        let value = tables
            .value(&mut self.txn, lease.credential, lease.version)
            .await?;
        let metadata = self.metadata(&ledger, lease).await?;
        let uses = change(
            "uses",
            Some(lease.uses.to_string()),
            Some(used.uses.to_string()),
        );
        *lease = used;
        tables.put_lease(&mut *self.txn, lease)?;
        if ledger.mark_revealed(lease.version, self.now) {
            tables.put_ledger(&mut *self.txn, lease.credential, &ledger)?;
        }
        let purpose = lease.purpose.clone();
        self.record(Note {
            purpose,
            changes: vec![uses],
            ..Note::new(EventName::LeaseRedeemed, object(lease))
        })?;
        let touch = self.touch(lease, "its value was redeemed").await?;
        Ok((value, metadata, touch))
    }
}
