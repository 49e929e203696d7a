//! Workspaces, identities and emergency stops, as JSON.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    domain::{
        error::{Error, Result},
        name::{IdentityName, Metadata, WorkspaceName},
        principal::{Identity, IdentityState, IdentityType},
        scope::Role,
        strict::{UniqueMap, optional_object, present},
        time::{Timestamp, Ttl},
        workspace::{Settings, SettingsPatch, Workspace},
    },
    engine::{
        CreateIdentity, CreateWorkspace, PublicKey, Receipt, Stopped, UpdateIdentity,
        UpdateWorkspace,
    },
};

/// A workspace to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateWorkspaceBody {
    #[schema(example = "payments", pattern = "^[a-z0-9][a-z0-9._-]{0,127}$")]
    name: String,
    /// At most 512 bytes.
    description: Option<String>,
    #[serde(default, deserialize_with = "optional_object")]
    settings: Option<SettingsPatchBody>,
}

impl CreateWorkspaceBody {
    pub(crate) fn command(self) -> Result<CreateWorkspace> {
        Ok(CreateWorkspace {
            name: WorkspaceName::parse(&self.name, "name")?,
            description: self.description,
            settings: self.settings.unwrap_or_default().patch()?,
        })
    }
}

/// A merge patch of a workspace (RFC 7396): what is absent stays, null removes.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdateWorkspaceBody {
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    description: Option<Option<String>>,
    #[serde(default, deserialize_with = "optional_object")]
    settings: Option<SettingsPatchBody>,
}

impl UpdateWorkspaceBody {
    pub(crate) fn command(self) -> Result<UpdateWorkspace> {
        Ok(UpdateWorkspace {
            description: self.description,
            settings: self.settings.unwrap_or_default().patch()?,
        })
    }
}

/// What a workspace sets for all that is in it: null is the vault's default.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SettingsPatchBody {
    /// The TTL of a lease where neither the request nor a policy names one.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, example = "1h")]
    default_lease_ttl: Option<Option<String>>,
    /// The ceiling on every lease's lifetime, renewals included; at most 366 days.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, example = "32d")]
    max_lease_ttl: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<u32>, maximum = 1_000_000, example = 1000)]
    max_api_keys: Option<Option<u32>>,
}

impl SettingsPatchBody {
    fn patch(self) -> Result<SettingsPatch> {
        let ttl = |text: Option<Option<String>>, field: &str| match text {
            Some(Some(text)) => Ttl::parse(&text, field).map(|ttl| Some(Some(ttl))),
            Some(None) => Ok(Some(None)),
            None => Ok(None),
        };
        Ok(SettingsPatch {
            default_lease_ttl: ttl(self.default_lease_ttl, "settings.default_lease_ttl")?,
            max_lease_ttl: ttl(self.max_lease_ttl, "settings.max_lease_ttl")?,
            max_api_keys: self.max_api_keys,
        })
    }
}

/// A workspace.
#[derive(Serialize, ToSchema)]
pub(crate) struct WorkspaceBody {
    id: String,
    name: String,
    description: Option<String>,
    settings: SettingsBody,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Null where the vault itself made it.
    created_by: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    /// Keys and tokens made until then were stopped, but for that of whoever stopped them.
    #[schema(value_type = Option<String>, format = DateTime)]
    stopped_until: Option<Timestamp>,
}

/// What a workspace sets.
#[derive(Serialize, ToSchema)]
pub(crate) struct SettingsBody {
    #[schema(value_type = String, example = "1h")]
    default_lease_ttl: Ttl,
    #[schema(value_type = String, example = "32d")]
    max_lease_ttl: Ttl,
    max_api_keys: u32,
}

impl From<Settings> for SettingsBody {
    fn from(settings: Settings) -> Self {
        Self {
            default_lease_ttl: settings.default_lease_ttl,
            max_lease_ttl: settings.max_lease_ttl,
            max_api_keys: settings.max_api_keys,
        }
    }
}

impl From<Workspace> for WorkspaceBody {
    fn from(workspace: Workspace) -> Self {
        Self {
            id: workspace.id.to_string(),
            name: workspace.name.to_string(),
            description: workspace.description,
            settings: workspace.settings.into(),
            created_at: workspace.created_at,
            created_by: workspace.created_by.map(|by| by.name.to_string()),
            updated_at: workspace.updated_at,
            stopped_until: workspace.stop.map(|stop| stop.until),
        }
    }
}

/// An identity to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateIdentityBody {
    #[schema(example = "claude-code", pattern = "^[a-z0-9][a-z0-9._-]{0,127}$")]
    name: String,
    /// `agent`, `human` or `service`.
    #[schema(value_type = String, example = "agent")]
    r#type: IdentityType,
    /// No role that may do more than the caller.
    #[schema(value_type = String, example = "agent")]
    role: Role,
    /// At most 512 bytes.
    description: Option<String>,
    /// At most 64 keys, 2 KiB in all.
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    labels: Option<UniqueMap<String>>,
}

impl CreateIdentityBody {
    pub(crate) fn command(self) -> Result<CreateIdentity> {
        Ok(CreateIdentity {
            name: IdentityName::parse(&self.name, "name")?,
            kind: self.r#type,
            role: self.role,
            description: self.description,
            labels: Metadata::labels(self.labels.map(|labels| labels.0).unwrap_or_default())?,
        })
    }
}

