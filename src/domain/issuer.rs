//! Registered issuers of federated identities: whose assertions are believed, and which identity each stands for.
//! An issuer's rules are looked at only once a signature, or a certificate's key and chain, is proven. Pure: keys,
//! signatures and handshakes are elsewhere.

mod certificate;
mod oidc;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::{
    certificate::{ClientCertificate, certificate_expired, malformed_certificate},
    oidc::assertion_expired,
};
pub use super::claims::Claims;
use super::{
    claims::{claim, text},
    error::{Code, Error, Result},
    id::{IssuerId, WorkspaceId},
    name::{IdentityName, IssuerName},
    principal::{Identity, IdentityType},
    scope::{Role, ScopeSet},
    time::{Span, Timestamp, Ttl},
    workspace::Stop,
};

/// The default and the longest lifetime of a token that an assertion is exchanged for.
pub const DEFAULT_TOKEN_TTL: Ttl = Ttl::from_secs(15 * 60);
pub const MAX_TOKEN_TTL: Ttl = Ttl::from_secs(60 * 60);
/// By how much an issuer's clock may differ from the vault's: by default, and at most.
pub const DEFAULT_LEEWAY: Span = Span::from_secs(30);
pub const MAX_LEEWAY: Span = Span::from_secs(120);
/// The longest time to `exp` of an assertion whose `jti` must be remembered until then.
pub const MAX_REMEMBERED: Span = Span::from_secs(24 * 60 * 60);
/// The most issuers of one workspace, and of the organisation: all are looked at to find one by its `iss`.
pub const MAX_ISSUERS: usize = 100;
/// The most conditions, audiences and values of one condition.
const MAX_ENTRIES: usize = 16;
/// The longest claim name, value, pattern or URL, in bytes.
const MAX_TEXT_BYTES: usize = 512;
/// The longest keys that are given by value, in bytes: an issuer is one record of a page.
pub const MAX_STATIC_KEYS_BYTES: usize = 2048;

/// A signature algorithm. Symmetric ones are not offered: whoever verifies could sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SignatureAlgorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

impl SignatureAlgorithm {
    /// Every algorithm.
    pub const ALL: [Self; 9] = [
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::EdDSA,
    ];
    /// Those that an issuer may use where nobody says which.
    pub const DEFAULT: [Self; 3] = [Self::RS256, Self::ES256, Self::EdDSA];

    /// The algorithm's name in a header.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
        }
    }

    /// Reads the name; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == text)
    }
}

/// Where an issuer's public keys come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum IssuerKeys {
    /// A JWKS that is fetched: over https, or http from this machine where whoever runs the vault says so.
    Url(String),
    /// A JWKS by value, as JSON.
    Jwks(String),
    /// Public keys as PEM, without ids.
    Pem(Vec<String>),
}

/// What an assertion must look like to be this issuer's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Oidc {
    /// The claim `iss`, exactly.
    pub iss: String,
    pub keys: IssuerKeys,
    /// One of them must be in `aud`.
    pub audiences: Vec<String>,
    pub algorithms: Vec<SignatureAlgorithm>,
    /// Whether each assertion has a `jti` and is taken once.
    pub require_jti: bool,
    pub leeway: Span,
}

/// Which identity an assertion stands for, and what its token may do at most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapping {
    /// The identity's name, with at most one `{claim}` in it.
    pub name: String,
    pub kind: IdentityType,
    /// A ceiling, for the identity's own role as well; the role that an identity is made with, too.
    pub role: Role,
    /// A further ceiling.
    pub scopes: Option<ScopeSet>,
    /// Whether an identity that is missing is made.
    pub auto_create: bool,
}

impl Mapping {
    /// The most that a token may do.
    pub fn ceiling(&self) -> ScopeSet {
        let role = self.role.scopes();
        self.scopes.map_or(role, |scopes| role.intersection(scopes))
    }
}

/// How whoever comes from an issuer proves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum IssuerKind {
    /// By a JWT that the issuer signed.
    Oidc(Oidc),
    /// By a client certificate of a CA of the server's configuration.
    Certificate,
}

/// What somebody registers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuerRules {
    pub kind: IssuerKind,
    /// Claims by name, or by JSON pointer where it begins with `/`, or what a certificate says, each with the patterns
    /// of which one must match.
    pub conditions: BTreeMap<String, Vec<String>>,
    pub identity: Mapping,
    pub token_ttl: Ttl,
}

/// A registered issuer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issuer {
    pub id: IssuerId,
    /// Where its identities are; the vault's own workspace for one of the whole organisation.
    pub workspace: WorkspaceId,
    pub name: IssuerName,
    pub rules: IssuerRules,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// A proof that an issuer's rules accepted.
#[derive(Debug, PartialEq, Eq)]
pub struct Accepted {
    pub name: IdentityName,
    pub subject: Option<String>,
    /// What must be remembered until then, where it is to be taken once.
    pub once: Option<(String, Timestamp)>,
    /// The SHA-256 of the certificate, as hex, and its end, which no token outlives; where it was one.
    pub certificate: Option<(String, Timestamp)>,
}

fn each<'a>(
    all: impl ExactSizeIterator<Item = &'a String>,
    field: &str,
    at_least: usize,
) -> Result<()> {
    if !(at_least..=MAX_ENTRIES).contains(&all.len()) {
        let message = format!("`{field}` must have {at_least} to {MAX_ENTRIES} entries");
        return Err(Error::invalid(field, message));
    }
    for text in all {
        if text.is_empty() || text.len() > MAX_TEXT_BYTES {
            let message = format!("each of `{field}` must be 1 to {MAX_TEXT_BYTES} bytes long");
            return Err(Error::invalid(field, message));
        }
    }
    Ok(())
}

