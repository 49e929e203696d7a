//! Reading what happened to the vault itself: starts and stops, its configuration, and requests of nobody.

use super::{Call, Engine, Note, history::filtered};
use crate::{
    audit::query::{AuditFilter, AuditPage, Window},
    authz::{Action, Denial, Refusal, Resource},
    domain::{
        error::Result,
        event::{EventName, Object},
        id::WorkspaceId,
        scope::Scope,
    },
};

impl Engine {
    /// A page of the history of the vault itself. The reading becomes part of the caller's workspace's. INVARIANT
    /// (isolation): it is for callers that reach every workspace.
    pub async fn vault_audit(
        &self,
        call: &Call,
        filter: &AuditFilter,
        window: Window,
    ) -> Result<AuditPage> {
        let permit = self
            .authorize(call, Action::AuditRead, Resource::Workspace)
            .await?;
        if !call.principal.organisation {
            let denial = Denial {
                action: Action::AuditRead,
                resource: Resource::Vault,
                policies: vec![permit.decided_by().to_owned()],
                refusal: Refusal::Scope {
                    missing: Scope::AuditRead,
                    why: "the history of the vault itself is for callers that reach every workspace",
                },
            };
            return Err(self.deny(call, Box::new(denial)).await?);
        }
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
        self.history(WorkspaceId::SYSTEM)
            .query(filter, window)
            .await
    }
}
