//! Retries: the first answer to a creating request is kept for a day, so that the same request creates nothing
//! twice. What is secret in an answer is not kept: a handle is derived again, a value read again while its
//! lease is open.

use serde::{Deserialize, Serialize};

use super::{Call, Engine, Unit, rotate::Rotated, views::CredentialView};
use crate::{
    domain::{
        error::{Code, Error, Result},
        lease::Lease,
        name::Metadata,
        time::{Span, Timestamp},
    },
    store::{
        key,
        port::{LockKey, MAX_SCAN},
    },
    tables::range_all,
};

/// How long a first answer is kept.
const KEPT_FOR: Span = Span::from_secs(24 * 60 * 60);
/// The longest idempotency key, in bytes.
const MAX_KEY_BYTES: usize = 255;

/// What marks a request as a possible retry.
pub struct Idempotency {
    key: String,
    body: [u8; 32],
}

impl Engine {
    /// The mark of a request with this `Idempotency-Key` and body.
    pub fn idempotency(
        &self,
        workspace: crate::domain::id::WorkspaceId,
        key: &str,
        body: &[u8],
    ) -> Result<Idempotency> {
        let printable = key.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
        if key.is_empty() || key.len() > MAX_KEY_BYTES || !printable {
            return Err(Error::invalid(
                "Idempotency-Key",
                format!(
                    "`Idempotency-Key` must be 1 to {MAX_KEY_BYTES} printable ASCII characters"
                ),
            ));
        }
        Ok(Idempotency {
            key: key.to_owned(),
            body: self.keyring.body_digest(workspace, body),
        })
    }
}

/// A first answer without its secrets.
#[derive(Serialize, Deserialize)]
pub(super) enum Answer {
    Created(Box<CredentialView>),
    Rotated(Box<Rotated>),
    Issued {
        lease: Box<Lease>,
        metadata: Metadata,
        reveal: bool,
    },
}

#[derive(Serialize, Deserialize)]
struct Kept {
    body: [u8; 32],
    at: Timestamp,
    answer: Answer,
}

/// The place where an operation keeps its first answer, if its caller asked for that.
pub(super) struct Slot<'a> {
    idempotency: Option<&'a Idempotency>,
    hash: [u8; 32],
}

impl<'a> Slot<'a> {
    pub(super) fn of(engine: &Engine, call: &'a Call, operation: &str) -> Result<Self> {
        let tables = engine.tables(call.principal.workspace)?;
        let idempotency = call.idempotency.as_ref();
        let hash = idempotency.map_or([0; 32], |mark| {
            tables.idempotency_hash(call.principal.key, operation, &mark.key)
        });
        Ok(Self { idempotency, hash })
    }

    /// The caller's key, where there is one.
    pub(super) fn key(&self) -> Option<&str> {
        self.idempotency.map(|mark| mark.key.as_str())
    }

    /// The lock that makes concurrent retries wait for the first.
    pub(super) fn lock(&self) -> Option<LockKey> {
        self.idempotency.map(|_| key::idempotency_lock(&self.hash))
    }

    /// The first answer, where this is a retry.
    pub(super) async fn first(&self, unit: &mut Unit<'_>) -> Result<Option<Answer>> {
        let Some(mark) = self.idempotency else {
            return Ok(None);
        };
        let Some(kept) = unit
            .tables
            .first_answer::<Kept>(&mut unit.txn, &self.hash)
            .await?
        else {
            return Ok(None);
        };
        if unit.now.since(kept.at) >= KEPT_FOR {
            return Ok(None);
        }
        if !bool::from(subtle::ConstantTimeEq::ct_eq(
            &kept.body[..],
            &mark.body[..],
        )) {
            return Err(Error::new(
                Code::IdempotencyConflict,
                "this `Idempotency-Key` was used with another request; use a new one",
            ));
        }
        Ok(Some(kept.answer))
    }

    /// Keeps the first answer, in the commit of what it tells of.
    pub(super) fn keep(&self, unit: &mut Unit<'_>, answer: impl FnOnce() -> Answer) -> Result<()> {
        let Some(mark) = self.idempotency else {
            return Ok(());
        };
        let kept = Kept {
            body: mark.body,
            at: unit.now,
            answer: answer(),
        };
        unit.tables
            .put_first_answer(&mut *unit.txn, &self.hash, &kept)
    }
}

impl Engine {
    /// Removes the first answers that are kept no longer; gives back how many. Bounded for each workspace, so
    /// that one run cannot hold the store up; the next run goes on.
    pub async fn forget_answers(&self) -> Result<usize> {
        let mut forgotten = 0;
        let workspaces = self
            .tables(crate::domain::id::WorkspaceId::SYSTEM)?
            .workspaces(&mut self.read())
            .await?;
        for workspace in workspaces {
            let tables = self.tables(workspace.id)?;
            for (at, sealed) in
                range_all(&mut self.read(), key::first_answers(workspace.id)).await?
            {
                let Some(hash) = at.last_chunk::<32>() else {
                    continue;
                };
                let kept: Kept = tables.open_first_answer(hash, &sealed)?;
                if self.now().since(kept.at) < KEPT_FOR || forgotten >= MAX_SCAN {
                    continue;
                }
                let mut unit = self
                    .begin_own("housekeeping", workspace.id, &[key::idempotency_lock(hash)])
                    .await?;
                // Read again under the lock: it may have been replaced by a fresh one.
                let kept: Option<Kept> = unit.tables.first_answer(&mut unit.txn, hash).await?;
                if kept.is_some_and(|kept| unit.now.since(kept.at) >= KEPT_FOR) {
                    unit.txn.delete(at);
                    unit.commit_housekeeping().await?;
                    forgotten += 1;
                }
            }
        }
        Ok(forgotten)
    }
}
