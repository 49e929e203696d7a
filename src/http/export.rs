//! `/v1/audit/export`: history as a file, in the form that its reader takes.
//!
//! Every form is one line a record, oldest first, and says how it ended: NDJSON in its last line, the others, whose
//! readers take nothing but records, in a trailer of the answer, `Leasehold-Export-Records`. An answer that breaks off
//! is never ended well: its transfer is cut.

mod carried;
mod csv;
mod ocsf;
mod pieces;

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, HeaderName, header},
    response::{IntoResponse, Response},
};

pub use self::carried::lines;
use self::{carried::Form, pieces::Source};
use super::{
    Surface, audit,
    caller::{Caller, Presented, Reader},
    error::ApiError,
    query::Params,
    wire::*,
};
use crate::{
    audit::{
        export::{Item, Writer},
        query::{AuditFilter, Numbered},
    },
    domain::error::{Error, Result},
    engine::{Engine, Export, ExportEnd, ExportHistory},
};

/// The last record that the answer may hold: a later export goes on behind it.
const END: HeaderName = HeaderName::from_static("leasehold-export-end");
/// The last of the records that the log no longer begins with, as retention removed them; 0 for none.
const REMOVED: HeaderName = HeaderName::from_static("leasehold-export-removed");
/// How many records the answer held.
const RECORDS: HeaderName = HeaderName::from_static("leasehold-export-records");
/// The longest value of a filter, in bytes: it is written into history.
const MAX_FILTER_BYTES: usize = 256;

/// How records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Ndjson,
    Csv,
    Ocsf,
}

impl Format {
    fn parse(text: &str) -> Option<Self> {
        [Self::Ndjson, Self::Csv, Self::Ocsf]
            .into_iter()
            .find(|format| format.as_str() == text)
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
            Self::Ocsf => "ocsf",
        }
    }

    /// The media type, and the ending of a file.
    const fn file(self) -> (&'static str, &'static str) {
        match self {
            Self::Ndjson => ("application/x-ndjson", "ndjson"),
            Self::Csv => ("text/csv; charset=utf-8; header=present", "csv"),
            Self::Ocsf => ("application/x-ndjson", "ocsf.ndjson"),
        }
    }
}

/// A record as answers show it: the readable part of an export.
pub fn readable(record: Numbered) -> Result<String> {
    serde_json::to_string(&AuditBody::from(record)).map_err(Error::internal)
}

