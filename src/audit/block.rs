//! Audit records as they lie in the store: several to a block, each sealed on its own.
//!
//! ```text
//! block = format(1) ‖ entry ‖ entry ‖ …                      under the sequence number of its first record
//! entry = workspace(16) ‖ content(32) ‖ length(4, BE) ‖ sealed record
//! content = SHA-256(encoded record)
//!
//! of a record that retention removed, its leaf is left: the length is 0, and the digest of what was sealed follows
//! entry = workspace(16) ‖ content(32) ‖ 0(4) ‖ sealed digest(32)
//! ```
//!
//! A record has its own ciphertext, under its workspace's key and bound to its sequence number, so that
//! shredding a workspace shreds its history and no record can be moved. Its content digest stands outside, so that
//! its [`Leaf`], and with it the order and content of a log, can be proven without any key.

use super::{
    leaf::{self, Leaf},
    merkle::Hash,
};
use crate::domain::{
    error::{Error, Result},
    id::WorkspaceId,
};

const FORMAT: u8 = 1;
const ENTRY_HEADER: usize = 16 + 32 + 4;

/// A block that is being filled.
pub(super) struct Builder(Vec<u8>);

impl Builder {
    pub(super) fn new(capacity: usize) -> Self {
        let mut bytes = Vec::with_capacity(capacity);
        bytes.push(FORMAT);
        Self(bytes)
    }

    /// Whether nothing is in it yet.
    pub(super) fn is_empty(&self) -> bool {
        self.0.len() == 1
    }

    /// Its length with one more record of that sealed size.
    pub(super) fn len_with(&self, sealed: usize) -> usize {
        self.0.len() + ENTRY_HEADER + sealed
    }

    pub(super) fn push(
        &mut self,
        workspace: WorkspaceId,
        content: &Hash,
        sealed: &[u8],
    ) -> Result<()> {
        let length = u32::try_from(sealed.len()).map_err(Error::internal)?;
        self.0.extend_from_slice(workspace.as_bytes());
        self.0.extend_from_slice(content);
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(sealed);
        Ok(())
    }

    /// What is left of a record that is removed.
    pub(super) fn push_removed(&mut self, leaf: &Leaf) {
        self.0.extend_from_slice(leaf.workspace.as_bytes());
        self.0.extend_from_slice(&leaf.content);
        self.0.extend_from_slice(&0u32.to_be_bytes());
        self.0.extend_from_slice(&leaf.sealed);
    }

    /// The entry as it is.
    pub(super) fn push_entry(&mut self, sequence: u64, entry: &Entry<'_>) -> Result<()> {
        if entry.is_removed() {
            self.push_removed(&entry.leaf(sequence));
            return Ok(());
        }
        self.push(entry.workspace, &entry.content, entry.sealed)
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// One entry of a block, still sealed.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) workspace: WorkspaceId,
    pub(super) content: Hash,
    /// Empty where the record was removed.
    pub(super) sealed: &'a [u8],
    /// The digest of what was sealed, where the record was removed.
    removed: Option<Hash>,
}

impl Entry<'_> {
    /// What the record is in the tree.
    pub(super) fn leaf(&self, sequence: u64) -> Leaf {
        Leaf {
            sequence,
            workspace: self.workspace,
            content: self.content,
            sealed: self.removed.unwrap_or_else(|| leaf::digest(self.sealed)),
        }
    }

    /// Whether retention removed the record, and only its leaf is left.
    pub(super) fn is_removed(&self) -> bool {
        self.removed.is_some()
    }
}

