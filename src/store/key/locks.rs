//! The locks of what no other module of keys has a charter for.

use super::*;

/// The exclusive right to a credential's ledger, versions and leases.
pub fn credential_lock(id: CredentialId) -> LockKey {
    LockKey {
        space: 1,
        id: *id.as_bytes(),
    }
}

/// The exclusive right to a name, taken or free.
pub fn name_lock(hash: &[u8; 32]) -> LockKey {
    LockKey {
        space: 2,
        id: half(hash),
    }
}

/// The exclusive right to one caller's idempotency key.
pub fn idempotency_lock(hash: &[u8; 32]) -> LockKey {
    LockKey {
        space: 3,
        id: half(hash),
    }
}

/// The exclusive right to an API key's record. The spaces from here on are the first byte of their table.
pub fn api_key_lock(id: KeyId) -> LockKey {
    LockKey {
        space: API_KEY,
        id: *id.as_bytes(),
    }
}

/// The exclusive right to add to the API keys of a workspace.
pub fn api_keys_lock(home: WorkspaceId) -> LockKey {
    LockKey {
        space: API_KEY_HOME,
        id: *home.as_bytes(),
    }
}

/// The exclusive right to what is noted of the use of a key or token.
pub fn usage_lock(proof: &[u8; 16]) -> LockKey {
    LockKey {
        space: KEY_USAGE,
        id: *proof,
    }
}
