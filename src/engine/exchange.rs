//! Federation: an assertion of a registered issuer is exchanged for a short access token. Whoever asks is nobody
//! yet, so before a signature is proven an answer tells nothing but whether the issuer is known.

use super::{
    Engine, IssuedToken, Note, TokenView, Unit,
    issuer_keys::FetchKeys,
    token::{facts, object},
};
use crate::{
    authn::DEFAULT_WORKSPACE,
    crypto::assertion::{self, KeySet, Unproven},
    domain::{
        error::{Code, Error, Result},
        event::{Actor, Change, EventName, Object, Origin, Outcome},
        id::{IdentityId, IssuerId, TokenId, WorkspaceId},
        issuer::{Accepted, Issuer, IssuerKeys, assertion_expired},
        name::{Metadata, WorkspaceName},
        principal::{Identity, IdentityState, ProofId, Reach},
        secret::SecretText,
        token::{Parent, Token, TokenState, expiry},
    },
    store::key,
};
use std::sync::Arc;

/// Taken assertions that are forgotten in one run of the housekeeping.
const FORGET_AT_ONCE: usize = 1_000;

/// An assertion to exchange.
pub struct Exchange {
    /// The issuer's id or name; found by the assertion's `iss` where absent.
    pub issuer: Option<String>,
    pub token: SecretText,
    /// The workspace whose identity it is to stand for; `default` where absent.
    pub workspace: Option<WorkspaceName>,
}

/// The issuer that a refused assertion named, as far as it is known.
type Met = Option<IssuerId>;

impl Engine {
    /// The engine with a way to fetch the keys of issuers.
    #[must_use]
    pub fn fetching_keys_with(mut self, source: Arc<dyn FetchKeys>) -> Self {
        self.issuer_keys = super::issuer_keys::IssuerKeyCache::over(source);
        self
    }

    /// Exchanges an assertion for an access token of the identity that it stands for.
    pub async fn exchange(&self, origin: Origin, command: Exchange) -> Result<IssuedToken> {
        let text = command.token.expose();
        let unproven = assertion::read(text)
            .ok_or_else(|| Error::invalid("token", "`token` is not a signed JWT with an `iss`"))?;
        let name = match command.workspace.clone() {
            Some(name) => name,
            None => WorkspaceName::parse(DEFAULT_WORKSPACE, "workspace")?,
        };
        let workspace = self.find_workspace(&name).await?;
        let mut met = None;
        let issued = match workspace {
            Some(id) => {
                self.exchange_in((id, &name), &origin, &command, &unproven, &mut met)
                    .await
            }
            None => Err(unknown_issuer()),
        };
        if let Err(error) = &issued
            && is_refusal(error.code())
        {
            metrics::counter!("leasehold_authentication_failures_total", "code" => error.code().as_str())
                .increment(1);
            let home = workspace.unwrap_or(WorkspaceId::SYSTEM);
            self.record_exchange_refusal(home, origin, met, error)
                .await?;
        }
        issued
    }

    async fn record_exchange_refusal(
        &self,
        workspace: WorkspaceId,
        origin: Origin,
        met: Met,
        error: &Error,
    ) -> Result<()> {
        let object = Object {
            name: met.map(|id| id.to_string()),
            ..Object::default()
        };
        let note = Note {
            reason: Some(error.message().to_owned()),
            ..Note::new(EventName::AuthRefused, object)
        };
        let actor = Actor::vault("federation");
        let mut record = self.record(workspace, actor, Some(origin), None, self.now(), note)?;
        record.outcome = Outcome::Refused {
            code: error.code().as_str().to_owned(),
        };
        let txn = self.store.begin(&[]).await?;
        txn.commit(vec![crate::audit::log::entry(&record)?]).await
    }

    async fn exchange_in(
        &self,
        (workspace, name): (WorkspaceId, &WorkspaceName),
        origin: &Origin,
        command: &Exchange,
        unproven: &Unproven,
        met: &mut Met,
    ) -> Result<IssuedToken> {
        let issuer = self
            .issuer_of(workspace, command.issuer.as_deref(), &unproven.iss)
            .await?;
        *met = Some(issuer.id);
        let oidc = &issuer.rules.oidc;
        let algorithm = unproven.algorithm;
        let algorithm = algorithm.filter(|algorithm| oidc.algorithms.contains(algorithm));
        let algorithm = algorithm.ok_or_else(not_proven)?;
        let keys = self.keys_of(&issuer, unproven.kid.as_deref()).await?;
        let claims = keys
            .prove(command.token.expose(), algorithm)
            .ok_or_else(not_proven)?;
        // Now that it is proven, its bearer may be told what is wrong with it.
        let accepted = issuer.accept(&claims, self.now())?;
        self.admit_federated((workspace, name), origin, &issuer, accepted)
            .await
    }

