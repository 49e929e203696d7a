//! `leasehold audit hold …`: legal holds.

use serde_json::json;

use super::{
    call::Call,
    failure::Failure,
    http::Vault,
    output::{Mode, Report},
    paging::Paging,
    render::{self, Column},
};

const FIELDS: &[&str] = &["name", "reason", "set_at", "set_by"];

const COLUMNS: &[Column] = &[
    Column("NAME", &["name"]),
    Column("SET", &["set_at"]),
    Column("BY", &["set_by"]),
    Column("REASON", &["reason"]),
];

/// What can be done with legal holds.
#[derive(Debug, clap::Subcommand)]
pub enum HoldCommand {
    /// Remove nothing until this hold is released, or change its reason
    Set {
        /// The hold
        name: String,
        /// What it is for
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Release a hold
    Release {
        /// The hold
        name: String,
    },
    /// List the holds in force
    List {
        #[command(flatten)]
        paging: Paging,
    },
}

/// Runs one command.
pub(super) async fn run(
    vault: &Vault,
    command: HoldCommand,
    mode: Mode,
) -> Result<Report, Failure> {
    let call = match &command {
        HoldCommand::Set { name, reason } => Call::put(
            &["v1", "audit", "holds", name],
            &json!({ "reason": reason }),
        )?,
        HoldCommand::Release { name } => Call::delete(&["v1", "audit", "holds", name]),
        HoldCommand::List { paging } => {
            let call = Call::get(&["v1", "audit", "holds"]).query(paging.query(&[]));
            let answer = vault.call(call).await?;
            return Ok(render::list(&answer, mode, COLUMNS, "legal holds"));
        }
    };
    Ok(render::object(&vault.call(call).await?, mode, FIELDS))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::test_vault::{PEOPLE, TestVault};
    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(subcommand)]
        command: HoldCommand,
    }

    #[tokio::test]
    async fn every_command_has_its_route() {
        for (line, route, body) in [
            (
                "set case-17 --reason subpoena",
                "PUT /v1/audit/holds/case-17",
                r#"{"reason":"subpoena"}"#,
            ),
            ("release case-17", "DELETE /v1/audit/holds/case-17", ""),
            ("list --limit 5", "GET /v1/audit/holds?limit=5", ""),
        ] {
            let command = Cli::parse_from(std::iter::once("x").chain(line.split(' '))).command;
            let vault = TestVault::answering(&[(200, r#"{"status":"success","data":{}}"#)]);
            run(&vault.client(), command, PEOPLE).await.unwrap();
            let request = vault.requests().remove(0);
            assert_eq!(request.line, format!("{route} HTTP/1.1"));
            assert_eq!(request.body, body, "{line}");
        }
    }
}
