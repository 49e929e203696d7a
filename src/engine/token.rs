//! Making access tokens. A token belongs to the identity of its maker, in one
//! workspace or in all, and holds no scope and no time that its maker lacks.

mod held;

pub(super) use self::held::HeldTokens;
use super::{
    Call, Engine, Note, Unit,
    idempotency::{Answer, Slot},
};
use crate::{
    authz::{Action, Denial, Refusal, Resource},
    crypto::token::{AUDIENCE, TokenClaims},
    domain::{
        error::{Error, Result},
        event::{Change, EventName, Object},
        id::{TokenId, WorkspaceId},
        name::{MAX_NAME_BYTES, WorkspaceName, check_text},
        principal::{Principal, ProofId, Reach},
        scope::{Scope, ScopeSet},
        secret::SecretText,
        time::{Timestamp, Ttl},
        token::{
            DEFAULT_TTL, MAX_GENERATIONS, Parent, Token, TokenState, TokenStatus, check_ttl, expiry,
        },
    },
};

/// The `iss` of tokens where the configuration names no public address.
pub const DEFAULT_ISSUER: &str = "leasehold";
/// How a token's claim and its maker say "every workspace".
const EVERY_WORKSPACE: &str = "*";
/// Where a token is to be of use.
#[derive(Debug, Clone)]
pub enum TokenWorkspace {
    Named(WorkspaceName),
    /// In any workspace of the organisation.
    Every,
}

impl TokenWorkspace {
    /// Reads a workspace's name, or `*` for all; `field` names the parameter in the error.
    pub fn parse(text: &str, field: &str) -> Result<Self> {
        match text {
            EVERY_WORKSPACE => Ok(Self::Every),
            name => WorkspaceName::parse(name, field).map(Self::Named),
        }
    }
}

/// A token to make for the caller.
#[derive(Debug)]
pub struct CreateToken {
    pub name: Option<String>,
    /// An hour where absent.
    pub expires_in: Option<Ttl>,
    /// All that the caller holds where absent.
    pub scopes: Option<ScopeSet>,
    /// The one that the request acts in where absent.
    pub workspace: Option<TokenWorkspace>,
}

/// A token as it is shown.
#[derive(Debug, Clone)]
pub struct TokenView {
    pub token: Token,
    pub status: TokenStatus,
    /// The name of the workspace where it is of use, or `*`.
    pub workspace: String,
}

/// A token that was made, with its text, which is shown once.
pub struct IssuedToken {
    pub view: TokenView,
    pub text: SecretText,
    /// Whether it ends sooner than asked, with what made it.
    pub ttl_capped: bool,
}

/// What of a token its maker's proof determines.
struct Maker {
    home: WorkspaceId,
    parent: Parent,
    generation: u8,
    ends: Option<Timestamp>,
}

/// The token as an object of history.
pub(super) fn object(token: &Token) -> Object {
    Object {
        name: Some(token.id.to_string()),
        holder: Some(token.identity),
        holder_name: Some(token.identity_name.clone()),
        ..Object::default()
    }
}

/// What history tells of a new token.
pub(super) fn facts(token: &Token, workspace: &str) -> Vec<Change> {
    let fact = |field: &str, after: String| Change {
        field: field.into(),
        before: None,
        after: Some(after.into()),
    };
    let scopes: Vec<_> = token.scopes.iter().map(Scope::as_str).collect();
    vec![
        fact("scopes", scopes.join(" ")),
        fact("workspace", workspace.to_owned()),
        fact("expires_at", token.expires_at.to_string()),
    ]
}

