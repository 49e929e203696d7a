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
    CredentialTest = 5, "credential:test";
    LeaseCreate = 8, "lease:create";
    LeaseDelegate = 9, "lease:delegate";
    LeaseRead = 10, "lease:read";
    LeaseRenew = 11, "lease:renew";
    LeaseRevoke = 12, "lease:revoke";
    HandleRedeem = 16, "handle:redeem";
    AuditRead = 20, "audit:read";
    AuditExport = 21, "audit:export";
    SystemRead = 24, "sys:read";
    SystemBackup = 25, "sys:backup";
    IdentityRead = 26, "identity:read";
    IdentityCreate = 27, "identity:create";
    IdentityUpdate = 28, "identity:update";
    IdentitySuspend = 29, "identity:suspend";
    IdentityDelete = 30, "identity:delete";
    IdentityFederate = 31, "identity:federate";
    KeyRead = 32, "key:read";
    KeyCreate = 33, "key:create";
    KeyUpdate = 34, "key:update";
    KeyRotate = 35, "key:rotate";
    KeyDelete = 36, "key:delete";
    TokenRead = 37, "token:read";
    TokenCreate = 38, "token:create";
    TokenRevoke = 39, "token:revoke";
    PolicyRead = 40, "policy:read";
    PolicyWrite = 41, "policy:write";
    WebhookRead = 42, "webhook:read";
    WebhookWrite = 43, "webhook:write";
    WorkspaceRead = 44, "workspace:read";
    WorkspaceCreate = 45, "workspace:create";
    WorkspaceUpdate = 46, "workspace:update";
    WorkspaceRevokeAll = 47, "workspace:revoke_all";
    SystemWrite = 48, "sys:write";
}

/// A set of scopes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
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

    /// The set of the scopes that `text` means: one scope, or all of a family (`lease:*`). `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(scope) = Scope::parse(text) {
            return Some(Self::of(&[scope]));
        }
        let family = text
            .strip_suffix('*')
            .filter(|family| family.ends_with(':'))?;
        let scopes: Vec<_> = Scope::ALL
            .iter()
            .copied()
            .filter(|scope| scope.as_str().starts_with(family))
            .collect();
        (!scopes.is_empty()).then(|| Self::of(&scopes))
    }

    /// The scopes of either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The scopes of both sets.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The scopes that `other` lacks.
    #[must_use]
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether no scope is in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
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

    /// Whether the role is one of the organisation, whose holders may act in every workspace.
    pub const fn is_organisational(self) -> bool {
        matches!(self, Self::Owner | Self::Admin | Self::Auditor)
    }

    /// Whether whoever has the role is no weaker than whoever has `other`. An owner's scopes are an administrator's, and
    /// yet an owner has the last word.
    pub const fn covers(self, other: Self) -> bool {
        let owners = matches!(self, Self::Owner) || !matches!(other, Self::Owner);
        owners && other.scopes().difference(self.scopes()).is_empty()
    }

    /// What the role may do. An `agent` leases for itself and sees its own leases only; an `operator` stores
    /// and rotates but takes no lease; only administrators lease in another's name. A backup holds every
    /// workspace, so it is for the organisation's own administrators; making a workspace, and what concerns the
    /// vault itself, is for them as well.
    pub const fn scopes(self) -> ScopeSet {
        use Scope::*;
        match self {
            Self::Owner | Self::Admin => ScopeSet::of(Scope::ALL),
            Self::WorkspaceAdmin => ScopeSet::of(Scope::ALL)
                .without(SystemBackup)
                .without(SystemWrite)
                .without(WorkspaceCreate),
            Self::Auditor => ScopeSet::of(&[
                CredentialRead,
                LeaseRead,
                AuditRead,
                AuditExport,
                SystemRead,
                IdentityRead,
                KeyRead,
                TokenRead,
                PolicyRead,
                WebhookRead,
                WorkspaceRead,
            ]),
            Self::Operator => ScopeSet::of(&[
                CredentialRead,
                CredentialCreate,
                CredentialUpdate,
                CredentialRotate,
                CredentialDelete,
                CredentialTest,
                LeaseRead,
                LeaseRevoke,
                SystemRead,
            ]),
            Self::Agent => ScopeSet::of(&[LeaseCreate, LeaseRenew, HandleRedeem]),
            Self::Viewer => ScopeSet::of(&[CredentialRead, LeaseRead]),
        }
    }

    /// Reads the spelling; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
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
    fn a_family_means_all_of_its_scopes_and_nothing_else() {
        let leases = ScopeSet::parse("lease:*").unwrap();
        assert_eq!(leases.iter().count(), 5);
        assert!(leases.contains(Scope::LeaseDelegate) && !leases.contains(Scope::HandleRedeem));
        assert_eq!(
            ScopeSet::parse("lease:read"),
            Some(ScopeSet::of(&[Scope::LeaseRead]))
        );
        for bad in [
            "*",
            ":*",
            "lease*",
            "lease:",
            "lease:r*",
            "LEASE:*",
            "nothing:*",
            "",
        ] {
            assert_eq!(ScopeSet::parse(bad), None, "{bad}");
        }
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
