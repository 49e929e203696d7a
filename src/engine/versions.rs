//! Showing the versions of a credential.

use super::{
    Call, Engine,
    credential::no_credential,
    page::{Page, PageRequest},
    views::VersionView,
};
use crate::domain::{
    credential::Version, error::Result, ledger::OpenVersion, name::CredentialName, time::TimeRange,
};

/// Which versions to list. Every given filter must match.
#[derive(Debug, Clone, Default)]
pub struct VersionFilter {
    /// The spelling of a state.
    pub state: Option<&'static str>,
    /// When it was made.
    pub made: TimeRange,
}

impl VersionFilter {
    fn matches(&self, version: &Version) -> bool {
        self.state
            .is_none_or(|state| state == version.state.as_str())
            && self.made.holds(version.created_at)
    }
}

/// Versions are made in the order of their numbers.
const SORTS: [(&str, ()); 2] = [("number", ()), ("created_at", ())];
const DEFAULT_SORT: &str = "-number";

impl Engine {
    /// A page of a credential's versions, newest first.
    pub async fn versions(
        &self,
        call: &Call,
        name: &CredentialName,
        filter: &VersionFilter,
        request: &PageRequest,
    ) -> Result<Page<VersionView>> {
        let tables = self.tables(call.principal.workspace)?;
        let read = &mut self.read();
        let id = self.readable(call, &tables, name).await?.id;
        let window = request.window(&SORTS, DEFAULT_SORT)?;
        let ledger = tables
            .find_ledger(read, id)
            .await?
            .ok_or_else(no_credential)?;
        let due = self.due_by_version(&tables, read, id, &ledger).await?;
        let view = |version: Version| {
            let open = ledger.version(version.number);
            let due = due.get(&version.number).copied().unwrap_or(0);
            VersionView {
                active_leases: open.map_or(0, OpenVersion::leases).saturating_sub(due),
                revealed_at: version
                    .revealed_at
                    .or(open.and_then(|open| open.revealed_at)),
                version,
            }
        };
        let versions = tables.versions(read, id).await?;
        let found = versions
            .into_iter()
            .filter(|version| filter.matches(version))
            .map(|version| (version.number.to_be_bytes().to_vec(), view(version)));
        Ok(request.cut(&window, DEFAULT_SORT, found.collect()))
    }
}
