//! Exporting history: what is sealed when the export begins, in the order of the log. It is recorded before its first
//! line is given out, and again with what was given out.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Call, Engine, HistoryOf, Lasting, Note,
    lasting::{Places, Taken},
    unit::Unit,
};
use crate::{
    audit::{
        checkpoint::Checkpoint,
        export::{Extract, Header, Range, Writer},
        query::AuditFilter,
        removal,
    },
    authz::Action,
    domain::{
        error::{Error, Result},
        event::{Actor, Change, EventName, Object, Origin},
        id::WorkspaceId,
    },
};

/// Exports that go on at a time: each keeps a batch of records in memory for as long as its reader takes.
const AT_ONCE: usize = 8;
/// Those that one key may have, with the tokens that were made of it.
const AT_ONCE_OF_KEY: usize = 4;
/// Batches that an export seals before it begins; what is left of a backlog is for the next one.
const SEALED_FIRST: usize = 64;

/// What a file calls the history of the vault itself, which is of no workspace.
const VAULT: &str = "organisation";

/// The places for exports.
pub(super) fn places() -> Arc<Places> {
    Places::new("exports", AT_ONCE, AT_ONCE_OF_KEY)
}

/// What to export.
#[derive(Debug, Default)]
pub struct ExportHistory {
    /// As history and the file name it.
    pub format: &'static str,
    /// Whether it proves itself, by the hashes of what it does not show.
    pub proven: bool,
    pub of: HistoryOf,
    pub filter: AuditFilter,
    /// The filter as it was given, by the names of the parameters.
    pub given: BTreeMap<String, String>,
    /// Behind this record; 0 for the beginning.
    pub after: u64,
    /// A size of the tree that a checkpoint over so many records can be held against.
    pub against: Option<u64>,
}

/// An export that nobody may have yet: see [`Engine::export`].
pub struct PreparedExport {
    asked: ExportHistory,
    /// Where its records are.
    of: WorkspaceId,
    checkpoint: Checkpoint,
    place: Taken,
    lasting: Lasting,
}

/// An export that has begun.
pub struct Export {
    pub extract: Extract,
    /// The last record that it may hold.
    pub end: u64,
    /// Who may have it.
    pub lasting: Lasting,
    /// The last record that the log no longer begins with; 0 where none was removed.
    pub removed: u64,
    header: Header,
    workspace: WorkspaceId,
    actor: Actor,
    origin: Origin,
    decided_by: String,
    _place: Taken,
}

/// What an export came to.
#[derive(Debug, Clone, Copy, Default)]
pub struct ExportEnd {
    pub records: u64,
    /// Whether its reader was given all of it.
    pub whole: bool,
}

fn fact(field: &str, value: impl ToString) -> Change {
    Change {
        field: field.into(),
        before: None,
        after: Some(value.to_string().into()),
    }
}

impl Engine {
    /// Makes an export ready, for [`Self::export`].
    pub async fn prepare_export(
        &self,
        call: &Call,
        asked: ExportHistory,
    ) -> Result<PreparedExport> {
        let (_, of) = self
            .authorize_history(call, Action::AuditExport, asked.of)
            .await?;
        let place = self.exports.take(call.principal.account());
        let place = self
            .recorded(call, EventName::AuditExported, Object::default(), place)
            .await?;
        let lasting = Lasting::of_history(call, Action::AuditExport, asked.of);
        let checkpoint = self.sealed_now().await?;
        if !self.seals_hold().await? {
            return Err(Error::storage(
                "the newest records are not those that the newest checkpoint is over: nothing that is exported would be \
                 proven; `leasehold audit verify` tells what is wrong",
            ));
        }
        let (after, end) = (asked.after, checkpoint.statement().size);
        if after > end {
            return Err(Error::invalid(
                "after",
                format!("`after` must be 0 to the number of sealed records, {end}"),
            )
            .with("limit", end));
        }
        Ok(PreparedExport {
            asked,
            of,
            checkpoint,
            place,
            lasting,
        })
    }

