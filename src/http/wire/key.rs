//! API keys in requests and answers.

use std::{fmt, num::NonZeroU32};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use utoipa::ToSchema;

use super::Shown;
use crate::{
    domain::{
        error::{Error, Result},
        id::KeyId,
        name::{IdentityName, WorkspaceName},
        principal::RateLimit,
        scope::{Role, Scope, ScopeSet},
        strict::{optional_object, present},
        time::{Timestamp, Ttl},
        usage::Use,
    },
    engine::{
        CreateApiKey, KeyGrant, KeyTest, KeyView, MadeKey, RotateApiKey, UpdateApiKey,
        WantedIdentity,
    },
};

/// The workspace that stands for every one.
const EVERY_WORKSPACE: &str = "*";
/// The highest rate limit, in requests a minute; beyond it is `unlimited`.
const MAX_RATE: u32 = 1_000_000;

/// An API key to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateKeyBody {
    #[schema(example = "nightly builds")]
    name: String,
    description: Option<String>,
    /// Whom the key proves: an identity of the workspace; the caller's own where absent.
    #[serde(default, deserialize_with = "optional_object")]
    identity: Option<KeyIdentityBody>,
    /// What the key may do, by a role; either this or `scopes`.
    #[schema(example = "agent")]
    role: Option<String>,
    /// What the key may do: scopes, or families such as `lease:*`.
    scopes: Option<Vec<String>>,
    /// The workspace of the request, or `*` for every one.
    #[schema(example = "default")]
    workspace: Option<String>,
    /// Whether the key reaches every workspace: the same as `*`.
    #[serde(default)]
    organisation: bool,
    /// How long it lives, such as `30d`, `90d` or `1y`; for ever where null or absent.
    #[schema(example = "90d")]
    expires_in: Option<String>,
    /// `free` (100 a minute), `starter` (500), `pro` (2000), `unlimited`, or a number; the server's default where
    /// absent.
    #[schema(value_type = Option<String>, example = "starter")]
    rate_limit: Option<RateBody>,
}

/// An identity, by type and name.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyIdentityBody {
    #[schema(value_type = Option<String>, example = "agent")]
    r#type: Option<crate::domain::principal::IdentityType>,
    #[schema(example = "claude-code")]
    name: Option<String>,
}

impl CreateKeyBody {
    pub(crate) fn command(self) -> Result<CreateApiKey> {
        let identity = self.identity.unwrap_or_default();
        let grant = grant(self.role, self.scopes)?.ok_or_else(|| Error::missing("scopes"))?;
        let every = self.workspace.as_deref() == Some(EVERY_WORKSPACE);
        let named = self.workspace.filter(|_| !every);
        if self.organisation && named.is_some() {
            return Err(Error::invalid(
                "workspace",
                "`workspace` and `organisation` exclude each other",
            ));
        }
        Ok(CreateApiKey {
            name: self.name,
            description: self.description,
            identity: WantedIdentity {
                kind: identity.r#type,
                name: identity
                    .name
                    .as_deref()
                    .map(|name| IdentityName::parse(name, "identity.name"))
                    .transpose()?,
            },
            grant,
            workspace: named
                .as_deref()
                .map(|name| WorkspaceName::parse(name, "workspace"))
                .transpose()?,
            organisation: self.organisation || every,
            expires_in: ttl(self.expires_in, "expires_in")?,
            rate_limit: self
                .rate_limit
                .map_or(RateLimit::Default, |RateBody(limit)| limit),
        })
    }
}

fn ttl(text: Option<String>, field: &str) -> Result<Option<Ttl>> {
    text.map(|text| Ttl::parse(&text, field)).transpose()
}

/// What a role or a list of scopes says; none where neither is given.
fn grant(role: Option<String>, scopes: Option<Vec<String>>) -> Result<Option<KeyGrant>> {
    match (role, scopes) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(Error::invalid(
            "scopes",
            "`role` and `scopes` exclude each other",
        )),
        (Some(role), None) => {
            let known = Role::ALL.map(Role::as_str).join("`, `");
            let unknown = || Error::invalid("role", format!("`role` must be one of `{known}`"));
            Role::parse(&role)
                .ok_or_else(unknown)
                .map(|role| Some(KeyGrant::Role(role)))
        }
        (None, Some(texts)) => {
            let mut all = ScopeSet::EMPTY;
            for (at, text) in texts.iter().enumerate() {
                let unknown = || {
                    let field = format!("scopes[{at}]");
                    let message =
                        format!("`{field}` must be a scope, or a family such as `lease:*`");
                    Error::invalid(field, message)
                };
                all = all.union(ScopeSet::parse(text).ok_or_else(unknown)?);
            }
            if all.is_empty() {
                return Err(Error::invalid("scopes", "`scopes` is empty"));
            }
            Ok(Some(KeyGrant::Scopes(all)))
        }
    }
}