    /// The issuer of that id or name; or else the one that an assertion names, where there is only one.
    async fn issuer_of(
        &self,
        workspace: WorkspaceId,
        named: Option<&str>,
        iss: &str,
    ) -> Result<Issuer> {
        let read = &mut self.read();
        let mut all = self.tables(workspace)?.issuers(read).await?;
        all.extend(self.tables(WorkspaceId::SYSTEM)?.issuers(read).await?);
        let id = named.and_then(IssuerId::parse);
        let mut found = all.into_iter().filter(|issuer| match (id, named) {
            (Some(id), _) => issuer.id == id,
            (None, Some(name)) => issuer.name.as_str() == name,
            (None, None) => issuer.rules.oidc.iss == iss,
        });
        let first = found.next().ok_or_else(unknown_issuer)?;
        // A workspace's own issuer stands before one of the organisation with its name.
        if named.is_none() && found.next().is_some() {
            let message = "several issuers are registered for this assertion; name one as `issuer`";
            return Err(Error::invalid("issuer", message));
        }
        Ok(first)
    }

    async fn keys_of(&self, issuer: &Issuer, kid: Option<&str>) -> Result<Arc<KeySet>> {
        let held = match &issuer.rules.oidc.keys {
            IssuerKeys::Url(url) => return self.issuer_keys.keys(url, kid).await,
            IssuerKeys::Jwks(text) => KeySet::of_jwks(text.as_bytes()),
            IssuerKeys::Pem(all) => KeySet::of_pem(all),
        };
        held.map(Arc::new)
            .ok_or_else(|| Error::internal("an issuer's keys cannot be read"))
    }

    /// Makes the token. INVARIANT (once): an assertion that may be taken once is remembered in the commit of what it
    /// was taken for.
    async fn admit_federated(
        &self,
        (workspace, name): (WorkspaceId, &WorkspaceName),
        origin: &Origin,
        issuer: &Issuer,
        accepted: Accepted,
    ) -> Result<IssuedToken> {
        let rules = &issuer.rules;
        let tables = self.tables(workspace)?;
        let own = self.tables(issuer.workspace)?;
        let once = accepted.once.as_ref();
        let once = once.map(|(jti, until)| (own.assertion_hash(issuer.id, jti), *until));
        let mut locks: Vec<_> = once.iter().map(|(hash, _)| key::seen_lock(hash)).collect();
        if rules.identity.auto_create {
            let hash = tables.identity_hash(rules.identity.kind, &accepted.name);
            locks.push(key::name_lock(&hash));
        }
        let decided_by = Some(format!("issuer:{}", issuer.name));
        let actor = Actor::vault("federation");
        let mut unit = Unit::begin(
            self,
            workspace,
            actor,
            Some(origin.clone()),
            decided_by,
            &locks,
        )
        .await?;
        if let Some((hash, until)) = &once {
            // Its end may have come since it was judged, and with it the end of what is remembered.
            if unit.now >= *until {
                return Err(assertion_expired(*until));
            }
            if own.seen_until(&mut unit.txn, hash).await?.is_some() {
                return Err(Error::new(
                    Code::AssertionReplayed,
                    "the assertion was exchanged before",
                ));
            }
            own.put_seen(&mut *unit.txn, hash, *until)?;
        }
        let identity = unit.federated_identity(issuer, &accepted).await?;
        let scopes = rules.identity.ceiling();
        let scopes = scopes.intersection(identity.role.scopes());
        if scopes.is_empty() {
            return Err(Error::new(
                Code::InsufficientPermissions,
                "the identity's role holds nothing of what the issuer gives out",
            ));
        }
        let token = Token {
            id: TokenId::new(unit.now, &self.keyring.entropy().bytes()?),
            name: Some(issuer.name.to_string()),
            home: workspace,
            identity: identity.id,
            identity_name: identity.name.clone(),
            identity_kind: identity.kind,
            parent: Parent::Issuer(issuer.id, issuer.workspace),
            generation: 0,
            scopes,
            reach: Reach::Workspace(workspace),
            state: TokenState::Active,
            signed_by: unit.signing_key().await?,
            created_at: unit.now,
            expires_at: expiry(unit.now, rules.token_ttl, None),
        };
        unit.put_new_token(&token)?;
        unit.set_actor(Actor::Identity {
            identity: identity.id,
            name: identity.name,
            kind: identity.kind,
            proof: ProofId::Token(token.id),
        });
        let mut changes = facts(&token, name.as_str());
        changes.extend(accepted.subject.map(|subject| Change {
            field: "subject".to_owned(),
            before: None,
            after: Some(subject),
        }));
        unit.record(Note {
            changes,
            ..Note::new(EventName::AuthExchanged, object(&token))
        })?;
        let status = token.status(unit.now);
        unit.commit().await?;
        let view = TokenView {
            token,
            status,
            workspace: name.to_string(),
        };
        Ok(IssuedToken {
            text: self.token_text(&view)?,
            view,
            ttl_capped: false,
        })
    }

