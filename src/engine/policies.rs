//! Keeping sets of Cedar policies: one of the organisation, and one of each workspace. A set is replaced as a whole. It
//! is in force once it is durable and before the answer, and every version stays readable.

mod fault;
mod replace;

use std::sync::Arc;

pub(super) use self::fault::faulty;
pub use self::{
    fault::PolicyFault,
    replace::{ApplyPolicies, Rollback},
};

use super::{
    Call, Engine,
    page::{Page, PageRequest},
};
use crate::{
    authz::{Action, Layer, PolicySet, Resource, Snapshot, Source},
    domain::{
        error::{Error, Result},
        id::WorkspaceId,
        policy_set::{self, MAX_SET_BYTES, PolicyScope, PolicySource, StoredPolicies},
        principal::Principal,
    },
    tables,
};

/// The set in force of a scope; none has been put in force yet where `stored` is none.
pub struct InForce {
    pub scope: PolicyScope,
    pub stored: Option<StoredPolicies>,
}

/// What became of a set that was only read.
pub struct Tried {
    pub errors: Vec<PolicyFault>,
    pub warnings: Vec<PolicyFault>,
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
        let mut sets = Vec::with_capacity(page.items.len());
        for version in &page.items {
            let set = tables.policy_set(read, *version).await?;
            sets.push(set.ok_or_else(no_version)?);
        }
        Ok(page.with(sets))
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
}
