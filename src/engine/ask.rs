//! Asking what a decision would be, without doing anything: on the facts as they are now, through the same decision
//! point. Nothing is changed and nothing is recorded.

use std::sync::Arc;

use super::{
    Call, Engine,
    authorize::{Subject, grant_facts, of, read_subject, renewal},
    credential::no_credential,
    issue::{IssueLease, WantedHolder},
    lease::{no_lease, resource},
};
use crate::{
    authz::{self, Action, Denial, Facts, LeaseFacts, Refusal, Resource},
    domain::{
        error::{Code, Error, Result},
        id::{CredentialId, KeyId, LeaseId, WorkspaceId},
        lease::Lease,
        name::{CredentialName, IdentityName},
        policy::Delivery,
        principal::IdentityType,
        scope::Scope,
        time::{Timestamp, Ttl},
    },
    tables::Tables,
};

/// The generation of terms that are made for one question and not kept.
const NOT_KEPT: u64 = 0;

/// What an action would be done to.
pub enum AskedResource {
    Vault,
    Workspace,
    Credential(CredentialName),
    Lease(LeaseId),
    Identity {
        kind: IdentityType,
        name: IdentityName,
    },
    Key(KeyId),
}

/// A question about the caller itself.
pub struct Ask {
    /// The action's spelling.
    pub action: String,
    pub resource: AskedResource,
    /// Of a grant or a renewal.
    pub ttl: Option<Ttl>,
    /// Of a grant.
    pub delivery: Option<Delivery>,
    pub reveal: bool,
    pub purpose: Option<String>,
    pub holder: WantedHolder,
}

/// What the decision would be.
pub struct Answered {
    pub allowed: bool,
    pub action: &'static str,
    /// What was asked about, as a decision's explanation spells it.
    pub resource: String,
    pub policies: Vec<String>,
    pub missing_scope: Option<Scope>,
    pub reason: Option<String>,
}

impl Ask {
    fn grant(&self, name: &CredentialName) -> IssueLease {
        IssueLease {
            credential_name: name.clone(),
            ttl: self.ttl,
            delivery: self.delivery,
            holder: self.holder.clone(),
            purpose: self.purpose.clone(),
            reveal: self.reveal,
        }
    }
}

impl AskedResource {
    /// Reads `workspace`, `vault`, `credential/NAME`, `lease/ID`, `identity/TYPE/NAME`, `api-key/ID`.
    pub fn parse(text: &str) -> Result<Self> {
        let unknown = || {
            Error::invalid(
                "resource",
                "`resource` must be `workspace`, `vault`, `credential/NAME`, `lease/ID`, `identity/TYPE/NAME` or \
                 `api-key/ID`",
            )
        };
        match text {
            "workspace" => return Ok(Self::Workspace),
            "vault" => return Ok(Self::Vault),
            _ => {}
        }
        let (kind, rest) = text.split_once('/').ok_or_else(unknown)?;
        match kind {
            "credential" => CredentialName::parse(rest, "resource").map(Self::Credential),
            "lease" => LeaseId::parse(rest).map(Self::Lease).ok_or_else(unknown),
            "api-key" => KeyId::parse(rest).map(Self::Key).ok_or_else(unknown),
            "identity" => {
                let (kind, name) = rest.split_once('/').ok_or_else(unknown)?;
                Ok(Self::Identity {
                    kind: IdentityType::parse(kind).ok_or_else(unknown)?,
                    name: IdentityName::parse(name, "resource")?,
                })
            }
            _ => Err(unknown()),
        }
    }

