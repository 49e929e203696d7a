//! Keys of the caller's own identity. INVARIANT (offspring): none of them lives longer, or is let through more often,
//! than what the caller is using; else whoever comes by that for an hour would stay.

use std::num::NonZeroU32;

use super::refused;
use crate::{
    domain::{
        error::{Error, Result},
        id::WorkspaceId,
        principal::{ApiKey, Identity, Principal, ProofId, RateLimit},
        time::Timestamp,
    },
    engine::Engine,
};

/// Whether the caller is using this very key, or what goes back to it.
pub(super) fn is_using(caller: &Principal, key: &ApiKey) -> bool {
    caller.root == ProofId::Key(key.id)
}

impl Engine {
    /// The engine with how often keys without a limit of their own are let through in a minute.
    #[must_use]
    pub fn limiting_keys_to(mut self, a_minute: Option<NonZeroU32>) -> Self {
        self.default_rate = a_minute;
        self
    }

    /// The end and the limit of a new key of `identity`: what was asked for, cut where it is the caller's own.
    pub(super) async fn within_own(
        &self,
        caller: &Principal,
        identity: &Identity,
        (expires_at, rate_limit): (Option<Timestamp>, RateLimit),
    ) -> Result<(Option<Timestamp>, RateLimit)> {
        if identity.id != caller.identity {
            return Ok((expires_at, rate_limit));
        }
        let ends = [expires_at, self.ends(caller).await?];
        let within = rate_limit.is_within(caller.rate_limit, self.default_rate);
        Ok((
            ends.into_iter().flatten().min(),
            if within {
                rate_limit
            } else {
                caller.rate_limit
            },
        ))
    }

    /// Refuses a limit over the caller's for a key of its own identity.
    pub(super) fn check_rate(
        &self,
        caller: &Principal,
        key: &ApiKey,
        wanted: RateLimit,
    ) -> Result<()> {
        let own = key.identity == caller.identity;
        if own && !wanted.is_within(caller.rate_limit, self.default_rate) {
            return Err(refused(
                "nobody gives a key of its own identity a higher rate limit than that of what it is using",
            ));
        }
        Ok(())
    }

    /// Refuses a new value for a key of the caller's own identity that would outlive what the caller is using, be it that
    /// key itself.
    pub(super) async fn check_outlives(
        &self,
        caller: &Principal,
        key: &ApiKey,
        expires_at: Option<Timestamp>,
    ) -> Result<()> {
        if key.identity != caller.identity {
            return Ok(());
        }
        let ends = self.ends(caller).await?;
        if ends.is_some_and(|ends| expires_at.is_none_or(|at| at > ends)) {
            return Err(refused(
                "nobody prolongs the key that it is using, nor gives another of its identity a value that outlives it; \
                 ask for a shorter `expires_in`",
            ));
        }
        Ok(())
    }

    /// When what proves the caller ends, its very value, or what it goes back to; none where none of these does.
    async fn ends(&self, caller: &Principal) -> Result<Option<Timestamp>> {
        let system = self.tables(WorkspaceId::SYSTEM)?;
        let read = &mut self.read();
        let gone = || Error::state("what proves the caller has ended");
        let mut ends = caller.value_until;
        for proof in [caller.proof, caller.root] {
            let end = match proof {
                ProofId::Key(id) => {
                    let key = system.api_key(read, id).await?;
                    key.ok_or_else(gone)?.expires_at
                }
                ProofId::Token(id) => {
                    let token = system.token(read, id).await?;
                    Some(token.ok_or_else(gone)?.expires_at)
                }
            };
            ends = [ends, end].into_iter().flatten().min();
        }
        Ok(ends)
    }
}
