//! Workspaces, identities, and the names that lead to them.

use super::{
    Kind, Mend,
    exam::{Exam, key_object, named},
};
use crate::{
    domain::{
        event::Object,
        id::{IdentityId, WorkspaceId},
    },
    store::{
        key::{self, Table},
        port::{Key, Value},
    },
    tables::{Read, Tables},
};

const SYSTEM: WorkspaceId = WorkspaceId::SYSTEM;

pub(super) fn id(bytes: &[u8]) -> Option<[u8; 16]> {
    bytes.try_into().ok()
}

impl Exam<'_> {
    pub(super) fn malformed(&mut self, table: Table, at: &[u8]) {
        self.find(
            Kind::Unreadable,
            SYSTEM,
            key_object(table, at),
            "its key is malformed",
        );
    }

    pub(super) fn system(&self) -> Option<Tables> {
        self.tables.get(&SYSTEM).cloned()
    }

    pub(super) async fn workspace(&mut self, at: &[u8]) {
        let Some((id, [])) = key::parse_workspace(at) else {
            return self.malformed(Table::Workspace, at);
        };
        let object = named(id.to_string());
        let Some(system) = self.system() else { return };
        let record = system.workspace(&mut self.read, id).await;
        let Some(record) = self.seen(SYSTEM, object.clone(), record).flatten() else {
            return;
        };
        if let Some(stop) = record.stop.filter(|stop| !stop.unfinished) {
            self.stops.insert(id, stop);
        }
        match Tables::of(self.keyring, id) {
            Ok(tables) => drop(self.tables.insert(id, tables)),
            Err(_) => self.find(
                Kind::Orphan,
                SYSTEM,
                object.clone(),
                "has no key-encryption key",
            ),
        }
        let name = key::workspace_name(&system.workspace_hash(&record.name));
        self.leads_to(SYSTEM, object, name, *id.as_bytes()).await;
    }

    pub(super) async fn workspace_name(&mut self, at: &[u8], stored: &Value) {
        let object = key_object(Table::WorkspaceName, at);
        let (Some(target), Some(system)) = (id(stored), self.system()) else {
            return self.astray(SYSTEM, object, at);
        };
        let record = system
            .workspace(&mut self.read, WorkspaceId::from_bytes(target))
            .await;
        // One that cannot be read is told of where its table is looked at.
        if let Ok(record) = record
            && record.is_none_or(|record| {
                *key::workspace_name(&system.workspace_hash(&record.name)) != *at
            })
        {
            self.astray(SYSTEM, object, at);
        }
    }

    pub(super) async fn kek(&mut self, at: &[u8]) {
        // It was unwrapped already: else nothing could be looked at.
        let Some((workspace, number)) = key::parse_kek(at) else {
            return self.malformed(Table::Kek, at);
        };
        self.home(workspace, &named(format!("key-encryption key {number}")));
    }

    pub(super) async fn identity(&mut self, at: &[u8]) {
        let Some((workspace, rest)) = key::parse_workspace(at) else {
            return self.malformed(Table::Identity, at);
        };
        let Some(id) = id(rest).map(IdentityId::from_bytes) else {
            return self.malformed(Table::Identity, at);
        };
        let object = named(id.to_string());
        let Some(tables) = self.home(workspace, &object) else {
            return;
        };
        let record = tables.identity(&mut self.read, id).await;
        if let Some(record) = self.seen(workspace, object.clone(), record).flatten() {
            let hash = tables.identity_hash(record.kind, &record.name);
            let name = key::identity_name(workspace, &hash);
            self.leads_to(workspace, object, name, *id.as_bytes()).await;
        }
    }

    pub(super) async fn identity_name(&mut self, at: &[u8], stored: &Value) {
        let object = key_object(Table::IdentityName, at);
        let Some((workspace, _)) = key::parse_workspace(at) else {
            return self.malformed(Table::IdentityName, at);
        };
        let Some(tables) = self.home(workspace, &object) else {
            return;
        };
        let Some(target) = id(stored) else {
            return self.astray(workspace, object, at);
        };
        let record = tables
            .identity(&mut self.read, IdentityId::from_bytes(target))
            .await;
        if let Ok(record) = record
            && record.is_none_or(|record| {
                let hash = tables.identity_hash(record.kind, &record.name);
                *key::identity_name(workspace, &hash) != *at
            })
        {
            self.astray(workspace, object, at);
        }
    }

    /// Holds a name's entry to the record that bears the name.
    pub(super) async fn leads_to(
        &mut self,
        workspace: WorkspaceId,
        object: Object,
        name: Key,
        target: [u8; 16],
    ) {
        let found = self.read.get(&name).await;
        let Some(found) = self.seen(workspace, object.clone(), found) else {
            return;
        };
        match found {
            Some(found) if *found == target => {}
            // A stray entry is told of and taken away at its own place; two of one name are for a person.
            Some(_) => self.find(Kind::Index, workspace, object, "its name leads elsewhere"),
            None => {
                let mend = Mend::put(name, target.to_vec());
                let what = "no name leads to it";
                self.find_mendable(Kind::Index, workspace, object, what, Some(mend));
            }
        }
    }

    /// A name that leads nowhere.
    pub(super) fn astray(&mut self, workspace: WorkspaceId, object: Object, at: &[u8]) {
        let what = "the name leads to nothing that bears it";
        let mend = Mend::delete(at);
        self.find_mendable(Kind::Index, workspace, object, what, Some(mend));
    }
}
