//! Keys of access tokens and federation, and the locks beside them.

use super::*;
use crate::domain::id::{IssuerId, TokenId};

pub fn token(id: TokenId) -> Key {
    key(TOKEN, &[id.as_bytes()])
}

/// Every access token of the vault, in the order of their creation.
pub fn tokens() -> Scan {
    Scan::prefix(&[TOKEN], usize::MAX)
}

pub fn listed_token(workspace: WorkspaceId, id: TokenId) -> Key {
    key(LISTED_TOKEN, &[workspace.as_bytes(), id.as_bytes()])
}

/// The access tokens of a workspace, in the order of their creation.
pub fn listed_tokens(workspace: WorkspaceId) -> Scan {
    Scan::prefix(&key(LISTED_TOKEN, &[workspace.as_bytes()]), usize::MAX)
}

/// The workspace and the token that an entry of the list names.
pub fn parse_listed_token(key: &[u8]) -> Option<(WorkspaceId, TokenId)> {
    let (workspace, id) = key
        .strip_prefix(&[LISTED_TOKEN])?
        .split_first_chunk::<16>()?;
    Some((
        WorkspaceId::from_bytes(*workspace),
        TokenId::from_bytes(id.try_into().ok()?),
    ))
}

pub fn issuer(workspace: WorkspaceId, id: IssuerId) -> Key {
    key(ISSUER, &[workspace.as_bytes(), id.as_bytes()])
}

/// The issuers of a workspace, or of the organisation, in the order of their registration.
pub fn issuers(workspace: WorkspaceId) -> Scan {
    Scan::prefix(&key(ISSUER, &[workspace.as_bytes()]), usize::MAX)
}

/// The workspace and the issuer that an issuer's key names.
pub fn parse_issuer(key: &[u8]) -> Option<(WorkspaceId, IssuerId)> {
    let (workspace, id) = key.strip_prefix(&[ISSUER])?.split_first_chunk::<16>()?;
    Some((
        WorkspaceId::from_bytes(*workspace),
        IssuerId::from_bytes(id.try_into().ok()?),
    ))
}

pub fn seen(workspace: WorkspaceId, hash: &[u8; 32]) -> Key {
    key(SEEN, &[workspace.as_bytes(), hash])
}

/// Every assertion that was taken and may only be taken once, by the workspace of its issuer.
pub fn all_seen() -> Scan {
    Scan::prefix(&[SEEN], usize::MAX)
}

/// The workspace and the hash that the key of a taken assertion names.
pub fn parse_seen(key: &[u8]) -> Option<(WorkspaceId, [u8; 32])> {
    let (workspace, hash) = key.strip_prefix(&[SEEN])?.split_first_chunk::<16>()?;
    Some((WorkspaceId::from_bytes(*workspace), hash.try_into().ok()?))
}

pub fn signing_keys() -> Key {
    key(SIGNING_KEYS, &[])
}

pub fn configuration() -> Key {
    key(CONFIGURATION, &[])
}

/// The exclusive right to the configuration of the last start.
pub fn configuration_lock() -> LockKey {
    LockKey {
        space: CONFIGURATION,
        id: [0; 16],
    }
}

/// The exclusive right to an access token.
pub fn token_lock(id: TokenId) -> LockKey {
    LockKey {
        space: 0x0d,
        id: *id.as_bytes(),
    }
}

/// The exclusive right to the issuers of a workspace.
pub fn issuers_lock(workspace: WorkspaceId) -> LockKey {
    LockKey {
        space: 0x10,
        id: *workspace.as_bytes(),
    }
}

/// The exclusive right to take an assertion.
pub fn seen_lock(hash: &[u8; 32]) -> LockKey {
    LockKey {
        space: 0x11,
        id: half(hash),
    }
}

/// The exclusive right to the ring of signing keys.
pub fn signing_keys_lock() -> LockKey {
    LockKey {
        space: 0x12,
        id: [0; 16],
    }
}
