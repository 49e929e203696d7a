//! Asking what a decision would be, without doing anything: on the facts as they are now, through the same decision
//! point. Nothing is changed, and nothing is recorded but that somebody may not ask in another's name.

mod resource;

use std::sync::Arc;

pub use self::resource::AskedResource;
use super::{
    Call, Engine,
    authorize::{Subject, grant_facts, of, read_subject, renewal},
    credential::no_credential,
    identities::no_identity,
    issue::{IssueLease, WantedHolder},
    lease::{no_lease, resource},
    tokens,
};
use crate::{
    authz::{self, Action, Denial, Facts, LeaseFacts, Refusal, Resource},
    domain::{
        error::{Code, Error, Result},
        id::{CredentialId, KeyId, TokenId, WorkspaceId},
        lease::Lease,
        name::{CredentialName, IdentityName},
        policy::Delivery,
        principal::{IdentityType, Principal, Roles},
        scope::Scope,
        time::{Timestamp, Ttl},
    },
    tables::Tables,
};

/// The generation of terms that are made for one question and not kept.
const NOT_KEPT: u64 = 0;

/// A question about the caller itself, or about whom it names.
pub struct Ask {
    /// Whose action it would be: the caller's own where none.
    pub identity: Option<(IdentityType, IdentityName)>,
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
    /// Whether the caller itself may do this.
    pub(super) fn simply(action: String, resource: AskedResource) -> Result<Self> {
        let ask = Self {
            identity: None,
            action,
            resource,
            ttl: None,
            delivery: None,
            reveal: false,
            purpose: None,
            holder: WantedHolder::default(),
        };
        ask.checked().map(|_| ask)
    }

    /// The action, which is done to such a resource.
    fn checked(&self) -> Result<Action> {
        let unknown = || Error::invalid("action", "`action` must be one such as `lease:create`");
        let action = Action::parse(&self.action).ok_or_else(unknown)?;
        self.resource.check(action)?;
        Ok(action)
    }

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

impl Engine {
    /// What the decision on the action would be.
    pub async fn ask(&self, call: &Call, ask: &Ask) -> Result<Answered> {
        match &ask.identity {
            None => self.ask_oneself(call, ask).await,
            Some((kind, name)) => {
                let other = self.stand_in(call, *kind, name).await?;
                self.ask_oneself(&other, ask).await
            }
        }
    }

    /// The call as it would be with a key that has all of another identity's role, for whoever may see identities and
    /// policies. It is good for questions only.
    async fn stand_in(&self, call: &Call, kind: IdentityType, name: &IdentityName) -> Result<Call> {
        let about = Resource::Identity {
            kind,
            name: name.clone(),
        };
        self.authorize(call, Action::IdentityRead, about).await?;
        self.authorize(call, Action::PolicyRead, Resource::Workspace)
            .await?;
        let tables = self.tables(call.principal.workspace)?;
        let read = &mut self.read();
        let id = tables.identity_id(read, kind, name).await?;
        let found = match id {
            Some(id) => tables.identity(read, id).await?,
            None => None,
        };
        let identity = found.ok_or_else(no_identity)?;
        if !identity.is_active() {
            return Err(Error::new(
                Code::IdentitySuspended,
                "the identity is suspended, and may do nothing",
            ));
        }
        Ok(Call {
            principal: Principal {
                identity: identity.id,
                name: identity.name,
                kind: identity.kind,
                role: Some(identity.role),
                roles: Roles::of(identity.role, None),
                scopes: identity.role.scopes(),
                labels: Arc::new(identity.labels),
                organisation: identity.role.is_organisational(),
                ..call.principal.clone()
            },
            origin: call.origin.clone(),
            idempotency: None,
            entered: self.enter(),
        })
    }

    /// What the decision on the caller's action would be. What is missing, and what another workspace has, is missing
    /// here as it would be then, and told only to whom the action itself would tell it.
    async fn ask_oneself(&self, call: &Call, ask: &Ask) -> Result<Answered> {
        let action = ask.checked()?;
        let principal = &call.principal;
        let tables = self.tables(principal.workspace)?;
        match &ask.resource {
            AskedResource::Vault => Ok(self.second_verdict(call, action, Resource::Vault)),
            AskedResource::Workspace => {
                Ok(self.verdict(call, action, Resource::Workspace, Facts::default()))
            }
            AskedResource::Identity { kind, name } => {
                let resource = Resource::Identity {
                    kind: *kind,
                    name: name.clone(),
                };
                Ok(self.second_verdict(call, action, resource))
            }
            AskedResource::Key(id) => self.ask_key(call, action, *id).await,
            AskedResource::Token(id) => self.ask_token(call, action, *id).await,
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

    async fn ask_token(&self, call: &Call, action: Action, id: TokenId) -> Result<Answered> {
        let token = self.visible_token(call, id).await?;
        Ok(self.verdict(call, action, tokens::resource(&token), Facts::default()))
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

    /// What the decision would be if there were such a credential, of which nothing is known.
    pub(super) fn ask_absent(
        &self,
        call: &Call,
        ask: &Ask,
        name: &CredentialName,
    ) -> Result<Answered> {
        let resource = Resource::Credential(name.clone());
        Ok(self.verdict(call, ask.checked()?, resource, Facts::default()))
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

    /// The verdict on the vault or an identity. Registering an issuer of the organisation, and making a key, take one on
    /// the workspace before.
    fn second_verdict(&self, call: &Call, action: Action, resource: Resource) -> Answered {
        if matches!(action, Action::IssuerWrite | Action::KeyCreate) {
            let first = self.verdict(call, action, Resource::Workspace, Facts::default());
            if !first.allowed {
                return Answered {
                    resource: resource.describe(),
                    ..first
                };
            }
        }
        self.verdict(call, action, resource, Facts::default())
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
    /// The policies that decided, as one text; none where nothing permits the action.
    pub fn decided_by(&self) -> Option<String> {
        (!self.policies.is_empty()).then(|| self.policies.join(", "))
    }

    fn denied(action: Action, denial: &Denial) -> Self {
        let missing_scope = match denial.refusal {
            Refusal::Scope { missing, .. } => missing,
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
