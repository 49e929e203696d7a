//! How keys and tokens stand, with all that they go back to: what they are shown as is what authentication would say.

use std::collections::HashMap;

use super::Engine;
use crate::{
    domain::{
        error::{Error, Result},
        id::{IdentityId, KeyId, WorkspaceId},
        name::{IdentityName, WorkspaceName},
        principal::{ApiKey, IdentityState, IdentityType, KeyStatus, Reach},
        scope::Role,
        time::Timestamp,
        token::{MAX_GENERATIONS, Parent, Token, TokenStatus},
        workspace::Stop,
    },
    tables::{Read, Tables},
};

/// An identity, as far as keys and tokens look at it.
#[derive(Clone)]
struct Owner {
    kind: IdentityType,
    name: IdentityName,
    role: Role,
    state: IdentityState,
}

/// A key, as far as its tokens look at it.
#[derive(Clone, Copy)]
struct Maker {
    status: KeyStatus,
    tokens_until: Option<Timestamp>,
}

/// How keys and tokens stand at one instant; what they have in common is read once.
pub(super) struct Standings<'a> {
    engine: &'a Engine,
    system: Tables,
    now: Timestamp,
    owners: HashMap<(WorkspaceId, IdentityId), Option<Owner>>,
    workspaces: HashMap<WorkspaceId, Option<(WorkspaceName, Option<Stop>)>>,
    makers: HashMap<KeyId, Option<Maker>>,
}

impl<'a> Standings<'a> {
    pub(super) fn new(engine: &'a Engine, now: Timestamp) -> Result<Self> {
        Ok(Self {
            engine,
            system: engine.tables(WorkspaceId::SYSTEM)?,
            now,
            owners: HashMap::new(),
            workspaces: HashMap::new(),
            makers: HashMap::new(),
        })
    }

    async fn owner(
        &mut self,
        read: &mut impl Read,
        home: WorkspaceId,
        id: IdentityId,
    ) -> Result<Option<Owner>> {
        if let Some(known) = self.owners.get(&(home, id)) {
            return Ok(known.clone());
        }
        let found = self.engine.tables(home)?.identity(read, id).await?;
        let owner = found.map(|identity| Owner {
            kind: identity.kind,
            name: identity.name,
            role: identity.role,
            state: identity.state,
        });
        self.owners.insert((home, id), owner.clone());
        Ok(owner)
    }

    /// Type and name of an identity, while it exists.
    pub(super) async fn holder(
        &mut self,
        read: &mut impl Read,
        home: WorkspaceId,
        id: IdentityId,
    ) -> Result<Option<(IdentityType, IdentityName)>> {
        let owner = self.owner(read, home, id).await?;
        Ok(owner.map(|owner| (owner.kind, owner.name)))
    }

    async fn workspace(
        &mut self,
        read: &mut impl Read,
        id: WorkspaceId,
    ) -> Result<Option<(WorkspaceName, Option<Stop>)>> {
        if let Some(known) = self.workspaces.get(&id) {
            return Ok(known.clone());
        }
        let found = self.system.workspace(read, id).await?;
        let found = found.map(|workspace| (workspace.name, workspace.stop));
        self.workspaces.insert(id, found.clone());
        Ok(found)
    }

    /// The name of a workspace, while it exists.
    pub(super) async fn workspace_name(
        &mut self,
        read: &mut impl Read,
        id: WorkspaceId,
    ) -> Result<Option<WorkspaceName>> {
        Ok(self.workspace(read, id).await?.map(|(name, _)| name))
    }

    /// The stops of the workspace that something belongs to, and of the one that it reaches.
    async fn stops(
        &mut self,
        read: &mut impl Read,
        home: WorkspaceId,
        reach: Reach,
    ) -> Result<Vec<Stop>> {
        let reached = match reach {
            Reach::Workspace(id) if id != home => Some(id),
            Reach::Workspace(_) | Reach::Organisation => None,
        };
        let mut stops = Vec::new();
        for id in [Some(home), reached].into_iter().flatten() {
            let found = self.workspace(read, id).await?;
            stops.extend(found.and_then(|(_, stop)| stop));
        }
        Ok(stops)
    }

    /// How a key stands.
    pub(super) async fn key(&mut self, read: &mut impl Read, key: &ApiKey) -> Result<KeyStatus> {
        let stops = self.stops(read, key.home, key.reach).await?;
        let owner = self.owner(read, key.home, key.identity).await?;
        let identity = owner.as_ref().map(|owner| (owner.role, &owner.state));
        Ok(key.standing(identity, &stops, self.now))
    }

    async fn maker(&mut self, read: &mut impl Read, id: KeyId) -> Result<Option<Maker>> {
        if let Some(known) = self.makers.get(&id) {
            return Ok(*known);
        }
        let maker = match self.system.api_key(read, id).await? {
            None => None,
            Some(key) => Some(Maker {
                status: self.key(read, &key).await?,
                tokens_until: key.tokens_until,
            }),
        };
        self.makers.insert(id, maker);
        Ok(maker)
    }

    /// How a token stands.
    pub(super) async fn token(
        &mut self,
        read: &mut impl Read,
        token: &Token,
    ) -> Result<TokenStatus> {
        let own = token.status(self.now);
        if own != TokenStatus::Active {
            return Ok(own);
        }
        let stops = self.stops(read, token.home, token.reach).await?;
        let owner = self.owner(read, token.home, token.identity).await?;
        if token.is_stopped(owner.map(|owner| owner.role), &stops) {
            return Ok(TokenStatus::Revoked);
        }
        let (mut parent, mut made_at) = (token.parent, token.created_at);
        for _ in 0..=MAX_GENERATIONS {
            match parent {
                Parent::Token(id) => match self.system.token(read, id).await? {
                    Some(maker) if maker.status(self.now) == TokenStatus::Active => {
                        (parent, made_at) = (maker.parent, maker.created_at);
                    }
                    _ => return Ok(TokenStatus::Revoked),
                },
                Parent::Key(id) => {
                    let maker = self.maker(read, id).await?;
                    return Ok(match maker {
                        Some(maker) if maker.tokens_until.is_none_or(|until| made_at > until) => {
                            maker.status.of_tokens()
                        }
                        _ => TokenStatus::Revoked,
                    });
                }
                Parent::Issuer(id, level) => {
                    let issuer = self.engine.tables(level)?.issuer(read, id).await?;
                    let home = self.engine.tables(token.home)?;
                    let identity = home.identity(read, token.identity).await?;
                    return Ok(match issuer.zip(identity) {
                        Some((issuer, identity))
                            if identity.is_active()
                                && issuer.check_stands_for(&identity).is_ok() =>
                        {
                            TokenStatus::Active
                        }
                        Some(_) => TokenStatus::Suspended,
                        None => TokenStatus::Revoked,
                    });
                }
            }
        }
        Err(Error::internal("a token has more ancestors than it may"))
    }
}
