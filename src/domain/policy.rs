//! Lease policies: what a credential's keeper said, and what that resolves to at a grant.
//!
//! A [`LeasePolicy`] is partial; a credential's own builds on a named one, and that on the workspace's
//! defaults. [`Terms`] are complete: every grant and renewal is decided on them and nothing else.

use serde::{Deserialize, Serialize};

use super::{
    egress::Egress,
    error::{Error, Result},
    identities,
    name::PolicyName,
    strict::optional_object,
    time::Ttl,
    workspace::Settings,
};

/// The most leases of one credential that may be active at once.
pub const MAX_LEASES: u32 = 1_000_000;
/// The lease TTL of a workspace that sets none.
pub const WORKSPACE_DEFAULT_TTL: Ttl = Ttl::from_secs(60 * 60);
/// The ceiling on every lease's lifetime, renewals included, of a workspace that sets none: 32 days.
pub const WORKSPACE_MAX_TTL: Ttl = Ttl::from_secs(32 * 24 * 60 * 60);
/// The highest ceiling that a workspace may set.
pub const LONGEST_LEASE: Ttl = Ttl::from_secs(366 * 24 * 60 * 60);
/// Active leases allowed where no policy says otherwise.
pub const DEFAULT_MAX_LEASES: u32 = 100;

/// How a lease lets its holder use the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// The vault injects the value; the holder never sees it.
    Broker,
    /// The holder exchanges its handle for the value.
    Reveal,
}

impl Delivery {
    /// The delivery's spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Broker => "broker",
            Self::Reveal => "reveal",
        }
    }
}

/// What a rotation does with the leases that are open on the old value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnRotate {
    /// They keep the old value until they close.
    Drain,
    /// Broker leases move to the new value at once.
    Follow,
    /// They are revoked.
    Cut,
}

impl OnRotate {
    /// The choice's spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Follow => "follow",
            Self::Cut => "cut",
        }
    }
}

/// A partial lease policy: what is absent comes from what it builds on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeasePolicy {
    /// The named policy that this one builds on.
    #[serde(default)]
    pub extends: Option<PolicyName>,
    #[serde(default)]
    pub default_lease_ttl: Option<Ttl>,
    #[serde(default)]
    pub max_lease_ttl: Option<Ttl>,
    #[serde(default)]
    pub max_leases: Option<u32>,
    #[serde(default)]
    pub delivery: Option<Vec<Delivery>>,
    #[serde(default)]
    pub renewable: Option<bool>,
    #[serde(default)]
    pub require_purpose: Option<bool>,
    #[serde(default)]
    pub require_approval: Option<bool>,
    #[serde(default)]
    pub max_uses: Option<u32>,
    #[serde(default)]
    pub on_rotate: Option<OnRotate>,
    #[serde(default, deserialize_with = "optional_object")]
    pub egress: Option<Egress>,
    /// Who may hold leases: names, globs (`ci-*`), either with a type before it (`agent/ci-*`).
    #[serde(default)]
    pub allowed_identities: Option<Vec<String>>,
    /// Whether a version is due for rotation once a lease that had shown its value closes.
    #[serde(default)]
    pub rotate_after_reveal: Option<bool>,
    /// Whether an identity that touches the credential is suspended, where the credential is a canary.
    #[serde(default)]
    pub canary_suspends: Option<bool>,
}

/// A merge patch of a lease policy (RFC 7396): absent keeps, none falls back to what the policy builds on.
#[derive(Debug, Clone, Default)]
pub struct LeasePolicyPatch {
    pub extends: Option<Option<PolicyName>>,
    pub default_lease_ttl: Option<Option<Ttl>>,
    pub max_lease_ttl: Option<Option<Ttl>>,
    pub max_leases: Option<Option<u32>>,
    pub delivery: Option<Option<Vec<Delivery>>>,
    pub renewable: Option<Option<bool>>,
    pub require_purpose: Option<Option<bool>>,
    pub require_approval: Option<Option<bool>>,
    pub max_uses: Option<Option<u32>>,
    pub on_rotate: Option<Option<OnRotate>>,
    pub egress: Option<Option<Egress>>,
    pub allowed_identities: Option<Option<Vec<String>>>,
    pub rotate_after_reveal: Option<Option<bool>>,
    pub canary_suspends: Option<Option<bool>>,
}

/// A complete lease policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    pub default_lease_ttl: Ttl,
    pub max_lease_ttl: Ttl,
    pub max_leases: u32,
    pub delivery: Vec<Delivery>,
    pub renewable: bool,
    pub require_purpose: bool,
    pub require_approval: bool,
    pub max_uses: Option<u32>,
    pub on_rotate: OnRotate,
    pub egress: Option<Egress>,
    /// None admits every identity.
    pub allowed_identities: Option<Vec<String>>,
    pub rotate_after_reveal: bool,
    pub canary_suspends: bool,
}