impl Engine {
    /// Makes a token for the caller's own identity.
    pub async fn create_token(&self, call: Call, command: CreateToken) -> Result<IssuedToken> {
        let ttl = check_ttl(command.expires_in.unwrap_or(DEFAULT_TTL), "expires_in")?;
        if let Some(name) = &command.name {
            check_text(name, "name", MAX_NAME_BYTES)?;
            if name.is_empty() {
                return Err(Error::invalid("name", "`name` is empty"));
            }
        }
        let (call, reach) = self.aimed(call, command.workspace).await?;
        let principal = &call.principal;
        let permit = self
            .authorize(&call, Action::TokenCreate, Resource::Workspace)
            .await?;
        let scopes = command.scopes.unwrap_or(principal.scopes);
        if scopes.is_empty() {
            return Err(Error::invalid("scopes", "`scopes` names no scope"));
        }
        if let Some(missing) = scopes.difference(principal.scopes).iter().next() {
            let denial = Denial {
                action: Action::TokenCreate,
                resource: Resource::Workspace,
                policies: vec![permit.decided_by().to_owned()],
                refusal: Refusal::Scope {
                    missing: Some(missing),
                    why: "a token never holds a scope that its creator lacks",
                },
            };
            return Err(self.deny(&call, Box::new(denial)).await?);
        }
        let maker = self.maker(principal).await?;
        let slot = Slot::of(self, &call, "token:create")?;
        let locks: Vec<_> = slot.lock().into_iter().collect();
        let mut unit = self.begin(&call, &permit, &locks).await?;
        match slot.first(&mut unit).await? {
            Some(Answer::Token(token)) => {
                drop(unit);
                slot.durable(self, principal.workspace).await?;
                return self.token_again(&call, &token, ttl).await;
            }
            Some(_) => return Err(Error::internal("a first answer of another operation")),
            None => {}
        }
        let token = Token {
            id: TokenId::new(unit.now, &self.keyring.entropy().bytes()?),
            name: command.name,
            home: maker.home,
            identity: principal.identity,
            identity_name: principal.name.clone(),
            identity_kind: principal.kind,
            parent: maker.parent,
            generation: maker.generation,
            scopes,
            reach,
            state: TokenState::Active,
            signed_by: unit.signing_key().await?,
            created_at: unit.now,
            expires_at: expiry(unit.now, ttl, maker.ends),
        };
        token.check(unit.now)?;
        let issued = self.issued(&call, token.clone(), ttl)?;
        if let Err(full) = self.take_token_place(&token).await {
            drop(unit);
            let of = Object {
                holder: Some(token.identity),
                holder_name: Some(token.identity_name),
                ..Object::default()
            };
            return self
                .recorded(&call, EventName::DirectoryRefused, of, Err(full))
                .await;
        }
        unit.put_new_token(&token)?;
        unit.record(Note {
            changes: facts(&token, &issued.view.workspace),
            ..Note::new(EventName::TokenCreated, object(&token))
        })?;
        slot.keep(&mut unit, || Answer::Token(Box::new(token.clone())))?;
        if let Err(error) = unit.commit().await {
            self.give_back_token_place(&token);
            return Err(error);
        }
        Ok(issued)
    }

    /// The call in the workspace that a token is wanted for, and how far that token reaches.
    async fn aimed(&self, mut call: Call, wanted: Option<TokenWorkspace>) -> Result<(Call, Reach)> {
        let unknown = || Error::not_found("workspace");
        let principal = &mut call.principal;
        match wanted {
            Some(TokenWorkspace::Every) if principal.organisation => {
                return Ok((call, Reach::Organisation));
            }
            // To whoever reaches one workspace, there are no others.
            Some(TokenWorkspace::Every) => return Err(unknown()),
            Some(TokenWorkspace::Named(name)) if name != principal.workspace_name => {
                let found = match principal.organisation {
                    true => self.find_workspace(&name).await?,
                    false => None,
                };
                principal.workspace = found.ok_or_else(unknown)?;
                principal.workspace_name = name;
            }
            Some(TokenWorkspace::Named(_)) | None => {}
        }
        let reach = Reach::Workspace(call.principal.workspace);
        Ok((call, reach))
    }

