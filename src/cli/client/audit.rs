//! `leasehold audit`: the audit log, filtered, one record of it, or as it grows.

mod tail;

use std::collections::BTreeSet;

use super::{
    call::Call,
    failure::Failure,
    http::Vault,
    output::{self, Mode, Report},
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

/// The fields of a record that are shown first.
const ORDER: &[&str] = &[
    "sequence", "id", "time", "event", "actor", "outcome", "code",
];

/// What to read of the audit log; to search it where nothing else is said.
#[derive(Debug, clap::Args)]
#[command(disable_version_flag = true)]
pub struct AuditCommand {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    query: QueryArgs,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Search the audit log
    Query(Box<QueryArgs>),
    /// Show one record
    Show(ShowArgs),
    /// Show records as they come, until it is stopped
    Tail(Box<tail::TailArgs>),
    #[command(flatten)]
    Seal(SealCommand),
}

/// Which records to show.
#[derive(Debug, Default, clap::Args)]
#[command(disable_version_flag = true)]
struct QueryArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// Only before this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Show every page, a record a line
    #[arg(long, conflicts_with_all = ["cursor", "offset"])]
    all: bool,
    #[command(flatten)]
    paging: Paging,
}

#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// The record's sequence number, or its id
    #[arg(value_name = "SEQUENCE|EVENT-ID")]
    which: String,
    #[command(flatten)]
    history: HistoryArgs,
}

/// Whose history is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum HistoryScope {
    /// That of the workspace
    Workspace,
    /// What happened to the vault itself; needs a key that reaches every workspace
    Organisation,
}

/// The flag for it.
#[derive(Debug, Default, clap::Args)]
pub(super) struct HistoryArgs {
    /// Whose history: the workspace's, or what happened to the vault itself
    #[arg(long, value_enum)]
    scope: Option<HistoryScope>,
}

impl HistoryArgs {
    /// As the API names it.
    pub(super) fn pair(&self) -> Option<(&'static str, String)> {
        let scope = match self.scope? {
            HistoryScope::Workspace => "workspace",
            HistoryScope::Organisation => "organisation",
        };
        Some(("scope", scope.to_owned()))
    }
}

/// What records are looked for by. All that is given must fit.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Filters")]
pub(super) struct FilterArgs {
    #[command(flatten)]
    history: HistoryArgs,
    /// Only this event, for example lease.issued, or several with commas between them
    #[arg(long)]
    event: Option<String>,
    /// Only what this one did: an identity, or a part of the vault such as reaper
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// Only what this identity did, or what was done to leases that it holds
    #[arg(long, value_name = "NAME|ID")]
    identity: Option<String>,
    /// Only what was done with this API key
    #[arg(long, value_name = "ID", conflicts_with = "token")]
    key: Option<String>,
    /// Only what was done with this token
    #[arg(long, value_name = "ID")]
    token: Option<String>,
    /// Only what was done in this session
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Only what was done to this credential
    #[arg(long, value_name = "NAME")]
    credential: Option<String>,
    /// The same by its id, which no later credential of that name has
    #[arg(long, value_name = "ID")]
    credential_id: Option<String>,
    /// Only on versions of this number
    #[arg(long, value_name = "NUMBER")]
    version: Option<u32>,
    /// Only what was done to this lease
    #[arg(long, value_name = "ID")]
    lease: Option<String>,
    /// Only what ended so: success or refused
    #[arg(long)]
    outcome: Option<String>,
    /// Only refusals with this code
    #[arg(long)]
    code: Option<String>,
    /// Only from this address or network, for example 192.0.2.0/24
    #[arg(long, value_name = "ADDRESS")]
    source: Option<String>,
    /// Only by the request with this id
    #[arg(long, value_name = "ID")]
    request: Option<String>,
    /// Only what was done to anything else of this name
    #[arg(long, value_name = "NAME")]
    object: Option<String>,
    /// Only at or after this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
}

