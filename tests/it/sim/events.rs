//! The transitions of the model: what each event of history needs to be right, and what it changes.

use std::{collections::BTreeMap, fmt::Debug};

use leasehold::domain::{
    event::{AuditRecord, EventName},
    id::CredentialId,
    ledger::CredentialState,
    policy::Delivery,
    time::Timestamp,
};

use super::model::{Asked, Broken, Credential, Kept, Lease, Model, Policy, Stage, What, hold};

/// A record of something that happened to a credential or one of its leases.
struct Event<'a> {
    record: &'a AuditRecord,
    asked: Option<&'a Asked>,
    id: CredentialId,
    version: u32,
}

impl Event<'_> {
    fn what(&self) -> &What {
        self.asked.map_or(&What::Other, |asked| &asked.what)
    }

    fn hold(&self, promise: &'static str, holds: bool, of: &dyn Debug) -> Kept {
        hold(promise, holds, || format!("{:?} of {of:?}", self.record))
    }

    /// A record that no request explains.
    fn odd<T>(&self) -> Kept<T> {
        let how = format!("nothing known explains {:?}", self.record);
        Err(Broken {
            promise: "one-record",
            how,
        })
    }

    fn change(&self, field: &str) -> &str {
        let found = self.record.changes.iter().find(|it| it.field == field);
        found.and_then(|it| it.after.as_deref()).unwrap_or_default()
    }

    fn expires_at(&self) -> Timestamp {
        let text = self.change("expires_at");
        text.parse().unwrap_or(Timestamp::from_millis(0))
    }
}

impl Model {
    pub(super) fn happened(&mut self, record: &AuditRecord, asked: Option<&Asked>) -> Kept {
        let Some(id) = record.object.credential else {
            return Ok(());
        };
        let event = Event {
            record,
            asked,
            id,
            version: record.object.version.unwrap_or(0),
        };
        if record.event == EventName::CredentialCreated {
            return self.created(&event);
        }
        let Some(credential) = self.credentials.get(&id) else {
            return event.odd();
        };
        let own = credential.workspace == record.workspace;
        event.hold("isolation", own, credential)?;
        // Under the credential's lock one thing happens after the other.
        event.hold(
            "order",
            record.time >= credential.latest,
            &credential.latest,
        )?;
        match record.event {
            EventName::LeaseIssued => self.issued(&event)?,
            EventName::LeaseRedeemed
            | EventName::LeaseRenewed
            | EventName::LeaseReleased
            | EventName::LeaseRevoked
            | EventName::LeaseExpired => self.of_lease(&event)?,
            _ => self.of_credential(&event)?,
        }
        if let Some(credential) = self.credentials.get_mut(&id) {
            credential.latest = record.time;
        }
        Ok(())
    }

    fn created(&mut self, event: &Event<'_>) -> Kept {
        let What::Create { policy, value } = event.what() else {
            return event.odd();
        };
        self.values.insert((event.id, 1), value.clone());
        let made = Credential {
            workspace: event.record.workspace,
            policy: *policy,
            state: CredentialState::Active,
            versions: BTreeMap::from([(1, Stage::Current)]),
            shown: BTreeMap::new(),
            latest: event.record.time,
        };
        let before = self.credentials.insert(event.id, made);
        event.hold("one-record", before.is_none(), &before)
    }

    /// INVARIANT (lease-cap): never more than the policy allows as of the grant.
    fn issued(&mut self, event: &Event<'_>) -> Kept {
        let (record, credential) = (event.record, &self.credentials[&event.id]);
        let (What::Issue { ttl, reveal, key }, Some(lease_id)) =
            (event.what(), record.object.lease)
        else {
            return event.odd();
        };
        let (policy, open) = (credential.policy, self.open(event.id).count());
        event.hold(
            "lease-cap",
            open < policy.max_leases as usize,
            &(open, policy),
        )?;
        let usable = credential.state == CredentialState::Active
            && credential.versions.get(&event.version) == Some(&Stage::Current);
        event.hold("pinned-version", usable, credential)?;
        let granted = ttl.unwrap_or(policy.default_ttl).min(policy.max_ttl);
        let lease = Lease {
            workspace: record.workspace,
            credential: event.id,
            version: event.version,
            delivery: match event.change("delivery") {
                "broker" => Delivery::Broker,
                _ => Delivery::Reveal,
            },
            issued_at: record.time,
            expires_at: event.expires_at(),
            max_expires_at: record.time.plus(policy.max_ttl),
            max_uses: policy.max_uses,
            uses: u32::from(*reveal),
            renewals: 0,
            closed: None,
        };
        event.hold(
            "ttl",
            lease.expires_at == record.time.plus(granted),
            &policy,
        )?;
        let before = self.leases.insert(lease_id, lease);
        event.hold("one-record", before.is_none(), &before)?;
        if let (Some(key), Some(asked)) = (key, event.asked) {
            let before = self.by_key.insert((asked.by, key.clone()), lease_id);
            event.hold("idempotency", before.is_none(), &before)?;
        }
        Ok(())
    }

