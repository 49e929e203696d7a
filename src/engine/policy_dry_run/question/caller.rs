//! Who asked: the caller of a record, as it is known now.

use std::sync::Arc;

use super::Recall;
use crate::domain::{
    error::Result,
    event::Actor,
    id::WorkspaceId,
    principal::{Principal, ProofId, Reach, Roles},
    scope::Role,
    token::{MAX_GENERATIONS, Parent},
};

impl Recall<'_> {
    /// The caller with the rights that its key has now; where the key is gone, with those of its identity's role.
    pub(super) async fn principal(&mut self, actor: &Actor) -> Result<Option<Principal>> {
        let Actor::Identity {
            identity,
            name,
            kind,
            proof,
        } = actor
        else {
            return Ok(None);
        };
        if let Some(known) = self.principals.get(proof) {
            return Ok(known.clone());
        }
        let read = &mut self.engine.read();
        let system = self.engine.tables(WorkspaceId::SYSTEM)?;
        let held = match proof {
            ProofId::Key(id) => {
                let key = system.api_key(read, *id).await?;
                key.map(|key| (key.home, key.scopes, key.reach))
            }
            ProofId::Token(id) => {
                let token = system.token(read, *id).await?;
                token.map(|token| (token.home, token.scopes, token.reach))
            }
        };
        let home = held.map_or(self.asker.workspace, |(home, ..)| home);
        let found = self.engine.tables(home)?.identity(read, *identity).await?;
        let key_role = self.key_role(*proof).await?;
        let principal = found.map(|found| {
            let given = found.role.scopes();
            let scopes = held.map_or(given, |(_, scopes, _)| scopes.intersection(given));
            let everywhere = held.is_some_and(|(.., reach)| reach == Reach::Organisation);
            let organisation = everywhere && found.role.is_organisational();
            let role = Some(found.role).filter(|_| scopes == given);
            let roles = Roles::of(found.role, key_role);
            (role, roles, scopes, organisation, found.labels)
        });
        let principal = principal.map(|(role, roles, scopes, organisation, labels)| Principal {
            workspace: self.asker.workspace,
            workspace_name: self.asker.workspace_name.clone(),
            identity: *identity,
            name: name.clone(),
            kind: *kind,
            proof: *proof,
            root: *proof,
            value_until: None,
            labels: Arc::new(labels),
            proof_name: String::new(),
            role,
            roles,
            scopes,
            organisation,
            rate_limit: self.asker.rate_limit,
        });
        self.principals.insert(*proof, principal.clone());
        Ok(principal)
    }

    /// The role of the key that a proof is, or goes back to; none where it has none, or is gone.
    async fn key_role(&self, mut proof: ProofId) -> Result<Option<Role>> {
        let read = &mut self.engine.read();
        let system = self.engine.tables(WorkspaceId::SYSTEM)?;
        for _ in 0..=MAX_GENERATIONS + 1 {
            match proof {
                ProofId::Key(id) => {
                    let key = system.api_key(read, id).await?;
                    return Ok(key.and_then(|key| key.role));
                }
                ProofId::Token(id) => match system.token(read, id).await?.map(|of| of.parent) {
                    Some(Parent::Key(id)) => proof = ProofId::Key(id),
                    Some(Parent::Token(id)) => proof = ProofId::Token(id),
                    Some(Parent::Issuer(..)) | None => return Ok(None),
                },
            }
        }
        Ok(None)
    }
}
