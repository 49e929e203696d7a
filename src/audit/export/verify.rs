//! Verifying an export: with the public key, without a vault, and in memory that does not grow with the file.

mod lines;
mod part;
mod words;

use sha2::{Digest, Sha256};

pub use self::lines::{Lines, MAX_LINE_BYTES, Plain, Refused};
use self::{
    part::{Part, Seen, What},
    words::{told_otherwise, unheld, written_so},
};
use super::{
    Exported, FORMAT, Gap, Header,
    line::{self, GapLine, Line, MarkLine, RecordLine, RemovedLine},
    signed, tag,
};
use crate::{
    audit::{
        checkpoint::{self, Checkpoint, Statement},
        leaf::{self, Leaf},
        merkle::Frontier,
        query::Numbered,
        removal::Gone,
    },
    crypto::sign,
    domain::{error, event::AuditRecord},
    store::codec,
};

/// The readable form of a record, as an export has it.
pub type Render<'a> = &'a dyn Fn(Numbered) -> error::Result<String>;

/// An export that is as the vault wrote it.
#[derive(Debug)]
pub struct Verified {
    /// The newest part's header.
    pub header: Header,
    /// What its lines come to.
    pub checkpoint: Statement,
    /// The record that the first part begins behind.
    pub after: u64,
    pub records: u64,
    /// Records that are not shown.
    pub hidden: u64,
    /// Records, of whatever workspace, that retention removed of the log that this is over.
    pub removed: u64,
    pub parts: u64,
    pub lines: u64,
}

struct Walk<'a> {
    public_key: &'a [u8; 32],
    /// In the order of their sizes, but for those that were held against it.
    kept: &'a [Statement],
    render: Render<'a>,
    part: Option<Part>,
    line: u64,
    records: u64,
    hidden: u64,
    removed: u64,
    parts: u64,
    after: u64,
}

type Step<T = ()> = Result<T, (Option<u64>, String)>;

fn bad<T>(sequence: impl Into<Option<u64>>, what: impl Into<String>) -> Step<T> {
    Err((sequence.into(), what.into()))
}

/// Verifies an export, and holds it to checkpoints that were kept elsewhere, in the order of their sizes.
pub fn verify(
    lines: &mut dyn Lines,
    public_key: &[u8; 32],
    kept: &[Statement],
    render: Render<'_>,
) -> Result<Verified, Refused> {
    let mut walk = Walk {
        public_key,
        kept,
        render,
        part: None,
        line: 0,
        records: 0,
        hidden: 0,
        removed: 0,
        parts: 0,
        after: 0,
    };
    let mut line = Vec::new();
    loop {
        match lines.next(&mut line)? {
            0 => break,
            number => walk.line = number,
        }
        let step = walk.step(&line);
        step.map_err(|fault| walk.refused(fault))?;
    }
    walk.end().map_err(|fault| Refused::Fault {
        line: 0,
        sequence: fault.0,
        what: fault.1,
    })
}

