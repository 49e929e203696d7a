//! `allowed_identities` of a credential's own policy, as a policy that forbids what concerns every other holder.

use cedar_policy::{Policy, PolicyId};

use super::{
    Action,
    part::{Part, Single},
};
use crate::domain::{
    error::{Error, Result},
    identities::IdentityPattern,
};

/// The name that denials tell.
const ID: &str = "credential:allowed_identities";

/// Whom a credential's policy admits, compiled.
#[derive(Debug)]
pub struct Allowed(Part);

impl Allowed {
    /// Compiles the patterns of a policy that names some.
    pub fn compile(patterns: &[String]) -> Result<Self> {
        if patterns.is_empty() {
            return Err(Error::internal("a list of identities that admits nobody"));
        }
        let conditions = patterns
            .iter()
            .map(|text| IdentityPattern::parse(text).map(|pattern| condition(&pattern)))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| Error::internal("a stored pattern of identities cannot be read"))?;
        let text = format!(
            "forbid (principal, action, resource) unless {{ {} }};",
            any(&conditions)
        );
        let policy = Policy::parse(Some(PolicyId::new(ID)), text).map_err(Error::internal)?;
        let mut part = Part::default();
        let single = Single::of(&policy).map_err(Error::internal)?;
        part.add(&single.into()).map_err(Error::internal)?;
        Ok(Self(part))
    }

    /// The policy, where it is about the action: a lease's grant, its renewal and its use.
    pub(super) fn applying(&self, action: Action) -> Option<&Part> {
        matches!(
            action,
            Action::LeaseCreate | Action::LeaseRenew | Action::HandleRedeem
        )
        .then_some(&self.0)
    }
}

/// Any of the conditions, halved again and again: evaluating takes stack for every level.
fn any(conditions: &[String]) -> String {
    match conditions {
        [one] => one.clone(),
        _ => {
            let (left, right) = conditions.split_at(conditions.len() / 2);
            format!("({} || {})", any(left), any(right))
        }
    }
}

/// The pattern as a condition on the holder. Its characters are those of names and `*`, so nothing needs escaping.
fn condition(pattern: &IdentityPattern<'_>) -> String {
    let name = format!("context.holder.name like \"{}\"", pattern.name);
    match pattern.kind {
        Some(kind) => format!(
            "(context.holder[\"type\"] == \"{}\" && {name})",
            kind.as_str()
        ),
        None => name,
    }
}
