//! One walk over the store: pages in, findings out.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::{Finding, Keys, Kind, Mend, Mender, Report, Told};
use crate::{
    audit::{
        check::{self, Question},
        removal::{self, Removals},
        verify::Walk,
    },
    domain::{
        error::{Error, Result},
        event::Object,
        id::{CredentialId, IdentityId, WorkspaceId},
        time::Timestamp,
        workspace::Stop,
    },
    store::{
        key::{self, Table},
        port::{Boxed, Key, MAX_SCAN, Scan, Store, Value},
        sled::Sled,
    },
    tables::{Read, Tables},
};

/// Where the records are read from.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    Closed(&'a Sled),
    Serving(&'a dyn Store),
}

impl Read for Source<'_> {
    fn get<'a>(&'a mut self, key: &'a [u8]) -> Boxed<'a, Result<Option<Value>>> {
        match self {
            Self::Closed(sled) => Box::pin(std::future::ready(sled.read(key))),
            Self::Serving(store) => Store::get(*store, key),
        }
    }

    fn range<'a>(&'a mut self, scan: &'a Scan) -> Boxed<'a, Result<Vec<(Key, Value)>>> {
        match self {
            Self::Closed(sled) => {
                let mut scan = scan.clone();
                scan.limit = scan.limit.min(MAX_SCAN);
                Box::pin(std::future::ready(sled.read_range(&scan)))
            }
            Self::Serving(store) => Store::scan(*store, scan),
        }
    }
}

/// Open leases by the version that each was issued on.
pub(super) type Open = BTreeMap<u32, (u32, u32)>;

pub(super) struct Exam<'a> {
    pub(super) read: Source<'a>,
    pub(super) keyring: &'a Keys,
    mark: Option<Timestamp>,
    /// The tables of every workspace whose record and keys are there.
    pub(super) tables: HashMap<WorkspaceId, Tables>,
    /// What the lease records say; credentials without an open lease are not in it.
    pub(super) open: HashMap<(WorkspaceId, CredentialId), Open>,
    /// Whether the identities of open leases are stopped.
    pub(super) stopped: HashMap<(WorkspaceId, IdentityId), bool>,
    /// The stops that are complete.
    pub(super) stops: HashMap<WorkspaceId, Stop>,
    /// A lease cannot be read, and nobody knows what it would count for: then no count is sure enough to rebuild
    /// from, for a version that looks unused may be erased.
    pub(super) unsure: bool,
    pub(super) report: Report,
    /// The runs that the audit index is made of.
    pub(super) index_runs: HashSet<u64>,
    pending: Vec<Finding>,
}

/// Pages of a table that are still to come.
pub(super) struct Pages {
    table: Table,
    rest: Option<Scan>,
}

impl Pages {
    pub(super) fn of(table: Table) -> Self {
        Self {
            table,
            rest: Some(table.scan()),
        }
    }
}

pub(super) fn named(name: impl Into<String>) -> Object {
    Object {
        name: Some(name.into()),
        ..Object::default()
    }
}

/// A key by its table and bytes, where it names nothing that has an id. Keys are opaque, not secret.
pub(super) fn key_object(table: Table, at: &[u8]) -> Object {
    let hex: String = at.iter().map(|byte| format!("{byte:02x}")).collect();
    named(format!("{table:?} {hex}"))
}

pub(super) fn of_credential(id: CredentialId, version: Option<u32>) -> Object {
    Object {
        credential: Some(id),
        version,
        ..Object::default()
    }
}