/// Takes a block apart.
pub(super) fn entries(block: &[u8]) -> Result<Vec<Entry<'_>>> {
    let damaged = || Error::internal("an audit block is damaged");
    let (format, mut rest) = block.split_first().ok_or_else(damaged)?;
    if *format != FORMAT {
        return Err(Error::internal("unknown audit block format"));
    }
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let (workspace, tail) = rest.split_first_chunk::<16>().ok_or_else(damaged)?;
        let (content, tail) = tail.split_first_chunk::<32>().ok_or_else(damaged)?;
        let (length, tail) = tail.split_first_chunk::<4>().ok_or_else(damaged)?;
        let (sealed, tail) = tail
            .split_at_checked(u32::from_be_bytes(*length) as usize)
            .ok_or_else(damaged)?;
        let (removed, tail) = match sealed {
            [] => {
                let (digest, tail) = tail.split_first_chunk::<32>().ok_or_else(damaged)?;
                (Some(*digest), tail)
            }
            _ => (None, tail),
        };
        entries.push(Entry {
            workspace: WorkspaceId::from_bytes(*workspace),
            content: *content,
            sealed,
            removed,
        });
        rest = tail;
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::tests::vectors::{Vectors, hex, unhex};

    const BLOCKS: Vectors = Vectors(include_str!("../../tests/vectors/blocks.txt"));

    /// Builds a block of the first `count` records of the vectors.
    fn built(count: usize) -> Vec<u8> {
        let workspaces = [
            WorkspaceId::from_bytes(BLOCKS.array("first.workspace")),
            WorkspaceId::SYSTEM,
        ];
        let mut builder = Builder::new(64);
        assert!(builder.is_empty());
        let names = ["first", "second"].into_iter().zip(workspaces);
        for (name, workspace) in names.take(count) {
            let record = BLOCKS.bytes(&format!("{name}.record"));
            let sealed = BLOCKS.bytes(&format!("{name}.sealed"));
            let content = leaf::digest(&record);
            assert_eq!(hex(&content), BLOCKS.text(&format!("{name}.content")));
            let expected = builder.len_with(sealed.len());
            builder.push(workspace, &content, &sealed).unwrap();
            assert!(!builder.is_empty());
            assert_eq!(builder.0.len(), expected);
        }
        builder.finish()
    }

    #[test]
    fn blocks_are_as_frozen() {
        for (count, name) in [(0, "block_empty"), (1, "block_of_one"), (2, "block_of_two")] {
            assert_eq!(hex(&built(count)), BLOCKS.text(name));
            let block = BLOCKS.bytes(name);
            let entries = entries(&block).unwrap();
            assert_eq!(entries.len(), count);
            for (sequence, (entry, name)) in (1..).zip(entries.iter().zip(["first", "second"])) {
                assert_eq!(hex(&entry.content), BLOCKS.text(&format!("{name}.content")));
                let leaf = entry.leaf(sequence).hash();
                assert_eq!(hex(&leaf), BLOCKS.text(&format!("{name}.leaf")));
                assert_eq!(hex(entry.sealed), BLOCKS.text(&format!("{name}.sealed")));
            }
            let workspaces = entries.iter().map(|entry| hex(entry.workspace.as_bytes()));
            let first = BLOCKS.text("first.workspace").to_owned();
            assert!(workspaces.eq([first, "00".repeat(16)].into_iter().take(count)));
        }
    }

    // INVARIANT (audit-tamper): what is left of a removed record has the record's own leaf.
    #[test]
    fn a_removed_record_leaves_its_leaf() {
        let whole = BLOCKS.bytes("block_of_two");
        let whole = entries(&whole).unwrap();
        let mut left = Builder::new(64);
        left.push_removed(&whole[0].leaf(1));
        left.push_entry(2, &whole[1]).unwrap();
        let left = left.finish();
        assert_eq!(hex(&left), BLOCKS.text("block_of_removed"));
        let left = entries(&left).unwrap();
        assert!(left[0].is_removed() && !left[1].is_removed());
        for (sequence, (left, whole)) in (1..).zip(left.iter().zip(&whole)) {
            assert_eq!(left.leaf(sequence), whole.leaf(sequence));
        }
    }

    #[test]
    fn damaged_blocks_are_refused() {
        let refusal = |block: &[u8]| {
            let error = entries(block).expect_err("it was read");
            let source = std::error::Error::source(&error).map(ToString::to_string);
            source.unwrap_or_default()
        };
        let mut tested = 0;
        for (name, line) in BLOCKS.pairs() {
            let Some(name) = name.strip_prefix("refused.") else {
                continue;
            };
            let (why, block) = line.split_once(" | ").expect(line);
            assert_eq!(
                refusal(&unhex(block.trim_start_matches('-'))),
                why,
                "{name}"
            );
            tested += 1;
        }
        assert!(tested >= 12, "bad vectors are only ever added: {tested}");
        let good = BLOCKS.bytes("block_of_two");
        let ends = [1, BLOCKS.bytes("block_of_one").len()];
        for len in (0..good.len()).filter(|len| !ends.contains(len)) {
            refusal(&good[..len]);
        }
    }

    proptest::proptest! {
        #![proptest_config(crate::domain::hostile::cases(1000))]

        /// What is taken apart is the whole block, so nothing is read that is not there.
        #[test]
        fn damaged_blocks_are_refused_or_read_whole(
            block in crate::domain::hostile::damaged(
                ["block_of_one", "block_of_two", "block_of_removed"].map(|name| BLOCKS.bytes(name)).to_vec()
            )
        ) {
            if let Ok(entries) = entries(&block) {
                let mut again = Builder::new(block.len());
                for (sequence, entry) in (1..).zip(entries) {
                    again.push_entry(sequence, &entry).unwrap();
                }
                proptest::prop_assert_eq!(again.finish(), block);
            }
        }
    }
}
