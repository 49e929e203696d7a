//! What a caller sees of a list.

use std::collections::HashMap;

use super::{
    super::{Call, Engine, lease::resource},
    Subject, of, read_subject,
};
use crate::{
    authz::{Action, Facts, LeaseFacts, Resource},
    domain::{credential::Credential, error::Result, id::CredentialId, lease::Lease},
    tables::{Read, Tables},
};

/// What a caller sees of a list: each item is decided on, where any policy is about reading it.
pub(in crate::engine) struct Sight<'a> {
    engine: &'a Engine,
    call: &'a Call,
    action: Action,
    asked: bool,
    known: HashMap<CredentialId, Subject>,
}

impl Engine {
    /// Decides on the items of a list.
    pub(in crate::engine) fn sight<'a>(&'a self, call: &'a Call, action: Action) -> Sight<'a> {
        let rules = self.access.snapshot();
        Sight {
            engine: self,
            call,
            action,
            asked: rules.concern(call.principal.workspace, action),
            known: HashMap::new(),
        }
    }
}

impl Sight<'_> {
    fn sees(&self, resource: Resource, facts: Facts<'_>) -> bool {
        let now = self.engine.now();
        let decided = self
            .engine
            .decide(self.call, self.action, resource, facts, now);
        decided.is_ok()
    }

    pub(in crate::engine) fn of_credential(&self, credential: &Credential) -> bool {
        let facts = Facts {
            credential: Some(of(credential)),
            ..Facts::default()
        };
        !self.asked || self.sees(Resource::Credential(credential.name.clone()), facts)
    }

    pub(in crate::engine) async fn of_lease(
        &mut self,
        tables: &Tables,
        read: &mut impl Read,
        lease: &Lease,
    ) -> Result<bool> {
        if !self.asked {
            return Ok(true);
        }
        let subject = match self.known.remove(&lease.credential) {
            Some(subject) => subject,
            None => read_subject(tables, read, lease.credential).await?,
        };
        let facts = Facts {
            lease: Some(LeaseFacts::of(lease)),
            ..subject.facts()
        };
        let sees = self.sees(resource(lease), facts);
        self.known.insert(lease.credential, subject);
        Ok(sees)
    }
}
