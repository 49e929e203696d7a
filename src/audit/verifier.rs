//! Holding a log to the checkpoints over it. Pure, and knows no key: it is fed leaves, or whole subtrees, in their order,
//! and each checkpoint when the log has come to its size.

use super::{
    checkpoint::{Checkpoint, Statement},
    merkle::{Frontier, Hash},
    verify::Fault,
};

/// A log as far as it was read, and the last checkpoint that it fitted.
#[derive(Debug, Clone, Default)]
pub struct Verifier {
    frontier: Frontier,
    /// Records that a checkpoint which fitted is over.
    proven: u64,
    /// The digest of the checkpoint that was looked at last.
    last: Option<Hash>,
    chained: bool,
}

impl Verifier {
    /// From the beginning of a log, which its first checkpoint and all others must follow on.
    pub fn new() -> Self {
        Self {
            chained: true,
            ..Self::default()
        }
    }

    /// From a tree that is known to be right, before any checkpoint that is fed.
    pub fn after(frontier: Frontier) -> Self {
        Self {
            proven: frontier.size(),
            frontier,
            last: None,
            chained: false,
        }
    }

    /// Records that were fed.
    pub fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// Records that are proven by a checkpoint.
    pub fn proven(&self) -> u64 {
        self.proven
    }

    /// Goes on with another tree of the same size, once the leaves that are wrong have been told.
    pub(super) fn correct(&mut self, frontier: Frontier) {
        self.frontier = frontier;
    }

    /// The tree over what was fed.
    pub fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// The next record's leaf.
    pub fn leaf(&mut self, leaf: Hash) {
        self.frontier.push(leaf);
    }

    /// The next 2^level records, of which only their subtree is known. False where none of that level begins here.
    #[must_use]
    pub fn subtree(&mut self, level: u32, hash: Hash) -> bool {
        self.frontier.push_subtree(level, hash)
    }

    /// The next of the log's own checkpoints, which names the one before it and is over all that was fed.
    pub fn checkpoint(&mut self, checkpoint: &Checkpoint) -> Result<(), Fault> {
        let statement = checkpoint.statement();
        let follows = !self.chained || statement.previous == self.last;
        self.last = Some(checkpoint.digest());
        self.chained = true;
        self.statement(statement)?;
        if follows {
            return Ok(());
        }
        Err(Fault {
            sequence: statement.size,
            what: format!(
                "the checkpoint over {} records does not follow the one before it",
                statement.size
            ),
        })
    }

    /// A checkpoint that was kept elsewhere, which need not be next to any other.
    pub fn statement(&mut self, statement: &Statement) -> Result<(), Fault> {
        let Statement { size, time, .. } = *statement;
        let fed = self.size();
        let fault = |sequence, what| Err(Fault { sequence, what });
        if size > fed {
            return fault(
                fed + 1,
                format!(
                    "records {} to {size} are missing, which the checkpoint of {time} is over",
                    fed + 1
                ),
            );
        }
        if size < fed {
            return fault(
                size,
                format!("the checkpoint over {size} records came behind record {fed}"),
            );
        }
        let first = self.proven + 1;
        let fits = self.frontier.root() == statement.root;
        self.proven = size;
        if fits {
            return Ok(());
        }
        if first > size {
            return fault(
                size,
                format!("two checkpoints over {size} records contradict each other"),
            );
        }
        fault(
            first,
            format!(
                "records {first} to {size} are not those that the checkpoint of {time} is over"
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        crypto::{entropy::OsEntropy, tests::keyring},
        domain::time::Timestamp,
    };

    fn leaf(number: u64) -> Hash {
        super::super::leaf::digest(&number.to_be_bytes())
    }

    /// The checkpoints of a log over its first 3, 7 and 8 records.
    fn checkpoints() -> Vec<Checkpoint> {
        let keyring = keyring(Arc::new(OsEntropy));
        let mut frontier = Frontier::new();
        let mut made: Vec<Checkpoint> = Vec::new();
        for number in 1..=8 {
            frontier.push(leaf(number));
            if [3, 7, 8].contains(&number) {
                let statement = Statement {
                    size: number,
                    root: frontier.root(),
                    time: Timestamp::from_millis(number * 1000),
                    previous: made.last().map(Checkpoint::digest),
                };
                made.push(statement.sign(keyring.audit_key()).unwrap());
            }
        }
        made
    }

    /// The faults of a log with these leaves.
    fn faults(leaves: &[Hash], checkpoints: &[Checkpoint]) -> Vec<(u64, String)> {
        let mut verifier = Verifier::new();
        let mut leaves = leaves.iter();
        let mut faults = Vec::new();
        for checkpoint in checkpoints {
            while verifier.size() < checkpoint.statement().size {
                let Some(leaf) = leaves.next() else { break };
                verifier.leaf(*leaf);
            }
            if let Err(Fault { sequence, what }) = verifier.checkpoint(checkpoint) {
                faults.push((sequence, what));
            }
        }
        faults
    }

    // INVARIANT (audit-tamper)
    #[test]
    fn a_log_fits_its_checkpoints_and_no_other_does() {
        let good: Vec<_> = (1..=8).map(leaf).collect();
        let checkpoints = checkpoints();
        assert_eq!(faults(&good, &checkpoints), []);

        let mut edited = good.clone();
        edited[4] = leaf(50);
        let found = faults(&edited, &checkpoints);
        assert_eq!(
            found[0].0, 4,
            "the first record that no good checkpoint is over: {found:?}"
        );
        assert_eq!(
            found[0].1,
            "records 4 to 7 are not those that the checkpoint of 1970-01-01T00:00:07Z is over"
        );
        let mut reordered = good.clone();
        reordered.swap(0, 2);
        assert_eq!(faults(&reordered, &checkpoints)[0].0, 1);
        let cut = faults(&good[..7], &checkpoints);
        assert_eq!(
            cut,
            [(
                8,
                "records 8 to 8 are missing, which the checkpoint of 1970-01-01T00:00:08Z is over"
                    .to_owned()
            )]
        );
        let dropped = [&checkpoints[..1], &checkpoints[2..]].concat();
        assert_eq!(
            faults(&good, &dropped),
            [(
                8,
                "the checkpoint over 8 records does not follow the one before it".to_owned()
            )]
        );
    }

    #[test]
    fn subtrees_stand_for_their_leaves() {
        let checkpoints = checkpoints();
        let mut verifier = Verifier::new();
        let mut four = Frontier::new();
        (1..=4).for_each(|number| four.push(leaf(number)));
        assert!(!verifier.subtree(64, four.root()));
        assert!(verifier.subtree(2, four.root()));
        assert!(!verifier.subtree(3, four.root()));
        let mut resumed = Verifier::after(verifier.frontier().clone());
        (5..=7).for_each(|number| resumed.leaf(leaf(number)));
        assert_eq!(resumed.checkpoint(&checkpoints[1]), Ok(()));
        resumed.leaf(leaf(8));
        assert_eq!(resumed.checkpoint(&checkpoints[2]), Ok(()));
        assert_eq!(resumed.proven(), 8);
    }
}
