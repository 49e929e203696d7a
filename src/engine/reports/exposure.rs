//! "A key leaked: who could have used it?" The answer from history, and from the store for what is still open.
//!
//! A lease counts that was open at any moment of the window. No lease lives longer than a year and a day, so history is
//! read from that much before the window; what has left the hot store is in it as well.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ipnet::IpNet;

use super::{
    super::{Call, Engine, Receipt, credential::change},
    assemble::{Finisher, actions, exposed, proofs, sessions, summary},
    collect::Collected,
    model::{Asked, Exposure, FORMAT, RestsOn, Summary},
    row::Wanted,
    source::FromSource,
};
use crate::{
    audit::query::{AuditFilter, Numbered, Reader, Whose},
    authz::{Action, Resource},
    domain::{
        error::{Error, Result},
        event::Change,
        id::{CredentialId, IdentityId, LeaseId},
        name::{CredentialName, IdentityName, MAX_SESSION_BYTES, check_text},
        policy::LONGEST_LEASE,
        principal::IdentityType,
        time::{Span, Timestamp},
    },
    tables::Tables,
};

/// Records taken from the log at a time.
const RECORDS_AT_ONCE: usize = 512;
/// Times of records and of what they describe may lie apart by so much.
const SLACK: Span = Span::from_secs(60);
/// What to do where there are more leases than a report names.
const HINT: &str = "more leases match than one report names; go on with `next_cursor`, or narrow the question by time, \
                    version, identity, session or source";

/// A credential, by what the caller knows of it.
#[derive(Debug, Clone)]
pub enum ChosenCredential {
    Name(CredentialName),
    /// Tells two apart that had the same name one after the other.
    Id(CredentialId),
}

/// An identity, by what the caller knows of it.
#[derive(Debug, Clone)]
pub enum ChosenIdentity {
    /// Of any type.
    Name(IdentityName),
    Typed(IdentityType, IdentityName),
    Id(IdentityId),
}

/// What an exposure report is about. At least one of the first and of the others than the times is given.
#[derive(Debug, Clone, Default)]
pub struct ExposureQuery {
    pub credential: Option<ChosenCredential>,
    /// Of the credential, which is given then.
    pub version: Option<u32>,
    pub identity: Option<ChosenIdentity>,
    pub session: Option<String>,
    pub source: Option<IpNet>,
    pub since: Option<Timestamp>,
    /// Now, where it is not given.
    pub until: Option<Timestamp>,
    /// Where the page before ended.
    pub cursor: Option<LeaseId>,
}

impl ExposureQuery {
    fn check(&self, now: Timestamp) -> Result<Timestamp> {
        let chosen = self.credential.is_some()
            || self.identity.is_some()
            || self.session.is_some()
            || self.source.is_some();
        if !chosen {
            return Err(Error::missing("credential_name"));
        }
        if self.version.is_some() && self.credential.is_none() {
            return Err(Error::missing("credential_name"));
        }
        if let Some(session) = &self.session {
            check_text(session, "session_id", MAX_SESSION_BYTES)?;
        }
        let until = self.until.unwrap_or(now);
        if self.since.is_some_and(|since| since >= until) {
            return Err(Error::invalid("since", "`since` must be before `until`"));
        }
        Ok(until)
    }

    fn asked(&self, until: Timestamp) -> Asked {
        Asked {
            credential: self.credential.as_ref().map(|chosen| match chosen {
                ChosenCredential::Name(name) => name.to_string(),
                ChosenCredential::Id(id) => id.to_string(),
            }),
            version: self.version,
            identity: self.identity.as_ref().map(|chosen| match chosen {
                ChosenIdentity::Name(name) => name.to_string(),
                ChosenIdentity::Typed(kind, name) => format!("{}/{name}", kind.as_str()),
                ChosenIdentity::Id(id) => id.to_string(),
            }),
            session_id: self.session.clone(),
            source: self.source.map(|net| net.to_string()),
            since: self.since,
            until,
            cursor: self.cursor.map(|id| id.to_string()),
        }
    }
}

/// The question as history keeps it.
fn described(asked: &Asked) -> Vec<Change> {
    let text = |text: &Option<String>| text.clone();
    [
        ("filter.credential", text(&asked.credential)),
        (
            "filter.version",
            asked.version.map(|version| version.to_string()),
        ),
        ("filter.identity", text(&asked.identity)),
        ("filter.session_id", text(&asked.session_id)),
        ("filter.source", text(&asked.source)),
        ("filter.since", asked.since.map(|since| since.to_string())),
        ("filter.until", Some(asked.until.to_string())),
    ]
    .into_iter()
    .filter_map(|(field, value)| value.map(|value| change(field, None, Some(value))))
    .collect()
}

