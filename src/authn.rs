//! Authentication: what a caller presents becomes a [`Principal`], here and nowhere else.
//!
//! A state that is particular to a key (expired, paused, its identity suspended) is told only once the key
//! itself is proven: guessing teaches nothing.

mod api_key;
mod token;

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

pub use self::token::PublicKey;
use self::{
    api_key::Known,
    token::{KnownRing, KnownToken},
};

use crate::{
    crypto::keyring::Keyring,
    domain::{
        error::{Code, Error, Result},
        id::{KeyId, WorkspaceId},
        name::WorkspaceName,
        principal::{Principal, ProofId, Reach},
        scope::Role,
        time::Timestamp,
        workspace::{Stop, Workspace},
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

/// The most keys, and the most tokens, that are remembered between requests; all are forgotten when there are more.
const MAX_KNOWN: usize = 10_000;

/// What was read, by what it was read for. Whoever asks holds it to the generation.
struct Remembered<K, V>(RwLock<HashMap<K, Arc<V>>>);

impl<K, V> Default for Remembered<K, V> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<K: Hash + Eq, V> Remembered<K, V> {
    fn get(&self, key: &K) -> Option<Arc<V>> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.get(key).cloned()
    }

    fn insert(&self, key: K, value: Arc<V>) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX_KNOWN {
            all.clear();
        }
        all.insert(key, value);
    }
}

/// Where a key or token is of use, as far as its use looks at that.
struct Place {
    /// The workspace that is meant where nobody names one.
    workspace: Option<Workspace>,
    /// The stops of the workspace that it belongs to, and of the one that it reaches.
    stops: Vec<Stop>,
}

/// Proves callers.
pub struct Authenticator {
    store: Arc<dyn Store>,
    keyring: Arc<Keyring>,
    system: Tables,
    generation: Generation,
    known: Remembered<KeyId, Known>,
    /// What the `iss` of the vault's own tokens says.
    issuer: String,
    tokens: Remembered<[u8; 16], KnownToken>,
    ring: RwLock<Option<Arc<KnownRing>>>,
}

impl Authenticator {
    /// An authenticator over a store, told of changes by `generation`; `issuer` is the `iss` of the vault's tokens.
    pub fn new(
        store: Arc<dyn Store>,
        keyring: Arc<Keyring>,
        generation: Generation,
        issuer: String,
    ) -> Result<Self> {
        let system = Tables::of(&keyring, WorkspaceId::SYSTEM)?;
        Ok(Self {
            store,
            keyring,
            system,
            generation,
            known: Remembered::default(),
            issuer,
            tokens: Remembered::default(),
            ring: RwLock::default(),
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
        if is_token(authorization, presented) {
            return self.by_token(presented, workspace, now).await;
        }
        self.by_key(presented, workspace, now).await
    }

    /// Reads where something that belongs to `home` is of use.
    async fn place(&self, home: WorkspaceId, reach: Reach) -> Result<Place> {
        let read = &mut &*self.store;
        let meant = match reach {
            Reach::Workspace(own) => Some(own),
            Reach::Organisation => {
                let name = WorkspaceName::parse(DEFAULT_WORKSPACE, "workspace")?;
                self.system.workspace_id(read, &name).await?
            }
        };
        let workspace = match meant {
            Some(meant) => self.system.workspace(read, meant).await?,
            None => None,
        };
        let home = self.system.workspace(read, home).await?;
        let reached = workspace
            .as_ref()
            .filter(|workspace| reach == Reach::Workspace(workspace.id));
        let stops = home.iter().chain(reached).filter_map(|of| of.stop);
        Ok(Place {
            stops: stops.collect(),
            workspace,
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

/// Where a key may be used.
fn effective_reach(reach: Reach, home: WorkspaceId, role: Option<Role>) -> Reach {
    match reach {
        Reach::Organisation if !reach.is_everywhere(role) => Reach::Workspace(home),
        reach => reach,
    }
}

fn unauthorized(why: &'static str) -> Error {
    Error::new(Code::Unauthorized, why)
}

/// Whether it is an access token and no API key: those have no dots, and their own scheme takes no token.
fn is_token(header: Option<&str>, presented: &str) -> bool {
    let scheme = header.and_then(|header| header.split_once(' '));
    presented.contains('.')
        && scheme.is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
}

/// The credentials of either scheme, which is matched without regard to case (RFC 9110, section 11.1).
fn bearer_text(header: &str) -> Option<&str> {
    let (scheme, text) = header.split_once(' ')?;
    let known = scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("apikey");
    known.then(|| text.trim_matches(' '))
}
