//! `leasehold report …`: arguments, and how the answers are shown.

use clap::{ArgGroup, ValueEnum};

use super::{
    call::Call,
    failure::Failure,
    http::Vault,
    output::{Mode, Report},
    paging::Paging,
    render::{self, Column},
};

const STALE_COLUMNS: &[Column] = &[
    Column("KIND", &["kind"]),
    Column("NAME", &["name"]),
    Column("OF", &["identity"]),
    Column("ID", &["id"]),
    Column("CREATED", &["created_at"]),
    Column("LAST USED", &["last_used_at"]),
];

const DUE_COLUMNS: &[Column] = &[
    Column("NAME", &["name"]),
    Column("TYPE", &["type"]),
    Column("VERSION", &["version"]),
    Column("DUE", &["due_at"]),
    Column("WHY", &["why"]),
    Column("REVEALED", &["revealed_at"]),
    Column("LEASES", &["active_leases"]),
];

/// What a running vault can be asked to report.
#[derive(Debug, clap::Subcommand)]
pub enum ReportsCommand {
    /// Say who could have used a credential, and what ends each of it
    Exposure(Box<ExposureArgs>),
    /// List credentials, identities, keys and tokens that nobody has used for a time
    Stale(StaleArgs),
    /// List credentials that are due for rotation
    RotationDue(DueArgs),
}

/// Arguments of `leasehold report exposure`.
#[derive(Debug, Default, clap::Args)]
#[command(
    disable_version_flag = true,
    group = ArgGroup::new("about").required(true).multiple(true)
        .args(["credential", "credential_id", "identity", "session", "source"]),
    group = ArgGroup::new("form").args(["signed", "markdown"]),
)]
pub struct ExposureArgs {
    /// What leaked
    #[arg(long, value_name = "NAME", conflicts_with = "credential_id")]
    credential: Option<String>,
    /// The same by its id, for one of several that had that name
    #[arg(long, value_name = "ID")]
    credential_id: Option<String>,
    /// Only this version of it
    #[arg(long, value_name = "N")]
    version: Option<u32>,
    /// Only leases that this identity held, asked for or took a value by: a name, TYPE/NAME or an id
    #[arg(long, value_name = "IDENTITY")]
    identity: Option<String>,
    /// Only leases of this session
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Only leases that were taken or used from this address or range
    #[arg(long, value_name = "IP_OR_CIDR")]
    source: Option<String>,
    /// From when on it could have been used (RFC 3339)
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Until when (RFC 3339); now otherwise
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Go on where a report that was not complete ended
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
    /// Print a document with the vault's signature, for `report verify` and openssl
    #[arg(long)]
    signed: bool,
    /// Print a page of Markdown, which is the default for people
    #[arg(long)]
    markdown: bool,
}

/// Arguments of `leasehold report stale`.
#[derive(Debug, clap::Args)]
pub struct StaleArgs {
    /// For how long it was not used
    #[arg(long, value_name = "DURATION", default_value = "90d")]
    unused_for: String,
    /// Only this kind; every kind otherwise, which takes the scope to read each
    #[arg(long, value_enum)]
    kind: Option<StaleKind>,
    #[command(flatten)]
    paging: Paging,
}

/// Arguments of `leasehold report rotation-due`.
#[derive(Debug, clap::Args)]
pub struct DueArgs {
    /// How near the provider's own expiry is
    #[arg(long, value_name = "DURATION", default_value = "30d")]
    within: String,
    #[command(flatten)]
    paging: Paging,
}

/// What may be stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum StaleKind {
    Credential,
    Identity,
    ApiKey,
    Token,
}

impl StaleKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Credential => "credential",
            Self::Identity => "identity",
            Self::ApiKey => "api-key",
            Self::Token => "token",
        }
    }
}

/// Runs one command.
pub(super) async fn run(
    vault: &Vault,
    command: ReportsCommand,
    mode: Mode,
) -> Result<Report, Failure> {
    match command {
        ReportsCommand::Exposure(arguments) => exposure(vault, &arguments, mode).await,
        ReportsCommand::Stale(arguments) => {
            let query = arguments.paging.query(&[
                ("unused_for", Some(&arguments.unused_for)),
                ("kind", arguments.kind.map(StaleKind::as_str)),
            ]);
            let answer = vault
                .call(Call::get(&["v1", "reports", "stale"]).query(query))
                .await?;
            Ok(render::list(&answer, mode, STALE_COLUMNS, "unused things"))
        }
        ReportsCommand::RotationDue(arguments) => {
            let query = arguments
                .paging
                .query(&[("within", Some(&arguments.within))]);
            let answer = vault
                .call(Call::get(&["v1", "reports", "rotation-due"]).query(query))
                .await?;
            Ok(render::list(&answer, mode, DUE_COLUMNS, "credentials due"))
        }
    }
}

