//! A record as the question that it answers.

mod caller;

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use super::super::{
    Engine,
    authorize::{Subject, renewal},
    lease::resource,
};
use crate::{
    audit::query::Numbered,
    authz::{Action, Facts, LeaseFacts, Question, Resource, TermsFacts},
    domain::{
        error::Result,
        event::{Actor, AuditRecord, EventName},
        id::CredentialId,
        lease::{Holder, Lease},
        name::IdentityName,
        policy::Delivery,
        principal::{IdentityType, Principal, ProofId},
        time::{Span, Timestamp},
    },
    tables::Tables,
};

/// A question that was answered once.
pub(super) struct Put {
    principal: Principal,
    pub(super) actions: Vec<Action>,
    pub(super) resource: Resource,
    source_ip: Option<IpAddr>,
    subject: Arc<Subject>,
    lease: Option<Leased>,
    terms: Option<TermsFacts>,
    /// Whether facts of the question are in no record: a value, or what was asked where it was denied.
    pub(super) incomplete: bool,
    /// Whether the record is of a denial.
    pub(super) denied: bool,
}

/// The facts of a lease.
struct Leased {
    holder: Holder,
    requested_by: (IdentityType, IdentityName),
    delivery: Delivery,
    purpose: Option<String>,
}

impl Put {
    pub(super) fn question(&self, action: Action, now: Timestamp) -> Question<'_> {
        let lease = self.lease.as_ref().map(|lease| LeaseFacts {
            holder: &lease.holder,
            requested_by: (lease.requested_by.0, &lease.requested_by.1),
            delivery: lease.delivery,
            purpose: lease.purpose.as_deref(),
        });
        Question {
            principal: &self.principal,
            action,
            resource: self.resource.clone(),
            now,
            source_ip: self.source_ip,
            facts: Facts {
                lease,
                terms: self.terms,
                ..self.subject.facts()
            },
        }
    }

    /// The action that was asked for; the others go with it.
    pub(super) fn spelling(&self) -> &'static str {
        self.actions.last().map_or("", |action| action.as_str())
    }
}

/// What is known now of who and what the records name, read once.
pub(super) struct Recall<'a> {
    engine: &'a Engine,
    tables: Tables,
    asker: &'a Principal,
    principals: HashMap<ProofId, Option<Principal>>,
    subjects: HashMap<CredentialId, Arc<Subject>>,
    /// Requests whose revocations are consequences of something else that was decided.
    sweeping: HashSet<String>,
}

fn request_id(record: &AuditRecord) -> Option<&str> {
    let origin = record.origin.as_ref()?;
    Some(origin.request_id.as_str()).filter(|id| !id.is_empty())
}

fn changed<'a>(record: &'a AuditRecord, field: &str) -> Option<&'a str> {
    let change = record.changes.iter().find(|change| change.field == field)?;
    change.after.as_deref()
}

/// From the record to the end that it gave the lease.
fn granted(record: &AuditRecord, from: Timestamp) -> Option<Span> {
    let end: Timestamp = changed(record, "expires_at")?.parse().ok()?;
    Some(end.since(from))
}

fn shown_in_grant(record: &AuditRecord) -> bool {
    record.event == EventName::LeaseRedeemed && record.reason.is_some()
}

impl<'a> Recall<'a> {
    pub(super) fn new(engine: &'a Engine, asker: &'a Principal) -> Result<Self> {
        Ok(Self {
            engine,
            tables: engine.tables(asker.workspace)?,
            asker,
            principals: HashMap::new(),
            subjects: HashMap::new(),
            sweeping: HashSet::new(),
        })
    }

    /// Remembers that a request revoked leases as a consequence.
    pub(super) fn note(&mut self, Numbered { record, .. }: &Numbered) {
        let sweeps = matches!(
            record.event,
            EventName::LeaseBulkRevoked
                | EventName::CredentialRotated
                | EventName::CredentialVersionRevoked
                | EventName::CredentialRevoked
                | EventName::CredentialDeleted
        );
        if let Some(id) = request_id(record).filter(|_| sweeps) {
            self.sweeping.insert(id.to_owned());
        }
    }

