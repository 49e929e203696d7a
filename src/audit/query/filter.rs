//! What records are looked for by.

use ipnet::IpNet;

use crate::domain::{
    event::{Actor, AuditRecord, EventName, Outcome},
    id::{CredentialId, EventId, IdentityId, LeaseId},
    principal::ProofId,
    time::Timestamp,
};

/// An identity, by its name or by its id. A name may have been another identity's before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    Name(String),
    Id(IdentityId),
}

/// Which records to give back. Every given filter must match. What is added here needs a term, or a plan that is not
/// exact, in [`crate::audit::index::terms`].
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    pub id: Option<EventId>,
    /// Any of them; all where there is none.
    pub events: Vec<EventName>,
    /// The name of who acted: an identity, or a part of the vault.
    pub actor: Option<String>,
    /// Who acted, or holds the lease.
    pub identity: Option<Whose>,
    /// The key or token that the actor came with.
    pub proof: Option<ProofId>,
    pub session: Option<String>,
    pub credential_name: Option<String>,
    pub credential: Option<CredentialId>,
    pub version: Option<u32>,
    pub lease: Option<LeaseId>,
    pub refused: Option<bool>,
    /// The code of a refusal.
    pub code: Option<String>,
    pub source: Option<IpNet>,
    pub request_id: Option<String>,
    /// The name of anything else that it was done to.
    pub object: Option<String>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

impl Whose {
    /// An id, where the text is one; else a name.
    pub fn parse(text: String) -> Self {
        match IdentityId::parse(&text) {
            Some(id) => Self::Id(id),
            None => Self::Name(text),
        }
    }

    fn is_in(&self, record: &AuditRecord) -> bool {
        let object = &record.object;
        let actor = match &record.actor {
            Actor::Identity { identity, name, .. } => Some((identity, name)),
            Actor::Vault { .. } => None,
        };
        match self {
            Self::Name(whose) => {
                let is = |name: &crate::domain::name::IdentityName| name.as_str() == whose;
                actor.is_some_and(|(_, name)| is(name))
                    || object.holder_name.as_ref().is_some_and(is)
            }
            Self::Id(whose) => {
                actor.is_some_and(|(id, _)| id == whose) || object.holder.as_ref() == Some(whose)
            }
        }
    }
}

fn is<T: PartialEq>(wanted: &Option<T>, given: Option<&T>) -> bool {
    wanted.is_none() || wanted.as_ref() == given
}

fn reads(wanted: &Option<String>, given: Option<&str>) -> bool {
    wanted.is_none() || wanted.as_deref() == given
}

impl AuditFilter {
    /// Whether a record is one of those that are looked for.
    pub fn matches(&self, record: &AuditRecord) -> bool {
        let object = &record.object;
        let (actor, proof) = match &record.actor {
            Actor::Identity { name, proof, .. } => (name.as_str(), Some(proof)),
            Actor::Vault { part } => (part.as_str(), None),
        };
        let code = match &record.outcome {
            Outcome::Success => None,
            Outcome::Refused { code } => Some(code.as_str()),
        };
        let origin = record.origin.as_ref();
        let from = |range: IpNet| {
            let source = origin.and_then(|origin| origin.source_ip);
            source.is_some_and(|source| range.contains(&source.to_canonical()))
        };
        is(&self.id, Some(&record.id))
            && (self.events.is_empty() || self.events.contains(&record.event))
            && reads(&self.actor, Some(actor))
            && self
                .identity
                .as_ref()
                .is_none_or(|whose| whose.is_in(record))
            && is(&self.proof, proof)
            && is(&self.session, object.session.as_ref())
            && reads(
                &self.credential_name,
                object.credential_name.as_ref().map(|name| name.as_str()),
            )
            && is(&self.credential, object.credential.as_ref())
            && is(&self.version, object.version.as_ref())
            && is(&self.lease, object.lease.as_ref())
            && self.refused.is_none_or(|refused| refused == code.is_some())
            && reads(&self.code, code)
            && self.source.is_none_or(from)
            && self
                .request_id
                .as_deref()
                .is_none_or(|id| record.request_ids().any(|one| one == id))
            && is(&self.object, object.name.as_ref())
            && self.since.is_none_or(|since| record.time >= since)
            && self.until.is_none_or(|until| record.time < until)
    }
}
