//! The audit index: its state opens, and each page of the runs that the state names. It holds nothing that is not in
//! the log, so it is mended by dropping it: the next start makes it anew, and sweeps what no run owns.

use super::{
    Kind, Mend,
    exam::{Exam, key_object, named},
};
use crate::{
    audit::index,
    domain::id::WorkspaceId,
    store::{
        key::{self, Table},
        port::Value,
    },
};

const SYSTEM: WorkspaceId = WorkspaceId::SYSTEM;

impl Exam<'_> {
    pub(super) fn audit_index_state(&mut self, at: &[u8], stored: &Value) {
        if *at != *key::audit_index_state() {
            return self.malformed(Table::AuditIndexState, at);
        }
        match index::open_state(self.keyring, stored) {
            Ok(state) => self.index_runs = state.runs.iter().map(|run| run.number).collect(),
            Err(_) => self.drop_index("its state cannot be read"),
        }
    }

    pub(super) fn audit_index_page(&mut self, at: &[u8], stored: &Value) {
        let Some((run, layer, number)) = key::parse_audit_index_page(at) else {
            let object = key_object(Table::AuditIndexPage, at);
            return self.find(Kind::Unreadable, SYSTEM, object, "its key is malformed");
        };
        if self.index_runs.contains(&run) && index::open_page(self.keyring, at, stored).is_err() {
            self.index_runs.clear();
            self.drop_index(&format!(
                "page {layer}/{number} of run {run} cannot be read"
            ));
        }
    }

    fn drop_index(&mut self, what: &str) {
        let mend = Mend::delete(key::audit_index_state());
        let object = named("the audit index");
        self.find_mendable(Kind::Index, SYSTEM, object, what, Some(mend));
    }
}