    /// Whether the action is done to such things.
    fn takes(&self, action: Action) -> bool {
        let family = action.as_str().split(':').next().unwrap_or_default();
        match self {
            Self::Credential(_) => {
                matches!(action, Action::LeaseCreate | Action::LeaseDelegate)
                    || family == "credential" && action != Action::CredentialList
            }
            Self::Lease(_) => matches!(
                action,
                Action::LeaseRead
                    | Action::LeaseRenew
                    | Action::LeaseRelease
                    | Action::LeaseRevoke
                    | Action::HandleRedeem
            ),
            Self::Identity { .. } => matches!(family, "identity" | "key" | "token"),
            Self::Key(_) => family == "key",
            Self::Vault => {
                matches!(
                    family,
                    "sys" | "signing_key" | "issuer" | "policy" | "workspace"
                )
            }
            Self::Workspace => match action {
                Action::CredentialList | Action::LeaseList | Action::LeaseRevokeMany => true,
                _ => !matches!(family, "credential" | "lease" | "handle" | "sys"),
            },
        }
    }
}

impl Engine {
    /// What the decision on the caller's action would be. What is missing, and what another workspace has, is missing
    /// here as it would be then, and told only to whom the action itself would tell it.
    pub async fn ask(&self, call: &Call, ask: &Ask) -> Result<Answered> {
        let action = Action::parse(&ask.action).ok_or_else(|| {
            Error::invalid("action", "`action` must be one such as `lease:create`")
        })?;
        if !ask.resource.takes(action) {
            let message = format!("`{}` is not done to such a resource", action.as_str());
            return Err(Error::invalid("resource", message));
        }
        let principal = &call.principal;
        let tables = self.tables(principal.workspace)?;
        match &ask.resource {
            AskedResource::Vault => {
                Ok(self.verdict(call, action, Resource::Vault, Facts::default()))
            }
            AskedResource::Workspace => {
                Ok(self.verdict(call, action, Resource::Workspace, Facts::default()))
            }
            AskedResource::Identity { kind, name } => {
                let resource = Resource::Identity {
                    kind: *kind,
                    name: name.clone(),
                };
                Ok(self.verdict(call, action, resource, Facts::default()))
            }
            AskedResource::Key(id) => self.ask_key(call, action, *id).await,
            AskedResource::Credential(name) => {
                self.ask_credential(call, (action, ask), &tables, name)
                    .await
            }
            AskedResource::Lease(id) => {
                let lease = tables.lease(&mut self.read(), *id).await?;
                self.ask_lease(
                    call,
                    (action, ask.ttl),
                    &tables,
                    lease.ok_or_else(no_lease)?,
                )
                .await
            }
        }
    }

    async fn ask_key(&self, call: &Call, action: Action, id: KeyId) -> Result<Answered> {
        let system = self.tables(WorkspaceId::SYSTEM)?;
        let found = system.api_key(&mut self.read(), id).await?;
        let (home, own) = (call.principal.workspace, call.principal.identity);
        let key = found
            .filter(|key| key.home == home || key.identity == own)
            .ok_or_else(|| Error::not_found("key"))?;
        let resource = Resource::Key {
            id,
            identity: key.identity,
        };
        Ok(self.verdict(call, action, resource, Facts::default()))
    }

    async fn ask_credential(
        &self,
        call: &Call,
        (action, ask): (Action, &Ask),
        tables: &Tables,
        name: &CredentialName,
    ) -> Result<Answered> {
        let resource = || Resource::Credential(name.clone());
        if let Err(denial) = authz::screen(&call.principal, action, resource()) {
            return Ok(Answered::denied(action, &denial));
        }
        let read = &mut self.read();
        let id = tables.credential_id(read, name).await?;
        if action == Action::CredentialCreate {
            return Ok(self.verdict(call, action, resource(), Facts::default()));
        }
        let id = id.ok_or_else(no_credential)?;
        let credential = tables
            .credential(read, id)
            .await?
            .ok_or_else(no_credential)?;
        let grant = matches!(action, Action::LeaseCreate | Action::LeaseDelegate);
        if !grant {
            let facts = Facts {
                credential: Some(of(&credential)),
                ..Facts::default()
            };
            return Ok(self.verdict(call, action, resource(), facts));
        }
        let command = ask.grant(name);
        let principal = &call.principal;
        if !command.holder.means(principal)
            && let Err(denial) = authz::screen(principal, Action::LeaseDelegate, resource())
        {
            return Ok(Answered::denied(action, &denial));
        }
        let holder = self.holder(call, tables, &command).await?;
        let settings = self.settings(tables.workspace).await?;
        let resolved = self.resolve(credential, &settings, NOT_KEPT)?;
        let facts = grant_facts(principal, &holder, &command, &resolved);
        // A lease for another identity than the caller takes two decisions.
        if holder.identity != call.principal.identity && action == Action::LeaseCreate {
            let delegated = self.decide(call, Action::LeaseDelegate, resource(), facts, self.now());
            if let Err(denial) = delegated {
                return Ok(Answered::denied(action, &denial));
            }
        }
        Ok(self.verdict(call, action, resource(), facts))
    }

