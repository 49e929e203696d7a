//! `leasehold audit`: the audit log, filtered.

use super::{
    call::Call,
    failure::Failure,
    http::Vault,
    output::{Mode, Report},
    paging::{Paging, Query},
    render::{self, Column},
    seal::{self, SealCommand},
};

/// An event of history, here and at a lease.
pub(super) const COLUMNS: &[Column] = &[
    Column("TIME", &["time", "at", "created_at"]),
    Column("EVENT", &["event"]),
    Column("ACTOR", &["actor.name", "actor"]),
    Column("CREDENTIAL", &["credential_name", "object.credential_name"]),
    Column("LEASE", &["lease_id", "object.lease_id", "object.lease"]),
    Column("OUTCOME", &["outcome.code", "code", "outcome"]),
    Column("REASON", &["reason", "purpose"]),
];

/// Which records to show, or what to ask about the log's seals.
#[derive(Debug, Default, clap::Args)]
pub struct AuditArgs {
    #[command(subcommand)]
    seal: Option<SealCommand>,
    /// Only this event, for example lease.issued
    #[arg(long)]
    event: Option<String>,
    /// Only what this identity did
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// Only what was done to this credential
    #[arg(long, value_name = "NAME")]
    credential: Option<String>,
    /// Only what was done to this lease
    #[arg(long, value_name = "ID")]
    lease: Option<String>,
    /// Only what ended so
    #[arg(long)]
    outcome: Option<String>,
    /// Only at or after this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only before this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    #[command(flatten)]
    paging: Paging,
}

/// Lists the records.
pub(super) async fn run(
    vault: &Vault,
    arguments: AuditArgs,
    mode: Mode,
) -> Result<Report, Failure> {
    let filtered = !arguments.query().is_empty();
    if let Some(command) = arguments.seal {
        if filtered {
            let what = "the filters of a search have no place before another command";
            return Err(Failure::Usage(what.to_owned()));
        }
        return seal::run(vault, command, mode).await;
    }
    let answer = vault
        .call(Call::get(&["v1", "audit"]).query(arguments.query()))
        .await?;
    Ok(render::list(&answer, mode, COLUMNS, "records"))
}

impl AuditArgs {
    /// The data folder to verify, where that is what is asked for: no vault answers then.
    pub fn folder(&self) -> Option<(&std::path::Path, &seal::VerifyArgs)> {
        match &self.seal {
            Some(SealCommand::Verify(args)) => Some((args.data_dir.as_deref()?, args)),
            _ => None,
        }
    }

    fn query(&self) -> Query {
        self.paging.query(&[
            ("event", self.event.as_deref()),
            ("identity", self.actor.as_deref()),
            ("credential_name", self.credential.as_deref()),
            ("lease_id", self.lease.as_deref()),
            ("outcome", self.outcome.as_deref()),
            ("since", self.since.as_deref()),
            ("until", self.until.as_deref()),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_vault::{PEOPLE, TestVault};
    use super::*;

    #[tokio::test]
    async fn filters_carry_the_names_of_the_api() {
        let body = r#"{"status":"success","data":[{"time":"2026-06-13T10:30:00Z","event":"lease.issued",
            "actor":{"type":"agent","name":"claude-code"},"object":{"credential_name":"a","lease":"lse_1"},
            "outcome":"success","purpose":"p"}],"page":{"limit":50,"next_cursor":null,"total":1}}"#;
        let vault = TestVault::answering(&[(200, body)]);
        let arguments = AuditArgs {
            actor: Some("claude-code".into()),
            credential: Some("a".into()),
            lease: Some("lse_1".into()),
            since: Some("2026-06-13T10:30:00+02:00".into()),
            ..AuditArgs::default()
        };
        let report = run(&vault.client(), arguments, PEOPLE).await.unwrap();
        assert_eq!(
            vault.requests()[0].line,
            "GET /v1/audit?identity=claude-code&credential_name=a&lease_id=lse_1\
             &since=2026-06-13T10%3A30%3A00%2B02%3A00 HTTP/1.1"
        );
        for shown in [
            "2026-06-13T10:30:00Z",
            "lease.issued",
            "claude-code",
            "lse_1",
            "success",
        ] {
            assert!(report.out.contains(shown), "{shown}: {}", *report.out);
        }
        assert!(report.notes.is_empty());
    }
}
