//! Reports: who could have used a key, what should be rotated, what nobody uses. Each only reads, is bounded in memory,
//! and is itself written into history before it reads anything.

mod actions;
mod assemble;
mod collect;
mod due;
mod earlier;
mod exposure;
mod model;
mod people;
mod places;
mod proofs;
mod question;
mod remedies;
mod rests;
mod row;
mod source;
mod stale;
mod stored;
mod unread;
mod wanted;

pub use self::{
    due::{DueRotation, Why},
    model::{
        Agent, Asked, Checkpoint, Credential as ExposedCredential, Damaged, Denied, EarlierReader,
        ExposedLease, Exposure, Handed, Remedy, RestsOn, Session, Summary, UsedFrom, UsedProof,
        VersionExposure, Who,
    },
    question::{ChosenCredential, ChosenIdentity, ExposureQuery},
    stale::{Stale, StaleKind},
};
use super::{Call, Engine, Note};
use crate::{
    authz::Permit,
    domain::{
        error::Result,
        event::{Change, EventName, Object},
    },
};

impl Engine {
    /// Writes down that a report is read, durable before any of it is made.
    async fn report_read(
        &self,
        call: &Call,
        permit: &Permit,
        report: &str,
        changes: Vec<Change>,
    ) -> Result<()> {
        let mut unit = self.begin(call, permit, &[]).await?;
        let object = Object {
            name: Some(format!("report/{report}")),
            ..Object::default()
        };
        unit.record(Note {
            changes,
            ..Note::new(EventName::ReportRead, object)
        })?;
        unit.commit().await
    }
}

#[cfg(test)]
mod tests;
