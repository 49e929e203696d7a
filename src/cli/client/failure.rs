//! What can go wrong between a command line and its answer, and how a person or a script is told.
//!
//! Every failure has one exit code, one text for people and one JSON form in the shape of the vault's own
//! errors. No text holds the API key, a handle or a value: what is shown is the vault's message, which
//! never does, or is written here.

use serde_json::json;
use zeroize::Zeroizing;

use super::{
    answer::Answer,
    render::{self, clean},
};

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(super) enum Failure {
    /// The command line or the environment makes no sense.
    Usage(String),
    /// Something on this machine: a file, the terminal, the system's entropy.
    Local(String),
    /// No answer came.
    Unreachable {
        /// What happened, naming the address.
        message: String,
        /// What to try next.
        hint: &'static str,
    },
    /// An answer came that no vault gives.
    Foreign(String),
    /// The vault refused.
    Refused(Box<Answer>),
}

impl Failure {
    /// What clap said, without the usage that people see below it.
    pub(super) fn misused(error: &clap::Error) -> Self {
        let text = error.to_string();
        let text = text.split("\n\n").next().unwrap_or_default();
        let text = text.strip_prefix("error: ").unwrap_or(text);
        let words: Vec<_> = text.split_whitespace().collect();
        Self::Usage(words.join(" "))
    }

    /// What the process exits with.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            _ => 1,
        }
    }

    /// The failure for people: one `error:` line and indented lines of detail.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Usage(message) | Self::Local(message) | Self::Foreign(message) => {
                format!("error: {}\n", clean(message))
            }
            Self::Unreachable { message, hint } => format!("error: {}\n  {hint}\n", clean(message)),
            Self::Refused(answer) => refused(answer),
        }
    }

    /// The failure for scripts: the vault's own body where there is one, else the same shape.
    pub(super) fn json(&self) -> Zeroizing<String> {
        let (code, message) = match self {
            Self::Refused(answer) => return Zeroizing::new(answer.text().to_owned()),
            Self::Usage(message) => ("USAGE", message),
            Self::Local(message) => ("LOCAL", message),
            Self::Unreachable { message, .. } => ("UNREACHABLE", message),
            Self::Foreign(message) => ("INVALID_RESPONSE", message),
        };
        let body =
            json!({ "status": "error", "code": code, "message": message, "request_id": null });
        Zeroizing::new(body.to_string())
    }
}

fn refused(answer: &Answer) -> String {
    let message = answer
        .field("message")
        .unwrap_or("the vault refused without a message");
    let code = answer
        .field("code")
        .map_or_else(|| answer.status().as_str().to_owned(), clean);
    let request = answer
        .request_id()
        .map(|id| format!(", request {}", clean(id)))
        .unwrap_or_default();
    let mut text = format!("error: {} ({code}{request})\n", clean(message));
    let mut line = |label: &str, value: &str| {
        text.push_str(&format!("  {label}: {value}\n"));
    };
    for (label, value) in render::facts(answer.member("details"), &[]) {
        line(&label, &value);
    }
    if let Some(seconds) = answer.retry_after() {
        line("retry after", &format!("{seconds} s"));
    }
    if code == "UNAUTHORIZED" {
        text.push_str("  check the key in LEASEHOLD_KEY\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &str) -> Failure {
        Failure::Refused(Box::new(Answer::for_test(409, body)))
    }

    #[test]
    fn a_refusal_names_message_code_request_and_details() {
        let failure = answer(
            r#"{"status":"error","code":"LEASE_LIMIT_REACHED","message":"`a` has 5 active leases",
                "request_id":"req_1","details":{"limit":5,"retry_at":"2026-06-13T10:30:00Z"}}"#,
        );
        assert_eq!(
            failure.text(),
            "error: `a` has 5 active leases (LEASE_LIMIT_REACHED, request req_1)\n  \
             limit: 5\n  retry_at: 2026-06-13T10:30:00Z\n"
        );
        assert_eq!(failure.exit_code(), 1);
        assert!(failure.json().contains("LEASE_LIMIT_REACHED"));
    }

    #[test]
    fn a_refusal_of_another_shape_still_says_something() {
        assert_eq!(
            answer("{}").text(),
            "error: the vault refused without a message (409)\n"
        );
    }

    #[test]
    fn a_message_cannot_drive_the_terminal() {
        let failure =
            answer(r#"{"code":"X\u001b[2J","message":"a\u001b]0;title\u0007\nerror: b"}"#);
        assert!(
            !failure
                .text()
                .trim_end()
                .contains(['\u{1b}', '\u{7}', '\n']),
            "{}",
            failure.text()
        );
    }

    #[test]
    fn local_failures_have_the_shape_of_the_vaults() {
        let failure = Failure::Usage("LEASEHOLD_KEY is not set".into());
        assert_eq!(failure.exit_code(), 2);
        let json: serde_json::Value = serde_json::from_str(&failure.json()).unwrap();
        assert_eq!(
            (&json["status"], &json["code"]),
            (&json!("error"), &json!("USAGE"))
        );
    }
}
