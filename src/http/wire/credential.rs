//! Credentials in answers.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    domain::{
        credential::VersionState,
        egress::Egress,
        name::Metadata,
        policy::{LeasePolicy, Terms},
        time::Timestamp,
    },
    engine::{CredentialView, Rotated, VersionView},
};

/// A credential's own lease policy: what it says, without what it builds on.
#[derive(Serialize, ToSchema)]
pub(crate) struct PolicyBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    extends: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "30m")]
    default_lease_ttl: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "4h")]
    max_lease_ttl: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_leases: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery: Option<Vec<&'static str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    renewable: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    require_purpose: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    require_approval: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_uses: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_rotate: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    egress: Option<EgressBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_identities: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rotate_after_reveal: Option<bool>,
    /// Shown to those who may update credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    canary_suspends: Option<bool>,
}

impl From<LeasePolicy> for PolicyBody {
    fn from(policy: LeasePolicy) -> Self {
        Self {
            extends: policy.extends.map(|name| name.to_string()),
            default_lease_ttl: policy.default_lease_ttl.map(|ttl| ttl.to_string()),
            max_lease_ttl: policy.max_lease_ttl.map(|ttl| ttl.to_string()),
            max_leases: policy.max_leases,
            delivery: policy
                .delivery
                .map(|all| all.into_iter().map(|one| one.as_str()).collect()),
            renewable: policy.renewable,
            require_purpose: policy.require_purpose,
            require_approval: policy.require_approval,
            max_uses: policy.max_uses,
            on_rotate: policy.on_rotate.map(|mode| mode.as_str()),
            egress: policy.egress.map(EgressBody::from),
            allowed_identities: policy.allowed_identities,
            rotate_after_reveal: policy.rotate_after_reveal,
            canary_suspends: policy.canary_suspends,
        }
    }
}

/// What a credential's policy resolves to now.
#[derive(Serialize, ToSchema)]
pub(crate) struct TermsBody {
    #[schema(example = "30m")]
    default_lease_ttl: String,
    #[schema(example = "4h")]
    max_lease_ttl: String,
    max_leases: u32,
    delivery: Vec<&'static str>,
    renewable: bool,
    require_purpose: bool,
    require_approval: bool,
    max_uses: Option<u32>,
    on_rotate: &'static str,
    egress: Option<EgressBody>,
    /// Who may hold leases; null admits every identity.
    allowed_identities: Option<Vec<String>>,
    /// Whether a version is due for rotation once a lease that had shown its value closes.
    rotate_after_reveal: bool,
    /// Shown to those who may update credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    canary_suspends: Option<bool>,
}

impl TermsBody {
    /// `keeper` may know what is particular to canaries.
    fn new(terms: Terms, keeper: bool) -> Self {
        Self {
            default_lease_ttl: terms.default_lease_ttl.to_string(),
            max_lease_ttl: terms.max_lease_ttl.to_string(),
            max_leases: terms.max_leases,
            delivery: terms.delivery.into_iter().map(|one| one.as_str()).collect(),
            renewable: terms.renewable,
            require_purpose: terms.require_purpose,
            require_approval: terms.require_approval,
            max_uses: terms.max_uses,
            on_rotate: terms.on_rotate.as_str(),
            egress: terms.egress.map(EgressBody::from),
            allowed_identities: terms.allowed_identities,
            rotate_after_reveal: terms.rotate_after_reveal,
            canary_suspends: keeper.then_some(terms.canary_suspends),
        }
    }
}

/// Where a brokered credential may be used.
#[derive(Serialize, ToSchema)]
pub(crate) struct EgressBody {
    hosts: Vec<String>,
    methods: Vec<String>,
    paths: Vec<String>,
}

impl From<Egress> for EgressBody {
    fn from(egress: Egress) -> Self {
        Self {
            hosts: egress.hosts,
            methods: egress.methods,
            paths: egress.paths,
        }
    }
}