    async fn ask_lease(
        &self,
        call: &Call,
        (action, ttl): (Action, Option<Ttl>),
        tables: &Tables,
        lease: Lease,
    ) -> Result<Answered> {
        let subject = self.lease_subject(tables, action, lease.credential).await?;
        let facts = of_lease(action, &lease, &subject, ttl, self.now());
        Ok(self.verdict(call, action, resource(&lease), facts))
    }

    /// The credential of a lease, as the decision on the action would see it.
    pub(super) async fn lease_subject(
        &self,
        tables: &Tables,
        action: Action,
        id: CredentialId,
    ) -> Result<Subject> {
        let read = &mut self.read();
        let Some(credential) = tables.credential(read, id).await? else {
            return Ok(Subject::Unread);
        };
        let settings = self.settings(tables.workspace).await?;
        match self.resolve(credential, &settings, NOT_KEPT) {
            Ok(resolved) => Ok(Subject::Resolved(Arc::new(resolved))),
            // The named policy is gone: only a renewal needs it.
            Err(error) if error.code() == Code::InvalidState && action != Action::LeaseRenew => {
                read_subject(tables, read, id).await
            }
            Err(error) => Err(error),
        }
    }

    fn verdict(
        &self,
        call: &Call,
        action: Action,
        resource: Resource,
        facts: Facts<'_>,
    ) -> Answered {
        match self.decide(call, action, resource, facts, self.now()) {
            Ok(permit) => Answered {
                allowed: true,
                action: action.as_str(),
                resource: permit.resource().describe(),
                policies: vec![permit.decided_by().to_owned()],
                missing_scope: None,
                reason: None,
            },
            Err(denial) => Answered::denied(action, &denial),
        }
    }
}

impl Answered {
    fn denied(action: Action, denial: &Denial) -> Self {
        let missing_scope = match denial.refusal {
            Refusal::Scope { missing, .. } => Some(missing),
            _ => None,
        };
        let storing = matches!(action, Action::CredentialCreate | Action::CredentialRotate);
        let reason = match denial.refusal {
            Refusal::Failed if storing => {
                "a policy looks at the value or its metadata, which are no part of this question"
                    .to_owned()
            }
            _ => denial.reason(),
        };
        Self {
            allowed: false,
            action: action.as_str(),
            resource: denial.resource.describe(),
            policies: denial.policies.clone(),
            missing_scope,
            reason: Some(reason),
        }
    }
}

/// The facts of an action on a lease that exists.
pub(super) fn of_lease<'a>(
    action: Action,
    lease: &'a Lease,
    subject: &'a Subject,
    ttl: Option<Ttl>,
    now: Timestamp,
) -> Facts<'a> {
    let terms = match subject {
        Subject::Resolved(resolved) if action == Action::LeaseRenew => {
            Some(renewal(lease, &resolved.terms, ttl, now))
        }
        _ => None,
    };
    Facts {
        lease: Some(LeaseFacts::of(lease)),
        terms,
        ..subject.facts()
    }
}
