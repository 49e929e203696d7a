//! API keys in answers.

use serde::Serialize;
use utoipa::ToSchema;

use super::{Shown, rate::RateBody};
use crate::{
    domain::{
        principal::RateLimit,
        scope::{Role, Scope},
        time::Timestamp,
        usage::Use,
    },
    engine::{KeyTest, KeyView, MadeKey},
};

/// The workspace that stands for every one.
pub(super) const EVERY_WORKSPACE: &str = "*";

/// An API key. Its value is shown once, when it is made or rotated.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeyBody {
    #[schema(example = "key_0199a1b2c3d47e8f9a0b1c2d3e4f5a6b")]
    id: String,
    name: String,
    description: Option<String>,
    identity: KeyHolderBody,
    /// The workspace that it reaches, `*` for every one.
    workspace: Option<String>,
    role: Option<&'static str>,
    scopes: Vec<&'static str>,
    /// `active`, `paused`, `expired`, `suspended` (with its identity) or `revoked` (with all others of its workspace).
    state: &'static str,
    /// A tier or a number; null for the server's default.
    #[schema(value_type = Option<String>, example = "starter")]
    rate_limit: RateBody,
    requests_per_minute: Option<u32>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Who made it; null where the vault did, at its set-up.
    created_by: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_rotated_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// Until when the value before the last rotation is good as well.
    #[schema(value_type = Option<String>, format = DateTime)]
    previous_valid_until: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Timestamp>,
}

/// Whom an API key proves.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeyHolderBody {
    id: String,
    r#type: Option<&'static str>,
    name: Option<String>,
}

impl From<KeyView> for KeyBody {
    fn from(view: KeyView) -> Self {
        let (kind, name) = view.holder.unzip();
        Self {
            id: view.id.to_string(),
            name: view.name,
            description: view.description,
            identity: KeyHolderBody {
                id: view.identity.to_string(),
                r#type: kind.map(|kind| kind.as_str()),
                name: name.map(|name| name.to_string()),
            },
            workspace: match view.organisation {
                true => Some(EVERY_WORKSPACE.to_owned()),
                false => view.workspace.map(|name| name.to_string()),
            },
            role: view.role.map(Role::as_str),
            scopes: view.scopes.iter().map(Scope::as_str).collect(),
            state: view.status.as_str(),
            requests_per_minute: match view.rate_limit {
                RateLimit::PerMinute(limit) => Some(limit.get()),
                RateLimit::Unlimited | RateLimit::Default => None,
            },
            rate_limit: RateBody(view.rate_limit),
            created_at: view.created_at,
            created_by: view.created_by.map(|by| by.name.to_string()),
            updated_at: view.updated_at,
            last_rotated_at: view.rotated_at,
            expires_at: view.expires_at,
            previous_valid_until: view.previous_until,
            last_used_at: view.last_used_at,
        }
    }
}

/// An API key that was made or rotated, with what is shown once.
#[derive(Serialize, ToSchema)]
pub(crate) struct MadeKeyBody {
    #[serde(flatten)]
    body: KeyBody,
    /// The key itself, `lhk_…`. Shown once, stored as a digest.
    key: Shown,
}

impl From<MadeKey> for MadeKeyBody {
    fn from(made: MadeKey) -> Self {
        Self {
            body: made.view.into(),
            key: Shown(made.value),
        }
    }
}

/// An API key that is no more.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeletedKeyBody {
    pub(crate) id: String,
    pub(crate) deleted: bool,
}

/// What a test of an API key found.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeyTestBody {
    /// Whether it would be let in now.
    authenticates: bool,
    /// The code that it would be turned away with, and why.
    code: Option<&'static str>,
    message: Option<String>,
    /// The permission that was asked for; null where none was, or where the key would not be let in.
    permission: Option<KeyPermissionBody>,
}

/// Whether an API key may do one thing.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeyPermissionBody {
    action: &'static str,
    resource: String,
    allowed: bool,
    /// The role, the scopes or the policy that decided.
    decided_by: Option<String>,
    missing_scope: Option<&'static str>,
    reason: Option<String>,
}

impl From<KeyTest> for KeyTestBody {
    fn from(test: KeyTest) -> Self {
        let refusal = test.refusal.as_ref();
        Self {
            authenticates: refusal.is_none(),
            code: refusal.map(|error| error.code().as_str()),
            message: refusal.map(|error| error.message().to_owned()),
            permission: test.permission.map(|found| KeyPermissionBody {
                action: found.action,
                allowed: found.allowed,
                decided_by: found.decided_by(),
                resource: found.resource,
                missing_scope: found.missing_scope.map(Scope::as_str),
                reason: found.reason,
            }),
        }
    }
}

/// One request that an API key made.
#[derive(Serialize, ToSchema)]
pub(crate) struct UseBody {
    #[schema(value_type = String, format = DateTime)]
    time: Timestamp,
    method: String,
    /// The route, such as `/v1/leases/{id}`.
    path: String,
    status: u16,
    /// `success`, or the code of the refusal.
    outcome: String,
    source_ip: Option<String>,
    user_agent: Option<String>,
    /// What the key would have needed, where that is why it was denied; several are separated by spaces.
    missing_scope: Option<String>,
}

impl From<Use> for UseBody {
    fn from(one: Use) -> Self {
        let missing: Vec<_> = one.missing.iter().map(Scope::as_str).collect();
        Self {
            time: one.at,
            method: one.method.into_owned(),
            path: one.route.to_string(),
            status: one.status,
            outcome: one
                .code
                .map_or_else(|| "success".to_owned(), |code| code.into_owned()),
            source_ip: one.source_ip.map(|ip| ip.to_string()),
            user_agent: one.user_agent.map(|agent| agent.to_string()),
            missing_scope: (!missing.is_empty()).then(|| missing.join(" ")),
        }
    }
}