    /// The question that a record answers; none where it answers none, or nobody knows any more who asked.
    pub(super) async fn put(
        &mut self,
        Numbered { record, .. }: &Numbered,
        next: Option<&Numbered>,
    ) -> Result<Option<Put>> {
        let Actor::Identity { .. } = &record.actor else {
            return Ok(None);
        };
        let Some(principal) = self.principal(&record.actor).await? else {
            return Ok(None);
        };
        let mut put = Put {
            principal,
            actions: Vec::new(),
            resource: Resource::Workspace,
            source_ip: record.origin.as_ref().and_then(|origin| origin.source_ip),
            subject: Arc::new(Subject::Unread),
            lease: None,
            terms: None,
            incomplete: false,
            denied: false,
        };
        let known = match record.event {
            EventName::LeaseIssued => {
                let revealed = next.is_some_and(|next| {
                    shown_in_grant(&next.record) && next.record.object.lease == record.object.lease
                });
                self.grant(record, revealed, &mut put).await?
            }
            EventName::LeaseRenewed => self.lease(record, Action::LeaseRenew, &mut put).await?,
            EventName::LeaseRedeemed if !shown_in_grant(record) => {
                self.lease(record, Action::HandleRedeem, &mut put).await?
            }
            EventName::LeaseReleased => self.lease(record, Action::LeaseRelease, &mut put).await?,
            EventName::LeaseRevoked
                if request_id(record).is_none_or(|id| !self.sweeping.contains(id)) =>
            {
                self.lease(record, Action::LeaseRevoke, &mut put).await?
            }
            EventName::CredentialCreated | EventName::CredentialRotated => {
                put.incomplete = true;
                let action = match record.event {
                    EventName::CredentialCreated => Action::CredentialCreate,
                    _ => Action::CredentialRotate,
                };
                self.credential(record, action, &mut put).await?
            }
            EventName::CredentialUpdated => {
                self.credential(record, Action::CredentialUpdate, &mut put)
                    .await?
            }
            EventName::CredentialVersionRevoked => {
                self.credential(record, Action::CredentialRevokeVersion, &mut put)
                    .await?
            }
            EventName::CredentialDeleted => {
                self.credential(record, Action::CredentialDelete, &mut put)
                    .await?
            }
            EventName::LeaseBulkRevoked => {
                put.actions.push(Action::LeaseRevokeMany);
                true
            }
            EventName::AuthzDenied => self.denial(record, &mut put).await?,
            _ => false,
        };
        Ok(known.then_some(put))
    }

    async fn subject(&mut self, action: Action, id: CredentialId) -> Result<Arc<Subject>> {
        if let Some(known) = self.subjects.get(&id) {
            return Ok(known.clone());
        }
        let engine = self.engine;
        let found = engine.lease_subject(&self.tables, action, id).await;
        let found = Arc::new(found.unwrap_or(Subject::Unread));
        self.subjects.insert(id, found.clone());
        Ok(found)
    }

    async fn credential(
        &mut self,
        record: &AuditRecord,
        action: Action,
        put: &mut Put,
    ) -> Result<bool> {
        let Some(name) = &record.object.credential_name else {
            return Ok(false);
        };
        let id = match record.object.credential {
            Some(id) => Some(id),
            None => {
                let read = &mut self.engine.read();
                self.tables.credential_id(read, name).await?
            }
        };
        if let Some(id) = id {
            put.subject = self.subject(action, id).await?;
        }
        put.resource = Resource::Credential(name.clone());
        put.actions.push(action);
        Ok(true)
    }