/// A merge patch of an identity (RFC 7396): what is absent stays, null removes.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdateIdentityBody {
    #[schema(value_type = Option<String>, example = "viewer")]
    role: Option<Role>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    description: Option<Option<String>>,
    #[schema(value_type = Option<BTreeMap<String, Option<String>>>)]
    labels: Option<UniqueMap<Option<String>>>,
}

impl UpdateIdentityBody {
    pub(crate) fn command(self) -> UpdateIdentity {
        UpdateIdentity {
            role: self.role,
            description: self.description,
            labels: self.labels.map(|labels| labels.0),
        }
    }
}

/// An identity of the caller's workspace.
#[derive(Serialize, ToSchema)]
pub(crate) struct IdentityRecordBody {
    id: String,
    name: String,
    r#type: &'static str,
    role: &'static str,
    state: &'static str,
    description: Option<String>,
    #[schema(value_type = BTreeMap<String, String>)]
    labels: Metadata,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Null where the vault itself made it.
    created_by: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    /// Where it is suspended.
    suspension: Option<SuspensionBody>,
}

/// Who stopped an identity, when and why.
#[derive(Serialize, ToSchema)]
pub(crate) struct SuspensionBody {
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// Null where the vault itself did it.
    by: Option<String>,
    reason: Option<String>,
}

impl From<Identity> for IdentityRecordBody {
    fn from(identity: Identity) -> Self {
        let state = identity.state.as_str();
        let suspension = match identity.state {
            IdentityState::Active => None,
            IdentityState::Suspended(suspension) => Some(SuspensionBody {
                since: suspension.since,
                by: suspension.by.map(|by| by.name.to_string()),
                reason: suspension.reason,
            }),
        };
        Self {
            id: identity.id.to_string(),
            name: identity.name.to_string(),
            r#type: identity.kind.as_str(),
            role: identity.role.as_str(),
            state,
            description: identity.description,
            labels: identity.labels,
            created_at: identity.created_at,
            created_by: identity.created_by.map(|by| by.name.to_string()),
            updated_at: identity.updated_at,
            suspension,
        }
    }
}

/// What an emergency stop ended, complete when it is answered.
#[derive(Serialize, ToSchema)]
pub(crate) struct StoppedBody {
    revoked_leases: u64,
    /// API keys that stopped and had not expired.
    stopped_keys: u64,
    /// Access tokens that stopped and had not expired.
    stopped_tokens: u64,
    took_ms: u64,
    receipt: ReceiptBody,
}

/// The same for an identity.
#[derive(Serialize, ToSchema)]
pub(crate) struct SuspendedBody {
    identity: IdentityRecordBody,
    #[serde(flatten)]
    stopped: StoppedBody,
}

/// A signed statement: of a stop, or a report.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReceiptBody {
    /// JSON in one line, which says in `format` what it is. Of a stop: who stopped what, when and why, what that ended,
    /// and where its history begins.
    statement: String,
    /// Over the bytes of `statement`, in base64.
    signature: String,
    /// In base64; `/.well-known/leasehold-keys.json` says that it is the vault's.
    public_key: String,
    #[schema(example = "Ed25519")]
    algorithm: &'static str,
}

impl From<Receipt> for ReceiptBody {
    fn from(receipt: Receipt) -> Self {
        Self {
            statement: receipt.statement,
            signature: STANDARD.encode(receipt.signature),
            public_key: STANDARD.encode(receipt.public_key),
            algorithm: receipt.algorithm,
        }
    }
}

impl From<Stopped> for StoppedBody {
    fn from(stopped: Stopped) -> Self {
        Self {
            revoked_leases: stopped.counts.leases,
            stopped_keys: stopped.counts.keys,
            stopped_tokens: stopped.counts.tokens,
            took_ms: stopped.took.as_millis(),
            receipt: stopped.receipt.into(),
        }
    }
}

impl From<(Identity, Stopped)> for SuspendedBody {
    fn from((identity, stopped): (Identity, Stopped)) -> Self {
        Self {
            identity: identity.into(),
            stopped: stopped.into(),
        }
    }
}

/// The vault's public keys.
#[derive(Serialize, ToSchema)]
pub(crate) struct PublicKeysBody {
    keys: Vec<PublicKeyBody>,
}

/// A public key of the vault.
#[derive(Serialize, ToSchema)]
pub(crate) struct PublicKeyBody {
    /// What it signs: `audit` for receipts and checkpoints.
    usage: &'static str,
    #[schema(example = "Ed25519")]
    algorithm: &'static str,
    /// In base64.
    public_key: String,
}

impl From<Vec<PublicKey>> for PublicKeysBody {
    fn from(keys: Vec<PublicKey>) -> Self {
        let keys = keys.into_iter().map(|key| PublicKeyBody {
            usage: key.usage,
            algorithm: key.algorithm,
            public_key: STANDARD.encode(key.key),
        });
        Self {
            keys: keys.collect(),
        }
    }
}

/// Reads a workspace's name from a path.
pub(crate) fn workspace_name(text: &str) -> Result<WorkspaceName> {
    WorkspaceName::parse(text, "name")
}

/// Reads an identity's type and name from a path.
pub(crate) fn identity_at((kind, name): &(String, String)) -> Result<(IdentityType, IdentityName)> {
    let kind = IdentityType::parse(kind)
        .ok_or_else(|| Error::invalid("type", "`type` must be `agent`, `human` or `service`"))?;
    Ok((kind, IdentityName::parse(name, "name")?))
}
