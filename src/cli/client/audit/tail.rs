//! `leasehold audit tail`: comes back behind the last record after each break, so that none is missed or shown twice.

use std::time::Duration;

use serde_json::Value;

use super::{FilterArgs, line};
use crate::cli::client::{
    call::Call,
    events::Event,
    failure::Failure,
    http::Vault,
    output::{self, Mode, Report},
    paging::Query,
};

/// The first and the longest wait before coming back; it doubles with each failure.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

#[derive(Debug, Default, clap::Args)]
#[command(disable_version_flag = true)]
pub(super) struct TailArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// Begin behind this sequence number, and not with what comes next
    #[arg(long, value_name = "SEQUENCE")]
    after: Option<u64>,
    /// Stop at the newest record
    #[arg(long)]
    no_follow: bool,
}

/// How a stream ended.
enum End {
    /// There is no more to come, or nobody reads it.
    Done,
    /// It broke, or the vault ended it; with what to say.
    Broken(String),
}

/// Shows records until there are no more, or the caller may see no more.
pub(super) async fn run(vault: &Vault, arguments: TailArgs, mode: Mode) -> Result<Report, Failure> {
    let pairs = arguments.filter.pairs().into_iter();
    let mut query: Query = pairs
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    if arguments.no_follow {
        query.push(("follow".to_owned(), "false".to_owned()));
    }
    let mut last = arguments.after.map(|after| after.to_string());
    let mut wait = FIRST_WAIT;
    let mut began = false;
    loop {
        let call = Call::get(&["v1", "audit", "stream"]).query(query.clone());
        let before = last.clone();
        let end = follow(vault, &call, &mut last, mode).await;
        began |= last.is_some();
        let what = match end {
            Ok(End::Done) => return Ok(Report::default()),
            Ok(End::Broken(why)) => why,
            // Somebody who never had a record is better told at once.
            Err(failure @ Failure::Unreachable { .. }) if began => {
                failure.text().lines().next().unwrap_or_default().to_owned()
            }
            Err(failure) => return Err(failure),
        };
        if last != before {
            wait = FIRST_WAIT;
        }
        output::note(&format!("{what}; coming back\n"));
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

async fn follow(
    vault: &Vault,
    call: &Call,
    last: &mut Option<String>,
    mode: Mode,
) -> Result<End, Failure> {
    let mut end = End::Broken("the stream broke off".to_owned());
    let from = last.clone();
    let mut take = |event: Event| {
        let data = event.data.unwrap_or_default();
        let shown = match event.kind.as_str() {
            "removed" => {
                output::note(&removed(&data));
                true
            }
            "unreadable" => {
                output::note(&unreadable(&data));
                true
            }
            "end" => {
                end = ended(&data)?;
                return Ok(false);
            }
            "" | "message" if !data.is_empty() => {
                let record: Value = serde_json::from_str(&data)
                    .map_err(|_| Failure::Foreign("an event is no record".to_owned()))?;
                output::line(&line(&record, mode))?
            }
            _ => true,
        };
        if let Some(id) = event.id {
            *last = Some(id);
        }
        if !shown {
            end = End::Done;
        }
        Ok(shown)
    };
    vault.events(call, from.as_deref(), &mut take).await?;
    Ok(end)
}

/// What retention took out of what was to be shown.
fn removed(data: &str) -> String {
    let said: Value = serde_json::from_str(data).unwrap_or_default();
    let number = |name: &str| said.get(name).and_then(Value::as_u64).unwrap_or_default();
    format!(
        "behind record {} and up to {}, retention removed {} records, of this and of other workspaces\n",
        number("after"),
        number("through"),
        number("records"),
    )
}

/// What cannot be shown, and might have been asked for.
fn unreadable(data: &str) -> String {
    let said: Value = serde_json::from_str(data).unwrap_or_default();
    let numbers = said.get("sequences").and_then(Value::as_array);
    let numbers: Vec<_> = numbers
        .into_iter()
        .flatten()
        .map(Value::to_string)
        .collect();
    format!(
        "records that may have matched are damaged or missing: {}\n",
        numbers.join(", ")
    )
}

/// Why the vault ended the stream: it is refused, or over, or to be asked for again.
fn ended(data: &str) -> Result<End, Failure> {
    let said: Value = serde_json::from_str(data).unwrap_or_default();
    let text = |name: &str| said.get(name).and_then(Value::as_str).unwrap_or_default();
    let reason = text("reason").to_owned();
    match text("code") {
        "caught_up" => Ok(End::Done),
        "refused" => Err(Failure::Local(format!(
            "the vault ended the stream: {reason}"
        ))),
        _ => Ok(End::Broken(format!("the vault ended the stream: {reason}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::test_vault::{HANG_UP, JSON, TestVault};
    use super::*;

    const STREAM: &str = "content-type: text/event-stream\r\n";

    #[tokio::test]
    async fn it_comes_back_behind_the_last_event() {
        let first = "id: 4\n\nid: 5\ndata: {\"sequence\":5}\n\n: heartbeat\nid: 8\n\n";
        let stopping = "id: 9\ndata: {\"sequence\":9}\n\nevent: end\ndata: {\"code\":\"stopping\",\"reason\":\"r\"}\n\n";
        let last = "id: 9\n\nevent: end\ndata: {\"code\":\"caught_up\",\"reason\":\"r\"}\n\n";
        let vault = TestVault::answering_each(&[
            (200, STREAM, first),
            (HANG_UP, "", ""),
            (200, STREAM, stopping),
            (200, STREAM, last),
        ]);
        let arguments = TailArgs {
            after: Some(3),
            ..TailArgs::default()
        };
        run(&vault.client(), arguments, JSON).await.unwrap();
        let asked = vault.requests();
        assert_eq!(asked[0].line, "GET /v1/audit/stream HTTP/1.1");
        let places: Vec<_> = asked
            .iter()
            .map(|one| one.header("last-event-id"))
            .collect();
        assert_eq!(places, [Some("3"), Some("8"), Some("8"), Some("9")]);
    }

    #[test]
    fn what_was_removed_is_told() {
        let told = removed("{\"after\":7,\"through\":4096,\"records\":12}");
        assert!(
            told.contains("record 7 and up to 4096, retention removed 12 records"),
            "{told}"
        );
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        let told = unreadable("{\"sequences\":[7,9]}");
        assert!(told.contains("damaged or missing: 7, 9"), "{told}");
    }

    #[tokio::test]
    async fn a_refusal_ends_it() {
        let refused = r#"{"status":"error","code":"INSUFFICIENT_PERMISSIONS","message":"no"}"#;
        let ended =
            "id: 4\n\nevent: end\ndata: {\"code\":\"refused\",\"reason\":\"KEY_PAUSED\"}\n\n";
        for (vault, words) in [
            (
                TestVault::answering(&[(403, refused)]),
                "INSUFFICIENT_PERMISSIONS",
            ),
            (TestVault::answering_with(200, STREAM, ended), "KEY_PAUSED"),
            (TestVault::answering(&[(HANG_UP, "")]), "broke"),
            (TestVault::answering(&[(200, "{}")]), "no events"),
        ] {
            let failure = run(&vault.client(), TailArgs::default(), JSON).await;
            let text = failure.unwrap_err().text();
            assert!(text.contains(words), "{text}");
            assert_eq!(vault.requests().len(), 1);
        }
    }
}
