//! Policy sets in requests and answers.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    domain::{
        error::{Error, Result},
        policy_set::{PolicyScope, PolicySource, StoredPolicies, describe_digest},
        strict::Object,
        time::Timestamp,
    },
    engine::{ApplyPolicies, InForce, PolicyFault, Rollback, Tried},
};

/// One text of Cedar policies.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SourceBody {
    #[schema(example = "10-prod.cedar", pattern = "^[a-z0-9][a-z0-9._-]*\\.cedar$")]
    name: String,
    #[schema(
        example = "forbid (principal, action == Action::\"lease:create\", resource) unless { context has purpose };"
    )]
    text: String,
}

/// Reads a scope: the workspace where none is named.
pub(crate) fn policy_scope(text: Option<&str>) -> Result<PolicyScope> {
    match text {
        None => Ok(PolicyScope::Workspace),
        Some(text) => PolicyScope::parse(text).ok_or_else(|| {
            Error::invalid("scope", "`scope` must be `organisation` or `workspace`")
        }),
    }
}

pub(crate) fn policy_sources(sources: Vec<Object<SourceBody>>) -> Vec<PolicySource> {
    sources
        .into_iter()
        .map(|Object(SourceBody { name, text })| PolicySource { name, text })
        .collect()
}

/// A set to look at.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PoliciesBody {
    /// `workspace`, where absent, or `organisation`.
    scope: Option<String>,
    /// The whole set: at most 256 KiB and 1,000 policies.
    #[schema(value_type = Vec<SourceBody>)]
    sources: Vec<Object<SourceBody>>,
}

impl PoliciesBody {
    pub(crate) fn read(self) -> Result<(PolicyScope, Vec<PolicySource>)> {
        Ok((
            policy_scope(self.scope.as_deref())?,
            policy_sources(self.sources),
        ))
    }
}

/// A set to put in force.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApplyPoliciesBody {
    /// `workspace` or `organisation`, which takes a key that reaches every workspace.
    scope: String,
    /// The whole set, which replaces the one in force: at most 256 KiB and 1,000 policies.
    #[schema(value_type = Vec<SourceBody>)]
    sources: Vec<Object<SourceBody>>,
    comment: Option<String>,
    /// Refused with `VERSION_CONFLICT` unless this is the version in force; 0 where none ever was.
    expected_version: Option<u32>,
    /// Take a set under which the caller could not replace it.
    #[serde(default)]
    allow_lockout: bool,
}

impl ApplyPoliciesBody {
    pub(crate) fn command(self) -> Result<ApplyPolicies> {
        Ok(ApplyPolicies {
            scope: policy_scope(Some(&self.scope))?,
            sources: policy_sources(self.sources),
            comment: self.comment,
            expected_version: self.expected_version,
            allow_lockout: self.allow_lockout,
        })
    }
}

/// An earlier set to bring back.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RollbackBody {
    /// `workspace` or `organisation`.
    scope: String,
    /// The version to bring back; 0 is the empty set.
    version: u32,
    comment: Option<String>,
    /// Refused with `VERSION_CONFLICT` unless this is the version in force.
    expected_version: Option<u32>,
    #[serde(default)]
    allow_lockout: bool,
}

impl RollbackBody {
    pub(crate) fn command(self) -> Result<Rollback> {
        Ok(Rollback {
            scope: policy_scope(Some(&self.scope))?,
            version: self.version,
            comment: self.comment,
            expected_version: self.expected_version,
            allow_lockout: self.allow_lockout,
        })
    }
}

/// A set of policies.
#[derive(Serialize, ToSchema)]
pub(crate) struct PolicySetBody {
    #[schema(example = "workspace")]
    scope: &'static str,
    /// From 1; 0 where none was ever put in force.
    version: u32,
    sources: Vec<SourceBody>,
    digest: Option<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    applied_at: Option<Timestamp>,
    /// The name of the identity.
    applied_by: Option<String>,
    comment: Option<String>,
    /// The version that it brought back.
    #[serde(skip_serializing_if = "Option::is_none")]
    restores: Option<u32>,
}

impl PolicySetBody {
    pub(crate) fn new(scope: PolicyScope, stored: Option<StoredPolicies>) -> Self {
        let scope = scope.as_str();
        let Some(stored) = stored else {
            return Self {
                scope,
                version: 0,
                sources: Vec::new(),
                digest: None,
                applied_at: None,
                applied_by: None,
                comment: None,
                restores: None,
            };
        };
        let source = |PolicySource { name, text }| SourceBody { name, text };
        Self {
            scope,
            version: stored.version,
            sources: stored.sources.into_iter().map(source).collect(),
            digest: Some(describe_digest(&stored.digest)),
            applied_at: Some(stored.applied_at),
            applied_by: Some(stored.applied_by.name.to_string()),
            comment: stored.comment,
            restores: stored.restores,
        }
    }
}

impl From<InForce> for PolicySetBody {
    fn from(found: InForce) -> Self {
        Self::new(found.scope, found.stored)
    }
}

/// A set that is or was in force, without its texts.
#[derive(Serialize, ToSchema)]
pub(crate) struct PolicyVersionBody {
    version: u32,
    /// The names of its texts.
    sources: Vec<String>,
    digest: String,
    #[schema(value_type = String, format = DateTime)]
    applied_at: Timestamp,
    applied_by: String,
    comment: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    restores: Option<u32>,
}

impl From<StoredPolicies> for PolicyVersionBody {
    fn from(stored: StoredPolicies) -> Self {
        Self {
            version: stored.version,
            sources: stored
                .sources
                .into_iter()
                .map(|source| source.name)
                .collect(),
            digest: describe_digest(&stored.digest),
            applied_at: stored.applied_at,
            applied_by: stored.applied_by.name.to_string(),
            comment: stored.comment,
            restores: stored.restores,
        }
    }
}

/// What is wrong with a text, or remarkable in it.
#[derive(Serialize, ToSchema)]
pub(crate) struct FaultBody {
    file: String,
    /// From 1; null where the fault has no place.
    line: Option<u32>,
    /// From 1, in characters.
    column: Option<u32>,
    reason: String,
}

impl From<PolicyFault> for FaultBody {
    fn from(fault: PolicyFault) -> Self {
        Self {
            file: fault.file,
            line: fault.line,
            column: fault.column,
            reason: fault.reason,
        }
    }
}

/// What became of a set that was only read.
#[derive(Serialize, ToSchema)]
pub(crate) struct TriedBody {
    valid: bool,
    errors: Vec<FaultBody>,
    /// What is valid and probably not meant.
    warnings: Vec<FaultBody>,
}

impl From<Tried> for TriedBody {
    fn from(tried: Tried) -> Self {
        let bodies = |faults: Vec<PolicyFault>| faults.into_iter().map(FaultBody::from).collect();
        Self {
            valid: tried.errors.is_empty(),
            errors: bodies(tried.errors),
            warnings: bodies(tried.warnings),
        }
    }
}
