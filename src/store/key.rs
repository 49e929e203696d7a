//! Every key of the store, in one place. Type byte, workspace, then an id or a keyed hash: opaque, since keys
//! are not sealed. A type byte over 0x7f marks a bulky record; 0x7e is the engines' own.
//!
//! ```text
//! 01                                            header            plain; says how to unseal, and proves the root key
//! 02 ‖ workspace ‖ number(4)                    wrapped KEK
//! 03 ‖ workspace                                workspace
//! 04 ‖ hash(name)                               workspace by name → id
//! 05 ‖ workspace ‖ identity                     identity
//! 06 ‖ workspace ‖ hash(name)                   identity by name → id
//! 07 ‖ key                                      API key
//! 08 ‖ workspace ‖ hash(name)                   credential by name → id
//! 09 ‖ workspace ‖ credential                   ledger
//! 0a ‖ workspace ‖ lease                        lease; its value begins with the credential's id
//! 0b ‖ workspace ‖ credential ‖ expiry(6) ‖ lease  open lease, empty value
//! 0c                                            the clock's high-water mark
//! 0d ‖ token                                    access token
//! 0e ‖ workspace ‖ token                        access token by workspace, empty value
//! 0f ‖ workspace ‖ key                          API key of that home, empty value
//! 10 ‖ workspace ‖ issuer                       issuer of federated identities
//! 11 ‖ workspace ‖ hash(issuer, jti)            assertion that was taken
//! 12                                            the numbers of the token signing keys
//! 13 ‖ key or token                             when it was used last
//! 14 ‖ level(1) ‖ index(8)                      tile of the tree over the log, plain
//! 15 ‖ size(8)                                  checkpoint over so many records, plain
//! 17                                            the runs of the audit index
//! 18 ‖ identity                                 when it was used last, by whatever proved it
//! 19                                            what retention remembers: see `key/retention.rs`
//! 1a                                            what is left to do about alarms: see `key/alarms.rs`
//! 80 ‖ workspace ‖ credential                   credential
//! 81 ‖ workspace ‖ credential ‖ version(4)      version
//! 82 ‖ workspace ‖ credential ‖ version(4)      value
//! 83 ‖ workspace ‖ hash(idempotency key)        first answer
//! 84 ‖ workspace ‖ credential                   sweep that is not finished
//! 85 ‖ sequence(8)                              audit block that begins with that record
//! 86 ‖ workspace ‖ version(4)                   policy set; the system's workspace has the organisation's
//! 87 ‖ key ‖ number(4)                          block of the requests that an API key made
//! 88 ‖ run(8) ‖ layer(1) ‖ number(4)            page of a run of the audit index
//! 9d                                            the configuration of the last start
//! ```
//!
//! The open-lease keys of a credential are in the order of their expiry: they serve the reaper, every cascade,
//! and the count of what is due, so a grant costs no further index.

mod access;
mod alarms;
mod audit_index;
mod credentials;
mod locks;
mod retention;
mod sealing;
mod tables;

pub use self::{
    access::*,
    alarms::*,
    audit_index::*,
    credentials::*,
    locks::*,
    retention::*,
    sealing::*,
    tables::{Table, strays},
};
use super::port::{BARE, Key, LockKey, Scan};
use crate::domain::{
    id::{CredentialId, IdentityId, KeyId, LeaseId, WorkspaceId},
    time::Timestamp,
};

