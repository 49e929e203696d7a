//! History in answers.

use std::borrow::Cow;

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    audit::query::Numbered,
    domain::{
        event::{Actor, AnsweredRequest, Change, Outcome},
        principal::ProofId,
        time::Timestamp,
    },
};

/// One event of history.
#[derive(Serialize, ToSchema)]
pub(crate) struct AuditBody {
    sequence: u64,
    id: String,
    #[schema(value_type = String, format = DateTime)]
    time: Timestamp,
    event: &'static str,
    /// How soon somebody should look at it: `info`, `warning` or `high`.
    severity: &'static str,
    actor: ActorBody,
    outcome: &'static str,
    /// The error code of a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_id: Option<String>,
    /// The lease's holder.
    #[serde(skip_serializing_if = "Option::is_none")]
    holder: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<String>,
    /// What else it was done to.
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<String>,
    /// The role, or the key's own scopes, that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    decided_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    purpose: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    changes: Vec<ChangeBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<String>,
    /// The requests that it stands for, where it stands for several: all of one caller or source, with one outcome.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    requests: Vec<AnsweredBody>,
}

/// One request of a record that stands for several.
#[derive(Serialize, ToSchema)]
pub(crate) struct AnsweredBody {
    #[schema(value_type = String, format = DateTime)]
    time: Timestamp,
    request_id: String,
    method: Cow<'static, str>,
    /// The template of its path.
    #[schema(example = "/v1/credentials/{name}")]
    route: String,
    /// The ids or names that stood in its path.
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<String>,
    /// The HTTP status of the answer.
    status: u16,
}

/// Who did it: an identity by its key or token, or a part of the vault.
#[derive(Serialize, ToSchema)]
pub(crate) struct ActorBody {
    r#type: &'static str,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_id: Option<String>,
}

/// One changed field.
#[derive(Serialize, ToSchema)]
pub(crate) struct ChangeBody {
    field: String,
    before: Option<String>,
    after: Option<String>,
}

impl From<Actor> for ActorBody {
    fn from(actor: Actor) -> Self {
        match actor {
            Actor::Identity {
                identity,
                name,
                kind,
                proof,
            } => ActorBody {
                r#type: kind.as_str(),
                name: name.to_string(),
                identity_id: Some(identity.to_string()),
                key_id: match proof {
                    ProofId::Key(id) => Some(id.to_string()),
                    ProofId::Token(_) => None,
                },
                token_id: match proof {
                    ProofId::Key(_) => None,
                    ProofId::Token(id) => Some(id.to_string()),
                },
            },
            Actor::Vault { part } => ActorBody {
                r#type: "vault",
                name: part,
                identity_id: None,
                key_id: None,
                token_id: None,
            },
        }
    }
}

impl From<Numbered> for AuditBody {
    fn from(Numbered { sequence, record }: Numbered) -> Self {
        let (outcome, code) = match record.outcome {
            Outcome::Success => ("success", None),
            Outcome::Refused { code } => ("refused", Some(code)),
        };
        let actor = record.actor.into();
        let object = record.object;
        let origin = record.origin.unwrap_or_default();
        let change = |change: Change| ChangeBody {
            field: change.field.into(),
            before: change.before.map(Into::into),
            after: change.after.map(Into::into),
        };
        let answered = |request: AnsweredRequest| AnsweredBody {
            time: request.time,
            request_id: request.id,
            method: request.method,
            route: request.route,
            object: request.about,
            status: request.status,
        };
        Self {
            sequence,
            id: record.id.to_string(),
            time: record.time,
            event: record.event.as_str(),
            severity: record.event.severity().as_str(),
            actor,
            outcome,
            code,
            credential_id: object.credential.map(|id| id.to_string()),
            credential_name: object.credential_name.map(|name| name.to_string()),
            version: object.version,
            lease_id: object.lease.map(|id| id.to_string()),
            holder: object.holder_name.map(|name| name.to_string()),
            session_id: object.session,
            object: object.name,
            decided_by: record.policy,
            purpose: record.purpose,
            reason: record.reason,
            changes: record.changes.into_iter().map(change).collect(),
            request_id: Some(origin.request_id).filter(|id| !id.is_empty()),
            source_ip: origin.source_ip.map(|ip| ip.to_string()),
            user_agent: origin.user_agent,
            requests: record.requests.into_iter().map(answered).collect(),
        }
    }
}
