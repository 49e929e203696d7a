//! One part of an export, as far as it was read.

use sha2::{Digest, Sha256};

use super::{
    super::{
        Header, MARK_LINES, TAG_BYTES,
        line::{self, MarkLine},
        tag,
    },
    Step, bad,
};
use crate::audit::{checkpoint::Statement, merkle::Frontier};

/// A line since the last mark.
pub(super) struct Seen {
    pub(super) tag: [u8; TAG_BYTES],
    pub(super) line: u64,
    pub(super) what: What,
}

pub(super) enum What {
    Header,
    Record(u64),
    Gap(u64, u64),
    Removed(u64, u64),
}

/// The part that is being read.
pub(super) struct Part {
    pub(super) header: Header,
    pub(super) checkpoint: Statement,
    pub(super) digest: Sha256,
    pub(super) frontier: Frontier,
    pub(super) records: u64,
    /// The last record of the front that retention removed, so far as it is told.
    pub(super) front: u64,
    /// The last range of which it removed some, and how many.
    pub(super) thinned: (u64, u64),
    pub(super) unsigned: Vec<Seen>,
    pub(super) ended: bool,
    /// The tree of the part before, which this one must come to.
    pub(super) joins: Option<Frontier>,
}

impl Part {
    /// Whether a line about these records comes next.
    pub(super) fn is_next(&self, first: u64, last: u64) -> Step {
        let next = self.frontier.size() + 1;
        if first > next {
            return bad(next, format!("records {next} to {} are missing", first - 1));
        }
        if first < next || last < first {
            return bad(
                first,
                format!("record {first} stands where record {next} must be: it was moved or added"),
            );
        }
        if last > self.checkpoint.size {
            return bad(first, "the export goes on behind its checkpoint");
        }
        Ok(())
    }

    /// Takes note of a line; more of them than one mark is over are not signed in time.
    pub(super) fn saw(&mut self, bare: &[u8], line: u64, what: What) -> Step {
        self.digest.update(bare);
        let tag = tag(bare);
        self.unsigned.push(Seen { tag, line, what });
        if self.unsigned.len() > MARK_LINES {
            return bad(
                self.frontier.size(),
                format!("a mark is missing: {MARK_LINES} lines before this one are not signed"),
            );
        }
        Ok(())
    }

    /// Once a resumed part has come to where it goes on, it must have come to the tree of the part before.
    pub(super) fn joined(&mut self) -> Step {
        let after = self.header.after;
        if self.frontier.size() < after {
            return Ok(());
        }
        match self.joins.take() {
            Some(before) if before != self.frontier => bad(
                after,
                format!("records up to {after} are not those that the resumed export goes on from"),
            ),
            _ => Ok(()),
        }
    }

    /// The tree so far, for the part that goes on with it.
    pub(super) fn followed_by(self, next: &Header) -> Step<Frontier> {
        let size = self.frontier.size();
        if self.ended {
            return bad(None, "something follows the end of the export");
        }
        if !self.unsigned.is_empty() {
            return bad(
                size,
                format!("what stands behind the last mark, up to record {size}, is not signed"),
            );
        }
        let same = (&next.workspace, &next.filter) == (&self.header.workspace, &self.header.filter);
        if !same || next.after != size {
            return bad(
                size + 1,
                "the part that follows does not go on with this export",
            );
        }
        Ok(self.frontier)
    }

    /// The first line since the last mark that is not the one that was signed.
    pub(super) fn blame(&self, mark: &MarkLine) -> (Option<u64>, String) {
        let tags = line::bytes(&mark.tags).unwrap_or_default();
        let (tags, _) = tags.as_chunks::<TAG_BYTES>();
        let mut tags = tags.iter();
        let other = self
            .unsigned
            .iter()
            .find(|seen| tags.next() != Some(&seen.tag));
        match other.map(|seen| (&seen.what, seen.line)) {
            Some((What::Header, _)) => (
                None,
                "the header is not the one that the vault signed".to_owned(),
            ),
            Some((What::Record(sequence), line)) => (
                Some(*sequence),
                format!("record {sequence}, in line {line}, is not the one that the vault signed"),
            ),
            Some((What::Gap(first, last), line)) => (
                Some(*first),
                format!(
                    "the gap of records {first} to {last}, in line {line}, is not the one that the vault signed"
                ),
            ),
            Some((What::Removed(first, last), line)) => (
                Some(*first),
                format!(
                    "what line {line} says of removed records, of {first} to {last}, is not what the vault signed"
                ),
            ),
            None => {
                let size = self.frontier.size();
                (
                    Some(size),
                    format!(
                        "the mark behind record {size} is not the vault's, or lines before it are missing"
                    ),
                )
            }
        }
    }
}
