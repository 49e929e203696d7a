//! Rotation of the key that signs access tokens.

use super::{Call, Engine, Note};
use crate::{
    authz::{Action, Resource},
    domain::{
        error::{Error, Result},
        event::{Change, EventName, Object},
        id::WorkspaceId,
        time::Timestamp,
        token::SigningKeys,
    },
    store::key,
};

/// What a rotation made.
pub struct RotatedSigningKey {
    pub kid: String,
    pub number: u32,
    pub created_at: Timestamp,
    /// How many keys verify now, the new one among them.
    pub verifying: usize,
}

impl Engine {
    /// Makes a new key that signs from now on. Those before verify until the last of their tokens has ended.
    pub async fn rotate_signing_key(&self, call: &Call) -> Result<RotatedSigningKey> {
        let permit = self
            .authorize(call, Action::SigningKeyRotate, Resource::Vault)
            .await?;
        let system = self.tables(WorkspaceId::SYSTEM)?;
        let locks = [key::signing_keys_lock()];
        let mut unit = self.begin(call, &permit, &locks).await?;
        let ring = system.signing_keys(&mut unit.txn).await?;
        let mut ring: SigningKeys =
            ring.ok_or_else(|| Error::internal("there is no signing key"))?;
        let before = self.keyring.token_key(ring.current()?.number)?;
        ring.rotate(unit.now)?;
        let current = ring.current()?;
        let after = self.keyring.token_key(current.number)?;
        let made = RotatedSigningKey {
            kid: after.kid.clone(),
            number: current.number,
            created_at: current.created_at,
            verifying: ring.verifying(unit.now).count(),
        };
        system.put_signing_keys(&mut *unit.txn, &ring)?;
        let change = Change {
            field: "kid".into(),
            before: Some(before.kid.into()),
            after: Some(after.kid.into()),
        };
        unit.record(Note {
            changes: vec![change],
            ..Note::new(EventName::SigningKeyRotated, Object::default())
        })?;
        unit.commit_access().await?;
        Ok(made)
    }
}
