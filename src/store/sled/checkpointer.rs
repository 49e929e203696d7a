//! The thread that makes checkpoints.

use std::sync::Arc;

use super::checkpoint::Core;
use crate::domain::error::{Error, Result};

/// The thread that makes checkpoints, until it is dropped.
pub(super) struct Checkpointer {
    core: Arc<Core>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Checkpointer {
    pub(super) fn start(core: &Arc<Core>) -> Result<Self> {
        let running = core.clone();
        let thread = std::thread::Builder::new()
            .name("checkpointer".to_owned())
            .spawn(move || running.run())
            .map_err(Error::internal)?;
        Ok(Self {
            core: core.clone(),
            thread: Some(thread),
        })
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.core.end();
        if let Some(thread) = self.thread.take() {
            // It catches what sled panics with; nothing is left to tell of a panic of its own.
            let _ = thread.join();
        }
    }
}
