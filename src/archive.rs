//! The container of a backup: what lies in the file, in which order, and the checksum over it. Nothing here
//! knows a key or what the frames hold, so whoever carries the file can check it.
//!
//! ```text
//! file  = prefix ‖ frame ‖ … ‖ frame ‖ SHA-256 of all before it(32)
//! prefix = "LEASEHOLD-BACKUP"(16) ‖ format(1) ‖ length(4, BE) ‖ header
//! frame = last(1): 0, or 1 for the last one ‖ length(4, BE) ‖ body
//! ```
//!
//! The checksum finds what goes wrong on the way. That nobody changed the file on purpose is for the seals of
//! its frames to tell.

use std::{
    fmt,
    io::{self, Read, Write},
};

use sha2::{Digest, Sha256};

const MAGIC: &[u8; 16] = b"LEASEHOLD-BACKUP";
/// The format that is written, and the only one that is read.
pub const FORMAT: u8 = 1;
/// The longest header, in bytes.
pub const MAX_HEADER_BYTES: usize = 64 * 1024;
/// The longest body of a frame, in bytes.
pub const MAX_FRAME_BYTES: usize = 2 * 1024 * 1024;

/// Why a file is not a backup that can be read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("the file is not a backup of a Leasehold vault")]
    Foreign,
    #[error("the backup has format {0}, and this version of leasehold reads format {FORMAT} only")]
    UnknownFormat(u8),
    #[error("the backup ends too early: it was cut short or damaged")]
    Truncated,
    #[error("the backup is damaged: {0}")]
    Damaged(&'static str),
    #[error("the backup could not be read or written: {0}")]
    Io(#[from] io::Error),
}

fn eof(error: io::Error) -> ArchiveError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => ArchiveError::Truncated,
        _ => ArchiveError::Io(error),
    }
}

/// SHA-256 of a whole file, its own checksum left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checksum(pub [u8; 32]);

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What is known of a whole file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    pub bytes: u64,
    pub frames: u64,
    pub checksum: Checksum,
}

/// Writes a backup from front to end.
pub struct Writer<W> {
    out: W,
    sum: Sha256,
    prefix: [u8; 32],
    bytes: u64,
    frames: u64,
}

impl<W: Write> Writer<W> {
    /// Begins with the header.
    pub fn new(out: W, header: &[u8]) -> Result<Self, ArchiveError> {
        let mut writer = Self {
            out,
            sum: Sha256::new(),
            prefix: [0; 32],
            bytes: 0,
            frames: 0,
        };
        let length = length(header, MAX_HEADER_BYTES)?;
        for part in [&MAGIC[..], &[FORMAT], &length, header] {
            writer.put(part)?;
        }
        writer.prefix = writer.sum.clone().finalize().into();
        Ok(writer)
    }

    /// SHA-256 of everything before the first frame.
    pub fn prefix_digest(&self) -> &[u8; 32] {
        &self.prefix
    }

    /// Frames written so far.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Appends a frame.
    pub fn frame(&mut self, last: bool, body: &[u8]) -> Result<(), ArchiveError> {
        let length = length(body, MAX_FRAME_BYTES)?;
        for part in [&[u8::from(last)][..], &length, body] {
            self.put(part)?;
        }
        self.frames += 1;
        Ok(())
    }

    /// Ends the file, whose last frame was written.
    pub fn finish(mut self) -> Result<(W, Summary), ArchiveError> {
        let checksum: [u8; 32] = self.sum.clone().finalize().into();
        self.put(&checksum)?;
        self.out.flush()?;
        let summary = Summary {
            bytes: self.bytes,
            frames: self.frames,
            checksum: Checksum(checksum),
        };
        Ok((self.out, summary))
    }

    fn put(&mut self, part: &[u8]) -> Result<(), ArchiveError> {
        self.out.write_all(part)?;
        self.sum.update(part);
        self.bytes += part.len() as u64;
        Ok(())
    }
}

