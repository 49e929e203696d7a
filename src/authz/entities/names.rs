//! What the schema calls things.

use std::{str::FromStr, sync::LazyLock};

use cedar_policy::{EntityId, EntityTypeName, EntityUid};

use super::Unaskable;
use crate::authz::Action;

/// The names of entity types and actions, read once.
pub(in crate::authz) struct Names {
    pub(in crate::authz) role: EntityTypeName,
    pub(in crate::authz) vault: EntityTypeName,
    pub(in crate::authz) workspace: EntityTypeName,
    pub(in crate::authz) identity: EntityTypeName,
    pub(in crate::authz) credential: EntityTypeName,
    pub(in crate::authz) lease: EntityTypeName,
    pub(in crate::authz) key: EntityTypeName,
    pub(in crate::authz) token: EntityTypeName,
    pub(in crate::authz) value: EntityTypeName,
    /// Each with the group of its family, in the order of [`Action::ALL`].
    actions: Vec<(EntityUid, EntityUid)>,
}

static NAMES: LazyLock<Result<Names, String>> = LazyLock::new(|| {
    let of = |name| EntityTypeName::from_str(name).map_err(|error| error.to_string());
    let action = of("Action")?;
    Ok(Names {
        role: of("Role")?,
        vault: of("Vault")?,
        workspace: of("Workspace")?,
        identity: of("Identity")?,
        credential: of("Credential")?,
        lease: of("Lease")?,
        key: of("Key")?,
        token: of("Token")?,
        value: of("Value")?,
        actions: Action::ALL
            .iter()
            .map(|one| {
                let family = one.as_str().split(':').next().unwrap_or_default();
                (
                    uid(&action, one.as_str()),
                    uid(&action, &format!("{family}:*")),
                )
            })
            .collect(),
    })
});

impl Names {
    pub(in crate::authz) fn get() -> Result<&'static Self, Unaskable> {
        NAMES.as_ref().map_err(|fault| fault.as_str().into())
    }

    pub(in crate::authz) fn action(&self, action: Action) -> Result<&EntityUid, Unaskable> {
        self.action_in_family(action).map(|(action, _)| action)
    }

    pub(in crate::authz) fn action_in_family(
        &self,
        action: Action,
    ) -> Result<&(EntityUid, EntityUid), Unaskable> {
        let known = self.actions.get(action as usize);
        known.ok_or_else(|| "an action without a name".into())
    }
}

pub(in crate::authz) fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}
