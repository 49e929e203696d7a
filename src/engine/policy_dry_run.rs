//! Replaying recorded decisions under a candidate set: what would change if it came into force. Each record is put
//! again as the question that it answers, to the policies in force and to the candidate, with the facts of the record
//! and, of identities, keys and credentials, those of now. Nothing is changed but history, which remembers the reading.

mod question;

use std::sync::Arc;

use self::question::{Put, Recall};
use super::{
    Call, Engine, Note,
    policies::{faulty, home, parse, resource, with_set},
};
use crate::{
    audit::query::{AuditFilter, Numbered},
    authz::{Action, Refusal, Resource, Snapshot, Verdict},
    domain::{
        error::{Error, Result},
        event::{Actor, EventName, Object},
        policy_set::{self, PolicyScope, PolicySource},
        time::Timestamp,
    },
};

/// The default and the largest number of records that one run looks at.
pub const DEFAULT_RECORDS: u32 = 10_000;
pub const MAX_RECORDS: u32 = 100_000;
/// Records looked at between other tasks' turns.
const BATCH: usize = 1_000;
/// The most changes that one answer lists; a run ends there and its cursor goes on.
const MAX_CHANGES: usize = 1_000;

/// What to replay.
pub struct DryRun {
    pub scope: PolicyScope,
    pub sources: Vec<PolicySource>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    /// Records to look at, at most.
    pub limit: Option<u32>,
    /// The sequence number of the last record of the run before.
    pub after: Option<u64>,
}

/// A decision that would be another one.
pub struct ChangedDecision {
    pub sequence: u64,
    pub time: Timestamp,
    pub actor: Actor,
    pub action: &'static str,
    pub resource: String,
    pub was_allowed: bool,
    pub would_be_allowed: bool,
    /// The policies that would decide.
    pub policy: Vec<String>,
}

/// What a replay found.
#[derive(Default)]
pub struct Replayed {
    pub changes: Vec<ChangedDecision>,
    pub records: u64,
    /// Decisions that were put again.
    pub decisions: u64,
    /// Of them, those that need a fact that no record holds.
    pub unknown: u64,
    /// Where to go on.
    pub next: Option<u64>,
}

/// What policies say to a question put again.
struct Said {
    allowed: bool,
    failed: bool,
    policies: Vec<String>,
}

fn said(rules: &Snapshot, put: &Put, time: Timestamp) -> Said {
    // Of several decisions on one request, the first that denies is the answer.
    let mut last = Said {
        allowed: true,
        failed: false,
        policies: Vec::new(),
    };
    for action in &put.actions {
        last = match rules.explain(&put.question(*action, time)) {
            Verdict::Allowed { by } => Said {
                allowed: true,
                failed: false,
                policies: vec![by],
            },
            Verdict::Refused { policies, refusal } => Said {
                allowed: false,
                failed: refusal == Refusal::Failed,
                policies,
            },
        };
        if !last.allowed {
            break;
        }
    }
    last
}

impl Engine {
    /// Replays the workspace's records, oldest first.
    pub async fn dry_run_policies(&self, call: &Call, run: DryRun) -> Result<Replayed> {
        self.authorize(call, Action::PolicyRead, resource(run.scope))
            .await?;
        let permit = self
            .authorize(call, Action::AuditRead, Resource::Workspace)
            .await?;
        policy_set::check_sources(&run.sources, None)?;
        let limit = run.limit.unwrap_or(DEFAULT_RECORDS);
        if !(1..=MAX_RECORDS).contains(&limit) {
            let message = format!("`limit` must be 1 to {MAX_RECORDS}");
            return Err(Error::invalid("limit", message).with("limit", u64::from(MAX_RECORDS)));
        }
        let set = parse(run.scope, run.sources).await?.map_err(faulty)?;
        let now = self.access.snapshot();
        let candidate = with_set(&now, home(&call.principal, run.scope), Arc::new(set));
        let mut unit = self.begin(call, &permit, &[]).await?;
        let object = Object {
            name: Some("a dry run of policies".to_owned()),
            ..Object::default()
        };
        unit.record(Note::new(EventName::AuditRead, object))?;
        unit.commit().await?;

        let reader = self.history(call.principal.workspace);
        let filter = AuditFilter {
            since: run.since,
            until: run.until,
            ..AuditFilter::default()
        };
        let mut recall = Recall::new(self, &call.principal)?;
        let mut replayed = Replayed::default();
        let mut after = run.after;
        let mut left = limit as usize;
        loop {
            // One more than are looked at: a grant that shows its value is two records.
            let take = left.min(BATCH);
            let records = reader.next(&filter, after, take + 1).await?;
            records.iter().for_each(|record| recall.note(record));
            for (at, record) in records.iter().take(take).enumerate() {
                replayed.records += 1;
                after = Some(record.sequence);
                if let Some(put) = recall.put(record, records.get(at + 1)).await? {
                    replayed.judge(record, &put, &now, &candidate);
                }
                if replayed.changes.len() >= MAX_CHANGES {
                    replayed.next = (at + 1 < records.len()).then_some(record.sequence);
                    return Ok(replayed);
                }
            }
            left -= records.len().min(take);
            if records.len() <= take {
                return Ok(replayed);
            }
            if left == 0 {
                replayed.next = after;
                return Ok(replayed);
            }
            tokio::task::yield_now().await;
        }
    }
}

impl Replayed {
    fn judge(&mut self, found: &Numbered, put: &Put, now: &Snapshot, candidate: &Snapshot) {
        self.decisions += 1;
        let time = found.record.time;
        let (was, would_be) = (said(now, put, time), said(candidate, put, time));
        // What was denied and would not be now was asked with facts that nobody kept, or is decided otherwise already.
        if put.incomplete && (was.failed || would_be.failed) || put.denied && was.allowed {
            self.unknown += 1;
            return;
        }
        if was.allowed == would_be.allowed {
            return;
        }
        self.changes.push(ChangedDecision {
            sequence: found.sequence,
            time,
            actor: found.record.actor.clone(),
            action: put.spelling(),
            resource: put.resource.describe(),
            was_allowed: was.allowed,
            would_be_allowed: would_be.allowed,
            policy: match would_be.allowed {
                true => was.policies,
                false => would_be.policies,
            },
        });
    }
}
