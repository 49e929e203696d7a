//! Issuing leases.

mod again;
mod grant;

use self::grant::Granted;
use super::{
    Call, Engine,
    credential::no_credential,
    idempotency::{Answer, Slot},
    views::LeaseView,
};
use crate::{
    authz::{Action, Resource},
    domain::{
        error::{Code, Error, Result},
        event::{EventName, Object},
        lease::{Holder, LeaseStatus},
        name::{CredentialName, IdentityName, MAX_SESSION_BYTES, MAX_TEXT_BYTES, check_text},
        policy::Delivery,
        principal::{IdentityType, Principal},
        secret::SecretText,
        time::Ttl,
    },
    store::key,
    tables::Tables,
};

/// Expired leases that a grant at the cap closes itself before it refuses.
const DUE_AT_GRANT: usize = 64;

/// The identity that a lease is asked for.
#[derive(Debug, Clone, Default)]
pub struct WantedHolder {
    pub kind: Option<IdentityType>,
    pub name: Option<IdentityName>,
    pub session: Option<String>,
}

impl WantedHolder {
    /// Whether it is the caller itself.
    pub(super) fn means(&self, principal: &Principal) -> bool {
        self.name
            .as_ref()
            .is_none_or(|name| *name == principal.name)
            && self.kind.is_none_or(|kind| kind == principal.kind)
    }
}

/// A lease to issue.
#[derive(Debug)]
pub struct IssueLease {
    pub credential_name: CredentialName,
    pub ttl: Option<Ttl>,
    pub delivery: Option<Delivery>,
    pub holder: WantedHolder,
    pub purpose: Option<String>,
    /// Whether the answer shows the value.
    pub reveal: bool,
}

/// A lease that was issued, with what is shown once.
pub struct Issued {
    pub view: LeaseView,
    pub handle: SecretText,
    pub value: Option<SecretText>,
    /// Whether a retry does not show the value again, since that would be one use too many.
    pub withheld: bool,
}

impl Engine {
    /// Issues a lease. INVARIANT (lease-cap): the credential's lock is held from the count to the commit.
    pub async fn issue_lease(&self, call: &Call, command: IssueLease) -> Result<Issued> {
        let resource = Resource::Credential(command.credential_name.clone());
        self.screen(call, Action::LeaseCreate, resource).await?;
        if let Some(purpose) = &command.purpose {
            check_text(purpose, "purpose", MAX_TEXT_BYTES)?;
        }
        let tables = self.tables(call.principal.workspace)?;
        let holder = self.holder(call, &tables, &command).await?;
        let slot = Slot::of(self, call, "lease:create")?;
        let name = &command.credential_name;
        let mut hinted = true;
        let (id, mut unit) = loop {
            let id = if hinted {
                self.credential_hint(&tables, name).await?
            } else {
                tables.credential_id(&mut self.read(), name).await?
            };
            let id = id.ok_or_else(no_credential)?;
            let mut locks = vec![key::credential_lock(id)];
            locks.extend(slot.lock());
            let mut unit = self.begin_undecided(call, &locks).await?;
            if unit.is_named(id, name).await? {
                break (id, unit);
            }
            // Deleted meanwhile; its name may stand for another one by now.
            self.forget_hint(tables.workspace, name);
            if !std::mem::take(&mut hinted) {
                return Err(no_credential());
            }
        };
        if let Err(denial) = unit.decide_grant(call, id, &holder, &command).await? {
            drop(unit);
            return Err(self.deny(call, denial).await?);
        }
        match slot.first(&mut unit).await? {
            Some(Answer::Issued {
                lease,
                metadata,
                reveal,
            }) => {
                let again = self.issue_again(call, unit, &slot, (*lease, metadata), reveal);
                return Box::pin(again).await;
            }
            Some(_) => return Err(Error::internal("a first answer of another operation")),
            None => {}
        }
        let reveal = command.reveal;
        let refused = Object {
            credential: Some(id),
            credential_name: Some(command.credential_name.clone()),
            holder: Some(holder.identity),
            holder_name: Some(holder.name.clone()),
            session: holder.session.clone(),
            ..Object::default()
        };
        let granted = match unit.grant(call, &slot, id, holder, command).await {
            Ok(granted) => granted,
            Err(error) => {
                drop(unit);
                return self
                    .recorded(call, EventName::LeaseRefused, refused, Err(error))
                    .await;
            }
        };
        let Granted {
            lease,
            metadata,
            handle,
            touch,
        } = granted;
        let value = match reveal {
            true => Some(unit.tables.value(&mut unit.txn, id, lease.version).await?),
            false => None,
        };
        slot.keep(&mut unit, || Answer::Issued {
            lease: Box::new(lease.clone()),
            metadata: metadata.clone(),
            reveal,
        })?;
        // Before the commit: a caller that goes away while it waits must not leave the lease unscheduled.
        self.schedule
            .add((unit.tables.workspace, id), lease.expires_at);
        unit.commit_touched(call, touch).await?;
        // INVARIANT (ttl): the lease may have ended while its commit waited for the disk.
        let ended = value.as_ref().and_then(|_| lease.ran_out(self.now()));
        self.stays_over(ended).await?;
        let value = value.filter(|_| ended.is_none());
        let view = LeaseView {
            status: LeaseStatus::Active,
            version: lease.version,
            metadata,
            lease,
        };
        Ok(Issued {
            view,
            handle,
            value,
            withheld: false,
        })
    }

    /// Whom the lease is for: the caller itself, or, with `lease:delegate`, another active identity of the
    /// workspace.
    pub(super) async fn holder(
        &self,
        call: &Call,
        tables: &Tables,
        command: &IssueLease,
    ) -> Result<Holder> {
        let principal = &call.principal;
        let wanted = &command.holder;
        if let Some(session) = &wanted.session {
            check_text(session, "identity.session_id", MAX_SESSION_BYTES)?;
        }
        let session = wanted.session.clone();
        if wanted.means(principal) {
            let (identity, kind, name) =
                (principal.identity, principal.kind, principal.name.clone());
            return Ok(Holder {
                identity,
                kind,
                name,
                session,
            });
        }
        let resource = Resource::Credential(command.credential_name.clone());
        self.screen(call, Action::LeaseDelegate, resource).await?;
        let Some(name) = &wanted.name else {
            return Err(Error::missing("identity.name"));
        };
        let kind = wanted.kind.unwrap_or(IdentityType::Agent);
        let read = &mut self.read();
        let unknown = || {
            Error::invalid(
                "identity.name",
                format!("no {} is named `{name}` in this workspace", kind.as_str()),
            )
        };
        let id = tables
            .identity_id(read, kind, name)
            .await?
            .ok_or_else(unknown)?;
        let identity = tables.identity(read, id).await?.ok_or_else(unknown)?;
        if !identity.is_active() {
            return Err(Error::new(
                Code::IdentitySuspended,
                "the identity is suspended",
            ));
        }
        Ok(Holder {
            identity: id,
            kind,
            name: identity.name,
            session,
        })
    }
}
