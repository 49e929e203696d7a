//! Keeping sets of Cedar policies: one of the organisation, and one of each workspace. A set is replaced as a whole. It
//! is in force once it is durable and before the answer, and every version stays readable.

use std::{collections::BTreeMap, fmt, sync::Arc};

use super::{
    Call, Engine, Note,
    credential::{author, change},
    page::{Page, PageRequest},
};
use crate::{
    authz::{
        self, Action, Facts, Fault, Layer, Permit, PolicySet, Question, Resource, Snapshot, Source,
    },
    domain::{
        error::{Code, Detail, Error, Result},
        event::{EventName, Object},
        id::WorkspaceId,
        policy_set::{self, MAX_SET_BYTES, PolicyScope, PolicySource, StoredPolicies},
        principal::Principal,
        scope::Role,
    },
    tables,
};

/// A set to put in force.
pub struct ApplyPolicies {
    pub scope: PolicyScope,
    pub sources: Vec<PolicySource>,
    pub comment: Option<String>,
    /// The version that the caller believes to be in force.
    pub expected_version: Option<u32>,
    /// Take a set under which the caller could not replace it.
    pub allow_lockout: bool,
}

/// An earlier set to bring back, as a new version.
pub struct Rollback {
    pub scope: PolicyScope,
    /// 0 is the empty set that everything begins with.
    pub version: u32,
    pub comment: Option<String>,
    pub expected_version: Option<u32>,
    pub allow_lockout: bool,
}

/// The set in force of a scope; none has been put in force yet where `stored` is none.
pub struct InForce {
    pub scope: PolicyScope,
    pub stored: Option<StoredPolicies>,
}

/// What is wrong with a text, or remarkable in it.
#[derive(Debug, Clone)]
pub struct PolicyFault {
    pub file: String,
    /// From 1; in characters.
    pub line: Option<u32>,
    pub column: Option<u32>,
    pub reason: String,
}

/// What became of a set that was only read.
pub struct Tried {
    pub errors: Vec<PolicyFault>,
    pub warnings: Vec<PolicyFault>,
}

impl From<&Fault> for PolicyFault {
    fn from(fault: &Fault) -> Self {
        Self {
            file: fault.source.clone(),
            line: fault.line,
            column: fault.column,
            reason: fault.reason.clone(),
        }
    }
}

impl fmt::Display for PolicyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