/// Exports the workspace's sealed history, oldest first: as `ndjson`, which proves itself offline with the public key, as
/// `csv`, or as `ocsf`, for a SIEM, which do so with `proofs=true`: then each row and event carries its line of NDJSON,
/// in the column `proof` or the attribute `raw_data`. The export becomes part of history. `Leasehold-Export-End` names the last record that
/// it may hold, `Leasehold-Export-Removed` up to which record the log's beginning was removed by retention; `after` goes
/// on behind a record.
#[utoipa::path(get, path = "/v1/audit/export", tag = "audit", operation_id = "export_history",
    params(("format" = Option<String>, Query, description = "`ndjson` (the default), `csv` or `ocsf`"),
        ("proofs" = Option<bool>, Query, description = "Whether `csv` or `ocsf` carries what proves it; `ndjson` always does"),
        ("after" = Option<u64>, Query, description = "The sequence number of the record to go on behind"),
        ("against" = Option<u64>, Query, description = "The size of a checkpoint that the export is to be held against: no gap goes over it"),
        ("scope" = Option<String>, Query, description = "`workspace` (the default), or `organisation`: what happened to the vault itself"),
        ("event" = Option<String>, Query, description = "One event, or several with commas between them", example = "lease.issued"),
        ("actor" = Option<String>, Query), ("identity" = Option<String>, Query, description = "Who acted, or who held the lease: a name or an id"),
        ("key_id" = Option<String>, Query), ("token_id" = Option<String>, Query),
        ("credential_name" = Option<String>, Query), ("credential_id" = Option<String>, Query), ("version" = Option<u32>, Query),
        ("lease_id" = Option<String>, Query), ("session_id" = Option<String>, Query),
        ("request_id" = Option<String>, Query), ("outcome" = Option<String>, Query, description = "`success` or `refused`"),
        ("code" = Option<String>, Query), ("source_ip" = Option<String>, Query, description = "An address, or a network such as `192.0.2.0/24`"),
        ("object" = Option<String>, Query), ("since" = Option<String>, Query), ("until" = Option<String>, Query)),
    responses((status = 200, description = "The records, a line each", body = String, content_type = "application/x-ndjson"),
        (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn export(
    State(surface): State<Surface>,
    presented: Presented,
    caller: Caller,
    mut params: Params,
) -> Result<Response, ApiError> {
    let format = params.read("format", "`ndjson`, `csv` or `ocsf`", Format::parse)?;
    let format = format.unwrap_or(Format::Ndjson);
    let proven = params.flag("proofs")? || format == Format::Ndjson;
    let after = params.number("after")?.unwrap_or(0);
    let against = params.number("against")?;
    let given = params.given();
    let too_long = |(_, value): &(&String, &String)| value.len() > MAX_FILTER_BYTES;
    let too_long = given.iter().find(too_long).map(|(name, _)| name.to_owned());
    let filter = AuditFilter {
        since: params.time("since")?,
        until: params.time("until")?,
        ..audit::filter(&mut params)?
    };
    let of = audit::scope(&mut params)?;
    params.finish()?;
    if let Some(name) = too_long {
        let message = format!("`{name}` is longer than {MAX_FILTER_BYTES} bytes");
        return Err(Error::invalid(&name, message).into());
    }
    let asked = ExportHistory {
        format: format.as_str(),
        proven,
        of,
        filter,
        given,
        after,
        against,
    };
    let engine = surface.engine();
    let prepared = engine.prepare_export(&caller.call(), asked).await?;
    let call = presented.prove(&surface).await?;
    let export = engine.export(&call, prepared).await?;
    // Whatever is given out from here on is given to whom no stop waits for.
    drop(call);
    let (media_type, ending) = format.file();
    let name = format!("attachment; filename=\"{}.{ending}\"", export.file_name());
    let headers = [
        (header::CONTENT_TYPE, media_type.to_owned()),
        (header::CONTENT_DISPOSITION, name),
        (header::TRAILER, RECORDS.to_string()),
        (END, export.end.to_string()),
        (REMOVED, export.removed.to_string()),
    ];
    let lines = Lines {
        engine: surface.0.engine.clone(),
        export,
        format,
        proofs: proven.then(|| Proofs {
            form: Form::new(format),
            writer: None,
            lines: Vec::new(),
        }),
        begun: false,
        records: 0,
    };
    let reader = Reader {
        lasting: lines.export.lasting.clone(),
        surface,
        presented,
    };
    Ok((headers, pieces::streamed(lines, reader)).into_response())
}

impl pieces::Reader for Reader {
    async fn may_go_on(&self) -> Result<()> {
        Reader::may_go_on(self).await
    }
}

/// An export on its way into an answer.
struct Lines {
    engine: Arc<Engine>,
    export: Export,
    format: Format,
    proofs: Option<Proofs>,
    begun: bool,
    records: u64,
}

/// What proves an export, as its form carries it.
struct Proofs {
    form: Form,
    /// None before the first line, and behind the last one.
    writer: Option<Writer>,
    /// What was written and is not in its form yet.
    lines: Vec<u8>,
}

impl Proofs {
    /// The next records and gaps; none at the end. Returns how many records there were so far.
    fn fill(&mut self, items: Vec<Item>, out: &mut Vec<u8>) -> Result<u64> {
        let Some(mut writer) = self.writer.take() else {
            return Err(Error::internal("an export is written behind its end"));
        };
        let more = !items.is_empty();
        for item in items {
            writer.item(item, readable, &mut self.lines)?;
        }
        let records = writer.records();
        match more {
            true => self.writer = Some(writer),
            false => writer.end(&mut self.lines)?,
        }
        self.form.write(&self.lines, out)?;
        self.lines.clear();
        Ok(records)
    }
}

impl Lines {
    /// What comes before the first record.
    fn begin(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.begun = true;
        if self.format == Format::Csv {
            csv::header(self.proofs.is_some(), out);
        }
        if let Some(proofs) = &mut self.proofs {
            let writer = self.export.writer(&self.engine, &mut proofs.lines)?;
            proofs.writer = Some(writer);
        }
        Ok(())
    }
}

impl Source for Lines {
    async fn fill(&mut self, out: &mut Vec<u8>) -> Result<bool> {
        if !self.begun {
            self.begin(out)?;
        }
        if let Some(proofs) = &mut self.proofs {
            let items = self.export.extract.next().await?;
            let more = !items.is_empty();
            self.records = proofs.fill(items, out)?;
            return Ok(more);
        }
        let records = self.export.extract.next_records().await?;
        let more = !records.is_empty();
        self.records += records.len() as u64;
        for record in records {
            let body = serde_json::to_value(AuditBody::from(record)).map_err(Error::internal)?;
            match self.format {
                Format::Csv => csv::row(&body, None, out),
                _ => ocsf::line(body, None, out)?,
            }
        }
        Ok(more)
    }

    fn trailers(&self) -> HeaderMap {
        HeaderMap::from_iter([(RECORDS, self.records.into())])
    }

    async fn done(self, whole: bool) {
        let records = self.records;
        let end = ExportEnd { records, whole };
        if let Err(error) = self.engine.end_export(&self.export, end).await {
            tracing::error!(%error, "the end of an export could not be recorded");
        }
    }
}

#[cfg(test)]
mod tests;
