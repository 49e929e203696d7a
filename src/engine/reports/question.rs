//! What an exposure report can be asked.

use ipnet::IpNet;

use super::{super::credential::change, model::Asked};
use crate::domain::{
    error::{Error, Result},
    event::Change,
    id::{CredentialId, IdentityId, LeaseId},
    name::{CredentialName, IdentityName, MAX_SESSION_BYTES, check_text},
    principal::IdentityType,
    time::{Span, Timestamp},
};

/// A credential, by what the caller knows of it.
#[derive(Debug, Clone)]
pub enum ChosenCredential {
    Name(CredentialName),
    /// Tells two apart that had the same name one after the other.
    Id(CredentialId),
}

/// An identity, by what the caller knows of it.
#[derive(Debug, Clone)]
pub enum ChosenIdentity {
    /// Of any type.
    Name(IdentityName),
    Typed(IdentityType, IdentityName),
    Id(IdentityId),
}

/// What an exposure report is about. At least one of the first and of the others than the times is given.
#[derive(Debug, Clone, Default)]
pub struct ExposureQuery {
    pub credential: Option<ChosenCredential>,
    /// Of the credential, which is given then.
    pub version: Option<u32>,
    pub identity: Option<ChosenIdentity>,
    pub session: Option<String>,
    pub source: Option<IpNet>,
    pub since: Option<Timestamp>,
    /// Now, where it is not given.
    pub until: Option<Timestamp>,
    /// Where the page before ended.
    pub cursor: Option<LeaseId>,
}

impl ExposureQuery {
    pub(super) fn check(&self, now: Timestamp) -> Result<Timestamp> {
        let chosen = self.credential.is_some()
            || self.identity.is_some()
            || self.session.is_some()
            || self.source.is_some();
        if !chosen {
            return Err(Error::missing("credential_name"));
        }
        if self.version.is_some() && self.credential.is_none() {
            return Err(Error::missing("credential_name"));
        }
        if let Some(session) = &self.session {
            check_text(session, "session_id", MAX_SESSION_BYTES)?;
        }
        // What happened in this very millisecond, and was acknowledged, counts.
        let until = self.until.unwrap_or(now.plus(Span::from_millis(1)));
        if self.since.is_some_and(|since| since >= until) {
            return Err(Error::invalid("since", "`since` must be before `until`"));
        }
        Ok(until)
    }

    pub(super) fn asked(&self, until: Timestamp) -> Asked {
        Asked {
            credential: self.credential.as_ref().map(|chosen| match chosen {
                ChosenCredential::Name(name) => name.to_string(),
                ChosenCredential::Id(id) => id.to_string(),
            }),
            version: self.version,
            identity: self.identity.as_ref().map(|chosen| match chosen {
                ChosenIdentity::Name(name) => name.to_string(),
                ChosenIdentity::Typed(kind, name) => format!("{}/{name}", kind.as_str()),
                ChosenIdentity::Id(id) => id.to_string(),
            }),
            session_id: self.session.clone(),
            source: self.source.map(|net| net.to_string()),
            since: self.since,
            until,
            cursor: self.cursor.map(|id| id.to_string()),
        }
    }
}

/// The question as history keeps it.
pub(super) fn described(asked: &Asked) -> Vec<Change> {
    let text = |text: &Option<String>| text.clone();
    [
        ("filter.credential", text(&asked.credential)),
        (
            "filter.version",
            asked.version.map(|version| version.to_string()),
        ),
        ("filter.identity", text(&asked.identity)),
        ("filter.session_id", text(&asked.session_id)),
        ("filter.source", text(&asked.source)),
        ("filter.since", asked.since.map(|since| since.to_string())),
        ("filter.until", Some(asked.until.to_string())),
    ]
    .into_iter()
    .filter_map(|(field, value)| value.map(|value| change(field, None, Some(value))))
    .collect()
}
