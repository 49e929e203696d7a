//! Servers of our own: this very program as a child process, so that its CPU and memory are its own. Stopped and
//! cleared away when dropped, whatever happened meanwhile.

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader},
    os::unix::{fs::DirBuilderExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{Failure, site::Key};

/// How long a server may take to start, and to stop once told to.
const PATIENCE: Duration = Duration::from_secs(300);
/// How often a server that was told to stop is looked at.
const STOP_POLL: Duration = Duration::from_millis(5);
/// The data folder in the temporary one.
const DATA: &str = "data";
/// What the vault logs, in the temporary folder.
const LOG: &str = "vault.log";
/// The most characters of that log that an error repeats.
const MAX_LOG: usize = 2000;

/// A temporary folder, removed when dropped.
pub(super) struct Folder(PathBuf);

impl Folder {
    /// In `parent`, else where the system keeps temporary files.
    pub(super) fn make(parent: Option<&Path>) -> Result<Self, Failure> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_owned);
        // The vault runs in the folder, so its own name must hold from there.
        let parent = fs::canonicalize(&parent)
            .map_err(|error| format!("cannot use the folder `{}`: {error}", parent.display()))?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("leasehold-bench-{}-{number}", std::process::id()));
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| format!("cannot make the folder `{}`: {error}", path.display()))?;
        Ok(Self(path))
    }

    /// The vault's data folder.
    pub(super) fn data(&self) -> PathBuf {
        self.0.join(DATA)
    }

    fn log_tail(&self) -> String {
        let text = fs::read_to_string(self.0.join(LOG)).unwrap_or_default();
        let skip = text.chars().count().saturating_sub(MAX_LOG);
        text.chars().skip(skip).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Nobody is left to tell, and the system clears its temporary files up some day.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A child process, killed when dropped.
struct Process(Child);

impl Process {
    /// Starts this program with these arguments; gives back the first line that it prints.
    async fn start(
        args: impl IntoIterator<Item = impl AsRef<OsStr>>,
        prepare: impl FnOnce(&mut Command),
    ) -> Result<(Self, String), Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        for (name, _) in std::env::vars_os() {
            // What steers the user's own vaults must not steer this one, and no key goes to a child.
            if name.to_string_lossy().starts_with("LEASEHOLD") {
                command.env_remove(name);
            }
        }
        command
            .args(args)
            .env("RUST_LOG", "warn")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C is for this process, which then stops its children.
            .process_group(0);
        prepare(&mut command);
        let mut process = Self(command.spawn()?);
        let stdout = process.0.stdout.take();
        let mut stdout = BufReader::new(stdout.ok_or("a child without output")?);
        let reading = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            stdout.read_line(&mut line).map(|_| line)
        });
        // Dropping the process ends the reading too.
        let line = tokio::time::timeout(PATIENCE, reading)
            .await
            .map_err(|_| "a server of our own did not start in time")???;
        Ok((process, line))
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    /// SIGTERM, and waits for the end; gives back how long that took.
    async fn stop(mut self) -> Result<Duration, Failure> {
        let begun = Instant::now();
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        kill_process(pid.ok_or("a child without a process id")?, Signal::TERM)?;
        while begun.elapsed() < PATIENCE {
            match self.0.try_wait()? {
                Some(status) if status.success() => return Ok(begun.elapsed()),
                Some(status) => return Err(format!("the vault ended with {status}").into()),
                None => tokio::time::sleep(STOP_POLL).await,
            }
        }
        Err("the vault did not stop in time".into())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The keys of a vault of our own.
#[derive(Clone, Default)]
pub(super) struct OwnKeys {
    pub(super) admin: Key,
    pub(super) agent: Key,
}

/// A development vault. Its folder outlives it, so that it can be started again.
pub(super) struct Vault {
    process: Process,
    pub(super) address: String,
    keys: Option<OwnKeys>,
    /// From the start of the process to its first line, which it prints once it serves.
    pub(super) started_in: Duration,
}

/// The line of `dev --output json`.
#[derive(Deserialize)]
struct Started {
    address: String,
    admin_key: Option<String>,
    agent_key: Option<String>,
}

impl Vault {
    /// Starts a vault in the folder, which keeps closed leases and history for so long.
    pub(super) async fn start(
        folder: &Folder,
        retention: Option<Duration>,
    ) -> Result<Self, Failure> {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(folder.0.join(LOG))?;
        let data = folder.data();
        let args = ["dev", "--listen", "127.0.0.1:0", "--output", "json"].map(OsStr::new);
        let args = args
            .into_iter()
            .chain([OsStr::new("--data-dir"), data.as_os_str()]);
        let kept =
            retention.map(|kept| format!("--retention={}", humantime::format_duration(kept)));
        let args = args.chain(kept.as_ref().map(OsStr::new));
        let begun = Instant::now();
        let prepare = |command: &mut Command| {
            // Not where the user stands: a folder `policies` there is no concern of this vault.
            command.current_dir(&folder.0).stderr(Stdio::from(log));
        };
        let (process, line) = Process::start(args, prepare).await?;
        let started_in = begun.elapsed();
        let started: Started = serde_json::from_str(&line)
            .map_err(|_| format!("the vault did not start; it said\n{}", folder.log_tail()))?;
        Ok(Self {
            process,
            address: started.address.replacen("http://", "", 1),
            keys: started
                .admin_key
                .zip(started.agent_key)
                .map(|keys| OwnKeys {
                    admin: Key::new(Zeroizing::new(keys.0)),
                    agent: Key::new(Zeroizing::new(keys.1)),
                }),
            started_in,
        })
    }

    /// The administrator's key and the agent's, which only the first start of a folder tells.
    pub(super) fn keys(&self) -> Result<&OwnKeys, Failure> {
        Ok(self.keys.as_ref().ok_or("the vault told no keys")?)
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// SIGTERM, and waits for the end; gives back how long that took.
    pub(super) async fn stop(self) -> Result<Duration, Failure> {
        self.process.stop().await
    }
}

/// The bare handlers.
pub(super) struct Baseline {
    process: Process,
    pub(super) address: String,
}

impl Baseline {
    /// Starts the hidden `bench-baseline`, whose answers are to look like the vault's about this credential.
    pub(super) async fn start(credential: &str, value_bytes: u32) -> Result<Self, Failure> {
        let value_bytes = value_bytes.to_string();
        let args = ["bench-baseline", "--value-bytes", &value_bytes];
        let args = args.into_iter().chain(["--credential", credential]);
        let (process, line) = Process::start(args, |_| {}).await?;
        let address = line.trim().to_owned();
        if address.is_empty() {
            return Err("the baseline did not start".into());
        }
        Ok(Self { process, address })
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }
}
