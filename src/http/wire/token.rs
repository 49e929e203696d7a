//! Access tokens and their signing keys, in requests and answers.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Shown;
use crate::{
    authn::PublicKey,
    domain::{
        error::{Error, Result},
        id::TokenId,
        scope::{Scope, ScopeSet},
        time::{Timestamp, Ttl},
        token::{Parent, TokenState},
    },
    engine::{CreateToken, IssuedToken, RotatedSigningKey, TokenView, TokenWorkspace},
};

/// An access token to make.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateTokenBody {
    #[schema(example = "nightly build")]
    name: Option<String>,
    /// `1m` to `30d`; `1h` where absent.
    #[schema(example = "15m")]
    expires_in: Option<String>,
    /// Scopes and families of scopes, none that the caller lacks; all of the caller's where absent.
    #[schema(example = json!(["lease:create", "handle:redeem"]))]
    scopes: Option<Vec<String>>,
    /// Where it is of use: a workspace, or `*` for all; the one that the request acts in where absent.
    #[schema(example = "default")]
    workspace: Option<String>,
}

impl CreateTokenBody {
    pub(crate) fn command(self) -> Result<CreateToken> {
        let workspace = self.workspace.as_deref();
        Ok(CreateToken {
            name: self.name,
            expires_in: self
                .expires_in
                .as_deref()
                .map(|ttl| Ttl::parse(ttl, "expires_in"))
                .transpose()?,
            scopes: self
                .scopes
                .as_deref()
                .map(|names| scopes(names, "scopes"))
                .transpose()?,
            workspace: workspace
                .map(|name| TokenWorkspace::parse(name, "workspace"))
                .transpose()?,
        })
    }
}

/// Scopes and families of scopes, together; `field` names the list in errors.
pub(super) fn scopes(names: &[String], field: &str) -> Result<ScopeSet> {
    let mut all = ScopeSet::EMPTY;
    for (at, name) in names.iter().enumerate() {
        let field = format!("{field}[{at}]");
        let set = ScopeSet::parse(name).ok_or_else(|| {
            Error::invalid(
                &field,
                format!("`{field}` must be a scope such as `lease:create`, or a family such as `lease:*`"),
            )
        })?;
        all = all.union(set);
    }
    Ok(all)
}

/// Reads a token's id from a path.
pub(crate) fn token_id(text: &str) -> Result<TokenId> {
    TokenId::parse(text)
        .ok_or_else(|| Error::invalid("jti", "`jti` is not a token id such as `tok_…`"))
}

/// An access token, without its text.
#[derive(Serialize, ToSchema)]
pub(crate) struct TokenBody {
    #[schema(example = "tok_019…")]
    jti: String,
    name: Option<String>,
    identity: super::WhoBody,
    /// The workspace where it is of use, or `*` for all.
    workspace: String,
    scopes: Vec<&'static str>,
    /// `active`, `expired`, `revoked` (by itself, or with what made it) or `suspended` (as long as what made it is out
    /// of use: its identity suspended, its key paused or expired).
    state: &'static str,
    /// The API key or token that made it, or the issuer of the assertion it was exchanged for.
    created_with: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    revoked_at: Option<Timestamp>,
}

impl From<TokenView> for TokenBody {
    fn from(view: TokenView) -> Self {
        let token = view.token;
        Self {
            jti: token.id.to_string(),
            name: token.name,
            identity: super::WhoBody {
                id: token.identity.to_string(),
                r#type: token.identity_kind.as_str(),
                name: token.identity_name.to_string(),
            },
            workspace: view.workspace,
            scopes: token.scopes.iter().map(Scope::as_str).collect(),
            state: view.status.as_str(),
            created_with: match token.parent {
                Parent::Key(id) => id.to_string(),
                Parent::Token(id) => id.to_string(),
                Parent::Issuer(id, _) => id.to_string(),
            },
            created_at: token.created_at,
            expires_at: token.expires_at,
            revoked_at: match token.state {
                TokenState::Active => None,
                TokenState::Revoked { at } => Some(at),
            },
        }
    }
}

/// An access token that was made, with its text.
#[derive(Serialize, ToSchema)]
pub(crate) struct IssuedTokenBody {
    /// The signed JWT, shown this once: `Authorization: Bearer <token>`.
    token: Shown,
    /// Whether it ends sooner than asked, with the key or token that made it.
    ttl_capped: bool,
    #[serde(flatten)]
    about: TokenBody,
}

impl From<IssuedToken> for IssuedTokenBody {
    fn from(issued: IssuedToken) -> Self {
        Self {
            token: Shown(issued.text),
            ttl_capped: issued.ttl_capped,
            about: issued.view.into(),
        }
    }
}

/// A public key that verifies access tokens (RFC 8037).
#[derive(Serialize, ToSchema)]
pub(crate) struct JwkBody {
    kty: &'static str,
    crv: &'static str,
    r#use: &'static str,
    alg: &'static str,
    kid: String,
    x: String,
}

/// A JSON Web Key Set (RFC 7517).
#[derive(Serialize, ToSchema)]
pub(crate) struct JwksBody {
    keys: Vec<JwkBody>,
}

impl From<Vec<PublicKey>> for JwksBody {
    fn from(keys: Vec<PublicKey>) -> Self {
        let keys = keys.into_iter().map(|key| JwkBody {
            kty: "OKP",
            crv: "Ed25519",
            r#use: "sig",
            alg: "EdDSA",
            kid: key.kid,
            x: key.x,
        });
        Self {
            keys: keys.collect(),
        }
    }
}

/// The key that signs tokens from now on.
#[derive(Serialize, ToSchema)]
pub(crate) struct SigningKeyBody {
    kid: String,
    number: u32,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// How many keys verify now, this one among them.
    verifying: usize,
}

impl From<RotatedSigningKey> for SigningKeyBody {
    fn from(made: RotatedSigningKey) -> Self {
        Self {
            kid: made.kid,
            number: made.number,
            created_at: made.created_at,
            verifying: made.verifying,
        }
    }
}
