//! Closing a lease and, with the last one, retiring its version: the one place where either happens.

use super::{Note, Unit, credential::change};
use crate::domain::{
    credential::VersionState,
    error::{Error, Result},
    event::{EventName, Object},
    id::CredentialId,
    lease::{Ending, Lease, LeaseStatus},
    ledger::{Emptied, Ledger},
    name::CredentialName,
    policy::Delivery,
};

/// The lease as an audit object.
pub(super) fn object(lease: &Lease) -> Object {
    Object {
        credential: Some(lease.credential),
        credential_name: Some(lease.credential_name.clone()),
        version: Some(lease.version),
        lease: Some(lease.id),
        holder: Some(lease.holder.identity),
        holder_name: Some(lease.holder.name.clone()),
        session: lease.holder.session.clone(),
        name: None,
    }
}

impl Unit<'_> {
    /// Closes an open lease. The caller writes the ledger when it has closed all it wants.
    pub(super) async fn close_lease(
        &mut self,
        ledger: &mut Ledger,
        mut lease: Lease,
        ending: Ending,
    ) -> Result<Lease> {
        let event = match ending {
            Ending::Expired => EventName::LeaseExpired,
            Ending::Released { .. } => EventName::LeaseReleased,
            Ending::Revoked { .. } => EventName::LeaseRevoked,
        };
        let (reason, state) = match &ending {
            Ending::Revoked { reason, .. } => (reason.clone(), LeaseStatus::Revoked),
            Ending::Expired => (None, LeaseStatus::Expired),
            Ending::Released { .. } => (None, LeaseStatus::Released),
        };
        let version = ledger.pinned(lease.version, lease.delivery);
        self.tables.delete_open(&mut *self.txn, &lease);
        lease.close(version, ending, self.now)?;
        self.tables.put_lease(&mut *self.txn, &lease)?;
        let purpose = lease.purpose.clone();
        let text = |state: LeaseStatus| Some(state.as_str().to_owned());
        self.record(Note {
            purpose,
            reason,
            changes: vec![change("state", text(LeaseStatus::Active), text(state))],
            ..Note::new(event, object(&lease))
        })?;
        if lease.delivery == Delivery::Reveal && lease.uses > 0 {
            ledger.mark_outlived(version, self.now);
        }
        // INVARIANT (retire-on-last-close)
        if let Some(emptied) = ledger.close(version, lease.delivery)? {
            let why = "it was rotated, and its last lease closed";
            self.retire(lease.credential, &lease.credential_name, emptied, why)
                .await?;
        }
        Ok(lease)
    }

    /// Erases the value of a version that no lease needs any more.
    pub(super) async fn retire(
        &mut self,
        id: CredentialId,
        name: &CredentialName,
        emptied: Emptied,
        why: &str,
    ) -> Result<()> {
        if !emptied.retires {
            return Ok(());
        }
        let missing = || Error::internal("a version in use has no record");
        let mut version = self
            .tables
            .version(&mut self.txn, id, emptied.number)
            .await?
            .ok_or_else(missing)?;
        let before = Some(version.state.as_str());
        let rotated_at = version.state.rotated_at().unwrap_or(self.now);
        version.state = VersionState::Retired {
            rotated_at,
            at: self.now,
        };
        version.revealed_at = emptied.revealed_at;
        self.tables.put_version(&mut *self.txn, id, &version)?;
        self.tables.erase_value(&mut *self.txn, id, emptied.number);
        let object = Object {
            credential: Some(id),
            credential_name: Some(name.clone()),
            version: Some(emptied.number),
            ..Object::default()
        };
        let after = Some(version.state.as_str());
        self.record(Note {
            reason: Some(why.to_owned()),
            changes: vec![change("state", before, after)],
            ..Note::new(EventName::CredentialVersionRetired, object)
        })
    }
}
