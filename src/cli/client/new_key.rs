//! Where the value of a new API key goes, once: to stdout, or into a file that its owner alone may read.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};

use super::{
    answer::Answer,
    call::Call,
    failure::Failure,
    http::Vault,
    output::{Mode, Report},
    partial::Partial,
    render,
};

/// Where the value of a new key goes.
#[derive(Debug, clap::Args)]
pub struct Destination {
    /// Write the key into this file, mode 0600, instead of to stdout
    #[arg(long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Replace the file if it exists
    #[arg(long, requires = "output")]
    pub(super) force: bool,
}

impl Destination {
    /// Sends a call that answers a new value, and puts that where it belongs. A file is made before: a key that
    /// nobody can keep is not asked for.
    pub(super) async fn deliver(
        &self,
        vault: &Vault,
        call: Call,
        mode: Mode,
        order: &[&str],
    ) -> Result<Report, Failure> {
        let Some(target) = &self.output else {
            let report = render::object(&vault.call(call).await?, mode, order);
            return Ok(match mode.json {
                true => report,
                false => report.with_note("the key is shown this once; keep it safe"),
            });
        };
        let failed = |error: io::Error| cannot_write(target, &error);
        if !self.force && target.symlink_metadata().is_ok() {
            return Err(failed(io::ErrorKind::AlreadyExists.into()));
        }
        let mut partial = Partial::create(target).map_err(failed)?;
        let answer = vault.call(call).await?;
        let Some(key) = answer.data().get("key").and_then(Value::as_str) else {
            return Err(Failure::Foreign("the vault answered no key".to_owned()));
        };
        // Past the buffer, which is not wiped.
        let file = partial.out.get_mut();
        let written = file.write_all(key.as_bytes());
        written
            .and_then(|()| file.write_all(b"\n"))
            .and_then(|()| partial.sync())
            .and_then(|()| partial.publish(target, self.force))
            .map_err(failed)?;
        Ok(without_key(&answer, mode, order))
    }
}

fn cannot_write(target: &Path, error: &io::Error) -> Failure {
    let target = target.display();
    Failure::Local(match error.kind() {
        io::ErrorKind::AlreadyExists => {
            format!("`{target}` exists; choose another name, or replace it with --force")
        }
        _ => format!("cannot write `{target}`: {error}"),
    })
}

/// The answer as it is shown when its key went elsewhere.
fn without_key(answer: &Answer, mode: Mode, order: &[&str]) -> Report {
    let fields = answer.data().as_object();
    let data: Map<String, Value> = fields
        .into_iter()
        .flatten()
        .filter(|(name, _)| *name != "key")
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let data = Value::Object(data);
    Report::new(match mode.json {
        true => mode.layout(&json!({"status": "success", "data": data}).to_string()),
        false => render::aligned(render::facts(&data, order)),
    })
}
