//! Keys of what retention remembers. They tell how much there is and when it is due, and nothing of what it is.
//!
//! ```text
//! 19 ‖ 00 ‖ hash(name)                       legal hold
//! 19 ‖ 01 ‖ workspace                        the lease behind which first looks go on
//! 19 ‖ 02 ‖ workspace ‖ due(6) ‖ lease       lease to look at again, empty value
//! 19 ‖ 03                                    how far the log was looked at and removed
//! 19 ‖ 04 ‖ range(8)                         what a range of the log holds
//! 19 ‖ 05                                    signed: where the log begins
//! 19 ‖ 06 ‖ range(8)                         signed: which records of a range were removed
//! ```

use super::*;

const HOLD: u8 = 0;
const FIRST_LOOK: u8 = 1;
const LOOK_AGAIN: u8 = 2;
const AUDIT_STATE: u8 = 3;
const SURVEY: u8 = 4;
const FRONT: u8 = 5;
const REMOVED: u8 = 6;

/// What a key of the table is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retained {
    Hold([u8; 32]),
    FirstLook(WorkspaceId),
    LookAgain(LookAgain),
    AuditState,
    Survey(u64),
    Front,
    Removed(u64),
}

/// A lease that is to be looked at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LookAgain {
    pub workspace: WorkspaceId,
    pub due: Timestamp,
    pub lease: LeaseId,
}

pub fn hold(hash: &[u8; 32]) -> Key {
    key(RETENTION, &[&[HOLD], hash])
}

/// The legal holds in force.
pub fn holds() -> Scan {
    Scan::prefix(&[RETENTION, HOLD], usize::MAX)
}

pub fn first_look(workspace: WorkspaceId) -> Key {
    key(RETENTION, &[&[FIRST_LOOK], workspace.as_bytes()])
}

pub fn look_again(workspace: WorkspaceId, due: Timestamp, lease: LeaseId) -> Key {
    key(
        RETENTION,
        &[
            &[LOOK_AGAIN],
            workspace.as_bytes(),
            &millis(due.as_millis()),
            lease.as_bytes(),
        ],
    )
}

/// The leases of a workspace that are to be looked at again by `now`, the one that was due first in front.
pub fn looks_due(workspace: WorkspaceId, now: Timestamp) -> Scan {
    let all = [&[RETENTION, LOOK_AGAIN][..], workspace.as_bytes()].concat();
    let after = millis(now.as_millis().saturating_add(1));
    Scan {
        end: key(RETENTION, &[&[LOOK_AGAIN], workspace.as_bytes(), &after]),
        ..Scan::prefix(&all, usize::MAX)
    }
}

/// The leases of a workspace behind one of them that were issued by `until`, in the order of their issue.
pub fn leases_until(workspace: WorkspaceId, after: LeaseId, until: Timestamp) -> Scan {
    // An id begins with the time of its making.
    let behind = millis(until.as_millis().saturating_add(1));
    Scan {
        end: key(LEASE, &[workspace.as_bytes(), &behind]),
        ..leases(workspace).after(&lease(workspace, after))
    }
}

pub fn audit_retention() -> Key {
    key(RETENTION, &[&[AUDIT_STATE]])
}

pub fn survey(range: u64) -> Key {
    key(RETENTION, &[&[SURVEY], &range.to_be_bytes()])
}

pub fn audit_front() -> Key {
    key(RETENTION, &[&[FRONT]])
}

pub fn removed(range: u64) -> Key {
    key(RETENTION, &[&[REMOVED], &range.to_be_bytes()])
}

/// Every statement about a range, in the order of the log.
pub fn removals() -> Scan {
    Scan::prefix(&[RETENTION, REMOVED], usize::MAX)
}

/// Reads a key of the table.
pub fn parse_retained(key: &[u8]) -> Option<Retained> {
    let (kind, rest) = key.strip_prefix(&[RETENTION])?.split_first()?;
    let number = || rest.try_into().ok().map(u64::from_be_bytes);
    match (*kind, rest) {
        (HOLD, hash) => hash.try_into().ok().map(Retained::Hold),
        (FIRST_LOOK, id) => {
            let id = id.try_into().ok()?;
            Some(Retained::FirstLook(WorkspaceId::from_bytes(id)))
        }
        (LOOK_AGAIN, rest) => {
            let (workspace, rest) = rest.split_first_chunk::<16>()?;
            let (due, lease) = rest.split_first_chunk::<6>()?;
            let [a, b, c, d, e, f] = *due;
            Some(Retained::LookAgain(LookAgain {
                workspace: WorkspaceId::from_bytes(*workspace),
                due: Timestamp::from_millis(u64::from_be_bytes([0, 0, a, b, c, d, e, f])),
                lease: LeaseId::from_bytes(lease.try_into().ok()?),
            }))
        }
        (AUDIT_STATE, []) => Some(Retained::AuditState),
        (SURVEY, _) => number().map(Retained::Survey),
        (FRONT, []) => Some(Retained::Front),
        (REMOVED, _) => number().map(Retained::Removed),
        _ => None,
    }
}

/// The exclusive right to set and release legal holds, and to remove anything that they hold. A closed lease's record
/// belongs to it: nobody else writes one any more.
pub fn retention_lock() -> LockKey {
    LockKey {
        space: RETENTION,
        id: [0; 16],
    }
}