/// A credential. Its value is never in an answer about it.
#[derive(Serialize, ToSchema)]
pub(crate) struct CredentialBody {
    #[schema(example = "crd_0199a1b2c3d47e8f9a0b1c2d3e4f5a6b")]
    id: String,
    name: String,
    r#type: &'static str,
    description: Option<String>,
    #[schema(value_type = Object)]
    metadata: Metadata,
    /// Safe facts read from the current value: a host, a fingerprint, an expiry.
    #[schema(value_type = Object)]
    facts: BTreeMap<String, String>,
    policy: PolicyBody,
    /// Null where the policy extends one that does not exist; no lease is granted then.
    effective_policy: Option<TermsBody>,
    state: &'static str,
    current_version: u32,
    active_leases: u32,
    /// A keyed digest of the value: equal values of a workspace have equal fingerprints.
    fingerprint: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    created_by: String,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_leased_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_rotated_at: Option<Timestamp>,
    /// What `rotate_every` says, or earlier: the end of a lease that had shown the value, where the policy has
    /// `rotate_after_reveal`.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_rotation_at: Option<Timestamp>,
    /// Whether a lease of it raises the alarm; shown to those who may update credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    canary: Option<bool>,
}

impl From<CredentialView> for CredentialBody {
    fn from(view: CredentialView) -> Self {
        let credential = view.credential;
        Self {
            id: credential.id.to_string(),
            next_rotation_at: view.next_rotation_at,
            canary: view.canary,
            name: credential.name.to_string(),
            r#type: credential.kind.as_str(),
            description: credential.description,
            metadata: credential.metadata,
            facts: credential.facts,
            policy: credential.policy.into(),
            effective_policy: view
                .terms
                .map(|terms| TermsBody::new(terms, view.canary.is_some())),
            state: view.state.as_str(),
            current_version: view.current_version,
            active_leases: view.active_leases,
            fingerprint: credential.fingerprint.to_string(),
            created_at: credential.created_at,
            created_by: credential.created_by.name.to_string(),
            updated_at: credential.updated_at,
            last_leased_at: view.last_leased_at,
            last_rotated_at: credential.last_rotated_at,
        }
    }
}

/// What a rotation did.
#[derive(Serialize, ToSchema)]
pub(crate) struct RotatedBody {
    #[serde(flatten)]
    credential: CredentialBody,
    previous_version: u32,
    /// Whether the old value was erased at once, no lease being open on it.
    previous_retired: bool,
    on_open_leases: &'static str,
    revoked_leases: u32,
}

impl From<Rotated> for RotatedBody {
    fn from(rotated: Rotated) -> Self {
        Self {
            credential: rotated.view.into(),
            previous_version: rotated.previous_version,
            previous_retired: rotated.previous_retired,
            on_open_leases: rotated.on_open_leases.as_str(),
            revoked_leases: rotated.revoked_leases,
        }
    }
}

/// One value of a credential, without the value.
#[derive(Serialize, ToSchema)]
pub(crate) struct VersionBody {
    number: u32,
    state: &'static str,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    created_by: String,
    #[schema(value_type = Option<String>, format = DateTime)]
    rotated_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    retired_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    revoked_at: Option<Timestamp>,
    active_leases: u32,
    /// Whether any lease ever showed the value to its holder.
    revealed: bool,
    /// When one first did.
    #[schema(value_type = Option<String>, format = DateTime)]
    revealed_at: Option<Timestamp>,
    fingerprint: String,
    #[schema(value_type = Object)]
    metadata: Metadata,
    #[schema(value_type = Object)]
    facts: BTreeMap<String, String>,
}

impl From<VersionView> for VersionBody {
    fn from(view: VersionView) -> Self {
        let version = view.version;
        let erased_at = version.state.erased_at();
        let revoked = matches!(version.state, VersionState::Revoked { .. });
        Self {
            number: version.number,
            state: version.state.as_str(),
            created_at: version.created_at,
            created_by: version.created_by.name.to_string(),
            rotated_at: version.state.rotated_at(),
            retired_at: erased_at.filter(|_| !revoked),
            revoked_at: erased_at.filter(|_| revoked),
            active_leases: view.active_leases,
            revealed: view.revealed_at.is_some(),
            revealed_at: view.revealed_at,
            fingerprint: version.fingerprint.to_string(),
            metadata: version.metadata,
            facts: version.facts,
        }
    }
}
