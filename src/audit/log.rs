//! Appending: numbers the records of each commit group without a gap, seals them into blocks, and moves the
//! clock's high-water mark with them.

use std::sync::Arc;

use super::{
    block::{self, Builder},
    leaf,
};
use crate::{
    clock::Clock,
    crypto::keyring::Keyring,
    domain::{
        error::{Error, Result},
        event::AuditRecord,
        id::WorkspaceId,
    },
    store::{
        codec, key,
        port::{AuditEntry, AuditLog, Key, MAX_INLINE_BYTES, Value},
    },
    tables,
};

/// A record ready for the log.
pub fn entry(record: &AuditRecord) -> Result<AuditEntry> {
    Ok(AuditEntry {
        workspace: record.workspace,
        record: codec::encode(record)?,
    })
}

/// The log's end, which only the committer holds.
pub struct Log {
    keyring: Arc<Keyring>,
    clock: Arc<Clock>,
    next: u64,
}

impl Log {
    /// A log that goes on after its last block, if there is one. Sequence numbers begin at 1.
    pub fn after(
        keyring: Arc<Keyring>,
        clock: Arc<Clock>,
        last: Option<(&[u8], &[u8])>,
    ) -> Result<Self> {
        let next = match last {
            None => 1,
            Some((at, block)) => {
                let first =
                    key::parse_audit(at).ok_or_else(|| Error::internal("malformed audit key"))?;
                first + block::entries(block)?.len() as u64
            }
        };
        Ok(Self {
            keyring,
            clock,
            next,
        })
    }
}

impl AuditLog for Log {
    fn place(&mut self, records: &[AuditEntry]) -> Result<Vec<(Key, Value)>> {
        let mut writes = Vec::with_capacity(2 + records.len() / 8);
        let mut next = self.next;
        let mut first = next;
        let mut open = Builder::new(MAX_INLINE_BYTES);
        for AuditEntry { workspace, record } in records {
            let sealed = self
                .keyring
                .workspace(*workspace)?
                .seal_audit(next, record)?;
            // A block that stays under one page is one piece in every engine.
            if !open.is_empty() && open.len_with(sealed.len()) >= MAX_INLINE_BYTES {
                let full = std::mem::replace(&mut open, Builder::new(MAX_INLINE_BYTES));
                writes.push((key::audit(first), full.finish().into()));
                first = next;
            }
            open.push(*workspace, &leaf::digest(record), &sealed)?;
            next += 1;
        }
        if !open.is_empty() {
            writes.push((key::audit(first), open.finish().into()));
        }
        let system = self.keyring.workspace(WorkspaceId::SYSTEM)?;
        writes.push((
            key::clock(),
            tables::seal_mark(&system, self.clock.now())?.into(),
        ));
        self.next = next;
        Ok(writes)
    }
}
