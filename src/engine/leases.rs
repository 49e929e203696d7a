//! Showing leases.

use tokio::sync::Semaphore;

use super::{
    Call, Engine,
    lease::no_lease,
    page::{Page, PageRequest, Picking},
    views::{LeaseView, LeaseViews, lease_view},
};
use crate::{
    audit::query::{AuditFilter, AuditPage, Window},
    authz::{self, Action, Resource},
    domain::{
        error::{Error, Result},
        id::LeaseId,
        lease::{Lease, LeaseStatus},
        mask::mask,
        time::Timestamp,
    },
    store::key,
    tables::Read,
};

/// Which leases to list. Every given filter must match.
#[derive(Debug, Clone, Default)]
pub struct LeaseFilter {
    pub credential_name: Option<String>,
    pub identity: Option<String>,
    pub session: Option<String>,
    pub status: Option<LeaseStatus>,
    pub version: Option<u32>,
    /// Issued at or after, and before.
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum SortBy {
    IssuedAt,
    ExpiresAt,
}

const SORTS: [(&str, SortBy); 3] = [
    ("created_at", SortBy::IssuedAt),
    ("issued_at", SortBy::IssuedAt),
    ("expires_at", SortBy::ExpiresAt),
];
const DEFAULT_SORT: &str = "-created_at";
/// Lists made at a time. Each opens every lease of its workspace, and the processors belong to grants.
const AT_ONCE: usize = 2;
/// Leases opened before others get their turn on the thread.
const OPENED_AT_ONCE: usize = 128;
/// The most leases that an offset passes over: they are all held meanwhile, and those before a cursor are not.
const MAX_OFFSET: u64 = 100_000;

/// Whose turn it is to list leases.
pub(super) fn turns() -> Semaphore {
    Semaphore::new(AT_ONCE)
}

impl Engine {
    /// One lease.
    pub async fn lease(&self, call: &Call, id: LeaseId) -> Result<LeaseView> {
        let tables = self.tables(call.principal.workspace)?;
        let read = &mut self.read();
        let lease = tables.lease(read, id).await?.ok_or_else(no_lease)?;
        self.authorize_lease_read(call, &tables, &lease).await?;
        let now = self.now();
        self.stays_over(lease.ran_out(now)).await?;
        lease_view(&tables, now, read, lease).await
    }

    /// The history of one lease, oldest first.
    pub async fn lease_events(
        &self,
        call: &Call,
        id: LeaseId,
        window: Window,
    ) -> Result<AuditPage> {
        let tables = self.tables(call.principal.workspace)?;
        let lease = tables
            .lease(&mut self.read(), id)
            .await?
            .ok_or_else(no_lease)?;
        self.authorize_lease_read(call, &tables, &lease).await?;
        let filter = AuditFilter {
            lease: Some(id),
            since: Some(lease.issued_at),
            ..AuditFilter::default()
        };
        let page = self
            .history(tables.workspace)
            .query(&filter, window)
            .await?;
        // Whose the damaged ones are nobody can tell.
        Ok(AuditPage {
            unreadable: Vec::new(),
            ..page
        })
    }

    /// A page of the workspace's leases; of the caller's own where it may not see others'.
    pub async fn leases(
        &self,
        call: &Call,
        filter: &LeaseFilter,
        request: &PageRequest,
    ) -> Result<Page<LeaseView>> {
        let own_only = match authz::screen(&call.principal, Action::LeaseList, Resource::Workspace)
        {
            Ok(()) => {
                self.authorize(call, Action::LeaseList, Resource::Workspace)
                    .await?;
                false
            }
            Err(denial) => {
                let own = authz::screen(&call.principal, Action::LeaseCreate, Resource::Workspace);
                if own.is_err() {
                    return Err(self.deny(call, denial).await?);
                }
                true
            }
        };
        let mut sight = self.sight(call, Action::LeaseRead);
        let window = request.window(&SORTS, DEFAULT_SORT)?;
        if window.offset() > MAX_OFFSET {
            return Err(Error::invalid(
                "offset",
                format!("`offset` must be at most {MAX_OFFSET} here; go on with `cursor`"),
            )
            .with("limit", MAX_OFFSET));
        }
        let turn = self.lists.acquire().await.map_err(Error::internal)?;
        let tables = self.tables(call.principal.workspace)?;
        let now = self.now();
        let read = &mut self.read();
        let mut views = LeaseViews::new(&tables, now);
        let mut picking = Picking::new(&window);
        let (mut unreadable, mut ended) = (0, None);
        let mut scan = key::leases(tables.workspace);
        scan.limit = OPENED_AT_ONCE;
        loop {
            let pairs = read.range(&scan).await?;
            let Some((last, _)) = pairs.last() else { break };
            scan = scan.after(last);
            for (at, stored) in &pairs {
                let id =
                    key::parse_lease(at).ok_or_else(|| Error::internal("malformed lease key"))?;
                let lease = match tables.open_lease(id, stored) {
                    Ok(lease) => lease,
                    Err(error) => {
                        self.unreadable.tell(id, &error);
                        unreadable += u64::from(!own_only);
                        continue;
                    }
                };
                let visible = !own_only || lease.holder.identity == call.principal.identity;
                // One that is not listed was told about too.
                ended = ended.max(lease.ran_out(now).filter(|_| visible));
                if !visible || !filter.matches(&lease, now) {
                    continue;
                }
                if !sight.of_lease(&tables, read, &lease).await? {
                    continue;
                }
                let sorted_by = match window.sort {
                    SortBy::IssuedAt => lease.issued_at,
                    SortBy::ExpiresAt => lease.expires_at,
                };
                if let Some(version) = filter.version
                    && views.view(read, lease).await?.version != version
                {
                    continue;
                }
                let position = [&sorted_by.as_millis().to_be_bytes()[..], id.as_bytes()].concat();
                picking.offer(position, id);
            }
            tokio::task::yield_now().await;
        }
        drop(turn);
        let page = request.picked(&window, DEFAULT_SORT, picking);
        let mut items = Vec::with_capacity(page.items.len());
        for id in page.items {
            // Past its retention since the scan.
            let Some(lease) = tables.lease(read, id).await? else {
                continue;
            };
            ended = ended.max(lease.ran_out(now));
            // Closed since the scan. What is left matched at one instant, the end of the scan: leases never reopen.
            if !filter.matches(&lease, now) {
                continue;
            }
            items.push(views.view(read, lease).await?);
        }
        self.stays_over(ended).await?;
        Ok(Page {
            items,
            limit: page.limit,
            next_cursor: page.next_cursor,
            total: page.total,
            unreadable,
        })
    }
}

impl LeaseFilter {
    /// A session that looks like a bearer string is named as it is, or as history shows it.
    fn is_of_session(&self, lease: &Lease) -> bool {
        match (&self.session, &lease.holder.session) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(wanted), Some(session)) => {
                wanted == session || {
                    let mut shown = session.clone();
                    mask(&mut shown);
                    *wanted == shown
                }
            }
        }
    }

    /// Whether the lease matches, its version aside.
    pub(super) fn matches(&self, lease: &Lease, now: Timestamp) -> bool {
        self.credential_name
            .as_deref()
            .is_none_or(|name| name == lease.credential_name.as_str())
            && self
                .identity
                .as_deref()
                .is_none_or(|name| name == lease.holder.name.as_str())
            && self.is_of_session(lease)
            && self.status.is_none_or(|status| status == lease.status(now))
            && self.since.is_none_or(|since| lease.issued_at >= since)
            && self.until.is_none_or(|until| lease.issued_at < until)
    }
}

#[cfg(test)]
mod tests;
