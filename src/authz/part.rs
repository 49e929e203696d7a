//! Policies that may apply to the same questions, and which of them a decision takes.

use std::sync::Arc;

use cedar_policy::{Policy, PolicySet};
use serde_json::Value;

use super::{
    Question,
    entities::Unaskable,
    glance::{Facts, Glance, Seen},
    needs::Needs,
};

/// Policies, with what they read.
#[derive(Debug, Default)]
pub(super) struct Part {
    all: PolicySet,
    needs: Needs,
    /// The same, each by itself.
    each: Vec<(Arc<Single>, Glance)>,
    facts: Facts,
}

/// One policy, with what it reads, for every part that it is in.
#[derive(Debug)]
pub(super) struct Single {
    policy: Policy,
    alone: PolicySet,
    needs: Needs,
    json: Value,
}

impl Single {
    pub(super) fn of(policy: &Policy) -> Result<Self, Unaskable> {
        let json = policy.to_json()?;
        Ok(Self {
            policy: policy.clone(),
            alone: PolicySet::from_policies([policy.clone()])?,
            needs: Needs::of(&json),
            json,
        })
    }
}

impl Part {
    pub(super) fn add(&mut self, single: &Arc<Single>) -> Result<(), Unaskable> {
        let glance = Glance::of(&single.json, &mut self.facts);
        self.each.push((single.clone(), glance));
        self.needs = self.needs.and(single.needs);
        Ok(self.all.add(single.policy.clone())?)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.each.is_empty()
    }

    /// Everything in it.
    pub(super) const fn whole(&self) -> (&PolicySet, Needs) {
        (&self.all, self.needs)
    }

    /// The policies that a look at the question does not rule out, in as many sets as are quickest to put to Cedar.
    pub(super) fn left<'a>(
        &'a self,
        question: &Question<'_>,
        found: &mut Vec<(&'a PolicySet, Needs)>,
    ) {
        let seen = Seen::new(question, &self.facts);
        let before = found.len();
        let left = self.each.iter();
        let left = left.filter(|(_, glance)| !glance.rules_out(&seen));
        found.extend(left.map(|(single, _)| (&single.alone, single.needs)));
        // Cedar takes a set at once for what it takes for half of them one by one.
        if 2 * (found.len() - before) > self.each.len() {
            found.truncate(before);
            found.push(self.whole());
        }
    }
}
