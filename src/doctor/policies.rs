//! Policy sets: each opens, under its own number.

use super::{
    Kind,
    exam::{Exam, key_object, named},
};
use crate::{
    domain::id::WorkspaceId,
    store::key::{self, Table},
};

impl Exam<'_> {
    pub(super) async fn policy_set(&mut self, at: &[u8]) {
        let parsed = key::parse_workspace(at).filter(|(_, rest)| rest.len() == 4);
        let (Some((workspace, _)), Some(version)) = (parsed, key::parse_version(at)) else {
            let object = key_object(Table::PolicySet, at);
            return self.find(
                Kind::Unreadable,
                WorkspaceId::SYSTEM,
                object,
                "its key is malformed",
            );
        };
        let object = named(format!("version {version} of the policies"));
        let Some(tables) = self.home(workspace, &object) else {
            return;
        };
        let read = tables.policy_set(&mut self.read, version).await;
        let read = self.seen(workspace, object.clone(), read).flatten();
        if read.is_some_and(|set| set.version != version) {
            self.find(
                Kind::Unreadable,
                workspace,
                object,
                "the record is of another version",
            );
        }
    }
}