impl Walk<'_> {
    fn refused(&self, (sequence, what): (Option<u64>, String)) -> Refused {
        Refused::Fault {
            line: self.line,
            sequence,
            what,
        }
    }

    /// The record that must come next.
    fn next(&self) -> Option<u64> {
        self.part.as_ref().map(|part| part.frontier.size() + 1)
    }

    fn step(&mut self, line: &[u8]) -> Step {
        let Some(bare) = line.strip_suffix(b"\n") else {
            return bad(self.next(), "the file breaks off within this line");
        };
        let parsed = std::str::from_utf8(bare).ok().and_then(Line::parse);
        let Some(parsed) = parsed else {
            return bad(self.next(), "this is no line of an export");
        };
        match parsed {
            Line::Header(header) => self.header(*header, bare),
            Line::Record(record) => self.record(record, bare),
            Line::Gap(gap) => self.gap(&gap, bare),
            Line::Removed(removed) => self.removed(&removed, bare),
            Line::Mark(mark) => self.mark(false, &mark, bare),
            Line::End(end) => self.mark(true, &end, bare),
        }?;
        if let Some(part) = &mut self.part {
            part.digest.update(b"\n");
            part.joined()?;
            while let Some((kept, rest)) = self.kept.split_first()
                && kept.size == part.frontier.size()
            {
                if part.frontier.root() != kept.root {
                    let Statement { size, time, .. } = kept;
                    return bad(
                        1,
                        format!(
                            "records 1 to {size} are not those that the kept checkpoint of {time} is over"
                        ),
                    );
                }
                self.kept = rest;
            }
        }
        Ok(())
    }

    fn header(&mut self, header: Header, bare: &[u8]) -> Step {
        if header.format != FORMAT {
            return bad(
                None,
                format!(
                    "the export has the format {}, which this version does not know",
                    header.format
                ),
            );
        }
        written_so(&line::header(&header), bare, None)?;
        let checkpoint = match Checkpoint::open(&header.checkpoint.note, self.public_key) {
            Ok(checkpoint) => *checkpoint.statement(),
            Err(refused) => {
                return bad(
                    None,
                    format!("the checkpoint of the export is of no use: {refused}"),
                );
            }
        };
        if header.log != checkpoint::origin(self.public_key) {
            return bad(None, "the export is of another vault's log");
        }
        if checkpoint.size != header.checkpoint.size || header.after > checkpoint.size {
            return bad(None, "the header does not fit its checkpoint");
        }
        let joins = match self.part.take() {
            None => {
                self.after = header.after;
                None
            }
            Some(before) => Some(before.followed_by(&header)?),
        };
        self.parts += 1;
        let seen = Seen {
            tag: tag(bare),
            line: self.line,
            what: What::Header,
        };
        self.part = Some(Part {
            header,
            checkpoint,
            digest: Sha256::new_with_prefix(bare),
            frontier: Frontier::new(),
            records: 0,
            front: 0,
            thinned: (0, 0),
            unsigned: vec![seen],
            ended: false,
            joins,
        });
        Ok(())
    }

    fn record(&mut self, read: RecordLine, bare: &[u8]) -> Step {
        let sequence = read.sequence;
        let part = going_on(&mut self.part)?;
        part.is_next(sequence, sequence)?;
        if sequence <= part.header.after {
            return bad(
                sequence,
                format!("record {sequence} stands before where the export begins"),
            );
        }
        let (Some(encoded), Some(sealed)) = (line::bytes(&read.encoded), line::hash(&read.sealed))
        else {
            return bad(sequence, format!("record {sequence} is damaged"));
        };
        let record: AuditRecord = match codec::decode(&encoded) {
            Ok(record) => record,
            Err(error) => {
                return bad(
                    sequence,
                    format!("record {sequence} cannot be decoded: {error}"),
                );
            }
        };
        let workspace = record.workspace;
        if workspace != part.header.workspace {
            return bad(
                sequence,
                format!("record {sequence} is of another workspace"),
            );
        }
        let exported = Exported {
            sequence,
            record,
            encoded,
            sealed,
        };
        let readable = match (self.render)(exported.numbered()) {
            Ok(readable) => readable,
            Err(error) => {
                return bad(
                    sequence,
                    format!("record {sequence} cannot be shown: {error}"),
                );
            }
        };
        let written = line::record(&exported, &readable);
        if written.as_bytes() != bare {
            return bad(sequence, told_otherwise(sequence, &written, bare));
        }
        let leaf = Leaf {
            sequence,
            workspace,
            content: leaf::digest(&exported.encoded),
            sealed,
        };
        part.frontier.push(leaf.hash());
        part.saw(bare, self.line, What::Record(sequence))?;
        part.records += 1;
        self.records += 1;
        Ok(())
    }

    fn gap(&mut self, read: &GapLine, bare: &[u8]) -> Step {
        let &GapLine { first, size, .. } = read;
        let part = going_on(&mut self.part)?;
        let last = first.saturating_add(size).saturating_sub(1);
        part.is_next(first, last)?;
        let Some(hash) = line::hash(&read.hash) else {
            return bad(first, "the hash of a gap is damaged");
        };
        written_so(&line::gap(&Gap { first, size, hash }), bare, first)?;
        let crosses = first <= part.header.after && last > part.header.after;
        let fits = size.is_power_of_two()
            && !crosses
            && part.frontier.push_subtree(size.trailing_zeros(), hash);
        if !fits {
            return bad(
                first,
                format!("no gap of {size} records begins at record {first}"),
            );
        }
        if last > part.header.after {
            self.hidden += size;
            self.removed += (part.front + 1).saturating_sub(first).min(size);
        }
        part.saw(bare, self.line, What::Gap(first, last))
    }

    /// Records of the front are counted in the gaps over them, those of a range here; once more may have gone of it.
    fn removed(&mut self, read: &RemovedLine, bare: &[u8]) -> Step {
        let &RemovedLine {
            first,
            last,
            records,
        } = read;
        let gone = Gone {
            first,
            last,
            records,
        };
        let part = going_on(&mut self.part)?;
        written_so(&line::removed(&gone), bare, first)?;
        let (range, before) = part.thinned;
        if !gone.is_sound() || last <= part.frontier.size() {
            return bad(
                first,
                format!("records {first} to {last} are not what retention removes here"),
            );
        }
        if gone.is_front() {
            part.front = last;
        } else {
            let known = if range == first { before } else { 0 };
            self.removed += records.saturating_sub(known);
            part.thinned = (first, records);
        }
        part.saw(bare, self.line, What::Removed(first, last))
    }

    fn mark(&mut self, end: bool, mark: &MarkLine, bare: &[u8]) -> Step {
        let public_key = self.public_key;
        let part = going_on(&mut self.part)?;
        let size = part.frontier.size();
        written_so(&line::mark(end, mark), bare, size)?;
        let unsigned = mark.signature.len() + r#","signature":""}"#.len();
        let head = bare.get(..bare.len().saturating_sub(unsigned));
        let head = head.unwrap_or_default();
        let digest = part.digest.clone().chain_update(head).finalize();
        let signature = line::bytes(&mark.signature).unwrap_or_default();
        let good = sign::verifies(public_key, &signed(&digest.into()), &signature);
        if !good || (mark.through, mark.records) != (size, part.records) {
            return Err(part.blame(mark));
        }
        part.unsigned.clear();
        part.digest.update(bare);
        if !end {
            return Ok(());
        }
        part.ended = true;
        let Statement {
            size: all,
            root,
            time,
            ..
        } = part.checkpoint;
        if size != all {
            return bad(
                size + 1,
                format!("the export ends before record {all}, which its checkpoint is over"),
            );
        }
        if part.frontier.root() != root {
            return bad(
                part.header.after + 1,
                format!("the records are not those that the checkpoint of {time} is over"),
            );
        }
        Ok(())
    }

    fn end(self) -> Step<Verified> {
        let Some(part) = self.part else {
            return bad(None, "the file is empty");
        };
        let size = part.frontier.size();
        if !part.ended {
            return bad(
                size + 1,
                format!("the export breaks off behind record {size}: it has no end"),
            );
        }
        if let Some(kept) = self.kept.first() {
            return bad(None, unheld(kept, &part.checkpoint));
        }
        Ok(Verified {
            header: part.header,
            checkpoint: part.checkpoint,
            after: self.after,
            records: self.records,
            hidden: self.hidden,
            removed: self.removed.min(self.hidden),
            parts: self.parts,
            lines: self.line,
        })
    }
}

/// The part that a line belongs to.
fn going_on(part: &mut Option<Part>) -> Step<&mut Part> {
    match part {
        None => bad(None, "the file does not begin with the header of an export"),
        Some(part) if part.ended => bad(None, "something follows the end of the export"),
        Some(part) => Ok(part),
    }
}