/// What lies behind an error's public text.
fn reason(error: &Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

impl<'a> Exam<'a> {
    pub(super) fn new(read: Source<'a>, keyring: &'a Keys, mark: Option<Timestamp>) -> Self {
        Self {
            read,
            keyring,
            mark,
            tables: HashMap::new(),
            open: HashMap::new(),
            stopped: HashMap::new(),
            stops: HashMap::new(),
            unsure: false,
            report: Report::default(),
            index_runs: HashSet::new(),
            pending: Vec::new(),
        }
    }

    /// Walks over everything. The order matters: the keys of workspaces come first, and counts are complete
    /// before counters are held to them.
    pub(super) async fn run(
        mut self,
        mender: Option<&Mender>,
        tell: &mut dyn FnMut(Told<'_>),
    ) -> Result<Report> {
        let system = Tables::of(self.keyring, WorkspaceId::SYSTEM)?;
        self.tables.insert(WorkspaceId::SYSTEM, system);
        for table in Table::ALL.into_iter().filter(|table| first(*table)) {
            self.walk(table, mender, tell).await?;
        }
        for table in Table::ALL.into_iter().filter(|table| !first(*table)) {
            self.walk(table, mender, tell).await?;
        }
        let mut pages = Pages::of(Table::Ledger);
        while let Some(page) = self.page(&mut pages).await {
            for (at, _) in &page {
                self.state(at).await;
            }
            self.flush(mender, tell).await?;
        }
        self.history(mender, tell).await?;
        for scan in key::strays() {
            let scan = Scan { limit: 1, ..scan };
            let found = self.read.range(&scan).await;
            let object = named("the store");
            if let Some(found) = self.seen(WorkspaceId::SYSTEM, object, found)
                && let Some((at, _)) = found.first()
            {
                let first = at.first().copied().unwrap_or_default();
                let what = format!("keys begin with {first:02x}, which no table does");
                self.find(Kind::Orphan, WorkspaceId::SYSTEM, named("the store"), what);
            }
        }
        self.flush(mender, tell).await?;
        Ok(self.report)
    }

    async fn walk(
        &mut self,
        table: Table,
        mender: Option<&Mender>,
        tell: &mut dyn FnMut(Told<'_>),
    ) -> Result<()> {
        let mut pages = Pages::of(table);
        while let Some(page) = self.page(&mut pages).await {
            for (at, stored) in &page {
                self.pair(table, at, stored).await;
            }
            self.flush(mender, tell).await?;
        }
        self.flush(mender, tell).await
    }

    async fn pair(&mut self, table: Table, at: &[u8], stored: &Value) {
        match table {
            // Read before anything else could be.
            Table::Header | Table::Clock => {}
            // Their own walk.
            Table::Audit | Table::Tree | Table::Checkpoint => {}
            Table::Workspace => self.workspace(at).await,
            Table::WorkspaceName => self.workspace_name(at, stored).await,
            Table::Kek => self.kek(at).await,
            Table::Identity => self.identity(at).await,
            Table::IdentityName => self.identity_name(at, stored).await,
            Table::ApiKey => self.api_key(at).await,
            Table::Token => self.token(at).await,
            Table::ListedToken => self.listed_token(at).await,
            Table::Issuer => self.issuer(at).await,
            Table::Seen => self.seen_assertion(at).await,
            Table::SigningKeys => self.signing_keys().await,
            Table::Configuration => self.configuration().await,
            Table::ApiKeyHome => self.api_key_home(at).await,
            Table::LastUse => self.last_use(at).await,
            Table::IdentityUse => self.identity_use(at).await,
            Table::Retention => self.retained(at, stored).await,
            Table::Alarms => self.alarm(at, stored),
            Table::KeyUsage => self.key_usage(at).await,
            Table::CredentialName => self.credential_name(at, stored).await,
            Table::Credential => self.credential(at).await,
            Table::Ledger => self.ledger(at).await,
            Table::Version => self.version(at).await,
            Table::Value => self.value(at).await,
            Table::FirstAnswer => self.first_answer(at, stored),
            Table::Sweep => self.sweep(at).await,
            Table::Lease => self.lease(at, stored).await,
            Table::OpenLease => self.open_lease(at, stored).await,
            Table::PolicySet => self.policy_set(at).await,
            Table::AuditIndexState => self.audit_index_state(at, stored),
            Table::AuditIndexPage => self.audit_index_page(at, stored),
        }
    }

    async fn history(
        &mut self,
        mender: Option<&Mender>,
        tell: &mut dyn FnMut(Told<'_>),
    ) -> Result<()> {
        let mut faults = Vec::new();
        let mut told = BTreeSet::new();
        let key = *self.keyring.audit_key().public_key();
        let front = removal::front(&mut self.read, &key).await;
        let front = self.seen(WorkspaceId::SYSTEM, named("the front of the log"), front);
        let removals = Removals::all(&mut self.read, &key, &mut faults).await;
        let removals = self.seen(
            WorkspaceId::SYSTEM,
            named("what retention removed"),
            removals,
        );
        let removals = removals.unwrap_or_default();
        let first = front.flatten().map_or(1, |front| front.first);
        let mut walk = Walk::new(self.keyring, first, &removals);
        let mut pages = Pages::of(Table::Audit);
        while let Some(page) = self.page(&mut pages).await {
            for (at, block) in &page {
                walk.block(at, block, &mut |fault| faults.push(fault));
            }
            told.extend(faults.iter().map(|fault| fault.sequence));
            self.faults(&mut faults);
            self.flush(mender, tell).await?;
        }
        self.report.audit_records = walk.records();
        faults.extend(walk.end(self.mark));
        self.faults(&mut faults);
        let seals = check::log(&mut self.read, &key, Question::default()).await;
        let seals = self.seen(WorkspaceId::SYSTEM, named("the seals of the log"), seals);
        let mut more = seals.map_or_else(Vec::new, |report| report.faults);
        more.retain(|fault| !told.contains(&fault.sequence));
        self.faults(&mut more);
        self.flush(mender, tell).await
    }

    fn faults(&mut self, faults: &mut Vec<crate::audit::verify::Fault>) {
        for fault in faults.drain(..) {
            let object = named(format!("audit record {}", fault.sequence));
            self.find(Kind::Audit, WorkspaceId::SYSTEM, object, fault.what);
        }
    }

    /// The next page. A table that cannot be read any further is a finding, and ends there.
    pub(super) async fn page(&mut self, pages: &mut Pages) -> Option<Vec<(Key, Value)>> {
        let scan = pages.rest.take()?;
        let page = self.read.range(&scan).await;
        self.unsure |= page.is_err() && pages.table == Table::Lease;
        let object = named(format!("table {:?}", pages.table));
        let page = self.seen(WorkspaceId::SYSTEM, object, page)?;
        let (last, _) = page.last()?;
        pages.rest = Some(scan.after(last));
        Some(page)
    }

    /// What was read, or a finding.
    pub(super) fn seen<T>(
        &mut self,
        workspace: WorkspaceId,
        object: Object,
        result: Result<T>,
    ) -> Option<T> {
        result
            .map_err(|error| self.find(Kind::Unreadable, workspace, object, reason(&error)))
            .ok()
    }

    /// The tables of the workspace that a record belongs to, or a finding.
    pub(super) fn home(&mut self, workspace: WorkspaceId, object: &Object) -> Option<Tables> {
        let tables = self.tables.get(&workspace).cloned();
        if tables.is_none() {
            let what = format!("belongs to the workspace {workspace}, which is not there");
            self.find(Kind::Orphan, WorkspaceId::SYSTEM, object.clone(), what);
        }
        tables
    }

    /// Whether there is anything under this key; what cannot be told is a finding.
    pub(super) async fn exists(&mut self, object: &Object, key: &[u8]) -> Option<bool> {
        let found = self.read.get(key).await;
        let found = self.seen(WorkspaceId::SYSTEM, object.clone(), found)?;
        Some(found.is_some())
    }

    /// Something that nothing here can mend.
    pub(super) fn find(
        &mut self,
        kind: Kind,
        workspace: WorkspaceId,
        object: Object,
        what: impl Into<String>,
    ) {
        self.add(kind, workspace, object, what.into(), false, None);
    }

    /// Something that can be mended.
    pub(super) fn find_mendable(
        &mut self,
        kind: Kind,
        workspace: WorkspaceId,
        object: Object,
        what: impl Into<String>,
        mend: Option<Mend>,
    ) {
        self.add(kind, workspace, object, what.into(), true, mend);
    }

    fn add(
        &mut self,
        kind: Kind,
        workspace: WorkspaceId,
        object: Object,
        what: String,
        mendable: bool,
        mend: Option<Mend>,
    ) {
        self.report.findings += 1;
        self.report.mendable += u64::from(mendable);
        self.pending.push(Finding {
            kind,
            workspace,
            object,
            what,
            mendable,
            mend,
        });
    }

    /// Tells what was found, or mends it.
    async fn flush(
        &mut self,
        mender: Option<&Mender>,
        tell: &mut dyn FnMut(Told<'_>),
    ) -> Result<()> {
        let pending = std::mem::take(&mut self.pending);
        let Some(mender) = mender else {
            pending.iter().for_each(|one| tell(Told::Found(one)));
            return Ok(());
        };
        mender.mend(&pending).await?;
        for one in pending.iter().filter(|one| one.mendable) {
            self.report.mended += 1;
            tell(Told::Mended(one));
        }
        Ok(())
    }
}

/// Names before the records they lead to, so that one that leads astray is gone when its place is needed; and
/// workspaces before all else, for their keys.
fn first(table: Table) -> bool {
    matches!(
        table,
        Table::Workspace | Table::WorkspaceName | Table::IdentityName | Table::CredentialName
    )
}
