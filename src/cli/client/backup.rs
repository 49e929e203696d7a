//! `leasehold backup`: fetches a backup of the whole vault into a file, or checks one that was fetched.
//!
//! A file appears under its name only when it is whole: it is written beside it, read back, held to its
//! checksum and synced first. Nothing that exists is overwritten unasked.

use std::{
    fs::File,
    io::{self, BufReader, Write},
    path::{Path, PathBuf},
};

use serde_json::json;

use super::{
    call::Call,
    failure::Failure,
    http::Vault,
    output::{Mode, Report},
    partial::Partial,
    render,
};
use crate::archive::{self, Summary};

/// Where the backup goes, or which one is checked.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct Target {
    /// The file to write the backup to
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Check the format and the checksum of a backup instead; needs neither a vault nor a key
    #[arg(long, value_name = "FILE")]
    verify: Option<PathBuf>,
}

/// Arguments of `leasehold backup`.
#[derive(Debug, clap::Args)]
pub struct BackupArgs {
    #[command(flatten)]
    target: Target,
    /// Replace the file if it exists
    #[arg(long, conflicts_with = "verify")]
    force: bool,
}

impl BackupArgs {
    /// Whether a vault is asked.
    pub(super) fn calls(&self) -> bool {
        self.target.output.is_some()
    }
}

/// Fetches or checks a backup.
pub(super) async fn run(
    vault: &Vault,
    arguments: BackupArgs,
    mode: Mode,
) -> Result<Report, Failure> {
    let (path, summary, done) = match (arguments.target.output, arguments.target.verify) {
        (Some(path), _) => {
            let summary = fetch(vault, &path, arguments.force).await?;
            (path, summary, "written")
        }
        (None, Some(path)) => {
            let summary = checked(&path)?;
            (path, summary, "whole")
        }
        (None, None) => return Err(Failure::Usage("name a file".to_owned())),
    };
    let (file, sha256) = (path.display().to_string(), summary.checksum.to_string());
    let out = if mode.json {
        let data = json!({"file": file, "bytes": summary.bytes, "sha256": sha256});
        mode.layout(&json!({"status": "success", "data": data}).to_string())
    } else {
        render::aligned(vec![
            (done.to_owned(), file),
            ("bytes".to_owned(), summary.bytes.to_string()),
            ("sha256".to_owned(), sha256),
        ])
    };
    Ok(Report::new(out))
}

async fn fetch(vault: &Vault, path: &Path, force: bool) -> Result<Summary, Failure> {
    let exists = || {
        Failure::Local(format!(
            "`{}` exists; choose another name, or replace it with --force",
            path.display()
        ))
    };
    if !force && path.symlink_metadata().is_ok() {
        return Err(exists());
    }
    let failed =
        |error: io::Error| Failure::Local(format!("cannot write `{}`: {error}", path.display()));
    let mut partial = Partial::create(path).map_err(failed)?;
    let call = Call::post(&["v1", "sys", "backup"], &json!({}))?;
    let out = &mut partial.out;
    vault
        .download(&call, |piece| out.write_all(piece).map_err(failed))
        .await?;
    partial.sync().map_err(failed)?;
    let summary = checked(&partial.path).map_err(|failure| {
        Failure::Foreign(format!("what arrived is of no use: {}", why(&failure)))
    })?;
    partial
        .publish(path, force)
        .map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => exists(),
            _ => failed(error),
        })?;
    Ok(summary)
}

fn why(failure: &Failure) -> String {
    match failure {
        Failure::Local(message) => message.clone(),
        other => other.text(),
    }
}

fn checked(path: &Path) -> Result<Summary, Failure> {
    let told = |what: String| Failure::Local(format!("`{}`: {what}", path.display()));
    let file = File::open(path).map_err(|error| told(error.to_string()))?;
    archive::verify(BufReader::new(file)).map_err(|error| told(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::test_vault::{HANG_UP, PEOPLE, TempFile, TestVault};
    use super::*;

    const FILE: &str = "content-type: application/octet-stream\r\n";

    /// A folder of its own, gone with the guard.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            // A name that no other test has.
            let named = TempFile::new(b"");
            let path = named.path().with_extension("folder");
            fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn arguments(output: Option<&Path>, verify: Option<&Path>) -> BackupArgs {
        BackupArgs {
            target: Target {
                output: output.map(Path::to_owned),
                verify: verify.map(Path::to_owned),
            },
            force: false,
        }
    }

    #[tokio::test]
    async fn what_is_no_whole_backup_never_gets_its_name() {
        let folder = Folder::new();
        let target = folder.0.join("vault.backup");
        let refused = r#"{"status":"error","code":"X","message":"not now"}"#;
        let cases = [
            (TestVault::answering_with(200, FILE, "garbage"), "of no use"),
            (TestVault::answering_with(200, FILE, ""), "of no use"),
            (TestVault::answering(&[(200, "{}")]), "no file"),
            (TestVault::answering(&[(200, "hello")]), "no file"),
            (TestVault::answering(&[(409, refused)]), "not now"),
            (TestVault::answering(&[(502, "proxy")]), "no file"),
            (TestVault::answering(&[(HANG_UP, "")]), "broke"),
        ];
        for (vault, words) in cases {
            let failure = run(&vault.client(), arguments(Some(&target), None), PEOPLE)
                .await
                .unwrap_err();
            assert!(failure.text().contains(words), "{}", failure.text());
            assert_eq!(failure.exit_code(), 1);
            // Asked once: a second backup would be a second piece of work.
            assert_eq!(vault.requests().len(), 1);
            assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 0);
        }
    }

    #[tokio::test]
    async fn checking_asks_no_vault() {
        let vault = TestVault::answering(&[]);
        let mut writer = archive::Writer::new(Vec::new(), b"header").unwrap();
        writer.frame(true, b"body").unwrap();
        let (bytes, summary) = writer.finish().unwrap();
        let file = TempFile::new(&bytes);
        let report = run(&vault.client(), arguments(None, Some(file.path())), PEOPLE)
            .await
            .unwrap();
        assert!(report.out.contains(&summary.checksum.to_string()));
        let file = TempFile::new(&bytes[1..]);
        let failure = run(&vault.client(), arguments(None, Some(file.path())), PEOPLE)
            .await
            .unwrap_err();
        assert!(
            failure.text().contains("not a backup"),
            "{}",
            failure.text()
        );
        assert!(vault.requests().is_empty());
    }
}