impl FilterArgs {
    /// The filters that were given, by the names of the API.
    pub(super) fn pairs(&self) -> Vec<(&'static str, String)> {
        let version = self.version.map(|version| version.to_string());
        [
            ("event", &self.event),
            ("actor", &self.actor),
            ("identity", &self.identity),
            ("key_id", &self.key),
            ("token_id", &self.token),
            ("session_id", &self.session),
            ("credential_name", &self.credential),
            ("credential_id", &self.credential_id),
            ("version", &version),
            ("lease_id", &self.lease),
            ("outcome", &self.outcome),
            ("code", &self.code),
            ("source_ip", &self.source),
            ("request_id", &self.request),
            ("object", &self.object),
            ("since", &self.since),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.clone()?)))
        .chain(self.history.pair())
        .collect()
    }
}

impl QueryArgs {
    fn query(&self) -> Query {
        let pairs = self.filter.pairs();
        let mut filters: Vec<_> = pairs
            .iter()
            .map(|(name, value)| (*name, Some(value.as_str())))
            .collect();
        filters.push(("until", self.until.as_deref()));
        self.paging.query(&filters)
    }
}

impl AuditCommand {
    /// The data folder to verify, where that is what is asked for: no vault answers then.
    pub fn folder(&self) -> Option<(&std::path::Path, &seal::VerifyArgs)> {
        match &self.what {
            Some(What::Seal(SealCommand::Verify(args))) => Some((args.data_dir.as_deref()?, args)),
            _ => None,
        }
    }

    /// The file to verify, where that is what is asked for: no vault answers then.
    pub fn export_file(&self) -> Option<(&std::path::Path, &seal::VerifyArgs)> {
        match &self.what {
            Some(What::Seal(SealCommand::Verify(args))) => Some((args.export.as_deref()?, args)),
            _ => None,
        }
    }
}

/// Runs one command on the audit log.
pub(super) async fn run(
    vault: &Vault,
    command: AuditCommand,
    mode: Mode,
) -> Result<Report, Failure> {
    let Some(what) = command.what else {
        return query(vault, command.query, mode).await;
    };
    if !command.query.query().is_empty() || command.query.all {
        let message = "what records are looked for by comes behind `query` or `tail`";
        return Err(Failure::Usage(message.to_owned()));
    }
    match what {
        What::Query(arguments) => query(vault, *arguments, mode).await,
        What::Show(arguments) => {
            let query = arguments.history.pair();
            let query = query.map(|(name, value)| (name.to_owned(), value));
            let call = Call::get(&["v1", "audit", &arguments.which]);
            let answer = vault.call(call.query(query.into_iter().collect())).await?;
            Ok(render::object(&answer, mode, ORDER))
        }
        What::Tail(arguments) => tail::run(vault, *arguments, mode).await,
        What::Seal(command) => seal::run(vault, command, mode).await,
    }
}

async fn query(vault: &Vault, arguments: QueryArgs, mode: Mode) -> Result<Report, Failure> {
    let call = |query: Query| Call::get(&["v1", "audit"]).query(query);
    let mut query = arguments.query();
    if !arguments.all {
        let answer = vault.call(call(query)).await?;
        let report = render::list(&answer, mode, COLUMNS, "records");
        return Ok(told(report, &answer.unreadable().collect()));
    }
    let mut unreadable = BTreeSet::new();
    if !query.iter().any(|(name, _)| name == "limit") {
        query.push(("limit".to_owned(), "200".to_owned()));
    }
    loop {
        let answer = vault.call(call(query.clone())).await?;
        unreadable.extend(answer.unreadable());
        for record in answer.rows() {
            if !output::line(&line(record, mode))? {
                return Ok(Report::default());
            }
        }
        let Some((cursor, _)) = answer.next_page() else {
            return Ok(told(Report::default(), &unreadable));
        };
        query.retain(|(name, _)| name != "cursor");
        query.push(("cursor".to_owned(), cursor.to_owned()));
    }
}