const HEADER: u8 = 0x01;
const KEK: u8 = 0x02;
const WORKSPACE: u8 = 0x03;
const WORKSPACE_NAME: u8 = 0x04;
const IDENTITY: u8 = 0x05;
const IDENTITY_NAME: u8 = 0x06;
const API_KEY: u8 = 0x07;
const CREDENTIAL_NAME: u8 = 0x08;
const LEDGER: u8 = 0x09;
const LEASE: u8 = 0x0a;
const OPEN_LEASE: u8 = BARE;
const CLOCK: u8 = 0x0c;
const TOKEN: u8 = 0x0d;
const LISTED_TOKEN: u8 = 0x0e;
const API_KEY_HOME: u8 = 0x0f;
const ISSUER: u8 = 0x10;
const SEEN: u8 = 0x11;
const SIGNING_KEYS: u8 = 0x12;
const LAST_USE: u8 = 0x13;
const TREE: u8 = 0x14;
const CHECKPOINT: u8 = 0x15;
const IDENTITY_USE: u8 = 0x18;
const RETENTION: u8 = 0x19;
const ALARMS: u8 = 0x1a;
const CREDENTIAL: u8 = 0x80;
const VERSION: u8 = 0x81;
const VALUE: u8 = 0x82;
const FIRST_ANSWER: u8 = 0x83;
const SWEEP: u8 = 0x84;
const AUDIT: u8 = 0x85;
const POLICY_SET: u8 = 0x86;
const KEY_USAGE: u8 = 0x87;
const AUDIT_INDEX_STATE: u8 = 0x17;
const AUDIT_INDEX_PAGE: u8 = 0x88;
const CONFIGURATION: u8 = 0x9d;

/// The workspace that a key names first, and what follows it.
pub fn parse_workspace(key: &[u8]) -> Option<(WorkspaceId, &[u8])> {
    let (workspace, rest) = key.get(1..)?.split_first_chunk::<16>()?;
    Some((WorkspaceId::from_bytes(*workspace), rest))
}

fn key(kind: u8, parts: &[&[u8]]) -> Key {
    let mut key = Key::new();
    key.push(kind);
    parts.iter().for_each(|part| key.extend_from_slice(part));
    key
}

/// An expiry in 48 bits, which last beyond the year 9999: with the lease's id it is 22 bytes, which sled keeps
/// in its nodes without another allocation.
fn millis(millis: u64) -> [u8; 6] {
    let [_, _, a, b, c, d, e, f] = millis.to_be_bytes();
    [a, b, c, d, e, f]
}

fn half(hash: &[u8; 32]) -> [u8; 16] {
    let mut half = [0; 16];
    half.iter_mut()
        .zip(hash)
        .for_each(|(half, byte)| *half = *byte);
    half
}

pub fn header() -> Key {
    key(HEADER, &[])
}

pub fn clock() -> Key {
    key(CLOCK, &[])
}

pub fn kek(workspace: WorkspaceId, number: u32) -> Key {
    key(KEK, &[workspace.as_bytes(), &number.to_be_bytes()])
}

/// All wrapped KEKs, of every workspace.
pub fn keks() -> Scan {
    Scan::prefix(&[KEK], usize::MAX)
}

/// The workspace and number that a KEK's key names.
pub fn parse_kek(key: &[u8]) -> Option<(WorkspaceId, u32)> {
    let (workspace, number) = key.strip_prefix(&[KEK])?.split_first_chunk::<16>()?;
    Some((
        WorkspaceId::from_bytes(*workspace),
        u32::from_be_bytes(number.try_into().ok()?),
    ))
}

pub fn workspace(id: WorkspaceId) -> Key {
    key(WORKSPACE, &[id.as_bytes()])
}

pub fn workspace_name(hash: &[u8; 32]) -> Key {
    key(WORKSPACE_NAME, &[hash])
}

pub fn identity(workspace: WorkspaceId, id: IdentityId) -> Key {
    key(IDENTITY, &[workspace.as_bytes(), id.as_bytes()])
}

/// All identities of a workspace, in the order of their creation.
pub fn identities(workspace: WorkspaceId) -> Scan {
    Scan::prefix(&key(IDENTITY, &[workspace.as_bytes()]), usize::MAX)
}

pub fn identity_name(workspace: WorkspaceId, hash: &[u8; 32]) -> Key {
    key(IDENTITY_NAME, &[workspace.as_bytes(), hash])
}

