//! A role that rises to one of the organisation: what was stopped of its identity stays so.
//!
//! A stop by whoever reaches one workspace leaves what reaches all, and ends the rest for good. The identity's role tells
//! the two apart: a later role of the organisation would bring back what was ended. INVARIANT (stop-is-complete).

use super::{Call, Engine, Note, Unit, credential::change, keys, token};
use crate::{
    domain::{
        error::{Error, Result},
        event::EventName,
        id::{IdentityId, WorkspaceId},
        name::IdentityName,
        principal::{Identity, IdentityType, ProofId, Reach},
        scope::Role,
        token::Token,
    },
    store::{key, port::LockKey},
    tables::Read,
};

impl Engine {
    /// What to hold while an identity is given this role, besides its name: its workspace, whose stops count, and what
    /// they ended. Nothing where the role is one of a workspace.
    pub(super) async fn locks_to_raise(
        &self,
        call: &Call,
        kind: IdentityType,
        name: &IdentityName,
        role: Option<Role>,
    ) -> Result<Vec<LockKey>> {
        // Who may not give it is refused in the end, and reads nothing here.
        if role.is_none_or(|role| call.principal.check_gives(role).is_err()) {
            return Ok(Vec::new());
        }
        let home = call.principal.workspace;
        let tables = self.tables(home)?;
        let mut read = self.read();
        let identity = match tables.identity_id(&mut read, kind, name).await? {
            Some(id) => tables.identity(&mut read, id).await?,
            None => None,
        };
        let Some(identity) = identity.filter(|identity| rises(identity, role)) else {
            return Ok(Vec::new());
        };
        let stopped = self.stopped_by_role(&mut read, home, &identity).await?;
        let own = stopped.into_iter().map(|proof| match proof {
            ProofId::Key(id) => key::api_key_lock(id),
            ProofId::Token(id) => key::token_lock(id),
        });
        let workspace = self.workspace_lock(&call.principal.workspace_name)?;
        Ok(own.chain([workspace]).collect())
    }

    /// The keys and tokens of an identity that say that they reach every workspace, and that a stop of its own ended,
    /// since its role does not.
    async fn stopped_by_role(
        &self,
        read: &mut impl Read,
        home: WorkspaceId,
        identity: &Identity,
    ) -> Result<Vec<ProofId>> {
        let system = self.tables(WorkspaceId::SYSTEM)?;
        let workspace = system.workspace(read, home).await?;
        let Some(stop) = workspace.and_then(|workspace| workspace.stop) else {
            return Ok(Vec::new());
        };
        let ended = |proof, of: IdentityId, reach, created_at| {
            let own = of == identity.id && reach == Reach::Organisation;
            (own && stop.covers(proof, false, created_at)).then_some(proof)
        };
        let mut stopped = Vec::new();
        for id in system.api_keys_of(read, home).await? {
            if let Some(key) = system.api_key(read, id).await? {
                let proof = ProofId::Key(id);
                stopped.extend(ended(proof, key.identity, key.reach, key.created_at));
            }
        }
        for token in system.tokens(read).await? {
            let proof = ProofId::Token(token.id);
            stopped.extend(ended(proof, token.identity, token.reach, token.created_at));
        }
        Ok(stopped)
    }
}

/// Whether the identity's role is one of a workspace, and this one of the organisation.
pub(super) fn rises(identity: &Identity, role: Option<Role>) -> bool {
    !identity.role.is_organisational() && role.is_some_and(Role::is_organisational)
}

impl Unit<'_> {
    /// Keeps at home, where the stop goes on to cover them, the keys that a stop ended for their identity's role, and
    /// revokes such tokens, which it gives back. The unit holds [`Engine::locks_to_raise`].
    ///
    /// # Errors
    /// Where a stop, or a lower role, came between the choice of those locks and this: the caller tries again.
    pub(super) async fn keep_stopped(
        &mut self,
        call: &Call,
        identity: &Identity,
        locks: &[LockKey],
    ) -> Result<Vec<Token>> {
        let (engine, home) = (self.engine, self.tables.workspace);
        let system = engine.tables(WorkspaceId::SYSTEM)?;
        let held = |lock: LockKey| match locks.contains(&lock) {
            true => Ok(()),
            false => Err(Error::state(
                "the identity or its workspace was changed meanwhile; try again",
            )),
        };
        // Without it a stop could come after the look at it, and be undone by the role.
        held(engine.workspace_lock(&call.principal.workspace_name)?)?;
        let mut ended = Vec::new();
        let stopped = engine.stopped_by_role(&mut self.txn, home, identity);
        for proof in stopped.await? {
            match proof {
                ProofId::Key(id) => {
                    held(key::api_key_lock(id))?;
                    let Some(mut key) = system.api_key(&mut self.txn, id).await? else {
                        continue;
                    };
                    key.reach = Reach::Workspace(home);
                    key.updated_at = self.now;
                    system.put_api_key(&mut *self.txn, &key)?;
                    let to = home.to_string();
                    self.record(Note {
                        changes: vec![change("workspace", Some("*"), Some(&to))],
                        ..Note::new(EventName::KeyUpdated, keys::object(&key))
                    })?;
                }
                ProofId::Token(id) => {
                    held(key::token_lock(id))?;
                    let Some(mut one) = system.token(&mut self.txn, id).await? else {
                        continue;
                    };
                    let before = one.status(self.now).as_str();
                    if !one.revoke(self.now) {
                        continue;
                    }
                    system.put_token(&mut *self.txn, &one)?;
                    let after = one.status(self.now).as_str();
                    self.record(Note {
                        changes: vec![change("state", Some(before), Some(after))],
                        ..Note::new(EventName::TokenRevoked, token::object(&one))
                    })?;
                    ended.push(one);
                }
            }
        }
        Ok(ended)
    }
}
