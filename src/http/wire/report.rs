//! Reports in answers.

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    domain::time::Timestamp,
    engine::{DueRotation, Exposure, Stale},
};

/// An exposure report, as it is signed. `rests_on.complete` is false where retention has removed records that it would
/// tell, or where some cannot be read, and `rests_on.missing` says which; `rests_on.unreadable` has those that are damaged
/// or missing by `first` and `last` sequence number, and `rests_on.more_unreadable` says that there may be others; leases
/// from `rests_on.leases_from_sequence` on are whole. `found` is false where neither store nor history knows the
/// credential. `agents` and `earlier_readers` have `roles` (`holder`, `requester`,
/// `redeemer`), an agent `foreign` as its state or its `workspace` where it is of another, a lease `redeemed_by`, a place
/// `earlier` and `further_user_agents`, a version `created_by`, a key or token `made_with` and `state`, a remedy
/// `workspace` where it is to be sent to another.
#[derive(Serialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = Object)]
pub(crate) struct ReportBody(pub(crate) Exposure);

/// A credential that is due for rotation.
#[derive(Serialize, ToSchema)]
pub(crate) struct DueRotationBody {
    id: String,
    name: String,
    r#type: &'static str,
    version: u32,
    /// The earliest of the reasons.
    #[schema(value_type = String, format = DateTime)]
    due_at: Timestamp,
    /// Whether that has passed.
    overdue: bool,
    reasons: Vec<DueReasonBody>,
    #[schema(value_type = Option<String>, format = DateTime)]
    revealed_at: Option<Timestamp>,
    active_leases: u32,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_rotated_at: Option<Timestamp>,
}

/// Why a credential is due.
#[derive(Serialize, ToSchema)]
pub(crate) struct DueReasonBody {
    /// `revealed`, `rotate_every` or `upstream_expiry`.
    why: &'static str,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
}

impl DueRotationBody {
    pub(crate) fn new(due: DueRotation, now: Timestamp) -> Self {
        Self {
            id: due.id.to_string(),
            name: due.name.to_string(),
            r#type: due.kind.as_str(),
            version: due.version,
            due_at: due.due_at,
            overdue: due.due_at <= now,
            reasons: due
                .reasons
                .into_iter()
                .map(|(why, at)| DueReasonBody {
                    why: why.as_str(),
                    at,
                })
                .collect(),
            revealed_at: due.revealed_at,
            active_leases: due.active_leases,
            last_rotated_at: due.last_rotated_at,
        }
    }
}

/// Something that nobody has used for a time.
#[derive(Serialize, ToSchema)]
pub(crate) struct StaleBody {
    /// `credential`, `identity`, `api-key` or `token`.
    kind: &'static str,
    id: String,
    /// Of an identity with its type.
    name: String,
    /// Whom a key or token proves.
    identity: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Null where it was never used.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Timestamp>,
    /// The last use, or the making of what was never used.
    #[schema(value_type = String, format = DateTime)]
    idle_since: Timestamp,
}

impl From<Stale> for StaleBody {
    fn from(stale: Stale) -> Self {
        Self {
            idle_since: stale.idle_since(),
            kind: stale.kind.as_str(),
            id: stale.id,
            name: stale.name,
            identity: stale.identity,
            created_at: stale.created_at,
            last_used_at: stale.last_used_at,
        }
    }
}
