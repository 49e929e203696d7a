//! The exposure report as a document: what is signed, and what every surface shows.

use std::net::IpAddr;

use serde::Serialize;

use crate::domain::{
    id::{CredentialId, IdentityId, LeaseId},
    name::{CredentialName, IdentityName},
    time::Timestamp,
};

/// What the document says it is.
pub(super) const FORMAT: &str = "leasehold/v1/exposure-report";

/// Who could have used a credential, as far as history and the open leases tell.
#[derive(Debug, Clone, Serialize)]
pub struct Exposure {
    pub format: &'static str,
    pub workspace: String,
    pub made_at: Timestamp,
    /// Type and name of whoever asked.
    pub made_by: String,
    pub request_id: String,
    pub asked: Asked,
    /// Whether the store or history knows the credential that was asked for; true where none was.
    pub found: bool,
    pub rests_on: RestsOn,
    pub summary: Summary,
    /// What to do now, the most urgent first.
    pub actions: Vec<Remedy>,
    pub credentials: Vec<Credential>,
    pub agents: Vec<Agent>,
    pub sessions: Vec<Session>,
    pub leases: Vec<ExposedLease>,
    /// The keys and tokens with which the leases were taken and used.
    pub proofs: Vec<UsedProof>,
    /// Whose leases had ended before the window and who had read the value by then: it knows it still.
    pub earlier_readers: Vec<EarlierReader>,
    pub denied: Vec<Denied>,
    /// Whether there are more leases, or earlier readers, than this names: the counts are of these then.
    pub truncated: bool,
    /// Where to go on.
    pub next_cursor: Option<String>,
    pub hint: Option<&'static str>,
}

/// The question.
#[derive(Debug, Clone, Serialize)]
pub struct Asked {
    pub credential: Option<String>,
    pub version: Option<u32>,
    pub identity: Option<String>,
    pub session_id: Option<String>,
    pub source: Option<String>,
    /// A lease counts that was open at any moment at or after this, and before `until`.
    pub since: Option<Timestamp>,
    pub until: Timestamp,
    pub cursor: Option<String>,
}

/// What of history was read.
#[derive(Debug, Clone, Default, Serialize)]
pub struct RestsOn {
    pub first_sequence: u64,
    pub last_sequence: u64,
    pub matching_records: u64,
    /// The record from which on retention has removed none of a lease, a redemption or a token, of any workspace.
    pub leases_from_sequence: u64,
    /// The same for denied attempts.
    pub denials_from_sequence: u64,
    /// Whether every record that the report would tell is there and can be read. Open leases are in it even so.
    pub complete: bool,
    /// What may be missing where not.
    pub missing: Vec<&'static str>,
    /// Records that are damaged, or missing although retention did not remove them, of this workspace or of nobody knows
    /// which, and might have belonged into the report.
    pub unreadable: Vec<Damaged>,
    /// Whether there may be more of those than are named.
    pub more_unreadable: bool,
    /// The signed checkpoint that covers those records, where there is one.
    pub checkpoint: Option<Checkpoint>,
}

/// A range of records, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Damaged {
    pub first: u64,
    pub last: u64,
}

/// A signed checkpoint of history, by its size and root.
#[derive(Debug, Clone, Serialize)]
pub struct Checkpoint {
    pub size: u64,
    pub root: String,
}

/// How much it is.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Summary {
    pub agents: u64,
    pub sessions: u64,
    pub leases: u64,
    pub open_leases: u64,
    /// Leases that showed the value to their holder.
    pub revealing_leases: u64,
    /// Redemptions within the window.
    pub redemptions: u64,
    pub tainted_versions: u64,
    /// Those who had read a value before the window, by leases that had ended by then.
    pub earlier_readers: u64,
    pub denied_attempts: u64,
    pub canary_alarms: u64,
}

/// What ends something: the request and the command that do the same.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Remedy {
    pub what: String,
    pub method: &'static str,
    pub path: String,
    pub body: Option<serde_json::Value>,
    pub command: String,
    /// The workspace to send it to (`X-Workspace`), where that is another than the report's.
    pub workspace: Option<String>,
}

/// Somebody, as far as it is known: of whoever was deleted, history has the name only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Who {
    pub id: IdentityId,
    pub r#type: Option<&'static str>,
    pub name: Option<IdentityName>,
}

impl Who {
    /// Somebody as text.
    pub(super) fn spelled(&self) -> String {
        match (self.r#type, &self.name) {
            (Some(kind), Some(name)) => format!("{kind}/{name}"),
            (None, Some(name)) => name.to_string(),
            (_, None) => self.id.to_string(),
        }
    }
}

/// A credential that the leases are of.
#[derive(Debug, Clone, Serialize)]
pub struct Credential {
    pub id: CredentialId,
    pub name: CredentialName,
    /// `active`, `disabled`, `revoked` or `deleted`.
    pub state: &'static str,
    pub canary: bool,
    /// Those that leases of the report used or earlier readers read; of a credential that was asked for, each that had a
    /// value here within the window.
    pub versions: Vec<VersionExposure>,
}

/// One value of a credential.
#[derive(Debug, Clone, Serialize)]
pub struct VersionExposure {
    pub number: u32,
    /// `current`, `rotated`, `retired` or `revoked`; `deleted` with its credential.
    pub state: &'static str,
    /// Whether any lease ever showed the value, within the window or not. Of a deleted one nobody but its leases tells.
    pub revealed: bool,
    pub revealed_at: Option<Timestamp>,
    pub created_at: Option<Timestamp>,
    /// Who supplied the value, and so knows it.
    pub created_by: Option<Who>,
    pub rotated_at: Option<Timestamp>,
    pub erased_at: Option<Timestamp>,
    pub fingerprint: Option<String>,
    /// Of the leases of this report.
    pub leases: u64,
    pub open_leases: u64,
    pub remedy: Option<Remedy>,
}

