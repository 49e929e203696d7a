//! Requests, before they are held to the domain's bounds.

use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    domain::{
        egress::Egress,
        error::{Error, Result},
        kind::CredentialType,
        ledger::CredentialState,
        name::{CredentialName, IdentityName, Metadata, PolicyName},
        policy::{Delivery, LeasePolicy, LeasePolicyPatch, OnRotate},
        principal::IdentityType,
        secret::SecretText,
        strict::{UniqueMap, optional_object, present},
        time::Ttl,
    },
    engine::{
        BulkFilter, CreateCredential, IssueLease, RotateCredential, UpdateCredential, WantedHolder,
    },
};

/// A credential to store.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateCredentialBody {
    #[schema(
        example = "openai-api-key-prod",
        pattern = "^[a-z0-9][a-z0-9._-]{0,127}$"
    )]
    name: String,
    #[schema(value_type = String, example = "api-key")]
    r#type: CredentialType,
    /// 1 byte to 64 KiB of UTF-8.
    #[schema(value_type = String, example = "sk-proj-abc123")]
    value: SecretText,
    description: Option<String>,
    /// At most 64 keys, 1 KiB each.
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    metadata: Option<UniqueMap<String>>,
    #[serde(default, deserialize_with = "optional_object")]
    policy: Option<PolicyPatchBody>,
    /// Whether a lease of it raises the alarm. Whoever may not update credentials is not told.
    #[serde(default)]
    canary: bool,
}

impl CreateCredentialBody {
    pub(crate) fn command(self) -> Result<CreateCredential> {
        Ok(CreateCredential {
            name: CredentialName::parse(&self.name, "name")?,
            kind: self.r#type,
            value: self.value,
            description: self.description,
            metadata: Metadata::new(self.metadata.map(|metadata| metadata.0).unwrap_or_default())?,
            policy: LeasePolicy::default().patched(self.policy.unwrap_or_default().patch()?),
            canary: self.canary,
        })
    }
}

/// A lease policy, or a merge patch of one: null falls back to what the policy builds on.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PolicyPatchBody {
    /// The named policy to build on.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, example = "production")]
    extends: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, example = "30m")]
    default_lease_ttl: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, example = "4h")]
    max_lease_ttl: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 1_000_000)]
    max_leases: Option<Option<u32>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Vec<String>>)]
    delivery: Option<Option<Vec<Delivery>>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<bool>)]
    renewable: Option<Option<bool>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<bool>)]
    require_purpose: Option<Option<bool>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<bool>)]
    require_approval: Option<Option<bool>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<u32>)]
    max_uses: Option<Option<u32>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, example = "drain")]
    on_rotate: Option<Option<OnRotate>>,
    #[serde(default, deserialize_with = "present_object")]
    #[schema(value_type = Option<Object>)]
    egress: Option<Option<Egress>>,
    /// Who may hold leases: names and globs, either with a type before it.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Vec<String>>, example = json!(["claude-code", "agent/ci-*"]))]
    allowed_identities: Option<Option<Vec<String>>>,
    /// Whether a version is due for rotation once a lease that had shown its value closes.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<bool>)]
    rotate_after_reveal: Option<Option<bool>>,
    /// Whether an identity that touches the credential is suspended, where the credential is a canary.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<bool>)]
    canary_suspends: Option<Option<bool>>,
}

fn present_object<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<Egress>>, D::Error> {
    optional_object(deserializer).map(Some)
}

impl PolicyPatchBody {
    pub(crate) fn patch(self) -> Result<LeasePolicyPatch> {
        let ttl = |text: Option<Option<String>>, field: &str| match text {
            Some(Some(text)) => Ttl::parse(&text, field).map(|ttl| Some(Some(ttl))),
            Some(None) => Ok(Some(None)),
            None => Ok(None),
        };
        let extends = match self.extends {
            Some(Some(name)) => Some(Some(PolicyName::parse(&name, "policy.extends")?)),
            Some(None) => Some(None),
            None => None,
        };
        Ok(LeasePolicyPatch {
            extends,
            default_lease_ttl: ttl(self.default_lease_ttl, "policy.default_lease_ttl")?,
            max_lease_ttl: ttl(self.max_lease_ttl, "policy.max_lease_ttl")?,
            max_leases: self.max_leases,
            delivery: self.delivery,
            renewable: self.renewable,
            require_purpose: self.require_purpose,
            require_approval: self.require_approval,
            max_uses: self.max_uses,
            on_rotate: self.on_rotate,
            egress: self.egress,
            allowed_identities: self.allowed_identities,
            rotate_after_reveal: self.rotate_after_reveal,
            canary_suspends: self.canary_suspends,
        })
    }
}

/// A merge patch of a credential (RFC 7396): what is absent stays, null removes.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdateCredentialBody {
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    description: Option<Option<String>>,
    #[schema(value_type = Option<BTreeMap<String, Option<String>>>)]
    metadata: Option<UniqueMap<Option<String>>>,
    #[serde(default, deserialize_with = "optional_object")]
    policy: Option<PolicyPatchBody>,
    /// `active`, `disabled`, or `revoked`, which is for good.
    #[schema(value_type = Option<String>)]
    state: Option<CredentialState>,
    /// Whether a lease of it raises the alarm.
    canary: Option<bool>,
}

