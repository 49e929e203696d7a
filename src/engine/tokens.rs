//! Showing access tokens, ending them, and forgetting those that ended.

use super::{
    Call, Engine, Note,
    credential::change,
    page::{Page, PageRequest},
    standing::Standings,
    token::{TokenView, object},
};
use crate::{
    authz::{Action, Facts, Resource},
    domain::{
        error::{Error, Result},
        event::EventName,
        id::{TokenId, WorkspaceId},
        principal::Reach,
        time::TimeRange,
        token::{Token, TokenStatus},
    },
    store::key,
};

/// Tokens removed in one run of the housekeeping: 160 a second, at a run every ten minutes.
const FORGET_AT_ONCE: usize = 100_000;
/// Tokens removed in one transaction.
const FORGET_TOGETHER: usize = 64;

/// Which tokens to list. Every given filter must match.
#[derive(Debug, Clone, Default)]
pub struct TokenFilter {
    pub identity: Option<String>,
    pub status: Option<TokenStatus>,
    /// When it was made.
    pub made: TimeRange,
}

#[derive(Clone, Copy)]
enum SortBy {
    CreatedAt,
    ExpiresAt,
}

const SORTS: [(&str, SortBy); 2] = [
    ("created_at", SortBy::CreatedAt),
    ("expires_at", SortBy::ExpiresAt),
];
const DEFAULT_SORT: &str = "-created_at";

pub(super) fn resource(token: &Token) -> Resource {
    Resource::Token {
        id: token.id,
        identity: token.identity,
    }
}

fn no_token() -> Error {
    Error::not_found("token")
}

impl Engine {
    /// A token of the caller's workspace. INVARIANT (isolation): one of another workspace looks like none, and so
    /// does one of the whole organisation to whoever reaches one workspace only.
    pub(super) async fn visible_token(&self, call: &Call, id: TokenId) -> Result<Token> {
        let system = self.tables(WorkspaceId::SYSTEM)?;
        let token = system.token(&mut self.read(), id).await?;
        token
            .filter(|token| visible(call, token))
            .ok_or_else(no_token)
    }

    /// One token.
    pub async fn token(&self, call: &Call, id: TokenId) -> Result<TokenView> {
        let token = self.visible_token(call, id).await?;
        self.authorize(call, Action::TokenRead, resource(&token))
            .await?;
        self.standing_view(call, token).await
    }

    async fn standing_view(&self, call: &Call, token: Token) -> Result<TokenView> {
        let mut standings = Standings::new(self, self.now())?;
        let status = standings.token(&mut self.read(), &token).await?;
        Ok(TokenView {
            status,
            ..self.token_view(call, token)
        })
    }

    /// Ends a token at once, with every token that it made. Ending one that has ended changes nothing.
    pub async fn revoke_token(&self, call: &Call, id: TokenId) -> Result<TokenView> {
        let token = self.visible_token(call, id).await?;
        let permit = self
            .authorize(call, Action::TokenRevoke, resource(&token))
            .await?;
        let system = self.tables(WorkspaceId::SYSTEM)?;
        let mut unit = self.begin(call, &permit, &[key::token_lock(id)]).await?;
        let mut token = system
            .token(&mut unit.txn, id)
            .await?
            .ok_or_else(no_token)?;
        let before = token.status(unit.now);
        if token.revoke(unit.now) {
            system.put_token(&mut *unit.txn, &token)?;
            let text = |status: TokenStatus| Some(status.as_str().to_owned());
            let now = token.status(unit.now);
            unit.record(Note {
                changes: vec![change("state", text(before), text(now))],
                ..Note::new(EventName::TokenRevoked, object(&token))
            })?;
            unit.commit_access().await?;
            self.give_back_token_place(&token);
        } else {
            drop(unit);
            if before == TokenStatus::Revoked {
                self.settled(&key::token(id)).await?;
            }
        }
        self.standing_view(call, token).await
    }