async fn exposure(vault: &Vault, arguments: &ExposureArgs, mode: Mode) -> Result<Report, Failure> {
    let call = |format: &str| {
        let version = arguments.version.map(|number| number.to_string());
        Call::get(&["v1", "reports", "exposure"]).query(Paging::default().query(&[
            ("credential_name", arguments.credential.as_deref()),
            ("credential_id", arguments.credential_id.as_deref()),
            ("version", version.as_deref()),
            ("identity", arguments.identity.as_deref()),
            ("session_id", arguments.session.as_deref()),
            ("source", arguments.source.as_deref()),
            ("since", arguments.from.as_deref()),
            ("until", arguments.to.as_deref()),
            ("cursor", arguments.cursor.as_deref()),
            ("format", Some(format)),
        ]))
    };
    if arguments.signed {
        let answer = vault.call(call("signed")).await?;
        // The document itself: it is kept, and checked elsewhere.
        let document = answer.data().to_string();
        return Ok(Report::new(mode.layout(&document)));
    }
    if mode.json && !arguments.markdown {
        let answer = vault.call(call("json")).await?;
        return Ok(Report::new(mode.layout(answer.text())));
    }
    let answer = vault.exchange(&call("markdown")).await?;
    match (answer.status().is_success(), answer.is_json_object()) {
        (true, false) => {
            let lines = answer.text().lines();
            let page: String = lines.map(|line| render::clean(line) + "\n").collect();
            Ok(Report::new(page))
        }
        (false, true) => Err(Failure::Refused(Box::new(answer))),
        _ => Err(Failure::Foreign(format!(
            "`{}` answered {} and no report; is a vault listening there?",
            vault.address(),
            answer.status()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::test_vault::{PEOPLE, TestVault};
    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(subcommand)]
        command: ReportsCommand,
    }

    fn parse(line: &str) -> Result<ReportsCommand, clap::Error> {
        let cli = Cli::try_parse_from(std::iter::once("x").chain(line.split_whitespace()));
        cli.map(|cli| cli.command)
    }

    #[tokio::test]
    async fn every_report_has_its_route_and_sends_only_what_was_given() {
        let empty =
            r##"{"status":"success","data":[],"page":{"limit":50,"next_cursor":null,"total":0}}"##;
        for (line, route, answer) in [
            (
                "exposure --credential a --version 2 --from 2026-06-13T10:30:00Z --to 2026-06-14T10:30:00Z",
                "/v1/reports/exposure?credential_name=a&version=2&since=2026-06-13T10%3A30%3A00Z\
                 &until=2026-06-14T10%3A30%3A00Z&format=markdown",
                "# Exposure report\n",
            ),
            (
                "exposure --identity agent/a --session s --source 10.0.0.0/8 --cursor lse_1",
                "/v1/reports/exposure?identity=agent%2Fa&session_id=s&source=10.0.0.0%2F8&cursor=lse_1&format=markdown",
                "# Exposure report\n",
            ),
            (
                "exposure --credential-id crd_1 --signed",
                "/v1/reports/exposure?credential_id=crd_1&format=signed",
                r#"{"status":"success","data":{"statement":"{}"}}"#,
            ),
            ("stale", "/v1/reports/stale?unused_for=90d", empty),
            (
                "stale --unused-for 7d --kind api-key --limit 3",
                "/v1/reports/stale?unused_for=7d&kind=api-key&limit=3",
                empty,
            ),
            (
                "rotation-due --within 60d --sort name",
                "/v1/reports/rotation-due?within=60d&sort=name",
                empty,
            ),
        ] {
            let vault = TestVault::answering(&[(200, answer)]);
            let report = run(&vault.client(), parse(line).unwrap(), PEOPLE)
                .await
                .unwrap();
            assert_eq!(
                vault.requests()[0].line,
                format!("GET {route} HTTP/1.1"),
                "{line}"
            );
            if answer.starts_with('#') {
                assert_eq!(*report.out, answer, "{line}");
            }
            if line.ends_with("--signed") {
                assert_eq!(*report.out, "{\n  \"statement\": \"{}\"\n}\n".to_owned());
            }
        }
    }

    #[tokio::test]
    async fn a_refusal_of_a_page_is_told_as_any_other() {
        let refusal = r#"{"status":"error","code":"INSUFFICIENT_PERMISSIONS","message":"no","request_id":"r"}"#;
        let vault = TestVault::answering(&[(403, refusal)]);
        let command = parse("exposure --credential a").unwrap();
        let outcome = run(&vault.client(), command, PEOPLE).await;
        assert!(matches!(outcome, Err(Failure::Refused(_))));
    }

    #[test]
    fn a_report_is_about_something() {
        for line in [
            "exposure",
            "exposure --version 2",
            "exposure --from 2026-06-13T10:30:00Z",
            "exposure --credential a --credential-id crd_1",
            "exposure --credential a --signed --markdown",
            "stale --kind lease",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
