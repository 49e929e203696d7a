//! Issuers and their assertions, in requests and answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::token::scopes;
use crate::{
    domain::{
        error::{Error, Result},
        id::WorkspaceId,
        issuer::{
            DEFAULT_LEEWAY, DEFAULT_TOKEN_TTL, Issuer, IssuerKeys, IssuerKind, IssuerRules,
            MAX_STATIC_KEYS_BYTES, Mapping, Oidc, SignatureAlgorithm, of_oidc,
        },
        name::{IssuerName, WorkspaceName},
        principal::IdentityType,
        scope::{Role, Scope},
        secret::SecretText,
        strict::UniqueMap,
        time::{Span, Timestamp, Ttl},
    },
    engine::{CreateIssuer, Exchange, UpdateIssuer},
};

/// How whoever comes from an issuer proves it.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum KindBody {
    Oidc,
    Certificate,
}

/// One pattern, or several of which one must match.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
enum Patterns {
    One(String),
    Any(Vec<String>),
}

/// An issuer to register.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateIssuerBody {
    #[schema(example = "github")]
    name: String,
    /// `oidc`, which is the default: signed JWTs of any OpenID Connect provider, SPIFFE among them. `certificate`: client
    /// certificates of the CAs that `server.tls.client_ca` names; `conditions`, `identity` and `token_ttl` are all of it.
    kind: Option<KindBody>,
    /// Whether it serves every workspace, and not the caller's alone.
    #[serde(default)]
    organisation: bool,
    /// What the assertions' `iss` is, exactly. Required for `oidc`.
    #[schema(example = "https://token.actions.githubusercontent.com")]
    iss: Option<String>,
    /// Where its keys are published: https, or http on the vault's own machine, which takes a caller that reaches every
    /// workspace. One of this, `jwks` and `public_keys`.
    #[schema(example = "https://token.actions.githubusercontent.com/.well-known/jwks")]
    jwks_url: Option<String>,
    /// Its keys by value, as a JSON Web Key Set.
    #[schema(value_type = Option<Object>)]
    jwks: Option<serde_json::Value>,
    /// Its keys by value, as PEM.
    public_keys: Option<Vec<String>>,
    /// One of them must be the assertion's `aud`. Required for `oidc`.
    #[schema(example = json!(["https://vault.example.com"]))]
    audiences: Option<Vec<String>>,
    /// `RS256`, `ES256` and `EdDSA` where absent.
    algorithms: Option<Vec<String>>,
    /// What claims must be: a text in which `*` stands for any, or a list of those. A claim within others is named by a
    /// JSON pointer such as `/kubernetes.io/namespace`. Of a certificate: `san_uri`, `san_dns`, `san_email`, `subject_cn`.
    #[schema(value_type = BTreeMap<String, Object>, example = json!({"repository": "acme/app", "ref": ["refs/heads/main", "refs/tags/v*"]}))]
    conditions: UniqueMap<Patterns>,
    identity: MappingBody,
    /// How long the token lives that an assertion is exchanged for: at most `1h`; `15m` where absent.
    #[schema(example = "15m")]
    token_ttl: Option<String>,
    /// Whether each assertion has a `jti` and is taken once.
    require_jti: Option<bool>,
    /// By how much the issuer's clock may differ: at most `2m`; `30s` where absent.
    #[schema(example = "30s")]
    leeway: Option<String>,
}

/// The identity that an assertion stands for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MappingBody {
    /// Its name, with at most one `{claim}` in it. A claim that makes no name is refused. Of a certificate:
    /// `{san_dns}`, or `{san_uri_path_last}`, of one that has a single such name; with a condition on it.
    #[schema(example = "gh-{repository_id}")]
    name: String,
    #[schema(value_type = Option<String>, example = "service")]
    r#type: Option<IdentityType>,
    /// The most that the token may do, and that the identity's own role may hold; `agent` where absent. The role that
    /// an identity is made with, too. Never more than whoever registers it holds.
    #[schema(value_type = Option<String>, example = "agent")]
    role: Option<Role>,
    /// Less than the role.
    scopes: Option<Vec<String>>,
    /// Whether an identity that is missing is made.
    #[serde(default)]
    auto_create: bool,
}

impl MappingBody {
    fn mapping(self) -> Result<Mapping> {
        Ok(Mapping {
            name: self.name,
            kind: self.r#type.unwrap_or(IdentityType::Service),
            role: self.role.unwrap_or(Role::Agent),
            scopes: self
                .scopes
                .as_deref()
                .map(|names| scopes(names, "identity.scopes"))
                .transpose()?,
            auto_create: self.auto_create,
        })
    }
}

