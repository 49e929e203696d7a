//! Holding a stored log to its checkpoints, with the public key alone: blocks in order and without a gap, each record's
//! leaf the one that was sealed, each root that of its checkpoint, each checkpoint signed and following the one before.
//! The log is read once, from its beginning or from a checkpoint on.
//!
//! A checkpoint says only that something under it is not as it was sealed; the stored leaves tell which record, once they
//! are proven to be the right ones by that same checkpoint.

mod again;
mod pages;

pub(super) use self::again::leaves;
use self::pages::Pages;
use super::{
    block,
    checkpoint::{Checkpoint, Statement},
    merkle::{Frontier, Hash},
    proof::{self, read_stored},
    removal::{self, Removals},
    seal::MAX_UNSEALED,
    tree::{self, WIDTH},
    verifier::Verifier,
    verify::{Fault, reason},
};
use crate::{
    domain::error::Result,
    store::{key, port::Scan},
    tables::Read,
};

/// Faults that are told; whatever is wrong beyond them is not looked at.
const MAX_FAULTS: usize = 100;

/// What to look at.
#[derive(Debug, Clone, Default)]
pub struct Question {
    /// The first record to look at, or one before it: reading begins behind a checkpoint.
    pub from: u64,
    /// The last record to look at, or one behind it: reading ends at a checkpoint. None for all.
    pub to: Option<u64>,
    /// Checkpoints of this vault that were kept elsewhere; all of them are looked at.
    pub kept: Vec<Checkpoint>,
}

/// What was looked at.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The first and the last record that were read.
    pub first: u64,
    pub last: u64,
    pub records: u64,
    /// The vault's own checkpoints that were looked at.
    pub checkpoints: u64,
    /// Records from the first one asked for to `last` that retention removed, and says so.
    pub removed: u64,
    /// The last record that a checkpoint proves.
    pub proven: u64,
    /// In the order of the log.
    pub faults: Vec<Fault>,
}

/// Looks at a log.
pub async fn log(
    read: &mut impl Read,
    public_key: &[u8; 32],
    question: Question,
) -> Result<Report> {
    let asked = question.from.max(1);
    let question = widened(read, question).await?;
    let (start, removed) = removal::beginning(read, public_key).await?;
    let (verifier, first) = begin(read, public_key, &question, (start, &removed)).await?;
    let mut kept = question.kept;
    let faults = against_removed(read, &removed, &kept).await;
    kept.retain(|one| one.statement().size > removed.size());
    kept.sort_by_key(|one| one.statement().size);
    let mut walk = Walk {
        public_key,
        checkpoints: Pages::new(key::checkpoints(first)),
        kept: kept.into_iter().peekable(),
        kept_good: first - 1,
        sealed: proof::newest(read, public_key)
            .await
            .ok()
            .flatten()
            .map_or(0, |newest| newest.checkpoint.statement().size),
        base: verifier.frontier().clone(),
        verifier,
        stored: Vec::new(),
        tile: Vec::new(),
        suspects: Vec::new(),
        lost: false,
        removals: Removals::default(),
        asked,
        report: Report {
            first,
            removed: start.saturating_sub(asked),
            faults,
            ..Report::default()
        },
    };
    walk.read(read, first, question.to).await?;
    let Walk {
        mut report,
        verifier,
        ..
    } = walk;
    report.last = verifier.size();
    report.faults.sort_by_key(|fault| fault.sequence);
    report.faults.dedup();
    Ok(report)
}

/// The blocks from the one that holds a record on.
async fn behind(read: &mut impl Read, sequence: u64) -> Result<Scan> {
    let mut scan = key::audits(0);
    let holds = Scan {
        end: key::audit(sequence.saturating_add(1)),
        reverse: true,
        limit: 1,
        ..key::audits(0)
    };
    if let Some((at, _)) = read.range(&holds).await?.pop() {
        scan.start = at;
    }
    Ok(scan)
}

/// The range with all that its own checkpoints and the kept ones take to be looked at: a record is proven by the
/// checkpoint behind it.
async fn widened(read: &mut impl Read, mut question: Question) -> Result<Question> {
    let sizes = question.kept.iter().map(|one| one.statement().size);
    let (smallest, largest) = (sizes.clone().min(), sizes.max());
    question.from = question.from.min(smallest.unwrap_or(u64::MAX));
    if let Some(to) = question.to {
        let behind = Scan {
            limit: 1,
            ..key::checkpoints(to)
        };
        let found = read.range(&behind).await?.pop();
        let size = found.and_then(|(at, _)| key::parse_checkpoint(&at));
        question.to = Some(size.unwrap_or(to).max(largest.unwrap_or(0)));
    }
    Ok(question)
}

