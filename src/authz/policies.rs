//! All policies that hold, and the decisions over them. The sets are swapped whole while decisions go on: each one is
//! made over one [`Snapshot`].

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use cedar_policy::{Authorizer, Effect, PolicySet as CedarSet};

use super::{
    Action, PolicySet, Question, Refusal,
    built_in::{self, Outcome},
    entities,
    needs::Needs,
};
use crate::domain::id::WorkspaceId;

/// The policies that hold now.
#[derive(Debug, Default)]
pub struct Policies(RwLock<Arc<Snapshot>>);

/// The policies that hold at an instant, on top of the built-in ones.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    generation: u64,
    files: Arc<PolicySet>,
    organisation: Arc<PolicySet>,
    workspaces: HashMap<WorkspaceId, Arc<PolicySet>>,
}

/// What the policies say to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Allowed {
        by: String,
    },
    Refused {
        policies: Vec<String>,
        refusal: Refusal,
    },
}

impl Policies {
    /// The policies as they are now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Replaces the policies read from files.
    pub fn set_files(&self, set: PolicySet) -> u64 {
        self.swap(|snapshot| snapshot.files = Arc::new(set))
    }

    /// Replaces the organisation's policies. From the return on, every decision is made over the new ones.
    pub fn set_organisation(&self, set: impl Into<Arc<PolicySet>>) -> u64 {
        self.swap(|snapshot| snapshot.organisation = set.into())
    }

    /// Replaces a workspace's policies.
    pub fn set_workspace(&self, workspace: WorkspaceId, set: impl Into<Arc<PolicySet>>) -> u64 {
        self.swap(|snapshot| {
            snapshot.workspaces.insert(workspace, set.into());
        })
    }

    /// Forgets a workspace's policies.
    pub fn remove_workspace(&self, workspace: WorkspaceId) -> u64 {
        self.swap(|snapshot| {
            snapshot.workspaces.remove(&workspace);
        })
    }

    /// Makes the next snapshot; gives back its generation.
    fn swap(&self, change: impl FnOnce(&mut Snapshot)) -> u64 {
        let mut now = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = Snapshot::clone(&now);
        change(&mut next);
        next.generation += 1;
        *now = Arc::new(next);
        now.generation
    }
}

impl Snapshot {
    /// Moves with every change of the policies: what was decided under another one counts for nothing.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The same policies with another set of the organisation's: to try a candidate.
    #[must_use]
    pub fn with_organisation(&self, set: impl Into<Arc<PolicySet>>) -> Self {
        Self {
            organisation: set.into(),
            ..self.clone()
        }
    }

    /// The same policies with another set of a workspace's: to try a candidate.
    #[must_use]
    pub fn with_workspace(&self, workspace: WorkspaceId, set: impl Into<Arc<PolicySet>>) -> Self {
        let mut candidate = self.clone();
        candidate.workspaces.insert(workspace, set.into());
        candidate
    }

    /// Whether any policy but the built-in ones is about the action. Where none is, no facts are needed.
    pub fn concern(&self, workspace: WorkspaceId, action: Action) -> bool {
        self.layers(workspace).any(|set| set.slices.concern(action))
    }

    fn layers(&self, workspace: WorkspaceId) -> impl Iterator<Item = &PolicySet> {
        [&*self.files, &*self.organisation]
            .into_iter()
            .chain(self.workspaces.get(&workspace).map(|set| &**set))
    }

