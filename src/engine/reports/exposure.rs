//! "A key leaked: who could have used it?" The answer from history, and from the store for what is still open.
//!
//! A lease counts that was open at any moment of the window. No lease lives longer than a year and a day, so history is
//! read from that much before the window; what has left the hot store is in it as well. What retention has removed of
//! history and the store still has is taken from there; what neither has the report says, and so what cannot be read. A
//! report is about one workspace.

use std::collections::BTreeSet;

use super::{
    super::{Call, Engine, Receipt},
    actions::actions,
    assemble::{AskedVersions, exposed, sessions, summary},
    collect::Collected,
    model::{Exposure, FORMAT, Summary},
    question::{ChosenCredential, ChosenIdentity, ExposureQuery, described},
    rests::{Read, Removed, SLACK},
    source::{FromSource, TAKEN_OR_USED},
    stored::Stored,
    unread::Unread,
    wanted::Wanted,
};
use crate::{
    audit::query::{AuditFilter, Numbered, Reader, Whose},
    authz::{Action, Resource},
    domain::{
        error::{Error, Result},
        event::EventName,
        id::CredentialId,
        mask::mask,
        policy::LONGEST_LEASE,
        principal::IdentityType,
        time::Timestamp,
    },
    tables::Tables,
};

/// Records taken from the log at a time.
const RECORDS_AT_ONCE: usize = 512;
/// What to do where there are more leases than a report names.
const HINT: &str = "more leases, or earlier readers, match than one report names; go on with `next_cursor`, or narrow the \
                    question by time, version, identity, session or source";

/// What is looked for, where in history, and what the store knows of it already.
struct Search {
    wanted: Wanted,
    filter: AuditFilter,
    asked: Option<AskedVersions>,
    /// Whether the store has the credential that was asked for, or none was.
    found: bool,
    /// From when on a lease can have shown one of the values that were asked for.
    read_since: Option<Timestamp>,
}

impl Engine {
    /// Who could have used what the query names, at any moment between `since` and `until`.
    pub async fn exposure(&self, call: &Call, query: &ExposureQuery) -> Result<Exposure> {
        let permit = self
            .authorize(call, Action::AuditRead, Resource::Workspace)
            .await?;
        let mut query = query.clone();
        let until = query.check(self.now())?;
        if let Some(session) = &mut query.session {
            // History has no bearer strings. INVARIANT (no-side-door)
            mask(session);
        }
        let asked = query.asked(until);
        self.report_read(call, &permit, "exposure", described(&asked))
            .await?;
        call.entered.leave();
        let tables = self.tables(call.principal.workspace)?;
        let search = self.search(&tables, &query, until).await?;
        let (wanted, filter) = (search.wanted, search.filter);
        let reader = self.history(tables.workspace);
        let removed = Removed::of(self, &reader).await?;
        let (first, last) = reader.span(filter.since).await?.unwrap_or_default();
        let mut unread = Unread::default();
        let from_source = match wanted.source {
            None => None,
            Some(net) => {
                // Whoever the wanted identity asked for a lease for may have used it there.
                let there = AuditFilter {
                    source: Some(net),
                    events: TAKEN_OR_USED.to_vec(),
                    identity: None,
                    ..filter.clone()
                };
                let mut found = FromSource::new(net, &wanted);
                each(&reader, &there, last, &mut unread, |one| {
                    found.take(&one.record)
                })
                .await?;
                Some(found)
            }
        };
        let mut collected = Collected::new(wanted, from_source);
        each(&reader, &filter, last, &mut unread, |one| {
            collected.take(one)
        })
        .await?;
        let mut stored = Stored::new(self, &tables, self.now());
        let id = search.asked.as_ref().map(|asked| asked.id);
        stored
            .add(&mut collected, id, removed.leases_before())
            .await?;
        self.look_apart(&reader, last, &mut unread, &mut collected)
            .await?;
        stored.settle(&mut collected).await?;
        for (credential, since) in collected.followers() {
            let filter = AuditFilter {
                credential: Some(credential),
                events: vec![EventName::CredentialRotated],
                since: Some(since),
                ..AuditFilter::default()
            };
            each(&reader, &filter, last, &mut unread, |one| {
                collected.rotated(&one.record)
            })
            .await?;
        }
        self.stays_over(stored.ended).await?;
        stored.sift(&mut collected).await?;
        let read = Read {
            first,
            last,
            records: collected.records,
            since: query.since,
            read_since: search.read_since,
        };
        let more = collected.next_page();
        let mut report = Exposure {
            format: FORMAT,
            workspace: call.principal.workspace_name.to_string(),
            made_at: stored.now,
            made_by: format!("{}/{}", call.principal.kind.as_str(), call.principal.name),
            request_id: call.origin.request_id.clone(),
            asked,
            found: search.found || collected.known,
            rests_on: self.rests_on(&read, &removed, unread, &reader).await?,
            summary: Summary::default(),
            actions: Vec::new(),
            credentials: stored
                .credentials(&collected, search.asked.as_ref())
                .await?,
            agents: stored.agents(call, &collected).await?,
            sessions: sessions(&collected),
            leases: Vec::new(),
            proofs: stored.proofs(&reader, last, &collected).await?,
            earlier_readers: Vec::new(),
            denied: Vec::new(),
            truncated: more.is_some(),
            next_cursor: more.map(|id| id.to_string()),
            hint: more.map(|_| HINT),
        };
        for who in collected.earlier.people() {
            stored.name(who).await?;
        }
        report.summary = summary(&collected, &report);
        report.actions = actions(&report, &collected);
        report.earlier_readers = collected.earlier.into_readers();
        report.denied = collected.denied;
        report.leases = collected.rows.into_values().map(exposed).collect();
        Ok(report)
    }

