//! What nobody uses: keys, tokens, identities and credentials that were not used for a time, or never since they were
//! made.
//!
//! The last use is what is durable anyway: of a key or token its note (a minute late at most), of an identity the notes
//! of whatever proves it, of a credential its ledger, its open leases, and what history tells of those that closed.

use std::collections::HashMap;

use super::super::{
    Call, Engine,
    cascade::open_lease_at,
    credential::change,
    page::{Page, PageRequest},
};
use crate::{
    audit::query::AuditFilter,
    authz::{Action, Permit, Resource},
    domain::{
        error::{Error, Result},
        event::EventName,
        id::{CredentialId, IdentityId, WorkspaceId},
        mask::mask,
        principal::{KeyStatus, ProofId},
        time::{Timestamp, Ttl},
        token::{Token, TokenStatus},
    },
    store::key,
    tables::Tables,
};

/// A name as a report may show it: anybody may have put a bearer string there. INVARIANT (no-side-door)
fn shown(mut name: String) -> String {
    mask(&mut name);
    name
}

const SORTS: [(&str, SortBy); 2] = [("idle_since", SortBy::IdleSince), ("name", SortBy::Name)];
const DEFAULT_SORT: &str = "idle_since";

#[derive(Clone, Copy)]
enum SortBy {
    IdleSince,
    Name,
}

/// What may be stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StaleKind {
    Credential,
    Identity,
    ApiKey,
    Token,
}

impl StaleKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Credential, Self::Identity, Self::ApiKey, Self::Token];

    /// The kind's spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Credential => "credential",
            Self::Identity => "identity",
            Self::ApiKey => "api-key",
            Self::Token => "token",
        }
    }

    /// Reads the spelling; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// What allows to read of it.
    const fn action(self) -> Action {
        match self {
            Self::Credential => Action::CredentialList,
            Self::Identity => Action::IdentityRead,
            Self::ApiKey => Action::KeyRead,
            Self::Token => Action::TokenRead,
        }
    }
}

/// Something that nobody has used for a time.
#[derive(Debug, Clone)]
pub struct Stale {
    pub kind: StaleKind,
    pub id: String,
    pub name: String,
    /// The identity, as `TYPE/NAME`, that a key or token proves.
    pub identity: Option<String>,
    pub created_at: Timestamp,
    /// None where it was never used.
    pub last_used_at: Option<Timestamp>,
}

impl Stale {
    /// Since when nobody has used it.
    pub fn idle_since(&self) -> Timestamp {
        self.last_used_at.unwrap_or(self.created_at)
    }
}

impl Engine {
    /// A page of what was not used for so long, the longest unused first. Each kind takes the scope to read it; without
    /// `kind` all four are looked at.
    pub async fn stale(
        &self,
        call: &Call,
        unused_for: Ttl,
        kind: Option<StaleKind>,
        request: &PageRequest,
    ) -> Result<Page<Stale>> {
        let kinds = match kind {
            Some(kind) => vec![kind],
            None => StaleKind::ALL.to_vec(),
        };
        let mut permit: Option<Permit> = None;
        for kind in &kinds {
            let allowed = self
                .authorize(call, kind.action(), Resource::Workspace)
                .await?;
            permit.get_or_insert(allowed);
        }
        let permit = permit.ok_or_else(|| Error::internal("a report on no kind"))?;
        let window = request.window(&SORTS, DEFAULT_SORT)?;
        let asked = kind.map(|kind| kind.as_str().to_owned());
        let mut asked: Vec<_> = asked
            .map(|kind| change("filter.kind", None, Some(kind)))
            .into_iter()
            .collect();
        let span = unused_for.to_string();
        asked.push(change("filter.unused_for", None, Some(span)));
        self.report_read(call, &permit, "stale", asked).await?;
        let before = self.now().minus(unused_for.span());
        let mut found = Vec::new();
        for kind in kinds {
            let mut items = match kind {
                StaleKind::Credential => self.idle_credentials(call, before).await?,
                StaleKind::Identity => self.idle_identities(call).await?,
                StaleKind::ApiKey => self.idle_keys(call).await?,
                StaleKind::Token => self.idle_tokens(call).await?,
            };
            items.retain(|item| item.idle_since() <= before);
            found.append(&mut items);
        }
        let positioned = found.into_iter().map(|item| {
            let mut position = match window.sort {
                SortBy::IdleSince => item.idle_since().as_millis().to_be_bytes().to_vec(),
                SortBy::Name => [item.name.as_bytes(), &[0]].concat(),
            };
            position.extend_from_slice(item.id.as_bytes());
            (position, item)
        });
        Ok(request.cut(&window, DEFAULT_SORT, positioned.collect()))
    }

