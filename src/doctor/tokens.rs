//! Access tokens, the list that leads to them, the ring of signing keys, issuers and the assertions taken of them.

use super::{
    Kind, Mend,
    exam::{Exam, key_object, named},
};
use crate::{
    domain::{
        id::{TokenId, WorkspaceId},
        principal::Reach,
    },
    store::key::{self, Table},
};

const SYSTEM: WorkspaceId = WorkspaceId::SYSTEM;

impl Exam<'_> {
    pub(super) async fn token(&mut self, at: &[u8]) {
        let Some(id) = at.get(1..).and_then(|id| id.try_into().ok()) else {
            return self.malformed(Table::Token, at);
        };
        let id = TokenId::from_bytes(id);
        let object = named(id.to_string());
        let Some(system) = self.system() else { return };
        let record = system.token(&mut self.read, id).await;
        let Some(token) = self.seen(SYSTEM, object.clone(), record).flatten() else {
            return;
        };
        let listed = key::listed_token(token.listed_in(), id);
        if self.exists(&object, &listed).await == Some(false) {
            let mend = Mend::put(listed, Vec::new());
            let what = "is in no list";
            self.find_mendable(Kind::Index, SYSTEM, object.clone(), what, Some(mend));
        }
        if let Reach::Workspace(reach) = token.reach
            && self.exists(&object, &key::workspace(reach)).await == Some(false)
        {
            let what = format!("reaches the workspace {reach}, which is not there");
            self.find(Kind::Orphan, SYSTEM, object, what);
        }
    }

    pub(super) async fn listed_token(&mut self, at: &[u8]) {
        let Some((workspace, id)) = key::parse_listed_token(at) else {
            return self.malformed(Table::ListedToken, at);
        };
        let object = key_object(Table::ListedToken, at);
        let Some(system) = self.system() else { return };
        // One that cannot be read is told of where its table is looked at.
        if let Ok(record) = system.token(&mut self.read, id).await
            && record.is_none_or(|token| token.listed_in() != workspace)
        {
            let mend = Mend::delete(at);
            let what = "leads to no token of the workspace";
            self.find_mendable(Kind::Index, SYSTEM, object, what, Some(mend));
        }
    }

    pub(super) async fn issuer(&mut self, at: &[u8]) {
        let Some((workspace, id)) = key::parse_issuer(at) else {
            return self.malformed(Table::Issuer, at);
        };
        let object = named(id.to_string());
        let Some(tables) = self.home(workspace, &object) else {
            return;
        };
        let record = tables.issuer(&mut self.read, id).await;
        self.seen(workspace, object, record);
    }

    pub(super) async fn seen_assertion(&mut self, at: &[u8]) {
        let Some((workspace, hash)) = key::parse_seen(at) else {
            return self.malformed(Table::Seen, at);
        };
        let object = key_object(Table::Seen, at);
        let Some(tables) = self.home(workspace, &object) else {
            return;
        };
        let record = tables.seen_until(&mut self.read, &hash).await;
        self.seen(workspace, object, record);
    }

    pub(super) async fn configuration(&mut self) {
        let Some(system) = self.system() else { return };
        let last = system.configuration(&mut self.read).await;
        self.seen(SYSTEM, named("the configuration of the last start"), last);
    }

    pub(super) async fn signing_keys(&mut self) {
        let Some(system) = self.system() else { return };
        let ring = system.signing_keys(&mut self.read).await;
        self.seen(SYSTEM, named("the ring of signing keys"), ring);
    }
}
