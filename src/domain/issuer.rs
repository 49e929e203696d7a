//! Registered issuers of federated identities: whose assertions are believed, and which identity each stands for.
//! An issuer's rules are looked at only once a signature is proven. Pure: keys and signatures are elsewhere.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use super::claims::Claims;
use super::{
    claims::{claim, instant, matches, text},
    error::{Code, Error, Result},
    id::{IssuerId, WorkspaceId},
    name::{IdentityName, IssuerName},
    principal::IdentityType,
    scope::{Role, ScopeSet},
    time::{Span, Timestamp, Ttl},
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
    /// A JWKS that is fetched: over https, or http from this machine.
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
    /// A ceiling; the role that an identity is made with, too.
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

/// What somebody registers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuerRules {
    pub oidc: Oidc,
    /// Claims by name, or by JSON pointer where it begins with `/`, each with the patterns of which one must match.
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

/// An assertion that an issuer's rules accepted.
#[derive(Debug, PartialEq, Eq)]
pub struct Accepted {
    pub name: IdentityName,
    pub subject: Option<String>,
    /// What must be remembered until then, where it is to be taken once.
    pub once: Option<(String, Timestamp)>,
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

impl IssuerRules {
    /// Refuses rules that cannot mean what they say, and those that would let in the whole world: an issuer's keys
    /// sign for everybody who uses it.
    pub fn check(&self) -> Result<()> {
        let oidc = &self.oidc;
        each([&oidc.iss].into_iter(), "iss", 1)?;
        each(oidc.audiences.iter(), "audiences", 1)?;
        if oidc.algorithms.is_empty() {
            return Err(Error::invalid("algorithms", "`algorithms` names none"));
        }
        if oidc.leeway > MAX_LEEWAY {
            let message = format!("`leeway` must be at most {MAX_LEEWAY}");
            return Err(Error::invalid("leeway", message));
        }
        if self.token_ttl > MAX_TOKEN_TTL {
            let message = format!("`token_ttl` must be at most {MAX_TOKEN_TTL}");
            return Err(Error::invalid("token_ttl", message));
        }
        if let IssuerKeys::Url(url) = &oidc.keys {
            check_url(url)?;
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
        template(&self.identity.name)?;
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

fn check_url(text: &str) -> Result<()> {
    let refuse = |why: &str| Err(Error::invalid("jwks_url", format!("`jwks_url` {why}")));
    let Ok(url) = url::Url::parse(text) else {
        return refuse("is not a URL");
    };
    let loopback = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => return refuse("names no host"),
    };
    match url.scheme() {
        _ if text.len() > MAX_TEXT_BYTES => refuse("is too long"),
        _ if !url.username().is_empty() || url.password().is_some() => {
            refuse("must hold no user and no password")
        }
        "https" => Ok(()),
        "http" if loopback => Ok(()),
        _ => refuse("must be an https URL; http is for this machine alone"),
    }
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

/// The refusal of a proven assertion for what it says.
pub fn mismatch(claim: &str) -> Error {
    let claim = shown(claim);
    let message = format!("the assertion's `{claim}` is not what the issuer is registered for");
    Error::new(Code::ClaimMismatch, message).with("claim", claim)
}

/// The refusal of a proven assertion whose time is over.
pub fn assertion_expired(at: Timestamp) -> Error {
    Error::new(Code::AssertionExpired, "the assertion has expired")
        .with("expired_at", at.to_string())
}

impl Issuer {
    /// Judges a proven assertion at `now`.
    pub fn accept(&self, claims: &Claims, now: Timestamp) -> Result<Accepted> {
        let oidc = &self.rules.oidc;
        if claims.get("iss").and_then(Value::as_str) != Some(&oidc.iss) {
            return Err(mismatch("iss"));
        }
        let expires = instant(claims, "exp")?.ok_or_else(|| mismatch("exp"))?;
        let end = expires.plus(oidc.leeway);
        if now >= end {
            return Err(assertion_expired(expires));
        }
        for begin in ["nbf", "iat"] {
            let early = instant(claims, begin)?.is_some_and(|begin| begin > now.plus(oidc.leeway));
            if early {
                return Err(mismatch(begin));
            }
        }
        let audience = claims.get("aud").unwrap_or(&Value::Null);
        let meant = |one: &Value| {
            let one = one.as_str();
            one.is_some_and(|one| oidc.audiences.iter().any(|known| known == one))
        };
        let for_us = match audience {
            Value::Array(all) => all.iter().any(meant),
            one => meant(one),
        };
        if !for_us {
            let message = "the assertion is for another audience";
            return Err(Error::new(Code::AudienceMismatch, message));
        }
        for (name, patterns) in &self.rules.conditions {
            if !claim(claims, name).is_some_and(|value| matches(value, patterns)) {
                return Err(mismatch(name));
            }
        }
        let once = match oidc.require_jti {
            false => None,
            true if end > now.plus(MAX_REMEMBERED) => return Err(mismatch("exp")),
            true => {
                let jti = claims.get("jti").and_then(Value::as_str);
                let jti = jti.filter(|jti| (1..=MAX_TEXT_BYTES).contains(&jti.len()));
                Some((jti.ok_or_else(|| mismatch("jti"))?.to_owned(), end))
            }
        };
        let subject = claims.get("sub").and_then(Value::as_str);
        Ok(Accepted {
            name: self.identity_name(claims)?,
            subject: subject.map(|subject| subject.chars().take(MAX_TEXT_BYTES).collect()),
            once,
        })
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
