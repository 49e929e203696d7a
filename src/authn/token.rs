//! Access tokens. A signature is verified once; its token is remembered by a digest of the whole text, and proven
//! anew by it, while nothing changes. What a token may do is what its record says, within what the key or the
//! tokens that made it may do at that moment.

use std::sync::{Arc, PoisonError};

use super::{Authenticator, Place, Refusal, unauthorized};
use crate::{
    crypto::token::{self, TokenDigest, TokenKey},
    domain::{
        error::{Code, Error, Result},
        id::TokenId,
        issuer::Issuer,
        principal::{Identity, Principal, ProofId, RateLimit, Reach, Roles},
        time::Timestamp,
        token::{MAX_GENERATIONS, Parent, Token, TokenStatus, expired},
    },
    tables::Tables,
};

/// A token that was verified, with what its use needs, as read at a generation.
pub(super) struct KnownToken {
    generation: u64,
    digest: TokenDigest,
    token: Token,
    /// The tokens that made it, the one before it first.
    ancestors: Vec<Token>,
    place: Place,
    /// For whom an assertion was exchanged, where one was; none where either is gone.
    federated: Option<(Issuer, Identity)>,
}

/// The keys that verify, as read at a generation.
pub(super) struct KnownRing {
    generation: u64,
    keys: Vec<TokenKey>,
}

/// The public half of a signing key, for whoever else verifies tokens.
pub struct PublicKey {
    pub kid: String,
    /// The Ed25519 key in base64url.
    pub x: String,
}

impl Authenticator {
    /// Every key that a token in use may be signed with. Anyone may know them.
    pub async fn public_keys(&self, now: Timestamp) -> Result<Vec<PublicKey>> {
        let ring = self.ring(self.generation.now(), now).await?;
        let public = |key: &TokenKey| PublicKey {
            kid: key.kid.clone(),
            x: key.x.clone(),
        };
        Ok(ring.keys.iter().map(public).collect())
    }

    /// The principal that an access token proves.
    pub(super) async fn by_token(
        &self,
        presented: &str,
        workspace: Option<&str>,
        now: Timestamp,
    ) -> Result<Principal, Refusal> {
        if presented.len() > token::MAX_TOKEN_BYTES {
            return Err(unknown().into());
        }
        let digest = self.keyring.token_digest(presented);
        let remembered = self.tokens.get(&digest.hint());
        let generation = self.generation.now();
        let known = match remembered {
            Some(known) if known.generation == generation && known.digest.proves(&digest) => known,
            _ => self.verified(presented, digest, generation, now).await?,
        };
        self.admit_token(&known, workspace, now)
            .await
            .map_err(|error| Refusal {
                error,
                proven: Some((ProofId::Token(known.token.id), known.token.listed_in())),
            })
    }

    /// Verifies a token and reads what its use needs; `generation` was read before.
    async fn verified(
        &self,
        presented: &str,
        digest: TokenDigest,
        generation: u64,
        now: Timestamp,
    ) -> Result<Arc<KnownToken>> {
        let ring = self.ring(generation, now).await?;
        let claims = token::verify(presented, &ring.keys, &self.issuer).ok_or_else(unknown)?;
        let id = TokenId::parse(&claims.jti).ok_or_else(unknown)?;
        let read = &mut &*self.store;
        let Some(token) = self.system.token(read, id).await? else {
            // Its signature is ours, and its record goes when its time is over.
            let end = Timestamp::from_millis(claims.exp.saturating_mul(1000));
            return Err(if now >= end { expired(end) } else { unknown() });
        };
        let exp = Timestamp::from_millis(claims.exp.saturating_mul(1000));
        if claims.sub != token.identity.to_string() || exp != token.expires_at {
            return Err(unknown());
        }
        let mut ancestors: Vec<Token> = Vec::new();
        let mut parent = token.parent;
        while let Parent::Token(id) = parent {
            if ancestors.len() >= usize::from(MAX_GENERATIONS) {
                return Err(Error::internal("a token has more ancestors than it may"));
            }
            let ancestor = self.system.token(read, id).await?;
            let ancestor = ancestor.ok_or_else(|| orphaned("token"))?;
            parent = ancestor.parent;
            ancestors.push(ancestor);
        }
        let federated = match parent {
            Parent::Issuer(id, level) => {
                let issuer = Tables::of(&self.keyring, level)?.issuer(read, id).await?;
                let home = Tables::of(&self.keyring, token.home)?;
                issuer.zip(home.identity(read, token.identity).await?)
            }
            Parent::Key(_) | Parent::Token(_) => None,
        };
        let known = Arc::new(KnownToken {
            generation,
            place: self.place(token.home, token.reach).await?,
            digest,
            token,
            ancestors,
            federated,
        });
        self.tokens.insert(digest.hint(), known.clone());
        Ok(known)
    }