impl Engine {
    /// Who could have used what the query names, at any moment between `since` and `until`.
    pub async fn exposure(&self, call: &Call, query: &ExposureQuery) -> Result<Exposure> {
        let permit = self
            .authorize(call, Action::AuditRead, Resource::Workspace)
            .await?;
        let until = query.check(self.now())?;
        let asked = query.asked(until);
        self.report_read(call, &permit, "exposure", described(&asked))
            .await?;
        let tables = self.tables(call.principal.workspace)?;
        let (wanted, filter) = self.wanted(&tables, query, until).await?;
        let reader = self.history(tables.workspace);
        let (first, last) = reader.span(filter.since).await?.unwrap_or_default();
        let from_source = match wanted.source {
            None => None,
            Some(net) => {
                let mut found = FromSource::new(net, &wanted);
                each(&reader, &filter, last, |one| found.take(&one.record)).await?;
                Some(found)
            }
        };
        let mut collected = Collected::new(wanted, from_source);
        each(&reader, &filter, last, |one| collected.take(one)).await?;
        for (lease, issued_at) in collected.delegated() {
            let filter = AuditFilter {
                lease: Some(lease),
                since: Some(issued_at),
                ..AuditFilter::default()
            };
            each(&reader, &filter, last, |one| collected.take(one)).await?;
        }
        let made_at = self.now();
        let mut finisher = Finisher::new(self, &tables, made_at);
        finisher.settle(&mut collected).await?;
        let mut report = Exposure {
            format: FORMAT,
            workspace: call.principal.workspace_name.to_string(),
            made_at,
            made_by: format!("{}/{}", call.principal.kind.as_str(), call.principal.name),
            request_id: call.origin.request_id.clone(),
            asked,
            rests_on: RestsOn {
                first_sequence: first,
                last_sequence: last,
                matching_records: collected.records,
                checkpoint: self.covering(last).await?,
            },
            summary: Summary::default(),
            actions: Vec::new(),
            credentials: finisher.credentials(&collected).await?,
            agents: finisher.agents(&collected).await?,
            sessions: sessions(&collected),
            leases: Vec::new(),
            proofs: proofs(&collected),
            earlier_readers: Vec::new(),
            denied: Vec::new(),
            truncated: collected.next_page().is_some(),
            next_cursor: collected.next_page().map(|id| id.to_string()),
            hint: collected.next_page().map(|_| HINT),
        };
        for reader in collected.earlier.values_mut() {
            finisher.name(&mut reader.who).await?;
        }
        report.summary = summary(&collected, &report);
        report.actions = actions(&report);
        report.earlier_readers = collected.earlier.into_values().collect();
        report.denied = collected.denied;
        report.leases = collected.rows.into_values().map(exposed).collect();
        Ok(report)
    }

    /// The newest checkpoint, where it is over every record up to `last`.
    async fn covering(&self, last: u64) -> Result<Option<super::model::Checkpoint>> {
        // A report is an answer where nothing can be sealed, too.
        let newest = self.sealed_now().await.ok();
        let newest = newest.map(|newest| *newest.statement());
        Ok(newest
            .filter(|newest| newest.size >= last)
            .map(|newest| super::model::Checkpoint {
                size: newest.size,
                root: STANDARD.encode(newest.root),
            }))
    }

    /// The report as one line of JSON, its fields in the order of their names, signed as receipts are.
    pub fn signed_exposure(&self, report: &Exposure) -> Result<Receipt> {
        // By way of a value, whose fields are sorted.
        let document = serde_json::to_value(report).map_err(Error::internal)?;
        self.signed(document.to_string())
    }

    /// What the records must be about, and the part of it that the log itself can look for.
    async fn wanted(
        &self,
        tables: &Tables,
        query: &ExposureQuery,
        until: Timestamp,
    ) -> Result<(Wanted, AuditFilter)> {
        let read = &mut self.read();
        let mut wanted = Wanted {
            version: query.version,
            session: query.session.clone(),
            source: query.source,
            since: query.since,
            until,
            from: query.cursor,
            credential: None,
            credential_name: None,
            identity: None,
            identity_name: None,
            kind: None,
        };
        let mut filter = AuditFilter {
            session: query.session.clone(),
            since: query
                .since
                .map(|since| since.minus(LONGEST_LEASE.span()).minus(SLACK)),
            ..AuditFilter::default()
        };
        match &query.credential {
            None => {}
            Some(ChosenCredential::Name(name)) => {
                filter.credential_name = Some(name.to_string());
                wanted.credential_name = Some(name.clone());
            }
            Some(ChosenCredential::Id(id)) => {
                let found = tables.credential(read, *id).await?;
                filter.credential_name = found.map(|found| found.name.to_string());
                wanted.credential = Some(*id);
            }
        }
        match &query.identity {
            None => {}
            Some(ChosenIdentity::Name(name)) => {
                filter.identity = Some(Whose::Name(name.to_string()));
                wanted.identity_name = Some(name.clone());
            }
            Some(ChosenIdentity::Typed(kind, name)) => {
                filter.identity = Some(Whose::Name(name.to_string()));
                wanted.identity_name = Some(name.clone());
                // Of one that is gone history knows the name, and the type where it acted itself.
                wanted.identity = tables.identity_id(read, *kind, name).await?;
                wanted.kind = Some(*kind);
            }
            Some(ChosenIdentity::Id(id)) => {
                let found = tables.identity(read, *id).await?;
                filter.identity = found.map(|found| Whose::Name(found.name.to_string()));
                wanted.identity = Some(*id);
            }
        }
        Ok((wanted, filter))
    }
}

/// Calls `take` with each record that matches, oldest first, up to the sequence number `last`.
async fn each(
    reader: &Reader<'_>,
    filter: &AuditFilter,
    last: u64,
    mut take: impl FnMut(Numbered),
) -> Result<()> {
    let mut after = None;
    loop {
        let records = reader.next(filter, after, RECORDS_AT_ONCE).await?;
        let more = records.len() == RECORDS_AT_ONCE;
        after = records.last().map(|one| one.sequence).or(after);
        for one in records {
            if one.sequence > last {
                return Ok(());
            }
            take(one);
        }
        if !more {
            return Ok(());
        }
    }
}
