//! Writing the lines of one part, and signing what was written.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

use super::{
    Header, Item, MARK_LINES, TAG_BYTES,
    line::{self, MarkLine},
    signed, tag,
};
use crate::{
    audit::query::Numbered,
    crypto::keyring::Keyring,
    domain::error::{Error, Result},
};

/// Writes one part.
pub struct Writer {
    keyring: Arc<Keyring>,
    /// Over all that was written.
    digest: Sha256,
    tags: Vec<u8>,
    records: u64,
    through: u64,
}

impl Writer {
    /// Begins a part with its header.
    pub fn begin(keyring: Arc<Keyring>, header: &Header, out: &mut Vec<u8>) -> Result<Self> {
        let mut writer = Self {
            keyring,
            digest: Sha256::new(),
            tags: Vec::with_capacity((MARK_LINES + 1) * TAG_BYTES),
            records: 0,
            through: 0,
        };
        writer.line(&line::header(header)?, out);
        Ok(writer)
    }

    /// Records written so far.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Writes a record or a gap, and a mark where one is due.
    pub fn item(
        &mut self,
        item: Item,
        readable: impl FnOnce(Numbered) -> Result<String>,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        match item {
            Item::Gap(gap) => {
                self.line(&line::gap(&gap)?, out);
                self.through = gap.first + gap.size - 1;
            }
            Item::Removed(gone) => self.line(&line::removed(&gone)?, out),
            Item::Record(record) => {
                let text = readable(record.numbered())?;
                self.line(&line::record(&record, &text), out);
                self.through = record.sequence;
                self.records += 1;
            }
        }
        if self.tags.len() >= MARK_LINES * TAG_BYTES {
            self.mark(false, out)?;
        }
        Ok(())
    }

    /// Ends the part, which comes to the size of its checkpoint.
    pub fn end(mut self, out: &mut Vec<u8>) -> Result<()> {
        self.mark(true, out)
    }

    fn line(&mut self, line: &str, out: &mut Vec<u8>) {
        self.tags.extend_from_slice(&tag(line.as_bytes()));
        self.raw(line, out);
        self.raw("\n", out);
    }

    fn raw(&mut self, text: &str, out: &mut Vec<u8>) {
        self.digest.update(text);
        out.extend_from_slice(text.as_bytes());
    }

    fn mark(&mut self, end: bool, out: &mut Vec<u8>) -> Result<()> {
        let mut mark = MarkLine {
            through: self.through,
            records: self.records,
            tags: STANDARD.encode(&self.tags),
            signature: String::new(),
        };
        let unsigned = line::mark(end, &mark)?;
        let digest = self.digest.clone().chain_update(&unsigned).finalize();
        let signature = self.keyring.audit_key().sign(&signed(&digest.into()))?;
        mark.signature = STANDARD.encode(signature);
        let line = line::mark(end, &mark)?;
        if !line.starts_with(&unsigned) {
            return Err(Error::internal("a mark is not spelt as it was signed"));
        }
        self.raw(&line, out);
        self.raw("\n", out);
        self.tags.clear();
        Ok(())
    }
}