    /// Removes what need not be remembered of taken assertions any more; gives back how many.
    pub async fn forget_assertions(&self) -> Result<usize> {
        let mut forgotten = 0;
        let mut scan = key::all_seen();
        loop {
            let page = self.read().scan(&scan).await?;
            let Some((last, _)) = page.last() else {
                return Ok(forgotten);
            };
            scan = scan.after(last);
            for (at, _) in &page {
                let Some((workspace, hash)) = key::parse_seen(at) else {
                    continue;
                };
                let locks = [key::seen_lock(&hash)];
                let tables = self.tables(workspace)?;
                let until = tables.seen_until(&mut self.read(), &hash).await?;
                if until.is_none_or(|until| self.now() < until) {
                    continue;
                }
                // It cannot be taken again: its `exp` is over.
                let mut unit = self.begin_own("housekeeping", workspace, &locks).await?;
                unit.tables.delete_seen(&mut *unit.txn, &hash);
                unit.commit_housekeeping().await?;
                forgotten += 1;
                if forgotten >= FORGET_AT_ONCE {
                    return Ok(forgotten);
                }
            }
            tokio::task::yield_now().await;
        }
    }
}

impl Unit<'_> {
    /// The identity that an assertion stands for; made, where the issuer's rules say so.
    async fn federated_identity(
        &mut self,
        issuer: &Issuer,
        accepted: &Accepted,
    ) -> Result<Identity> {
        let mapping = &issuer.rules.identity;
        let tables = self.tables.clone();
        let id = tables
            .identity_id(&mut self.txn, mapping.kind, &accepted.name)
            .await?;
        if let Some(id) = id {
            let identity = tables.identity(&mut self.txn, id).await?;
            let identity = identity.ok_or_else(|| Error::internal("an identity is missing"))?;
            return match identity.state {
                IdentityState::Active => Ok(identity),
                IdentityState::Suspended(_) => Err(Error::new(
                    Code::IdentitySuspended,
                    "the identity is suspended",
                )),
            };
        }
        if !mapping.auto_create {
            let message = "the assertion stands for no identity of the workspace";
            return Err(Error::new(Code::ClaimMismatch, message).with("claim", "identity"));
        }
        let identity = Identity {
            id: IdentityId::new(self.now, &self.engine.keyring.entropy().bytes()?),
            name: accepted.name.clone(),
            kind: mapping.kind,
            role: mapping.role,
            state: IdentityState::Active,
            description: None,
            labels: Metadata::default(),
            created_at: self.now,
            created_by: None,
            updated_at: self.now,
        };
        tables.put_identity(&mut *self.txn, &identity)?;
        let object = Object {
            name: Some(identity.name.to_string()),
            ..Object::default()
        };
        self.record(Note::new(EventName::IdentityCreated, object))?;
        Ok(identity)
    }
}

fn unknown_issuer() -> Error {
    Error::new(
        Code::IssuerUnknown,
        "no issuer is registered for this assertion",
    )
}

fn not_proven() -> Error {
    Error::new(
        Code::SignatureInvalid,
        "the assertion's signature is not one of its issuer's",
    )
}

/// Whether an exchange that failed so belongs into history.
fn is_refusal(code: Code) -> bool {
    matches!(
        code,
        Code::IssuerUnknown
            | Code::SignatureInvalid
            | Code::UpstreamFailed
            | Code::AssertionExpired
            | Code::AudienceMismatch
            | Code::ClaimMismatch
            | Code::AssertionReplayed
            | Code::IdentitySuspended
            | Code::InsufficientPermissions
    )
}
