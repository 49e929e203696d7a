//! API keys, their entries at home, and what is noted of their use.

use super::{
    Kind, Mend,
    directory::id,
    exam::{Exam, key_object, named},
};
use crate::{
    domain::{
        event::Object,
        id::{KeyId, WorkspaceId},
        principal::{ProofId, Reach},
    },
    store::key::{self, Table},
};

const SYSTEM: WorkspaceId = WorkspaceId::SYSTEM;

impl Exam<'_> {
    pub(super) async fn api_key(&mut self, at: &[u8]) {
        let Some(id) = at.get(1..).and_then(id).map(KeyId::from_bytes) else {
            return self.malformed(Table::ApiKey, at);
        };
        let object = named(id.to_string());
        let Some(system) = self.system() else { return };
        let record = system.api_key(&mut self.read, id).await;
        let Some(record) = self.seen(SYSTEM, object.clone(), record).flatten() else {
            return;
        };
        let identity = key::identity(record.home, record.identity);
        if self.exists(&object, &identity).await == Some(false) {
            let what = format!(
                "is for the identity {}, which is not there",
                record.identity
            );
            self.find(Kind::Orphan, SYSTEM, object.clone(), what);
        }
        if let Reach::Workspace(reach) = record.reach
            && self.exists(&object, &key::workspace(reach)).await == Some(false)
        {
            let what = format!("reaches the workspace {reach}, which is not there");
            self.find(Kind::Orphan, SYSTEM, object.clone(), what);
        }
        let entry = key::api_key_home(record.home, id);
        if self.exists(&object, &entry).await == Some(false) {
            let what = "its home does not list it";
            let mend = Mend::put(entry, Vec::new());
            self.find_mendable(Kind::Index, SYSTEM, object, what, Some(mend));
        }
    }

    pub(super) async fn api_key_home(&mut self, at: &[u8]) {
        let Some((home, id)) = key::parse_api_key_home(at) else {
            return self.malformed(Table::ApiKeyHome, at);
        };
        let Some(system) = self.system() else { return };
        // One that cannot be read is told of where its table is looked at.
        if let Ok(record) = system.api_key(&mut self.read, id).await
            && record.is_none_or(|record| record.home != home)
        {
            let what = "a home lists it that is not its own";
            let mend = Mend::delete(at);
            self.find_mendable(Kind::Index, SYSTEM, named(id.to_string()), what, Some(mend));
        }
    }

    pub(super) async fn last_use(&mut self, at: &[u8]) {
        let Some(id) = key::parse_last_use(at) else {
            return self.malformed(Table::LastUse, at);
        };
        let object = key_object(Table::LastUse, at);
        let Some(system) = self.system() else { return };
        let record = system.last_use(&mut self.read, &id).await;
        let Some(record) = self.seen(SYSTEM, object, record).flatten() else {
            return;
        };
        if let ProofId::Key(id) = record.proof {
            self.noted_of(id, named(id.to_string()), at).await;
        }
    }

    pub(super) async fn identity_use(&mut self, at: &[u8]) {
        let Some(id) = key::parse_identity_use(at) else {
            return self.malformed(Table::IdentityUse, at);
        };
        let object = named(id.to_string());
        let Some(system) = self.system() else { return };
        let record = system.identity_use(&mut self.read, id).await;
        let _ = self.seen(SYSTEM, object, record);
    }

    pub(super) async fn key_usage(&mut self, at: &[u8]) {
        let Some((id, number)) = key::parse_key_usage(at) else {
            return self.malformed(Table::KeyUsage, at);
        };
        let object = named(format!("{id} usage {number}"));
        let Some(system) = self.system() else { return };
        let record = system.key_usage(&mut self.read, id, number).await;
        if self
            .seen(SYSTEM, object.clone(), record)
            .flatten()
            .is_some()
        {
            self.noted_of(id, object, at).await;
        }
    }

    /// Holds what is noted of a key's use to the key being there.
    async fn noted_of(&mut self, id: KeyId, object: Object, at: &[u8]) {
        if self.exists(&object, &key::api_key(id)).await == Some(false) {
            let what = "is noted of the use of a key that is not there";
            let mend = Mend::delete(at);
            self.find_mendable(Kind::Orphan, SYSTEM, object, what, Some(mend));
        }
    }
}