impl PolicyFault {
    fn detail(self) -> BTreeMap<&'static str, Detail> {
        let number = |n: u32| Detail::Number(u64::from(n));
        [
            Some(("file", Detail::Text(self.file))),
            self.line.map(|line| ("line", number(line))),
            self.column.map(|column| ("column", number(column))),
            Some(("reason", Detail::Text(self.reason))),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

const fn layer(scope: PolicyScope) -> Layer {
    match scope {
        PolicyScope::Organisation => Layer::Organisation,
        PolicyScope::Workspace => Layer::Workspace,
    }
}

/// What a decision on a scope's policies is about.
pub(super) const fn resource(scope: PolicyScope) -> Resource {
    match scope {
        PolicyScope::Organisation => Resource::Vault,
        PolicyScope::Workspace => Resource::Workspace,
    }
}

fn read(scope: PolicyScope, sources: Vec<PolicySource>) -> Result<PolicySet, Vec<PolicyFault>> {
    let whole = |reason| PolicyFault {
        file: sources
            .last()
            .map(|last| last.name.clone())
            .unwrap_or_default(),
        line: None,
        column: None,
        reason,
    };
    if sources
        .iter()
        .map(|source| source.text.len())
        .sum::<usize>()
        > MAX_SET_BYTES
    {
        let reason = format!("the policies are longer than {MAX_SET_BYTES} bytes in all");
        return Err(vec![whole(reason)]);
    }
    let texts: Vec<_> = sources
        .iter()
        .map(|PolicySource { name, text }| Source {
            name: name.clone(),
            text: text.clone(),
        })
        .collect();
    PolicySet::parse(layer(scope), &texts)
        .map_err(|faults| faults.iter().map(PolicyFault::from).collect())
}

/// Reads a set where it holds up nobody: a large one takes a while.
pub(super) async fn parse(
    scope: PolicyScope,
    sources: Vec<PolicySource>,
) -> Result<Result<PolicySet, Vec<PolicyFault>>> {
    tokio::task::spawn_blocking(move || read(scope, sources))
        .await
        .map_err(Error::internal)
}

const SORTS: [(&str, ()); 1] = [("version", ())];
const DEFAULT_SORT: &str = "-version";

fn no_version() -> Error {
    Error::not_found("policy version")
}

/// The refusal of a set with faults.
pub(super) fn faulty(faults: Vec<PolicyFault>) -> Error {
    let first = faults.first().map(ToString::to_string).unwrap_or_default();
    let told: Vec<_> = faults.into_iter().map(PolicyFault::detail).collect();
    let message = format!("the policies are not valid, and nothing was changed: {first}");
    Error::new(Code::ValidationFailed, message).with("errors", told)
}

/// Where a scope's sets are kept.
pub(super) fn home(principal: &Principal, scope: PolicyScope) -> WorkspaceId {
    match scope {
        PolicyScope::Organisation => WorkspaceId::SYSTEM,
        PolicyScope::Workspace => principal.workspace,
    }
}

/// The policies as they would be with another set.
pub(super) fn with_set(
    rules: &Snapshot,
    home: WorkspaceId,
    set: impl Into<Arc<PolicySet>>,
) -> Snapshot {
    match home {
        WorkspaceId::SYSTEM => rules.with_organisation(set),
        workspace => rules.with_workspace(workspace, set),
    }
}

/// A set on its way into force.
struct Next {
    scope: PolicyScope,
    set: Arc<PolicySet>,
    sources: Vec<PolicySource>,
    comment: Option<String>,
    restores: Option<u32>,
    allow_lockout: bool,
}

impl Engine {
    /// Puts every stored set in force. One that is no longer valid refuses the start: without it, what it forbids would
    /// be allowed.
    pub(super) async fn load_policy_sets(&self) -> Result<()> {
        let mut next = Some(WorkspaceId::SYSTEM);
        while let Some(home) = next {
            let stored = self
                .tables(home)?
                .newest_policy_set(&mut self.read())
                .await?;
            if let Some(stored) = stored {
                self.load(home, stored).await?;
            }
            next = tables::next_with_policies(&mut self.read(), home).await?;
        }
        Ok(())
    }

    async fn load(&self, home: WorkspaceId, stored: StoredPolicies) -> Result<()> {
        let (scope, whose) = match home {
            WorkspaceId::SYSTEM => (PolicyScope::Organisation, "the organisation".to_owned()),
            workspace => (PolicyScope::Workspace, format!("the workspace {workspace}")),
        };
        let set = parse(scope, stored.sources).await?.map_err(|faults| {
            let told: Vec<_> = faults.iter().map(ToString::to_string).collect();
            Error::state(format!(
                "version {} of the policies of {whose} is not valid under this release, and the vault does not start \
                 without it: {}",
                stored.version,
                told.join("; ")
            ))
        })?;
        self.put_in_force(home, Arc::new(set));
        Ok(())
    }

    fn put_in_force(&self, home: WorkspaceId, set: Arc<PolicySet>) {
        match home {
            WorkspaceId::SYSTEM => self.access.set_organisation(set),
            workspace => self.access.set_workspace(workspace, set),
        };
    }

    /// The set in force.
    pub async fn policies_in_force(&self, call: &Call, scope: PolicyScope) -> Result<InForce> {
        self.authorize(call, Action::PolicyRead, resource(scope))
            .await?;
        let tables = self.tables(home(&call.principal, scope))?;
        let stored = tables.newest_policy_set(&mut self.read()).await?;
        Ok(InForce { scope, stored })
    }

    /// A page of the sets that are or were in force.
    pub async fn policy_history(
        &self,
        call: &Call,
        scope: PolicyScope,
        request: &PageRequest,
    ) -> Result<Page<StoredPolicies>> {
        self.authorize(call, Action::PolicyRead, resource(scope))
            .await?;
        let window = request.window(&SORTS, DEFAULT_SORT)?;
        let tables = self.tables(home(&call.principal, scope))?;
        let read = &mut self.read();
        let newest = tables.newest_policy_set(read).await?;
        let newest = newest.map_or(0, |newest| newest.version);
        let all = (1..=newest).map(|version| (version.to_be_bytes().to_vec(), version));
        let page = request.cut(&window, DEFAULT_SORT, all.collect());
        let mut items = Vec::with_capacity(page.items.len());
        for version in page.items {
            items.push(
                tables
                    .policy_set(read, version)
                    .await?
                    .ok_or_else(no_version)?,
            );
        }
        Ok(Page {
            items,
            limit: page.limit,
            next_cursor: page.next_cursor,
            total: page.total,
        })
    }

    /// One set that is or was in force.
    pub async fn policy_version(
        &self,
        call: &Call,
        scope: PolicyScope,
        version: u32,
    ) -> Result<StoredPolicies> {
        self.authorize(call, Action::PolicyRead, resource(scope))
            .await?;
        let tables = self.tables(home(&call.principal, scope))?;
        let found = tables.policy_set(&mut self.read(), version).await?;
        found.ok_or_else(no_version)
    }

    /// Says what is wrong with a set. Changes nothing.
    pub async fn validate_policies(
        &self,
        call: &Call,
        scope: PolicyScope,
        sources: Vec<PolicySource>,
    ) -> Result<Tried> {
        self.authorize(call, Action::PolicyRead, resource(scope))
            .await?;
        policy_set::check_sources(&sources, None)?;
        Ok(match parse(scope, sources).await? {
            Ok(set) => Tried {
                errors: Vec::new(),
                warnings: set.warnings().iter().map(PolicyFault::from).collect(),
            },
            Err(errors) => Tried {
                errors,
                warnings: Vec::new(),
            },
        })
    }

    /// Puts a set in force. Whoever asked may go away meanwhile: a set that is durable comes into force.
    pub async fn apply_policies(
        self: &Arc<Self>,
        call: Call,
        command: ApplyPolicies,
    ) -> Result<InForce> {
        let engine = self.clone();
        let work = async move {
            let scope = command.scope;
            engine
                .authorize(&call, Action::PolicyWrite, resource(scope))
                .await?;
            policy_set::check_sources(&command.sources, command.comment.as_deref())?;
            let set = parse(scope, command.sources.clone())
                .await?
                .map_err(faulty)?;
            let _turn = engine.policy_turn.lock().await;
            // Again: a set that took this right away may have come into force meanwhile.
            let permit = engine
                .authorize(&call, Action::PolicyWrite, resource(scope))
                .await?;
            let next = Next {
                scope,
                set: Arc::new(set),
                sources: command.sources,
                comment: command.comment,
                restores: None,
                allow_lockout: command.allow_lockout,
            };
            engine
                .replace(&call, &permit, next, command.expected_version)
                .await
        };
        tokio::spawn(work).await.map_err(Error::internal)?
    }

    /// Puts an earlier set in force again.
    pub async fn roll_back_policies(
        self: &Arc<Self>,
        call: Call,
        command: Rollback,
    ) -> Result<InForce> {
        let engine = self.clone();
        let work = async move {
            let scope = command.scope;
            engine.authorize_rollback(&call, scope).await?;
            policy_set::check_sources(&[], command.comment.as_deref())?;
            let sources = match command.version {
                0 => Vec::new(),
                version => {
                    let tables = engine.tables(home(&call.principal, scope))?;
                    let found = tables.policy_set(&mut engine.read(), version).await?;
                    found.ok_or_else(no_version)?.sources
                }
            };
            // What was valid once may not be under this release.
            let set = parse(scope, sources.clone()).await?.map_err(faulty)?;
            let _turn = engine.policy_turn.lock().await;
            let permit = engine.authorize_rollback(&call, scope).await?;
            let next = Next {
                scope,
                set: Arc::new(set),
                sources,
                comment: command.comment,
                restores: Some(command.version),
                allow_lockout: command.allow_lockout,
            };
            engine
                .replace(&call, &permit, next, command.expected_version)
                .await
        };
        tokio::spawn(work).await.map_err(Error::internal)?
    }

    /// The permit to roll back. INVARIANT (way-back): an owner of the organisation has it whatever the sets that are
    /// kept here say. The built-in policies and those of files hold for owners too.
    async fn authorize_rollback(&self, call: &Call, scope: PolicyScope) -> Result<Permit> {
        let principal = &call.principal;
        if !(principal.organisation && principal.role == Some(Role::Owner)) {
            return self
                .authorize(call, Action::PolicyWrite, resource(scope))
                .await;
        }
        let rules = self
            .access
            .snapshot()
            .with_organisation(PolicySet::default())
            .with_workspace(principal.workspace, PolicySet::default());
        match authz::decide(&rules, self.may_write(call, scope)) {
            Ok(permit) => Ok(permit),
            Err(denial) => Err(self.deny(call, denial).await?),
        }
    }

    fn may_write<'a>(&self, call: &'a Call, scope: PolicyScope) -> Question<'a> {
        Question {
            principal: &call.principal,
            action: Action::PolicyWrite,
            resource: resource(scope),
            now: self.now(),
            source_ip: call.origin.source_ip,
            facts: Facts::default(),
        }
    }