/// Keys from where exactly one of the three says; none where none does.
fn keys(
    url: Option<String>,
    jwks: Option<serde_json::Value>,
    pem: Option<Vec<String>>,
) -> Result<Option<IssuerKeys>> {
    let keys = match (url, jwks, pem) {
        (None, None, None) => return Ok(None),
        (Some(url), None, None) => IssuerKeys::Url(url),
        (None, Some(jwks), None) => IssuerKeys::Jwks(jwks.to_string()),
        (None, None, Some(pem)) => IssuerKeys::Pem(pem),
        _ => {
            let message = "`jwks_url`, `jwks` and `public_keys` exclude each other";
            return Err(Error::invalid("jwks_url", message));
        }
    };
    let (field, bytes) = match &keys {
        IssuerKeys::Url(_) => return Ok(Some(keys)),
        IssuerKeys::Jwks(text) => ("jwks", text.len()),
        IssuerKeys::Pem(all) => ("public_keys", all.iter().map(String::len).sum()),
    };
    if bytes > MAX_STATIC_KEYS_BYTES {
        let message = format!("`{field}` is longer than {MAX_STATIC_KEYS_BYTES} bytes");
        return Err(Error::invalid(field, message));
    }
    Ok(Some(keys))
}

fn algorithms(names: &[String]) -> Result<Vec<SignatureAlgorithm>> {
    let read = |name: &String| {
        SignatureAlgorithm::parse(name).ok_or_else(|| {
            let known = SignatureAlgorithm::ALL.map(SignatureAlgorithm::as_str);
            let message = format!("each of `algorithms` must be one of {}", known.join(", "));
            Error::invalid("algorithms", message)
        })
    };
    names.iter().map(read).collect()
}

fn conditions(given: UniqueMap<Patterns>) -> BTreeMap<String, Vec<String>> {
    let any = |patterns| match patterns {
        Patterns::One(one) => vec![one],
        Patterns::Any(any) => any,
    };
    let given = given.0.into_iter();
    given
        .map(|(claim, patterns)| (claim, any(patterns)))
        .collect()
}

/// A span that may be zero.
fn leeway(text: &str) -> Result<Span> {
    match text {
        "0s" => Ok(Span::from_millis(0)),
        text => Ttl::parse(text, "leeway").map(Ttl::span),
    }
}

impl CreateIssuerBody {
    pub(crate) fn command(self) -> Result<CreateIssuer> {
        let token_ttl = self.token_ttl.as_deref();
        let token_ttl = token_ttl.map(|ttl| Ttl::parse(ttl, "token_ttl"));
        Ok(CreateIssuer {
            name: IssuerName::parse(&self.name, "name")?,
            organisation: self.organisation,
            rules: IssuerRules {
                token_ttl: token_ttl.transpose()?.unwrap_or(DEFAULT_TOKEN_TTL),
                kind: match self.kind.unwrap_or(KindBody::Oidc) {
                    KindBody::Oidc => IssuerKind::Oidc(Oidc {
                        iss: self.iss.ok_or_else(|| Error::missing("iss"))?,
                        keys: keys(self.jwks_url, self.jwks, self.public_keys)?
                            .ok_or_else(|| Error::missing("jwks_url"))?,
                        audiences: self.audiences.ok_or_else(|| Error::missing("audiences"))?,
                        algorithms: match self.algorithms {
                            Some(names) => algorithms(&names)?,
                            None => SignatureAlgorithm::DEFAULT.to_vec(),
                        },
                        require_jti: self.require_jti.unwrap_or(false),
                        leeway: self.leeway.as_deref().map_or(Ok(DEFAULT_LEEWAY), leeway)?,
                    }),
                    KindBody::Certificate => {
                        for (field, given) in [
                            ("iss", self.iss.is_some()),
                            ("jwks_url", self.jwks_url.is_some()),
                            ("jwks", self.jwks.is_some()),
                            ("public_keys", self.public_keys.is_some()),
                            ("audiences", self.audiences.is_some()),
                            ("algorithms", self.algorithms.is_some()),
                            ("require_jti", self.require_jti.is_some()),
                            ("leeway", self.leeway.is_some()),
                        ] {
                            if given {
                                return Err(of_oidc(field));
                            }
                        }
                        IssuerKind::Certificate
                    }
                },
                conditions: conditions(self.conditions),
                identity: self.identity.mapping()?,
            },
        })
    }
}

/// What to change of an issuer; what is absent stays.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdateIssuerBody {
    iss: Option<String>,
    jwks_url: Option<String>,
    #[schema(value_type = Option<Object>)]
    jwks: Option<serde_json::Value>,
    public_keys: Option<Vec<String>>,
    audiences: Option<Vec<String>>,
    algorithms: Option<Vec<String>>,
    #[schema(value_type = Option<BTreeMap<String, Object>>)]
    conditions: Option<UniqueMap<Patterns>>,
    identity: Option<MappingBody>,
    token_ttl: Option<String>,
    require_jti: Option<bool>,
    leeway: Option<String>,
}

