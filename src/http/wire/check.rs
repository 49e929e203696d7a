//! Questions about what a caller may do, and their answers.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::WantedIdentityBody;
use crate::{
    domain::{
        error::Result,
        name::{IdentityName, MAX_TEXT_BYTES, check_text},
        policy::Delivery,
        principal::IdentityType,
        scope::Scope,
        strict::optional_object,
        time::Ttl,
    },
    engine::{Answered, Ask, AskedResource},
};

/// Something that the caller might do.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CheckBody {
    #[schema(example = "lease:create")]
    action: String,
    /// `workspace`, `vault`, `credential/NAME`, `lease/ID`, `identity/TYPE/NAME`, `api-key/ID` or `token/ID`. One
    /// that the action is never done to is refused.
    #[schema(example = "credential/openai-api-key-prod")]
    resource: String,
    #[serde(default, deserialize_with = "optional_object")]
    context: Option<CheckContextBody>,
    /// Another identity of the workspace, with all that its role gives; for callers that may read identities and policies.
    #[serde(rename = "as", default, deserialize_with = "optional_object")]
    identity: Option<CheckAsBody>,
}

/// In whose place to ask.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CheckAsBody {
    #[schema(value_type = Option<String>, example = "agent")]
    r#type: Option<IdentityType>,
    #[schema(example = "claude-code")]
    name: String,
}

/// How a lease would be taken or renewed.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CheckContextBody {
    #[schema(example = "30m")]
    ttl: Option<String>,
    #[schema(value_type = Option<String>, example = "reveal")]
    delivery: Option<Delivery>,
    #[serde(default)]
    reveal: bool,
    purpose: Option<String>,
    #[serde(default, deserialize_with = "optional_object")]
    identity: Option<WantedIdentityBody>,
}

impl CheckBody {
    pub(crate) fn command(self) -> Result<Ask> {
        let context = self.context.unwrap_or_default();
        if let Some(purpose) = &context.purpose {
            check_text(purpose, "context.purpose", MAX_TEXT_BYTES)?;
        }
        let ttl = context.ttl.as_deref();
        let identity = self.identity.map(|CheckAsBody { r#type, name }| {
            let name = IdentityName::parse(&name, "as.name")?;
            Ok((r#type.unwrap_or(IdentityType::Agent), name))
        });
        Ok(Ask {
            identity: identity.transpose()?,
            action: self.action,
            resource: AskedResource::parse(&self.resource)?,
            ttl: ttl.map(|ttl| Ttl::parse(ttl, "context.ttl")).transpose()?,
            delivery: context.delivery,
            reveal: context.reveal,
            purpose: context.purpose,
            holder: context
                .identity
                .unwrap_or_default()
                .wanted("context.identity.name")?,
        })
    }
}

/// Whether the caller may do it, and what decides.
#[derive(Serialize, ToSchema)]
pub(crate) struct CheckedBody {
    allowed: bool,
    action: &'static str,
    resource: String,
    /// The role, the key's scopes or the policies that decide; null where nothing permits it.
    decided_by: Option<String>,
    policies: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    missing_scope: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl CheckedBody {
    pub(crate) fn new(answered: Answered) -> Self {
        Self {
            allowed: answered.allowed,
            action: answered.action,
            decided_by: answered.decided_by(),
            resource: answered.resource,
            policies: answered.policies,
            missing_scope: answered.missing_scope.map(Scope::as_str),
            reason: answered.reason,
        }
    }
}
