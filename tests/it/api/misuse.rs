//! What a program is told of a command line that makes no sense.

use serde_json::{Value, json};

use super::text;
use crate::support::leasehold;

#[test]
fn a_program_is_told_as_json_what_is_wrong_with_its_arguments() {
    for (line, told) in [
        ("lease create --json", "<CREDENTIAL>"),
        ("--json credential update a --max-leases many", "'many'"),
        ("lease --json", "requires a subcommand"),
    ] {
        let output = leasehold().args(line.split(' ')).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let body: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{line}: {said}"));
        assert_eq!(
            (output.status.code(), &body["status"], &body["code"]),
            (Some(2), &json!("error"), &json!("USAGE")),
            "{line}"
        );
        let message = text(&body, "message");
        assert!(
            message.contains(told) && !message.contains("Usage"),
            "{message}"
        );
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{line}");
    }
    let help = leasehold()
        .args(["lease", "--json", "--help"])
        .output()
        .unwrap();
    assert!(help.status.success() && help.stdout.starts_with(b"Lease a credential"));
}