    /// Records the beginning of an export and gives it out, to its caller who was proven anew: sealing may take long.
    pub async fn export(&self, call: &Call, prepared: PreparedExport) -> Result<Export> {
        let PreparedExport {
            asked,
            of,
            checkpoint,
            place,
            lasting,
        } = prepared;
        let permit = self.permit_again(&lasting, call).await?;
        let ExportHistory {
            format,
            proven,
            filter,
            given,
            after,
            against,
            of: whose,
        } = asked;
        let end = checkpoint.statement().size;
        let public_key = self.keyring.audit_key().public_key();
        let divided = [("after", Some(after)), ("against", against)];
        for (field, size) in divided.into_iter().filter(|_| proven) {
            if let Some(size) = size.filter(|size| *size <= end) {
                removal::divisible(&mut self.read(), public_key, field, size).await?;
            }
        }
        let removed = removal::gone_through(&mut self.read(), public_key).await?;
        let mut unit = self.begin(call, &permit, &[]).await?;
        let mut changes = vec![
            fact("format", format),
            fact("after", after),
            fact("end", end),
        ];
        let filters = given.iter().map(|(name, value)| fact(name, value));
        changes.extend(filters);
        unit.record(Note {
            changes,
            ..Note::new(EventName::AuditExported, Object::default())
        })?;
        let time = unit.now;
        unit.commit().await?;
        lasting.recorded();
        let workspace = call.principal.workspace;
        let name = match whose {
            HistoryOf::Workspace => call.principal.workspace_name.as_str(),
            HistoryOf::Vault => VAULT,
        };
        let header = Header {
            filter: given,
            after,
            ..Header::new((of, name), &checkpoint, public_key, time)
        };
        let range = Range {
            filter,
            after,
            end,
            against,
        };
        let (store, keyring) = (self.store.clone(), self.keyring.clone());
        Ok(Export {
            extract: Extract::new(store, keyring, of, range).indexed_by(self.index.clone()),
            end,
            lasting,
            removed,
            header,
            workspace,
            actor: Actor::of(&call.principal),
            origin: call.origin.clone(),
            decided_by: permit.decided_by().to_owned(),
            _place: place,
        })
    }

    /// Records what an export came to.
    pub async fn end_export(&self, export: &Export, end: ExportEnd) -> Result<()> {
        let mut unit = Unit::begin(
            self,
            export.workspace,
            export.actor.clone(),
            Some(export.origin.clone()),
            Some(export.decided_by.clone()),
            &[],
        )
        .await?;
        unit.record(Note {
            reason: (!end.whole).then(|| "it broke off".to_owned()),
            changes: vec![fact("records", end.records), fact("end", export.end)],
            ..Note::new(EventName::AuditExportEnded, Object::default())
        })?;
        unit.commit().await
    }

    /// The newest checkpoint, over all that was acknowledged before, unless the sealer lags far behind.
    pub(super) async fn sealed_now(&self) -> Result<Checkpoint> {
        for _ in 0..SEALED_FIRST {
            match self.seal_next().await {
                Ok(true) => {}
                Ok(false) => break,
                // What was sealed before is still good.
                Err(error) => {
                    super::expire::report(&error, "the audit log cannot be sealed");
                    break;
                }
            }
        }
        let newest = self.newest_checkpoint().await?;
        newest.ok_or_else(|| {
            Error::storage("nothing of the audit log is sealed yet; try again later")
        })
    }
}

impl Export {
    /// Begins the lines that prove the export, with their header.
    pub fn writer(&self, engine: &Engine, out: &mut Vec<u8>) -> Result<Writer> {
        Writer::begin(engine.keyring.clone(), &self.header, out)
    }

    /// A name for its file, without an ending.
    pub fn file_name(&self) -> String {
        let Header {
            workspace_name,
            time,
            ..
        } = &self.header;
        let time = time.to_string().replace(':', "-");
        format!("leasehold-audit-{workspace_name}-{time}")
    }
}