/// A merge patch of an API key (RFC 7396): what is absent stays, null removes.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdateKeyBody {
    name: Option<String>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    description: Option<Option<String>>,
    /// What the key may do, by a role; either this or `scopes`.
    role: Option<String>,
    scopes: Option<Vec<String>>,
    /// A tier, `unlimited`, or a number; null falls back to the server's default.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    rate_limit: Option<Option<RateBody>>,
}

impl UpdateKeyBody {
    pub(crate) fn command(self) -> Result<UpdateApiKey> {
        Ok(UpdateApiKey {
            name: self.name,
            description: self.description,
            grant: grant(self.role, self.scopes)?,
            rate_limit: self
                .rate_limit
                .map(|limit| limit.map_or(RateLimit::Default, |RateBody(limit)| limit)),
        })
    }
}

/// How an API key gets a new value.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RotateKeyBody {
    /// How long the old value is good for as well, at most `7d`; not at all where absent.
    #[schema(example = "24h")]
    grace: Option<String>,
    /// The new lifetime; null for ever. The old lifetime again where absent.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, example = "90d")]
    expires_in: Option<Option<String>>,
}

impl RotateKeyBody {
    pub(crate) fn command(self) -> Result<RotateApiKey> {
        Ok(RotateApiKey {
            grace: ttl(self.grace, "grace")?,
            expires_in: self
                .expires_in
                .map(|text| ttl(text, "expires_in"))
                .transpose()?,
        })
    }
}

/// What an API key is tested for.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TestKeyBody {
    /// One permission, as in history: `lease:create`, …
    #[schema(example = "lease:create")]
    action: Option<String>,
    /// On what: `credential/NAME`, `lease/ID`, `identity/TYPE/NAME`, `api-key/ID`, `vault`; the workspace where
    /// absent.
    #[schema(example = "credential/stripe-key")]
    resource: Option<String>,
}

impl TestKeyBody {
    pub(crate) fn wanted(&self) -> Result<Option<(&str, Option<&str>)>> {
        let resource = self.resource.as_deref();
        match self.action.as_deref() {
            Some(action) => Ok(Some((action, resource))),
            None if resource.is_some() => Err(Error::missing("action")),
            None => Ok(None),
        }
    }
}

/// Reads an API key's id from a path.
pub(crate) fn key_id(text: &str) -> Result<KeyId> {
    KeyId::parse(text)
        .ok_or_else(|| Error::invalid("id", "`id` is not the id of an API key such as `key_…`"))
}

/// A rate limit: a tier, or requests a minute.
pub(crate) struct RateBody(RateLimit);

impl<'de> Deserialize<'de> for RateBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Rates;

        impl de::Visitor<'_> for Rates {
            type Value = RateLimit;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(
                    f,
                    "`free`, `starter`, `pro`, `unlimited`, or a number from 1 to {MAX_RATE}"
                )
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<RateLimit, E> {
                RateLimit::tier(text)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Other("text"), &self))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<RateLimit, E> {
                u32::try_from(number)
                    .ok()
                    .filter(|number| *number <= MAX_RATE)
                    .and_then(NonZeroU32::new)
                    .map(RateLimit::PerMinute)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Other("number"), &self))
            }
        }

        deserializer.deserialize_any(Rates).map(Self)
    }
}

impl Serialize for RateBody {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self.0.tier_name(), self.0) {
            (Some(tier), _) => serializer.serialize_str(tier),
            (None, RateLimit::PerMinute(limit)) => serializer.serialize_u32(limit.get()),
            (None, _) => serializer.serialize_none(),
        }
    }
}

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
    /// `active`, `paused` or `expired`.
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
    decided_by: String,
    missing_scope: Option<&'static str>,
    reason: Option<&'static str>,
}

impl From<KeyTest> for KeyTestBody {
    fn from(test: KeyTest) -> Self {
        let refusal = test.refusal.as_ref();
        Self {
            authenticates: refusal.is_none(),
            code: refusal.map(|error| error.code().as_str()),
            message: refusal.map(|error| error.message().to_owned()),
            permission: test.permission.map(|found| KeyPermissionBody {
                action: found.action.as_str(),
                resource: found.resource,
                allowed: found.denied.is_none(),
                decided_by: found.decided_by,
                missing_scope: found.denied.map(|(_, scope)| scope.as_str()),
                reason: found.denied.map(|(why, _)| why),
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
            path: one.route,
            status: one.status,
            outcome: one
                .code
                .map_or_else(|| "success".to_owned(), |code| code.into_owned()),
            source_ip: one.source_ip.map(|ip| ip.to_string()),
            user_agent: one.user_agent,
            missing_scope: (!missing.is_empty()).then(|| missing.join(" ")),
        }
    }
}
