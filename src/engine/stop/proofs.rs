//! The keys and tokens that a stop ends: counted, and deleted with an identity that goes.

use super::Counts;
use crate::{
    domain::{
        error::Result,
        event::{EventName, Object},
        id::{IdentityId, WorkspaceId},
        principal::{ApiKey, ProofId, Reach},
        time::Timestamp,
        token::{Token, TokenStatus},
    },
    engine::{Engine, Note, Unit, bulk::Revoker, credential::change},
    store::{key, port::LockKey},
};

/// Keys and tokens deleted in one transaction, under two locks each.
const DELETED_TOGETHER: usize = 64;

/// A key or token, as a stop looks at it.
pub(super) struct Listed {
    pub(super) proof: ProofId,
    pub(super) identity: IdentityId,
    pub(super) home: WorkspaceId,
    pub(super) reach: Reach,
    pub(super) created_at: Timestamp,
}

impl Listed {
    fn key(key: &ApiKey) -> Self {
        Self {
            proof: ProofId::Key(key.id),
            identity: key.identity,
            home: key.home,
            reach: key.reach,
            created_at: key.created_at,
        }
    }

    fn token(token: &Token) -> Self {
        Self {
            proof: ProofId::Token(token.id),
            identity: token.identity,
            home: token.home,
            reach: token.reach,
            created_at: token.created_at,
        }
    }
}

impl Engine {
    /// Counts the keys and tokens that are wanted and have not ended.
    pub(super) async fn proofs(&self, wanted: impl Fn(&Listed) -> bool) -> Result<Counts> {
        let system = self.tables(WorkspaceId::SYSTEM)?;
        let now = self.now();
        let keys = system.api_keys(&mut self.read()).await?;
        let lasting = |key: &&ApiKey| key.expires_at.is_none_or(|at| at > now);
        let keys = keys.iter().filter(lasting).map(Listed::key);
        let tokens = system.tokens(&mut self.read()).await?;
        let active = |token: &&Token| token.status(now) == TokenStatus::Active;
        let tokens = tokens.iter().filter(active).map(Listed::token);
        Ok(Counts {
            keys: keys.filter(&wanted).count() as u64,
            tokens: tokens.filter(&wanted).count() as u64,
            ..Counts::default()
        })
    }

    /// Deletes the keys and tokens of an identity that is being deleted, ended ones included: nobody makes it new ones.
    /// Each under its own locks, so that whoever changes one at this time comes before, or finds none.
    pub(super) async fn delete_proofs_of(
        &self,
        revoker: &Revoker,
        workspace: WorkspaceId,
        id: IdentityId,
    ) -> Result<()> {
        let system = self.tables(WorkspaceId::SYSTEM)?;
        let keys = system.api_keys(&mut self.read()).await?;
        let tokens = system.tokens(&mut self.read()).await?;
        let keys = keys.iter().map(Listed::key);
        let proofs: Vec<_> = keys
            .chain(tokens.iter().map(Listed::token))
            .filter(|listed| listed.identity == id)
            .map(|listed| listed.proof)
            .collect();
        for some in proofs.chunks(DELETED_TOGETHER) {
            let locks: Vec<_> = some.iter().copied().flat_map(locks).collect();
            let mut unit = revoker.begin(self, workspace, &locks).await?;
            let mut deleted = false;
            for proof in some {
                deleted |= unit.delete_proof(id, *proof).await?;
            }
            if deleted {
                unit.commit_access().await?;
            }
        }
        Ok(())
    }
}

fn locks(proof: ProofId) -> [LockKey; 2] {
    let own = match proof {
        ProofId::Key(id) => key::api_key_lock(id),
        ProofId::Token(id) => key::token_lock(id),
    };
    [own, key::usage_lock(proof.as_bytes())]
}

impl Unit<'_> {
    /// Deletes a key or token of this identity; gives back whether it was still there.
    async fn delete_proof(&mut self, holder: IdentityId, proof: ProofId) -> Result<bool> {
        let system = self.engine.tables(WorkspaceId::SYSTEM)?;
        let (name, event, was) = match proof {
            ProofId::Key(id) => {
                let Some(key) = system.api_key(&mut self.txn, id).await? else {
                    return Ok(false);
                };
                system.delete_api_key(&mut self.txn, key.home, id).await?;
                let was = change("name", Some(key.name), None);
                (id.to_string(), EventName::KeyDeleted, was)
            }
            ProofId::Token(id) => {
                let Some(token) = system.token(&mut self.txn, id).await? else {
                    return Ok(false);
                };
                system.delete_token(&mut *self.txn, &token);
                let before = token.status(self.now).as_str().to_owned();
                let was = change("state", Some(before), Some("revoked".to_owned()));
                (id.to_string(), EventName::TokenRevoked, was)
            }
        };
        let object = Object {
            name: Some(name),
            holder: Some(holder),
            ..Object::default()
        };
        self.record(Note {
            changes: vec![was],
            ..Note::new(event, object)
        })?;
        Ok(true)
    }
}
