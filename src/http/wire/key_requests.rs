//! API keys in requests, before they are held to the domain's bounds.

use serde::Deserialize;
use utoipa::ToSchema;

use super::{key::EVERY_WORKSPACE, rate::RateBody};
use crate::{
    domain::{
        error::{Code, Error, Result},
        id::KeyId,
        name::{IdentityName, WorkspaceName},
        principal::{IdentityType, RateLimit},
        scope::{Role, ScopeSet},
        strict::{optional_object, present},
        time::Ttl,
    },
    engine::{AskedResource, CreateApiKey, KeyGrant, RotateApiKey, UpdateApiKey, WantedIdentity},
};

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
    /// What the key may do: scopes, or families such as `lease:*`. `credential:test` and those of `webhook:*` can be given
    /// and open nothing yet.
    scopes: Option<Vec<String>>,
    /// The workspace of the request, or `*` for every one.
    #[schema(example = "default")]
    workspace: Option<String>,
    /// Whether the key reaches every workspace: the same as `*`.
    #[serde(default)]
    organisation: bool,
    /// How long it lives, such as `30d`, `90d` or `1y`; for ever where null or absent. One of the caller's own identity
    /// ends no later than what it is made with: `expires_at` tells.
    #[schema(example = "90d")]
    expires_in: Option<String>,
    /// `free` (100 a minute), `starter` (500), `pro` (2000), `unlimited`, or a number; the server's default where
    /// absent. For the caller's own identity at most that of what it is made with.
    #[schema(value_type = Option<String>, example = "starter")]
    rate_limit: Option<RateBody>,
}

/// An identity, by type and name.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyIdentityBody {
    #[schema(value_type = Option<String>, example = "agent")]
    r#type: Option<IdentityType>,
    #[schema(example = "claude-code")]
    name: Option<String>,
}

impl CreateKeyBody {
    pub(crate) fn command(self) -> Result<CreateApiKey> {
        let identity = self.identity.unwrap_or_default();
        let grant = grant(self.role, self.scopes)?.ok_or_else(|| {
            Error::new(Code::MissingParameter, "`role` or `scopes` is required")
                .with("field", "scopes")
        })?;
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
    /// How long the old value is good for as well, at most `7d`; not at all where absent. Keys and tokens that it makes
    /// for its own identity meanwhile end with it, and it gives the key no value that outlives it.
    #[schema(example = "24h")]
    grace: Option<String>,
    /// The new lifetime; null for ever. The old lifetime again where absent, but a key that rotates itself keeps its end.
    /// A key of the caller's own identity is not rotated to outlive what the caller is using.
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
    /// On what: `credential/NAME`, `lease/ID`, `identity/TYPE/NAME`, `api-key/ID`, `token/ID`, `vault` or `workspace`,
    /// which is meant where absent. One that the action is never done to is refused.
    #[schema(example = "credential/stripe-key")]
    resource: Option<String>,
}

impl TestKeyBody {
    pub(crate) fn wanted(self) -> Result<Option<(String, AskedResource)>> {
        let resource = self.resource.as_deref().map(AskedResource::parse);
        match (self.action, resource.transpose()?) {
            (Some(action), resource) => {
                Ok(Some((action, resource.unwrap_or(AskedResource::Workspace))))
            }
            (None, Some(_)) => Err(Error::missing("action")),
            (None, None) => Ok(None),
        }
    }
}

/// Reads an API key's id from a path.
pub(crate) fn key_id(text: &str) -> Result<KeyId> {
    KeyId::parse(text)
        .ok_or_else(|| Error::invalid("id", "`id` is not the id of an API key such as `key_…`"))
}