/// The report with the numbers of records that it may be without.
fn told(report: Report, unreadable: &BTreeSet<u64>) -> Report {
    if unreadable.is_empty() {
        return report;
    }
    let numbers: Vec<_> = unreadable.iter().map(ToString::to_string).collect();
    report.with_note(&format!(
        "records that are damaged, and might have been among these: {}; see `leasehold audit verify`",
        numbers.join(", ")
    ))
}

/// A record on a line of its own.
fn line(record: &serde_json::Value, mode: Mode) -> String {
    match mode.json {
        true => record.to_string(),
        false => render::row(record, COLUMNS),
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_vault::{JSON, PEOPLE, TestVault};
    use super::*;

    fn asking(query: QueryArgs) -> AuditCommand {
        AuditCommand { what: None, query }
    }

    #[tokio::test]
    async fn filters_carry_the_names_of_the_api() {
        let body = r#"{"status":"success","data":[{"time":"2026-06-13T10:30:00Z","event":"lease.issued",
            "actor":{"type":"agent","name":"claude-code"},"object":{"credential_name":"a","lease":"lse_1"},
            "outcome":"success","purpose":"p"}],"page":{"limit":50,"next_cursor":null,"total":1}}"#;
        let vault = TestVault::answering(&[(200, body)]);
        let arguments = QueryArgs {
            filter: FilterArgs {
                identity: Some("claude-code".into()),
                credential: Some("a".into()),
                lease: Some("lse_1".into()),
                since: Some("2026-06-13T10:30:00+02:00".into()),
                ..FilterArgs::default()
            },
            ..QueryArgs::default()
        };
        let report = run(&vault.client(), asking(arguments), PEOPLE)
            .await
            .unwrap();
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

    #[tokio::test]
    async fn damaged_records_are_named_beside_the_others() {
        let page = r#"{"status":"success","data":[],"page":{"limit":50,"next_cursor":null,"total":0,"unreadable":[7,12]}}"#;
        for (all, mode) in [(false, PEOPLE), (true, PEOPLE), (false, JSON), (true, JSON)] {
            let vault = TestVault::answering(&[(200, page)]);
            let arguments = QueryArgs {
                all,
                ..QueryArgs::default()
            };
            let report = run(&vault.client(), asking(arguments), mode).await.unwrap();
            assert!(report.notes.contains(": 7, 12;"), "{}", report.notes);
        }
    }

    #[tokio::test]
    async fn every_page_is_asked_for_with_the_cursor_of_the_one_before() {
        let page = |cursor: &str| {
            format!(
                r#"{{"status":"success","data":[{{"sequence":1}}],"page":{{"next_cursor":{cursor}}}}}"#
            )
        };
        let (first, last) = (page(r#""c1""#), page("null"));
        let vault = TestVault::answering(&[(200, &first), (200, &last)]);
        let arguments = QueryArgs {
            all: true,
            ..QueryArgs::default()
        };
        run(&vault.client(), asking(arguments), JSON).await.unwrap();
        let lines: Vec<_> = vault.requests().into_iter().map(|one| one.line).collect();
        assert_eq!(lines[0], "GET /v1/audit?limit=200 HTTP/1.1");
        assert_eq!(lines[1], "GET /v1/audit?limit=200&cursor=c1 HTTP/1.1");
    }

    #[tokio::test]
    async fn filters_in_front_of_a_command_are_refused_rather_than_forgotten() {
        let vault = TestVault::answering(&[]);
        let command = AuditCommand {
            what: Some(What::Show(ShowArgs {
                which: "1".to_owned(),
                history: HistoryArgs::default(),
            })),
            query: QueryArgs {
                until: Some("2026-06-13T10:30:00Z".to_owned()),
                ..QueryArgs::default()
            },
        };
        let failure = run(&vault.client(), command, PEOPLE).await.unwrap_err();
        assert_eq!(failure.exit_code(), 2);
        assert!(vault.requests().is_empty());
    }
}