impl Default for Terms {
    /// The defaults of a workspace that sets none.
    fn default() -> Self {
        Self {
            default_lease_ttl: WORKSPACE_DEFAULT_TTL,
            max_lease_ttl: WORKSPACE_MAX_TTL,
            max_leases: DEFAULT_MAX_LEASES,
            delivery: vec![Delivery::Reveal, Delivery::Broker],
            renewable: true,
            require_purpose: false,
            require_approval: false,
            max_uses: None,
            on_rotate: OnRotate::Drain,
            egress: None,
            allowed_identities: None,
            rotate_after_reveal: false,
            canary_suspends: false,
        }
    }
}

impl LeasePolicy {
    /// Refuses what no grant could be decided on, wherever the policy came from.
    pub fn check(&self) -> Result<()> {
        if self.max_leases.is_some_and(|n| n == 0 || n > MAX_LEASES) {
            return Err(Error::invalid(
                "policy.max_leases",
                format!("`policy.max_leases` must be 1 to {MAX_LEASES}"),
            )
            .with("limit", u64::from(MAX_LEASES)));
        }
        if self.max_uses == Some(0) {
            return Err(Error::invalid(
                "policy.max_uses",
                "`policy.max_uses` must be at least 1, or null for no limit",
            ));
        }
        if let Some(delivery) = &self.delivery {
            let repeated = delivery
                .iter()
                .enumerate()
                .any(|(at, one)| delivery.iter().skip(at + 1).any(|other| other == one));
            if delivery.is_empty() || repeated {
                return Err(Error::invalid(
                    "policy.delivery",
                    "`policy.delivery` must name `broker`, `reveal` or both, each once",
                ));
            }
        }
        if self.require_approval == Some(true) {
            // Refused rather than ignored: a grant without the approval that was asked for would be a hole.
            return Err(Error::invalid(
                "policy.require_approval",
                "`policy.require_approval` is not available yet",
            ));
        }
        if let (Some(default), Some(max)) = (self.default_lease_ttl, self.max_lease_ttl)
            && default > max
        {
            return Err(Error::invalid(
                "policy.default_lease_ttl",
                "`policy.default_lease_ttl` is longer than `policy.max_lease_ttl`",
            ));
        }
        if let Some(patterns) = &self.allowed_identities {
            identities::check(patterns, "policy.allowed_identities")?;
        }
        self.egress.as_ref().map_or(Ok(()), Egress::check)
    }

    /// The policy after a merge patch; not checked yet.
    #[must_use]
    pub fn patched(&self, patch: LeasePolicyPatch) -> Self {
        Self {
            extends: patch.extends.unwrap_or_else(|| self.extends.clone()),
            default_lease_ttl: patch.default_lease_ttl.unwrap_or(self.default_lease_ttl),
            max_lease_ttl: patch.max_lease_ttl.unwrap_or(self.max_lease_ttl),
            max_leases: patch.max_leases.unwrap_or(self.max_leases),
            delivery: patch.delivery.unwrap_or_else(|| self.delivery.clone()),
            renewable: patch.renewable.unwrap_or(self.renewable),
            require_purpose: patch.require_purpose.unwrap_or(self.require_purpose),
            require_approval: patch.require_approval.unwrap_or(self.require_approval),
            max_uses: patch.max_uses.unwrap_or(self.max_uses),
            on_rotate: patch.on_rotate.unwrap_or(self.on_rotate),
            egress: patch.egress.unwrap_or_else(|| self.egress.clone()),
            allowed_identities: patch
                .allowed_identities
                .unwrap_or_else(|| self.allowed_identities.clone()),
            rotate_after_reveal: patch
                .rotate_after_reveal
                .unwrap_or(self.rotate_after_reveal),
            canary_suspends: patch.canary_suspends.unwrap_or(self.canary_suspends),
        }
    }

