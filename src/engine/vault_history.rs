//! Whose history is read: the workspace's, or that of the vault itself: starts and stops, its configuration, and requests of
//! nobody.

use super::{Call, Engine, Note, history::filtered};
use crate::{
    audit::query::{AuditFilter, AuditPage, Window},
    authz::{Action, Denial, Permit, Refusal, Resource},
    domain::{
        error::Result,
        event::{EventName, Object},
        id::WorkspaceId,
    },
};

/// Whose history is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HistoryOf {
    /// The caller's workspace.
    #[default]
    Workspace,
    /// The vault itself.
    Vault,
}

impl HistoryOf {
    /// What history calls a reading of it.
    pub(super) fn named(self, what: &str) -> String {
        match self {
            Self::Workspace => what.to_owned(),
            Self::Vault => format!("{what} of the vault"),
        }
    }
}

impl Engine {
    /// Authorises a reading of history, and says in which workspace its records are. INVARIANT (isolation): that of the vault
    /// itself is for callers that reach every workspace.
    pub(super) async fn authorize_history(
        &self,
        call: &Call,
        action: Action,
        of: HistoryOf,
    ) -> Result<(Permit, WorkspaceId)> {
        let permit = self.authorize(call, action, Resource::Workspace).await?;
        match of {
            HistoryOf::Workspace => Ok((permit, call.principal.workspace)),
            HistoryOf::Vault if call.principal.organisation => Ok((permit, WorkspaceId::SYSTEM)),
            HistoryOf::Vault => {
                let denial = Denial {
                    action,
                    resource: Resource::Vault,
                    policies: vec![permit.decided_by().to_owned()],
                    refusal: Refusal::Scope {
                        missing: None,
                        why: "the history of the vault itself is for callers that reach every workspace",
                    },
                };
                Err(self.deny(call, Box::new(denial)).await?)
            }
        }
    }

    /// A page of the history of the vault itself. The reading becomes part of the caller's workspace's.
    pub async fn vault_audit(
        &self,
        call: &Call,
        filter: &AuditFilter,
        window: Window,
    ) -> Result<AuditPage> {
        let (permit, workspace) = self
            .authorize_history(call, Action::AuditRead, HistoryOf::Vault)
            .await?;
        let mut unit = self.begin(call, &permit, &[]).await?;
        let object = Object {
            name: Some("vault".to_owned()),
            ..Object::default()
        };
        unit.record(Note {
            changes: filtered(filter).collect(),
            ..Note::new(EventName::AuditRead, object)
        })?;
        unit.commit().await?;
        // It may take long, and changes nothing that an emergency stop would have to wait for.
        call.entered.leave();
        self.history(workspace).query(filter, window).await
    }
}
