//! Where the lines come from, and what is wrong with them.

use std::io::{self, BufRead, Read};

/// The longest line that is read, in bytes: a record's, with all its texts twice, is a tenth of it.
pub const MAX_LINE_BYTES: u64 = 4 * 1024 * 1024;

/// Where the lines of an export come from.
pub trait Lines {
    /// Puts the next line in place of this one, with its line feed where it has one, and returns its number in the file,
    /// from 1; 0 at the end.
    fn next(&mut self, line: &mut Vec<u8>) -> Result<u64, Refused>;
}

/// A file of nothing but these lines.
#[derive(Debug)]
pub struct Plain<R> {
    input: R,
    read: u64,
}

impl<R> Plain<R> {
    pub fn new(input: R) -> Self {
        Self { input, read: 0 }
    }
}

impl<R: BufRead> Lines for Plain<R> {
    fn next(&mut self, line: &mut Vec<u8>) -> Result<u64, Refused> {
        line.clear();
        let mut limited = (&mut self.input).take(MAX_LINE_BYTES);
        let length = limited.read_until(b'\n', line);
        if length.map_err(Refused::Unreadable)? == 0 {
            return Ok(0);
        }
        self.read += 1;
        Ok(self.read)
    }
}

/// Why a file is not what a vault exported.
#[derive(Debug)]
pub enum Refused {
    Unreadable(io::Error),
    /// The first thing that is wrong.
    Fault {
        /// From 1.
        line: u64,
        /// The record that it is about, where there is one.
        sequence: Option<u64>,
        what: String,
    },
}