    /// What happened to the leases that the log was not searched for yet.
    async fn look_apart(
        &self,
        reader: &Reader<'_>,
        last: u64,
        unread: &mut Unread,
        collected: &mut Collected,
    ) -> Result<()> {
        for (lease, issued_at) in collected.apart() {
            let since = Some(issued_at);
            for filter in [
                AuditFilter {
                    lease: Some(lease),
                    since,
                    ..AuditFilter::default()
                },
                // An alarm names its lease as an object.
                AuditFilter {
                    object: Some(lease.to_string()),
                    events: vec![EventName::CanaryTouched],
                    since,
                    ..AuditFilter::default()
                },
            ] {
                each(reader, &filter, last, unread, |one| collected.take(one)).await?;
            }
        }
        Ok(())
    }

    /// The report as one line of JSON, its fields in the order of their names, signed as receipts are.
    pub fn signed_exposure(&self, report: &Exposure) -> Result<Receipt> {
        // By way of a value, whose fields are sorted.
        let document = serde_json::to_value(report).map_err(Error::internal)?;
        self.signed(document.to_string())
    }

    /// What the records must be about, and the part of it that the log itself can look for.
    async fn search(
        &self,
        tables: &Tables,
        query: &ExposureQuery,
        until: Timestamp,
    ) -> Result<Search> {
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
            namesakes: BTreeSet::new(),
        };
        let mut filter = AuditFilter {
            session: query.session.clone(),
            since: query
                .since
                .map(|since| since.minus(LONGEST_LEASE.span()).minus(SLACK)),
            ..AuditFilter::default()
        };
        let id = match &query.credential {
            None => None,
            Some(ChosenCredential::Name(name)) => {
                filter.credential_name = Some(name.to_string());
                wanted.credential_name = Some(name.clone());
                tables.credential_id(read, name).await?
            }
            Some(ChosenCredential::Id(id)) => {
                filter.credential = Some(*id);
                wanted.credential = Some(*id);
                Some(*id)
            }
        };
        let mut read_since = filter.since;
        let asked = match id {
            None => None,
            Some(id) => self.asked_versions(tables, id, &wanted).await?,
        };
        match &asked {
            // Whoever read a value of it knows it for as long as it is there, however long ago that was.
            Some((_, Some(oldest))) => {
                read_since = Some(*oldest);
                filter.since = filter.since.map(|since| since.min(oldest.minus(SLACK)));
            }
            // Of a deleted one nobody knows for how long.
            None if query.credential.is_some() => {
                read_since = None;
                filter.since = None;
            }
            _ => {}
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
                wanted.kind = Some(*kind);
                for other in IdentityType::ALL.into_iter().filter(|other| other != kind) {
                    let namesake = tables.identity_id(read, other, name).await?;
                    wanted.namesakes.extend(namesake);
                }
            }
            Some(ChosenIdentity::Id(id)) => {
                filter.identity = Some(Whose::Id(*id));
                wanted.identity = Some(*id);
            }
        }
        Ok(Search {
            wanted,
            filter,
            found: asked.is_some() || query.credential.is_none(),
            asked: asked.map(|(asked, _)| asked),
            read_since,
        })
    }

    /// Those versions of a credential that are asked for, and when the oldest of them was made: the one that is named, or
    /// all that had a value here within the window.
    async fn asked_versions(
        &self,
        tables: &Tables,
        id: CredentialId,
        wanted: &Wanted,
    ) -> Result<Option<(AskedVersions, Option<Timestamp>)>> {
        let read = &mut self.read();
        let Some(credential) = tables.credential(read, id).await? else {
            return Ok(None);
        };
        let mut numbers = BTreeSet::new();
        let mut oldest: Option<Timestamp> = None;
        for version in tables.versions(read, id).await? {
            let erased = version.state.erased_at();
            let asked = match wanted.version {
                Some(number) => version.number == number,
                None => {
                    let before = |since| erased.is_some_and(|at| at <= since);
                    version.created_at < wanted.until && !wanted.since.is_some_and(before)
                }
            };
            if asked {
                numbers.insert(version.number);
                let made = version.created_at;
                oldest = Some(oldest.map_or(made, |oldest| oldest.min(made)));
            }
        }
        let asked = AskedVersions {
            id,
            name: credential.name,
            numbers,
        };
        Ok(Some((asked, oldest)))
    }
}

/// Calls `take` with each record that matches, oldest first, up to the sequence number `last`; notes those that might
/// match and cannot be read.
pub(super) async fn each(
    reader: &Reader<'_>,
    filter: &AuditFilter,
    last: u64,
    unread: &mut Unread,
    mut take: impl FnMut(Numbered),
) -> Result<()> {
    let mut after = None;
    loop {
        let found = reader.follow(filter, after, RECORDS_AT_ONCE).await?;
        unread.note(&found, last);
        let records = found.records;
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
