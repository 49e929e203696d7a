//! The formats against the vectors in `tests/vectors`, which an independent implementation computed, and what
//! must be refused.

use std::sync::{Arc, Mutex};

use self::vectors::{BEARER, KEYS, REFUSED, SEALED, hex, unhex};
use super::{
    entropy::Entropy,
    envelope::OpenError,
    keyring::{Keyring, WorkspaceKeys},
    root::RootKey,
};
use crate::domain::{
    error::{Code, Error, Result},
    id::WorkspaceId,
};

mod bearer;
mod refused;
mod root;
mod sealed;
mod sign;
mod token;
pub(crate) mod vectors;

/// Gives out the bytes it was made with, then fails.
pub(crate) struct Scripted(Mutex<Vec<u8>>);

impl Scripted {
    pub(crate) fn new(bytes: &[u8]) -> Arc<Self> {
        Arc::new(Self(Mutex::new(bytes.to_vec())))
    }

    /// Holds the code to the entropy that a vector names: no more (it fails), and here no less.
    fn assert_used_up(&self) {
        assert_eq!(self.0.lock().unwrap().len(), 0, "entropy was left over");
    }
}

impl Entropy for Scripted {
    fn fill(&self, buffer: &mut [u8]) -> Result<()> {
        let mut left = self.0.lock().unwrap();
        if left.len() < buffer.len() {
            return Err(Error::internal("no entropy left"));
        }
        buffer.copy_from_slice(&left[..buffer.len()]);
        left.drain(..buffer.len());
        Ok(())
    }
}

/// The root key of that name in `keys.txt`.
pub(crate) fn root_key(name: &str) -> RootKey {
    RootKey::generate(&*Scripted::new(&KEYS.bytes(name))).unwrap()
}

/// The keyring of the vectors' root key.
pub(crate) fn keyring(entropy: Arc<dyn Entropy>) -> Keyring {
    Keyring::new(&root_key("root"), entropy).unwrap()
}

/// The workspace of the vectors.
pub(crate) fn workspace() -> WorkspaceId {
    WorkspaceId::from_bytes(KEYS.array("workspace"))
}

/// The keys of the vectors' workspace, up to and including KEK number `newest`.
pub(crate) fn workspace_keys(newest: u32, entropy: Arc<dyn Entropy>) -> Arc<WorkspaceKeys> {
    let wrapped: Vec<_> = (1..=newest)
        .map(|number| (number, KEYS.bytes(&format!("kek_{number}.wrapped"))))
        .collect();
    keyring(entropy).unlock(workspace(), &wrapped).unwrap()
}

/// Why something did not open: the private reason behind a public text that tells nothing.
fn reason(error: &Error) -> String {
    assert_eq!(error.code(), Code::Internal);
    assert_eq!(
        error.message(),
        "the vault failed to carry out the request",
        "the public text tells why"
    );
    let source = std::error::Error::source(error);
    source
        .and_then(|source| source.downcast_ref::<OpenError>())
        .map_or_else(|| "-".to_owned(), |reason| format!("{reason:?}"))
}
