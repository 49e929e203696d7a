//! Leases in answers.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::Shown;
use crate::{
    domain::{
        id::LeaseId,
        lease::{Ending, LeaseState},
        name::{CredentialName, IdentityName, Metadata},
        policy::Delivery,
        time::{Timestamp, Ttl},
    },
    engine::{Issued, LeaseView, Redeemed},
};

/// Somebody, by type and name.
#[derive(Serialize, ToSchema)]
pub(crate) struct IdentityBody {
    r#type: &'static str,
    #[schema(value_type = String)]
    name: IdentityName,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<String>,
}

/// A lease. Its handle is shown once, in the answer to the grant.
#[derive(Serialize, ToSchema)]
pub(crate) struct LeaseBody {
    #[schema(value_type = String, example = "lse_0199a1b2c3d47e8f9a0b1c2d3e4f5a6b")]
    id: LeaseId,
    #[schema(value_type = String)]
    credential_name: CredentialName,
    version: u32,
    #[schema(value_type = Object)]
    metadata: Metadata,
    identity: IdentityBody,
    requested_by: IdentityBody,
    purpose: Option<String>,
    delivery: &'static str,
    #[schema(value_type = String, example = "30m")]
    ttl: Ttl,
    ttl_capped: bool,
    #[schema(value_type = String, format = DateTime)]
    issued_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    max_expires_at: Timestamp,
    renewable: bool,
    renewals: u32,
    uses: u32,
    max_uses: Option<u32>,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Timestamp>,
    state: &'static str,
    #[schema(value_type = Option<String>, format = DateTime)]
    closed_at: Option<Timestamp>,
    closed_by: Option<String>,
    close_reason: Option<String>,
}

impl From<LeaseView> for LeaseBody {
    fn from(view: LeaseView) -> Self {
        let lease = view.lease;
        let (closed_at, closed_by, close_reason) = match lease.state {
            LeaseState::Active => (None, None, None),
            LeaseState::Closed { at, ending } => match ending {
                Ending::Expired => (Some(at), None, None),
                Ending::Released { by } => (Some(at), Some(by.name.to_string()), None),
                Ending::Revoked { by, reason } => {
                    (Some(at), by.map(|by| by.name.to_string()), reason)
                }
            },
        };
        Self {
            id: lease.id,
            credential_name: lease.credential_name,
            version: view.version,
            metadata: view.metadata,
            identity: IdentityBody {
                r#type: lease.holder.kind.as_str(),
                name: lease.holder.name,
                session_id: lease.holder.session,
            },
            requested_by: IdentityBody {
                r#type: lease.requested_by.kind.as_str(),
                name: lease.requested_by.by.name,
                session_id: None,
            },
            purpose: lease.purpose,
            delivery: lease.delivery.as_str(),
            ttl: lease.ttl,
            ttl_capped: lease.ttl_capped,
            issued_at: lease.issued_at,
            expires_at: lease.expires_at,
            max_expires_at: lease.max_expires_at,
            renewable: lease.renewable,
            renewals: lease.renewals,
            uses: lease.uses,
            max_uses: lease.max_uses,
            last_used_at: lease.last_used_at,
            state: view.status.as_str(),
            closed_at,
            closed_by,
            close_reason,
        }
    }
}

/// A lease that was just issued, with what is shown once.
#[derive(Serialize, ToSchema)]
pub(crate) struct IssuedBody {
    #[serde(flatten)]
    lease: LeaseBody,
    /// The secret bearer string that stands for the lease. Shown once, stored as a digest.
    handle: Shown,
    /// The credential's value, where `reveal` asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Shown>,
    /// Why a retry does not show the value again: it counts as a use, and `max_uses` is used up.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "max_uses")]
    value_withheld: Option<&'static str>,
    /// How a broker lease is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    broker: Option<BrokerBody>,
}

/// How a broker lease is used.
#[derive(Serialize, ToSchema)]
pub(crate) struct BrokerBody {
    /// Where to send requests instead of to the provider.
    base_url: String,
    #[schema(value_type = Object)]
    environment: BTreeMap<&'static str, String>,
}

impl IssuedBody {
    /// The answer to a grant; `address` is the vault's own, as the caller reached it.
    pub(crate) fn new(issued: Issued, address: &str) -> Self {
        let lease = &issued.view.lease;
        let broker = (lease.delivery == Delivery::Broker).then(|| {
            let base_url = format!("{address}/v1/broker/{}", lease.credential_name);
            BrokerBody {
                environment: BTreeMap::from([("LEASEHOLD_BROKER_URL", base_url.clone())]),
                base_url,
            }
        });
        Self {
            lease: issued.view.into(),
            handle: Shown(issued.handle),
            value: issued.value.map(Shown),
            value_withheld: issued.withheld.then_some("max_uses"),
            broker,
        }
    }
}

/// A redeemed handle.
#[derive(Serialize, ToSchema)]
pub(crate) struct RedeemedBody {
    #[schema(value_type = String)]
    lease_id: LeaseId,
    #[schema(value_type = String)]
    credential_name: CredentialName,
    version: u32,
    value: Shown,
    #[schema(value_type = Object)]
    metadata: Metadata,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    uses: u32,
    max_uses: Option<u32>,
}

impl From<Redeemed> for RedeemedBody {
    fn from(redeemed: Redeemed) -> Self {
        let lease = redeemed.view.lease;
        Self {
            lease_id: lease.id,
            credential_name: lease.credential_name,
            version: redeemed.view.version,
            value: Shown(redeemed.value),
            metadata: redeemed.view.metadata,
            expires_at: lease.expires_at,
            uses: lease.uses,
            max_uses: lease.max_uses,
        }
    }
}
