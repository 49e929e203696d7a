//! What a record is in the tree over the log.
//!
//! ```text
//! leaf    = SHA-256(0x00 ‖ sequence(8, BE) ‖ workspace(16) ‖ content(32) ‖ sealed digest(32))
//! content = SHA-256(encoded record)
//! sealed digest = SHA-256(sealed record)
//! ```
//!
//! So the tree binds a record's place, its workspace, what it says, and the very ciphertext that is on disk: each can be
//! checked without a key. A record holds a random id, so its content digest tells nothing about it.

use sha2::{Digest, Sha256};

use super::merkle::{Hash, LEAF};
use crate::domain::id::WorkspaceId;

/// A record's place in the log, whose it is, and the digests of both its forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaf {
    /// Counts from 1: the leaf's index in the tree is one less.
    pub sequence: u64,
    pub workspace: WorkspaceId,
    pub content: Hash,
    pub sealed: Hash,
}

impl Leaf {
    /// The leaf of a record of which both forms are at hand.
    pub fn of(sequence: u64, workspace: WorkspaceId, encoded: &[u8], sealed: &[u8]) -> Self {
        Self {
            sequence,
            workspace,
            content: digest(encoded),
            sealed: digest(sealed),
        }
    }

    /// The hash that goes into the tree.
    pub fn hash(&self) -> Hash {
        Sha256::new()
            .chain_update([LEAF])
            .chain_update(self.sequence.to_be_bytes())
            .chain_update(self.workspace.as_bytes())
            .chain_update(self.content)
            .chain_update(self.sealed)
            .finalize()
            .into()
    }
}

/// The digest of an encoded record, or of a sealed one.
pub fn digest(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::tests::vectors::{Vectors, hex};

    const BLOCKS: Vectors = Vectors(include_str!("../../tests/vectors/blocks.txt"));

    fn first() -> Leaf {
        Leaf::of(
            1,
            WorkspaceId::from_bytes(BLOCKS.array("first.workspace")),
            &BLOCKS.bytes("first.record"),
            &BLOCKS.bytes("first.sealed"),
        )
    }

    #[test]
    fn leaves_are_as_frozen() {
        assert_eq!(hex(&first().hash()), BLOCKS.text("first.leaf"));
        let second = Leaf::of(
            2,
            WorkspaceId::SYSTEM,
            &BLOCKS.bytes("second.record"),
            &BLOCKS.bytes("second.sealed"),
        );
        assert_eq!(hex(&second.hash()), BLOCKS.text("second.leaf"));
    }

    // INVARIANT (audit-tamper): a leaf binds place, workspace, content and ciphertext.
    #[test]
    fn a_leaf_is_of_one_record_at_one_place() {
        let here = first();
        let others = [
            Leaf {
                sequence: 2,
                ..here
            },
            Leaf {
                workspace: WorkspaceId::SYSTEM,
                ..here
            },
            Leaf {
                content: digest(b"another record"),
                ..here
            },
            Leaf {
                sealed: digest(b"another ciphertext"),
                ..here
            },
            Leaf {
                content: here.sealed,
                sealed: here.content,
                ..here
            },
        ];
        for other in others {
            assert_ne!(here.hash(), other.hash(), "{other:?}");
        }
    }
}
