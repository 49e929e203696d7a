//! Asking the decision point, with the facts that policies may look at, and recording what it denies.
//!
//! A use case that names one thing asks twice. [`Engine::screen`] comes before anything is read, so that whoever lacks
//! the scope learns nothing of what exists. The permit itself is decided on the thing as the commit will find it: under
//! its lock, where the use case takes one.

mod sight;

use std::sync::Arc;

use super::{Call, Engine, IssueLease, Note, Unit, lease::resource, terms::Resolved};
use crate::{
    authz::{
        self, Action, Allowed, CredentialFacts, Denial, Facts, LeaseFacts, Permit, Question,
        Resource, TermsFacts,
    },
    domain::{
        credential::Credential,
        error::{Code, Error, Result},
        event::{EventName, Object},
        id::CredentialId,
        lease::{Holder, Lease},
        policy::{Delivery, Terms},
        principal::Principal,
        time::{Timestamp, Ttl},
    },
    tables::{Read, Tables},
};

/// A credential as a decision sees it, wherever it was read.
pub(super) enum Subject {
    Resolved(Arc<Resolved>),
    /// With whom its own policy admits, whatever it extends.
    Read(Box<(Credential, Option<Allowed>)>),
    /// Deleted, or not looked at: no policy asks.
    Unread,
}

impl Subject {
    pub(super) fn facts(&self) -> Facts<'_> {
        let (credential, allowed) = match self {
            Self::Resolved(resolved) => return resolved.facts(),
            Self::Read(read) => (&read.0, read.1.as_ref()),
            Self::Unread => return Facts::default(),
        };
        Facts {
            credential: Some(of(credential)),
            allowed,
            ..Facts::default()
        }
    }
}

impl Resolved {
    pub(super) fn facts(&self) -> Facts<'_> {
        Facts {
            credential: Some(of(&self.credential)),
            allowed: self.allowed.as_ref(),
            ..Facts::default()
        }
    }
}

/// The facts of a credential.
pub(super) fn of(credential: &Credential) -> CredentialFacts<'_> {
    CredentialFacts {
        kind: credential.kind,
        metadata: &credential.metadata,
    }
}

impl Engine {
    /// The policies that hold: whoever keeps them swaps them here.
    pub fn access(&self) -> &authz::Policies {
        &self.access
    }

    /// The permit for an action that needs no facts, or its denial, recorded before it is told.
    pub(super) async fn authorize(
        &self,
        call: &Call,
        action: Action,
        resource: Resource,
    ) -> Result<Permit> {
        self.authorize_on(call, action, resource, Facts::default())
            .await
    }

    /// The permit for an action on these facts, or its denial, recorded before it is told.
    pub(super) async fn authorize_on(
        &self,
        call: &Call,
        action: Action,
        resource: Resource,
        facts: Facts<'_>,
    ) -> Result<Permit> {
        match self.decide(call, action, resource, facts, self.now()) {
            Ok(permit) => Ok(permit),
            Err(denial) => Err(self.deny(call, denial).await?),
        }
    }

    /// Denies, and records, what no fact could permit. It permits nothing.
    pub(super) async fn screen(
        &self,
        call: &Call,
        action: Action,
        resource: Resource,
    ) -> Result<()> {
        match authz::screen(&call.principal, action, resource) {
            Ok(()) => Ok(()),
            Err(denial) => Err(self.deny(call, denial).await?),
        }
    }

    /// The decision, which records nothing.
    pub(super) fn decide(
        &self,
        call: &Call,
        action: Action,
        resource: Resource,
        facts: Facts<'_>,
        now: Timestamp,
    ) -> Result<Permit, Box<Denial>> {
        debug_assert!(
            authz::concerns(action, resource.kind()),
            "{action:?} on {resource:?} is not in the schema"
        );
        let question = Question {
            principal: &call.principal,
            action,
            resource,
            now,
            source_ip: call.origin.source_ip,
            facts,
        };
        authz::decide(&self.access.snapshot(), question)
    }

    /// The permit to look at a lease.
    pub(super) async fn authorize_lease_read(
        &self,
        call: &Call,
        tables: &Tables,
        lease: &Lease,
    ) -> Result<()> {
        let subject = self
            .subject(call, Action::LeaseRead, tables, lease.credential)
            .await?;
        let facts = Facts {
            lease: Some(LeaseFacts::of(lease)),
            ..subject.facts()
        };
        self.authorize_on(call, Action::LeaseRead, resource(lease), facts)
            .await?;
        Ok(())
    }

    /// The credential of a decision that no lock is needed for; unread where no policy asks.
    pub(super) async fn subject(
        &self,
        call: &Call,
        action: Action,
        tables: &Tables,
        id: CredentialId,
    ) -> Result<Subject> {
        let rules = self.access.snapshot();
        if !rules.concern(call.principal.workspace, action) {
            return Ok(Subject::Unread);
        }
        read_subject(tables, &mut self.read(), id).await
    }

