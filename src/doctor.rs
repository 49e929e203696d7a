//! The doctor of a closed vault: holds every record to its seal, the counters and indexes to the records, and
//! the log to its order. It looks and says; on request it mends what follows from the records, and writes down
//! what it did.
//!
//! Pages of a bounded size are read at a time; what is kept over a whole walk is one count per credential with
//! open leases. Nothing that it says holds a value, a name or a key: things are named by their ids.

mod alarms;
mod audit_index;
mod credentials;
mod directory;
mod exam;
mod keys;
mod leases;
mod mend;
mod open_index;
mod policies;
mod retention;
mod states;
mod tokens;

use std::sync::Arc;

use self::{
    exam::{Exam, Source},
    mend::{Mend, Mender},
};
use crate::{
    domain::{error::Result, event::Object, id::WorkspaceId},
    engine::Closed,
};

/// What kind of thing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A record does not open: damaged, moved, or of an unknown format.
    Unreadable,
    /// A counter is not what the records say.
    Counter,
    /// An index leads nowhere, or does not lead where it should.
    Index,
    /// A record belongs to something that is not there.
    Orphan,
    /// Something is in a state that it cannot be in, or should have left.
    State,
    /// The log is not what it promises.
    Audit,
}

impl Kind {
    /// The kind's spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Counter => "counter",
            Self::Index => "index",
            Self::Orphan => "orphan",
            Self::State => "state",
            Self::Audit => "audit",
        }
    }
}

/// Something that is wrong.
#[derive(Debug)]
pub struct Finding {
    pub kind: Kind,
    /// Where its repair would be recorded.
    workspace: WorkspaceId,
    object: Object,
    /// What is wrong with it.
    pub what: String,
    /// Whether a repair follows from the records.
    pub mendable: bool,
    mend: Option<Mend>,
}

impl Finding {
    /// What it is about, by its id.
    pub fn object(&self) -> String {
        let object = &self.object;
        let version = |id: String| match object.version {
            Some(number) => format!("{id} version {number}"),
            None => id,
        };
        match (&object.lease, &object.credential, &object.name) {
            (Some(lease), ..) => lease.to_string(),
            (None, Some(credential), _) => version(credential.to_string()),
            (None, None, Some(name)) => name.clone(),
            (None, None, None) => "vault".to_owned(),
        }
    }
}

/// What is told while the doctor works.
pub enum Told<'a> {
    Found(&'a Finding),
    Mended(&'a Finding),
}

/// What was looked at, and what came of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    pub credentials: u64,
    pub leases: u64,
    pub audit_records: u64,
    pub findings: u64,
    pub mendable: u64,
    pub mended: u64,
}

/// Looks at everything. Nothing is written.
pub async fn check(vault: &Closed, tell: &mut dyn FnMut(Told<'_>)) -> Result<Report> {
    let exam = Exam::new(Source::Closed(&vault.sled), &vault.keyring, vault.mark);
    exam.run(None, tell).await
}

/// Mends what follows from the records, each with a record of its own; then looks at everything again and
/// gives back what is left.
pub async fn repair(vault: Closed, tell: &mut dyn FnMut(Told<'_>)) -> Result<Report> {
    let (keyring, clock, mark) = (vault.keyring.clone(), vault.clock.clone(), vault.mark);
    let store = vault.serve()?;
    let mender = Mender::new(store.clone(), keyring.clone(), clock);
    let exam = Exam::new(Source::Serving(&*store), &keyring, mark);
    let mended = exam.run(Some(&mender), tell).await;
    let left = match &mended {
        Ok(_) => {
            let now = Some(mender.now());
            let exam = Exam::new(Source::Serving(&*store), &keyring, now);
            exam.run(None, &mut |_| {}).await
        }
        Err(_) => Ok(Report::default()),
    };
    store.close().await?;
    Ok(Report {
        mended: mended?.mended,
        ..left?
    })
}

type Keys = Arc<crate::crypto::keyring::Keyring>;

/// What there is to find in a vault that serves, for tests of what works on one.
#[cfg(test)]
pub(crate) async fn look(
    store: &dyn crate::store::port::Store,
    keyring: &Keys,
    now: crate::domain::time::Timestamp,
) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let exam = Exam::new(Source::Serving(store), keyring, Some(now));
    let mut tell = |told: Told<'_>| {
        if let Told::Found(finding) = told {
            found.push(format!("{}: {}", finding.object(), finding.what));
        }
    };
    exam.run(None, &mut tell).await?;
    Ok(found)
}
