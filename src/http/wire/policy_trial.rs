//! Policy sets that are tried: how they differ, and what they would change.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ActorBody, SourceBody, policy_scope, policy_sources};
use crate::{
    domain::{
        error::{Error, Result},
        strict::Object,
        time::Timestamp,
    },
    engine::{ChangedDecision, DryRun, PolicyDiff, Replayed, SourceChange, SourceDiff},
};

/// How a set differs from the one in force.
#[derive(Serialize, ToSchema)]
pub(crate) struct PolicyDiffBody {
    scope: &'static str,
    /// The version in force.
    version: u32,
    changed: bool,
    /// Every text of either set, by name.
    sources: Vec<SourceDiffBody>,
}

/// How one text differs.
#[derive(Serialize, ToSchema)]
pub(crate) struct SourceDiffBody {
    name: String,
    /// `added`, `removed`, `changed` or `same`.
    #[schema(example = "changed")]
    change: &'static str,
    /// A unified diff; empty where the texts are the same.
    diff: String,
}

impl From<PolicyDiff> for PolicyDiffBody {
    fn from(found: PolicyDiff) -> Self {
        let same = |source: &SourceDiff| source.change == SourceChange::Same;
        Self {
            scope: found.scope.as_str(),
            version: found.version,
            changed: !found.sources.iter().all(same),
            sources: found
                .sources
                .into_iter()
                .map(|source| SourceDiffBody {
                    name: source.name,
                    change: source.change.as_str(),
                    diff: source.diff,
                })
                .collect(),
        }
    }
}

/// A set to replay recorded decisions under.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DryRunBody {
    /// `workspace`, where absent, or `organisation`.
    scope: Option<String>,
    /// The whole set.
    #[schema(value_type = Vec<SourceBody>)]
    sources: Vec<Object<SourceBody>>,
    /// Only records at or after this time.
    #[schema(format = DateTime)]
    since: Option<String>,
    /// Only records before this time.
    #[schema(format = DateTime)]
    until: Option<String>,
    /// The most records to look at.
    #[schema(minimum = 1, maximum = 100_000, default = 10_000)]
    limit: Option<u32>,
    /// Go on where an earlier run ended.
    cursor: Option<String>,
}

fn time(field: &'static str, text: Option<&str>) -> Result<Option<Timestamp>> {
    let read = |text: &str| {
        text.parse().map_err(|_| {
            let message =
                format!("`{field}` must be an RFC 3339 timestamp such as `2026-06-13T10:30:00Z`");
            Error::invalid(field, message)
        })
    };
    text.map(read).transpose()
}

impl DryRunBody {
    pub(crate) fn command(self) -> Result<DryRun> {
        let cursor = self.cursor.map(|cursor| {
            URL_SAFE_NO_PAD
                .decode(cursor)
                .ok()
                .and_then(|bytes| bytes.try_into().ok())
                .map(u64::from_be_bytes)
                .ok_or_else(|| Error::invalid("cursor", "`cursor` is not one that a dry run gave"))
        });
        Ok(DryRun {
            scope: policy_scope(self.scope.as_deref())?,
            sources: policy_sources(self.sources),
            since: time("since", self.since.as_deref())?,
            until: time("until", self.until.as_deref())?,
            limit: self.limit,
            after: cursor.transpose()?,
        })
    }
}

/// What a replay found.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReplayedBody {
    counts: CountsBody,
    changes: Vec<ChangedDecisionBody>,
    /// What the answer rests on.
    notes: [&'static str; 2],
    /// Where to go on; null where nothing is left.
    next_cursor: Option<String>,
}

/// What was looked at.
#[derive(Serialize, ToSchema)]
pub(crate) struct CountsBody {
    records: u64,
    /// Decisions that were put again.
    decisions: u64,
    changed: usize,
    /// Decisions that need facts which no record holds, such as a value.
    unknown: u64,
}

/// A decision that would be another one.
#[derive(Serialize, ToSchema)]
pub(crate) struct ChangedDecisionBody {
    sequence: u64,
    #[schema(value_type = String, format = DateTime)]
    time: Timestamp,
    actor: ActorBody,
    action: &'static str,
    resource: String,
    /// `allowed` or `denied` by the policies in force.
    was: &'static str,
    would_be: &'static str,
    /// The policies that would deny, or that would deny no more.
    policy: Vec<String>,
}

const NOTES: [&str; 2] = [
    "keys, identities and credentials are taken as they are now, not as they were at the time of the record",
    "`was` is what the policies in force say now to the same question",
];

impl From<Replayed> for ReplayedBody {
    fn from(found: Replayed) -> Self {
        let said = |allowed| if allowed { "allowed" } else { "denied" };
        let change = |change: ChangedDecision| ChangedDecisionBody {
            sequence: change.sequence,
            time: change.time,
            actor: change.actor.into(),
            action: change.action,
            resource: change.resource,
            was: said(change.was_allowed),
            would_be: said(change.would_be_allowed),
            policy: change.policy,
        };
        Self {
            counts: CountsBody {
                records: found.records,
                decisions: found.decisions,
                changed: found.changes.len(),
                unknown: found.unknown,
            },
            changes: found.changes.into_iter().map(change).collect(),
            notes: NOTES,
            next_cursor: found
                .next
                .map(|sequence| URL_SAFE_NO_PAD.encode(sequence.to_be_bytes())),
        }
    }
}
