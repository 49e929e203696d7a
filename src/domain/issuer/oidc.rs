//! What an issuer's assertions must look like and say: JWTs of an OpenID Connect provider.

use serde_json::Value;

use super::{
    Accepted, Issuer, IssuerKeys, MAX_LEEWAY, MAX_REMEMBERED, MAX_TEXT_BYTES, Oidc, each, expired,
    mismatch,
};
use crate::domain::{
    claims::{Claims, claim, instant, matches},
    error::{Code, Error, Result},
    time::Timestamp,
};

impl Oidc {
    pub(super) fn check(&self) -> Result<()> {
        each([&self.iss].into_iter(), "iss", 1)?;
        each(self.audiences.iter(), "audiences", 1)?;
        if self.algorithms.is_empty() {
            return Err(Error::invalid("algorithms", "`algorithms` names none"));
        }
        if self.leeway > MAX_LEEWAY {
            let message = format!("`leeway` must be at most {MAX_LEEWAY}");
            return Err(Error::invalid("leeway", message));
        }
        match &self.keys {
            IssuerKeys::Url(url) => check_url(url),
            IssuerKeys::Jwks(_) | IssuerKeys::Pem(_) => Ok(()),
        }
    }
}

fn check_url(text: &str) -> Result<()> {
    let refuse = |why: &str| Err(Error::invalid("jwks_url", format!("`jwks_url` {why}")));
    let Ok(url) = url::Url::parse(text) else {
        return refuse("is not a URL");
    };
    if url.host().is_none() {
        return refuse("names no host");
    }
    match url.scheme() {
        _ if text.len() > MAX_TEXT_BYTES => refuse("is too long"),
        _ if !url.username().is_empty() || url.password().is_some() => {
            refuse("must hold no user and no password")
        }
        "https" => Ok(()),
        "http" if is_loopback(&url) => Ok(()),
        _ => refuse("must be an https URL; http is for this machine alone"),
    }
}

fn is_loopback(url: &url::Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

impl IssuerKeys {
    /// Whether they are fetched from the vault's own machine, whose services may take whoever asks from there for one of
    /// themselves.
    pub fn are_local(&self) -> bool {
        match self {
            Self::Url(text) => url::Url::parse(text).is_ok_and(|url| is_loopback(&url)),
            Self::Jwks(_) | Self::Pem(_) => false,
        }
    }
}

/// The refusal of a proven assertion whose time is over.
pub fn assertion_expired(at: Timestamp) -> Error {
    expired("assertion", at)
}

impl Issuer {
    /// Judges a proven assertion at `now`.
    pub fn accept(&self, claims: &Claims, now: Timestamp) -> Result<Accepted> {
        let oidc = self.rules.oidc().ok_or_else(|| mismatch("iss"))?;
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
            certificate: None,
        })
    }
}