    /// The keys that verify at `now`.
    async fn ring(&self, generation: u64, now: Timestamp) -> Result<Arc<KnownRing>> {
        let remembered = self
            .ring
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(ring) = remembered.filter(|ring| ring.generation == generation) {
            return Ok(ring);
        }
        let numbers = self.system.signing_keys(&mut &*self.store).await?;
        let keys = match &numbers {
            Some(numbers) => numbers
                .verifying(now)
                .map(|key| self.keyring.token_key(key.number))
                .collect::<Result<_>>()?,
            None => Vec::new(),
        };
        let ring = Arc::new(KnownRing { generation, keys });
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = Some(ring.clone());
        Ok(ring)
    }

    /// What a proven token may do now. INVARIANT (offspring): it may do nothing that what made it may not do, and
    /// nothing once that is gone.
    async fn admit_token(
        &self,
        known: &KnownToken,
        workspace: Option<&str>,
        now: Timestamp,
    ) -> Result<Principal> {
        let token = &known.token;
        token.check(now)?;
        let proof = ProofId::Token(token.id);
        let stopped = |role| match token.is_stopped(role, &known.place.stops) {
            true => Err(unauthorized(
                "the access token was revoked with all others of its workspace",
            )),
            false => Ok(()),
        };
        stopped(None)?;
        let mut scopes = token.scopes;
        let (mut origin, mut made_at) = (token.parent, token.created_at);
        for ancestor in &known.ancestors {
            if ancestor.status(now) != TokenStatus::Active {
                return Err(orphaned("token"));
            }
            scopes = scopes.intersection(ancestor.scopes);
            (origin, made_at) = (ancestor.parent, ancestor.created_at);
        }
        let maker = match origin {
            Parent::Key(id) => {
                let key = self.known(id).await?.ok_or_else(|| orphaned("API key"))?;
                if key.key.tokens_until.is_some_and(|until| made_at <= until) {
                    return Err(unauthorized(
                        "the access token ended with the value of the API key that made it",
                    ));
                }
                self.admit(&key, None, now).await?
            }
            Parent::Token(_) | Parent::Issuer(..) => federated(known)?,
        };
        // It may reach less by now than it was made to.
        stopped(Some(maker.roles.identity))?;
        let scopes = scopes.intersection(maker.scopes);
        let reach = reach_now(token.reach, &maker)?;
        let (chosen, chosen_name) = match workspace {
            Some(name) => {
                let named = self.named_workspace(reach, name).await?;
                (named.id, named.name)
            }
            None if !maker.organisation => (maker.workspace, maker.workspace_name.clone()),
            None => {
                let own = known.place.workspace.as_ref();
                let own = own.ok_or_else(|| Error::not_found("workspace"))?;
                (own.id, own.name.clone())
            }
        };
        Ok(Principal {
            workspace: chosen,
            workspace_name: chosen_name,
            proof,
            proof_name: token.name.clone().unwrap_or_else(|| token.id.to_string()),
            // A token that holds less than its maker's role is shown by its scopes alone; `roles` stay.
            role: maker.role.filter(|_| scopes == maker.scopes),
            scopes,
            organisation: reach == Reach::Organisation,
            ..maker
        })
    }
}

/// Where a token may be used: nowhere that what made it may not be used any more.
fn reach_now(reach: Reach, maker: &Principal) -> Result<Reach> {
    match reach {
        _ if maker.organisation => Ok(reach),
        Reach::Organisation => Ok(Reach::Workspace(maker.workspace)),
        Reach::Workspace(id) if id == maker.workspace => Ok(reach),
        Reach::Workspace(_) => Err(unauthorized(
            "what made the access token reaches its workspace no more",
        )),
    }
}

/// What the identity of an assertion may do now, as far as its issuer lets it.
fn federated(known: &KnownToken) -> Result<Principal> {
    let (issuer, identity) = known
        .federated
        .as_ref()
        .ok_or_else(|| orphaned("issuer or identity"))?;
    if !identity.is_active() {
        return Err(Error::new(
            Code::IdentitySuspended,
            "the access token's identity is suspended",
        ));
    }
    // Its role, or the issuer's, may be another by now.
    if issuer.check_stands_for(identity).is_err() {
        return Err(unauthorized(
            "the access token's issuer does not stand for an identity of that role",
        ));
    }
    let own = known
        .place
        .workspace
        .as_ref()
        .ok_or_else(|| Error::not_found("workspace"))?;
    let root = known.ancestors.last().unwrap_or(&known.token);
    let ceiling = issuer.rules.identity.ceiling();
    Ok(Principal {
        workspace: own.id,
        workspace_name: own.name.clone(),
        identity: identity.id,
        name: identity.name.clone(),
        kind: identity.kind,
        proof: ProofId::Token(root.id),
        root: ProofId::Token(root.id),
        value_until: None,
        proof_name: issuer.name.to_string(),
        role: None,
        roles: Roles::of(identity.role, None),
        labels: Arc::new(identity.labels.clone()),
        scopes: ceiling.intersection(identity.role.scopes()),
        organisation: false,
        rate_limit: RateLimit::Default,
    })
}

fn unknown() -> Error {
    unauthorized("the access token is not valid")
}

fn orphaned(maker: &str) -> Error {
    Error::new(
        Code::Unauthorized,
        format!("the {maker} that made the access token is gone"),
    )
}
