//! Whom a key is wanted for.

use crate::{
    domain::{
        error::{Code, Error, Result},
        name::IdentityName,
        principal::{Identity, IdentityType, Principal},
    },
    engine::{Call, Unit},
    tables::Tables,
};

/// The identity that a key is for: the caller's own where nothing is said.
#[derive(Debug, Clone, Default)]
pub struct WantedIdentity {
    pub kind: Option<IdentityType>,
    pub name: Option<IdentityName>,
}

impl WantedIdentity {
    /// Type and name, whether or not there is one.
    pub(super) fn named<'a>(
        &'a self,
        caller: &'a Principal,
    ) -> Result<(IdentityType, &'a IdentityName)> {
        match (&self.name, self.kind) {
            (None, None) => Ok((caller.kind, &caller.name)),
            (None, Some(_)) => Err(Error::missing("identity.name")),
            (Some(name), Some(kind)) => Ok((kind, name)),
            (Some(name), None) if *name == caller.name => Ok((caller.kind, name)),
            (Some(name), None) => Ok((IdentityType::Agent, name)),
        }
    }
}

impl Unit<'_> {
    /// The identity that a key is asked for: active, and of the caller's workspace where it is named.
    pub(super) async fn wanted_identity(
        &mut self,
        call: &Call,
        tables: &Tables,
        wanted: &WantedIdentity,
    ) -> Result<Identity> {
        let id = match &wanted.name {
            None => call.principal.identity,
            Some(_) => {
                let (kind, name) = wanted.named(&call.principal)?;
                let found = tables.identity_id(&mut self.txn, kind, name).await?;
                found.ok_or_else(|| {
                    let kind = kind.as_str();
                    let message = format!("no {kind} is named `{name}` in this workspace");
                    Error::invalid("identity.name", message)
                })?
            }
        };
        let identity = tables.identity(&mut self.txn, id).await?;
        let identity = identity.ok_or_else(|| {
            let message = "the caller's identity is of another workspace; name one of this";
            Error::invalid("identity", message)
        })?;
        if !identity.is_active() {
            return Err(Error::new(
                Code::IdentitySuspended,
                "the identity is suspended",
            ));
        }
        Ok(identity)
    }
}
