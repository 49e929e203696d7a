//! The tables as a whole, for whoever must see all there is.

use super::*;
use crate::store::port::after_prefix;

/// The tables, by the first byte of their keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Table {
    Header = HEADER,
    Kek = KEK,
    Workspace = WORKSPACE,
    WorkspaceName = WORKSPACE_NAME,
    Identity = IDENTITY,
    IdentityName = IDENTITY_NAME,
    ApiKey = API_KEY,
    CredentialName = CREDENTIAL_NAME,
    Ledger = LEDGER,
    Lease = LEASE,
    OpenLease = OPEN_LEASE,
    Clock = CLOCK,
    Token = TOKEN,
    ListedToken = LISTED_TOKEN,
    ApiKeyHome = API_KEY_HOME,
    Issuer = ISSUER,
    Seen = SEEN,
    SigningKeys = SIGNING_KEYS,
    LastUse = LAST_USE,
    Tree = TREE,
    Checkpoint = CHECKPOINT,
    AuditIndexState = AUDIT_INDEX_STATE,
    IdentityUse = IDENTITY_USE,
    Retention = RETENTION,
    Alarms = ALARMS,
    Credential = CREDENTIAL,
    Version = VERSION,
    Value = VALUE,
    FirstAnswer = FIRST_ANSWER,
    Sweep = SWEEP,
    Audit = AUDIT,
    PolicySet = POLICY_SET,
    KeyUsage = KEY_USAGE,
    AuditIndexPage = AUDIT_INDEX_PAGE,
    Configuration = CONFIGURATION,
}

impl Table {
    /// Every table, in the order of the keys.
    pub const ALL: [Self; 35] = [
        Self::Header,
        Self::Kek,
        Self::Workspace,
        Self::WorkspaceName,
        Self::Identity,
        Self::IdentityName,
        Self::ApiKey,
        Self::CredentialName,
        Self::Ledger,
        Self::Lease,
        Self::OpenLease,
        Self::Clock,
        Self::Token,
        Self::ListedToken,
        Self::ApiKeyHome,
        Self::Issuer,
        Self::Seen,
        Self::SigningKeys,
        Self::LastUse,
        Self::Tree,
        Self::Checkpoint,
        Self::AuditIndexState,
        Self::IdentityUse,
        Self::Retention,
        Self::Alarms,
        Self::Credential,
        Self::Version,
        Self::Value,
        Self::FirstAnswer,
        Self::Sweep,
        Self::Audit,
        Self::PolicySet,
        Self::KeyUsage,
        Self::AuditIndexPage,
        Self::Configuration,
    ];

    /// Every pair of the table.
    pub fn scan(self) -> Scan {
        Scan::prefix(&[self as u8], usize::MAX)
    }
}

/// The keys that belong to no table, as ranges between those that do.
pub fn strays() -> Vec<Scan> {
    let ends = Table::ALL.map(|table| Key::from_slice(&[table as u8]));
    let starts = Table::ALL.map(|table| after_prefix(&[table as u8]));
    std::iter::once(Key::new())
        .chain(starts)
        .zip(ends.into_iter().chain([Key::from_elem(0xff, 65)]))
        .filter(|(start, end)| start < end)
        .map(|(start, end)| Scan {
            start,
            end,
            limit: usize::MAX,
            reverse: false,
        })
        .collect()
}
