//! Testing a key: whether it would be let in now, and whether it might do one thing.

use super::{
    super::{
        Ask, AskedResource, Call, Engine, WantedHolder,
        authorize::{Subject, read_subject},
        lease,
    },
    resource,
};
use crate::{
    authz::{self, Action, Question, Refusal, Resource},
    domain::{
        error::{Code, Error, Result},
        id::{KeyId, LeaseId},
        name::{CredentialName, IdentityName},
        principal::{IdentityType, Principal},
        scope::Scope,
    },
};

/// What a test of a key found.
pub struct KeyTest {
    /// Why it would be turned away; none where it would be let in.
    pub refusal: Option<Error>,
    /// The permission that was asked for, where the key would be let in.
    pub permission: Option<PermissionTest>,
}

/// Whether a key may do one thing now.
pub struct PermissionTest {
    pub action: Action,
    /// The resource as decisions spell it.
    pub resource: String,
    /// The policies that decided; none where nothing permits the action.
    pub decided_by: Option<String>,
    /// Why not, and the scope that it lacks, where that is why; none where it is allowed.
    pub denied: Option<(String, Option<Scope>)>,
}

impl Engine {
    /// Tells whether a key would be let in, and whether it may do `wanted`: an action, and a resource such as
    /// `credential/stripe-key` (the workspace where none is named). Nothing is done, and nobody is recorded as
    /// having been denied.
    pub async fn test_api_key(
        &self,
        call: &Call,
        id: KeyId,
        wanted: Option<(&str, Option<&str>)>,
    ) -> Result<KeyTest> {
        let key = self.find_key(call, id).await?;
        self.authorize(call, Action::KeyRead, resource(&key))
            .await?;
        let wanted = match wanted {
            None => None,
            Some((action, text)) => {
                let unknown =
                    || Error::invalid("action", "`action` must be one such as `lease:create`");
                let action = Action::parse(action).ok_or_else(unknown)?;
                Some((action, self.described(call, text).await?))
            }
        };
        let workspace = call.principal.workspace_name.as_str();
        let admitted = self
            .authenticator()?
            .rehearse(id, workspace, self.now())
            .await;
        Ok(match admitted {
            Err(error) => KeyTest {
                refusal: Some(error),
                permission: None,
            },
            Ok(principal) => KeyTest {
                refusal: None,
                permission: match wanted {
                    Some(wanted) => Some(self.permission(call, &principal, wanted).await?),
                    None => None,
                },
            },
        })
    }

    /// The resource of the caller's workspace that a text describes, as decisions spell it.
    async fn described(&self, call: &Call, text: Option<&str>) -> Result<Resource> {
        let unknown = || {
            let known = "`workspace`, `vault`, `credential/NAME`, `lease/ID`, `identity/TYPE/NAME` or `api-key/ID`";
            Error::invalid("resource", format!("`resource` must be {known}"))
        };
        let Some((kind, rest)) = text.map(|text| text.split_once('/').unwrap_or((text, ""))) else {
            return Ok(Resource::Workspace);
        };
        Ok(match kind {
            "workspace" if rest.is_empty() => Resource::Workspace,
            "vault" if rest.is_empty() => Resource::Vault,
            "credential" => Resource::Credential(CredentialName::parse(rest, "resource")?),
            "lease" => {
                let id = LeaseId::parse(rest).ok_or_else(unknown)?;
                let tables = self.tables(call.principal.workspace)?;
                let found = tables.lease(&mut self.read(), id).await?;
                lease::resource(&found.ok_or_else(lease::no_lease)?)
            }
            "identity" => {
                let (kind, name) = rest.split_once('/').ok_or_else(unknown)?;
                Resource::Identity {
                    kind: IdentityType::parse(kind).ok_or_else(unknown)?,
                    name: IdentityName::parse(name, "resource")?,
                }
            }
            "api-key" => {
                let id = KeyId::parse(rest).ok_or_else(unknown)?;
                let found = self.find_key(call, id).await?;
                resource(&found)
            }
            _ => return Err(unknown()),
        })
    }
}

impl Engine {
    /// The permission on a credential that is there, on the facts that the action itself would be decided on.
    async fn grant_permission(
        &self,
        call: &Call,
        principal: &Principal,
        action: Action,
        name: &CredentialName,
    ) -> Result<Option<PermissionTest>> {
        let asked = Call {
            entered: self.enter(),
            principal: principal.clone(),
            origin: call.origin.clone(),
            idempotency: None,
        };
        let ask = Ask {
            identity: None,
            action: action.as_str().to_owned(),
            resource: AskedResource::Credential(name.clone()),
            ttl: None,
            delivery: None,
            reveal: false,
            purpose: None,
            holder: WantedHolder::default(),
        };
        let answered = match self.ask(&asked, &ask).await {
            Ok(answered) => answered,
            Err(error) if matches!(error.code(), Code::NotFound | Code::InvalidParameter) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let decided = !answered.policies.is_empty();
        Ok(Some(PermissionTest {
            action,
            resource: answered.resource,
            decided_by: decided.then(|| answered.policies.join(", ")),
            denied: (!answered.allowed)
                .then(|| (answered.reason.unwrap_or_default(), answered.missing_scope)),
        }))
    }

    async fn permission(
        &self,
        call: &Call,
        principal: &Principal,
        (action, resource): (Action, Resource),
    ) -> Result<PermissionTest> {
        if let Resource::Credential(name) = &resource
            && let Some(found) = self.grant_permission(call, principal, action, name).await?
        {
            return Ok(found);
        }
        let spelled = resource.describe();
        let tables = self.tables(call.principal.workspace)?;
        let subject = match &resource {
            Resource::Credential(name) => {
                match tables.credential_id(&mut self.read(), name).await? {
                    Some(id) => read_subject(&tables, &mut self.read(), id).await?,
                    None => Subject::Unread,
                }
            }
            _ => Subject::Unread,
        };
        let question = Question {
            principal,
            action,
            resource,
            now: self.now(),
            source_ip: call.origin.source_ip,
            facts: subject.facts(),
        };
        let (decided_by, denied) = match authz::decide(&self.access.snapshot(), question) {
            Ok(permit) => (Some(permit.decided_by().to_owned()), None),
            Err(denial) => {
                let missing = match denial.refusal {
                    Refusal::Scope { missing, .. } => Some(missing),
                    _ => None,
                };
                let why = denial.error().message().to_owned();
                (denial.decided_by(), Some((why, missing)))
            }
        };
        Ok(PermissionTest {
            action,
            resource: spelled,
            decided_by,
            denied,
        })
    }
}