/// Where reading begins: behind the last checkpoint before the first record asked for that has a good stored tree, else
/// at the beginning, behind what retention removed.
async fn begin(
    read: &mut impl Read,
    public_key: &[u8; 32],
    question: &Question,
    (start, removed): (u64, &Frontier),
) -> Result<(Verifier, u64)> {
    let before = Scan {
        end: key::checkpoint(question.from),
        reverse: true,
        limit: 1,
        ..key::checkpoints(0)
    };
    if question.from > start
        && let Some((at, value)) = read.range(&before).await?.pop()
        && let Ok(found) = read_stored(&at, &value, public_key)
    {
        let Statement { size, root, .. } = *found.checkpoint.statement();
        if size >= start
            && let Ok(frontier) = tree::frontier(read, size).await
            && frontier.root() == root
        {
            return Ok((Verifier::after(frontier), size + 1));
        }
    }
    Ok(match start {
        1 => (Verifier::new(), 1),
        start => (Verifier::after(removed.clone()), start),
    })
}

/// Holds the part of the log that reading passes over to the kept checkpoints that end in it.
async fn against_removed(
    read: &mut impl Read,
    before: &Frontier,
    kept: &[Checkpoint],
) -> Vec<Fault> {
    let mut faults = Vec::new();
    for one in kept {
        let Statement {
            size, root, time, ..
        } = one.statement();
        if *size <= before.size()
            && !matches!(
                removal::begins_with(read, before, (*size, root)).await,
                Ok(true)
            )
        {
            let what = format!(
                "records 1 to {size} were not those that the kept checkpoint of {time} is over"
            );
            faults.push(Fault { sequence: 1, what });
        }
    }
    faults
}

struct Walk<'a> {
    public_key: &'a [u8; 32],
    checkpoints: Pages,
    kept: std::iter::Peekable<std::vec::IntoIter<Checkpoint>>,
    /// Records that are as a kept checkpoint has them.
    kept_good: u64,
    /// Records that the vault's newest checkpoint is over.
    sealed: u64,
    verifier: Verifier,
    /// The tree at the last checkpoint that fitted.
    base: Frontier,
    /// The leaves since then as they are stored in the tree, and the tile that they come from.
    stored: Vec<Hash>,
    tile: Vec<Hash>,
    /// Records since then whose leaf is not the stored one.
    suspects: Vec<u64>,
    /// Nothing behind a range that cannot be made good can be told.
    lost: bool,
    /// What retention says that it removed.
    removals: Removals,
    /// The first record that was asked for.
    asked: u64,
    report: Report,
}

