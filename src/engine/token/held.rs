//! How many tokens an identity has made that may still be of use: bounded, so that nobody fills the store, or the memory
//! of a stop, with them. Counted in memory; read from the store once, when the first one is made.
//!
//! Tokens that assertions are exchanged for are not counted: they are short, and exchanges are limited by themselves.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::OnceCell;

use super::super::Engine;
use crate::domain::{
    error::{Code, Error, Result},
    id::{IdentityId, TokenId, WorkspaceId},
    time::Timestamp,
    token::{MAX_TOKENS_OF_IDENTITY, Parent, Token, TokenStatus},
};

/// The ends of tokens, by whose they are.
#[derive(Default)]
struct Held(HashMap<IdentityId, HashMap<TokenId, Timestamp>>);

/// The tokens that were made, once they are counted.
#[derive(Default)]
pub(in crate::engine) struct HeldTokens(OnceCell<Mutex<Held>>);

impl Held {
    /// Takes a place for a token, unless its identity has none left at `now`.
    fn take(&mut self, token: &Token, now: Timestamp) -> Result<()> {
        let own = self.0.entry(token.identity).or_default();
        own.retain(|_, end| *end > now);
        let (used, limit) = (own.len(), MAX_TOKENS_OF_IDENTITY);
        if used >= limit {
            let message = format!(
                "the identity has {used} tokens, and {limit} are allowed; revoke some, or wait until they end"
            );
            return Err(Error::new(Code::QuotaExceeded, message)
                .with("resource", "token")
                .with("limit", limit as u64)
                .with("used", used as u64));
        }
        own.insert(token.id, token.expires_at);
        Ok(())
    }

    fn give_back(&mut self, token: &Token) {
        if let Some(own) = self.0.get_mut(&token.identity) {
            own.remove(&token.id);
        }
    }

    fn forget_ended(&mut self, now: Timestamp) {
        self.0.retain(|_, own| {
            own.retain(|_, end| *end > now);
            !own.is_empty()
        });
    }
}

fn locked(held: &Mutex<Held>) -> MutexGuard<'_, Held> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Engine {
    async fn count_tokens(&self) -> Result<Mutex<Held>> {
        let system = self.tables(WorkspaceId::SYSTEM)?;
        let now = self.now();
        let mut held = Held::default();
        for token in system.tokens(&mut self.read()).await? {
            let exchanged = matches!(token.parent, Parent::Issuer(..));
            if !exchanged && token.status(now) == TokenStatus::Active {
                let own = held.0.entry(token.identity).or_default();
                own.insert(token.id, token.expires_at);
            }
        }
        Ok(Mutex::new(held))
    }

    /// Takes a place for a token that is about to be made. One that nobody waits for keeps it until its end.
    pub(in crate::engine) async fn take_token_place(&self, token: &Token) -> Result<()> {
        let counted = self.held_tokens.0.get_or_try_init(|| self.count_tokens());
        locked(counted.await?).take(token, self.now())
    }

    /// Gives back the place of a token that was not made, or is revoked.
    pub(in crate::engine) fn give_back_token_place(&self, token: &Token) {
        if let Some(held) = self.held_tokens.0.get() {
            locked(held).give_back(token);
        }
    }

    /// Forgets the tokens that have ended; bounds memory.
    pub(in crate::engine) fn forget_token_places(&self) {
        if let Some(held) = self.held_tokens.0.get() {
            locked(held).forget_ended(self.now());
        }
    }
}
