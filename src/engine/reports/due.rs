//! What should be rotated, and why.

use super::super::{
    Call, Engine,
    credential::change,
    page::{Page, PageRequest},
    views::outlived_at,
};
use crate::{
    authz::{Action, Resource},
    domain::{
        credential::Credential,
        error::Result,
        id::CredentialId,
        kind::CredentialType,
        ledger::Ledger,
        name::CredentialName,
        policy::Terms,
        time::{Timestamp, Ttl},
    },
};

/// How near an upstream expiry is where the question does not say.
const NEAR: Ttl = Ttl::from_secs(30 * 24 * 60 * 60);
/// The fact that holds the end that a provider gave a value.
const NOT_AFTER: &str = "not_after";

const SORTS: [(&str, SortBy); 2] = [("due_at", SortBy::DueAt), ("name", SortBy::Name)];
const DEFAULT_SORT: &str = "due_at";

#[derive(Clone, Copy)]
enum SortBy {
    DueAt,
    Name,
}

/// Why a credential is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Its value was shown to a holder whose lease has closed, and its policy has `rotate_after_reveal`.
    Revealed,
    /// `rotate_every` of its metadata has passed.
    RotateEvery,
    /// The provider's own expiry is near, or past.
    UpstreamExpiry,
}

impl Why {
    /// The reason's spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Revealed => "revealed",
            Self::RotateEvery => "rotate_every",
            Self::UpstreamExpiry => "upstream_expiry",
        }
    }
}

/// A credential that is due for rotation.
#[derive(Debug, Clone)]
pub struct DueRotation {
    pub id: CredentialId,
    pub name: CredentialName,
    pub kind: CredentialType,
    pub version: u32,
    /// The earliest of the reasons.
    pub due_at: Timestamp,
    /// Each reason, and since or until when.
    pub reasons: Vec<(Why, Timestamp)>,
    pub revealed_at: Option<Timestamp>,
    pub active_leases: u32,
    pub last_rotated_at: Option<Timestamp>,
}

impl DueRotation {
    fn of(
        credential: Credential,
        ledger: &Ledger,
        terms: Option<&Terms>,
        now: Timestamp,
        near: Timestamp,
    ) -> Option<Self> {
        let current = ledger.current()?;
        let every = credential.next_rotation_at().filter(|at| *at <= now);
        let upstream = credential
            .facts
            .get(NOT_AFTER)
            .and_then(|text| text.parse().ok())
            .filter(|at: &Timestamp| *at <= near);
        let mut reasons: Vec<_> = [
            (Why::Revealed, outlived_at(terms, ledger)),
            (Why::RotateEvery, every),
            (Why::UpstreamExpiry, upstream),
        ]
        .into_iter()
        .filter_map(|(why, at)| Some((why, at?)))
        .collect();
        reasons.sort_by_key(|(_, at)| *at);
        let due_at = reasons.first()?.1;
        Some(Self {
            id: credential.id,
            name: credential.name,
            kind: credential.kind,
            version: current.number,
            due_at,
            reasons,
            revealed_at: current.revealed_at,
            active_leases: ledger.active,
            last_rotated_at: credential.last_rotated_at,
        })
    }
}

impl Engine {
    /// A page of the credentials that are due for rotation, the most overdue first; `within` says how near an upstream
    /// expiry is, 30 days where it is not said.
    pub async fn rotation_due(
        &self,
        call: &Call,
        within: Option<Ttl>,
        request: &PageRequest,
    ) -> Result<Page<DueRotation>> {
        let permit = self
            .authorize(call, Action::CredentialList, Resource::Workspace)
            .await?;
        let window = request.window(&SORTS, DEFAULT_SORT)?;
        let within = within.unwrap_or(NEAR);
        let asked = change("filter.within", None, Some(within.to_string()));
        self.report_read(call, &permit, "rotation-due", vec![asked])
            .await?;
        let sight = self.sight(call, Action::CredentialRead);
        let tables = self.tables(call.principal.workspace)?;
        let settings = self.settings(tables.workspace).await?;
        let now = self.now();
        let near = now.plus(within.span());
        let read = &mut self.read();
        let mut found = Vec::new();
        for credential in tables.credentials(read).await? {
            if !sight.of_credential(&credential) {
                continue;
            }
            // Deleted since the scan.
            let Some(ledger) = tables.find_ledger(read, credential.id).await? else {
                continue;
            };
            let terms = self.policies.resolve(&credential.policy, &settings).ok();
            let due = DueRotation::of(credential, &ledger, terms.as_ref(), now, near);
            let Some(mut due) = due else { continue };
            let expired = self.due(&tables, due.id, &ledger).await?;
            due.active_leases = due.active_leases.saturating_sub(expired);
            let mut position = match window.sort {
                SortBy::DueAt => due.due_at.as_millis().to_be_bytes().to_vec(),
                SortBy::Name => [due.name.as_str().as_bytes(), &[0]].concat(),
            };
            position.extend_from_slice(due.id.as_bytes());
            found.push((position, due));
        }
        Ok(request.cut(&window, DEFAULT_SORT, found))
    }
}
