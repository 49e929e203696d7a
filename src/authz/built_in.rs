//! The built-in policies: what roles and scopes allow, of `policies/roles.cedar`, under the schema of
//! `policies/schema.cedarschema`.
//!
//! What they decide depends on a few facts only: the action, the kind of resource, the role, three scopes, ownership and
//! reach. INVARIANT (built-in-memo): a decision is made of a [`Key`] alone, by Cedar, and remembered under it, so nothing
//! that is not in the key can have decided. There are few keys, whatever callers do.

use std::{
    collections::HashMap,
    str::FromStr,
    sync::{Arc, LazyLock, PoisonError, RwLock},
};

use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, PolicyId, PolicySet, Request,
    RestrictedExpression, Schema, ValidationMode, Validator,
};

use super::{
    Action, Refusal, Resource,
    entities::{self, Names, Unaskable, uid},
    needs::Needs,
};
use crate::domain::{
    error::Error,
    name::Metadata,
    principal::{Principal, Roles},
    scope::{Role, Scope, ScopeSet},
};

/// The schema, as shipped.
pub const SCHEMA: &str = include_str!("../../policies/schema.cedarschema");
/// The policies, as shipped.
pub const ROLES: &str = include_str!("../../policies/roles.cedar");
/// The name of their file.
pub const ROLES_FILE: &str = "roles.cedar";

/// The guards: nothing else forbids here.
const SCOPE_MISSING: &str = "scope:missing";
const HOLDER_ONLY: &str = "holder:only";
const ORGANISATION_ONLY: &str = "organisation:only";

/// The schema's types of resources, as questions spell them.
const KINDS: [(&str, &str); 7] = [
    ("Vault", "vault"),
    ("Workspace", "workspace"),
    ("Credential", "credential/…"),
    ("Lease", "lease/…"),
    ("Identity", "identity/…"),
    ("Key", "api-key/…"),
    ("Token", "token/…"),
];

/// What the built-in policies say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Permitted {
        by: Arc<str>,
    },
    /// `policies` is empty where nothing permits and nothing forbids.
    Refused {
        policies: Arc<[Arc<str>]>,
        refusal: Refusal,
    },
}

/// Everything that the built-in policies look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    action: Action,
    kind: Kind,
    /// The one whose scopes the caller has, where there is one; or else its identity's, of which it holds less.
    role: Role,
    /// Of the scopes that any policy asks for, those that are held.
    scopes: ScopeSet,
    organisation: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Vault,
    Workspace,
    Credential,
    Identity,
    Lease { held: bool, requested: bool },
    Key { own: bool },
    Token { own: bool },
}

impl Key {
    fn of(principal: &Principal, action: Action, resource: &Resource) -> Self {
        let own = |identity| identity == principal.identity;
        let kind = match resource {
            Resource::Vault => Kind::Vault,
            Resource::Workspace => Kind::Workspace,
            Resource::Credential(_) => Kind::Credential,
            Resource::Identity { .. } => Kind::Identity,
            Resource::Lease {
                holder,
                requested_by,
                ..
            } => Kind::Lease {
                held: own(*holder),
                requested: own(*requested_by),
            },
            Resource::Key { identity, .. } => Kind::Key {
                own: own(*identity),
            },
            Resource::Token { identity, .. } => Kind::Token {
                own: own(*identity),
            },
        };
        let asked = ScopeSet::of(&[action.scope(), Scope::LeaseCreate, Scope::LeaseDelegate]);
        Self {
            action,
            kind,
            role: principal.role.unwrap_or(principal.roles.identity),
            scopes: principal.scopes.intersection(asked),
            organisation: principal.organisation,
        }
    }
}

struct BuiltIn {
    schema: Schema,
    policies: PolicySet,
    known: RwLock<HashMap<Key, Outcome>>,
}

