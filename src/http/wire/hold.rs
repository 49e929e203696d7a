//! Legal holds in requests and answers.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    domain::{
        retention::{EventClass, Hold},
        time::{Span, Timestamp},
    },
    engine::KeptHistory,
};

/// Why nothing may be removed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HoldRequest {
    #[schema(max_length = 1024, example = "investigation 2026-17")]
    pub(crate) reason: String,
}

/// A legal hold in force.
#[derive(Serialize, ToSchema)]
pub(crate) struct HoldBody {
    name: String,
    reason: String,
    #[schema(value_type = String, format = DateTime)]
    set_at: Timestamp,
    set_by: String,
}

impl From<Hold> for HoldBody {
    fn from(hold: Hold) -> Self {
        Self {
            name: hold.name.to_string(),
            reason: hold.reason,
            set_at: hold.set_at,
            set_by: hold.set_by.name.to_string(),
        }
    }
}

/// What is kept, for how long, and what was removed.
#[derive(Serialize, ToSchema)]
pub(crate) struct RetentionBody {
    #[schema(example = "1d")]
    closed_leases: String,
    audit: AuditRetentionBody,
    /// The number that the audit log begins with.
    first_sequence: u64,
    /// The time of the oldest record, where it is among the first ones.
    #[schema(value_type = Option<String>, format = DateTime)]
    oldest_record_at: Option<Timestamp>,
    removed_records: RemovedBody,
    /// Legal holds in force; nothing is removed while there is one.
    holds: usize,
}

/// How long records are kept, by class, and what they may take, in bytes; null is for ever, and without a bound.
#[derive(Serialize, ToSchema)]
pub(crate) struct AuditRetentionBody {
    #[schema(example = "400d")]
    access: Option<String>,
    admin: Option<String>,
    vault: Option<String>,
    denial: Option<String>,
    access_max_bytes: Option<u64>,
    admin_max_bytes: Option<u64>,
    vault_max_bytes: Option<u64>,
    denial_max_bytes: Option<u64>,
    /// Of all classes together.
    max_bytes: Option<u64>,
}

/// Records that were removed, by class.
#[derive(Serialize, ToSchema)]
pub(crate) struct RemovedBody {
    access: u64,
    admin: u64,
    vault: u64,
    denial: u64,
}

impl From<KeptHistory> for RetentionBody {
    fn from(kept: KeptHistory) -> Self {
        let age = |class: EventClass| {
            let age = kept.retention.audit.ages.get(class as usize).copied();
            age.flatten().as_ref().map(Span::to_string)
        };
        let bound = |class: EventClass| {
            let bound = kept.retention.audit.class_max_bytes;
            bound.get(class as usize).copied().flatten()
        };
        let removed = |class: EventClass| kept.removed.get(class as usize).copied().unwrap_or(0);
        Self {
            closed_leases: kept.retention.closed_leases.to_string(),
            audit: AuditRetentionBody {
                access: age(EventClass::Access),
                admin: age(EventClass::Admin),
                vault: age(EventClass::Vault),
                denial: age(EventClass::Denial),
                access_max_bytes: bound(EventClass::Access),
                admin_max_bytes: bound(EventClass::Admin),
                vault_max_bytes: bound(EventClass::Vault),
                denial_max_bytes: bound(EventClass::Denial),
                max_bytes: kept.retention.audit.max_bytes,
            },
            first_sequence: kept.first,
            oldest_record_at: kept.oldest,
            removed_records: RemovedBody {
                access: removed(EventClass::Access),
                admin: removed(EventClass::Admin),
                vault: removed(EventClass::Vault),
                denial: removed(EventClass::Denial),
            },
            holds: kept.holds,
        }
    }
}
