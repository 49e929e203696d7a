//! Sets of Cedar policies by version. Those of the organisation lie in the vault's own workspace.

use super::{Read, Tables, read_id};
use crate::{
    crypto::envelope::{RecordType, Slot},
    domain::{
        error::{Error, Result},
        id::WorkspaceId,
        policy_set::StoredPolicies,
    },
    store::{
        key,
        port::{Scan, Txn},
    },
};

fn slot(version: u32) -> Slot<'static> {
    Slot {
        kind: RecordType::PolicySet,
        id: &[],
        version,
    }
}

impl Tables {
    pub async fn policy_set(
        &self,
        read: &mut impl Read,
        version: u32,
    ) -> Result<Option<StoredPolicies>> {
        let found = read.get(&key::policy_set(self.workspace, version)).await?;
        found
            .map(|sealed| self.open(slot(version), &sealed))
            .transpose()
    }

    /// The set in force, which is the newest.
    pub async fn newest_policy_set(&self, read: &mut impl Read) -> Result<Option<StoredPolicies>> {
        let newest = Scan {
            reverse: true,
            limit: 1,
            ..key::policy_sets(self.workspace)
        };
        let Some((at, sealed)) = read.range(&newest).await?.pop() else {
            return Ok(None);
        };
        let version =
            key::parse_version(&at).ok_or_else(|| Error::internal("malformed policy set key"))?;
        self.open(slot(version), &sealed).map(Some)
    }

    pub fn put_policy_set(&self, txn: &mut dyn Txn, set: &StoredPolicies) -> Result<()> {
        let sealed = self.seal(slot(set.version), &[], set)?;
        txn.put(key::policy_set(self.workspace, set.version), sealed)
    }
}

/// The first workspace behind this one that has a policy set.
pub async fn next_with_policies(
    read: &mut impl Read,
    after: WorkspaceId,
) -> Result<Option<WorkspaceId>> {
    let scan = Scan {
        limit: 1,
        ..key::policy_sets_after(after)
    };
    let Some((at, _)) = read.range(&scan).await?.pop() else {
        return Ok(None);
    };
    let id = at.get(1..17).unwrap_or_default();
    read_id(id).map(|id| Some(WorkspaceId::from_bytes(id)))
}
