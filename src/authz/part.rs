//! Policies that may apply to the same questions, and which of them a decision takes.

use cedar_policy::{Policy, PolicySet};

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
    each: Vec<Single>,
    facts: Facts,
}

#[derive(Debug)]
struct Single {
    policy: PolicySet,
    needs: Needs,
    glance: Glance,
}

impl Part {
    pub(super) fn add(&mut self, policy: &Policy) -> Result<(), Unaskable> {
        let needs = Needs::of(policy)?;
        self.each.push(Single {
            policy: PolicySet::from_policies([policy.clone()])?,
            needs,
            glance: Glance::of(policy, &mut self.facts)?,
        });
        self.needs = self.needs.and(needs);
        Ok(self.all.add(policy.clone())?)
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
        let left = |single: &&Single| !single.glance.rules_out(&seen);
        let before = found.len();
        let left = self.each.iter().filter(left);
        found.extend(left.map(|single| (&single.policy, single.needs)));
        // Cedar takes a set at once for what it takes for half of them one by one.
        if 2 * (found.len() - before) > self.each.len() {
            found.truncate(before);
            found.push(self.whole());
        }
    }
}
