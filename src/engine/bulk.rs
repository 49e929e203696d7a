//! Revoking every lease that matches a filter, credential by credential, before the answer.

use super::{
    Call, Engine, Note, cascade::open_lease_at, credential::author, leases::LeaseFilter,
    update::check_reason,
};
use crate::{
    authz::{Action, Resource},
    domain::{
        error::{Code, Error, Result},
        event::{Change, EventName, Object},
        id::{CredentialId, WorkspaceId},
        lease::Ending,
        name::CredentialName,
    },
    store::{
        key,
        port::{Scan, after_prefix},
    },
};

/// Open leases looked at in one transaction.
const BATCH: usize = 256;

/// Which leases to revoke.
#[derive(Debug, Clone, Default)]
pub struct BulkFilter {
    pub credential_name: Option<CredentialName>,
    pub identity: Option<String>,
    pub version: Option<u32>,
    pub session: Option<String>,
    /// Required in place of an empty filter.
    pub all: bool,
}

/// What a bulk revocation did.
#[derive(Debug)]
pub struct BulkRevocation {
    pub revoked: u64,
}

impl BulkFilter {
    fn is_empty(&self) -> bool {
        self.credential_name.is_none()
            && self.identity.is_none()
            && self.version.is_none()
            && self.session.is_none()
    }

    fn describe(&self) -> Vec<Change> {
        let version = self.version.map(|version| version.to_string());
        [
            (
                "filter.credential_name",
                self.credential_name.as_ref().map(ToString::to_string),
            ),
            ("filter.identity", self.identity.clone()),
            ("filter.version", version),
            ("filter.session_id", self.session.clone()),
        ]
        .into_iter()
        .filter_map(|(field, value)| {
            value.map(|value| super::credential::change(field, None, Some(value)))
        })
        .collect()
    }
}

impl Engine {
    /// Revokes every open lease that matches. Leases issued while it runs may be missed; those that were open
    /// when it began are not.
    pub async fn revoke_leases(
        &self,
        call: &Call,
        filter: &BulkFilter,
        reason: Option<String>,
    ) -> Result<BulkRevocation> {
        check_reason(reason.as_deref())?;
        if filter.is_empty() != filter.all {
            return Err(if filter.all {
                Error::invalid("all", "`all` and a filter exclude each other")
            } else {
                Error::new(
                    Code::MissingParameter,
                    "`filter` is empty; name what to revoke, or send `\"all\": true`",
                )
                .with("field", "filter")
            });
        }
        if filter.version.is_some() && filter.credential_name.is_none() {
            return Err(Error::missing("filter.credential_name"));
        }
        let permit = self
            .authorize(call, Action::LeaseRevoke, Resource::Workspace)
            .await?;
        let workspace = call.principal.workspace;
        let tables = self.tables(workspace)?;
        let mut revoked = 0;
        match &filter.credential_name {
            Some(name) => {
                // A name that does not exist has no leases, and the count says so.
                if let Some(id) = tables.credential_id(&mut self.read(), name).await? {
                    revoked += self
                        .revoke_of(call, &permit, workspace, id, filter, &reason)
                        .await?;
                }
            }
            None => {
                let mut scan = key::open_leases_of(workspace);
                scan.limit = 1;
                while let Some((at, _)) = self.read().scan(&scan).await?.pop() {
                    let open = key::parse_open_lease(&at)
                        .ok_or_else(|| Error::internal("malformed open-lease key"))?;
                    revoked += self
                        .revoke_of(call, &permit, workspace, open.credential, filter, &reason)
                        .await?;
                    scan.start = after_prefix(&key::open_leases(workspace, open.credential).start);
                }
            }
        }
        let mut unit = self.begin(call, &permit, &[]).await?;
        let mut changes = filter.describe();
        changes.push(super::credential::change(
            "revoked",
            None,
            Some(revoked.to_string()),
        ));
        unit.record(Note {
            reason,
            changes,
            ..Note::new(EventName::LeaseBulkRevoked, Object::default())
        })?;
        unit.commit().await?;
        Ok(BulkRevocation { revoked })
    }

    async fn revoke_of(
        &self,
        call: &Call,
        permit: &crate::authz::Permit,
        workspace: WorkspaceId,
        id: CredentialId,
        filter: &BulkFilter,
        reason: &Option<String>,
    ) -> Result<u64> {
        let wanted = LeaseFilter {
            identity: filter.identity.clone(),
            session: filter.session.clone(),
            ..LeaseFilter::default()
        };
        let mut revoked = 0;
        let mut scan = Scan {
            limit: BATCH,
            ..key::open_leases(workspace, id)
        };
        loop {
            let mut unit = self
                .begin(call, permit, &[key::credential_lock(id)])
                .await?;
            let open = unit.txn.scan(&scan).await?;
            let Some((last, _)) = open.last() else {
                return Ok(revoked);
            };
            scan = scan.after(last);
            let mut ledger = unit.tables.ledger(&mut unit.txn, id).await?;
            let before = revoked;
            for (at, _) in &open {
                let missing = || Error::internal("an open lease has no record");
                let lease = unit
                    .tables
                    .lease(&mut unit.txn, open_lease_at(at)?)
                    .await?
                    .ok_or_else(missing)?;
                let version = ledger.pinned(lease.version, lease.delivery);
                let matches = wanted.matches(&lease, unit.now)
                    && filter.version.is_none_or(|wanted| wanted == version)
                    // One that has expired is the reaper's to close, as expired.
                    && lease.check_open(unit.now).is_ok();
                if matches {
                    let ending = Ending::Revoked {
                        by: Some(author(&call.principal)),
                        reason: reason.clone(),
                    };
                    unit.close_lease(&mut ledger, lease, ending).await?;
                    revoked += 1;
                }
            }
            if revoked > before {
                unit.tables.put_ledger(&mut *unit.txn, id, &ledger)?;
                unit.commit().await?;
            }
            tokio::task::yield_now().await;
        }
    }
}
