//! Authentication: what a caller presents becomes a [`Principal`], here and nowhere else.
//!
//! A state that is particular to a key (expired, paused, its identity suspended) is told only once the key
//! itself is proven: guessing teaches nothing.

use std::sync::Arc;

use crate::{
    crypto::{
        bearer::{Bearer, Digest, Presented},
        keyring::Keyring,
    },
    domain::{
        error::{Code, Error, Result},
        id::WorkspaceId,
        name::WorkspaceName,
        principal::{ApiKey, IdentityState, KeyState, Principal, Reach},
        time::Timestamp,
    },
    store::port::Store,
    tables::Tables,
};

/// The workspace that is meant where nobody names one.
pub const DEFAULT_WORKSPACE: &str = "default";

/// Why a caller was turned away, and who it had proven to be by then.
pub struct Refusal {
    pub error: Error,
    /// The key that was proven, where one was.
    pub proven: Option<Box<ApiKey>>,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self {
            error,
            proven: None,
        }
    }
}

/// Proves callers.
pub struct Authenticator {
    store: Arc<dyn Store>,
    keyring: Arc<Keyring>,
    system: Tables,
}

impl Authenticator {
    pub fn new(store: Arc<dyn Store>, keyring: Arc<Keyring>) -> Result<Self> {
        let system = Tables::of(&keyring, WorkspaceId::SYSTEM)?;
        Ok(Self {
            store,
            keyring,
            system,
        })
    }

    /// The principal that an `Authorization` header and an `X-Workspace` header prove at `now`.
    pub async fn authenticate(
        &self,
        authorization: Option<&str>,
        workspace: Option<&str>,
        now: Timestamp,
    ) -> Result<Principal, Refusal> {
        let presented = authorization
            .and_then(bearer_text)
            .ok_or_else(|| unauthorized("an API key is required: `Authorization: Bearer lhk_…`"))?;
        let unknown = || unauthorized("the API key is not valid");
        let presented = Presented::parse(Bearer::ApiKey, presented).ok_or_else(unknown)?;
        let read = &mut &*self.store;
        let key = self
            .system
            .api_key(read, presented.key())
            .await?
            .ok_or_else(unknown)?;
        if !Digest::from_stored(key.digest).proves(&self.keyring, &presented) {
            return Err(unknown().into());
        }
        match self.admit(&key, workspace, now).await {
            Ok(principal) => Ok(principal),
            Err(error) => Err(Refusal {
                error,
                proven: Some(Box::new(key)),
            }),
        }
    }

    /// What a proven key may do now.
    async fn admit(
        &self,
        key: &ApiKey,
        workspace: Option<&str>,
        now: Timestamp,
    ) -> Result<Principal> {
        if key.state == KeyState::Paused {
            return Err(Error::new(Code::KeyPaused, "the API key is paused"));
        }
        if let Some(expired_at) = key.expires_at.filter(|expires_at| now >= *expires_at) {
            return Err(Error::new(Code::KeyExpired, "the API key has expired")
                .with("expired_at", expired_at.to_string()));
        }
        let read = &mut &*self.store;
        let home = Tables::of(&self.keyring, key.home)?;
        let identity = home.identity(read, key.identity).await?;
        let identity =
            identity.ok_or_else(|| unauthorized("the API key's identity no longer exists"))?;
        if identity.state == IdentityState::Suspended {
            return Err(Error::new(
                Code::IdentitySuspended,
                "the API key's identity is suspended",
            ));
        }
        let chosen = self.workspace(key.reach, workspace).await?;
        let found = self.system.workspace(read, chosen).await?;
        let workspace_name = found.ok_or_else(|| Error::not_found("workspace"))?.name;
        Ok(Principal {
            workspace: chosen,
            workspace_name,
            identity: identity.id,
            name: identity.name,
            kind: identity.kind,
            key: key.id,
            key_name: key.name.clone(),
            role: key.role,
            scopes: key.scopes,
            rate_limit: key.rate_limit,
        })
    }

    /// The workspace that is meant. INVARIANT (isolation): one that exists and one that does not look alike to
    /// a key that reaches neither.
    async fn workspace(&self, reach: Reach, asked: Option<&str>) -> Result<WorkspaceId> {
        let read = &mut &*self.store;
        let unknown = || Error::not_found("workspace");
        let named = match asked {
            Some(name) => {
                let name = WorkspaceName::parse(name, "X-Workspace")?;
                Some(self.system.workspace_id(read, &name).await?)
            }
            None => None,
        };
        match (reach, named) {
            (Reach::Workspace(own), None) => Ok(own),
            (Reach::Workspace(own), Some(named)) => {
                named.filter(|named| *named == own).ok_or_else(unknown)
            }
            (Reach::Organisation, Some(named)) => named.ok_or_else(unknown),
            (Reach::Organisation, None) => {
                let name = WorkspaceName::parse(DEFAULT_WORKSPACE, "workspace")?;
                self.system
                    .workspace_id(read, &name)
                    .await?
                    .ok_or_else(unknown)
            }
        }
    }
}

fn unauthorized(why: &'static str) -> Error {
    Error::new(Code::Unauthorized, why)
}

/// The credentials of either scheme, which is matched without regard to case (RFC 9110, section 11.1).
fn bearer_text(header: &str) -> Option<&str> {
    let (scheme, text) = header.split_once(' ')?;
    let known = scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("apikey");
    known.then(|| text.trim_matches(' '))
}
