//! What clients do, and how often.

/// What a client may do next, and how often a keeper and an agent do it.
pub const ACTIONS: [(Action, u64, u64); 18] = [
    (Action::Issue, 14, 30),
    (Action::IssueAgain, 5, 10),
    (Action::Redeem, 8, 22),
    (Action::Renew, 5, 12),
    (Action::Release, 5, 14),
    (Action::Show, 3, 4),
    (Action::List, 3, 3),
    (Action::Forbidden, 0, 3),
    (Action::Create, 10, 0),
    (Action::Rotate, 12, 0),
    (Action::Policy, 8, 0),
    (Action::State, 5, 0),
    (Action::RevokeVersion, 3, 0),
    (Action::Delete, 4, 0),
    (Action::Revoke, 5, 0),
    (Action::BulkRevoke, 3, 0),
    (Action::Credentials, 4, 0),
    (Action::Audit, 2, 0),
];

#[derive(Debug, Clone, Copy)]
pub enum Action {
    Issue,
    IssueAgain,
    Redeem,
    Renew,
    Release,
    Show,
    List,
    Forbidden,
    Create,
    Rotate,
    Policy,
    State,
    RevokeVersion,
    Delete,
    Revoke,
    BulkRevoke,
    Credentials,
    Audit,
}
