//! Showing API keys.

use super::{
    super::{
        Call, Engine,
        page::{Page, PageRequest},
    },
    resource,
    view::{KeyView, KeyViews},
};
use crate::{
    authz::{Action, Resource},
    domain::{
        error::Result,
        id::{KeyId, WorkspaceId},
        principal::KeyStatus,
        scope::Role,
        time::{TimeRange, Timestamp, Ttl},
    },
};

/// Which keys to list. Every given filter must match.
#[derive(Debug, Clone, Default)]
pub struct KeyFilter {
    pub name: Option<String>,
    /// The name of the identity.
    pub identity: Option<String>,
    pub status: Option<KeyStatus>,
    pub role: Option<Role>,
    /// Only keys that were not let in for so long, or never.
    pub unused_for: Option<Ttl>,
    /// When it was made.
    pub made: TimeRange,
}

#[derive(Clone, Copy)]
enum SortBy {
    CreatedAt,
    ExpiresAt,
    LastUsedAt,
    Name,
}

const SORTS: [(&str, SortBy); 4] = [
    ("created_at", SortBy::CreatedAt),
    ("expires_at", SortBy::ExpiresAt),
    ("last_used_at", SortBy::LastUsedAt),
    ("name", SortBy::Name),
];
const DEFAULT_SORT: &str = "-created_at";

impl Engine {
    /// One key of the workspace.
    pub async fn api_key(&self, call: &Call, id: KeyId) -> Result<KeyView> {
        let key = self.find_key(call, id).await?;
        self.authorize(call, Action::KeyRead, resource(&key))
            .await?;
        KeyViews::new(self, self.now())?
            .view(&mut self.read(), &key)
            .await
    }

    /// A page of the workspace's keys.
    pub async fn api_keys(
        &self,
        call: &Call,
        filter: &KeyFilter,
        request: &PageRequest,
    ) -> Result<Page<KeyView>> {
        self.authorize(call, Action::KeyRead, Resource::Workspace)
            .await?;
        let window = request.window(&SORTS, DEFAULT_SORT)?;
        let now = self.now();
        let views = self.key_views(call).await?.into_iter();
        let found = views
            .filter(|view| filter.matches(view, now))
            .map(|view| (window.sort.position(&view), view));
        Ok(request.cut(&window, DEFAULT_SORT, found.collect()))
    }

    /// Every key of the workspace's identities; the caller may read them.
    pub(in crate::engine) async fn key_views(&self, call: &Call) -> Result<Vec<KeyView>> {
        let home = call.principal.workspace;
        let system = self.tables(WorkspaceId::SYSTEM)?;
        let read = &mut self.read();
        let mut views = KeyViews::new(self, self.now())?;
        let mut found = Vec::new();
        for id in system.api_keys_of(read, home).await? {
            // Deleted since its entry was read.
            let Some(key) = system.api_key(read, id).await? else {
                continue;
            };
            found.push(views.view(read, &key).await?);
        }
        Ok(found)
    }
}

impl SortBy {
    /// Where a key stands: those that never expire behind all others, those never used in front.
    fn position(self, view: &KeyView) -> Vec<u8> {
        let millis = |at: Option<Timestamp>, none: u64| at.map_or(none, Timestamp::as_millis);
        let sorted_by = match self {
            Self::CreatedAt => view.created_at.as_millis(),
            Self::ExpiresAt => millis(view.expires_at, u64::MAX),
            Self::LastUsedAt => millis(view.last_used_at, 0),
            Self::Name => {
                return [view.name.as_bytes(), &[0], KeyId::as_bytes(&view.id)].concat();
            }
        };
        [&sorted_by.to_be_bytes()[..], view.id.as_bytes()].concat()
    }
}

impl KeyFilter {
    fn matches(&self, view: &KeyView, now: Timestamp) -> bool {
        let holder = view.holder.as_ref().map(|(_, name)| name.as_str());
        let unused = |at_least: Ttl| {
            view.last_used_at
                .is_none_or(|at| now.since(at) >= at_least.span())
        };
        self.name.as_ref().is_none_or(|name| *name == view.name)
            && (self.identity.is_none() || self.identity.as_deref() == holder)
            && self.status.is_none_or(|status| status == view.status)
            && (self.role.is_none() || self.role == view.role)
            && self.unused_for.is_none_or(unused)
            && self.made.holds(view.created_at)
    }
}