pub fn api_key(id: KeyId) -> Key {
    key(API_KEY, &[id.as_bytes()])
}

pub fn api_key_home(home: WorkspaceId, id: KeyId) -> Key {
    key(API_KEY_HOME, &[home.as_bytes(), id.as_bytes()])
}

/// The API keys of a workspace's identities, in the order of their creation.
pub fn api_keys_of(home: WorkspaceId) -> Scan {
    Scan::prefix(&key(API_KEY_HOME, &[home.as_bytes()]), usize::MAX)
}

/// The API key that an entry of its home names.
pub fn parse_api_key_home(key: &[u8]) -> Option<(WorkspaceId, KeyId)> {
    let (workspace, rest) = key
        .strip_prefix(&[API_KEY_HOME])?
        .split_first_chunk::<16>()?;
    Some((
        WorkspaceId::from_bytes(*workspace),
        KeyId::from_bytes(rest.try_into().ok()?),
    ))
}

pub fn last_use(proof: &[u8; 16]) -> Key {
    key(LAST_USE, &[proof])
}

/// The key or token that the time of a last use is of.
pub fn parse_last_use(key: &[u8]) -> Option<[u8; 16]> {
    key.strip_prefix(&[LAST_USE])?.try_into().ok()
}

pub fn identity_use(id: IdentityId) -> Key {
    key(IDENTITY_USE, &[id.as_bytes()])
}

/// The identity that the time of a last use is of.
pub fn parse_identity_use(key: &[u8]) -> Option<IdentityId> {
    let id = key.strip_prefix(&[IDENTITY_USE])?.try_into().ok()?;
    Some(IdentityId::from_bytes(id))
}

pub fn key_usage(id: KeyId, number: u32) -> Key {
    key(KEY_USAGE, &[id.as_bytes(), &number.to_be_bytes()])
}

/// The blocks of what an API key was used for, oldest first.
pub fn key_usages(id: KeyId) -> Scan {
    Scan::prefix(&key(KEY_USAGE, &[id.as_bytes()]), usize::MAX)
}

/// The API key and the number that a block of its uses is stored under.
pub fn parse_key_usage(key: &[u8]) -> Option<(KeyId, u32)> {
    let (id, number) = key.strip_prefix(&[KEY_USAGE])?.split_first_chunk::<16>()?;
    Some((
        KeyId::from_bytes(*id),
        u32::from_be_bytes(number.try_into().ok()?),
    ))
}

/// All API keys of the vault, in the order of their creation.
pub fn api_keys() -> Scan {
    Scan::prefix(&[API_KEY], usize::MAX)
}

pub fn audit(sequence: u64) -> Key {
    key(AUDIT, &[&sequence.to_be_bytes()])
}

/// The audit blocks, from the one that begins at `sequence`.
pub fn audits(sequence: u64) -> Scan {
    Scan {
        start: audit(sequence),
        ..Scan::prefix(&[AUDIT], usize::MAX)
    }
}

/// The sequence number of a block's first record.
pub fn parse_audit(key: &[u8]) -> Option<u64> {
    key.strip_prefix(&[AUDIT])
        .and_then(|rest| rest.try_into().ok())
        .map(u64::from_be_bytes)
}

pub fn policy_set(workspace: WorkspaceId, version: u32) -> Key {
    key(POLICY_SET, &[workspace.as_bytes(), &version.to_be_bytes()])
}

/// All policy sets of a workspace, oldest first.
pub fn policy_sets(workspace: WorkspaceId) -> Scan {
    Scan::prefix(&key(POLICY_SET, &[workspace.as_bytes()]), usize::MAX)
}

/// The policy sets of the workspaces behind this one.
pub fn policy_sets_after(workspace: WorkspaceId) -> Scan {
    Scan {
        start: policy_sets(workspace).end,
        ..Scan::prefix(&[POLICY_SET], usize::MAX)
    }
}
