//! Keys of credentials, their versions and values, and of leases.

use super::*;

pub fn credential_name(workspace: WorkspaceId, hash: &[u8; 32]) -> Key {
    key(CREDENTIAL_NAME, &[workspace.as_bytes(), hash])
}

pub fn credential(workspace: WorkspaceId, id: CredentialId) -> Key {
    key(CREDENTIAL, &[workspace.as_bytes(), id.as_bytes()])
}

/// All credentials of a workspace, in the order of their creation.
pub fn credentials(workspace: WorkspaceId) -> Scan {
    Scan::prefix(&key(CREDENTIAL, &[workspace.as_bytes()]), usize::MAX)
}

/// The credential that its own, its ledger's or its sweep's key names.
pub fn parse_credential(key: &[u8]) -> Option<(WorkspaceId, CredentialId)> {
    let (workspace, credential) = key.get(1..)?.split_first_chunk::<16>()?;
    let credential = credential.first_chunk::<16>()?;
    Some((
        WorkspaceId::from_bytes(*workspace),
        CredentialId::from_bytes(*credential),
    ))
}

pub fn ledger(workspace: WorkspaceId, id: CredentialId) -> Key {
    key(LEDGER, &[workspace.as_bytes(), id.as_bytes()])
}

pub fn version(workspace: WorkspaceId, id: CredentialId, number: u32) -> Key {
    key(
        VERSION,
        &[workspace.as_bytes(), id.as_bytes(), &number.to_be_bytes()],
    )
}

/// All versions of a credential, oldest first.
pub fn versions(workspace: WorkspaceId, id: CredentialId) -> Scan {
    Scan::prefix(
        &key(VERSION, &[workspace.as_bytes(), id.as_bytes()]),
        usize::MAX,
    )
}

/// The number that a version's key names.
pub fn parse_version(key: &[u8]) -> Option<u32> {
    key.last_chunk::<4>()
        .map(|number| u32::from_be_bytes(*number))
}

pub fn value(workspace: WorkspaceId, id: CredentialId, number: u32) -> Key {
    key(
        VALUE,
        &[workspace.as_bytes(), id.as_bytes(), &number.to_be_bytes()],
    )
}

pub fn lease(workspace: WorkspaceId, id: LeaseId) -> Key {
    key(LEASE, &[workspace.as_bytes(), id.as_bytes()])
}

/// All leases of a workspace, in the order of their issue.
pub fn leases(workspace: WorkspaceId) -> Scan {
    Scan::prefix(&key(LEASE, &[workspace.as_bytes()]), usize::MAX)
}

/// The lease that its key names.
pub fn parse_lease(key: &[u8]) -> Option<LeaseId> {
    key.last_chunk::<16>().map(|id| LeaseId::from_bytes(*id))
}

pub fn open_lease(
    workspace: WorkspaceId,
    credential: CredentialId,
    expiry: Timestamp,
    lease: LeaseId,
) -> Key {
    key(
        OPEN_LEASE,
        &[
            workspace.as_bytes(),
            credential.as_bytes(),
            &millis(expiry.as_millis()),
            lease.as_bytes(),
        ],
    )
}

/// The open leases of a credential, the one that expires first in front.
pub fn open_leases(workspace: WorkspaceId, credential: CredentialId) -> Scan {
    Scan::prefix(
        &key(OPEN_LEASE, &[workspace.as_bytes(), credential.as_bytes()]),
        usize::MAX,
    )
}

/// The open leases of a credential that are due at `now`.
pub fn due_leases(workspace: WorkspaceId, credential: CredentialId, now: Timestamp) -> Scan {
    let mut scan = open_leases(workspace, credential);
    let after = millis(now.as_millis().saturating_add(1));
    scan.end = key(
        OPEN_LEASE,
        &[workspace.as_bytes(), credential.as_bytes(), &after],
    );
    scan
}

/// Every open lease of a workspace, by credential.
pub fn open_leases_of(workspace: WorkspaceId) -> Scan {
    Scan::prefix(&key(OPEN_LEASE, &[workspace.as_bytes()]), usize::MAX)
}

/// Every open lease of the vault, by credential.
pub fn all_open_leases() -> Scan {
    Scan::prefix(&[OPEN_LEASE], usize::MAX)
}

/// What an open-lease key says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenLease {
    pub workspace: WorkspaceId,
    pub credential: CredentialId,
    pub expiry: Timestamp,
    pub lease: LeaseId,
}

/// Reads an open-lease key.
pub fn parse_open_lease(key: &[u8]) -> Option<OpenLease> {
    let (workspace, rest) = key.strip_prefix(&[OPEN_LEASE])?.split_first_chunk::<16>()?;
    let (credential, rest) = rest.split_first_chunk::<16>()?;
    let (expiry, lease) = rest.split_first_chunk::<6>()?;
    let [a, b, c, d, e, f] = *expiry;
    Some(OpenLease {
        workspace: WorkspaceId::from_bytes(*workspace),
        credential: CredentialId::from_bytes(*credential),
        expiry: Timestamp::from_millis(u64::from_be_bytes([0, 0, a, b, c, d, e, f])),
        lease: LeaseId::from_bytes(lease.try_into().ok()?),
    })
}

pub fn first_answer(workspace: WorkspaceId, hash: &[u8; 32]) -> Key {
    key(FIRST_ANSWER, &[workspace.as_bytes(), hash])
}

/// The first answers kept in a workspace.
pub fn first_answers(workspace: WorkspaceId) -> Scan {
    Scan::prefix(&key(FIRST_ANSWER, &[workspace.as_bytes()]), usize::MAX)
}

pub fn sweep(workspace: WorkspaceId, credential: CredentialId) -> Key {
    key(SWEEP, &[workspace.as_bytes(), credential.as_bytes()])
}

/// Every sweep that is not finished.
pub fn sweeps() -> Scan {
    Scan::prefix(&[SWEEP], usize::MAX)
}
