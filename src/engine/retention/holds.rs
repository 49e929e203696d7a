//! Legal holds: named reasons for which nothing is removed.

use super::{
    super::credential::{author, change},
    Engine,
};
use crate::{
    authz::{Action, Resource},
    domain::{
        error::{Error, Result},
        event::{EventName, Object},
        id::WorkspaceId,
        name::{HoldName, check_text},
        retention::{Hold, MAX_HOLD_REASON_BYTES, MAX_HOLDS},
    },
    engine::{Call, Note, Page, PageRequest},
    store::key,
};

const SORTS: [(&str, ()); 1] = [("name", ())];
const DEFAULT_SORT: &str = "name";

fn object(name: &HoldName) -> Object {
    Object {
        name: Some(name.to_string()),
        ..Object::default()
    }
}

impl Engine {
    /// Sets a legal hold, or gives one that is in force another reason. Once this is answered, nothing is removed.
    pub async fn set_hold(&self, call: &Call, name: HoldName, reason: String) -> Result<Hold> {
        let permit = self
            .authorize(call, Action::AuditHold, Resource::Vault)
            .await?;
        check_text(&reason, "reason", MAX_HOLD_REASON_BYTES)?;
        if reason.trim().is_empty() {
            return Err(Error::invalid("reason", "`reason` is empty"));
        }
        let system = self.tables(WorkspaceId::SYSTEM)?;
        let locks = [key::retention_lock()];
        let mut unit = self.begin(call, &permit, &locks).await?;
        let holds = system.holds(&mut unit.txn).await?;
        let before = holds.iter().find(|hold| hold.name == name);
        if before.is_none() && holds.len() >= MAX_HOLDS {
            return Err(Error::state(format!(
                "{MAX_HOLDS} legal holds are in force; release one first"
            ))
            .with("limit", MAX_HOLDS as u64));
        }
        let hold = match before {
            // Set since then, whatever it is for now.
            Some(before) => Hold {
                reason,
                ..before.clone()
            },
            None => Hold {
                name,
                reason,
                set_at: unit.now,
                set_by: author(&call.principal),
            },
        };
        if before == Some(&hold) {
            return Ok(hold);
        }
        let was = before.map(|before| before.reason.clone());
        system.put_retention(&mut *unit.txn, system.hold_key(&hold.name), &hold)?;
        unit.record(Note {
            reason: Some(hold.reason.clone()),
            changes: vec![change("reason", was, Some(hold.reason.clone()))],
            ..Note::new(EventName::AuditHoldSet, object(&hold.name))
        })?;
        unit.commit().await?;
        Ok(hold)
    }

    /// Releases a legal hold.
    pub async fn release_hold(&self, call: &Call, name: &HoldName) -> Result<Hold> {
        let permit = self
            .authorize(call, Action::AuditHold, Resource::Vault)
            .await?;
        let system = self.tables(WorkspaceId::SYSTEM)?;
        let locks = [key::retention_lock()];
        let mut unit = self.begin(call, &permit, &locks).await?;
        let at = system.hold_key(name);
        let hold: Option<Hold> = system.retention(&mut unit.txn, &at).await?;
        let hold = hold.ok_or_else(|| Error::not_found("legal hold"))?;
        unit.txn.delete(at);
        unit.record(Note {
            changes: vec![change("reason", Some(hold.reason.clone()), None)],
            ..Note::new(EventName::AuditHoldReleased, object(name))
        })?;
        unit.commit().await?;
        Ok(hold)
    }

    /// A page of the legal holds in force.
    pub async fn holds(&self, call: &Call, request: &PageRequest) -> Result<Page<Hold>> {
        self.authorize(call, Action::AuditHoldRead, Resource::Vault)
            .await?;
        let window = request.window(&SORTS, DEFAULT_SORT)?;
        let holds = self.holds_in_force().await?.into_iter();
        let holds = holds.map(|hold| (hold.name.as_str().as_bytes().to_vec(), hold));
        Ok(request.cut(&window, DEFAULT_SORT, holds.collect()))
    }
}
