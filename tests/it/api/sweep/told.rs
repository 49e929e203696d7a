//! What the record of a change must tell: what it was done to, and each changed field before and after.

use serde_json::Value;

/// Which sides of a changed field there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sides {
    /// It was not there before.
    Made,
    /// It is not there any more.
    Gone,
    Both,
}

use Sides::{Both, Gone, Made};

/// By event: the fields of the record that name the object, and what changed.
type Told = (
    &'static str,
    &'static [&'static str],
    &'static [(&'static str, Sides)],
);

const OF_CREDENTIAL: &[&str] = &["credential_id", "credential_name"];
const OF_VERSION: &[&str] = &["credential_id", "credential_name", "version"];
const OF_LEASE: &[&str] = &[
    "lease_id",
    "credential_id",
    "credential_name",
    "version",
    "holder",
];
const NAMED: &[&str] = &["object"];

/// The fitting requests of `requests.rs` change this.
const TOLD: &[Told] = &[
    (
        "credential.created",
        OF_VERSION,
        &[("fingerprint", Made), ("type", Made)],
    ),
    (
        "credential.updated",
        OF_CREDENTIAL,
        &[("description", Made)],
    ),
    (
        "credential.rotated",
        OF_VERSION,
        &[
            ("fingerprint", Both),
            ("version", Both),
            ("on_open_leases", Made),
        ],
    ),
    ("credential.version_revoked", OF_VERSION, &[("state", Both)]),
    (
        "credential.deleted",
        OF_CREDENTIAL,
        &[("name", Gone), ("fingerprint", Gone), ("versions", Gone)],
    ),
    (
        "lease.issued",
        OF_LEASE,
        &[("expires_at", Made), ("delivery", Made)],
    ),
    (
        "lease.bulk_revoked",
        &[],
        &[("filter.credential_name", Made), ("revoked", Made)],
    ),
    ("lease.renewed", OF_LEASE, &[("expires_at", Both)]),
    ("lease.released", OF_LEASE, &[("state", Both)]),
    ("lease.revoked", OF_LEASE, &[("state", Both)]),
    ("lease.redeemed", OF_LEASE, &[("uses", Both)]),
    (
        "key.created",
        NAMED,
        &[
            ("name", Made),
            ("role", Made),
            ("scopes", Made),
            ("workspace", Made),
            ("rate_limit", Made),
        ],
    ),
    ("key.updated", NAMED, &[("description", Made)]),
    (
        "key.deleted",
        NAMED,
        &[("name", Gone), ("role", Gone), ("scopes", Gone)],
    ),
    ("key.paused", NAMED, &[("state", Both)]),
    ("key.resumed", NAMED, &[("state", Both)]),
    ("key.rotated", NAMED, &[("rotated_at", Made)]),
    (
        "token.created",
        NAMED,
        &[("scopes", Made), ("workspace", Made), ("expires_at", Made)],
    ),
    ("token.revoked", NAMED, &[("state", Both)]),
    ("signing_key.rotated", &[], &[("kid", Both)]),
    ("vault.backed_up", &[], &[("bytes", Made), ("sha256", Made)]),
    (
        "issuer.created",
        NAMED,
        &[
            ("name", Made),
            ("iss", Made),
            ("keys", Made),
            ("role", Made),
            ("audiences", Made),
        ],
    ),
    ("issuer.updated", NAMED, &[("audiences", Both)]),
    (
        "issuer.deleted",
        NAMED,
        &[("name", Gone), ("iss", Gone), ("conditions", Gone)],
    ),
    (
        "auth.exchanged",
        NAMED,
        &[("scopes", Made), ("expires_at", Made)],
    ),
    ("identity.created", NAMED, &[("role", Made)]),
    ("identity.updated", NAMED, &[("description", Made)]),
    (
        "identity.deleted",
        NAMED,
        &[("state", Gone), ("role", Gone)],
    ),
    ("identity.suspended", NAMED, &[("state", Both)]),
    ("identity.resumed", NAMED, &[("state", Both)]),
    ("workspace.created", NAMED, &[("name", Made)]),
    ("workspace.updated", NAMED, &[("description", Made)]),
    ("workspace.revoked_all", NAMED, &[("stopped_until", Made)]),
    (
        "policy.applied",
        NAMED,
        &[("version", Made), ("digest", Made)],
    ),
    (
        "policy.rolled_back",
        NAMED,
        &[("version", Both), ("digest", Made), ("restores", Made)],
    ),
    ("audit.read", &[], &[]),
    ("audit.hold_set", NAMED, &[("reason", Both)]),
    ("audit.hold_released", NAMED, &[("reason", Gone)]),
];

/// Holds a record to its line. An event without one fails the test here.
#[track_caller]
pub(super) fn assert_tells(event: &str, record: &Value) {
    let Some((_, objects, changes)) = TOLD.iter().find(|told| told.0 == event) else {
        panic!("`{event}` has no line in sweep/told.rs: nobody tests what its record tells")
    };
    for object in *objects {
        assert!(
            !record[object].is_null(),
            "{event} does not name its {object}: {record}"
        );
    }
    let told = record["changes"].as_array().cloned().unwrap_or_default();
    for (field, sides) in *changes {
        let change = told.iter().find(|change| change["field"] == **field);
        let Some(change) = change else {
            panic!("{event} does not tell of `{field}`: {record}")
        };
        let (before, after) = (change["before"].is_string(), change["after"].is_string());
        // A later run of the same kind finds what an earlier one left: what is there before may be told.
        let fits = match sides {
            Made => after,
            Gone => before && !after,
            Both => before && after && change["before"] != change["after"],
        };
        assert!(fits, "{event}, {sides:?}: {change}");
    }
}
