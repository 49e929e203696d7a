//! A development vault whose folder is opened again and again, in order or out of it.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use super::kit::Api;
use crate::support::{Vault, leasehold};

/// The command of a vault on this folder.
pub fn dev(data_dir: &Path) -> Command {
    let mut command = leasehold();
    // The log is looked at for panics alone, and sled says very much at `debug`.
    command.env("RUST_LOG", "info");
    command
        .args(["dev", "--listen", "127.0.0.1:0", "--output", "json"])
        .arg("--data-dir")
        .arg(data_dir);
    command
}

/// Starts it and kills it after so long, which may be in the middle of opening or of recovery.
pub fn start_and_kill(mut command: Command, after: Duration) {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(after);
    let ended = child.try_wait().unwrap();
    assert!(ended.is_none(), "ended by itself: {ended:?}");
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The keys that the first start showed.
#[derive(Clone)]
pub struct Keys {
    admin: String,
    agent: String,
}

impl Keys {
    pub fn of(vault: &Vault) -> Self {
        Self {
            admin: vault.admin_key.clone(),
            agent: vault.agent_key.clone(),
        }
    }

    /// A vault on a folder that was made with these keys.
    pub fn open(&self, data_dir: &Path) -> Vault {
        self.open_by(dev(data_dir), data_dir)
    }

    pub fn open_by(&self, command: Command, data_dir: &Path) -> Vault {
        let mut vault = Vault::started_by(command, PathBuf::from(data_dir));
        (vault.admin_key, vault.agent_key) = (self.admin.clone(), self.agent.clone());
        vault
    }
}

/// The agent's and the administrator's caller.
pub fn callers(vault: &Vault) -> (Api, Api) {
    (Api::agent(vault), Api::admin(vault))
}
