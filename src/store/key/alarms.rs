//! Keys of what is left to do about alarms.
//!
//! ```text
//! 1a ‖ 00 ‖ listener                          up to which record of the log it was told of alarms
//! 1a ‖ 01 ‖ workspace ‖ credential ‖ record   whom to stop, who touched that canary
//! ```

use super::*;
use crate::domain::id::EventId;

const TOLD: u8 = 0;
const SUSPECT: u8 = 1;

/// What a key of the table is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alarm {
    /// The name of a listener.
    Told(String),
    Suspect(WorkspaceId, CredentialId, EventId),
}

pub fn told(listener: &str) -> Key {
    key(ALARMS, &[&[TOLD], listener.as_bytes()])
}

/// Written under the credential's lock.
pub fn suspect(workspace: WorkspaceId, credential: CredentialId, record: EventId) -> Key {
    let ids = [
        &[SUSPECT][..],
        workspace.as_bytes(),
        credential.as_bytes(),
        record.as_bytes(),
    ];
    key(ALARMS, &ids)
}

/// Everybody who is still to be stopped.
pub fn suspects() -> Scan {
    Scan::prefix(&[ALARMS, SUSPECT], usize::MAX)
}

/// Reads a key of the table.
pub fn parse_alarm(key: &[u8]) -> Option<Alarm> {
    let (kind, rest) = key.strip_prefix(&[ALARMS])?.split_first()?;
    match *kind {
        TOLD => String::from_utf8(rest.to_vec()).ok().map(Alarm::Told),
        SUSPECT => {
            let (workspace, rest) = rest.split_first_chunk::<16>()?;
            let (credential, record) = rest.split_first_chunk::<16>()?;
            Some(Alarm::Suspect(
                WorkspaceId::from_bytes(*workspace),
                CredentialId::from_bytes(*credential),
                EventId::from_bytes(record.try_into().ok()?),
            ))
        }
        _ => None,
    }
}

/// The exclusive right to say up to where listeners were told.
pub fn told_lock() -> LockKey {
    LockKey {
        space: ALARMS,
        id: [0; 16],
    }
}