    /// What the policies say.
    pub fn explain(&self, question: &Question<'_>) -> Verdict {
        let built_in = built_in::outcome(question.principal, question.action, &question.resource);
        // Forbidden for good, whatever else applies.
        if let Outcome::Refused { policies, refusal } = &built_in
            && (!policies.is_empty() || *refusal == Refusal::Failed)
        {
            return Verdict::Refused {
                policies: policies.iter().map(ToString::to_string).collect(),
                refusal: refusal.clone(),
            };
        }
        let mut applying = Vec::new();
        for set in self.layers(question.principal.workspace) {
            set.slices.applying(question, &mut applying);
        }
        applying.extend(
            question
                .facts
                .allowed
                .and_then(|allowed| allowed.applying(question.action)),
        );
        let mut left = Vec::new();
        for part in applying {
            part.left(question, &mut left);
        }
        if left.is_empty() {
            return conclude(built_in, None);
        }
        let said = match Said::evaluate(question, &left) {
            Ok(said) => said,
            Err(fault) => {
                tracing::error!(%fault, action = question.action.as_str(), "a question cannot be put to policies");
                return Verdict::Refused {
                    policies: Vec::new(),
                    refusal: Refusal::Failed,
                };
            }
        };
        if !said.forbidden.is_empty() {
            return self.refused(question, said.forbidden);
        }
        if !said.failed.is_empty() {
            return Verdict::Refused {
                policies: said.failed,
                refusal: Refusal::Failed,
            };
        }
        conclude(built_in, said.permitted)
    }

    fn refused(&self, question: &Question<'_>, policies: Vec<String>) -> Verdict {
        let annotation = |id: &str, key| {
            self.layers(question.principal.workspace)
                .find_map(|set| set.annotation(id, key))
        };
        let storing = matches!(
            question.action,
            Action::CredentialCreate | Action::CredentialRotate
        );
        let messages: Option<Vec<_>> = policies
            .iter()
            .map(|id| annotation(id, "validation"))
            .collect();
        let refusal = match messages {
            Some(messages) if storing => Refusal::Invalid {
                message: messages.join("; "),
            },
            _ => Refusal::Forbidden {
                message: policies
                    .iter()
                    .find_map(|id| annotation(id, "message"))
                    .map(ToOwned::to_owned),
            },
        };
        Verdict::Refused { policies, refusal }
    }
}

/// The verdict where nothing forbids.
fn conclude(built_in: Outcome, permitted: Option<String>) -> Verdict {
    match (built_in, permitted) {
        (Outcome::Permitted { by }, _) => Verdict::Allowed { by: by.to_string() },
        (Outcome::Refused { .. }, Some(by)) => Verdict::Allowed { by },
        (Outcome::Refused { policies, refusal }, None) => Verdict::Refused {
            policies: policies.iter().map(ToString::to_string).collect(),
            refusal,
        },
    }
}

/// What the policies that can apply have said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    forbidden: Vec<String>,
    failed: Vec<String>,
    permitted: Option<String>,
}

impl Said {
    pub(super) fn evaluate(
        question: &Question<'_>,
        applying: &[(&CedarSet, Needs)],
    ) -> Result<Self, entities::Unaskable> {
        let needs = applying.iter().map(|(_, needs)| *needs);
        let needs = needs.fold(Needs::default(), Needs::and);
        let asked = entities::ask(question, &needs)?;
        let authorizer = Authorizer::new();
        let mut said = Self::default();
        for (set, _) in applying {
            let response = authorizer.is_authorized(&asked.request, set, &asked.entities);
            let diagnostics = response.diagnostics();
            // Cedar passes over a policy that errs. Here it denies: what it would have forbidden is not known.
            said.failed
                .extend(diagnostics.errors().map(|error| match error {
                    cedar_policy::AuthorizationError::PolicyEvaluationError(error) => {
                        error.policy_id().to_string()
                    }
                }));
            for id in diagnostics.reason() {
                let effect = set.policy(id).map(cedar_policy::Policy::effect);
                if effect == Some(Effect::Permit) {
                    let first = said.permitted.take().into_iter();
                    said.permitted = first.chain([id.to_string()]).min();
                } else {
                    said.forbidden.push(id.to_string());
                }
            }
        }
        // Within one set Cedar names no permit beside a forbid: nor is one named of another set.
        if !said.forbidden.is_empty() {
            said.permitted = None;
        }
        said.forbidden.sort();
        said.failed.sort();
        Ok(said)
    }
}
