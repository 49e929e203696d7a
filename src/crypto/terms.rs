//! Keyed 64-bit hashes of what history is searched by: SipHash-2-4 (Aumasson and Bernstein, 2012). They are stored
//! sealed all the same; the key keeps whoever chooses names and sessions from choosing collisions.

use std::hash::Hasher;

use siphasher::sip::SipHasher24;
use zeroize::Zeroizing;

use super::aead::KeyBytes;
use crate::domain::id::WorkspaceId;

/// The key of all terms.
pub struct TermKey(Zeroizing<[u8; 16]>);

impl TermKey {
    /// Half of the derived key, which is what SipHash takes.
    pub(super) fn new(key: &KeyBytes) -> Self {
        let mut half = Zeroizing::new([0; 16]);
        half.iter_mut()
            .zip(key.iter())
            .for_each(|(half, byte)| *half = *byte);
        Self(half)
    }

    /// The term of a field's value in a workspace; only the last part may vary in length.
    pub fn term(&self, workspace: WorkspaceId, field: u8, parts: &[&[u8]]) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write(workspace.as_bytes());
        hasher.write(&[field]);
        parts.iter().for_each(|part| hasher.write(part));
        hasher.finish()
    }
}
