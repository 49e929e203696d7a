//! What records are looked for by.

use ipnet::IpNet;

use crate::domain::{
    event::{Actor, AuditRecord, EventName, Outcome},
    id::{CredentialId, EventId, IdentityId, LeaseId},
    mask::is_harmless_name,
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
    /// The filter as history tells of a reading, by the names of its parameters. INVARIANT (no-side-door): of a text
    /// that looks drawn by chance no more than that there was one.
    pub fn told(&self) -> Vec<(&'static str, String)> {
        let text = |text: &Option<String>| {
            let text = text.clone()?;
            let harmless = is_harmless_name(&text.to_ascii_lowercase());
            Some(if harmless { text } else { "…".to_owned() })
        };
        let shown = |shown: &dyn ToString| Some(shown.to_string());
        let events: Vec<_> = self.events.iter().map(|event| event.as_str()).collect();
        let (name, id) = match &self.identity {
            None => (None, None),
            Some(Whose::Name(name)) => (Some(name.clone()), None),
            Some(Whose::Id(id)) => (None, shown(id)),
        };
        let proof = |proof: &ProofId| match proof {
            ProofId::Key(id) => ("key_id", id.to_string()),
            ProofId::Token(id) => ("token_id", id.to_string()),
        };
        let outcome = |refused: bool| if refused { "refused" } else { "success" };
        let one = |name, value: Option<String>| Some((name, value?));
        [
            one("event", (!events.is_empty()).then(|| events.join(","))),
            one("actor", text(&self.actor)),
            one("identity", text(&name).or(id)),
            self.proof.as_ref().map(proof),
            one("session_id", text(&self.session)),
            one("credential_name", text(&self.credential_name)),
            one(
                "credential_id",
                self.credential.as_ref().and_then(|id| shown(id)),
            ),
            one(
                "version",
                self.version.as_ref().and_then(|number| shown(number)),
            ),
            one("lease_id", self.lease.as_ref().and_then(|id| shown(id))),
            one(
                "outcome",
                self.refused.map(|refused| outcome(refused).to_owned()),
            ),
            one("code", text(&self.code)),
            one(
                "source_ip",
                self.source.as_ref().and_then(|range| shown(range)),
            ),
            one("request_id", text(&self.request_id)),
            one("object", text(&self.object)),
            one("since", self.since.as_ref().and_then(|time| shown(time))),
            one("until", self.until.as_ref().and_then(|time| shown(time))),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    // INVARIANT (no-side-door)
    #[test]
    fn a_reading_is_told_by_its_filter_and_nothing_that_may_be_a_secret() {
        assert_eq!(AuditFilter::default().told(), []);
        let lease = LeaseId::from_bytes([7; 16]);
        let filter = AuditFilter {
            events: vec![EventName::LeaseIssued, EventName::AuthzDenied],
            actor: Some("claude-code".to_owned()),
            session: Some("sk-live-4eC39HqLyjWDarjtT1zdp7dc".to_owned()),
            lease: Some(lease),
            refused: Some(true),
            code: Some("POLICY_DENIED".to_owned()),
            source: "192.0.2.0/24".parse().ok(),
            since: Some(Timestamp::from_millis(1000)),
            ..AuditFilter::default()
        };
        let expected = [
            ("event", "lease.issued,authz.denied"),
            ("actor", "claude-code"),
            ("session_id", "…"),
            ("lease_id", &lease.to_string()),
            ("outcome", "refused"),
            ("code", "POLICY_DENIED"),
            ("source_ip", "192.0.2.0/24"),
            ("since", "1970-01-01T00:00:01Z"),
        ];
        let expected = expected.map(|(name, value)| (name, value.to_owned()));
        assert_eq!(filter.told(), expected);
    }
}
