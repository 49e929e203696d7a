//! Answers.

use std::collections::BTreeMap;

use axum::{Json, http::StatusCode, response::IntoResponse};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::{
    audit::query::Numbered,
    domain::{
        credential::VersionState,
        egress::Egress,
        error::{Detail, Error},
        event::{Actor, Outcome},
        lease::{Ending, LeaseState},
        name::Metadata,
        policy::{LeasePolicy, Terms},
        secret::SecretText,
        time::Timestamp,
    },
    engine::{CredentialView, Issued, LeaseView, Page, Redeemed, Rotated, VersionView},
};

/// An answer that went well.
#[derive(Serialize, ToSchema)]
pub(crate) struct Success<T> {
    #[schema(example = "success")]
    status: &'static str,
    data: T,
}

impl<T> Success<T> {
    pub(crate) fn of(data: T) -> Json<Self> {
        Json(Self {
            status: "success",
            data,
        })
    }

    /// `201 Created`.
    pub(crate) fn created(data: T) -> (StatusCode, Json<Self>) {
        (StatusCode::CREATED, Self::of(data))
    }
}

/// A page of a list.
#[derive(Serialize, ToSchema)]
pub(crate) struct Listing<T> {
    #[schema(example = "success")]
    status: &'static str,
    data: Vec<T>,
    page: PageBody,
}

/// Where a page stands in its list.
#[derive(Serialize, ToSchema)]
pub(crate) struct PageBody {
    limit: usize,
    next_cursor: Option<String>,
    total: u64,
}

impl<T> Listing<T> {
    pub(crate) fn of<V>(page: Page<V>, turn: impl FnMut(V) -> T) -> Json<Self> {
        let page = page.map(turn);
        let body = PageBody {
            limit: page.limit,
            next_cursor: page.next_cursor,
            total: page.total,
        };
        Json(Self {
            status: "success",
            data: page.items,
            page: body,
        })
    }
}

/// A failure.
#[derive(Serialize, ToSchema)]
pub(crate) struct Failure {
    #[schema(example = "error")]
    status: &'static str,
    #[schema(example = "MISSING_PARAMETER")]
    code: &'static str,
    message: String,
    request_id: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = Object)]
    details: BTreeMap<&'static str, Detail>,
}

impl Failure {
    pub(crate) fn new(error: &Error, request_id: String) -> Self {
        Self {
            status: "error",
            code: error.code().as_str(),
            message: error.message().to_owned(),
            request_id,
            details: error.details().iter().cloned().collect(),
        }
    }
}

/// A value or a handle on its way to the one who may see it: the only way for either into an answer.
#[derive(ToSchema)]
#[schema(value_type = String)]
pub(crate) struct Shown(SecretText);

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The answer to a grant or a redemption is where a secret is meant to be shown.
        serializer.serialize_str(self.0.expose())
    }
}

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
}

