//! API keys: proven by their digest by every request, and remembered with what their use needs while nothing
//! changes.

use std::sync::Arc;

use super::{Authenticator, Place, Refusal, effective_reach, unauthorized};
use crate::{
    crypto::bearer::{Bearer, Digest, Presented},
    domain::{
        error::{Code, Error, Result},
        id::KeyId,
        name::Metadata,
        principal::{ApiKey, Identity, KeyStatus, Principal, ProofId, Reach, Roles},
        time::Timestamp,
    },
    tables::Tables,
};

/// A key with what its use needs, as read at a generation.
pub(super) struct Known {
    generation: u64,
    pub(super) key: ApiKey,
    identity: Option<Identity>,
    labels: Arc<Metadata>,
    /// Where the key may be used as long as its identity has its role.
    reach: Reach,
    place: Place,
}

impl Authenticator {
    /// The principal that an API key proves.
    pub(super) async fn by_key(
        &self,
        presented: &str,
        workspace: Option<&str>,
        now: Timestamp,
    ) -> Result<Principal, Refusal> {
        let unknown = || unauthorized("the API key is not valid");
        let presented = match Presented::parse(Bearer::ApiKey, presented) {
            Some(presented) => presented,
            None if presented.starts_with(Bearer::ApiKey.prefix()) => {
                return Err(unauthorized("the API key is mistyped").into());
            }
            None => return Err(unknown().into()),
        };
        let Some(known) = self.known(presented.key()).await? else {
            // As much work as a known key with a wrong secret costs.
            let _ = Digest::from_stored([0; 32]).proves(&self.keyring, &presented);
            return Err(unknown().into());
        };
        // Remembered or not, a key is proven anew by every request.
        let proves = |digest| Digest::from_stored(digest).proves(&self.keyring, &presented);
        let mut digests = known.key.digests(now);
        let Some((_, value_until)) = digests.find(|(digest, _)| proves(*digest)) else {
            return Err(unknown().into());
        };
        match self.admit(&known, workspace, now).await {
            Ok(principal) => Ok(Principal {
                value_until,
                ..principal
            }),
            Err(error) => Err(Refusal {
                error,
                proven: Some((ProofId::Key(known.key.id), known.key.home)),
            }),
        }
    }

    /// What the key would be let in as, if it were presented now: for a test of the key. Nothing is proven here,
    /// so no request may be served as what this gives back.
    pub async fn rehearse(&self, id: KeyId, workspace: &str, now: Timestamp) -> Result<Principal> {
        let gone = || Error::not_found("API key");
        let known = self.known(id).await?.ok_or_else(gone)?;
        self.admit(&known, Some(workspace), now).await
    }

    /// The key of that id with its identity and workspace, remembered while nothing changes.
    pub(super) async fn known(&self, id: KeyId) -> Result<Option<Arc<Known>>> {
        // Read first: what changes after this makes the entry stale, whenever it is inserted.
        let generation = self.generation.now();
        let remembered = self.known.get(&id);
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
        let role = identity.as_ref().map(|identity| identity.role);
        let reach = effective_reach(key.reach, key.home, role);
        let known = Arc::new(Known {
            generation,
            reach,
            place: self.place(key.home, reach).await?,
            labels: identity
                .as_ref()
                .map(|identity| Arc::new(identity.labels.clone()))
                .unwrap_or_default(),
            key,
            identity,
        });
        self.known.insert(id, known.clone());
        Ok(Some(known))
    }

    /// What a proven key may do now.
    pub(super) async fn admit(
        &self,
        known: &Known,
        workspace: Option<&str>,
        now: Timestamp,
    ) -> Result<Principal> {
        let key = &known.key;
        let proof = ProofId::Key(key.id);
        let identity = known.identity.as_ref();
        let gone = || unauthorized("the API key's identity no longer exists");
        match key.standing(
            identity.map(|identity| (identity.role, &identity.state)),
            &known.place.stops,
            now,
        ) {
            KeyStatus::Active => {}
            KeyStatus::Revoked if identity.is_none() => return Err(gone()),
            KeyStatus::Revoked => {
                return Err(unauthorized(
                    "the API key was revoked with all others of its workspace",
                ));
            }
            KeyStatus::Suspended => {
                return Err(Error::new(
                    Code::IdentitySuspended,
                    "the API key's identity is suspended",
                ));
            }
            KeyStatus::Paused => return Err(Error::new(Code::KeyPaused, "the API key is paused")),
            KeyStatus::Expired => {
                let at = key.expires_at.map(|at| at.to_string());
                return Err(Error::new(Code::KeyExpired, "the API key has expired")
                    .with("expired_at", at.unwrap_or_default()));
            }
        }
        let identity = identity.ok_or_else(gone)?;
        let (workspace, workspace_name) = match workspace {
            None => {
                let own = known.place.workspace.as_ref();
                let own = own.ok_or_else(|| Error::not_found("workspace"))?;
                (own.id, own.name.clone())
            }
            Some(name) => {
                let chosen = self.named_workspace(known.reach, name).await?;
                (chosen.id, chosen.name)
            }
        };
        // A lower role counts at once, whatever the key was given.
        let scopes = key.scopes.intersection(identity.role.scopes());
        let mut roles = [Some(identity.role), key.role].into_iter().flatten();
        Ok(Principal {
            workspace,
            workspace_name,
            identity: identity.id,
            name: identity.name.clone(),
            kind: identity.kind,
            proof,
            root: proof,
            value_until: None,
            proof_name: key.name.clone(),
            role: roles.find(|role| role.scopes() == scopes),
            roles: Roles::of(identity.role, key.role),
            scopes,
            labels: known.labels.clone(),
            organisation: known.reach == Reach::Organisation,
            rate_limit: key.rate_limit,
        })
    }
}
