//! Admitting whoever an accepted proof stands for: the identity, its token, and what must be remembered so that an
//! assertion is taken once.

use std::collections::BTreeMap;

use super::shown_certificate;
use crate::{
    domain::{
        error::{Code, Error, Result},
        event::{Actor, Change, EventName, Object, Origin},
        id::{IdentityId, TokenId, WorkspaceId},
        issuer::{Accepted, Issuer, assertion_expired, certificate_expired},
        name::{Metadata, WorkspaceName},
        principal::{Identity, IdentityState, ProofId, Reach},
        token::{Parent, Token, TokenState, expiry},
    },
    engine::{
        Engine, IssuedToken, Note, TokenView, Unit,
        credential::change,
        token::{facts, object},
    },
    store::key,
};

/// Taken assertions that are forgotten in one run of the housekeeping.
const FORGET_AT_ONCE: usize = 100_000;
/// Assertions forgotten in one transaction.
const FORGET_TOGETHER: usize = 128;

impl Engine {
    /// Makes the token. INVARIANT (once): an assertion that may be taken once is remembered in the commit of what it
    /// was taken for.
    pub(super) async fn admit_federated(
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
        // A stop of the identity comes before this, or after and ends the token.
        let hash = tables.identity_hash(rules.identity.kind, &accepted.name);
        locks.push(key::name_lock(&hash));
        if issuer.workspace == workspace {
            // A stop of the workspace comes before this, or after and covers the token.
            locks.push(self.workspace_lock(name)?);
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
        issuer.check_goes_on(unit.workspace().await?.stop.as_ref())?;
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
        let ends = accepted.certificate.as_ref().map(|(_, end)| *end);
        if let Some(end) = ends.filter(|end| unit.now >= *end) {
            return Err(certificate_expired(end));
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
            expires_at: expiry(unit.now, rules.token_ttl, ends),
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
            field: "subject".into(),
            before: None,
            after: Some(subject.into()),
        }));
        let certificate = accepted.certificate;
        changes.extend(certificate.map(|(fingerprint, _)| shown_certificate(fingerprint)));
        unit.record(Note {
            changes,
            ..Note::new(EventName::AuthExchanged, object(&token))
        })?;
        let status = token.status(unit.now);
        let expires_at = token.expires_at;
        let uncapped = expiry(unit.now, rules.token_ttl, None);
        unit.commit().await?;
        let view = TokenView {
            token,
            status,
            workspace: name.to_string(),
        };
        Ok(IssuedToken {
            text: self.token_text(&view)?,
            view,
            ttl_capped: expires_at < uncapped,
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
            let mut over: BTreeMap<WorkspaceId, Vec<[u8; 32]>> = BTreeMap::new();
            for (at, _) in &page {
                let Some((workspace, hash)) = key::parse_seen(at) else {
                    continue;
                };
                let tables = self.tables(workspace)?;
                let until = tables.seen_until(&mut self.read(), &hash).await?;
                if until.is_some_and(|until| self.now() >= until) {
                    over.entry(workspace).or_default().push(hash);
                }
            }
            for (workspace, hashes) in over {
                for some in hashes.chunks(FORGET_TOGETHER) {
                    // They cannot be taken again: their `exp` is over.
                    let locks: Vec<_> = some.iter().map(key::seen_lock).collect();
                    let mut unit = self.begin_own("housekeeping", workspace, &locks).await?;
                    for hash in some {
                        unit.tables.delete_seen(&mut *unit.txn, hash);
                    }
                    unit.commit_housekeeping().await?;
                    forgotten += some.len();
                    tokio::task::yield_now().await;
                }
            }
            if forgotten >= FORGET_AT_ONCE {
                return Ok(forgotten);
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
            if let IdentityState::Suspended(_) = identity.state {
                return Err(Error::new(
                    Code::IdentitySuspended,
                    "the identity is suspended",
                ));
            }
            issuer.check_stands_for(&identity)?;
            return Ok(identity);
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
        issuer.check_stands_for(&identity)?;
        tables.put_identity(&mut *self.txn, &identity)?;
        let object = Object {
            name: Some(identity.name.to_string()),
            ..Object::default()
        };
        let role = Some(identity.role.as_str().to_owned());
        self.record(Note {
            changes: vec![change("role", None, role)],
            ..Note::new(EventName::IdentityCreated, object)
        })?;
        Ok(identity)
    }
}
