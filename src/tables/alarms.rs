//! What is left to do about alarms: whom nobody told of them yet, and who is still to be stopped.

use serde::{Deserialize, Serialize};

use super::Tables;
use crate::{
    crypto::envelope::{RecordType, Slot},
    domain::{
        error::Result,
        id::{IdentityId, WorkspaceId},
        time::Timestamp,
    },
    store::port::{Key, Txn},
};

/// An identity that is to be stopped, since it touched a canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspect {
    /// Where it touched the canary.
    pub workspace: WorkspaceId,
    pub identity: IdentityId,
    /// Where it is at home: what it came with may be gone when it is stopped.
    pub home: WorkspaceId,
    /// When that was.
    pub since: Timestamp,
}

fn slot(at: &[u8]) -> Slot<'_> {
    Slot {
        kind: RecordType::Alarm,
        id: at,
        version: 0,
    }
}

impl Tables {
    /// The record of the log up to which a listener was told of alarms.
    pub fn open_told(&self, at: &[u8], sealed: &[u8]) -> Result<u64> {
        self.open(slot(at), sealed)
    }

    pub fn put_told(&self, txn: &mut dyn Txn, at: Key, sequence: u64) -> Result<()> {
        let sealed = self.seal(slot(&at), &[], &sequence)?;
        txn.put(at, sealed)
    }

    /// Somebody who is to be stopped.
    pub fn open_suspect(&self, at: &[u8], sealed: &[u8]) -> Result<Suspect> {
        self.open(slot(at), sealed)
    }

    pub fn put_suspect(&self, txn: &mut dyn Txn, at: Key, suspect: &Suspect) -> Result<()> {
        let sealed = self.seal(slot(&at), &[], suspect)?;
        txn.put(at, sealed)
    }
}