impl Walk<'_> {
    async fn read(&mut self, read: &mut impl Read, first: u64, to: Option<u64>) -> Result<()> {
        let mut blocks = Pages::new(key::audits(0));
        if first > 1 {
            blocks = Pages::new(behind(read, first).await?);
        }
        let mut next = self.next_checkpoint(read).await?;
        let mut whole = true;
        'log: while let Some((at, block)) = blocks.next(read).await? {
            let expected = self.verifier.size() + 1;
            let Some(begins) = key::parse_audit(&at) else {
                self.fault(expected, "a block lies under a malformed key");
                whole = false;
                break;
            };
            let entries = match block::entries(&block) {
                Ok(entries) => entries,
                Err(error) => {
                    self.fault(begins.max(expected), reason(&error));
                    whole = false;
                    break;
                }
            };
            // Only the block that reading begins in may begin earlier.
            let overlaps = begins < expected && self.report.records > 0;
            if begins > expected || overlaps || entries.is_empty() {
                let what = if begins > expected {
                    format!("records {expected} to {} are missing", begins - 1)
                } else {
                    "a block overlaps the one before it".to_owned()
                };
                self.fault(expected.min(begins), what);
                whole = false;
                break;
            }
            for (sequence, entry) in (begins..).zip(entries) {
                if sequence <= self.verifier.size() {
                    continue;
                }
                if to.is_some_and(|to| sequence > to) {
                    break 'log;
                }
                if entry.is_removed() {
                    if !self.removals.tell(read, self.public_key, sequence).await? {
                        self.fault(sequence, removal::UNEXPLAINED);
                    } else if sequence >= self.asked {
                        self.report.removed += 1;
                    }
                }
                self.record(read, sequence, entry.leaf(sequence).hash())
                    .await?;
                while let Some(checkpoint) = next.take_if(|next| next.statement().size <= sequence)
                {
                    self.checkpoint(&checkpoint);
                    next = self.next_checkpoint(read).await?;
                }
                while let Some(kept) = self.kept.next_if(|kept| kept.statement().size <= sequence) {
                    self.kept(&kept);
                }
                if self.lost || self.report.faults.len() >= MAX_FAULTS {
                    return Ok(());
                }
            }
        }
        if whole && to.is_none_or(|to| to > self.verifier.size()) {
            // What was sealed and is not there.
            if let Some(checkpoint) = next {
                self.checkpoint(&checkpoint);
            }
            if let Some(kept) = self.kept.next() {
                self.kept(&kept);
            }
        }
        let (sealed, last) = (self.sealed, self.verifier.size());
        if whole && to.is_none() && last.saturating_sub(sealed) > MAX_UNSEALED {
            let what = format!(
                "records {} to {last} have no checkpoint: some were taken out, or sealing is off or lags far behind",
                sealed + 1
            );
            self.fault(sealed + 1, what);
        }
        // A structural fault ends the walk within a range: what is stored about it tells whether it began earlier.
        self.tell_suspects();
        Ok(())
    }

    async fn record(&mut self, read: &mut impl Read, sequence: u64, leaf: Hash) -> Result<()> {
        self.report.records += 1;
        self.verifier.leaf(leaf);
        if sequence > self.sealed {
            return Ok(());
        }
        let (index, at) = ((sequence - 1) / WIDTH, ((sequence - 1) % WIDTH) as usize);
        if at == 0 || self.tile.is_empty() {
            let tile = tree::tile(read, 0, index).await;
            self.tile = tile.ok().flatten().unwrap_or_default();
        }
        let stored = self.tile.get(at).copied().unwrap_or(leaf);
        self.stored.push(stored);
        if stored != leaf {
            self.suspects.push(sequence);
        }
        Ok(())
    }

    /// The next of the vault's own checkpoints that is one.
    async fn next_checkpoint(&mut self, read: &mut impl Read) -> Result<Option<Checkpoint>> {
        while let Some((at, value)) = self.checkpoints.next(read).await? {
            match read_stored(&at, &value, self.public_key) {
                Ok(found) => return Ok(Some(found.checkpoint)),
                Err(what) => {
                    let sequence = key::parse_checkpoint(&at).unwrap_or(0);
                    self.fault(sequence, what);
                }
            }
        }
        Ok(None)
    }

    fn checkpoint(&mut self, checkpoint: &Checkpoint) {
        self.report.checkpoints += 1;
        if let Some(kept) = self.kept.peek()
            && kept.statement().previous == Some(checkpoint.digest())
        {
            self.kept_good = checkpoint.statement().size;
        }
        let size = checkpoint.statement().size;
        let told = self.verifier.checkpoint(checkpoint);
        if self.verifier.size() != size {
            // Behind the end of the log.
            self.report.faults.extend(told.err());
            return;
        }
        let mut sealed = self.base.clone();
        let fits = self.verifier.frontier().root() == checkpoint.statement().root;
        if fits {
            for suspect in std::mem::take(&mut self.suspects) {
                self.fault(
                    suspect,
                    "the stored tree has another leaf for it than the checkpoint proves",
                );
            }
            self.report.faults.extend(told.err());
        } else {
            self.stored.iter().for_each(|leaf| sealed.push(*leaf));
            if !self.suspects.is_empty() && sealed.root() == checkpoint.statement().root {
                self.tell_suspects();
                // Later checkpoints are held to the log as it was sealed.
                self.verifier.correct(sealed);
            } else {
                let within = self.suspects.first().copied();
                self.suspects.clear();
                if let (Some(Fault { what, sequence }), at) = (told.err(), within) {
                    self.fault(at.unwrap_or(sequence), what);
                }
                self.lost = true;
            }
        }
        self.report.proven = if fits { size } else { self.report.proven };
        self.stored.clear();
        self.base = self.verifier.frontier().clone();
    }

    fn tell_suspects(&mut self) {
        for suspect in std::mem::take(&mut self.suspects) {
            self.fault(suspect, "the record is not the one that was sealed");
        }
    }

    /// A checkpoint that was kept elsewhere.
    fn kept(&mut self, kept: &Checkpoint) {
        let Statement {
            size, root, time, ..
        } = *kept.statement();
        let (have, first) = (self.verifier.size(), self.kept_good + 1);
        if size > have {
            let what = format!(
                "records {} to {size} are missing, which the kept checkpoint of {time} is over",
                have + 1
            );
            self.fault(have + 1, what);
        } else if self.verifier.frontier().root() == root {
            self.kept_good = size;
        } else if !self
            .report
            .faults
            .iter()
            .any(|fault| (first..=size).contains(&fault.sequence))
        {
            let what = format!(
                "records {first} to {size} are not those that the kept checkpoint of {time} is over"
            );
            self.fault(first, what);
        }
    }

    fn fault(&mut self, sequence: u64, what: impl Into<String>) {
        self.report.faults.push(Fault {
            sequence,
            what: what.into(),
        });
    }
}

#[cfg(test)]
mod tests;