    /// What the proof of a token's maker says of the token.
    async fn maker(&self, principal: &Principal) -> Result<Maker> {
        let system = self.tables(WorkspaceId::SYSTEM)?;
        let read = &mut self.read();
        // Gone since it proved the caller.
        let gone = || Error::state("what proves the caller has ended");
        match principal.proof {
            ProofId::Key(id) => {
                let key = system.api_key(read, id).await?.ok_or_else(gone)?;
                Ok(Maker {
                    home: key.home,
                    parent: Parent::Key(id),
                    generation: 0,
                    // INVARIANT (offspring): an old value in its grace makes nothing that outlives it.
                    ends: [key.expires_at, principal.value_until]
                        .into_iter()
                        .flatten()
                        .min(),
                })
            }
            ProofId::Token(id) => {
                let token = system.token(read, id).await?.ok_or_else(gone)?;
                if token.generation >= MAX_GENERATIONS {
                    return Err(Error::state(format!(
                        "the token has {MAX_GENERATIONS} tokens above it; make the new one with one of those"
                    )));
                }
                Ok(Maker {
                    home: token.home,
                    parent: Parent::Token(id),
                    generation: token.generation.saturating_add(1),
                    ends: Some(token.expires_at),
                })
            }
        }
    }

    /// The answer to a retry: the same token, while it is of use.
    async fn token_again(&self, call: &Call, token: &Token, ttl: Ttl) -> Result<IssuedToken> {
        let system = self.tables(WorkspaceId::SYSTEM)?;
        let token = system.token(&mut self.read(), token.id).await?;
        let token = token.filter(|token| token.status(self.now()) == TokenStatus::Active);
        let over = || Error::state("the token that this request made has ended");
        self.issued(call, token.ok_or_else(over)?, ttl)
    }

    fn issued(&self, call: &Call, token: Token, ttl: Ttl) -> Result<IssuedToken> {
        let uncapped = expiry(token.created_at, ttl, None);
        let view = self.token_view(call, token);
        Ok(IssuedToken {
            ttl_capped: view.token.expires_at < uncapped,
            text: self.token_text(&view)?,
            view,
        })
    }

    /// A token of the workspace that the call acts in, or of all; as it stands by itself.
    pub(super) fn token_view(&self, call: &Call, token: Token) -> TokenView {
        TokenView {
            status: token.status(self.now()),
            workspace: match token.reach {
                Reach::Workspace(_) => call.principal.workspace_name.to_string(),
                Reach::Organisation => EVERY_WORKSPACE.to_owned(),
            },
            token,
        }
    }

    /// The token as its holder presents it. Equal each time: what it claims follows from its record.
    pub(super) fn token_text(&self, view: &TokenView) -> Result<SecretText> {
        let token = &view.token;
        let scopes = token.scopes.iter().map(|scope| scope.as_str().to_owned());
        let claims = TokenClaims {
            iss: self.token_issuer.clone(),
            aud: AUDIENCE.to_owned(),
            sub: token.identity.to_string(),
            workspace: view.workspace.clone(),
            scopes: scopes.collect(),
            iat: token.created_at.as_millis() / 1000,
            exp: token.expires_at.as_millis() / 1000,
            jti: token.id.to_string(),
        };
        self.keyring.sign_token(token.signed_by, &claims)
    }
}

impl Unit<'_> {
    /// The number of the key that signs now.
    pub(super) async fn signing_key(&mut self) -> Result<u32> {
        let system = self.engine.tables(WorkspaceId::SYSTEM)?;
        let ring = system.signing_keys(&mut self.txn).await?;
        let ring = ring.ok_or_else(|| Error::internal("there is no signing key"))?;
        ring.current().map(|key| key.number)
    }

    pub(super) fn put_new_token(&mut self, token: &Token) -> Result<()> {
        let system = self.engine.tables(WorkspaceId::SYSTEM)?;
        system.put_token(&mut *self.txn, token)
    }
}