    /// A page of the workspace's tokens; of the caller's own where it may not see others'.
    pub async fn tokens(
        &self,
        call: &Call,
        filter: &TokenFilter,
        request: &PageRequest,
    ) -> Result<Page<TokenView>> {
        let (facts, now) = (Facts::default(), self.now());
        let own_only = self
            .decide(call, Action::TokenRead, Resource::Workspace, facts, now)
            .is_err();
        let window = request.window(&SORTS, DEFAULT_SORT)?;
        let now = self.now();
        let read = &mut self.read();
        let mut standings = Standings::new(self, now)?;
        let mut found = Vec::new();
        for token in self.visible_tokens(call).await? {
            let seen = !own_only || token.identity == call.principal.identity;
            if !seen || !filter.takes(&token) {
                continue;
            }
            let status = standings.token(read, &token).await?;
            if filter.status.is_some_and(|wanted| wanted != status) {
                continue;
            }
            let sorted_by = match window.sort {
                SortBy::CreatedAt => token.created_at,
                SortBy::ExpiresAt => token.expires_at,
            };
            let at = sorted_by.as_millis().to_be_bytes();
            found.push(([&at[..], token.id.as_bytes()].concat(), (token, status)));
        }
        let page = request.cut(&window, DEFAULT_SORT, found);
        Ok(page.map(|(token, status)| TokenView {
            status,
            ..self.token_view(call, token)
        }))
    }

    /// Every token of the workspace that the caller's reach lets it know of, whether or not it may read others'.
    pub(super) async fn visible_tokens(&self, call: &Call) -> Result<Vec<Token>> {
        let system = self.tables(WorkspaceId::SYSTEM)?;
        let read = &mut self.read();
        let mut found = Vec::new();
        let mut scan = key::listed_tokens(call.principal.workspace);
        loop {
            let page = self.read().scan(&scan).await?;
            let Some((last, _)) = page.last() else { break };
            scan = scan.after(last);
            for (at, _) in &page {
                let (_, id) = key::parse_listed_token(at)
                    .ok_or_else(|| Error::internal("malformed key of a listed token"))?;
                // Forgotten since the scan.
                let token = system.token(read, id).await?;
                found.extend(token.filter(|token| visible(call, token)));
            }
            tokio::task::yield_now().await;
        }
        Ok(found)
    }

    /// Removes the tokens whose time is over; gives back how many. Bounded in memory by a page, and in changes by
    /// [`FORGET_AT_ONCE`]: the next run goes on.
    pub async fn forget_tokens(&self) -> Result<usize> {
        let system = self.tables(WorkspaceId::SYSTEM)?;
        let mut forgotten = 0;
        self.forget_token_places();
        for workspace in system.workspaces(&mut self.read()).await? {
            let mut scan = key::listed_tokens(workspace.id);
            loop {
                let page = self.read().scan(&scan).await?;
                let Some((last, _)) = page.last() else { break };
                scan = scan.after(last);
                let mut over = Vec::new();
                for (at, _) in &page {
                    let Some((_, id)) = key::parse_listed_token(at) else {
                        continue;
                    };
                    let token = system.token(&mut self.read(), id).await?;
                    if token.is_some_and(|token| self.now() >= token.expires_at) {
                        over.push(id);
                    }
                }
                for some in over.chunks(FORGET_TOGETHER) {
                    self.forget_some(some).await?;
                    forgotten += some.len();
                    if forgotten >= FORGET_AT_ONCE {
                        return Ok(forgotten);
                    }
                    tokio::task::yield_now().await;
                }
                tokio::task::yield_now().await;
            }
        }
        Ok(forgotten)
    }

    async fn forget_some(&self, ids: &[TokenId]) -> Result<()> {
        let locks = |id: &TokenId| [key::token_lock(*id), key::usage_lock(id.as_bytes())];
        let locks: Vec<_> = ids.iter().flat_map(locks).collect();
        let mut unit = self
            .begin_own("housekeeping", WorkspaceId::SYSTEM, &locks)
            .await?;
        for id in ids {
            if let Some(token) = unit.tables.token(&mut unit.txn, *id).await? {
                unit.tables.delete_token(&mut *unit.txn, &token);
            }
        }
        unit.commit_housekeeping().await
    }
}

fn visible(call: &Call, token: &Token) -> bool {
    token.listed_in() == call.principal.workspace
        && (token.reach != Reach::Organisation || call.principal.organisation)
}

impl TokenFilter {
    fn takes(&self, token: &Token) -> bool {
        let name = token.identity_name.as_str();
        self.identity.as_deref().is_none_or(|wanted| wanted == name)
            && self.made.holds(token.created_at)
    }
}