static BUILT_IN: LazyLock<Result<BuiltIn, String>> = LazyLock::new(|| {
    let (schema, _) = Schema::from_cedarschema_str(SCHEMA).map_err(|error| error.to_string())?;
    let parsed = PolicySet::from_str(ROLES).map_err(|error| error.to_string())?;
    let validation = Validator::new(schema.clone()).validate(&parsed, ValidationMode::Strict);
    if !validation.validation_passed() {
        return Err(validation.to_string());
    }
    let mut policies = PolicySet::new();
    for policy in parsed.policies() {
        let id = policy
            .annotation("id")
            .ok_or("a built-in policy without an id")?;
        let named = policy.new_id(PolicyId::new(id));
        policies.add(named).map_err(|error| error.to_string())?;
    }
    Ok(BuiltIn {
        schema,
        policies,
        known: RwLock::default(),
    })
});

fn built_in() -> Result<&'static BuiltIn, Unaskable> {
    BUILT_IN.as_ref().map_err(|fault| fault.as_str().into())
}

/// The schema that every policy is held to.
pub(super) fn schema() -> Result<&'static Schema, Unaskable> {
    built_in().map(|built_in| &built_in.schema)
}

/// Whether the schema has the action done to resources of that type. Policies can speak of no others, so that decisions
/// must be on no others.
pub fn concerns(action: Action, kind: &str) -> bool {
    let known = || -> Result<bool, Unaskable> {
        let kinds = schema()?.resources_for_action(Names::get()?.action(action)?);
        Ok(kinds.into_iter().flatten().any(|of| of.to_string() == kind))
    };
    known().unwrap_or(false)
}

/// Refuses a question about an action and a resource of a type that it is never done to: what would be answered is true
/// of nothing.
pub fn check_concerns(action: Action, kind: &str) -> Result<(), Error> {
    if concerns(action, kind) {
        return Ok(());
    }
    let possible = KINDS.iter().filter(|(of, _)| concerns(action, of));
    let possible: Vec<_> = possible.map(|(_, text)| format!("`{text}`")).collect();
    let found = KINDS.iter().find(|(of, _)| *of == kind);
    let message = format!(
        "`{}` is done to {}, not to `{}`",
        action.as_str(),
        possible.join(" or "),
        found.map_or(kind, |(_, text)| text)
    );
    Err(Error::invalid("resource", message))
}

/// What the built-in policies say.
pub(super) fn outcome(principal: &Principal, action: Action, resource: &Resource) -> Outcome {
    let key = Key::of(principal, action, resource);
    built_in()
        .and_then(|built_in| {
            let known = built_in
                .known
                .read()
                .unwrap_or_else(PoisonError::into_inner);
            if let Some(outcome) = known.get(&key) {
                return Ok(outcome.clone());
            }
            drop(known);
            let outcome = evaluate(built_in, &key)?;
            let mut known = built_in
                .known
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            known.insert(key, outcome.clone());
            Ok(outcome)
        })
        .unwrap_or_else(|fault| {
            tracing::error!(fault, "the built-in policies cannot be evaluated");
            Outcome::Refused {
                policies: Arc::default(),
                refusal: Refusal::Failed,
            }
        })
}

fn evaluate(built_in: &BuiltIn, key: &Key) -> Result<Outcome, Unaskable> {
    let (request, entities) = question(key)?;
    let response = Authorizer::new().is_authorized(&request, &built_in.policies, &entities);
    if let Some(error) = response.diagnostics().errors().next() {
        return Err(error.to_string().into());
    }
    // The file names policies that permit more first: of two, the one that says more about the caller.
    let mut decided: Vec<Arc<str>> = response
        .diagnostics()
        .reason()
        .map(|id| Arc::from(id.as_ref() as &str))
        .collect();
    decided.sort_by_key(|id| (id.starts_with("own:"), id.clone()));
    if response.decision() == Decision::Allow {
        let by = decided.into_iter().next().ok_or("nothing permitted")?;
        return Ok(Outcome::Permitted { by });
    }
    let forbids = |id: &str| decided.iter().any(|decided| &**decided == id);
    let (missing, why) =
        if forbids(SCOPE_MISSING) || !forbids(HOLDER_ONLY) && !forbids(ORGANISATION_ONLY) {
            let why = match key.action {
                Action::LeaseRead => "the lease belongs to another identity",
                _ => "the key lacks the scope",
            };
            (Some(key.action.scope()), why)
        } else if forbids(HOLDER_ONLY) {
            let delegates = key.scopes.contains(Scope::LeaseDelegate);
            let missing = (!delegates).then_some(Scope::LeaseDelegate);
            (missing, "the lease belongs to another identity")
        } else {
            (None, "the caller reaches one workspace only")
        };
    Ok(Outcome::Refused {
        policies: decided.into(),
        refusal: Refusal::Scope { missing, why },
    })
}

