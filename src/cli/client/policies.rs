//! `leasehold policy …` at a vault: the sets of Cedar policies in force and their history.

use std::{fmt::Write, path::PathBuf};

use clap::ValueEnum;
use serde_json::{Value, json};

use super::{
    answer::Answer,
    call::Call,
    failure::Failure,
    http::Vault,
    output::{Mode, Report},
    paging::Paging,
    render::{self, Column, clean},
};
use crate::config::policies::load_sources;

const FIELDS: &[&str] = &[
    "scope",
    "version",
    "applied_at",
    "applied_by",
    "comment",
    "digest",
    "restores",
];

const VERSIONS: &[Column] = &[
    Column("VERSION", &["version"]),
    Column("APPLIED", &["applied_at"]),
    Column("BY", &["applied_by"]),
    Column("RESTORES", &["restores"]),
    Column("COMMENT", &["comment"]),
];

const CHANGES: &[Column] = &[
    Column("SEQUENCE", &["sequence"]),
    Column("TIME", &["time"]),
    Column("ACTOR", &["actor.name"]),
    Column("ACTION", &["action"]),
    Column("RESOURCE", &["resource"]),
    Column("WAS", &["was"]),
    Column("WOULD BE", &["would_be"]),
    Column("POLICY", &["policy"]),
];

/// Whose policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PolicyScope {
    Workspace,
    Organisation,
}

impl PolicyScope {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Workspace => "workspace",
            Self::Organisation => "organisation",
        }
    }
}

#[derive(Debug, clap::Args)]
pub struct ScopeArgs {
    /// Whose policies
    #[arg(long, value_enum, default_value_t = PolicyScope::Workspace)]
    scope: PolicyScope,
}

#[derive(Debug, clap::Args)]
pub struct SourceArgs {
    /// Files of Cedar policies, and folders, whose `*.cedar` are read; together they are the whole set
    #[arg(value_name = "DIR_OR_FILE", required = true)]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    scope: ScopeArgs,
}

impl SourceArgs {
    fn body(&self) -> Result<Value, Failure> {
        let sources =
            load_sources(&self.paths).map_err(|error| Failure::Local(error.to_string()))?;
        let sources = sources
            .into_iter()
            .map(|(name, text)| json!({"name": name, "text": text}));
        let sources: Vec<_> = sources.collect();
        Ok(json!({"scope": self.scope.scope.as_str(), "sources": sources}))
    }
}

/// What can be done with the policies of a vault. They need its API key in LEASEHOLD_KEY.
#[derive(Debug, clap::Subcommand)]
pub enum PoliciesCommand {
    /// Show the policies in force, or an earlier version
    Show {
        #[command(flatten)]
        scope: ScopeArgs,
        /// The version; the one in force where not given
        #[arg(long, value_name = "NUMBER")]
        version: Option<u32>,
    },
    /// List the versions that are or were in force
    History {
        #[command(flatten)]
        scope: ScopeArgs,
        #[command(flatten)]
        paging: Paging,
    },
    /// Show how policies differ from those in force; fails where they do
    Diff(SourceArgs),
    /// Put policies in force in place of the whole set
    Apply {
        #[command(flatten)]
        sources: SourceArgs,
        /// Why, for the history
        #[arg(long)]
        comment: Option<String>,
        /// Refuse unless this version is in force
        #[arg(long, value_name = "NUMBER")]
        expected_version: Option<u32>,
        /// Take policies under which this key could not replace them
        #[arg(long)]
        allow_lockout: bool,
    },
    /// Bring an earlier version back; 0 is the empty set
    Rollback {
        /// The version
        version: u32,
        #[command(flatten)]
        scope: ScopeArgs,
        /// Why, for the history
        #[arg(long)]
        comment: Option<String>,
        /// Refuse unless this version is in force
        #[arg(long, value_name = "NUMBER")]
        expected_version: Option<u32>,
        /// Take policies under which this key could not replace them
        #[arg(long)]
        allow_lockout: bool,
    },
    /// Replay recorded decisions under policies that are not in force, and list what would change
    DryRun {
        #[command(flatten)]
        sources: SourceArgs,
        /// Only at or after this time (RFC 3339)
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        /// Only before this time (RFC 3339)
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
        /// The most records to look at
        #[arg(long, value_name = "NUMBER")]
        limit: Option<u32>,
        /// Go on where an earlier run ended
        #[arg(long)]
        cursor: Option<String>,
    },
}

const POLICIES: [&str; 2] = ["v1", "policies"];

fn at(last: &'static str) -> [&'static str; 3] {
    ["v1", "policies", last]
}

/// Sets what was given.
fn with(mut body: Value, fields: &[(&str, Value)]) -> Value {
    if let Value::Object(map) = &mut body {
        for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
            map.insert((*name).to_owned(), value.clone());
        }
    }
    body
}