    /// The fields as text, for a record of what changed.
    pub fn fields(&self) -> [(&'static str, Option<String>); 14] {
        let text = |value: &dyn std::fmt::Debug| format!("{value:?}");
        [
            (
                "policy.extends",
                self.extends.as_ref().map(ToString::to_string),
            ),
            (
                "policy.default_lease_ttl",
                self.default_lease_ttl.map(|ttl| ttl.to_string()),
            ),
            (
                "policy.max_lease_ttl",
                self.max_lease_ttl.map(|ttl| ttl.to_string()),
            ),
            ("policy.max_leases", self.max_leases.map(|n| n.to_string())),
            (
                "policy.delivery",
                self.delivery.as_ref().map(|all| {
                    all.iter()
                        .map(|one| one.as_str())
                        .collect::<Vec<_>>()
                        .join(",")
                }),
            ),
            (
                "policy.renewable",
                self.renewable.map(|yes| yes.to_string()),
            ),
            (
                "policy.require_purpose",
                self.require_purpose.map(|yes| yes.to_string()),
            ),
            (
                "policy.require_approval",
                self.require_approval.map(|yes| yes.to_string()),
            ),
            ("policy.max_uses", self.max_uses.map(|n| n.to_string())),
            (
                "policy.on_rotate",
                self.on_rotate.map(|mode| mode.as_str().to_owned()),
            ),
            (
                "policy.egress",
                self.egress.as_ref().map(|egress| text(egress)),
            ),
            (
                "policy.allowed_identities",
                self.allowed_identities
                    .as_ref()
                    .map(|patterns| patterns.join(",")),
            ),
            (
                "policy.rotate_after_reveal",
                self.rotate_after_reveal.map(|yes| yes.to_string()),
            ),
            (
                "policy.canary_suspends",
                self.canary_suspends.map(|yes| yes.to_string()),
            ),
        ]
    }

    /// The terms that result from laying this policy over `base`. The workspace's `ceiling` always holds, and a
    /// default TTL over the maximum is cut to it.
    pub fn over(&self, base: &Terms, ceiling: Ttl) -> Terms {
        let max_lease_ttl = self
            .max_lease_ttl
            .unwrap_or(base.max_lease_ttl)
            .min(ceiling);
        Terms {
            default_lease_ttl: self
                .default_lease_ttl
                .unwrap_or(base.default_lease_ttl)
                .min(max_lease_ttl),
            max_lease_ttl,
            max_leases: self.max_leases.unwrap_or(base.max_leases),
            delivery: self
                .delivery
                .clone()
                .unwrap_or_else(|| base.delivery.clone()),
            renewable: self.renewable.unwrap_or(base.renewable),
            require_purpose: self.require_purpose.unwrap_or(base.require_purpose),
            require_approval: self.require_approval.unwrap_or(base.require_approval),
            max_uses: self.max_uses.or(base.max_uses),
            on_rotate: self.on_rotate.unwrap_or(base.on_rotate),
            egress: self.egress.clone().or_else(|| base.egress.clone()),
            allowed_identities: self
                .allowed_identities
                .clone()
                .or_else(|| base.allowed_identities.clone()),
            rotate_after_reveal: self.rotate_after_reveal.unwrap_or(base.rotate_after_reveal),
            canary_suspends: self.canary_suspends.unwrap_or(base.canary_suspends),
        }
    }
}

/// The named policies of `policies/`, on which those of credentials build.
#[derive(Debug, Clone, Default)]
pub struct NamedPolicies(std::collections::BTreeMap<PolicyName, LeasePolicy>);

impl NamedPolicies {
    /// The policies under their names. Each passed [`LeasePolicy::check`] and extends no other.
    pub fn new(policies: std::collections::BTreeMap<PolicyName, LeasePolicy>) -> Self {
        Self(policies)
    }

    /// The policy of that name.
    pub fn get(&self, name: &PolicyName) -> Option<&LeasePolicy> {
        self.0.get(name)
    }

    /// The names there are, in order.
    pub fn names(&self) -> impl Iterator<Item = &PolicyName> {
        self.0.keys()
    }

    /// The terms of a credential's policy, resolved now: what the named policy and the workspace say today holds
    /// for every new lease. Fails where the named policy is gone, since granting without its limits would be a
    /// hole.
    pub fn resolve(&self, policy: &LeasePolicy, workspace: &Settings) -> Result<Terms> {
        let (base, ceiling) = (workspace.terms(), workspace.max_lease_ttl);
        let Some(name) = &policy.extends else {
            return Ok(policy.over(&base, ceiling));
        };
        let named = self.get(name).ok_or_else(|| {
            Error::state(format!(
                "the lease policy `{name}` that the credential extends does not exist"
            ))
            .with("policy", name.as_str())
        })?;
        Ok(policy.over(&named.over(&base, ceiling), ceiling))
    }
}

impl Terms {
    /// The TTL to grant: the request's or the default, and whether the maximum cut it.
    pub fn grant_ttl(&self, requested: Option<Ttl>) -> (Ttl, bool) {
        let wanted = requested.unwrap_or(self.default_lease_ttl);
        (wanted.min(self.max_lease_ttl), wanted > self.max_lease_ttl)
    }

    /// The delivery to grant: the request's where allowed, else the first that the policy names.
    pub fn grant_delivery(&self, requested: Option<Delivery>) -> Result<Delivery> {
        match requested {
            Some(wanted) if self.delivery.contains(&wanted) => Ok(wanted),
            Some(wanted) => Err(Error::invalid(
                "delivery",
                format!(
                    "the credential's policy does not allow `{}` leases",
                    wanted.as_str()
                ),
            )),
            None => self
                .delivery
                .first()
                .copied()
                .ok_or_else(|| Error::state("the credential's policy allows no delivery")),
        }
    }
}

#[cfg(test)]
mod tests;
