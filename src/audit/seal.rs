//! Sealing: the records that were written since are appended to the tree, and a signed checkpoint over all of them is
//! stored with the tiles that changed, in one write set. Housekeeping, off the path of every request: nothing waits for
//! it.
//!
//! INVARIANT (audit-tamper): only durable records are sealed, each once, without a gap, and on top of a tree that was
//! held to its checkpoint and to the newest records before.

use super::{
    block, check,
    checkpoint::{Checkpoint, Statement},
    merkle::Hash,
    proof,
    tree::Edge,
};
use crate::{
    crypto::sign::SigningKey,
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
    /// signature is good, and the newest records under it are in the log as they were sealed.
    pub async fn open(mut read: &dyn Store, public_key: &[u8; 32]) -> Result<Self> {
        let read = &mut read;
        let Some(newest) = proof::newest(read, public_key).await? else {
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
        key: &SigningKey,
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
        let checkpoint = statement.sign(key)?;
        let mut txn = store.begin(&[key::sealing_lock()]).await?;
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
