//! Retries: the first answer to a creating request is kept for a day, so that the same request creates nothing
//! twice. What is secret in an answer is not kept: a handle is derived again, a value read again while its
//! lease is open, an API key derived again.

use serde::{Deserialize, Serialize};

use super::{Call, Engine, Unit, keys::KeyView, rotate::Rotated, views::CredentialView};
use crate::{
    domain::{
        error::{Code, Error, Result},
        id::WorkspaceId,
        issuer::Issuer,
        lease::Lease,
        name::Metadata,
        principal::Identity,
        time::{Span, Timestamp},
        token::Token,
        workspace::Workspace,
    },
    store::{
        key,
        port::{LockKey, Value},
    },
    tables::Tables,
};

/// How long a first answer is kept.
const KEPT_FOR: Span = Span::from_secs(24 * 60 * 60);
/// First answers removed in one run of the housekeeping: 330 a second, at a run every ten minutes.
const FORGET_AT_ONCE: usize = 200_000;
/// First answers removed in one transaction.
const FORGET_TOGETHER: usize = 128;
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
        workspace: WorkspaceId,
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
    /// The token as it was made; its text follows from it.
    Token(Box<Token>),
    /// An API key that was made or rotated; its value is derived again with the seed.
    Key {
        view: Box<KeyView>,
        seed: [u8; 16],
    },
    Issuer(Box<Issuer>),
    Workspace(Box<Workspace>),
    Identity(Box<Identity>),
    /// The version that a rollback made.
    Policies {
        version: u32,
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
            tables.idempotency_hash(call.principal.proof, operation, &mark.key)
        });
        Ok(Self { idempotency, hash })
    }

    /// Of an operation that is repeated without harm, and keeps nothing.
    pub(super) const fn never() -> Self {
        Self {
            idempotency: None,
            hash: [0; 32],
        }
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

    /// Waits until the first answer is durable: under the lock it is read as soon as it is queued. INVARIANT
    /// (ack-durable): it is not told again before. The caller holds no lock any more.
    pub(super) async fn durable(&self, engine: &Engine, workspace: WorkspaceId) -> Result<()> {
        let at = key::first_answer(workspace, &self.hash);
        engine.read().get(&at).await.map(drop)
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
    /// Removes the first answers that are kept no longer; gives back how many. Bounded in memory by a page, and in work by
    /// [`FORGET_AT_ONCE`]: the next run goes on.
    pub async fn forget_answers(&self) -> Result<usize> {
        let system = self.tables(WorkspaceId::SYSTEM)?;
        let mut forgotten = 0;
        for workspace in system.workspaces(&mut self.read()).await? {
            let tables = self.tables(workspace.id)?;
            let mut scan = key::first_answers(workspace.id);
            loop {
                let page = self.read().scan(&scan).await?;
                let Some((last, _)) = page.last() else { break };
                scan = scan.after(last);
                let mut over = Vec::new();
                for (at, sealed) in &page {
                    let Some(hash) = at.last_chunk::<32>() else {
                        continue;
                    };
                    let kept: Kept = tables.open_first_answer(hash, sealed)?;
                    if self.now().since(kept.at) >= KEPT_FOR {
                        over.push(*hash);
                    }
                }
                for some in over.chunks(FORGET_TOGETHER) {
                    forgotten += self.forget(&tables, some).await?;
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

    /// Removes first answers, unless fresh ones have taken their places; gives back how many.
    async fn forget(&self, tables: &Tables, hashes: &[[u8; 32]]) -> Result<usize> {
        let locks: Vec<_> = hashes.iter().map(key::idempotency_lock).collect();
        let mut unit = self
            .begin_own("housekeeping", tables.workspace, &locks)
            .await?;
        let mut forgotten = 0;
        for hash in hashes {
            let kept: Option<Kept> = unit.tables.first_answer(&mut unit.txn, hash).await?;
            if kept.is_some_and(|kept| unit.now.since(kept.at) >= KEPT_FOR) {
                unit.txn.delete(key::first_answer(tables.workspace, hash));
                forgotten += 1;
            }
        }
        unit.commit_housekeeping().await?;
        Ok(forgotten)
    }
}

/// Whether a first answer that a scan gave can be read.
pub fn check_first_answer(tables: &Tables, hash: &[u8; 32], sealed: &Value) -> Result<()> {
    tables.open_first_answer::<Kept>(hash, sealed).map(drop)
}
