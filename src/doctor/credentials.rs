//! Credentials with their ledgers, versions and values, and what is kept for retries and cascades: that each
//! opens, and that each has what it belongs to. Whether they agree with each other is in [`super::states`].

use super::{
    Kind,
    exam::{Exam, key_object, of_credential},
};
use crate::{
    domain::id::{CredentialId, WorkspaceId},
    engine::{check_first_answer, check_sweep},
    store::{
        key::{self, Table},
        port::Value,
    },
    tables::Tables,
};

const SYSTEM: WorkspaceId = WorkspaceId::SYSTEM;

/// The workspace, credential and version that a key names.
fn parse(at: &[u8]) -> Option<(WorkspaceId, CredentialId, Option<u32>)> {
    let (workspace, id) = key::parse_credential(at)?;
    let version = match at.len() {
        33 => None,
        37 => Some(key::parse_version(at)?),
        _ => return None,
    };
    Some((workspace, id, version))
}

impl Exam<'_> {
    fn placed(&mut self, table: Table, at: &[u8]) -> Option<(Tables, CredentialId, Option<u32>)> {
        let Some((workspace, id, version)) = parse(at) else {
            let object = key_object(table, at);
            self.find(Kind::Unreadable, SYSTEM, object, "its key is malformed");
            return None;
        };
        let tables = self.home(workspace, &of_credential(id, version))?;
        Some((tables, id, version))
    }

    /// Tells of a record whose credential is gone.
    async fn belongs(
        &mut self,
        tables: &Tables,
        id: CredentialId,
        version: Option<u32>,
        what: &str,
    ) {
        let object = of_credential(id, version);
        let at = key::credential(tables.workspace, id);
        if self.exists(&object, &at).await == Some(false) {
            self.find(
                Kind::Orphan,
                tables.workspace,
                object,
                format!("{what} without a credential"),
            );
        }
    }

    pub(super) async fn credential(&mut self, at: &[u8]) {
        let Some((tables, id, _)) = self.placed(Table::Credential, at) else {
            return;
        };
        self.report.credentials += 1;
        let (workspace, object) = (tables.workspace, of_credential(id, None));
        if self.exists(&object, &key::ledger(workspace, id)).await == Some(false) {
            self.find(Kind::Orphan, workspace, object.clone(), "has no ledger");
        }
        let record = tables.credential(&mut self.read, id).await;
        if let Some(record) = self.seen(workspace, object.clone(), record).flatten() {
            let name = key::credential_name(workspace, &tables.credential_hash(&record.name));
            self.leads_to(workspace, object, name, *id.as_bytes()).await;
        }
    }

    pub(super) async fn credential_name(&mut self, at: &[u8], stored: &Value) {
        let object = key_object(Table::CredentialName, at);
        let Some((workspace, _)) = key::parse_workspace(at) else {
            return self.find(Kind::Unreadable, SYSTEM, object, "its key is malformed");
        };
        let Some(tables) = self.home(workspace, &object) else {
            return;
        };
        let Ok(target) = <[u8; 16]>::try_from(&**stored) else {
            return self.astray(workspace, object, at);
        };
        let record = tables
            .credential(&mut self.read, CredentialId::from_bytes(target))
            .await;
        // One that cannot be read is told of where its table is looked at.
        if let Ok(record) = record
            && record.is_none_or(|record| {
                let hash = tables.credential_hash(&record.name);
                *key::credential_name(workspace, &hash) != *at
            })
        {
            self.astray(workspace, object, at);
        }
    }

    pub(super) async fn ledger(&mut self, at: &[u8]) {
        let Some((tables, id, _)) = self.placed(Table::Ledger, at) else {
            return;
        };
        let record = tables.ledger(&mut self.read, id).await;
        self.seen(tables.workspace, of_credential(id, None), record);
        self.belongs(&tables, id, None, "a ledger").await;
    }

    pub(super) async fn version(&mut self, at: &[u8]) {
        let Some((tables, id, Some(number))) = self.placed(Table::Version, at) else {
            return;
        };
        let record = tables.version(&mut self.read, id, number).await;
        self.seen(tables.workspace, of_credential(id, Some(number)), record);
        self.belongs(&tables, id, Some(number), "a version").await;
    }

    pub(super) async fn value(&mut self, at: &[u8]) {
        let Some((tables, id, Some(number))) = self.placed(Table::Value, at) else {
            return;
        };
        let object = of_credential(id, Some(number));
        // That it opens is all; it is wiped at once.
        let value = tables.value(&mut self.read, id, number).await.map(drop);
        self.seen(tables.workspace, object.clone(), value);
        let version = key::version(tables.workspace, id, number);
        if self.exists(&object, &version).await == Some(false) {
            self.find(
                Kind::Orphan,
                tables.workspace,
                object,
                "a value without a version",
            );
        }
    }

    pub(super) fn first_answer(&mut self, at: &[u8], stored: &Value) {
        let object = key_object(Table::FirstAnswer, at);
        let (Some((workspace, _)), Some(hash)) = (key::parse_workspace(at), at.last_chunk::<32>())
        else {
            return self.find(Kind::Unreadable, SYSTEM, object, "its key is malformed");
        };
        if let Some(tables) = self.home(workspace, &object) {
            let read = check_first_answer(&tables, hash, stored);
            self.seen(workspace, object, read);
        }
    }

    pub(super) async fn sweep(&mut self, at: &[u8]) {
        let Some((tables, id, _)) = self.placed(Table::Sweep, at) else {
            return;
        };
        let read = check_sweep(&tables, &mut self.read, id).await;
        self.seen(tables.workspace, of_credential(id, None), read);
        self.belongs(&tables, id, None, "a revocation that is not finished,")
            .await;
    }
}