    fn of_lease(&mut self, event: &Event<'_>) -> Kept {
        let (record, credential) = (event.record, &self.credentials[&event.id]);
        let found = record.object.lease.and_then(|id| self.leases.get_mut(&id));
        let Some(lease) = found else {
            return event.odd();
        };
        event.hold("closed-for-good", lease.closed.is_none(), lease)?;
        // INVARIANT (ttl): by the record's time, and by the time at which it was asked for.
        let expired = record.time >= lease.expires_at;
        let asked_late = event
            .asked
            .is_some_and(|asked| asked.at >= lease.expires_at);
        let in_time = match record.event {
            EventName::LeaseExpired => expired,
            EventName::LeaseRevoked => true,
            _ => !expired && !asked_late,
        };
        event.hold("ttl", in_time, lease)?;
        let follows = event.version == lease.version;
        let usable = credential.state == CredentialState::Active
            && matches!(
                credential.versions.get(&lease.version),
                Some(Stage::Current | Stage::Rotated)
            );
        match record.event {
            EventName::LeaseRedeemed => {
                event.hold("pinned-version", follows && usable, &(&lease, credential))?;
                if let Some(credential) = self.credentials.get_mut(&event.id) {
                    let shown = &mut credential.shown;
                    shown.entry(event.version).or_insert(record.time);
                }
                // What a grant shows is counted with it, and what its retry shows is a use like any other.
                let with_grant =
                    record.reason.as_deref() == Some("shown in the answer to the grant");
                if !with_grant {
                    lease.uses += 1;
                }
                let told = event.change("uses") == lease.uses.to_string();
                event.hold("max-uses", told, lease)?;
                let within = lease.max_uses.is_none_or(|max| lease.uses <= max);
                event.hold(
                    "max-uses",
                    within && lease.delivery == Delivery::Reveal,
                    lease,
                )
            }
            EventName::LeaseRenewed => {
                let What::Renew { ttl } = event.what() else {
                    return event.odd();
                };
                let Policy {
                    default_ttl,
                    max_ttl,
                    ..
                } = credential.policy;
                let granted = ttl.unwrap_or(default_ttl).min(max_ttl);
                let last = lease.max_expires_at.min(lease.issued_at.plus(max_ttl));
                let right = event.expires_at() == record.time.plus(granted).min(last);
                event.hold("ttl", right && usable, &(&lease, credential))?;
                lease.expires_at = event.expires_at();
                lease.renewals += 1;
                Ok(())
            }
            ending => {
                event.hold("pinned-version", follows, lease)?;
                lease.closed = Some(ending);
                Ok(())
            }
        }
    }

    fn of_credential(&mut self, event: &Event<'_>) -> Kept {
        let (open, pinned) = (
            self.open(event.id).count(),
            self.open_on(event.id, event.version),
        );
        let Some(credential) = self.credentials.get_mut(&event.id) else {
            return event.odd();
        };
        match event.record.event {
            EventName::CredentialRotated => {
                let What::Rotate { value } = event.what() else {
                    return event.odd();
                };
                let (old, new, mode) = (
                    credential.newest(),
                    event.version,
                    event.change("on_open_leases"),
                );
                event.hold("one-record", new == old + 1, credential)?;
                if credential.versions[&old] == Stage::Current {
                    let stage = if mode == "cut" {
                        Stage::Cut
                    } else {
                        Stage::Rotated
                    };
                    credential.versions.insert(old, stage);
                }
                credential.versions.insert(new, Stage::Current);
                self.values.insert((event.id, new), value.clone());
                let leases = self
                    .leases
                    .values_mut()
                    .filter(|lease| lease.credential == event.id);
                let open = leases.filter(|lease| lease.closed.is_none() && mode == "follow");
                let follow = open.filter(|lease| lease.delivery == Delivery::Broker);
                follow.for_each(|lease| lease.version = new);
            }
            EventName::CredentialVersionRetired => {
                let stage = credential.versions.insert(event.version, Stage::Retired);
                let right = matches!(stage, Some(Stage::Rotated | Stage::Cut)) && pinned == 0;
                event.hold("retire-on-last-close", right, &(stage, pinned))?;
            }
            EventName::CredentialVersionRevoked => {
                credential.versions.insert(event.version, Stage::Revoked);
            }
            EventName::CredentialUpdated => {
                let What::Update { policy, state } = event.what() else {
                    return event.odd();
                };
                credential.policy = policy.unwrap_or(credential.policy);
                credential.state = state.unwrap_or(credential.state);
            }
            EventName::CredentialRevoked => {
                credential.state = CredentialState::Revoked;
                let stages = credential.versions.values_mut();
                let held = stages.filter(|stage| **stage != Stage::Retired);
                held.for_each(|stage| *stage = Stage::Revoked);
            }
            EventName::CredentialDeleted => {
                event.hold("closed-for-good", open == 0, &open)?;
                self.credentials.remove(&event.id);
            }
            _ => {}
        }
        Ok(())
    }
}
