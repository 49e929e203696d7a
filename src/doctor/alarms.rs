//! What is left to do about alarms: each record opens under its own key, and a suspect's workspace is there.

use super::exam::{Exam, key_object};
use crate::{
    domain::id::WorkspaceId,
    store::{
        key::{self, Alarm, Table},
        port::Value,
    },
};

impl Exam<'_> {
    pub(super) fn alarm(&mut self, at: &[u8], stored: &Value) {
        let object = key_object(Table::Alarms, at);
        match key::parse_alarm(at) {
            None => self.malformed(Table::Alarms, at),
            Some(Alarm::Told(_)) => {
                let Some(system) = self.system() else { return };
                self.seen(WorkspaceId::SYSTEM, object, system.open_told(at, stored));
            }
            Some(Alarm::Suspect(workspace, ..)) => {
                let Some(tables) = self.home(workspace, &object) else {
                    return;
                };
                self.seen(workspace, object, tables.open_suspect(at, stored));
            }
        }
    }
}
