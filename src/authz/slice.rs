//! Policies cut beforehand by action, and by the one entity that a policy's scope names, so that a decision evaluates
//! only what can apply to it. A policy is in one part of each of its actions.

use std::{collections::HashMap, sync::Arc};

use cedar_policy::{
    ActionConstraint, EntityUid, Policy, PrincipalConstraint, ResourceConstraint, Schema,
};

use super::{
    Action, Question, Resource,
    entities::Names,
    entities::Unaskable,
    entities::identity_name,
    part::{Part, Single},
};

/// The policies of one action.
#[derive(Debug, Default)]
struct Slice {
    /// Those whose scope names nobody and nothing.
    general: Part,
    /// Those whose scope names a resource, or else a principal, by that one's type and id.
    named: HashMap<String, HashMap<String, Part>>,
}

/// Policies by action.
#[derive(Debug, Default)]
pub(super) struct Slices {
    /// In the order of [`Action::ALL`]; empty where there is no policy at all.
    slices: Vec<Slice>,
}

/// The entity that a policy's scope names, if any. Whatever it names, nothing else can satisfy the policy but that
/// entity and what is in it.
fn named(policy: &Policy) -> Option<EntityUid> {
    match policy.resource_constraint() {
        ResourceConstraint::Eq(uid)
        | ResourceConstraint::In(uid)
        | ResourceConstraint::IsIn(_, uid) => return Some(uid),
        ResourceConstraint::Any | ResourceConstraint::Is(_) => {}
    }
    match policy.principal_constraint() {
        PrincipalConstraint::Eq(uid)
        | PrincipalConstraint::In(uid)
        | PrincipalConstraint::IsIn(_, uid) => Some(uid),
        PrincipalConstraint::Any | PrincipalConstraint::Is(_) => None,
    }
}

impl Slices {
    /// Cuts policies.
    pub(super) fn cut<'a>(
        policies: impl Iterator<Item = &'a Policy>,
        schema: &Schema,
    ) -> Result<Self, Unaskable> {
        let names = Names::get()?;
        let groups = schema.action_entities()?;
        let mut slices = Vec::new();
        for policy in policies {
            slices.resize_with(Action::ALL.len(), Slice::default);
            let single = Arc::new(Single::of(policy)?);
            let constraint = policy.action_constraint();
            let applies = |action: &EntityUid| match &constraint {
                ActionConstraint::Any => true,
                ActionConstraint::Eq(wanted) => wanted == action,
                ActionConstraint::In(wanted) => wanted
                    .iter()
                    .any(|wanted| wanted == action || groups.is_ancestor_of(wanted, action)),
            };
            for (action, slice) in Action::ALL.iter().zip(&mut slices) {
                if applies(names.action(*action)?) {
                    slice.add(policy, &single)?;
                }
            }
        }
        Ok(Self { slices })
    }

    /// Whether any policy is about the action.
    pub(super) fn concern(&self, action: Action) -> bool {
        self.slices
            .get(action as usize)
            .is_some_and(|slice| !slice.general.is_empty() || !slice.named.is_empty())
    }

    /// The parts that can apply to a question.
    pub(super) fn applying<'a>(&'a self, question: &Question<'_>, found: &mut Vec<&'a Part>) {
        let Some(slice) = self.slices.get(question.action as usize) else {
            return;
        };
        if !slice.general.is_empty() {
            found.push(&slice.general);
        }
        if slice.named.is_empty() {
            return;
        }
        let mut look = |kind: &str, id: &dyn Fn() -> String| {
            let of_kind = slice.named.get(kind);
            found.extend(of_kind.and_then(|sets| sets.get(id().as_str())));
        };
        let principal = question.principal;
        look("Identity", &|| {
            identity_name(principal.kind, &principal.name)
        });
        for role in principal.roles.iter() {
            look("Role", &|| role.as_str().to_owned());
        }
        match &question.resource {
            Resource::Vault => return look("Vault", &|| "vault".to_owned()),
            Resource::Workspace => {}
            Resource::Credential(name) => look("Credential", &|| name.as_str().to_owned()),
            Resource::Lease { id, credential, .. } => {
                look("Lease", &|| id.to_string());
                look("Credential", &|| credential.as_str().to_owned());
            }
            Resource::Key { id, .. } => look("Key", &|| id.to_string()),
            Resource::Token { id, .. } => look("Token", &|| id.to_string()),
            Resource::Identity { kind, name } => {
                // The caller's own name was looked at above, for whichever side of the scope names it.
                if (*kind, name) != (principal.kind, &principal.name) {
                    look("Identity", &|| identity_name(*kind, name));
                }
                return;
            }
        }
        look("Workspace", &|| {
            principal.workspace_name.as_str().to_owned()
        });
    }
}

impl Slice {
    fn add(&mut self, policy: &Policy, single: &Arc<Single>) -> Result<(), Unaskable> {
        let part = match named(policy) {
            None => &mut self.general,
            Some(uid) => {
                let of_kind = self.named.entry(uid.type_name().to_string()).or_default();
                let id: &str = uid.id().as_ref();
                of_kind.entry(id.to_owned()).or_default()
            }
        };
        part.add(single)
    }
}