    /// Makes a set the newest, and puts it in force once that is durable. The caller holds the turn.
    async fn replace(
        &self,
        call: &Call,
        permit: &Permit,
        next: Next,
        expected: Option<u32>,
    ) -> Result<InForce> {
        let scope = next.scope;
        let home = home(&call.principal, scope);
        let tables = self.tables(home)?;
        let mut unit = self.begin(call, permit, &[]).await?;
        let before = tables.newest_policy_set(&mut unit.txn).await?;
        let current = before.as_ref().map_or(0, |before| before.version);
        if expected.is_some_and(|expected| expected != current) {
            return Err(Error::new(
                Code::VersionConflict,
                "the policies were replaced in the meantime",
            )
            .with("current_version", u64::from(current)));
        }
        let event = match next.restores {
            None => EventName::PolicyApplied,
            Some(_) => EventName::PolicyRolledBack,
        };
        let object = Object {
            name: Some(format!("policies of the {}", scope.as_str())),
            ..Object::default()
        };
        let candidate = with_set(&self.access.snapshot(), home, next.set.clone());
        if !next.allow_lockout
            && let Err(denial) = authz::decide(&candidate, self.may_write(call, scope))
        {
            drop(unit);
            let error = Error::state(
                "under these policies you could not replace them any more; change them, or send `allow_lockout: true` \
                 where that is meant",
            )
            .with("policy", denial.policies.join(", "));
            return self.recorded(call, event, object, Err(error)).await;
        }
        let stored = StoredPolicies {
            version: current
                .checked_add(1)
                .ok_or_else(|| Error::internal("no version is left"))?,
            digest: policy_set::digest(&next.sources),
            sources: next.sources,
            applied_at: unit.now,
            applied_by: author(&call.principal),
            comment: next.comment,
            restores: next.restores,
        };
        let digest = |set: &StoredPolicies| policy_set::describe_digest(&set.digest);
        let version = |set: &StoredPolicies| set.version.to_string();
        let mut changes = vec![
            change(
                "version",
                before.as_ref().map(version),
                Some(version(&stored)),
            ),
            change("digest", before.as_ref().map(digest), Some(digest(&stored))),
        ];
        changes.extend(
            next.restores
                .map(|restored| change("restores", None, Some(restored.to_string()))),
        );
        tables.put_policy_set(&mut *unit.txn, &stored)?;
        unit.record(Note {
            reason: stored.comment.clone(),
            changes,
            ..Note::new(event, object)
        })?;
        unit.commit().await?;
        self.put_in_force(home, next.set);
        Ok(InForce {
            scope,
            stored: Some(stored),
        })
    }
}
