//! Scopes, and roles as named sets of them.

use serde::{Deserialize, Serialize};

macro_rules! scopes {
    ($($name:ident = $bit:literal, $text:literal;)*) => {
        /// One permission, as keys hold it. Each number is a bit of a stored [`ScopeSet`]: never reuse one.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Scope {
            $($name = $bit,)*
        }

        impl Scope {
            /// Every scope, in the order of its bit.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The scope's spelling.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Reads the spelling; `None` for anything else.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$name),)* _ => None }
            }
        }
    };
}

scopes! {
    CredentialRead = 0, "credential:read";
    CredentialCreate = 1, "credential:create";
    CredentialUpdate = 2, "credential:update";
    CredentialRotate = 3, "credential:rotate";
    CredentialDelete = 4, "credential:delete";
    LeaseCreate = 8, "lease:create";
    LeaseDelegate = 9, "lease:delegate";
    LeaseRead = 10, "lease:read";
    LeaseRenew = 11, "lease:renew";
    LeaseRevoke = 12, "lease:revoke";
    HandleRedeem = 16, "handle:redeem";
    AuditRead = 20, "audit:read";
    SystemRead = 24, "sys:read";
    SystemBackup = 25, "sys:backup";
}

/// A set of scopes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ScopeSet(u64);

impl ScopeSet {
    /// No scope at all.
    pub const EMPTY: Self = Self(0);

    /// The set of these scopes.
    pub const fn of(scopes: &[Scope]) -> Self {
        let mut bits = 0;
        let mut rest = scopes;
        while let [head, tail @ ..] = rest {
            bits |= 1 << (*head as u64);
            rest = tail;
        }
        Self(bits)
    }

    /// The set without `scope`.
    #[must_use]
    pub const fn without(self, scope: Scope) -> Self {
        Self(self.0 & !(1 << (scope as u64)))
    }

    /// Whether the set holds `scope`.
    pub const fn contains(self, scope: Scope) -> bool {
        self.0 & (1 << (scope as u64)) != 0
    }

    /// The scopes in the set, in the order of their bits.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL
            .iter()
            .copied()
            .filter(move |scope| self.contains(*scope))
    }
}

/// A named set of scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Owner,
    Admin,
    Auditor,
    WorkspaceAdmin,
    Operator,
    Agent,
    Viewer,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 7] = [
        Self::Owner,
        Self::Admin,
        Self::Auditor,
        Self::WorkspaceAdmin,
        Self::Operator,
        Self::Agent,
        Self::Viewer,
    ];

    /// The role's spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Auditor => "auditor",
            Self::WorkspaceAdmin => "workspace_admin",
            Self::Operator => "operator",
            Self::Agent => "agent",
            Self::Viewer => "viewer",
        }
    }

    /// What the role may do. An `agent` leases for itself and sees its own leases only; an `operator` stores
    /// and rotates but takes no lease; only administrators lease in another's name. A backup holds every
    /// workspace, so it is for the organisation's own administrators.
    pub const fn scopes(self) -> ScopeSet {
        use Scope::*;
        match self {
            Self::Owner | Self::Admin => ScopeSet::of(Scope::ALL),
            Self::WorkspaceAdmin => ScopeSet::of(Scope::ALL).without(SystemBackup),
            Self::Auditor => ScopeSet::of(&[CredentialRead, LeaseRead, AuditRead, SystemRead]),
            Self::Operator => ScopeSet::of(&[
                CredentialRead,
                CredentialCreate,
                CredentialUpdate,
                CredentialRotate,
                CredentialDelete,
                LeaseRead,
                LeaseRevoke,
                SystemRead,
            ]),
            Self::Agent => ScopeSet::of(&[LeaseCreate, LeaseRenew, HandleRedeem]),
            Self::Viewer => ScopeSet::of(&[CredentialRead, LeaseRead]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_round_trip_and_bits_are_distinct() {
        for scope in Scope::ALL {
            assert_eq!(Scope::parse(scope.as_str()), Some(*scope));
            assert_eq!(ScopeSet::of(&[*scope]).iter().collect::<Vec<_>>(), [*scope]);
        }
        assert_eq!(ScopeSet::of(Scope::ALL).iter().count(), Scope::ALL.len());
        assert_eq!(Scope::parse("credential:*"), None);
    }

    #[test]
    fn only_the_organisations_administrators_may_take_a_backup() {
        let may: Vec<_> = Role::ALL
            .into_iter()
            .filter(|role| role.scopes().contains(Scope::SystemBackup))
            .collect();
        assert_eq!(may, [Role::Owner, Role::Admin]);
    }

    #[test]
    fn an_agent_can_neither_delegate_nor_read_what_others_hold() {
        let agent = Role::Agent.scopes();
        for scope in [
            Scope::LeaseDelegate,
            Scope::LeaseRead,
            Scope::LeaseRevoke,
            Scope::CredentialRead,
        ] {
            assert!(!agent.contains(scope), "{}", scope.as_str());
        }
    }
}