impl UpdateIssuerBody {
    pub(crate) fn command(self) -> Result<UpdateIssuer> {
        let token_ttl = self.token_ttl.as_deref();
        Ok(UpdateIssuer {
            iss: self.iss,
            keys: keys(self.jwks_url, self.jwks, self.public_keys)?,
            audiences: self.audiences,
            algorithms: self.algorithms.as_deref().map(algorithms).transpose()?,
            conditions: self.conditions.map(conditions),
            identity: self.identity.map(MappingBody::mapping).transpose()?,
            token_ttl: token_ttl
                .map(|ttl| Ttl::parse(ttl, "token_ttl"))
                .transpose()?,
            require_jti: self.require_jti,
            leeway: self.leeway.as_deref().map(leeway).transpose()?,
        })
    }
}

/// A registered issuer.
#[derive(Serialize, ToSchema)]
pub(crate) struct IssuerBody {
    #[schema(example = "iss_019…")]
    id: String,
    name: String,
    kind: &'static str,
    /// Whether it serves every workspace.
    organisation: bool,
    #[serde(flatten)]
    oidc: Option<OidcBody>,
    conditions: BTreeMap<String, Vec<String>>,
    identity: MappedBody,
    token_ttl: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// What an issuer's assertions look like, where it is of the kind `oidc`.
#[derive(Serialize, ToSchema)]
pub(crate) struct OidcBody {
    iss: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwks_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    jwks: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    public_keys: Option<Vec<String>>,
    audiences: Vec<String>,
    algorithms: Vec<&'static str>,
    require_jti: bool,
    leeway: String,
}

impl From<Oidc> for OidcBody {
    fn from(oidc: Oidc) -> Self {
        let (jwks_url, jwks, public_keys) = match oidc.keys {
            IssuerKeys::Url(url) => (Some(url), None, None),
            IssuerKeys::Jwks(text) => (None, serde_json::from_str(&text).ok(), None),
            IssuerKeys::Pem(all) => (None, None, Some(all)),
        };
        Self {
            iss: oidc.iss,
            jwks_url,
            jwks,
            public_keys,
            audiences: oidc.audiences,
            algorithms: oidc.algorithms.iter().map(|one| one.as_str()).collect(),
            require_jti: oidc.require_jti,
            leeway: oidc.leeway.to_string(),
        }
    }
}

/// Whom an issuer's assertions stand for.
#[derive(Serialize, ToSchema)]
pub(crate) struct MappedBody {
    name: String,
    r#type: &'static str,
    role: &'static str,
    /// The most that a token may do: what of the role the issuer was registered with.
    scopes: Vec<&'static str>,
    auto_create: bool,
}

impl From<Issuer> for IssuerBody {
    fn from(issuer: Issuer) -> Self {
        let IssuerRules {
            kind,
            conditions,
            identity,
            token_ttl,
        } = issuer.rules;
        let (kind, oidc) = match kind {
            IssuerKind::Oidc(oidc) => ("oidc", Some(oidc.into())),
            IssuerKind::Certificate => ("certificate", None),
        };
        Self {
            id: issuer.id.to_string(),
            name: issuer.name.to_string(),
            kind,
            organisation: issuer.workspace == WorkspaceId::SYSTEM,
            oidc,
            conditions,
            identity: MappedBody {
                r#type: identity.kind.as_str(),
                role: identity.role.as_str(),
                scopes: identity.ceiling().iter().map(Scope::as_str).collect(),
                auto_create: identity.auto_create,
                name: identity.name,
            },
            token_ttl: token_ttl.to_string(),
            created_at: issuer.created_at,
            updated_at: issuer.updated_at,
        }
    }
}

/// What to exchange: an assertion, or without one the client certificate of the connection.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExchangeBody {
    /// The issuer's id or name; found by the assertion's `iss` where absent, and required without an assertion.
    #[schema(example = "github")]
    issuer: Option<String>,
    /// The assertion: a JWT that the issuer signed.
    #[schema(value_type = Option<String>)]
    token: Option<SecretText>,
    /// The workspace of the identity that it stands for; `default` where absent.
    #[schema(example = "default")]
    workspace: Option<String>,
}

impl ExchangeBody {
    pub(crate) fn command(self) -> Result<Exchange> {
        let workspace = self.workspace.as_deref();
        Ok(Exchange {
            issuer: self.issuer,
            token: self.token,
            workspace: workspace
                .map(|name| WorkspaceName::parse(name, "workspace"))
                .transpose()?,
        })
    }
}