/// The question that a key stands for: its facts as the schema spells them, and nothing else.
fn question(key: &Key) -> Result<(Request, Entities), Unaskable> {
    let (names, needs) = (Names::get()?, Needs::everything());
    let caller = uid(&names.identity, "caller");
    let other = uid(&names.identity, "other");
    let bool = RestrictedExpression::new_bool;
    let who = |own| {
        RestrictedExpression::new_entity_uid(if own { caller.clone() } else { other.clone() })
    };
    let (kind, attributes) = match key.kind {
        Kind::Vault => (&names.vault, vec![]),
        Kind::Workspace => (&names.workspace, vec![]),
        Kind::Credential => (&names.credential, vec![]),
        Kind::Identity => (&names.identity, vec![]),
        Kind::Lease { held, requested } => {
            let parties = vec![("holder", who(held)), ("requested_by", who(requested))];
            (&names.lease, parties)
        }
        Kind::Key { own } => (&names.key, vec![("own", bool(own))]),
        Kind::Token { own } => (&names.token, vec![("own", bool(own))]),
    };
    let resource = uid(kind, "it");
    let attributes = attributes
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    let resource_entity = Entity::new_with_tags(resource.clone(), attributes, [], [])?;
    let told = (Some(Roles::of(key.role, None)), &Metadata::default());
    let caller_entity = entities::caller(names, &caller, ("", ""), told, &needs)?;
    let entities = Entities::from_entities([caller_entity, resource_entity], None)?;
    let context = entities::plain(key.action, key.scopes, key.organisation, (0, 1), &needs);
    let request = Request::new(
        caller,
        names.action(key.action)?.clone(),
        resource,
        Context::from_pairs(context)?,
        None,
    )?;
    Ok((request, entities))
}

#[cfg(test)]
mod tests {
    use cedar_policy::Effect;

    use super::*;

    #[test]
    fn the_shipped_policies_are_valid_and_forbid_by_their_guards_alone() {
        let built_in = built_in().unwrap();
        let mut guards: Vec<_> = built_in
            .policies
            .policies()
            .filter(|policy| policy.effect() == Effect::Forbid)
            .map(|policy| policy.id().to_string())
            .collect();
        guards.sort();
        assert_eq!(guards, [HOLDER_ONLY, ORGANISATION_ONLY, SCOPE_MISSING]);
        for role in Role::ALL {
            let id = PolicyId::new(format!("role:{}", role.as_str()));
            assert!(built_in.policies.policy(&id).is_some(), "{id}");
        }
    }

    #[test]
    fn the_schema_names_every_action_and_no_other() {
        let schema = schema().unwrap();
        let names = Names::get().unwrap();
        let ours: std::collections::BTreeSet<_> = Action::ALL
            .iter()
            .map(|action| names.action(*action).unwrap().to_string())
            .collect();
        let theirs = schema
            .actions()
            .map(ToString::to_string)
            .filter(|action| !action.ends_with("*\""))
            .collect();
        assert_eq!(ours, theirs);
        let groups = schema.action_entities().unwrap();
        for action in Action::ALL.iter().copied() {
            let (action, family) = names.action_in_family(action).unwrap();
            assert!(groups.is_ancestor_of(family, action), "{action}");
        }
    }
}
