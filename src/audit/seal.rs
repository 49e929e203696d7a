//! Sealing: the records that were written since are appended to the tree, and a signed checkpoint over all of them is
//! stored with the tiles that changed, in one write set. Housekeeping, off the path of every request: nothing waits for
//! it.
//!
//! INVARIANT (audit-tamper): only durable records are sealed, each once, without a gap, and on top of a tree that was
//! held to its checkpoint and to the newest records before. What was written under an earlier start and not sealed then
//! is opened first: whoever takes checkpoints away gets nothing sealed that the vault did not write.

use super::{
    block, check,
    checkpoint::{Checkpoint, Statement},
    leaf,
    merkle::Hash,
    proof, removal,
    tree::Edge,
    verify::reason,
};
use crate::{
    crypto::keyring::Keyring,
    domain::{
        error::{Error, Result},
        time::Timestamp,
    },
    store::{
        key,
        port::{Scan, Store},
    },
};

/// Records under one checkpoint, about: a block is never divided. Bounds the work between two turns of others.
pub const BATCH: u64 = 1024;
/// Records that may wait for their checkpoint in a log that is in order: as many as a stop seals at most. Behind a longer
/// tail checkpoints are missing, or nobody seals.
pub const MAX_UNSEALED: u64 = if cfg!(test) { 4 } else { 64 } * BATCH;
/// Blocks that are read at a time.
const BLOCKS_AT_ONCE: usize = 64;
/// The newest sealed records that a start looks at again.
const LOOKED_AT_AGAIN: u64 = 1024;

/// The tree's edge and the checkpoint over it.
pub struct Sealer {
    edge: Edge,
    last: Option<(u64, Hash)>,
}

impl Sealer {
    /// Goes on where the stored tree ends, once that is proven: its root is that of the newest checkpoint, whose
    /// signature is good, the newest records under it are in the log as they were sealed, and those behind it are the
    /// vault's own.
    pub async fn open(store: &dyn Store, keyring: &Keyring) -> Result<Self> {
        let sealed = Self::sealed(store, keyring).await?;
        authentic(store, keyring, sealed.size() + 1).await?;
        Ok(sealed)
    }

    /// The same, without a look at what is not sealed yet.
    pub async fn sealed(store: &dyn Store, keyring: &Keyring) -> Result<Self> {
        let read = &mut { store };
        let Some(newest) = proof::newest(read, keyring.audit_key().public_key()).await? else {
            return Ok(Self {
                edge: Edge::default(),
                last: None,
            });
        };
        let Statement { size, root, .. } = *newest.checkpoint.statement();
        let edge = Edge::load(read, size).await?;
        if edge.frontier()?.root() != root {
            return Err(Error::internal(
                "the stored tree does not have the root of its newest checkpoint",
            ));
        }
        let from = size.saturating_sub(LOOKED_AT_AGAIN) + 1;
        check::leaves(read, from..=size).await?;
        Ok(Self {
            edge,
            last: Some((newest.number, newest.checkpoint.digest())),
        })
    }

    /// Records that are sealed.
    pub fn size(&self) -> u64 {
        self.edge.size()
    }

    /// Seals the next records, about [`BATCH`] of them; none where there are none. After an error the sealer is of no
    /// more use: another must be opened.
    pub async fn step(
        &mut self,
        store: &dyn Store,
        keyring: &Keyring,
        now: Timestamp,
    ) -> Result<Option<Checkpoint>> {
        let begun = self.edge.size();
        let mut scan = Scan {
            limit: BLOCKS_AT_ONCE,
            ..key::audits(begun + 1)
        };
        'reading: loop {
            let blocks = store.scan(&scan).await?;
            let Some((last, _)) = blocks.last() else {
                break;
            };
            scan = scan.after(last);
            for (at, block) in &blocks {
                let first = key::parse_audit(at);
                if first != Some(self.edge.size() + 1) {
                    return Err(Error::internal(format!(
                        "the log does not go on at record {}",
                        self.edge.size() + 1
                    )));
                }
                for entry in block::entries(block)? {
                    let sequence = self.edge.size() + 1;
                    self.edge.push(entry.leaf(sequence).hash());
                }
                if self.edge.size() - begun >= BATCH {
                    break 'reading;
                }
            }
        }
        if self.edge.size() == begun {
            return Ok(None);
        }
        let statement = Statement {
            size: self.edge.size(),
            root: self.edge.frontier()?.root(),
            time: now,
            previous: self.last.map(|(_, digest)| digest),
        };
        let number = self.last.map_or(1, |(number, _)| number + 1);
        let key = keyring.audit_key();
        let checkpoint = statement.sign(key)?;
        let mut txn = store.begin(&[key::sealing_lock()]).await?;
        // Under the lock, and with what is queued: a checkpoint is followed by one alone.
        let newest = proof::newest(&mut txn, key.public_key()).await?;
        if newest.map(|newest| (newest.number, newest.checkpoint.digest())) != self.last {
            return Err(Error::internal(
                "another checkpoint than the last one that was made here is the newest",
            ));
        }
        for (at, tile) in self.edge.writes()? {
            txn.put(at, tile)?;
        }
        txn.put(
            key::checkpoint(statement.size),
            proof::stored(number, &checkpoint),
        )?;
        txn.commit(Vec::new()).await?;
        self.last = Some((number, checkpoint.digest()));
        Ok(Some(checkpoint))
    }
}

/// Opens every record from this one on, as far as there are some, and holds it to its digest.
async fn authentic(store: &dyn Store, keyring: &Keyring, from: u64) -> Result<()> {
    let mut scan = Scan {
        limit: BLOCKS_AT_ONCE,
        ..key::audits(from)
    };
    loop {
        let blocks = store.scan(&scan).await?;
        let Some((last, _)) = blocks.last() else {
            return Ok(());
        };
        scan = scan.after(last);
        for (at, block) in &blocks {
            let first = key::parse_audit(at).unwrap_or(from);
            let refused = |sequence: u64, what: &str| {
                Error::internal(format!(
                    "record {sequence} waits for its seal and gets none: {what}"
                ))
            };
            let entries = block::entries(block).map_err(|error| refused(first, &reason(&error)))?;
            for (sequence, entry) in (first..).zip(entries) {
                if entry.is_removed() {
                    return Err(refused(sequence, removal::UNEXPLAINED));
                }
                let keys = keyring.workspace(entry.workspace);
                let opened = keys.and_then(|keys| keys.open_audit(sequence, entry.sealed));
                let encoded = opened.map_err(|error| refused(sequence, &reason(&error)))?;
                if leaf::digest(&encoded) != entry.content {
                    return Err(refused(sequence, "it does not fit its digest"));
                }
            }
        }
        tokio::task::yield_now().await;
    }
}