pub(super) async fn run(
    vault: &Vault,
    command: PoliciesCommand,
    mode: Mode,
) -> Result<Report, Failure> {
    match command {
        PoliciesCommand::Show { scope, version } => {
            let query = vec![("scope".to_owned(), scope.scope.as_str().to_owned())];
            let version = version.map(|version| version.to_string());
            let call = match &version {
                None => Call::get(&POLICIES),
                Some(version) => Call::get(&["v1", "policies", "history", version]),
            };
            let answer = vault.call(call.query(query)).await?;
            Ok(set(&answer, mode))
        }
        PoliciesCommand::History { scope, paging } => {
            let query = paging.query(&[("scope", Some(scope.scope.as_str()))]);
            let answer = vault.call(Call::get(&at("history")).query(query)).await?;
            Ok(render::list(&answer, mode, VERSIONS, "versions"))
        }
        PoliciesCommand::Diff(sources) => {
            let call = Call::post(&at("diff"), &sources.body()?)?;
            Ok(difference(&vault.call(call).await?, mode))
        }
        PoliciesCommand::Apply {
            sources,
            comment,
            expected_version,
            allow_lockout,
        } => {
            let body = with(
                sources.body()?,
                &[
                    ("comment", json!(comment)),
                    ("expected_version", json!(expected_version)),
                    ("allow_lockout", json!(allow_lockout)),
                ],
            );
            let answer = vault.call(Call::put(&POLICIES, &body)?).await?;
            Ok(applied(&answer, mode))
        }
        PoliciesCommand::Rollback {
            version,
            scope,
            comment,
            expected_version,
            allow_lockout,
        } => {
            let body = with(
                json!({"scope": scope.scope.as_str(), "version": version}),
                &[
                    ("comment", json!(comment)),
                    ("expected_version", json!(expected_version)),
                    ("allow_lockout", json!(allow_lockout)),
                ],
            );
            let answer = vault.call(Call::post(&at("rollback"), &body)?).await?;
            Ok(applied(&answer, mode))
        }
        PoliciesCommand::DryRun {
            sources,
            since,
            until,
            limit,
            cursor,
        } => {
            let body = with(
                sources.body()?,
                &[
                    ("since", json!(since)),
                    ("until", json!(until)),
                    ("limit", json!(limit)),
                    ("cursor", json!(cursor)),
                ],
            );
            let answer = vault.call(Call::post(&at("dry-run"), &body)?).await?;
            Ok(replayed(&answer, mode))
        }
    }
}

/// The texts, each under its name; where they come from goes to stderr.
fn set(answer: &Answer, mode: Mode) -> Report {
    if mode.json {
        return Report::new(mode.layout(answer.text()));
    }
    let data = answer.data();
    let mut out = String::new();
    for source in data["sources"].as_array().into_iter().flatten() {
        let part = |name: &str| source[name].as_str().unwrap_or_default();
        // Writing to a string can't fail.
        let _ = writeln!(out, "// {}", clean(part("name")));
        part("text").lines().for_each(|line| {
            let _ = writeln!(out, "{}", clean(line));
        });
    }
    let text = |name: &str| data[name].as_str().map(clean);
    let note = match (data["version"].as_u64(), text("applied_at")) {
        (Some(version), Some(at)) => format!(
            "version {version}, applied {at} by {}",
            text("applied_by").unwrap_or_default()
        ),
        _ => "no policies were ever put in force".to_owned(),
    };
    Report::new(out).with_note(&note)
}

fn applied(answer: &Answer, mode: Mode) -> Report {
    if mode.json {
        return Report::new(mode.layout(answer.text()));
    }
    let mut data = answer.data().clone();
    if let Value::Object(fields) = &mut data {
        fields.remove("sources");
    }
    Report::new(render::aligned(render::facts(&data, FIELDS)))
}

fn difference(answer: &Answer, mode: Mode) -> Report {
    let data = answer.data();
    let mut report = if mode.json {
        Report::new(mode.layout(answer.text()))
    } else {
        let sources = data["sources"].as_array().into_iter().flatten();
        let lines = sources.filter_map(|source| source["diff"].as_str());
        let lines = lines.flat_map(|diff| diff.lines().map(clean));
        let text: String = lines.map(|line| line + "\n").collect();
        Report::new(text)
    };
    report.failed = data["changed"].as_bool() == Some(true);
    report
}

fn replayed(answer: &Answer, mode: Mode) -> Report {
    if mode.json {
        return Report::new(mode.layout(answer.text()));
    }
    let data = answer.data();
    let count = |name: &str| {
        let found = data.pointer(&format!("/counts/{name}"));
        found.and_then(Value::as_u64).unwrap_or_default()
    };
    let rows = data["changes"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let mut report = match rows {
        [] => Report::default(),
        rows => Report::new(render::table(rows, CHANGES)),
    };
    report = report.with_note(&format!(
        "{} records, {} decisions, {} would change, {} cannot be told",
        count("records"),
        count("decisions"),
        count("changed"),
        count("unknown")
    ));
    let notes = data["notes"].as_array().into_iter().flatten();
    for note in notes.filter_map(Value::as_str) {
        report = report.with_note(&clean(note));
    }
    match data["next_cursor"].as_str() {
        Some(cursor) => report.with_note(&format!("more with --cursor {}", clean(cursor))),
        None => report,
    }
}
