//! Testing a key: whether it would be let in now, and whether it might do one thing.

use super::{
    super::{Answered, Ask, AskedResource, Call, Engine},
    resource,
};
use crate::{
    authz::Action,
    domain::{
        error::{Code, Error, Result},
        id::KeyId,
        principal::Principal,
    },
};

/// What a test of a key found.
pub struct KeyTest {
    /// Why it would be turned away; none where it would be let in.
    pub refusal: Option<Error>,
    /// The permission that was asked for, where the key would be let in.
    pub permission: Option<Answered>,
}

impl Engine {
    /// Tells whether a key would be let in, and whether it may do `wanted`, an action to a resource of the caller's
    /// workspace. Nothing is done, and nobody is recorded as having been denied.
    pub async fn test_api_key(
        &self,
        call: &Call,
        id: KeyId,
        wanted: Option<(String, AskedResource)>,
    ) -> Result<KeyTest> {
        let key = self.find_key(call, id).await?;
        self.authorize(call, Action::KeyRead, resource(&key))
            .await?;
        let wanted = wanted.map(|(action, resource)| Ask::simply(action, resource));
        let wanted = wanted.transpose()?;
        let workspace = call.principal.workspace_name.as_str();
        let admitted = self
            .authenticator()?
            .rehearse(id, workspace, self.now())
            .await;
        Ok(match (admitted, wanted) {
            (Err(refusal), _) => KeyTest {
                refusal: Some(refusal),
                permission: None,
            },
            (Ok(_), None) => KeyTest {
                refusal: None,
                permission: None,
            },
            (Ok(principal), Some(ask)) => KeyTest {
                refusal: None,
                permission: Some(self.permission(call, principal, &ask).await?),
            },
        })
    }

    /// The decision as it would be on the key's own request.
    async fn permission(&self, call: &Call, principal: Principal, ask: &Ask) -> Result<Answered> {
        let asked = Call {
            entered: self.enter(),
            principal,
            origin: call.origin.clone(),
            idempotency: None,
        };
        match (self.ask(&asked, ask).await, &ask.resource) {
            // Whoever tests the key may not have the right to know which credentials there are.
            (Err(error), AskedResource::Credential(name)) if error.code() == Code::NotFound => {
                self.ask_absent(&asked, ask, name)
            }
            (answered, _) => answered,
        }
    }
}
