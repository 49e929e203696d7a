//! What keys and tokens are used for: noted in memory beside each request, written down in the background. A
//! crash loses the requests of about two seconds, and a last use of at most a minute.

mod pending;

use tokio::sync::Semaphore;

pub(super) use self::pending::Pending;
use super::{
    Call, Engine, Unit,
    keys::resource,
    page::{Page, PageRequest},
};
use crate::{
    authz::Action,
    domain::{
        error::{Error, Result},
        id::{KeyId, WorkspaceId},
        principal::ProofId,
        time::{TimeRange, Timestamp},
        usage::{BLOCK_USES, KEPT_USES, LastUse, Use, block_of, first_kept},
    },
    store::key,
    tables::Read,
};

/// Keys whose uses are written in one commit: bounds its size.
const KEYS_AT_ONCE: usize = 16;
/// Last uses that are written in one commit.
const LAST_USES_AT_ONCE: usize = 256;

const SORTS: [(&str, ()); 1] = [("time", ())];
const DEFAULT_SORT: &str = "-time";

/// What is noted and not written down yet, and whose turn it is to write.
pub(super) struct Uses {
    pending: Pending,
    /// Whoever has it moves uses from memory to the store, or reads both: between them, none is in neither.
    turn: Semaphore,
}

impl Default for Uses {
    fn default() -> Self {
        Self {
            pending: Pending::default(),
            turn: Semaphore::new(1),
        }
    }
}

impl Engine {
    /// Notes a request of a proven key or token, and of the key that a token goes back to; `admitted` says whether it was
    /// let in. Takes no longer than a lock in memory.
    pub fn note_use(&self, (proof, root): (ProofId, ProofId), admitted: bool, one: Use) {
        self.uses.pending.note((proof, root), admitted, one);
    }

    /// Writes down what was noted. A last use is written at most once a minute, but for the `last` time. Run
    /// twice, it does nothing more.
    pub async fn write_uses(&self, last: bool) -> Result<()> {
        let _turn = self.uses.turn.acquire().await.map_err(Error::internal)?;
        let mut outcome = Ok(());
        let taken = self.uses.pending.take();
        for some in taken.chunks(KEYS_AT_ONCE) {
            if let Err(error) = self.write_some(some).await {
                self.uses.pending.put_back(some);
                outcome = Err(error);
            }
        }
        let due = self.uses.pending.due(self.now(), last);
        for some in due.chunks(LAST_USES_AT_ONCE) {
            match self.write_last_uses(some).await {
                Ok(()) => self.uses.pending.written(some),
                Err(error) => outcome = Err(error),
            }
        }
        outcome
    }

    async fn write_some(&self, some: &[(KeyId, Vec<Use>)]) -> Result<()> {
        let locks: Vec<_> = some
            .iter()
            .map(|(id, _)| key::usage_lock(id.as_bytes()))
            .collect();
        let mut unit = self.begin_own("usage", WorkspaceId::SYSTEM, &locks).await?;
        for (id, uses) in some {
            // One key's damaged block must not keep the uses of all others from the disk.
            if let Err(error) = unit.append_uses(*id, uses).await {
                tracing::warn!(key = %id, %error, "the uses of a key could not be written down");
            }
        }
        unit.commit_housekeeping().await
    }

    async fn write_last_uses(&self, some: &[LastUse]) -> Result<()> {
        let locks: Vec<_> = some
            .iter()
            .map(|last| key::usage_lock(last.proof.as_bytes()))
            .collect();
        let mut unit = self.begin_own("usage", WorkspaceId::SYSTEM, &locks).await?;
        for last in some {
            let tables = unit.tables.clone();
            let txn = &mut unit.txn;
            let of = match last.proof {
                ProofId::Key(id) => {
                    let key = tables.api_key(txn, id).await?;
                    key.map(|key| (key.home, key.identity))
                }
                ProofId::Token(id) => {
                    let token = tables.token(txn, id).await?;
                    token.map(|token| (token.home, token.identity))
                }
            };
            let Some((home, identity)) = of else { continue };
            tables.put_last_use(&mut **txn, last)?;
            // Of an identity that is gone nothing is kept.
            let noted = tables.identity_use(txn, identity).await?;
            if noted < Some(last.at) && txn.get(&key::identity(home, identity)).await?.is_some() {
                tables.put_identity_use(&mut **txn, identity, last.at)?;
            }
        }
        unit.commit_housekeeping().await
    }

    /// When a key or token was let in last.
    pub(super) async fn last_used_at(
        &self,
        read: &mut impl Read,
        proof: ProofId,
    ) -> Result<Option<Timestamp>> {
        let system = self.tables(WorkspaceId::SYSTEM)?;
        let stored = system.last_use(read, proof.as_bytes()).await?;
        Ok(self
            .uses
            .pending
            .last(proof)
            .max(stored.map(|last| last.at)))
    }

    /// A page of the newest requests that an API key made.
    pub async fn key_usage(
        &self,
        call: &Call,
        id: KeyId,
        within: TimeRange,
        request: &PageRequest,
    ) -> Result<Page<Use>> {
        let key = self.find_key(call, id).await?;
        self.authorize(call, Action::KeyRead, resource(&key))
            .await?;
        let window = request.window(&SORTS, DEFAULT_SORT)?;
        let _turn = self.uses.turn.acquire().await.map_err(Error::internal)?;
        let system = self.tables(WorkspaceId::SYSTEM)?;
        let blocks = system.key_usages(&mut self.read(), id).await?;
        let first = blocks
            .first()
            .map_or(0, |(number, _)| u64::from(*number) * BLOCK_USES as u64);
        let mut uses: Vec<_> = blocks.into_iter().flat_map(|(_, uses)| uses).collect();
        uses.extend(self.uses.pending.of(id));
        let trimmed = uses.len().saturating_sub(KEPT_USES);
        let found = (first..)
            .zip(uses)
            .skip(trimmed)
            .filter(|(_, one)| within.holds(one.at))
            .map(|(number, one)| (number.to_be_bytes().to_vec(), one));
        Ok(request.cut(&window, DEFAULT_SORT, found.collect()))
    }
}

impl Unit<'_> {
    /// Adds uses behind those of a key that are stored, and trims the oldest.
    async fn append_uses(&mut self, id: KeyId, uses: &[Use]) -> Result<()> {
        if self.txn.get(&key::api_key(id)).await?.is_none() {
            // Deleted meanwhile, with all that was noted of it.
            return Ok(());
        }
        let newest = self.tables.newest_key_usage(&mut self.txn, id).await?;
        let (number, mut block) = newest.unwrap_or_default();
        let before = u64::from(number) * BLOCK_USES as u64 + block.len() as u64;
        let mut total = before;
        for one in uses {
            if block.len() == BLOCK_USES {
                let full = block_of(total - 1);
                self.tables
                    .put_key_usage(&mut *self.txn, id, full, &block)?;
                block.clear();
            }
            block.push(one.clone());
            total += 1;
        }
        let last = block_of(total.saturating_sub(1));
        self.tables
            .put_key_usage(&mut *self.txn, id, last, &block)?;
        for trimmed in first_kept(before)..first_kept(total) {
            self.txn.delete(key::key_usage(id, trimmed));
        }
        Ok(())
    }
}
