//! The types of credentials: what each holds a value to, and which facts may be read from one.
//!
//! Guarantees: an error never repeats the value or a part of it, and carries no private source that could;
//! a fact holds neither the value nor its secret part; metadata and description that hold one are refused.
//! Nothing is verified against the outside: a token's claims and a certificate's chain are taken as written.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    error::{Error, Result},
    name::Metadata,
    secret::SecretText,
};
use reading::Reading;

mod database;
mod decode;
mod oauth;
mod openssh;
mod pem;
mod reading;
#[cfg(test)]
mod samples;
mod ssh;
#[cfg(test)]
mod tests;
mod tls;
mod token;

/// What a credential is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CredentialType {
    /// An opaque key of some service.
    ApiKey,
    /// An AWS secret access key, its id in `metadata.access_key_id`.
    AwsAccessKey,
    /// `username:password` (RFC 7617).
    BasicAuth,
    /// A bearer token (RFC 6750), alone or in the token response it came in.
    OauthToken,
    /// An SSH private key, in OpenSSH's or a PEM form.
    SshKey,
    /// A certificate with its chain, and its private key where it is given.
    TlsCertificate,
    /// A connection URL.
    DatabaseUrl,
    /// Any other text.
    GenericSecret,
}

impl CredentialType {
    /// Every type, in the order of the documentation.
    pub const ALL: [Self; 8] = [
        Self::ApiKey,
        Self::AwsAccessKey,
        Self::BasicAuth,
        Self::OauthToken,
        Self::SshKey,
        Self::TlsCertificate,
        Self::DatabaseUrl,
        Self::GenericSecret,
    ];

    /// The type's spelling on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ApiKey => "api-key",
            Self::AwsAccessKey => "aws-access-key",
            Self::BasicAuth => "basic-auth",
            Self::OauthToken => "oauth-token",
            Self::SshKey => "ssh-key",
            Self::TlsCertificate => "tls-certificate",
            Self::DatabaseUrl => "database-url",
            Self::GenericSecret => "generic-secret",
        }
    }

    /// The type of that spelling.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// Safe facts that were read from a value: shown beside the metadata, never secret.
pub type Facts = BTreeMap<String, String>;

/// Checks a value against its type and reads the safe facts; `field` is `value` or `new_value`.
pub fn inspect(
    kind: CredentialType,
    value: &SecretText,
    metadata: &Metadata,
    description: Option<&str>,
    field: &'static str,
) -> Result<Facts> {
    value.check_value_bounds(field)?;
    // Exposed to be checked: what leaves this function went through `Reading`.
    let text = value.expose();
    let reading = match kind {
        CredentialType::ApiKey => token::api_key(text, field)?,
        CredentialType::AwsAccessKey => token::aws_access_key(text, metadata, field)?,
        CredentialType::BasicAuth => token::basic_auth(text, field)?,
        CredentialType::OauthToken => oauth::read(text, field)?,
        CredentialType::SshKey => ssh::read(text, field)?,
        CredentialType::TlsCertificate => tls::read(text, field)?,
        CredentialType::DatabaseUrl => database::read(text, field)?,
        CredentialType::GenericSecret => Reading::of(text),
    };
    reading.check_apart_from(metadata, description)?;
    Ok(reading.into_facts())
}

/// A refusal of the value; `why` is fixed text, so that nothing of the value can get into it.
fn refuse(field: &'static str, why: &'static str) -> Error {
    Error::invalid(field, format!("`{field}` {why}"))
}
