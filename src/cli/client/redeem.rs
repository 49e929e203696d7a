//! `leasehold redeem`: a handle in, the value out, and nothing else on stdout, so that
//! `$(leasehold redeem)` is the value.

use serde::Serialize;
use zeroize::Zeroizing;

use super::{
    call::Call,
    failure::Failure,
    http::Vault,
    output::{Mode, Report},
    secret_input::HandleArgs,
};

/// Where the handle comes from.
#[derive(Debug, clap::Args)]
pub struct RedeemArgs {
    #[command(flatten)]
    handle: HandleArgs,
}

#[derive(Serialize)]
struct RedeemBody<'a> {
    handle: &'a str,
}

/// Exchanges the handle for the value.
pub(super) async fn run(
    vault: &Vault,
    arguments: RedeemArgs,
    mode: Mode,
) -> Result<Report, Failure> {
    let call = {
        let handle = arguments.handle.read()?;
        Call::post(
            &["v1", "handles", "redeem"],
            &RedeemBody { handle: &handle },
        )?
    };
    let answer = vault.call(call).await?;
    if mode.json {
        return Ok(Report::new(mode.layout(answer.text())));
    }
    let Some(value) = answer.data().get("value").and_then(|value| value.as_str()) else {
        return Err(Failure::Foreign(
            "the vault redeemed the handle but answered no value".to_owned(),
        ));
    };
    let mut out = Zeroizing::new(String::with_capacity(value.len() + 1));
    out.push_str(value);
    if mode.terminal && !value.ends_with('\n') {
        out.push('\n');
    }
    Ok(Report::new(out))
}

#[cfg(test)]
mod tests {
    use super::super::test_vault::{JSON, PEOPLE, PIPE, TempFile, TestVault};
    use super::*;

    const BODY: &str = r#"{"status":"success","data":{"value":"s3cret","lease_id":"lse_1"}}"#;

    async fn redeem(vault: &TestVault, mode: Mode) -> Result<Report, Failure> {
        let file = TempFile::new(b"lhh_1\n");
        let handle = HandleArgs {
            handle_file: Some(file.path().to_owned()),
            handle_stdin: false,
        };
        run(&vault.client(), RedeemArgs { handle }, mode).await
    }

    #[tokio::test]
    async fn only_the_value_is_printed() {
        let vault = TestVault::answering(&[(200, BODY), (200, BODY), (200, BODY)]);
        assert_eq!(*redeem(&vault, PIPE).await.unwrap().out, "s3cret");
        assert_eq!(*redeem(&vault, PEOPLE).await.unwrap().out, "s3cret\n");
        assert_eq!(redeem(&vault, JSON).await.unwrap().out.trim_end(), BODY);
        let request = &vault.requests()[0];
        assert_eq!(request.line, "POST /v1/handles/redeem HTTP/1.1");
        assert_eq!(request.body, r#"{"handle":"lhh_1"}"#);
        assert!(request.header("idempotency-key").is_none());
    }

    #[tokio::test]
    async fn a_refusal_and_an_answer_without_a_value_print_nothing() {
        let refused =
            r#"{"status":"error","code":"LEASE_EXPIRED","message":"the lease has expired"}"#;
        let vault = TestVault::answering(&[(410, refused), (200, r#"{"data":{}}"#)]);
        assert!(matches!(
            redeem(&vault, PIPE).await,
            Err(Failure::Refused(_))
        ));
        assert!(matches!(
            redeem(&vault, PIPE).await,
            Err(Failure::Foreign(_))
        ));
    }

    #[tokio::test]
    async fn a_redemption_counts_so_it_is_never_repeated() {
        let vault = TestVault::answering(&[
            (503, r#"{"code":"SEALED","message":"sealed"}"#),
            (200, BODY),
        ]);
        assert!(redeem(&vault, PIPE).await.is_err());
        assert_eq!(vault.requests().len(), 1);
    }
}
