//! `leasehold bench`: short runs, to see that it measures what it says and leaves nothing behind. No figure is
//! held to a bound: that is what the bench itself is for, on a machine with nothing else to do.

mod baseline;
mod runs;
mod scale;

use std::{
    fs,
    path::Path,
    process::{Output, Stdio},
};

use serde_json::Value;

use crate::support::{TempDir, leasehold};

/// A folder for the data, and a number that marks the processes of one test on their command lines.
struct Ground {
    folder: TempDir,
    value_bytes: u32,
}

impl Ground {
    fn new(value_bytes: u32) -> Self {
        let folder = TempDir::new();
        Self {
            folder,
            value_bytes,
        }
    }

    fn command(&self, args: &[&str]) -> std::process::Command {
        let mut command = leasehold();
        command
            .arg("bench")
            .args(args)
            .args(["--value-bytes", &self.value_bytes.to_string(), "--dir"])
            .arg(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// The JSON that a run printed.
    #[track_caller]
    fn report(&self, args: &[&str]) -> Value {
        let output = self.run(args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// No server still runs and no file is left.
    #[track_caller]
    fn is_clean(&self) {
        let left: Vec<_> = fs::read_dir(self.folder.path()).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
        let folder = self.folder.path().to_str().unwrap();
        let baseline = format!("bench-baseline --value-bytes {} ", self.value_bytes);
        let running: Vec<_> = command_lines()
            .filter(|line| line.contains(folder) || line.contains(&baseline))
            .collect();
        assert!(running.is_empty(), "{running:?}");
    }
}

/// The command lines of all processes, with a space behind each argument.
fn command_lines() -> impl Iterator<Item = String> {
    let processes = fs::read_dir(Path::new("/proc")).unwrap().flatten();
    processes.filter_map(|process| {
        let line = fs::read(process.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    })
}