    async fn grant(&mut self, record: &AuditRecord, reveal: bool, put: &mut Put) -> Result<bool> {
        let object = &record.object;
        let (Some(identity), Some(name)) = (object.holder, object.holder_name.clone()) else {
            return Ok(false);
        };
        let own = identity == put.principal.identity;
        let kind = match own {
            true => put.principal.kind,
            false => {
                let read = &mut self.engine.read();
                let found = self.tables.identity(read, identity).await?;
                found.map_or(IdentityType::Agent, |found| found.kind)
            }
        };
        if !own {
            put.actions.push(Action::LeaseDelegate);
        }
        let broker = changed(record, "delivery") == Some(Delivery::Broker.as_str());
        put.lease = Some(Leased {
            holder: Holder {
                identity,
                kind,
                name,
                session: object.session.clone(),
            },
            requested_by: (put.principal.kind, put.principal.name.clone()),
            delivery: if broker {
                Delivery::Broker
            } else {
                Delivery::Reveal
            },
            purpose: record.purpose.clone(),
        });
        let ttl = granted(record, record.time);
        put.terms = ttl.map(|ttl| TermsFacts {
            ttl,
            lifetime: ttl,
            reveal,
        });
        self.credential(record, Action::LeaseCreate, put).await
    }

    async fn lease(&mut self, record: &AuditRecord, action: Action, put: &mut Put) -> Result<bool> {
        let Some(id) = record.object.lease else {
            return Ok(false);
        };
        let found = self.tables.lease(&mut self.engine.read(), id).await?;
        let Some(lease) = found else {
            return Ok(false);
        };
        put.subject = self.subject(action, lease.credential).await?;
        if action == Action::LeaseRenew {
            put.terms = self.renewed(record, &lease, &put.subject);
        }
        put.resource = resource(&lease);
        put.lease = Some(Leased {
            requested_by: (lease.requested_by.kind, lease.requested_by.by.name),
            holder: lease.holder,
            delivery: lease.delivery,
            purpose: lease.purpose,
        });
        put.actions.push(action);
        Ok(true)
    }

    fn renewed(
        &self,
        record: &AuditRecord,
        lease: &Lease,
        subject: &Subject,
    ) -> Option<TermsFacts> {
        if let (Some(ttl), Some(lifetime)) = (
            granted(record, record.time),
            granted(record, lease.issued_at),
        ) {
            return Some(TermsFacts {
                ttl,
                lifetime,
                reveal: false,
            });
        }
        // A denial does not say what was asked: the credential's default.
        match subject {
            Subject::Resolved(resolved) => Some(renewal(lease, &resolved.terms, None, record.time)),
            _ => None,
        }
    }

    async fn denial(&mut self, record: &AuditRecord, put: &mut Put) -> Result<bool> {
        let object = &record.object;
        let asked = object.name.as_deref().unwrap_or_default();
        let action = asked.split(" on ").next().and_then(Action::parse);
        let Some(action) = action else {
            return Ok(false);
        };
        put.denied = true;
        if object.lease.is_some() {
            put.incomplete = action == Action::LeaseRenew;
            return self.lease(record, action, put).await;
        }
        let leasing = matches!(action, Action::LeaseCreate | Action::LeaseDelegate);
        put.incomplete =
            leasing || matches!(action, Action::CredentialCreate | Action::CredentialRotate);
        if object.credential_name.is_none() {
            // What else is denied is named in words: not put again unless it is the workspace itself.
            put.actions.push(action);
            return Ok(!asked.contains(" on ") && action != Action::SystemBackup);
        }
        let known = self.credential(record, action, put).await?;
        if let (true, Subject::Resolved(resolved)) = (leasing, &*put.subject) {
            let ttl = resolved.terms.grant_ttl(None).0.span();
            put.terms = Some(TermsFacts {
                ttl,
                lifetime: ttl,
                reveal: false,
            });
            put.lease = Some(Leased {
                holder: Holder {
                    identity: put.principal.identity,
                    kind: put.principal.kind,
                    name: put.principal.name.clone(),
                    session: None,
                },
                requested_by: (put.principal.kind, put.principal.name.clone()),
                delivery: resolved
                    .terms
                    .grant_delivery(None)
                    .unwrap_or(Delivery::Reveal),
                purpose: None,
            });
        }
        Ok(known)
    }
}