    async fn idle_credentials(&self, call: &Call, before: Timestamp) -> Result<Vec<Stale>> {
        let sight = self.sight(call, Action::CredentialRead);
        let tables = self.tables(call.principal.workspace)?;
        let read = &mut self.read();
        let mut found = Vec::new();
        for credential in tables.credentials(read).await? {
            let Some(ledger) = tables.find_ledger(read, credential.id).await? else {
                continue;
            };
            if ledger.current().is_none() || !sight.of_credential(&credential) {
                continue;
            }
            let mut last_used_at = ledger.last_leased_at;
            if ledger.active > 0 && last_used_at.is_none_or(|at| at <= before) {
                last_used_at = last_used_at.max(self.last_redeemed(&tables, credential.id).await?);
            }
            if let Some(leased_at) = last_used_at.filter(|at| at <= &before) {
                // A lease that closed since may have been used to its end.
                let filter = AuditFilter {
                    credential: Some(credential.id),
                    events: vec![EventName::LeaseRedeemed],
                    since: Some(leased_at),
                    ..AuditFilter::default()
                };
                let last = self.history(tables.workspace).last(&filter).await?;
                last_used_at = last_used_at.max(last.map(|last| last.record.time));
            }
            found.push(Stale {
                kind: StaleKind::Credential,
                id: credential.id.to_string(),
                name: credential.name.to_string(),
                identity: None,
                created_at: credential.created_at,
                last_used_at,
            });
        }
        Ok(found)
    }

    /// When an open lease of a credential was last used.
    async fn last_redeemed(
        &self,
        tables: &Tables,
        credential: CredentialId,
    ) -> Result<Option<Timestamp>> {
        let mut last = None;
        let mut scan = key::open_leases(tables.workspace, credential);
        loop {
            let page = self.read().scan(&scan).await?;
            let Some((end, _)) = page.last() else {
                return Ok(last);
            };
            scan = scan.after(end);
            for (at, _) in &page {
                let lease = tables.lease(&mut self.read(), open_lease_at(at)?).await?;
                last = last.max(lease.and_then(|lease| lease.last_used_at));
            }
            tokio::task::yield_now().await;
        }
    }

    async fn idle_identities(&self, call: &Call) -> Result<Vec<Stale>> {
        let home = call.principal.workspace;
        let (tables, system) = (self.tables(home)?, self.tables(WorkspaceId::SYSTEM)?);
        let read = &mut self.read();
        let mut used = HashMap::<IdentityId, Option<Timestamp>>::new();
        for id in system.api_keys_of(read, home).await? {
            if let Some(key) = system.api_key(read, id).await? {
                let last = self.last_used_at(read, ProofId::Key(id)).await?;
                let known = used.entry(key.identity).or_default();
                *known = (*known).max(last);
            }
        }
        for token in system.tokens(read).await? {
            if token.home != home {
                continue;
            }
            let last = self.last_used_at(read, ProofId::Token(token.id)).await?;
            let known = used.entry(token.identity).or_default();
            // A token that nobody has used yet was asked for, which is a use of the identity.
            *known = (*known).max(last).max(Some(token.created_at));
        }
        let mut found = Vec::new();
        for identity in tables.identities(read).await? {
            let noted = system.identity_use(read, identity.id).await?;
            let last_used_at = used.remove(&identity.id).flatten().max(noted);
            found.push(Stale {
                kind: StaleKind::Identity,
                id: identity.id.to_string(),
                name: format!("{}/{}", identity.kind.as_str(), identity.name),
                identity: None,
                created_at: identity.created_at,
                last_used_at,
            });
        }
        Ok(found)
    }

    async fn idle_keys(&self, call: &Call) -> Result<Vec<Stale>> {
        let mut found = Vec::new();
        for view in self.key_views(call).await? {
            // It can be used no more.
            if matches!(view.status, KeyStatus::Expired | KeyStatus::Revoked) {
                continue;
            }
            let holder = view.holder;
            found.push(Stale {
                kind: StaleKind::ApiKey,
                id: view.id.to_string(),
                name: shown(view.name),
                identity: holder.map(|(kind, name)| format!("{}/{name}", kind.as_str())),
                created_at: view.created_at,
                last_used_at: view.last_used_at,
            });
        }
        Ok(found)
    }

    async fn idle_tokens(&self, call: &Call) -> Result<Vec<Stale>> {
        let now = self.now();
        let read = &mut self.read();
        let mut found = Vec::new();
        let active = |token: &Token| token.status(now) == TokenStatus::Active;
        for token in self.visible_tokens(call).await? {
            if !active(&token) {
                continue;
            }
            let last_used_at = self.last_used_at(read, ProofId::Token(token.id)).await?;
            found.push(Stale {
                kind: StaleKind::Token,
                id: token.id.to_string(),
                name: shown(token.name.clone().unwrap_or_default()),
                identity: Some(token.identity_name.to_string()),
                created_at: token.created_at,
                last_used_at,
            });
        }
        Ok(found)
    }
}
