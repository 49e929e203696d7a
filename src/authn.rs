//! Authentication: what a caller presents becomes a [`Principal`], here and nowhere else.
//!
//! A state that is particular to a key (expired, paused, its identity suspended) is told only once the key
//! itself is proven: guessing teaches nothing.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    crypto::{
        bearer::{Bearer, Digest, Presented},
        keyring::Keyring,
    },
    domain::{
        error::{Code, Error, Result},
        id::{KeyId, WorkspaceId},
        name::WorkspaceName,
        principal::{
            ApiKey, Identity, IdentityState, KeyState, Principal, ProofId, Reach, Workspace,
        },
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
    /// The key or token that was proven, where one was, and its home workspace.
    pub proven: Option<(ProofId, WorkspaceId)>,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self {
            error,
            proven: None,
        }
    }
}

/// The most keys that are remembered between requests; all are forgotten when there are more.
const MAX_KNOWN: usize = 10_000;

/// Counts the changes to workspaces, identities and keys. It moves after a change is durable and before it is
/// acknowledged, so that whatever was read before counts for nothing from then on.
#[derive(Clone, Default)]
pub struct Generation(Arc<AtomicU64>);

impl Generation {
    /// A change was made.
    pub fn advance(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }

    fn now(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// A key with what its use needs, as read at a generation.
struct Known {
    generation: u64,
    key: ApiKey,
    identity: Option<Identity>,
    /// The workspace that is meant where nobody names one.
    workspace: Option<Workspace>,
}

/// Proves callers.
pub struct Authenticator {
    store: Arc<dyn Store>,
    keyring: Arc<Keyring>,
    system: Tables,
    generation: Generation,
    known: RwLock<HashMap<KeyId, Arc<Known>>>,
}

impl Authenticator {
    /// An authenticator over a store, told of changes by `generation`.
    pub fn new(
        store: Arc<dyn Store>,
        keyring: Arc<Keyring>,
        generation: Generation,
    ) -> Result<Self> {
        let system = Tables::of(&keyring, WorkspaceId::SYSTEM)?;
        Ok(Self {
            store,
            keyring,
            system,
            generation,
            known: RwLock::default(),
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
        let known = self.known(presented.key()).await?.ok_or_else(unknown)?;
        // Remembered or not, a key is proven anew by every request.
        if !Digest::from_stored(known.key.digest).proves(&self.keyring, &presented) {
            return Err(unknown().into());
        }
        self.admit(&known, workspace, now)
            .await
            .map_err(|error| Refusal {
                error,
                proven: Some((ProofId::Key(known.key.id), known.key.home)),
            })
    }

    /// The key of that id with its identity and workspace, remembered while nothing changes.
    async fn known(&self, id: KeyId) -> Result<Option<Arc<Known>>> {
        // Read first: what changes after this makes the entry stale, whenever it is inserted.
        let generation = self.generation.now();
        let remembered = self
            .known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&id)
            .cloned();
        if let Some(known) = remembered.filter(|known| known.generation == generation) {
            return Ok(Some(known));
        }
        let read = &mut &*self.store;
        let Some(key) = self.system.api_key(read, id).await? else {
            return Ok(None);
        };
        let identity = Tables::of(&self.keyring, key.home)?
            .identity(read, key.identity)
            .await?;
        let workspace = match key.reach {
            Reach::Workspace(own) => Some(own),
            Reach::Organisation => {
                let name = WorkspaceName::parse(DEFAULT_WORKSPACE, "workspace")?;
                self.system.workspace_id(read, &name).await?
            }
        };
        let workspace = match workspace {
            Some(workspace) => self.system.workspace(read, workspace).await?,
            None => None,
        };
        let known = Arc::new(Known {
            generation,
            key,
            identity,
            workspace,
        });
        let mut all = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX_KNOWN {
            all.clear();
        }
        all.insert(id, known.clone());
        Ok(Some(known))
    }

    /// What a proven key may do now.
    async fn admit(
        &self,
        known: &Known,
        workspace: Option<&str>,
        now: Timestamp,
    ) -> Result<Principal> {
        let key = &known.key;
        if key.state == KeyState::Paused {
            return Err(Error::new(Code::KeyPaused, "the API key is paused"));
        }
        if let Some(expired_at) = key.expires_at.filter(|expires_at| now >= *expires_at) {
            return Err(Error::new(Code::KeyExpired, "the API key has expired")
                .with("expired_at", expired_at.to_string()));
        }
        let gone = || unauthorized("the API key's identity no longer exists");
        let identity = known.identity.as_ref().ok_or_else(gone)?;
        if identity.state == IdentityState::Suspended {
            return Err(Error::new(
                Code::IdentitySuspended,
                "the API key's identity is suspended",
            ));
        }
        let own = || {
            known
                .workspace
                .clone()
                .ok_or_else(|| Error::not_found("workspace"))
        };
        let chosen = match workspace {
            None => own()?,
            Some(name) => self.named_workspace(key.reach, name).await?,
        };
        Ok(Principal {
            workspace: chosen.id,
            workspace_name: chosen.name,
            identity: identity.id,
            name: identity.name.clone(),
            kind: identity.kind,
            proof: ProofId::Key(key.id),
            proof_name: key.name.clone(),
            role: key.role,
            scopes: key.scopes,
            organisation: key.reach == Reach::Organisation,
            rate_limit: key.rate_limit,
        })
    }

    /// The workspace of that name. INVARIANT (isolation): one that exists and one that does not look alike to a
    /// key that reaches neither.
    async fn named_workspace(&self, reach: Reach, name: &str) -> Result<Workspace> {
        let read = &mut &*self.store;
        let unknown = || Error::not_found("workspace");
        let name = WorkspaceName::parse(name, "X-Workspace")?;
        let id = self
            .system
            .workspace_id(read, &name)
            .await?
            .ok_or_else(unknown)?;
        match reach {
            Reach::Workspace(own) if own != id => Err(unknown()),
            _ => self.system.workspace(read, id).await?.ok_or_else(unknown),
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
