//! The grant itself: the lease, its keys, the count and the records, under the credential's lock.

use super::{
    super::{
        Note, Unit,
        canary::Touch,
        close::object,
        credential::{author, change},
        idempotency::Slot,
    },
    Call, DUE_AT_GRANT, IssueLease,
};
use crate::{
    crypto::bearer::Bearer,
    domain::{
        error::{Code, Error, Result},
        event::EventName,
        id::{CredentialId, LeaseId},
        lease::{Grant, Holder, Lease, Requester},
        name::Metadata,
        policy::{Delivery, Terms},
        secret::SecretText,
    },
    store::key,
};

pub(super) struct Granted {
    pub(super) lease: Lease,
    pub(super) metadata: Metadata,
    pub(super) handle: SecretText,
    pub(super) touch: Option<Touch>,
}

impl Unit<'_> {
    pub(super) async fn grant(
        &mut self,
        call: &Call,
        slot: &Slot<'_>,
        credential_id: CredentialId,
        holder: Holder,
        command: IssueLease,
    ) -> Result<Granted> {
        let tables = self.tables.clone();
        let resolved = self.resolved(credential_id).await?;
        let (credential, terms) = (&resolved.credential, &resolved.terms);
        let mut ledger = tables.ledger(&mut self.txn, credential_id).await?;
        let delivery = check_request(&command, terms)?;
        if ledger.active >= terms.max_leases {
            Box::pin(self.close_due(credential_id, &mut ledger, DUE_AT_GRANT)).await?;
        }
        let version = match ledger.grant(delivery, terms.max_leases, self.now) {
            Ok(version) => version,
            Err(error) => return Err(self.with_retry_at(error, credential_id).await?),
        };
        if command.reveal {
            ledger.mark_revealed(version, self.now);
        }
        let entropy = self.engine.keyring.entropy();
        let id = LeaseId::new(self.now, &entropy.bytes()?);
        let minted = match slot.key() {
            Some(key) => self
                .engine
                .keyring
                .mint_repeatable(tables.workspace, id, key),
            None => self.engine.keyring.mint(Bearer::Handle, id.as_bytes())?,
        };
        let principal = &call.principal;
        let grant = Grant {
            id,
            handle: minted.digest.to_stored(),
            credential: credential_id,
            credential_name: credential.name.clone(),
            version,
            delivery,
            holder,
            requested_by: Requester {
                by: author(principal),
                kind: principal.kind,
                proof: principal.proof,
            },
            purpose: command.purpose,
            requested_ttl: command.ttl,
            reveal: command.reveal,
        };
        let lease = Lease::issue(grant, terms, self.now);
        tables.put_lease(&mut *self.txn, &lease)?;
        tables.put_open(&mut *self.txn, &lease)?;
        tables.put_ledger(&mut *self.txn, credential_id, &ledger)?;
        let purpose = lease.purpose.clone();
        let changes = vec![
            change("expires_at", None, Some(lease.expires_at.to_string())),
            change("delivery", None, Some(lease.delivery.as_str())),
        ];
        self.record(Note {
            purpose,
            changes,
            ..Note::new(EventName::LeaseIssued, object(&lease))
        })?;
        if command.reveal {
            // The answer shows the value: that is a use, and history says so.
            let reason = Some("shown in the answer to the grant".to_owned());
            let uses = change("uses", Some("0".to_owned()), Some(lease.uses.to_string()));
            self.record(Note {
                purpose: lease.purpose.clone(),
                reason,
                changes: vec![uses],
                ..Note::new(EventName::LeaseRedeemed, object(&lease))
            })?;
        }
        let touch = self.touch(&lease, "a lease of it was issued").await?;
        Ok(Granted {
            lease,
            metadata: credential.metadata.clone(),
            handle: minted.text,
            touch,
        })
    }

    /// Says when a lease of a full credential ends at the latest, so that the caller knows when to come back.
    async fn with_retry_at(&mut self, error: Error, credential: CredentialId) -> Result<Error> {
        if error.code() != Code::LeaseLimitReached {
            return Ok(error);
        }
        let mut scan = key::open_leases(self.tables.workspace, credential);
        // What is due by now and still open does not open, and never makes place.
        scan.start = key::due_leases(self.tables.workspace, credential, self.now).end;
        scan.limit = 1;
        let first = self
            .txn
            .scan(&scan)
            .await?
            .pop()
            .and_then(|(at, _)| key::parse_open_lease(&at));
        Ok(match first {
            Some(open) => error.with("retry_at", open.expiry.to_string()),
            None => error,
        })
    }
}

/// Holds a request to the credential's terms; gives back the delivery to grant.
fn check_request(command: &IssueLease, terms: &Terms) -> Result<Delivery> {
    if terms.require_purpose
        && command
            .purpose
            .as_deref()
            .is_none_or(|purpose| purpose.trim().is_empty())
    {
        return Err(Error::new(
            Code::MissingParameter,
            "the credential's policy requires a `purpose`",
        )
        .with("field", "purpose"));
    }
    let delivery = terms.grant_delivery(command.delivery)?;
    if command.reveal && delivery == Delivery::Broker {
        return Err(Error::invalid(
            "reveal",
            "a broker lease never shows its value; ask for `delivery: reveal`",
        ));
    }
    Ok(delivery)
}
