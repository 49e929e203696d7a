//! `leasehold status`: whether the vault is up and ready, and whom the key belongs to. Works without a key.
//!
//! The command succeeds only if the vault is ready and accepts the key, where one is set. Nothing is
//! repeated: what is asked for is how things are now.

use serde_json::{Value, json};

use super::{
    answer::Answer,
    call::Call,
    failure::Failure,
    http::Vault,
    output::{Mode, Report},
    render,
};

/// Asks and reports.
pub(super) async fn run(vault: &Vault, mode: Mode) -> Result<Report, Failure> {
    let health = vault.exchange(&Call::get(&["health"]).once()).await?;
    let ready = vault.exchange(&Call::get(&["ready"]).once()).await?;
    let caller = match vault.has_key() {
        true => Some(
            vault
                .exchange(&Call::get(&["v1", "auth", "whoami"]).once())
                .await?,
        ),
        false => None,
    };
    let accepted = caller
        .as_ref()
        .is_none_or(|answer| answer.status().is_success());
    // Whoever may see it is told since when there is history, and what holds it; nobody else asks, which would be a
    // denial in history.
    let history = match &caller {
        Some(caller) if accepted && holds(caller, "sys:read") => {
            let path = ["v1", "audit", "retention"];
            let answer = vault.exchange(&Call::get(&path).once()).await?;
            Some(answer).filter(|answer| answer.status().is_success())
        }
        _ => None,
    };
    let out = if mode.json {
        let whoami = caller.as_ref().map_or_else(|| "null".to_owned(), body);
        let retention = history.as_ref().map_or_else(|| "null".to_owned(), body);
        let all = format!(
            r#"{{"health":{},"ready":{},"whoami":{whoami},"retention":{retention}}}"#,
            body(&health),
            body(&ready)
        );
        mode.layout(&all)
    } else {
        let mut facts = vec![
            ("address".to_owned(), vault.address().to_owned()),
            ("health".to_owned(), verdict(&health, "up")),
            ("ready".to_owned(), verdict(&ready, "yes")),
        ];
        facts.extend(caller.iter().flat_map(identity));
        facts.extend(history.iter().flat_map(kept));
        render::aligned(facts)
    };
    let mut report = Report::new(out);
    report.failed = !(ready.status().is_success() && accepted);
    Ok(report)
}

/// Whether the caller has a scope.
fn holds(caller: &Answer, scope: &str) -> bool {
    let scopes = caller.data().get("scopes").and_then(Value::as_array);
    scopes.is_some_and(|scopes| scopes.iter().any(|one| one == scope))
}

/// The body as JSON, whatever it is.
fn body(answer: &Answer) -> String {
    match serde_json::from_str::<Value>(answer.text()) {
        Ok(_) => answer.text().to_owned(),
        Err(_) => json!(answer.text()).to_string(),
    }
}

fn verdict(answer: &Answer, good: &str) -> String {
    if answer.status().is_success() {
        return good.to_owned();
    }
    let why = answer
        .field("message")
        .or_else(|| answer.data().get("reason").and_then(Value::as_str));
    let status = answer.status();
    let code = answer.field("code").unwrap_or(status.as_str());
    render::clean(&why.map_or_else(
        || format!("no ({code})"),
        |why| format!("no: {why} ({code})"),
    ))
}

fn identity(answer: &Answer) -> Vec<(String, String)> {
    if !answer.status().is_success() {
        return vec![("key".to_owned(), verdict(answer, "accepted"))];
    }
    render::facts(&json!({ "caller": answer.data() }), &[])
}

/// Since when there is history, and what keeps it.
fn kept(answer: &Answer) -> Vec<(String, String)> {
    let data = answer.data();
    let text = |field: &str| data.get(field).and_then(Value::as_str);
    let number = |field: &str| data.get(field).and_then(Value::as_u64).unwrap_or(0);
    let since = text("oldest_record_at").map(|time| format!(", of {}", render::clean(time)));
    let first = format!(
        "from record {}{}",
        number("first_sequence"),
        since.unwrap_or_default()
    );
    let holds = match number("holds") {
        0 => "none".to_owned(),
        some => format!("{some}: nothing is removed"),
    };
    vec![
        ("history".to_owned(), first),
        ("legal holds".to_owned(), holds),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::test_vault::{JSON, PEOPLE, TestVault};
    use super::*;

    const OK: &str = r#"{"status":"success","data":{"state":"ok"}}"#;
    const WHO: &str = r#"{"status":"success","data":{"identity":{"name":"ops","type":"human"},"workspace":"default","scopes":["sys:read"]}}"#;
    const KEPT: &str = r#"{"status":"success","data":{"first_sequence":4097,"oldest_record_at":"2026-06-13T10:30:00Z","holds":1}}"#;
    const SEALED: &str = r#"{"status":"error","code":"SEALED","message":"the vault is sealed"}"#;
    const REFUSED: &str =
        r#"{"status":"error","code":"UNAUTHORIZED","message":"the key is not known"}"#;

    #[tokio::test]
    async fn a_ready_vault_and_its_caller_are_shown() {
        let vault = TestVault::answering(&[(200, "ok"), (200, OK), (200, WHO), (200, KEPT)]);
        let report = run(&vault.client(), PEOPLE).await.unwrap();
        assert!(!report.failed);
        assert_eq!(
            *report.out,
            format!(
                "address               {}\nhealth                up\nready                 yes\n\
                 caller.identity.name  ops\ncaller.identity.type  human\ncaller.workspace      default\n\
                 caller.scopes         sys:read\n\
                 history               from record 4097, of 2026-06-13T10:30:00Z\n\
                 legal holds           1: nothing is removed\n",
                vault.client().address()
            )
        );
    }

    #[tokio::test]
    async fn without_a_key_nobody_is_asked_who_calls() {
        let vault = TestVault::answering(&[(200, OK), (200, OK)]);
        let report = run(&vault.client_without_key(), PEOPLE).await.unwrap();
        assert!(!report.failed);
        assert_eq!(vault.requests().len(), 2);
    }

    #[tokio::test]
    async fn a_sealed_vault_or_a_refused_key_fails_the_command() {
        let vault = TestVault::answering(&[(200, OK), (503, SEALED), (503, SEALED)]);
        let report = run(&vault.client(), PEOPLE).await.unwrap();
        assert!(
            report.failed
                && report
                    .out
                    .contains("ready    no: the vault is sealed (SEALED)")
        );
        let vault = TestVault::answering(&[(200, OK), (200, OK), (401, REFUSED)]);
        let report = run(&vault.client(), PEOPLE).await.unwrap();
        assert!(
            report.failed
                && report
                    .out
                    .contains("key      no: the key is not known (UNAUTHORIZED)")
        );
    }

    #[tokio::test]
    async fn json_holds_all_three_bodies() {
        let answers = [(200, "ok"), (503, SEALED), (200, WHO), (403, REFUSED)];
        let vault = TestVault::answering(&answers);
        let report = run(&vault.client(), JSON).await.unwrap();
        let json: Value = serde_json::from_str(&report.out).unwrap();
        assert_eq!(
            (&json["health"], &json["ready"]["code"]),
            (&json!("ok"), &json!("SEALED"))
        );
        assert_eq!(json["whoami"]["data"]["workspace"], "default");
        assert!(json["retention"].is_null(), "not everybody may see it");
    }
}