/// An identity that held leases, asked for them in another's name, or took a value by them.
#[derive(Debug, Clone, Serialize)]
pub struct Agent {
    #[serde(flatten)]
    pub who: Who,
    /// `holder`, `requester` (in another's name), `redeemer`: what it was to any of the leases.
    pub roles: Vec<&'static str>,
    /// `active`, `suspended` or `deleted`; `foreign` where it is of another workspace, of which the reader is told nothing.
    pub state: &'static str,
    /// The workspace that it belongs to, where that is another and the reader reaches every one.
    pub workspace: Option<String>,
    pub leases: u64,
    pub open_leases: u64,
    /// Whether any of them showed it the value; a holder has seen what anybody took by its lease.
    pub revealed: bool,
    /// By itself, within the window.
    pub redemptions: u64,
    pub first_lease_at: Timestamp,
    pub last_use_at: Option<Timestamp>,
    pub remedy: Option<Remedy>,
}

/// A session that leases were taken in.
#[derive(Debug, Clone, Serialize)]
pub struct Session {
    pub session_id: String,
    pub holders: Vec<String>,
    pub leases: u64,
    pub open_leases: u64,
    pub remedy: Option<Remedy>,
}

/// How the value got to the holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Handed {
    /// The holder has seen it.
    Revealed,
    /// The holder could have seen it, and did not ask.
    Redeemable,
    /// The vault used it for the holder, who never sees it.
    Brokered,
}

impl Handed {
    /// The spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Revealed => "revealed",
            Self::Redeemable => "redeemable",
            Self::Brokered => "brokered",
        }
    }
}

/// A lease that was open in the window.
#[derive(Debug, Clone, Serialize)]
pub struct ExposedLease {
    pub id: LeaseId,
    pub credential_id: CredentialId,
    pub credential_name: CredentialName,
    /// Every version that it used: a broker lease follows a rotation.
    pub versions: Vec<u32>,
    pub holder: Who,
    /// Who asked for it; another than the holder where it was asked for on the holder's behalf. None where nothing tells
    /// any more.
    pub requested_by: Option<Who>,
    pub on_behalf: bool,
    pub session_id: Option<String>,
    pub purpose: Option<String>,
    pub handed: Handed,
    pub issued_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    /// `active`, `expired`, `released` or `revoked`; `unknown` where neither history nor the store tells.
    pub state: &'static str,
    pub open: bool,
    pub ended_at: Option<Timestamp>,
    pub ended_by: Option<String>,
    pub end_reason: Option<String>,
    pub first_revealed_at: Option<Timestamp>,
    /// Redemptions within the window.
    pub redemptions: u64,
    pub last_redeemed_at: Option<Timestamp>,
    pub canary_alarm: bool,
    /// From where it was taken and used, and with what.
    pub used_from: Vec<UsedFrom>,
    /// Uses from places beyond those.
    pub more_used_from: u64,
    /// Who took the value, before the window or within it.
    pub redeemed_by: Vec<Who>,
    /// Uses with keys and tokens beyond those that the report names.
    pub more_proofs: u64,
    pub remedy: Option<Remedy>,
}

/// From where a lease was taken or used, and with what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UsedFrom {
    /// `issued` or `redeemed`.
    pub how: &'static str,
    pub source_ip: Option<IpAddr>,
    pub user_agent: Option<String>,
    /// Others that were used there with the same key or token.
    pub further_user_agents: Vec<String>,
    /// Uses with user agents beyond those.
    pub more_user_agents: u64,
    /// The key or token that proved the caller.
    pub proof: Option<String>,
    /// The grant, and redemptions within the window.
    pub count: u64,
    /// Redemptions before the window.
    pub earlier: u64,
    pub first_at: Timestamp,
    pub last_at: Timestamp,
}

/// A key or token with which leases were taken or used, or that made one of those tokens.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UsedProof {
    pub id: String,
    /// `api-key` or `token`.
    pub r#type: &'static str,
    pub identity: Option<String>,
    /// What a token was made with: a key or token, which stands before it, or an issuer. None where nothing tells.
    pub made_with: Option<String>,
    /// How it stands: `active`, `paused`, `expired`, `suspended`, `revoked`; `deleted` where it is gone.
    pub state: &'static str,
    /// Those taken or used with it, or with a token that it made.
    pub leases: u64,
    pub remedy: Option<Remedy>,
}

/// Somebody who had read a value before the window, by leases that had ended by then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EarlierReader {
    pub who: Who,
    /// `holder`, `requester`, `redeemer`: what it was to those leases.
    pub roles: Vec<&'static str>,
    pub credential_id: CredentialId,
    pub credential_name: CredentialName,
    pub version: u32,
    pub leases: u64,
    pub last_lease_ended_at: Timestamp,
}

/// An attempt that was refused within the window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Denied {
    pub sequence: u64,
    pub time: Timestamp,
    pub event: &'static str,
    pub code: String,
    pub reason: Option<String>,
    pub who: Option<Who>,
    pub credential_name: Option<CredentialName>,
    pub lease_id: Option<LeaseId>,
    pub decided_by: Option<String>,
    pub source_ip: Option<IpAddr>,
    pub user_agent: Option<String>,
    pub proof: Option<String>,
}
