//! What a start needs before any table can be read: the header, the wrapped KEKs, the clock's mark.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{Read, Tables};
use crate::{
    crypto::{
        envelope::{RecordType, Slot},
        keyring::{Keyring, WorkspaceKeys},
        root::ArgonParams,
    },
    domain::{
        configuration::Configuration,
        error::{Error, Result},
        id::WorkspaceId,
        time::Timestamp,
    },
    store::{
        codec, key,
        port::{Key, Txn, Value},
    },
};

/// How a vault's root key is had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unseal {
    KeyFile,
    Passphrase(ArgonParams),
}

/// The only plain record: how to unseal, and the proof of the root key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    pub created_at: Timestamp,
    pub unseal: Unseal,
    pub check: Vec<u8>,
}

/// The number of a workspace's first KEK.
const FIRST_KEK: u32 = 1;

/// The writes that make an empty store a vault: its header and the keys of the vault itself.
pub fn first_writes(header: &Header, keyring: &Keyring) -> Result<Vec<Write>> {
    Ok(vec![
        (key::header(), codec::encode(header)?),
        (
            key::kek(WorkspaceId::SYSTEM, FIRST_KEK),
            keyring.new_kek(WorkspaceId::SYSTEM, FIRST_KEK)?,
        ),
    ])
}

/// A key and what to write under it.
type Write = (Key, Vec<u8>);

/// Makes the first KEK of a new workspace; the pair is to be written in the transaction that creates it.
pub fn unlock_new(
    keyring: &Keyring,
    workspace: WorkspaceId,
) -> Result<(Write, Arc<WorkspaceKeys>)> {
    let wrapped = keyring.new_kek(workspace, FIRST_KEK)?;
    let keys = keyring.unlock(workspace, &[(FIRST_KEK, wrapped.clone())])?;
    Ok(((key::kek(workspace, FIRST_KEK), wrapped), keys))
}

/// Unlocks every workspace whose wrapped KEKs are among `pairs`.
pub fn load_keys(keyring: &Keyring, pairs: &[(Key, Value)]) -> Result<()> {
    let mut by_workspace: BTreeMap<WorkspaceId, Vec<(u32, Vec<u8>)>> = BTreeMap::new();
    for (at, wrapped) in pairs {
        let (workspace, number) =
            key::parse_kek(at).ok_or_else(|| Error::internal("malformed KEK key"))?;
        by_workspace
            .entry(workspace)
            .or_default()
            .push((number, wrapped.to_vec()));
    }
    for (workspace, wrapped) in by_workspace {
        keyring.unlock(workspace, &wrapped)?;
    }
    Ok(())
}

/// The clock's high-water mark, sealed with each group of commits. It tells the keys the hour, too.
pub fn seal_mark(keys: &WorkspaceKeys, now: Timestamp) -> Result<Vec<u8>> {
    keys.reached(now);
    keys.seal_hourly(RecordType::Clock, &[], &codec::encode(&now)?)
}

const CONFIGURATION_SLOT: Slot<'static> = Slot {
    kind: RecordType::Configuration,
    id: &[],
    version: 0,
};

impl Tables {
    /// The configuration of the last start.
    pub async fn configuration(&self, read: &mut impl Read) -> Result<Option<Configuration>> {
        let found = read.get(&key::configuration()).await?;
        found
            .map(|sealed| self.open(CONFIGURATION_SLOT, &sealed))
            .transpose()
    }

    pub fn put_configuration(&self, txn: &mut dyn Txn, of: &Configuration) -> Result<()> {
        txn.put(
            key::configuration(),
            self.seal(CONFIGURATION_SLOT, &[], of)?,
        )
    }
}

/// Reads the mark back.
pub fn high_water(keys: &WorkspaceKeys, sealed: &[u8]) -> Result<Timestamp> {
    let opened = keys.open_hourly(RecordType::Clock, &[], sealed)?;
    let mark = codec::decode(&opened).map_err(Error::internal)?;
    keys.reached(mark);
    Ok(mark)
}