impl From<Terms> for TermsBody {
    fn from(terms: Terms) -> Self {
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
    #[schema(value_type = Option<String>, format = DateTime)]
    next_rotation_at: Option<Timestamp>,
}

impl From<CredentialView> for CredentialBody {
    fn from(view: CredentialView) -> Self {
        let credential = view.credential;
        Self {
            id: credential.id.to_string(),
            next_rotation_at: credential.next_rotation_at(),
            name: credential.name.to_string(),
            r#type: credential.kind.as_str(),
            description: credential.description,
            metadata: credential.metadata,
            facts: credential.facts,
            policy: credential.policy.into(),
            effective_policy: view.terms.map(TermsBody::from),
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

/// How many leases an operation ended.
#[derive(Serialize, ToSchema)]
pub(crate) struct RevokedBody {
    pub(crate) revoked_leases: u64,
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
            revealed: view.revealed,
            fingerprint: version.fingerprint.to_string(),
            metadata: version.metadata,
            facts: version.facts,
        }
    }
}

/// Somebody, by type and name.
#[derive(Serialize, ToSchema)]
pub(crate) struct IdentityBody {
    r#type: &'static str,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<String>,
}

/// A lease. Its handle is shown once, in the answer to the grant.
#[derive(Serialize, ToSchema)]
pub(crate) struct LeaseBody {
    #[schema(example = "lse_0199a1b2c3d47e8f9a0b1c2d3e4f5a6b")]
    id: String,
    credential_name: String,
    version: u32,
    #[schema(value_type = Object)]
    metadata: Metadata,
    identity: IdentityBody,
    requested_by: IdentityBody,
    purpose: Option<String>,
    delivery: &'static str,
    #[schema(example = "30m")]
    ttl: String,
    ttl_capped: bool,
    #[schema(value_type = String, format = DateTime)]
    issued_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    max_expires_at: Timestamp,
    renewable: bool,
    renewals: u32,
    uses: u32,
    max_uses: Option<u32>,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Timestamp>,
    state: &'static str,
    #[schema(value_type = Option<String>, format = DateTime)]
    closed_at: Option<Timestamp>,
    closed_by: Option<String>,
    close_reason: Option<String>,
}

impl From<LeaseView> for LeaseBody {
    fn from(view: LeaseView) -> Self {
        let lease = view.lease;
        let (closed_at, closed_by, close_reason) = match lease.state {
            LeaseState::Active => (None, None, None),
            LeaseState::Closed { at, ending } => match ending {
                Ending::Expired => (Some(at), None, None),
                Ending::Released { by } => (Some(at), Some(by.name.to_string()), None),
                Ending::Revoked { by, reason } => {
                    (Some(at), by.map(|by| by.name.to_string()), reason)
                }
            },
        };
        Self {
            id: lease.id.to_string(),
            credential_name: lease.credential_name.to_string(),
            version: view.version,
            metadata: view.metadata,
            identity: IdentityBody {
                r#type: lease.holder.kind.as_str(),
                name: lease.holder.name.to_string(),
                session_id: lease.holder.session,
            },
            requested_by: IdentityBody {
                r#type: lease.requested_by.kind.as_str(),
                name: lease.requested_by.by.name.to_string(),
                session_id: None,
            },
            purpose: lease.purpose,
            delivery: lease.delivery.as_str(),
            ttl: lease.ttl.to_string(),
            ttl_capped: lease.ttl_capped,
            issued_at: lease.issued_at,
            expires_at: lease.expires_at,
            max_expires_at: lease.max_expires_at,
            renewable: lease.renewable,
            renewals: lease.renewals,
            uses: lease.uses,
            max_uses: lease.max_uses,
            last_used_at: lease.last_used_at,
            state: view.status.as_str(),
            closed_at,
            closed_by,
            close_reason,
        }
    }
}

/// A lease that was just issued, with what is shown once.
#[derive(Serialize, ToSchema)]
pub(crate) struct IssuedBody {
    #[serde(flatten)]
    lease: LeaseBody,
    /// The secret bearer string that stands for the lease. Shown once, stored as a digest.
    handle: Shown,
    /// The credential's value, where `reveal` asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Shown>,
    /// How a broker lease is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    broker: Option<BrokerBody>,
}

/// How a broker lease is used.
#[derive(Serialize, ToSchema)]
pub(crate) struct BrokerBody {
    /// The path under the vault's address to send requests to.
    base_url: String,
    #[schema(value_type = Object)]
    environment: BTreeMap<&'static str, String>,
}

impl From<Issued> for IssuedBody {
    fn from(issued: Issued) -> Self {
        let broker =
            (issued.view.lease.delivery == crate::domain::policy::Delivery::Broker).then(|| {
                let base_url = format!("/v1/broker/{}", issued.view.lease.credential_name);
                let environment = BTreeMap::from([("LEASEHOLD_BROKER_PATH", base_url.clone())]);
                BrokerBody {
                    base_url,
                    environment,
                }
            });
        Self {
            lease: issued.view.into(),
            handle: Shown(issued.handle),
            value: issued.value.map(Shown),
            broker,
        }
    }
}

/// A redeemed handle.
#[derive(Serialize, ToSchema)]
pub(crate) struct RedeemedBody {
    lease_id: String,
    credential_name: String,
    version: u32,
    value: Shown,
    #[schema(value_type = Object)]
    metadata: Metadata,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    uses: u32,
    max_uses: Option<u32>,
}

impl From<Redeemed> for RedeemedBody {
    fn from(redeemed: Redeemed) -> Self {
        let lease = redeemed.view.lease;
        Self {
            lease_id: lease.id.to_string(),
            credential_name: lease.credential_name.to_string(),
            version: redeemed.view.version,
            value: Shown(redeemed.value),
            metadata: redeemed.view.metadata,
            expires_at: lease.expires_at,
            uses: lease.uses,
            max_uses: lease.max_uses,
        }
    }
}

/// One event of history.
#[derive(Serialize, ToSchema)]
pub(crate) struct AuditBody {
    sequence: u64,
    id: String,
    #[schema(value_type = String, format = DateTime)]
    time: Timestamp,
    event: &'static str,
    actor: ActorBody,
    outcome: &'static str,
    /// The error code of a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_id: Option<String>,
    /// The lease's holder.
    #[serde(skip_serializing_if = "Option::is_none")]
    holder: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<String>,
    /// What else it was done to.
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<String>,
    /// The role, or the key's own scopes, that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    decided_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    purpose: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    changes: Vec<ChangeBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<String>,
}

/// Who did it: an identity by its key, or a part of the vault.
#[derive(Serialize, ToSchema)]
pub(crate) struct ActorBody {
    r#type: &'static str,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<String>,
}

/// One changed field.
#[derive(Serialize, ToSchema)]
pub(crate) struct ChangeBody {
    field: String,
    before: Option<String>,
    after: Option<String>,
}

impl From<Numbered> for AuditBody {
    fn from(Numbered { sequence, record }: Numbered) -> Self {
        let (outcome, code) = match record.outcome {
            Outcome::Success => ("success", None),
            Outcome::Refused { code } => ("refused", Some(code)),
        };
        let actor = match record.actor {
            Actor::Identity {
                identity,
                name,
                kind,
                key,
            } => ActorBody {
                r#type: kind.as_str(),
                name: name.to_string(),
                identity_id: Some(identity.to_string()),
                key_id: Some(key.to_string()),
            },
            Actor::Vault { part } => ActorBody {
                r#type: "vault",
                name: part,
                identity_id: None,
                key_id: None,
            },
        };
        let object = record.object;
        let origin = record.origin.unwrap_or_default();
        let change = |change: crate::domain::event::Change| ChangeBody {
            field: change.field,
            before: change.before,
            after: change.after,
        };
        Self {
            sequence,
            id: record.id.to_string(),
            time: record.time,
            event: record.event.as_str(),
            actor,
            outcome,
            code,
            credential_id: object.credential.map(|id| id.to_string()),
            credential_name: object.credential_name.map(|name| name.to_string()),
            version: object.version,
            lease_id: object.lease.map(|id| id.to_string()),
            holder: object.holder_name.map(|name| name.to_string()),
            session_id: object.session,
            object: object.name,
            decided_by: record.policy,
            purpose: record.purpose,
            reason: record.reason,
            changes: record.changes.into_iter().map(change).collect(),
            request_id: Some(origin.request_id).filter(|id| !id.is_empty()),
            source_ip: origin.source_ip.map(|ip| ip.to_string()),
            user_agent: origin.user_agent,
        }
    }
}

/// The caller, as the vault sees it.
#[derive(Serialize, ToSchema)]
pub(crate) struct WhoamiBody {
    pub(crate) identity: WhoBody,
    pub(crate) key: KeyBody,
    pub(crate) workspace: String,
    pub(crate) role: Option<&'static str>,
    pub(crate) scopes: Vec<&'static str>,
}

/// An identity of the vault.
#[derive(Serialize, ToSchema)]
pub(crate) struct WhoBody {
    pub(crate) id: String,
    pub(crate) r#type: &'static str,
    pub(crate) name: String,
}

/// An API key, by id and name.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeyBody {
    pub(crate) id: String,
    pub(crate) name: String,
}

/// Whether the process lives, or serves.
#[derive(Serialize, ToSchema)]
pub(crate) struct HealthBody {
    pub(crate) state: &'static str,
    pub(crate) version: &'static str,
}

impl IntoResponse for HealthBody {
    fn into_response(self) -> axum::response::Response {
        Success::of(self).into_response()
    }
}