impl UpdateCredentialBody {
    pub(crate) fn command(self) -> Result<UpdateCredential> {
        Ok(UpdateCredential {
            description: self.description,
            metadata: self.metadata.map(|metadata| metadata.0),
            policy: self.policy.map(PolicyPatchBody::patch).transpose()?,
            state: self.state,
            canary: self.canary,
        })
    }
}

/// A new value for a credential.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RotateBody {
    #[schema(value_type = String, example = "sk-proj-def456")]
    new_value: SecretText,
    /// What of the metadata changes with the value; null removes.
    #[schema(value_type = Option<BTreeMap<String, Option<String>>>)]
    metadata: Option<UniqueMap<Option<String>>>,
    /// `drain`, `follow` or `cut`; the policy's `on_rotate` where absent.
    #[schema(value_type = Option<String>, example = "drain")]
    on_open_leases: Option<OnRotate>,
    /// Refused with `VERSION_CONFLICT` unless this is the current version.
    expected_version: Option<u32>,
}

impl RotateBody {
    pub(crate) fn command(self) -> RotateCredential {
        RotateCredential {
            new_value: self.new_value,
            metadata: self.metadata.map(|metadata| metadata.0).unwrap_or_default(),
            on_open_leases: self.on_open_leases,
            expected_version: self.expected_version,
        }
    }
}

/// Why something is ended.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReasonBody {
    pub(crate) reason: Option<String>,
}

/// Nothing: the request has no parameters.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EmptyBody {}

/// A lease to issue.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateLeaseBody {
    #[schema(example = "openai-api-key-prod")]
    credential_name: String,
    /// The credential's default where absent; over its maximum it is capped.
    #[schema(example = "30m")]
    ttl: Option<String>,
    /// `reveal` or `broker`; the first that the policy allows where absent.
    #[schema(value_type = Option<String>, example = "reveal")]
    delivery: Option<Delivery>,
    #[serde(default, deserialize_with = "optional_object")]
    identity: Option<WantedIdentityBody>,
    #[schema(example = "summarise the open pull requests")]
    purpose: Option<String>,
    /// Whether the answer shows the value.
    #[serde(default)]
    reveal: bool,
}

/// Whom a lease is for: the caller itself, or, with `lease:delegate`, another identity.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WantedIdentityBody {
    #[schema(value_type = Option<String>, example = "agent")]
    r#type: Option<IdentityType>,
    #[schema(example = "claude-code")]
    name: Option<String>,
    #[schema(example = "s-42")]
    session_id: Option<String>,
}

impl WantedIdentityBody {
    pub(crate) fn wanted(self, field: &str) -> Result<WantedHolder> {
        let name = self.name.as_deref();
        Ok(WantedHolder {
            kind: self.r#type,
            name: name
                .map(|name| IdentityName::parse(name, field))
                .transpose()?,
            session: self.session_id,
        })
    }
}

impl CreateLeaseBody {
    pub(crate) fn command(self) -> Result<IssueLease> {
        let identity = self.identity.unwrap_or_default();
        Ok(IssueLease {
            credential_name: CredentialName::parse(&self.credential_name, "credential_name")?,
            ttl: self
                .ttl
                .as_deref()
                .map(|ttl| Ttl::parse(ttl, "ttl"))
                .transpose()?,
            delivery: self.delivery,
            holder: identity.wanted("identity.name")?,
            purpose: self.purpose,
            reveal: self.reveal,
        })
    }
}

/// How long a renewed lease is to live.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RenewBody {
    #[schema(example = "30m")]
    ttl: Option<String>,
}

impl RenewBody {
    pub(crate) fn ttl(&self) -> Result<Option<Ttl>> {
        self.ttl
            .as_deref()
            .map(|ttl| Ttl::parse(ttl, "ttl"))
            .transpose()
    }
}

/// A handle to exchange for its value.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RedeemBody {
    #[schema(value_type = String)]
    pub(crate) handle: SecretText,
}

/// Which leases to revoke, and why.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BulkRevokeBody {
    #[serde(default, deserialize_with = "optional_object")]
    filter: Option<BulkFilterBody>,
    /// Required in place of a filter.
    #[serde(default)]
    all: bool,
    pub(crate) reason: Option<String>,
}

/// Which leases to revoke. Every given field must match.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BulkFilterBody {
    credential_name: Option<String>,
    identity: Option<String>,
    version: Option<u32>,
    session_id: Option<String>,
}

impl BulkRevokeBody {
    pub(crate) fn command(self) -> Result<(BulkFilter, Option<String>)> {
        let filter = self.filter.unwrap_or_default();
        let name = filter.credential_name.as_deref();
        let filter = BulkFilter {
            credential_name: name
                .map(|name| CredentialName::parse(name, "filter.credential_name"))
                .transpose()?,
            // A name that nobody can have would match nothing, and look like a stop.
            identity: filter
                .identity
                .map(|name| IdentityName::parse(&name, "filter.identity"))
                .transpose()?,
            version: filter.version,
            session: filter.session_id,
            all: self.all,
        };
        Ok((filter, self.reason))
    }
}

/// Reads a credential's name from a path.
pub(crate) fn name(text: &str) -> Result<CredentialName> {
    CredentialName::parse(text, "name")
}

/// Reads a lease's id from a path.
pub(crate) fn lease_id(text: &str) -> Result<crate::domain::id::LeaseId> {
    crate::domain::id::LeaseId::parse(text)
        .ok_or_else(|| Error::invalid("id", "`id` is not a lease id such as `lse_…`"))
}
