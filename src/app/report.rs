//! `leasehold report verify`: a signed report checked without a vault, against a public key that was kept elsewhere.

use std::{fs, process::ExitCode};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::process::{self, Failure};
use crate::{cli::ReportVerifyArgs, crypto::sign};

/// The largest document or key file that is read, in bytes.
const MAX_BYTES: u64 = 64 << 20;
/// What the statement must say it is: the vault's key signs statements of other kinds too.
const FORMAT: &str = "leasehold/v1/exposure-report";

/// Exit codes: 0 where the signature is the key's, 1 where it is not or nothing can be read.
pub(super) fn verify(args: &ReportVerifyArgs, as_json: bool) -> ExitCode {
    match verified(args) {
        Ok(statement) => match told(&statement, as_json) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => process::fail(&error),
        },
        Err(error) => process::fail(&error),
    }
}

fn read(path: &std::path::Path) -> Result<String, Failure> {
    let failed = |error: std::io::Error| format!("cannot read `{}`: {error}", path.display());
    if fs::metadata(path).map_err(failed)?.len() > MAX_BYTES {
        return Err(format!("`{}` is too large", path.display()).into());
    }
    Ok(fs::read_to_string(path).map_err(failed)?)
}

fn verified(args: &ReportVerifyArgs) -> Result<Value, Failure> {
    let no_document = "this is not a signed report";
    let document: Value = serde_json::from_str(&read(&args.file)?).map_err(|_| no_document)?;
    // An answer of the vault has the document within.
    let document = document.get("data").unwrap_or(&document);
    let text = |field: &str| document.get(field).and_then(Value::as_str);
    let (Some(statement), Some(signature)) = (text("statement"), text("signature")) else {
        return Err(no_document.into());
    };
    let signature = STANDARD.decode(signature).map_err(|_| no_document)?;
    let key = public_key(&args.public_key)?;
    if !sign::verifies(&key, statement.as_bytes(), &signature) {
        return Err("the report is not signed by this key, or was changed since".into());
    }
    let statement: Value = serde_json::from_str(statement).map_err(|_| no_document)?;
    match statement.get("format").and_then(Value::as_str) {
        Some(FORMAT) => Ok(statement),
        _ => Err("the statement is signed by this key, and is not an exposure report".into()),
    }
}

/// The key itself in base64, or a file that holds that or what `/.well-known/leasehold-keys.json` answers.
fn public_key(given: &str) -> Result<[u8; 32], Failure> {
    let decoded =
        |text: &str| -> Option<[u8; 32]> { STANDARD.decode(text.trim()).ok()?.try_into().ok() };
    if let Some(key) = decoded(given) {
        return Ok(key);
    }
    let text = read(std::path::Path::new(given))?;
    let keys: Option<Value> = serde_json::from_str(&text).ok();
    let published = keys.as_ref().and_then(|keys| {
        let keys = keys.get("data").unwrap_or(keys).get("keys")?.as_array()?;
        let audit = |key: &&Value| key.get("usage").and_then(Value::as_str) == Some("audit");
        keys.iter().find(audit)?.get("public_key")?.as_str()
    });
    decoded(published.unwrap_or(&text))
        .ok_or_else(|| format!("`{given}` is no Ed25519 public key in base64").into())
}

fn told(statement: &Value, as_json: bool) -> Result<(), Failure> {
    if as_json {
        let data = json!({ "valid": true, "statement": statement });
        return process::say(&json!({ "status": "success", "data": data }).to_string());
    }
    let field = |path: &str| {
        let found = statement.pointer(path).unwrap_or(&Value::Null);
        found
            .as_str()
            .map_or_else(|| found.to_string(), str::to_owned)
    };
    process::say(&format!(
        "signed by this key\n\
         workspace  {}\n\
         made       {} for {}\n\
         rests on   records {} to {}\n\
         leases     {}, {} open",
        field("/workspace"),
        field("/made_at"),
        field("/made_by"),
        field("/rests_on/first_sequence"),
        field("/rests_on/last_sequence"),
        field("/summary/leases"),
        field("/summary/open_leases"),
    ))
}