    /// Records a denial and gives back the error to tell.
    pub(super) async fn deny(&self, call: &Call, denial: Box<Denial>) -> Result<Error> {
        metrics::counter!("leasehold_denials_total").increment(1);
        let described = denial.described();
        let refusal = denial.error();
        let (reason, policy) = (denial.reason(), denial.decided_by());
        let mut object = Object::default();
        match denial.resource {
            Resource::Vault
            | Resource::Workspace
            | Resource::Identity { .. }
            | Resource::Key { .. }
            | Resource::Token { .. } => {}
            Resource::Credential(name) => object.credential_name = Some(name),
            Resource::Lease {
                id,
                credential,
                holder,
                ..
            } => {
                object.lease = Some(id);
                object.credential_name = Some(credential);
                object.holder = Some(holder);
            }
        }
        object.name = Some(match described {
            Some(resource) => format!("{} on {resource}", denial.action.as_str()),
            None => denial.action.as_str().to_owned(),
        });
        let note = Note {
            reason: Some(reason),
            ..Note::new(EventName::AuthzDenied, object)
        };
        // Rare: in line it would lengthen the future of everything that is decided.
        Box::pin(self.record_refusal(call, note, refusal.code(), policy)).await?;
        Ok(refusal)
    }
}

pub(super) async fn read_subject(
    tables: &Tables,
    read: &mut impl Read,
    id: CredentialId,
) -> Result<Subject> {
    let Some(credential) = tables.credential(read, id).await? else {
        return Ok(Subject::Unread);
    };
    let allowed = credential.policy.allowed_identities.as_deref();
    let allowed = allowed.map(Allowed::compile).transpose()?;
    Ok(Subject::Read(Box::new((credential, allowed))))
}

impl Unit<'_> {
    /// The decision on a grant, on the credential and terms that it would be made under. A lease for another identity
    /// than the caller takes two.
    pub(super) async fn decide_grant(
        &mut self,
        call: &Call,
        id: CredentialId,
        holder: &Holder,
        command: &IssueLease,
    ) -> Result<Result<(), Box<Denial>>> {
        let resolved = self.resolved(id).await?;
        let facts = grant_facts(&call.principal, holder, command, &resolved);
        let delegated = holder.identity != call.principal.identity;
        let also = delegated.then_some(Action::LeaseDelegate);
        for action in also.into_iter().chain([Action::LeaseCreate]) {
            let resource = Resource::Credential(command.credential_name.clone());
            let decided = self.engine.decide(call, action, resource, facts, self.now);
            match decided {
                Ok(permit) => self.decided(&permit),
                Err(denial) => return Ok(Err(denial)),
            }
        }
        Ok(Ok(()))
    }

    /// The decision on a lease under its credential's lock. `ttl` is what a renewal asks for.
    pub(super) async fn decide_lease(
        &mut self,
        call: &Call,
        action: Action,
        lease: &Lease,
        ttl: Option<Ttl>,
    ) -> Result<Result<Permit, Box<Denial>>> {
        let subject = match action {
            // Whom the credential admits is part of its terms.
            Action::LeaseRenew | Action::HandleRedeem => {
                match self.resolved(lease.credential).await {
                    Ok(resolved) => Subject::Resolved(resolved),
                    Err(error) if error.code() == Code::NotFound => Subject::Unread,
                    // The named policy is gone. An open lease may be used up, by whom the credential itself admits.
                    Err(error)
                        if error.code() == Code::InvalidState && action == Action::HandleRedeem =>
                    {
                        let tables = self.tables.clone();
                        read_subject(&tables, &mut self.txn, lease.credential).await?
                    }
                    Err(error) => return Err(error),
                }
            }
            _ => {
                let rules = self.engine.access.snapshot();
                match rules.concern(call.principal.workspace, action) {
                    true => {
                        let tables = self.tables.clone();
                        read_subject(&tables, &mut self.txn, lease.credential).await?
                    }
                    false => Subject::Unread,
                }
            }
        };
        let terms = match &subject {
            Subject::Resolved(resolved) if action == Action::LeaseRenew => {
                Some(renewal(lease, &resolved.terms, ttl, self.now))
            }
            _ => None,
        };
        let facts = Facts {
            lease: Some(LeaseFacts::of(lease)),
            terms,
            ..subject.facts()
        };
        let decided = self
            .engine
            .decide(call, action, resource(lease), facts, self.now);
        if let Ok(permit) = &decided {
            self.decided(permit);
        }
        Ok(decided)
    }
}

/// What policies may look at of a grant, on the terms that it would be made under.
pub(super) fn grant_facts<'a>(
    principal: &'a Principal,
    holder: &'a Holder,
    command: &'a IssueLease,
    resolved: &'a Resolved,
) -> Facts<'a> {
    let terms = &resolved.terms;
    let ttl = terms.grant_ttl(command.ttl).0.span();
    let wanted = command.delivery.unwrap_or(Delivery::Reveal);
    Facts {
        lease: Some(LeaseFacts {
            holder,
            requested_by: (principal.kind, &principal.name),
            // What the terms do not allow is refused at the grant, whatever is decided here.
            delivery: terms.grant_delivery(command.delivery).unwrap_or(wanted),
            purpose: command.purpose.as_deref(),
        }),
        terms: Some(TermsFacts {
            ttl,
            lifetime: ttl,
            reveal: command.reveal,
        }),
        ..resolved.facts()
    }
}

/// What a renewal would give, as [`Lease::renew`] reckons it.
pub(super) fn renewal(
    lease: &Lease,
    terms: &Terms,
    ttl: Option<Ttl>,
    now: Timestamp,
) -> TermsFacts {
    let mut renewed = lease.clone();
    let end = match renewed.renew(ttl, terms, now) {
        Ok(()) => renewed.expires_at,
        // It will be refused; until then the decision is on what was asked.
        Err(_) => now.plus(terms.grant_ttl(ttl).0.span()),
    };
    TermsFacts {
        ttl: end.since(now),
        lifetime: end.since(lease.issued_at),
        reveal: false,
    }
}
