//! What a question can be about.

use crate::{
    authz::{self, Action},
    domain::{
        error::{Error, Result},
        id::{KeyId, LeaseId, TokenId},
        name::{CredentialName, IdentityName},
        principal::IdentityType,
    },
};

/// What an action would be done to.
pub enum AskedResource {
    Vault,
    Workspace,
    Credential(CredentialName),
    Lease(LeaseId),
    Identity {
        kind: IdentityType,
        name: IdentityName,
    },
    Key(KeyId),
    Token(TokenId),
}

impl AskedResource {
    /// Reads `workspace`, `vault`, `credential/NAME`, `lease/ID`, `identity/TYPE/NAME`, `api-key/ID`, `token/ID`.
    pub fn parse(text: &str) -> Result<Self> {
        let unknown = || {
            Error::invalid(
                "resource",
                "`resource` must be `workspace`, `vault`, `credential/NAME`, `lease/ID`, `identity/TYPE/NAME`, \
                 `api-key/ID` or `token/ID`",
            )
        };
        match text {
            "workspace" => return Ok(Self::Workspace),
            "vault" => return Ok(Self::Vault),
            _ => {}
        }
        let (kind, rest) = text.split_once('/').ok_or_else(unknown)?;
        match kind {
            "credential" => CredentialName::parse(rest, "resource").map(Self::Credential),
            "lease" => LeaseId::parse(rest).map(Self::Lease).ok_or_else(unknown),
            "token" => TokenId::parse(rest).map(Self::Token).ok_or_else(unknown),
            "api-key" => KeyId::parse(rest).map(Self::Key).ok_or_else(unknown),
            "identity" => {
                let (kind, name) = rest.split_once('/').ok_or_else(unknown)?;
                Ok(Self::Identity {
                    kind: IdentityType::parse(kind).ok_or_else(unknown)?,
                    name: IdentityName::parse(name, "resource")?,
                })
            }
            _ => Err(unknown()),
        }
    }

    /// Refuses an action that is not done to such things.
    pub(super) fn check(&self, action: Action) -> Result<()> {
        let kind = match self {
            Self::Vault => "Vault",
            Self::Workspace => "Workspace",
            Self::Credential(_) => "Credential",
            Self::Lease(_) => "Lease",
            Self::Identity { .. } => "Identity",
            Self::Key(_) => "Key",
            Self::Token(_) => "Token",
        };
        authz::check_concerns(action, kind)
    }
}