fn length(part: &[u8], most: usize) -> Result<[u8; 4], ArchiveError> {
    u32::try_from(part.len())
        .ok()
        .filter(|_| part.len() <= most)
        .map(u32::to_be_bytes)
        .ok_or(ArchiveError::Damaged("a part is too long"))
}

/// One frame of a file.
pub struct Frame {
    /// Counted from 0.
    pub number: u64,
    pub last: bool,
    pub body: Vec<u8>,
}

/// Reads a backup from front to end.
pub struct Reader<R> {
    input: R,
    sum: Sha256,
    header: Vec<u8>,
    prefix: [u8; 32],
    bytes: u64,
    frames: u64,
    end: Option<Summary>,
}

impl<R: Read> Reader<R> {
    /// Reads as far as the first frame.
    pub fn new(input: R) -> Result<Self, ArchiveError> {
        let mut reader = Self {
            input,
            sum: Sha256::new(),
            header: Vec::new(),
            prefix: [0; 32],
            bytes: 0,
            frames: 0,
            end: None,
        };
        let magic = reader.take::<16>().map_err(|error| match error {
            ArchiveError::Truncated => ArchiveError::Foreign,
            error => error,
        })?;
        if magic != *MAGIC {
            return Err(ArchiveError::Foreign);
        }
        let [format] = reader.take()?;
        if format != FORMAT {
            return Err(ArchiveError::UnknownFormat(format));
        }
        reader.header = reader.part(MAX_HEADER_BYTES)?;
        reader.prefix = reader.sum.clone().finalize().into();
        Ok(reader)
    }

    /// The header.
    pub fn header(&self) -> &[u8] {
        &self.header
    }

    /// SHA-256 of everything before the first frame.
    pub fn prefix_digest(&self) -> &[u8; 32] {
        &self.prefix
    }

    /// The next frame; none behind the last, once the checksum was found right and nothing behind it.
    pub fn frame(&mut self) -> Result<Option<Frame>, ArchiveError> {
        if self.end.is_some() {
            return Ok(None);
        }
        let last = match self.take()? {
            [0] => false,
            [1] => true,
            _ => return Err(ArchiveError::Damaged("a frame begins with no such mark")),
        };
        let body = self.part(MAX_FRAME_BYTES)?;
        let number = self.frames;
        self.frames += 1;
        if last {
            self.end = Some(self.end()?);
        }
        Ok(Some(Frame { number, last, body }))
    }

    /// What is known of the file, once the last frame was read.
    pub fn summary(&self) -> Option<Summary> {
        self.end
    }

    fn end(&mut self) -> Result<Summary, ArchiveError> {
        let sum: [u8; 32] = self.sum.clone().finalize().into();
        if self.take::<32>()? != sum {
            return Err(ArchiveError::Damaged("its checksum is wrong"));
        }
        if self.input.read(&mut [0])? != 0 {
            return Err(ArchiveError::Damaged("something follows its end"));
        }
        Ok(Summary {
            bytes: self.bytes,
            frames: self.frames,
            checksum: Checksum(sum),
        })
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], ArchiveError> {
        let mut part = [0; N];
        self.input.read_exact(&mut part).map_err(eof)?;
        self.sum.update(part);
        self.bytes += N as u64;
        Ok(part)
    }

    fn part(&mut self, most: usize) -> Result<Vec<u8>, ArchiveError> {
        let length = u32::from_be_bytes(self.take()?) as usize;
        if length > most {
            return Err(ArchiveError::Damaged("a part is longer than any can be"));
        }
        let mut part = vec![0; length];
        self.input.read_exact(&mut part).map_err(eof)?;
        self.sum.update(&part);
        self.bytes += length as u64;
        Ok(part)
    }
}

/// Reads a whole file and holds it to its checksum. Needs no key.
pub fn verify(input: impl Read) -> Result<Summary, ArchiveError> {
    let mut reader = Reader::new(input)?;
    while reader.frame()?.is_some() {}
    reader.summary().ok_or(ArchiveError::Truncated)
}

#[cfg(test)]
mod tests;
