//! What an issuer's rules may say, and who may write an issuer with such rules.

use crate::{
    authz::{Action, Denial, Permit, Refusal, Resource},
    crypto::assertion::KeySet,
    domain::{
        error::{Code, Error, Result},
        id::WorkspaceId,
        issuer::{IssuerKeys, IssuerRules},
        scope::Role,
    },
    engine::{Call, Engine},
    store::codec,
};

/// The longest record of an issuer, in bytes: one page of the store, sealed.
const MAX_RECORD_BYTES: usize = 3900;

/// Static keys that can be read.
fn check_keys(keys: &IssuerKeys) -> Result<()> {
    let (field, read) = match keys {
        IssuerKeys::Url(_) => return Ok(()),
        IssuerKeys::Jwks(text) => ("jwks", KeySet::of_jwks(text.as_bytes())),
        IssuerKeys::Pem(all) => ("public_keys", KeySet::of_pem(all)),
    };
    match read {
        Some(keys) if !keys.is_empty() => Ok(()),
        _ => Err(Error::invalid(
            field,
            format!("`{field}` holds no public key that can be used"),
        )),
    }
}

impl Engine {
    /// Holds rules to their bounds, and to what the caller may give out.
    pub(super) async fn check_rules(
        &self,
        call: &Call,
        permit: &Permit,
        level: WorkspaceId,
        rules: &IssuerRules,
    ) -> Result<()> {
        rules.check()?;
        if let Some(oidc) = rules.oidc() {
            check_keys(&oidc.keys)?;
        }
        if codec::encode(rules)?.len() > MAX_RECORD_BYTES {
            let message = "the issuer is described in too many words; give its keys by `jwks_url`";
            return Err(Error::new(Code::InvalidRequest, message));
        }
        let made = rules.identity.auto_create;
        if made && level == WorkspaceId::SYSTEM {
            let message = "`identity.auto_create` is for the issuers of one workspace";
            return Err(Error::invalid("identity.auto_create", message));
        }
        self.check_reach(call, permit, level, rules).await?;
        if made && rules.identity.role.is_organisational() {
            let message =
                "`identity.auto_create` makes no identity with a role of the organisation";
            return Err(Error::invalid("identity.role", message));
        }
        Ok(())
    }

    /// Refuses to let anybody register or touch an issuer that is stronger than it.
    pub(super) async fn check_reach(
        &self,
        call: &Call,
        permit: &Permit,
        level: WorkspaceId,
        rules: &IssuerRules,
    ) -> Result<()> {
        let principal = &call.principal;
        // However little its tokens may do: it stands for any identity of the role, by that one's name.
        let role = rules.identity.role;
        let of_all = level == WorkspaceId::SYSTEM || role.is_organisational();
        let local = rules.oidc().is_some_and(|oidc| oidc.keys.are_local());
        let lacking = role.scopes().difference(principal.scopes).iter().next();
        let (missing, why) = match ((of_all || local) && !principal.organisation, lacking) {
            (true, _) if local => (
                None,
                "`jwks_url` is on the vault's own machine only where callers that reach every workspace say so",
            ),
            (false, None) if role == Role::Owner && !principal.is_owner() => (
                None,
                "an issuer for owners is for owners to register, to change and to delete",
            ),
            (true, _) => (
                None,
                "issuers for the organisation are for callers that reach all of it to register, to change and to delete",
            ),
            (false, missing @ Some(_)) => (
                missing,
                "an issuer is registered, changed and deleted by callers that hold all of its role",
            ),
            (false, None) => return Ok(()),
        };
        let denial = Denial {
            action: Action::IssuerWrite,
            resource: Resource::Workspace,
            policies: vec![permit.decided_by().to_owned()],
            refusal: Refusal::Scope { missing, why },
        };
        Err(self.deny(call, Box::new(denial)).await?)
    }
}