/// The refusal of a parameter that says what assertions must look like, where none are taken.
pub fn of_oidc(field: &str) -> Error {
    let message = format!("`{field}` is of issuers of the kind `oidc`");
    Error::invalid(field, message)
}

impl IssuerRules {
    /// What assertions must look like, where it takes any.
    pub fn oidc(&self) -> Option<&Oidc> {
        match &self.kind {
            IssuerKind::Oidc(oidc) => Some(oidc),
            IssuerKind::Certificate => None,
        }
    }

    /// Refuses rules that cannot mean what they say, and those that would let in the whole world: an issuer's keys
    /// sign for everybody who uses it.
    pub fn check(&self) -> Result<()> {
        if self.token_ttl > MAX_TOKEN_TTL {
            let message = format!("`token_ttl` must be at most {MAX_TOKEN_TTL}");
            return Err(Error::invalid("token_ttl", message));
        }
        each(self.conditions.keys(), "conditions", 1)?;
        for (claim, patterns) in &self.conditions {
            each(patterns.iter(), "conditions", 1)?;
            if patterns
                .iter()
                .any(|pattern| pattern.bytes().all(|b| b == b'*'))
            {
                let message = format!("the condition on `{}` lets in everybody", shown(claim));
                return Err(Error::invalid("conditions", message));
            }
        }
        let (_, made_of, _) = template(&self.identity.name)?;
        match &self.kind {
            IssuerKind::Oidc(oidc) => oidc.check()?,
            IssuerKind::Certificate => certificate::check(&self.conditions, made_of)?,
        }
        if self.identity.ceiling().is_empty() {
            let message = "`identity.scopes` holds nothing of what `identity.role` may do";
            return Err(Error::invalid("identity.scopes", message));
        }
        Ok(())
    }
}

/// A claim's name as a message may show it.
fn shown(claim: &str) -> String {
    let plain = |c: char| if c.is_ascii_graphic() { c } else { '?' };
    claim.chars().take(64).map(plain).collect()
}

/// A name's parts: before a claim, the claim, behind it. With one claim at most, no two assertions that differ in
/// it can mean the same identity.
fn template(text: &str) -> Result<(&str, Option<&str>, &str)> {
    let refuse = || {
        Error::invalid(
            "identity.name",
            "`identity.name` must be a name with at most one `{claim}` in it, such as `gh-{repository_id}`",
        )
    };
    let (head, claim, tail) = match text.split_once('{') {
        None => (text, None, ""),
        Some((head, rest)) => {
            let (claim, tail) = rest.split_once('}').ok_or_else(refuse)?;
            if claim.is_empty() {
                return Err(refuse());
            }
            (head, Some(claim), tail)
        }
    };
    // With anything in the claim's place it must be a name.
    let sample = format!("{head}{}{tail}", claim.map_or("", |_| "x"));
    IdentityName::parse(&sample, "identity.name").map_err(|_| refuse())?;
    Ok((head, claim, tail))
}

/// The refusal of a proof for what it says.
pub fn mismatch(claim: &str) -> Error {
    let claim = shown(claim);
    let message = format!("`{claim}` is not what the issuer is registered for");
    Error::new(Code::ClaimMismatch, message).with("claim", claim)
}

/// The refusal of a proof whose time is over.
fn expired(what: &str, at: Timestamp) -> Error {
    let message = format!("the {what} has expired");
    Error::new(Code::AssertionExpired, message).with("expired_at", at.to_string())
}

impl Issuer {
    /// Refuses to let anybody in as this identity, however little the token would do. INVARIANT (no-escalation): policies
    /// and history go by the name, and a token may make keys of it; so an issuer stands for nobody who is stronger than
    /// what it was registered with, and one of a workspace for nobody who reaches all of them.
    pub fn check_stands_for(&self, identity: &Identity) -> Result<()> {
        let of_all = self.workspace == WorkspaceId::SYSTEM;
        let why = match self.rules.identity.role.covers(identity.role) {
            _ if identity.role.is_organisational() && !of_all => {
                "only an issuer of the organisation stands for an identity with a role of the organisation"
            }
            false => {
                "the identity's role holds more than the role that the issuer is registered with"
            }
            true => return Ok(()),
        };
        Err(Error::new(Code::InsufficientPermissions, why))
    }

    /// Refuses to let anybody in by an issuer of a workspace that was stopped, until somebody who may write issuers has
    /// updated it: whoever was stopped may have registered it, and would be back at once. Those of the organisation are
    /// none of the workspace's.
    pub fn check_goes_on(&self, stop: Option<&Stop>) -> Result<()> {
        let own = self.workspace != WorkspaceId::SYSTEM;
        match stop.filter(|stop| own && self.updated_at <= stop.until) {
            None => Ok(()),
            Some(stop) => Err(Error::new(
                Code::IssuerStopped,
                "everything in the issuer's workspace was stopped; whoever may register issuers lets it go on by \
                 updating it",
            )
            .with("stopped_until", stop.until.to_string())),
        }
    }

    /// The name that the claims give. One that is not a name is refused, and never made into one: two assertions
    /// would mean one identity.
    fn identity_name(&self, claims: &Claims) -> Result<IdentityName> {
        let (head, name, tail) = template(&self.rules.identity.name)?;
        let Some(name) = name else {
            return IdentityName::parse(head, "identity.name");
        };
        let value = claim(claims, name).and_then(text);
        let value = value.filter(|value| !value.is_empty());
        let value = value.ok_or_else(|| mismatch(name))?;
        IdentityName::parse(&format!("{head}{value}{tail}"), "identity.name")
            .map_err(|_| mismatch(name))
    }
}

#[cfg(test)]
mod tests;
